package profiler

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/privacy"
)

const (
	busyAgain  = 5 * time.Second // what had to wait is tried again
	failAgain  = time.Minute     // and what failed
	cleanEvery = time.Hour       // every table is locked for a moment each time
)

// asked are tenants who asked for something to be erased.
type asked struct {
	mu   sync.Mutex
	of   map[events.Tenant]bool
	bell chan struct{}
}

func (a *asked) add(t events.Tenant) {
	a.mu.Lock()
	if a.of == nil {
		a.of = map[events.Tenant]bool{}
	}
	a.of[t] = true
	a.mu.Unlock()
	select {
	case a.bell <- struct{}{}:
	default: // it rings already
	}
}

func (a *asked) take() (of map[events.Tenant]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of, a.of = a.of, nil
	return of
}

// erase carries out what is asked for over the API, at once; and makes the
// bytes of all that go from the files, at most once in a while.
func (w *worker) erase(ctx context.Context, p *app.Platform) {
	s := w.privacy(p)
	if s == nil {
		return
	}
	e := eraser{worker: w, service: s, waits: map[events.Tenant]bool{}, erased: map[events.Tenant]bool{}}
	for !e.begin(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(standBy):
		}
	}
	for {
		again := time.NewTimer(e.round(ctx))
		select {
		case <-ctx.Done():
		case <-w.asked.bell:
		case <-again.C:
		}
		if again.Stop(); ctx.Err() != nil {
			return
		}
	}
}

type eraser struct {
	*worker
	service *privacy.Service
	waits   map[events.Tenant]bool // to be looked at again
	erased  map[events.Tenant]bool // whose bytes are in files yet
	cleaned time.Time
}

// begin has every tenant looked at: of what was asked for before nobody tells.
func (e *eraser) begin(ctx context.Context) bool {
	all, err := e.store.ListCustomers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("what was asked to be erased is not looked for", zap.Error(err))
		}
		return false
	}
	for _, s := range all {
		e.asked.add(s.Tenant)
	}
	return true
}

// round carries out what there is, and says when to look again unless somebody
// asks before.
func (e *eraser) round(ctx context.Context) (again time.Duration) {
	e.removing.Lock()
	defer e.removing.Unlock()
	again = cleanEvery
	maps.Copy(e.waits, e.asked.take())
	for t := range maps.Clone(e.waits) {
		open, err := e.service.CarryOut(ctx, t, privacy.Request{})
		if err != nil && ctx.Err() == nil {
			e.log.Error("what was asked to be erased is not yet", zap.Stringer("tenant", t), zap.Error(err))
			again = min(again, failAgain)
		} else if open {
			again = min(again, busyAgain)
		} else {
			delete(e.waits, t)
		}
		e.erased[t] = true
	}
	if due := cleanEvery - time.Since(e.cleaned); due > 0 {
		return min(again, due)
	}
	n, err := e.service.Certify(ctx, slices.Collect(maps.Keys(e.erased)), func(string) {})
	if err != nil {
		if ctx.Err() == nil {
			e.log.Error("the bytes of what was erased are not gone yet", zap.Error(err))
		}
		return min(again, failAgain)
	}
	clear(e.erased)
	if n > 0 {
		e.cleaned = time.Now()
		e.log.Info("erased for good, as was asked for", zap.Int("erasures", n))
	}
	return again
}
