package summarizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// office is one business, with a bus of its own.
type office struct {
	*app.Platform
	t   *testing.T
	set events.Settings
	dir *settings.Directory
}

func newOffice(t *testing.T, db *testenv.Database) *office {
	t.Helper()
	o := &office{
		Platform: &app.Platform{Log: zap.NewNop(), Bus: testenv.Bus(t), Store: db.Store},
		t:        t, dir: settings.NewDirectory(zap.NewNop()),
	}
	o.set = db.Customer(t, events.Settings{Name: "Fig and Sons", Agent: "Mia", TimeZone: "America/Chicago", Template: events.Template{
		ID: "t", Fields: []events.Field{{Path: "personal.name", Type: "text"}, {Path: "policies.auto_1.make", Type: "text"}, {Path: "search.areas", Type: "array[text]"}},
	}})
	o.dir.Apply(o.set, false)
	return o
}

var began = time.Date(2026, 5, 6, 15, 0, 0, 0, time.UTC)

func (o *office) publish(e events.Event) uint64 {
	o.t.Helper()
	seq, err := o.Bus.Publish(o.t.Context(), e)
	if err != nil {
		o.t.Fatal(err)
	}
	return seq
}

// fact is the nth of a call.
func (o *office) fact(call string, n int, f events.Fact) events.Event {
	e := events.New(o.set.Tenant, call, began.Add(time.Duration(n)*time.Second), f)
	e.CallSeq = n
	return e
}

// call is one in which the caller says lines, and which has ended.
func (o *office) call(id string, lines ...string) events.Event {
	o.t.Helper()
	first := o.publish(o.fact(id, 1, events.CallReceived{From: "+12065550199", To: o.set.Numbers[0]}))
	o.publish(o.fact(id, 2, events.CallAnswered{Session: "s", Greeting: "Hello, this is Mia."}))
	n := 2
	for i, line := range lines {
		o.publish(o.fact(id, n+1, events.TurnHeard{Turn: i + 1, Text: line}))
		o.publish(o.fact(id, n+2, events.TurnSpoken{Turn: i + 1, Text: "I see."}))
		n += 2
	}
	return o.end(id, n+1, first, len(lines))
}

func (o *office) end(id string, n int, first uint64, turns int) events.Event {
	o.t.Helper()
	e := o.fact(id, n, events.CallEnded{
		From: "+12065550199", To: o.set.Numbers[0], StartedAt: began, EndedAt: began.Add(time.Minute), Seconds: 60,
		Reason: events.EndCaller, Turns: turns, FirstSeq: first, Answered: true,
	})
	e.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	e.Seq = o.publish(e)
	return e
}

func ended(e events.Event) events.CallEnded { return e.Fact.(events.CallEnded) }

// works has a worker take calls from the bus, without waiting long between
// tries, until the test ends.
func (o *office) works(w *worker) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := bus.Consume(ctx, o.Bus, bus.Consumer{Name: "summarizer", Slots: 4, Backoff: time.Millisecond}, w.callEnded); err != nil {
			o.t.Error(err)
		}
	})
	o.t.Cleanup(func() { cancel(); wg.Wait() })
}

// summaries are the first n there are.
func (o *office) summaries(n int) (all []events.Event) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), 30*time.Second)
	defer cancel()
	enough := errors.New("enough")
	err := o.Bus.Follow(ctx, 1, []string{events.Filter("call.summarized")}, func(_ context.Context, batch []events.Event) error {
		if all = append(all, batch...); len(all) >= n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		o.t.Fatalf("%d summaries within 30 s, want %d", len(all), n)
	}
	return all
}

// only is the one summary there is, once a call that ends later has its own.
func (o *office) only() events.CallSummarized {
	o.t.Helper()
	o.summaries(1)
	o.call("CAlast")
	all := o.summaries(2)
	if all[0].Call == "CAlast" || all[1].Call != "CAlast" {
		o.t.Errorf("summaries of %s and %s", all[0].Call, all[1].Call)
	}
	if dead, err := o.Bus.DeadLetters(o.t.Context(), 10); err != nil || len(dead) > 0 {
		o.t.Errorf("dead letters: %v, %v", dead, err)
	}
	return all[0].Fact.(events.CallSummarized)
}

// says is a model that says a document, and counts how often it is asked.
type says struct {
	asked atomic.Int64
	doc   map[string]any
	err   func(nth int64) error // nil: none
	wait  chan struct{}         // nil: none
	user  atomic.Value          // the last question
}

func (m *says) ask(ctx context.Context, _, user, _ string, _ json.RawMessage) (openai.Result, error) {
	n := m.asked.Add(1)
	m.user.Store(user)
	if m.wait != nil {
		select {
		case <-m.wait:
		case <-ctx.Done():
			return openai.Result{}, ctx.Err()
		}
	}
	if m.err != nil {
		if err := m.err(n); err != nil {
			return openai.Result{}, err
		}
	}
	doc := m.doc
	if doc == nil {
		doc = document()
	}
	raw, err := json.Marshal(doc)
	return openai.Result{Text: string(raw), Model: "gpt-test", Usage: openai.Usage{In: 10, Out: 5}}, err
}

func document(findings ...map[string]any) map[string]any {
	if findings == nil {
		findings = []map[string]any{}
	}
	return map[string]any{
		"summary": "Ann called.", "topics": []string{"policy"}, "sentiment": "positive", "resolution": "resolved",
		"stage": "", "stage_evidence": "", "findings": findings,
	}
}

func claim(field, value, evidence string) map[string]any {
	return map[string]any{"evidence": evidence, "turn": 1, "subject": "caller", "field": field, "value": value, "confidence": "stated"}
}

// The same call in the hands of two workers costs one question, and both tell
// the same.
func TestTwoWorkersAskOnce(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{wait: make(chan struct{})}
	one, two := newWorker(o.Platform, o.dir, m.ask), newWorker(o.Platform, o.dir, m.ask)
	e := o.call("CA1", "My name is Ann Lee.")
	done := make(chan error, 1)
	go func() { done <- one.callEnded(t.Context(), e, ended(e)) }()
	until(t, "the first has asked", func() bool { return m.asked.Load() == 1 })
	soon, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := two.callEnded(soon, e, ended(e)); err == nil || m.asked.Load() != 1 {
		t.Errorf("the second does not leave it to the first: %v", err)
	}
	close(m.wait)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := two.callEnded(t.Context(), e, ended(e)); err != nil {
		t.Errorf("the second cannot use what the first was told: %v", err)
	}
	if sum := o.summaries(1); m.asked.Load() != 1 || sum[0].Fact.(events.CallSummarized).Summary != "Ann called." {
		t.Errorf("asked %d times: %+v", m.asked.Load(), sum)
	}
}

// What one worker could not do another can at once.
func TestAWorkerThatFailsLeavesTheCallToOthers(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	down := &says{err: func(int64) error { return &openai.Error{Kind: openai.Down} }}
	e := o.call("CA1", "My name is Ann Lee.")
	e.Delivery = 1
	one, two := newWorker(o.Platform, o.dir, down.ask), newWorker(o.Platform, o.dir, (&says{}).ask)
	if err := one.callEnded(t.Context(), e, ended(e)); openai.KindOf(err) != openai.Down {
		t.Errorf("failed for another reason: %v", err)
	}
	if err := two.callEnded(t.Context(), e, ended(e)); err != nil {
		t.Error(err)
	}
}

func TestWorkersShareCalls(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{}
	const n = 20
	for i := range n {
		o.call(fmt.Sprint("CA", i), "My name is Ann Lee.")
	}
	o.works(newWorker(o.Platform, o.dir, m.ask))
	o.works(newWorker(o.Platform, o.dir, m.ask))
	of := map[string]int{}
	for _, e := range o.summaries(n) {
		of[e.Call]++
	}
	if len(of) != n || m.asked.Load() != n {
		t.Errorf("summaries of %d calls, asked %d times; want %d", len(of), m.asked.Load(), n)
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// However a question fails, the business is told about the call once.
func TestCallsAreNotLostWhenTheModelFails(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	const without = "The caller spoke 1 times in a call of 60 seconds. No summary could be made."
	for name, tc := range map[string]struct {
		err   func(n int64) error
		asked int64
		want  string
	}{
		"down for a while": {func(n int64) error {
			if n < 4 {
				return &openai.Error{Kind: openai.Down}
			}
			return nil
		}, 4, "Ann called."},
		"down to the last try": {func(int64) error { return &openai.Error{Kind: openai.Down} }, modelTries, without},
		"nothing left to pay":  {func(int64) error { return &openai.Error{Kind: openai.Quota} }, 1, without},
		"it would not":         {func(int64) error { return &openai.Error{Kind: openai.Refused} }, 1, without},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, db)
			m := &says{err: tc.err}
			o.works(newWorker(o.Platform, o.dir, m.ask))
			o.call("CA1", "My name is Ann Lee.")
			sum := o.only()
			if sum.Summary != tc.want || m.asked.Load() != tc.asked {
				t.Errorf("asked %d times, want %d: %q", m.asked.Load(), tc.asked, sum.Summary)
			}
			if told := sum.Producer.Model != ""; told != (tc.want != without) || sum.Caller != "+12065550199" || sum.Seconds != 60 {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// What was paid for is kept when it cannot be published, and nothing is paid
// for when it could not be kept.
func TestOneQuestionWhateverElseFails(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	for name, breaks := range map[string]func(w *worker, once func() error){
		"publishing": func(w *worker, once func() error) {
			publish := w.publish
			w.publish = func(ctx context.Context, e events.Event) (uint64, error) {
				if err := once(); err != nil {
					return 0, err
				}
				return publish(ctx, e)
			}
		},
		"reading the call": func(w *worker, once func() error) {
			facts := w.facts
			w.facts = func(ctx context.Context, e events.Event, f events.CallEnded, last uint64) ([]events.Event, error) {
				if err := once(); err != nil {
					return nil, err
				}
				return facts(ctx, e, f, last)
			}
		},
		"claiming": func(w *worker, once func() error) {
			rows := w.claims
			w.claims = func(t events.Tenant) (claims, error) {
				c, err := rows(t)
				return flaky{c, once}, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, db)
			m := &says{}
			w := newWorker(o.Platform, o.dir, m.ask)
			var times atomic.Int64
			breaks(w, func() error {
				if times.Add(1) == 1 {
					return errors.New("away")
				}
				return nil
			})
			o.works(w)
			o.call("CA1", "My name is Ann Lee.")
			if sum := o.only(); sum.Summary != "Ann called." || m.asked.Load() != 1 || times.Load() < 2 {
				t.Errorf("asked %d times: %+v", m.asked.Load(), sum)
			}
		})
	}
}

type flaky struct {
	claims
	once func() error
}

func (f flaky) ClaimExtraction(ctx context.Context, call, key, by string, lease time.Duration) (c store.Claim, err error) {
	if err := f.once(); err != nil {
		return c, err
	}
	return f.claims.ClaimExtraction(ctx, call, key, by, lease)
}

func TestOnlyWhatTheCallerSaidIsFound(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	o.set.Template.Extra = []events.Field{{Path: "own.nickname", Type: "text"}}
	o.dir.Apply(o.set, false)
	doc := document(
		claim("personal.name", "Ann Lee", "My name is Ann Lee"),
		claim("own.nickname", "Annie", "my nickname is Annie"),
		claim("personal.name", "Mia", "this is Mia"),
		claim("policies.auto_1.make", "Ferrari", "I drive a Ferrari"),
		claim("personal.religion", "Ann", "My name is Ann Lee"),
	)
	doc["stage"], doc["stage_evidence"] = "Application", "I want to apply"
	o.works(newWorker(o.Platform, o.dir, (&says{doc: doc}).ask))
	e := o.call("CA1", "My name is Ann Lee, and my nickname is Annie.")
	sum := o.only()
	if len(sum.Findings) != 2 || sum.Findings[0].Value != "Ann Lee" || sum.Findings[0].Turn != 1 || sum.Findings[1].Field != "own.nickname" {
		t.Errorf("found %+v", sum.Findings)
	}
	var why []string
	for _, r := range sum.Rejected {
		why = append(why, r.Reason)
	}
	if !slices.Equal(why, []string{"wrong_speaker", "quote_not_found", "unknown_field"}) {
		t.Errorf("refused for %v", why)
	}
	if sum.Stage != "" || sum.StageQuote != "" {
		t.Errorf("stage %q for words nobody said", sum.Stage)
	}
	p := sum.Producer
	if p.Model != "gpt-test" || p.Raw != "" || len(p.PromptSHA) != 64 || len(p.SchemaSHA) != 64 || len(p.InputSHA) != 64 || p.TokensIn != 10 || p.Simulated {
		t.Errorf("%+v", p)
	}
	if head := o.summaries(1)[0].Head; head.Cause != e.ID || head.Trace != e.Trace || !head.Time.Equal(e.Time) || head.Tenant != o.set.Tenant {
		t.Errorf("%+v", head)
	}
}

// The model reads what was said in the order it was said, of this call of
// this tenant and of nothing else, however the facts got into the stream.
func TestModelReadsTheCallInOrder(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{}
	o.works(newWorker(o.Platform, o.dir, m.ask))
	stranger := o.fact("CA1", 2, events.TurnHeard{Turn: 1, Text: "of another tenant"})
	stranger = events.New(o.set.Tenant+1, "CA1", stranger.Time, stranger.Fact)
	first := o.publish(o.fact("CA1", 5, events.TurnSpoken{Turn: 1, Text: "one, answered", Cut: true}))
	o.publish(stranger)
	o.publish(o.fact("CA1", 4, events.TurnHeard{Turn: 2, Text: "two"})) // the caller cuts in
	o.publish(o.fact("CA2", 3, events.TurnHeard{Turn: 1, Text: "of another call"}))
	o.publish(o.fact("CA1", 3, events.TurnHeard{Turn: 1, Text: "one"}))
	o.publish(o.fact("CA1", 6, events.TurnSpoken{Turn: 2, Text: "two, answered", Cut: true}))
	o.publish(o.fact("CA1", 7, events.TurnSpoken{Turn: 0, Text: "are you still there?"}))
	o.publish(o.fact("CA1", 2, events.CallAnswered{Session: "s", Greeting: "Hello"}))
	taken := o.fact("CA1", 0, events.MessageTaken{Turn: 2, For: "Bo", Text: "call me"})
	o.publish(taken)
	o.end("CA1", 8, first, 2)
	o.publish(o.fact("CA1", 9, events.TurnHeard{Turn: 3, Text: "after its end"}))
	sum := o.summaries(1)[0].Fact.(events.CallSummarized)
	var doc struct {
		Business, Agent string
		Turns           []struct {
			Turn       int
			Role, Text string
		}
	}
	if err := json.Unmarshal([]byte(m.user.Load().(string)), &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range doc.Turns {
		got = append(got, fmt.Sprint(l.Turn, " ", l.Role, " ", l.Text))
	}
	want := []string{"0 agent Hello", "1 caller one", "1 agent one, answered", "2 caller two", "2 agent two, answered"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if doc.Business != o.set.Name || doc.Agent != "Mia" || len(sum.Messages) != 1 || sum.Messages[0].For != "Bo" {
		t.Errorf("%+v, messages %+v", doc, sum.Messages)
	}
}

func TestNobodyIsAskedAboutSilence(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{}
	o.works(newWorker(o.Platform, o.dir, m.ask))
	o.call("CA1")
	sum := o.only()
	if m.asked.Load() != 0 || sum.Producer.Model != "" || len(sum.Findings) != 0 || sum.Summary != "The caller hung up without saying anything." {
		t.Errorf("asked %d times: %+v", m.asked.Load(), sum)
	}
}

// Whatever a model says fits into an event.
func TestWhateverTheModelSaysIsPublished(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	var words []string
	for i := range 50 {
		words = append(words, fmt.Sprint("area", i))
	}
	said := strings.Join(words, ", ") + ". " + strings.Repeat("really ", 100)
	var many []map[string]any
	for i := range 300 {
		many = append(many, claim("search.areas", strings.Join(words[i%10:], ", "), said), claim("memory.date", "never", fmt.Sprint(i, "never said ", said)))
	}
	vast := document()
	vast["summary"], vast["topics"] = strings.Repeat("é", 9000), slices.Repeat([]string{strings.Repeat("long ", 100)}, 50)
	nul := document(claim("personal.name", "Ann\x00 Lee", "area0"), claim("memory.date\x00", "x", "area0"))
	nul["summary"] = "Caf\x00e9."
	empty := document()
	empty["summary"], empty["sentiment"], empty["resolution"], empty["stage"] = "  ", "furious", "", "Nowhere"
	for name, tc := range map[string]struct {
		doc  map[string]any
		want string // in the summary
		ok   func(events.CallSummarized) bool
	}{
		"more than there is room for": {document(many...), "Ann called.", func(s events.CallSummarized) bool { return len(s.Findings) > 20 && len(s.Rejected) > 0 }},
		"at length":                   {vast, "ééé", func(s events.CallSummarized) bool { return len(s.Topics) == 10 }},
		"signs that nobody can keep":  {nul, "Caf\ufffde9.", func(s events.CallSummarized) bool { return true }},
		"nothing": {empty, "could not be summarized", func(s events.CallSummarized) bool {
			return s.Sentiment == "neutral" && s.Resolution == "unknown" && s.Stage == ""
		}},
		"something else":          {map[string]any{"summary": 7}, "could not be summarized", func(s events.CallSummarized) bool { return s.Producer.Raw == "" }},
		"findings without a turn": {document(map[string]any{"field": "personal.name", "turn": -4}), "Ann called.", func(s events.CallSummarized) bool { return len(s.Rejected) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, db)
			m := &says{doc: tc.doc}
			o.works(newWorker(o.Platform, o.dir, m.ask))
			o.call("CA1", said)
			if sum := o.only(); !strings.Contains(sum.Summary, tc.want) || !tc.ok(sum) || m.asked.Load() != 1 {
				t.Errorf("asked %d times: %.2000s", m.asked.Load(), fmt.Sprintf("%+v", sum))
			}
		})
	}
}

// Who hangs up the moment a message has been said has left it all the same.
func TestAMessageTakenAsTheCallEndsIsTold(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	first := o.publish(o.fact("CA1", 1, events.CallReceived{From: "+12065550199", To: o.set.Numbers[0]}))
	o.publish(o.fact("CA1", 2, events.TurnHeard{Turn: 1, Text: "Please tell Paula that I called."}))
	e := o.end("CA1", 3, first, 1)
	o.publish(o.fact("CA1", 4, events.MessageTaken{Turn: 1, For: "Paula", Text: "I called."}))
	c, err := newWorker(o.Platform, o.dir, (&says{}).ask).call(t.Context(), e, ended(e))
	if err != nil || len(c.messages) != 1 || c.heard != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// How a call came to us is said with what came of it.
func TestSummariesSayHowTheCallCame(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{}
	e := o.fact("CA1", 1, events.CallEnded{From: "+12065550199", To: o.set.Numbers[0], StartedAt: began, EndedAt: began, Reason: events.EndCaller, Via: events.ViaAPI})
	e.Seq = o.publish(e)
	if err := newWorker(o.Platform, o.dir, m.ask).callEnded(t.Context(), e, ended(e)); err != nil {
		t.Fatal(err)
	}
	if f := o.summaries(1)[0].Fact.(events.CallSummarized); f.Via != events.ViaAPI {
		t.Errorf("via %q", f.Via)
	}
}
