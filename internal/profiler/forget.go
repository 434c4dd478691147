package profiler

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/privacy"
)

const (
	sweepFirst = 10 * time.Minute // after a start, which has enough to do
	sweepEvery = 24 * time.Hour
	sweepAgain = time.Hour // after one that failed
)

// forget erases again what a restored backup has brought back, and from then on
// each day what is older than its tenant has it kept. Only whoever leads does.
func (w *worker) forget(ctx context.Context, p *app.Platform) {
	s := w.privacy(p)
	if s == nil {
		w.log.Warn("nothing is erased or expires here: MASTER_KEY is not set")
		return
	}
	restored, wait := false, time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		var err error
		w.removing.Lock()
		if !restored {
			err = w.eraseAgain(ctx, s)
			restored, wait = err == nil, sweepFirst
		} else {
			err = w.sweep(ctx, s)
			wait = sweepEvery
		}
		w.removing.Unlock()
		if err != nil && ctx.Err() == nil {
			w.log.Error("what is to be forgotten is not yet", zap.Error(err))
			wait = sweepAgain
		}
	}
}

// privacy is what exports and erases; nil without a key.
func (w *worker) privacy(p *app.Platform) *privacy.Service {
	if p.Vault == nil {
		return nil
	}
	return &privacy.Service{
		Bus: p.Bus, Store: p.Store, Vault: p.Vault, Live: Projection, Ledger: privacy.NewLedger(p.Config.Ledger()), Dir: p.Config.DataDir,
		Housekeep:   privacy.Housekeeping(func(ctx context.Context) string { return app.AdminDSN(ctx, p.Config) }),
		ForgetTexts: func(sids []string) error { return app.ForgetTexts(p.Config, sids) },
	}
}

// eraseAgain leaves a call that is under way to the next time.
func (w *worker) eraseAgain(ctx context.Context, s *privacy.Service) error {
	n, err := s.Again(ctx, privacy.Request{Wait: time.Minute, Files: true})
	if n > 0 {
		w.log.Warn("erased again, or gone on with, by the ledger of erasures", zap.Int("erasures", n))
	}
	return err
}

func (w *worker) sweep(ctx context.Context, s *privacy.Service) error {
	all, err := s.Sweep(ctx, privacy.SweepOptions{Now: time.Now(), Files: true})
	for _, r := range all {
		w.log.Info("expired", zap.Stringer("tenant", r.Tenant), zap.Bool("hold", r.Limits.Hold), zap.Int("transcripts", r.Transcripts), zap.Int64("raw", r.Raw),
			zap.Int("texts", r.Texts), zap.Int("callers", r.Callers), zap.Int("calls", r.Calls), zap.Int("late", r.Late))
	}
	return errors.Join(err, w.eraseAgain(ctx, s))
}
