package conversation

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/store"
)

// said is one thing a scripted model does when it is asked.
type said struct {
	deltas []string
	calls  []openai.ToolCall
	wait   time.Duration // before the first word
	gap    time.Duration // before each further one
	err    error         // instead of the end
}

// script is a model that does the next thing each time it is asked, and the
// last thing for ever.
type script struct {
	steps []said

	mu    sync.Mutex
	asked [][]openai.Message
}

func (s *script) stream(ctx context.Context, msgs []openai.Message, _ []openai.Tool, onText func(string) error) (openai.Result, error) {
	s.mu.Lock()
	step := s.steps[min(len(s.asked), len(s.steps)-1)]
	s.asked = append(s.asked, append([]openai.Message(nil), msgs...))
	s.mu.Unlock()
	var r openai.Result
	for i, d := range step.deltas {
		wait := step.gap
		if i == 0 {
			wait = step.wait
		}
		if err := sleep(ctx, wait); err != nil {
			return r, err
		}
		r.Text += d
		if err := onText(d); err != nil {
			return r, err
		}
	}
	if len(step.deltas) == 0 {
		if err := sleep(ctx, step.wait); err != nil {
			return r, err
		}
	}
	if step.err != nil {
		return r, step.err
	}
	r.ToolCalls = step.calls
	return r, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func call(name, arguments string) openai.ToolCall {
	return openai.ToolCall{ID: "call_" + name, Name: name, Arguments: arguments}
}

// stage is a worker with a scripted model, and what came of it.
type stage struct {
	model   *script
	s       events.Settings
	publish func(ctx context.Context, e events.Event) (uint64, error)

	heard heard
	facts []events.Event
	at    []time.Time // of each step of the answer
}

func newStage(steps ...said) *stage {
	return &stage{model: &script{steps: steps}, s: events.Settings{
		Tenant: 7, Name: "Fig and Sons", Agent: "Mia", Status: "active", TimeZone: "UTC", Language: "en-US",
		Transfers: []events.Transfer{{Name: "claims desk", Number: "+12065550177"}},
	}}
}

func (g *stage) answer(ctx context.Context, a events.Ask) {
	w := &worker{
		log: zap.NewNop(), callers: newCallers(nil), model: g.model.stream, now: time.Now, settings: oneTenant(g.s),
		publish: func(ctx context.Context, e events.Event) (uint64, error) {
			if g.publish != nil {
				return g.publish(ctx, e)
			}
			g.facts = append(g.facts, e)
			return 1, nil
		},
	}
	if a.Call == "" {
		a.Call, a.Turn, a.Attempt, a.Caller = "CA1", 1, 1, "+12065550142"
	}
	if a.History == nil {
		a.History = []events.Line{{Role: events.RoleCaller, Text: "Hello?"}}
	}
	w.answer(ctx, 7, a, func(step events.Answer) error {
		g.at = append(g.at, time.Now())
		return g.heard.reply(step)
	})
}

func (g *stage) text() string { return g.heard.text.String() }

func (g *stage) done() bool {
	return len(g.heard.kinds) > 0 && g.heard.kinds[len(g.heard.kinds)-1] == events.AnswerDone
}

func TestAMessageIsTakenThoughTheCallEndsInTheSameBreath(t *testing.T) {
	t.Parallel()
	for name, calls := range map[string][]openai.ToolCall{
		"message first": {call(toolMessage, `{"for":"Paula","message":"I am late"}`), call(toolEnd, `{}`)},
		"end first":     {call(toolEnd, `{}`), call(toolMessage, `{"for":"Paula","message":"I am late"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newStage(said{deltas: []string{"I will tell her. Goodbye!"}, calls: calls})
			g.answer(t.Context(), events.Ask{})
			if len(g.facts) != 1 || g.facts[0].Fact.Name() != "message.taken" {
				t.Errorf("facts %v: the message is lost", g.facts)
			}
			if g.heard.action == nil || g.heard.action.Kind != events.ActionEnd {
				t.Errorf("action %+v, want end", g.heard.action)
			}
		})
	}
}

func TestNumbersAreLeftOutOfMessagesAndTexts(t *testing.T) {
	t.Parallel()
	g := newStage(said{deltas: []string{"I will."}, calls: []openai.ToolCall{
		call(toolMessage, `{"message":"Charge the card 4111 1111 1111 1111.","callback":"206-555-0142"}`),
		call(toolText, `{"body":"Your social is 123-45-6789. Call 206-555-0142."}`),
	}})
	g.answer(t.Context(), events.Ask{})
	if len(g.facts) != 2 {
		t.Fatalf("facts %v", g.facts)
	}
	message, _ := g.facts[0].Fact.(events.MessageTaken)
	text, _ := g.facts[1].Fact.(events.SMSRequested)
	if message.Text != "Charge the card [CARD]." || message.Callback != "206-555-0142" {
		t.Errorf("message %+v", message)
	}
	if text.Body != "Fig and Sons: Your social is [SSN]. Call 206-555-0142." {
		t.Errorf("text %+v", text)
	}
}

func TestTheCallDoesNotEndOnAMessageThatCouldNotBeSaved(t *testing.T) {
	t.Parallel()
	g := newStage(
		said{deltas: []string{"I will tell her. Goodbye!"}, calls: []openai.ToolCall{call(toolEnd, `{}`), call(toolMessage, `{"message":"I am late"}`)}},
		said{deltas: []string{" I am sorry, that could not be saved."}},
	)
	g.publish = func(context.Context, events.Event) (uint64, error) { return 0, errors.New("away") }
	g.answer(t.Context(), events.Ask{})
	if g.heard.action != nil || !strings.Contains(g.text(), "could not be saved") || !g.done() {
		t.Errorf("action %+v, heard %q", g.heard.action, g.text())
	}
}

// Whatever the model leaves unsaid, the caller does not hear silence.
func TestATurnIsNeverSilent(t *testing.T) {
	t.Parallel()
	message := []openai.ToolCall{call(toolMessage, `{"message":"I am late"}`)}
	for name, tc := range map[string]struct {
		step said
		want string
	}{
		"nothing but tools, for ever":   {said{calls: message}, ""},
		"nothing but an unknown tool":   {said{calls: []openai.ToolCall{call("order_pizza", `{}`)}}, ""},
		"nothing but spaces":            {said{deltas: []string{" ", "\n"}}, ""},
		"end without goodbye":           {said{calls: []openai.ToolCall{call(toolEnd, `{}`)}}, "Goodbye"},
		"end after spaces":              {said{deltas: []string{" "}, calls: []openai.ToolCall{call(toolEnd, `{}`)}}, "Goodbye"},
		"transfer without a word":       {said{calls: []openai.ToolCall{call(toolTransfer, `{"to":"claims desk"}`)}}, "moment"},
		"transfer to nobody, for ever":  {said{calls: []openai.ToolCall{call(toolTransfer, `{"to":"the moon"}`)}}, ""},
		"tools without names or reason": {said{calls: []openai.ToolCall{{}, {}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newStage(tc.step)
			g.answer(t.Context(), events.Ask{})
			if strings.TrimSpace(g.text()) == "" || !strings.Contains(g.text(), tc.want) || !g.done() {
				t.Errorf("heard %q, steps %v", g.text(), g.heard.kinds)
			}
		})
	}
}

func TestGoodbyeIsInTheTenantsLanguage(t *testing.T) {
	t.Parallel()
	for language, want := range map[string]string{"es-MX": "Adiós", "de": "Auf Wiederhören", "xx-YY": "Goodbye", "": "Goodbye"} {
		g := newStage(said{calls: []openai.ToolCall{call(toolEnd, `{}`)}})
		g.s.Language = language
		g.answer(t.Context(), events.Ask{})
		if !strings.Contains(g.text(), want) {
			t.Errorf("%s: %q", language, g.text())
		}
	}
}

var errCut = &openai.Error{Kind: openai.Cut}

// An attempt that takes over from another and breaks as well must not say
// again what the first one said.
func TestNothingIsSaidAgainWhenTheNextAttemptBreaksToo(t *testing.T) {
	t.Parallel()
	const before = "Thank you, Ann. The office opens at"
	for name, steps := range map[string][]said{
		"within what was said":       {{deltas: []string{"Thank you, ", "Ann. "}, err: errCut}},
		"within, then goes on":       {{deltas: []string{"Thank you, ", "Ann. "}, err: errCut}, {deltas: []string{" nine."}}},
		"within, then starts over":   {{deltas: []string{"Thank you, ", "Ann. "}, err: errCut}, {deltas: []string{before, " nine."}}},
		"beyond, then starts over":   {{deltas: []string{before, " nine,"}, err: errCut}, {deltas: []string{before, " nine, sharp."}}},
		"beyond, then breaks again":  {{deltas: []string{before, " nine,"}, err: errCut}},
		"goes on, then starts over":  {{deltas: []string{" nine,"}, err: errCut}, {deltas: []string{before, " nine, sharp."}}},
		"starts over, ends too soon": {{deltas: []string{"Thank you, Ann."}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newStage(steps...)
			g.answer(t.Context(), events.Ask{Said: before})
			all := before + g.text()
			for _, once := range []string{"Thank you", "office", "opens", "nine"} {
				if strings.Count(all, once) > 1 {
					t.Errorf("%q twice in %q", once, all)
				}
			}
			if !g.done() {
				t.Errorf("steps %v", g.heard.kinds)
			}
			if last := g.model.asked[len(g.model.asked)-1]; last[len(last)-1].Role != "assistant" {
				t.Error("the model was not told where to go on")
			}
		})
	}
}

func TestTheModelGoesOnFromAllTheCallerHeard(t *testing.T) {
	t.Parallel()
	g := newStage(said{deltas: []string{"The office opens at nine,"}, err: errCut}, said{deltas: []string{" sharp."}})
	g.answer(t.Context(), events.Ask{Said: "The office opens"})
	last := g.model.asked[1]
	if got := last[len(last)-1].Text; got != "The office opens at nine," {
		t.Errorf("asked to go on from %q", got)
	}
	if n := len(last); last[n-2].Role == "assistant" {
		t.Error("two beginnings of one answer")
	}
}

func TestTroubleIsOfferedAnotherWayOnlyTwiceInARow(t *testing.T) {
	t.Parallel()
	down := said{err: &openai.Error{Kind: openai.Down}}
	agent := func(text string) events.Line { return events.Line{Role: events.RoleAgent, Text: text} }
	caller := events.Line{Role: events.RoleCaller, Text: "Hello?"}
	for name, tc := range map[string]struct {
		history []events.Line
		want    string
	}{
		"first":              {[]events.Line{agent("Good morning."), caller}, trouble},
		"second":             {[]events.Line{agent(strings.TrimSpace(trouble)), caller}, again},
		"second, cut":        {[]events.Line{{Role: events.RoleAgent, Text: trouble[:40], Cut: true}, caller}, again},
		"third":              {[]events.Line{agent(strings.TrimSpace(again)), caller}, again},
		"long ago":           {[]events.Line{agent(strings.TrimSpace(trouble)), caller, agent("The office opens at nine."), caller}, trouble},
		"agent said nothing": {[]events.Line{agent(""), caller}, trouble},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newStage(down)
			g.answer(t.Context(), events.Ask{History: tc.history})
			if g.text() != tc.want {
				t.Errorf("heard %q", g.text())
			}
		})
	}
}

// The same promise made by two workers, whose models order their tools
// differently, is one text.
func TestATextPromisedTwiceIsOneText(t *testing.T) {
	t.Parallel()
	text, message := call(toolText, `{"body":"1 Main St"}`), call(toolMessage, `{"message":"x"}`)
	ids := map[string]bool{}
	for _, calls := range [][]openai.ToolCall{{text, message}, {message, text}} {
		g := newStage(said{deltas: []string{"Of course. "}, calls: calls})
		g.answer(t.Context(), events.Ask{})
		for _, e := range g.facts {
			if f, ok := e.Fact.(events.SMSRequested); ok {
				ids[f.Message] = true
			}
		}
	}
	if len(ids) != 1 {
		t.Errorf("%d texts, want 1", len(ids))
	}
	g := newStage(said{deltas: []string{"Of course. "}, calls: []openai.ToolCall{text, call(toolText, `{"body":"2 Main St"}`)}})
	g.answer(t.Context(), events.Ask{})
	if len(g.facts) != 2 || g.facts[0].ID == g.facts[1].ID {
		t.Errorf("two texts of one turn are the same: %v", g.facts)
	}
}

func TestATextGoesToTheCallersOwnNumberOnly(t *testing.T) {
	t.Parallel()
	for caller, want := range map[string]string{"+12065550142": "+12065550142", "anonymous": "", "+266696687": "", "sip:ann@example.com": "", "": ""} {
		g := newStage(said{deltas: []string{"Well. "}, calls: []openai.ToolCall{call(toolText, `{"body":"hi","to":"+19005550100"}`)}}, said{deltas: []string{"There."}})
		g.answer(t.Context(), events.Ask{Call: "CA1", Turn: 1, Attempt: 1, Caller: caller})
		got := ""
		if len(g.facts) > 0 {
			got = g.facts[0].Fact.(events.SMSRequested).To
		}
		if got != want {
			t.Errorf("caller %q: text to %q, want %q", caller, got, want)
		}
	}
}

func TestBeatsFillEverySilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newStage(said{wait: 2 * time.Second, gap: time.Second, deltas: []string{"The ", "office ", "is ", "open."}})
		began := time.Now()
		g.answer(t.Context(), events.Ask{})
		if g.heard.kinds[0] != events.AnswerBeat || !g.at[0].Equal(began) {
			t.Errorf("first step %s after %v, want a beat at once", g.heard.kinds[0], g.at[0].Sub(began))
		}
		for i := 1; i < len(g.at); i++ {
			if quiet := g.at[i].Sub(g.at[i-1]); quiet > 150*time.Millisecond {
				t.Errorf("quiet for %v before step %d", quiet, i)
			}
		}
		steps := len(g.at)
		time.Sleep(time.Minute)
		if len(g.at) != steps || !g.done() {
			t.Error("something was sent after the answer was done")
		}
	})
}

// However slow the model and the bus are, the first words come in time.
func TestFirstWordsComeInTime(t *testing.T) {
	t.Parallel()
	const inTime = 7 * time.Second
	message := []openai.ToolCall{call(toolMessage, `{"message":"x"}`)}
	for name, tc := range map[string]struct {
		steps   []said
		publish func(context.Context, events.Event) (uint64, error)
	}{
		"model hangs":                  {steps: []said{{wait: time.Hour}}},
		"tools, then hangs":            {steps: []said{{wait: 5 * time.Second, calls: message}, {wait: time.Hour}}},
		"tools for ever, each in time": {steps: []said{{wait: 4 * time.Second, calls: message}}},
		"bus hangs": {steps: []said{{calls: message}, {deltas: []string{"Done."}}}, publish: func(ctx context.Context, _ events.Event) (uint64, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newStage(tc.steps...)
				g.publish = tc.publish
				began := time.Now()
				g.answer(t.Context(), events.Ask{})
				if took := time.Since(began); took > inTime || strings.TrimSpace(g.text()) == "" || !g.done() {
					t.Errorf("%q after %v, steps end in %s", g.text(), took, g.heard.kinds[len(g.heard.kinds)-1])
				}
			})
		})
	}
}

func TestACancelledTurnStopsAtOnceAndIsNotDone(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]said{
		"while it thinks":                         {wait: time.Hour},
		"while it talks":                          {deltas: []string{"The ", "office"}, gap: time.Hour},
		"and a model that ends as if all is well": {deltas: []string{"The office."}, wait: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				g := newStage(step)
				if step.wait == time.Second {
					g.model = nil
				}
				time.AfterFunc(500*time.Millisecond, cancel)
				began := time.Now()
				if g.model == nil {
					g.answerDeaf(ctx)
				} else {
					g.answer(ctx, events.Ask{})
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("stopped after %v", took)
				}
				if g.done() {
					t.Error("an answer nobody wants is done")
				}
			})
		})
	}
}

// answerDeaf has a model that does not notice that it was cancelled.
func (g *stage) answerDeaf(ctx context.Context) {
	w := &worker{
		log: zap.NewNop(), callers: newCallers(nil), now: time.Now, settings: oneTenant(g.s),
		model: func(context.Context, []openai.Message, []openai.Tool, func(string) error) (openai.Result, error) {
			time.Sleep(time.Second)
			return openai.Result{}, nil
		},
	}
	w.answer(ctx, 7, events.Ask{Call: "CA1", Turn: 1, Attempt: 1}, g.heard.reply)
}

func TestAnInterruptedCallerDoesNotCostOthersTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCallers(nil)
		c.read = func(ctx context.Context, _ events.Tenant, caller string) (store.CallerContext, error) {
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return store.CallerContext{}, err
			}
			return store.CallerContext{Known: true, Name: caller}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if got := c.load(ctx, 1, "CA1", "+1ann"); got.Known {
			t.Errorf("%+v of an ask nobody waits for", got)
		}
		if got := c.load(t.Context(), 1, "CA2", "+1bob"); got.Name != "+1bob" {
			t.Error("another call has no context because this one was interrupted")
		}
	})
}

// The greeting says whom the caller has reached: it stays however long the
// call gets.
func TestHistoryIsTrimmedInTheMiddle(t *testing.T) {
	t.Parallel()
	long := []events.Line{{Role: events.RoleAgent, Text: "Good morning, Fig and Sons."}}
	for range 100 {
		long = append(long, events.Line{Role: events.RoleCaller, Text: strings.Repeat("so ", 200)}, events.Line{Role: events.RoleAgent, Text: "I see.", Cut: true})
	}
	long = append(long, events.Line{Role: events.RoleCaller, Text: "When do you open?"})
	got := messages(events.Ask{History: long}, "prompt")
	size := 0
	for _, m := range got[1:] {
		size += len(m.Text)
	}
	if len(got) > historyLines+2 || size > historyBytes+1000 {
		t.Errorf("%d lines, %d bytes", len(got), size)
	}
	if got[1].Text != "Good morning, Fig and Sons." || got[len(got)-1].Text != "When do you open?" {
		t.Errorf("begins %q, ends %q", got[1].Text, got[len(got)-1].Text)
	}
	if cut := got[len(got)-2]; cut.Role != "assistant" || !strings.HasSuffix(cut.Text, "—") {
		t.Errorf("an interrupted line reads %q", cut.Text)
	}
	if short := messages(events.Ask{History: long[:4]}, "prompt"); len(short) != 5 {
		t.Errorf("a short call has %d lines, want 5", len(short))
	}
}
