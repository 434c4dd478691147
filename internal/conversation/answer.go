package conversation

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/openai"
)

const (
	beatEvery    = 100 * time.Millisecond
	turnBudget   = 25 * time.Second
	silence      = 6 * time.Second // without a word; then the caller hears ours
	maxRounds    = 3               // model calls of one turn, because of tools
	historyLines = 40
	historyBytes = 12000
)

// errSilence ends a turn that has kept the caller waiting.
var errSilence = errors.New("no word in time")

// turn is one ask being answered.
type turn struct {
	w      *worker
	log    *zap.Logger
	tenant events.Tenant
	ask    events.Ask
	s      events.Settings
	words  phrases
	out    *speaker
	quiet  *time.Timer // ends the turn; set back by each word
	texts  int         // promised in this turn
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
	defer out.beating(ctx)()
	limited, cancel := context.WithTimeout(ctx, turnBudget)
	defer cancel()
	limited, stop := context.WithCancelCause(limited)
	defer stop(nil)
	tn := &turn{w: w, log: log, tenant: t, ask: a, s: s, words: phrasesIn(s.Language), out: out}
	tn.quiet = time.AfterFunc(silence, func() { stop(errSilence) })
	defer tn.quiet.Stop()
	out.spoke = func() { tn.quiet.Reset(silence) }

	c := w.callers.load(limited, t, a.Call, a.Caller)
	action, err := tn.run(limited, messages(a, system(s, c, w.now())))
	switch {
	case ctx.Err() != nil:
		return // nobody wants it any more
	case err != nil:
		log.Warn("model gave no answer", zap.String("kind", string(openai.KindOf(err))))
		tn.wayOn()
		return
	}
	tn.finish(action)
}

// finish ends an answer; one without any words gets ours.
func (t *turn) finish(action *events.Action) {
	t.out.settle()
	switch silent := t.out.words() == 0 && t.ask.Said == ""; {
	case silent && action == nil:
		t.wayOn()
		return
	case silent && action.Kind == events.ActionEnd:
		t.out.interject(t.words.farewell)
	case silent:
		t.out.interject(t.words.through)
	}
	t.out.done(action)
}

// wayOn is what the caller hears when the model has nothing to say.
func (t *turn) wayOn() {
	t.w.metrics.wayOn()
	words := t.words.trouble
	switch {
	case t.out.words() > 0 || t.ask.Said != "":
		words = t.words.cutShort
	case t.words.troubled(t.ask.History):
		words = t.words.again
	}
	t.out.interject(words)
	t.out.done(nil)
}

// run streams the model, and again for as long as it calls tools that need
// telling.
func (t *turn) run(ctx context.Context, msgs []openai.Message) (*events.Action, error) {
	begun := t.ask.Said
	for range maxRounds {
		r, err := t.stream(ctx, msgs, begun)
		if err != nil || len(r.ToolCalls) == 0 {
			return nil, err
		}
		heard := t.out.heard()
		msgs = append(msgs, openai.Message{Role: "assistant", Text: heard, ToolCalls: r.ToolCalls})
		action, results, settled := t.useAll(ctx, r.ToolCalls)
		if settled && action != nil {
			return action, nil
		}
		if settled && strings.TrimSpace(heard) != "" {
			return nil, nil //nolint:nilnil // the words that came with the tools are the answer
		}
		msgs = append(msgs, results...)
		t.out.nextPart()
		begun = ""
	}
	return nil, nil //nolint:nilnil // said what there was
}

// stream gets one answer of the model, which the caller has heard the
// beginning of when begun is not empty. Cut short after words, the model is
// asked to go on, once.
func (t *turn) stream(ctx context.Context, msgs []openai.Message, begun string) (openai.Result, error) {
	r, err := t.w.model(ctx, goingOn(msgs, begun), tools(t.s), t.out.say)
	if err == nil {
		return r, nil
	}
	t.w.metrics.modelFailed(err)
	if r.Text == "" || ctx.Err() != nil {
		return r, err
	}
	t.quiet.Reset(silence)
	t.out.goOn()
	r, err = t.w.model(ctx, goingOn(msgs, t.out.heard()), tools(t.s), t.out.say)
	if err != nil {
		t.w.metrics.modelFailed(err)
	}
	return r, err
}

// goingOn is a conversation that ends in the beginning of the answer.
func goingOn(msgs []openai.Message, begun string) []openai.Message {
	if strings.TrimSpace(begun) == "" {
		return msgs
	}
	return append(msgs[:len(msgs):len(msgs)], openai.Message{Role: "assistant", Text: begun})
}

// messages are the call as the model sees it, up to the turn it is to answer.
func messages(a events.Ask, prompt string) []openai.Message {
	prompt += "\nIf your last line is the beginning of your answer, the caller has heard it and the connection broke: go on exactly where it stops, and repeat nothing.\n"
	out := []openai.Message{{Role: "system", Text: prompt}}
	for _, l := range trimmed(a.History) {
		role, text := "user", l.Text
		if l.Role == events.RoleAgent {
			role = "assistant"
			if l.Cut {
				text += " —"
			}
		}
		out = append(out, openai.Message{Role: role, Text: text})
	}
	return out
}

// trimmed are the last lines of a call, and the greeting, which says whom the
// caller has reached.
func trimmed(lines []events.Line) []events.Line {
	from := max(0, len(lines)-historyLines)
	size := 0
	for i := len(lines) - 1; i >= from; i-- {
		if size += len(lines[i].Text); size > historyBytes && i < len(lines)-1 {
			from = i + 1
			break
		}
	}
	if from == 0 {
		return lines
	}
	var out []events.Line
	if lines[0].Role == events.RoleAgent {
		out = append(out, lines[0])
	}
	return append(out, lines[from:]...)
}
