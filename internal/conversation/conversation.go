// Package conversation answers the turns of live calls. It keeps nothing that
// it could not do without: every ask brings the whole call, so any worker can
// answer any turn of any call.
package conversation

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/settings"
)

const (
	slots        = 1024 // asks answered at once by one process
	beatEvery    = 100 * time.Millisecond
	turnBudget   = 25 * time.Second
	wordsWithin  = 8 * time.Second // until the first word, retries included
	maxRounds    = 3               // model calls of one turn, because of tools
	historyLines = 40
	historyBytes = 12000
)

// Names of the tools.
const (
	toolMessage  = "take_message"
	toolText     = "send_text"
	toolEnd      = "end_call"
	toolTransfer = "transfer_call"
)

// Words for when the model has none.
const (
	trouble  = "I'm sorry, I'm having trouble just now. Could you say that once more? "
	again    = "I'm sorry, it still doesn't work. Please leave your name and number, and someone will call you back. "
	cutShort = " I'm sorry, I lost my thread. Please go on. "
	farewell = "Thank you for calling. Goodbye!"
)

// model is the part of openai.Client that a turn needs.
type model func(ctx context.Context, messages []openai.Message, tools []openai.Tool, onText func(string) error) (openai.Result, error)

// worker is one conversation process.
type worker struct {
	log      *zap.Logger
	settings interface {
		ByID(t events.Tenant) (events.Settings, bool)
	}
	callers *callers
	model   model
	publish func(ctx context.Context, e events.Event) (uint64, error)
	now     func() time.Time
}

// Run answers asks until ctx ends, and then those it has taken.
func Run(ctx context.Context, p *app.Platform) error {
	client := openai.Open(openai.Options{APIKey: p.Config.OpenAIKey, BaseURL: p.Config.OpenAIBaseURL, Model: p.Config.OpenAIModel})
	dir := settings.NewDirectory(p.Log)
	w := &worker{
		log: p.Log.Named("conversation"), settings: dir, callers: newCallers(p.Store), model: client.Stream,
		publish: p.Bus.Publish, now: time.Now,
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		for watch.Err() == nil {
			if err := dir.Watch(watch, p.Bus); err != nil && watch.Err() == nil {
				w.log.Warn("settings interrupted", zap.Error(err))
				pause(watch, time.Second)
			}
		}
	}()
	if err := dir.WaitReady(ctx); err != nil {
		return nil //nolint:nilerr // told to stop before there was anything to do
	}
	greets := make(chan error, 1)
	go func() { greets <- p.Bus.ServeGreets(ctx, w.greet) }()
	p.Ready("conversation")
	err := p.Bus.ServeAsks(ctx, slots, w.answer)
	return errors.Join(err, <-greets)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// greet words a greeting for a caller we know; empty for others.
func (w *worker) greet(ctx context.Context, t events.Tenant, g events.Greet) (events.Greeting, error) {
	s, ok := w.settings.ByID(t)
	if !ok || s.ReturningGreeting == "" {
		return events.Greeting{}, nil
	}
	c := w.callers.load(ctx, t, g.Call, g.Caller)
	first, _, _ := strings.Cut(c.Name, " ")
	if first == "" {
		return events.Greeting{}, nil
	}
	return events.Greeting{Text: settings.Fill(s.ReturningGreeting, s, first, w.now())}, nil
}

// turn is one ask being answered.
type turn struct {
	w      *worker
	log    *zap.Logger
	tenant events.Tenant
	ask    events.Ask
	s      events.Settings
	out    *speaker
	said   int // rounds of tools done
}

// answer is the AskHandler.
func (w *worker) answer(ctx context.Context, t events.Tenant, a events.Ask, reply func(events.Answer) error) {
	log := w.log.With(zap.String("tenant", t.String()), zap.String("call", a.Call), zap.Int("turn", a.Turn))
	out := newSpeaker(a, reply)
	out.beat()
	s, ok := w.settings.ByID(t)
	if !ok {
		out.failed("no such tenant")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, turnBudget)
	defer cancel()
	defer out.beating(ctx)()
	c := w.callers.load(ctx, t, a.Call, a.Caller)
	tn := &turn{w: w, log: log, tenant: t, ask: a, s: s, out: out}
	action, err := tn.run(ctx, messages(a, system(s, c, w.now())))
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			log.Warn("model gave no answer", zap.String("kind", string(openai.KindOf(err))))
			tn.wayOn()
		}
		return
	}
	if action != nil && action.Kind == events.ActionEnd && out.words() == 0 && a.Said == "" {
		_ = out.say(farewell)
	}
	out.done(action)
}

// messages are the call as the model sees it. When the caller has heard the
// beginning of this answer already, it is the last line, to be gone on from.
func messages(a events.Ask, prompt string) []openai.Message {
	lines := a.History
	if len(lines) > historyLines {
		lines = lines[len(lines)-historyLines:]
	}
	size := 0
	for i := len(lines) - 1; i > 0; i-- {
		if size += len(lines[i].Text); size > historyBytes {
			lines = lines[i:]
			break
		}
	}
	if a.Said != "" {
		prompt += "\nThe connection broke while you were answering. Your last line is what the caller has heard of it: go on exactly where it stops, and repeat nothing.\n"
	}
	out := []openai.Message{{Role: "system", Text: prompt}}
	for _, l := range lines {
		role, text := "user", l.Text
		if l.Role == events.RoleAgent {
			role = "assistant"
			if l.Cut {
				text += " —"
			}
		}
		out = append(out, openai.Message{Role: role, Text: text})
	}
	if a.Said != "" {
		out = append(out, openai.Message{Role: "assistant", Text: a.Said})
	}
	return out
}

// run streams the model, and again for as long as it calls tools that need
// telling.
func (t *turn) run(ctx context.Context, msgs []openai.Message) (*events.Action, error) {
	for range maxRounds {
		r, err := t.stream(ctx, msgs)
		if err != nil {
			return nil, err
		}
		if len(r.ToolCalls) == 0 {
			return nil, nil //nolint:nilnil // said, and nothing to do
		}
		msgs = append(msgs, openai.Message{Role: "assistant", Text: r.Text, ToolCalls: r.ToolCalls})
		spoke := strings.TrimSpace(r.Text) != ""
		settled := true
		for i, call := range r.ToolCalls {
			action, result := t.use(ctx, i, call)
			if action != nil {
				return action, nil
			}
			settled = settled && result == done
			msgs = append(msgs, openai.Message{Role: "tool", ToolCallID: call.ID, Text: result})
		}
		t.said++
		if spoke && settled {
			// The words that came with the tools are the answer.
			return nil, nil //nolint:nilnil // said, and nothing to do
		}
	}
	return nil, nil //nolint:nilnil // said what there was
}

// stream gets one answer of the model. Cut short after words, it is asked to
// go on once; then the caller is told.
func (t *turn) stream(ctx context.Context, msgs []openai.Message) (openai.Result, error) {
	first, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	late := time.AfterFunc(wordsWithin, func() { stop(context.DeadlineExceeded) })
	defer late.Stop()
	before := t.out.words()
	r, err := t.w.model(first, msgs, tools(t.s), func(text string) error {
		late.Stop()
		return t.out.say(text)
	})
	if err == nil || t.out.words() == before || ctx.Err() != nil {
		return r, err
	}
	heard := r.Text
	t.out.resumeAfter(heard)
	rest, err := t.w.model(ctx, append(msgs[:len(msgs):len(msgs)], openai.Message{Role: "assistant", Text: heard}), tools(t.s), t.out.say)
	if err != nil && ctx.Err() == nil {
		_ = t.out.say(cutShort)
		return openai.Result{Text: heard}, nil
	}
	rest.Text = heard + rest.Text
	return rest, err
}

// wayOn is what the caller hears when the model has nothing to say.
func (t *turn) wayOn() {
	words := trouble
	for _, l := range t.ask.History {
		if l.Role == events.RoleAgent && strings.HasPrefix(trouble, strings.TrimSpace(l.Text)) && l.Text != "" {
			words = again
		}
	}
	if t.out.words() > 0 {
		words = cutShort
	}
	_ = t.out.say(words)
	t.out.done(nil)
}

// done is a tool's result when there is nothing to add.
const done = "done"

// use does what a tool call asks, or says why not. Facts a retry states again
// are the same facts.
func (t *turn) use(ctx context.Context, i int, call openai.ToolCall) (*events.Action, string) {
	var in struct {
		For, Message, Callback, Body, To, Reason string
	}
	if call.Invalid || json.Unmarshal([]byte(call.Arguments), &in) != nil {
		return nil, "the arguments could not be read; call the tool again or go on without it"
	}
	switch call.Name {
	case toolEnd:
		return &events.Action{Kind: events.ActionEnd, Reason: in.Reason}, ""
	case toolTransfer:
		for _, rule := range t.s.Transfers {
			if strings.EqualFold(rule.Name, in.To) {
				return &events.Action{Kind: events.ActionTransfer, To: rule.Name, Reason: in.Reason}, ""
			}
		}
		return nil, "there is nobody of that name to transfer to; offer to take a message"
	case toolMessage:
		if strings.TrimSpace(in.Message) == "" {
			return nil, "there is no message; ask the caller for it"
		}
		return nil, t.state(ctx, events.MessageTaken{Turn: t.ask.Turn, For: clip(in.For, 200), Text: clip(in.Message, 2000), Callback: clip(in.Callback, 60)})
	case toolText:
		to, err := settings.Number(t.ask.Caller)
		if err != nil {
			return nil, "the caller's number is withheld; offer to take a message"
		}
		if strings.TrimSpace(in.Body) == "" {
			return nil, "there is nothing to send"
		}
		nth := strconv.Itoa(t.ask.Turn) + "/" + strconv.Itoa(t.said) + "/" + strconv.Itoa(i)
		return nil, t.state(ctx, events.SMSRequested{
			Message: events.MessageID(t.tenant, t.ask.Call, events.PurposeCaller, to, nth),
			To:      to, Body: clip(t.s.Name+": "+in.Body, 1000), Purpose: events.PurposeCaller,
		})
	}
	return nil, "there is no such tool"
}

func (t *turn) state(ctx context.Context, f events.Fact) string {
	if _, err := t.w.publish(ctx, events.New(t.tenant, t.ask.Call, t.w.now(), f)); err != nil {
		t.log.Error("fact not stored", zap.String("event", f.Name()), zap.Error(err))
		return "it could not be saved; apologise and ask the caller to try again later"
	}
	return done
}
