package ingress

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/twilio"
)

// Run serves Twilio until ctx ends, then lets live calls finish for as long as
// DRAIN_SECONDS allows; those that go on longer are left to another ingress.
func Run(ctx context.Context, p *app.Platform) error {
	app.WaitsForDisk()
	outbox, err := p.Bus.OpenOutbox(filepath.Join(p.Config.DataDir, "outbox"))
	if err != nil {
		return fmt.Errorf("open outbox: %w", err)
	}
	life, letGo := context.WithCancel(context.WithoutCancel(ctx))
	defer letGo()
	w := &worker{
		log: p.Log.Named("ingress"), bus: p.Bus, outbox: outbox, settings: settings.NewDirectory(p.Log),
		vault: p.Vault, verifier: twilio.NewVerifier(p.Config.TwilioAuthToken), pass: newPasses(p.Config.TwilioAuthToken),
		publicURL: p.Config.PublicURL, instance: uuid.NewString(), metrics: newMetrics(p.Metrics),
		life: life, serving: ctx, settle: settleTime, calls: map[key]*call{}, expected: map[key]func(){},
	}
	w.routes(p.Mux)
	bg, stop := context.WithCancel(life)
	defer stop()
	go w.background(bg, "owner heartbeat", func(ctx context.Context) error { return w.bus.KeepAlive(ctx, w.instance) })
	go w.background(bg, "settings", func(ctx context.Context) error { return w.settings.Watch(ctx, w.bus) })
	go w.sweep(bg)
	if err := w.settings.WaitReady(ctx); err == nil {
		p.Ready("ingress")
	}
	<-ctx.Done()
	w.drain(p.Config.Drain(), letGo)
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := outbox.Close(closing); err != nil {
		w.log.Warn("facts wait in the outbox for the next start", zap.Error(err))
	}
	return nil
}

// background keeps f running: it ends only with ctx.
func (w *worker) background(ctx context.Context, what string, f func(context.Context) error) {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn(what+" interrupted", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (w *worker) routes(mux *http.ServeMux) {
	mux.HandleFunc("/twilio/voice", w.signed("voice", w.voice))
	mux.HandleFunc("/twilio/voice/action", w.signed("action", w.action))
	mux.HandleFunc("/twilio/voice/fallback", w.signed("fallback", w.fallback))
	mux.HandleFunc("/twilio/status", w.signed("status", w.status))
	mux.HandleFunc("/twilio/recording", w.signed("recording", w.recording))
	mux.HandleFunc("/twilio/sms", w.signed("sms", w.sms))
	mux.HandleFunc("/twilio/sms/status", w.signed("sms_status", w.smsStatus))
	mux.HandleFunc("/twilio/relay", w.relay)
}

// drain waits for live calls, then hands the rest to other ingresses.
func (w *worker) drain(wait time.Duration, letGo func()) {
	idle := make(chan struct{})
	go func() { w.busy.Wait(); close(idle) }()
	select {
	case <-idle:
		return
	case <-time.After(wait):
	}
	w.mu.Lock()
	left := make([]*call, 0, len(w.calls))
	for _, c := range w.calls {
		left = append(left, c)
	}
	w.mu.Unlock()
	w.log.Info("handing live calls on", zap.Int("calls", len(left)))
	for _, c := range left {
		c.post(stopping{})
	}
	select {
	case <-idle:
	case <-time.After(5 * time.Second):
	}
	letGo()
}
