// Package summarizer turns a call that has ended into call.summarized: what it
// was about, and what the caller said about himself. The model is asked once
// for each call, and what it says is a claim until code finds the words.
package summarizer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

const (
	slots      = 8
	lease      = 20 * time.Second // kept up while the model is asked
	modelTries = 6                // deliveries after which the tenant is told without a model
	skew       = time.Minute
	lateTools  = 2 * time.Second
	standIn    = "simulated" // prefix of the stand-in's model name
)

// Run listens for call.ended and publishes call.summarized.
func Run(ctx context.Context, p *app.Platform) error {
	if p.Store == nil {
		return app.Wrong(errors.New("summarizer: DATABASE_URL is needed"))
	}
	dir := settings.NewDirectory(p.Log)
	client := openai.Open(openai.Options{APIKey: p.Config.OpenAIKey, BaseURL: p.Config.OpenAIBaseURL, Model: p.Config.OpenAIModel})
	w := newWorker(p, dir, client.JSON)
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go w.watch(watch, func(ctx context.Context) error { return dir.Watch(ctx, p.Bus) })
	if dir.WaitReady(ctx) != nil {
		return nil
	}
	p.Ready("summarizer")
	return bus.Consume(ctx, p.Bus, bus.Consumer{Name: "summarizer", Slots: slots}, w.callEnded)
}

func newWorker(p *app.Platform, dir *settings.Directory, ask model) *worker {
	return &worker{
		log: p.Log.Named("summarizer"), settings: dir, model: ask, publish: p.Bus.Publish,
		facts: func(ctx context.Context, e events.Event, f events.CallEnded, last uint64) ([]events.Event, error) {
			return p.Bus.ReadCall(ctx, e.Tenant, e.Call, bus.Span{First: f.FirstSeq, Since: f.StartedAt.Add(-skew), Last: last, Facts: f.Facts})
		},
		claims: func(t events.Tenant) (claims, error) { return p.Store.For(t) },
		name:   uuid.NewString(),
		prompt: instructions,
	}
}

// model answers a question with one document that fits the schema.
type model func(ctx context.Context, system, user, name string, schema json.RawMessage) (openai.Result, error)

// claims is the store as deriving once needs it.
type claims interface {
	ClaimExtraction(ctx context.Context, call, key, by string, lease time.Duration) (store.Claim, error)
	SaveExtraction(ctx context.Context, call, key string, result []byte) error
	ReleaseExtraction(ctx context.Context, call, key, by string) error
}

type worker struct {
	log      *zap.Logger
	settings *settings.Directory
	model    model
	publish  func(ctx context.Context, e events.Event) (uint64, error)
	facts    func(ctx context.Context, e events.Event, f events.CallEnded, last uint64) ([]events.Event, error)
	claims   func(t events.Tenant) (claims, error)
	name     string
	prompt   string
	by       string // the model, where it was chosen; another one is another question
	past     bool   // a call that was told of before: when the model fails, nothing takes its place
}

func (w *worker) watch(ctx context.Context, f func(context.Context) error) {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("settings interrupted", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// callEnded summarizes one call.
func (w *worker) callEnded(ctx context.Context, e events.Event, f events.CallEnded) error {
	s, ok := w.settings.ByID(e.Tenant)
	if !ok {
		return fmt.Errorf("summarize call %s: settings of its tenant are not known", e.Call)
	}
	c, err := w.call(ctx, e, f)
	if err != nil {
		return fmt.Errorf("read call %s: %w", e.Call, err)
	}
	sum := events.CallSummarized{
		Caller: f.From, StartedAt: f.StartedAt, EndedAt: f.EndedAt, Seconds: f.Seconds, Reason: f.Reason,
		Topics: []string{}, Sentiment: "neutral", Resolution: "unknown", Findings: c.kept, Rejected: []events.Reject{},
		Messages: c.messages, Style: profile.Measures(c.turns), Template: s.Template.ID, Via: f.Via,
	}
	if c.heard == 0 {
		sum.Summary = "The caller hung up without saying anything."
	} else if err := w.derive(ctx, e, s, c, &sum); err != nil {
		return err
	}
	out := events.New(e.Tenant, e.Call, e.Time, sum)
	out.Cause, out.Trace = e.ID, e.Trace
	if _, err := w.publish(ctx, out); err != nil {
		return fmt.Errorf("publish summary of %s: %w", e.Call, err)
	}
	return nil
}

// call reads a call. Of one that ended before the caller's last turn was
// answered it waits for the message that somebody may be taking at that moment.
func (w *worker) call(ctx context.Context, e events.Event, f events.CallEnded) (call, error) {
	facts, err := w.facts(ctx, e, f, e.Seq)
	if err != nil {
		return call{}, err
	}
	c := transcript(facts)
	if c.answered == f.Turns {
		return c, nil
	}
	select {
	case <-ctx.Done():
		return call{}, ctx.Err()
	case <-time.After(min(lateTools, time.Until(f.EndedAt.Add(lateTools)))):
	}
	const now = 0
	facts, err = w.facts(ctx, e, f, now)
	return transcript(facts), err
}

// call is what was said in a call.
type call struct {
	turns    []profile.Turn
	messages []events.Message
	kept     []events.Finding // numbers left out of the text that stay with the caller, sealed
	heard    int              // utterances of the caller
	answered int              // newest of them that was
}

func transcript(facts []events.Event) call {
	c := call{turns: []profile.Turn{}, messages: []events.Message{}, kept: []events.Finding{}}
	seen := map[string]bool{}
	for _, e := range facts {
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		switch f := e.Fact.(type) {
		case events.CallAnswered:
			if f.Greeting != "" {
				c.turns = append(c.turns, profile.Turn{Turn: 0, Role: events.RoleAgent, Text: f.Greeting})
			}
		case events.TurnHeard:
			c.heard++
			c.turns = append(c.turns, profile.Turn{Turn: f.Turn, Role: events.RoleCaller, Text: f.Text, Lang: f.Lang})
			c.kept = append(c.kept, kept(f)...)
		case events.TurnSpoken:
			c.answered = max(c.answered, f.Turn)
			if f.Turn > 0 {
				c.turns = append(c.turns, profile.Turn{Turn: f.Turn, Role: events.RoleAgent, Text: f.Text})
			}
		case events.MessageTaken:
			c.messages = append(c.messages, events.Message{For: f.For, Text: f.Text, Callback: f.Callback})
		}
	}
	slices.SortStableFunc(c.turns, func(a, b profile.Turn) int { return cmp.Compare(a.Turn, b.Turn) })
	return c
}

// sealedFields hold numbers that were left out of the text because they look
// like what must not be written down.
var sealedFields = map[string]string{"policy": "memory.policy_number", "claim": "memory.claim_number"}

// kept are the findings a turn's sealed numbers are: no model is asked, which
// was shown the marks only. Whoever wants the number opens it.
func kept(f events.TurnHeard) (out []events.Finding) {
	for _, s := range f.Sealed {
		if field := sealedFields[s.Kind]; field != "" && strings.Contains(f.Text, s.Mark) {
			out = append(out, events.Finding{
				Turn: f.Turn, Evidence: clip(f.Text, 1000), Subject: "caller", Field: field, Value: s.Mark, Confidence: "stated", Sealed: s.Value,
			})
		}
	}
	return out
}

// derived is what is kept of the one paid-for answer, so that a redelivery
// states the same.
type derived struct {
	Raw       string `json:"raw"`
	Model     string `json:"model"`
	TokensIn  int    `json:"tokens_in"`
	TokensOut int    `json:"tokens_out"`
}

// derive asks the model, or takes what it said before, and checks it.
func (w *worker) derive(ctx context.Context, e events.Event, s events.Settings, c call, sum *events.CallSummarized) error {
	user, schema, err := request(s, c, sum.StartedAt)
	if err != nil {
		return bus.Permanent(err)
	}
	p := events.Producer{PromptSHA: sha(w.prompt), SchemaSHA: sha(string(schema)), InputSHA: sha(user)}
	got, err := w.once(ctx, e, p, user, schema)
	if err != nil {
		var failed *openai.Error
		if w.past || !errors.As(err, &failed) || failed.Retryable() && e.Delivery < modelTries {
			return fmt.Errorf("derive from call %s: %w", e.Call, err)
		}
		// The tenant is told all the same; it can be derived again later.
		w.log.Warn("call summarized without a model", zap.String("call", e.Call), zap.String("kind", string(failed.Kind)))
		sum.Summary = fmt.Sprintf("The caller spoke %d times in a call of %d seconds. No summary could be made.", c.heard, sum.Seconds)
		return nil
	}
	// What it said, unedited, stays with the claim until it expires.
	p.Model, p.TokensIn, p.TokensOut = got.Model, got.TokensIn, got.TokensOut
	p.Simulated = strings.HasPrefix(got.Model, standIn)
	sum.Producer = p
	return adopt(s, c, got.Raw, sum)
}

// once makes sure that the model is paid once for the same question.
func (w *worker) once(ctx context.Context, e events.Event, p events.Producer, user string, schema json.RawMessage) (d derived, err error) {
	t, err := w.claims(e.Tenant)
	if err != nil {
		return d, bus.Permanent(err)
	}
	key := sha(p.PromptSHA + p.SchemaSHA + w.by)
	claim, err := t.ClaimExtraction(ctx, e.Call, key, w.name, lease)
	switch {
	case err != nil:
		return d, err
	case claim.Result != nil:
		return d, json.Unmarshal(claim.Result, &d)
	case !claim.Ours:
		return d, errors.New("another worker is at it")
	}
	stop := w.keep(ctx, t, e.Call, key)
	r, err := w.model(ctx, w.prompt, user, schemaName, schema)
	stop()
	if err != nil {
		return d, errors.Join(err, t.ReleaseExtraction(context.WithoutCancel(ctx), e.Call, key, w.name))
	}
	d = derived{Raw: r.Text, Model: r.Model, TokensIn: r.Usage.In, TokensOut: r.Usage.Out}
	raw, err := json.Marshal(d)
	if err != nil {
		return d, err
	}
	return d, t.SaveExtraction(ctx, e.Call, key, raw)
}

// keep renews a claim until stopped: a worker that dies does not, and another
// may take over soon.
func (w *worker) keep(ctx context.Context, t claims, call, key string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		tick := time.NewTicker(lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if _, err := t.ClaimExtraction(ctx, call, key, w.name, lease); err != nil && ctx.Err() == nil {
					w.log.Warn("claim not renewed", zap.String("call", call), zap.Error(err))
				}
			}
		}
	}()
	return cancel
}

func sha(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
