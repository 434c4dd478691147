// Package conversation answers the turns of live calls. It keeps nothing that
// it could not do without: every ask brings the whole call, so any worker can
// answer any turn of any call.
package conversation

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/vault"
)

const slots = 1024 // asks answered at once by one process

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
	metrics *metrics
	vault   *vault.Vault // nil: what could be kept, sealed, is not
}

// Run answers asks until ctx ends, and then those it has taken.
func Run(ctx context.Context, p *app.Platform) error {
	client := openai.Open(openai.Options{APIKey: p.Config.OpenAIKey, BaseURL: p.Config.OpenAIBaseURL, Model: p.Config.OpenAIModel})
	dir := settings.NewDirectory(p.Log)
	w := &worker{
		log: p.Log.Named("conversation"), settings: dir, callers: newCallers(p.Store), model: client.Stream,
		publish: p.Bus.Publish, now: time.Now, metrics: newMetrics(p.Metrics), vault: p.Vault,
	}
	w.callers.missed = w.metrics.contextMissed
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

// seal seals for a tenant; nil without a vault.
func (w *worker) seal(t events.Tenant) func(text string) ([]byte, error) {
	if w.vault == nil {
		return nil
	}
	return func(text string) ([]byte, error) { return w.vault.Seal(t, mask.Purpose, text) }
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
	first, _, _ := strings.Cut(oneLine(c.Name), " ")
	if first == "" {
		return events.Greeting{}, nil
	}
	return events.Greeting{Text: settings.Fill(s.ReturningGreeting, s, first, w.now())}, nil
}
