package profiler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
)

const (
	patience   = time.Second // others wait so long for the rows of one tenant
	asideBatch = 5000
)

// tenant writes one tenant's part of a batch. Should that take long, as it does
// where a great deal is known of one caller or somebody holds the rows, the
// others do not wait for it: it goes on aside, and reads for itself what comes
// meanwhile.
func (w *worker) tenant(ctx context.Context, id events.Tenant, all []events.Event) error {
	t, err := w.store.For(id)
	if err != nil {
		return err
	}
	last := all[len(all)-1].Seq
	w.mu.Lock()
	_, aside := w.aside[id]
	if aside {
		w.aside[id] = last
	}
	w.mu.Unlock()
	if aside {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- w.rows(ctx, t, all) }()
	patient := time.NewTimer(w.patience)
	defer patient.Stop()
	select {
	case err := <-done:
		if err == nil {
			w.soundIs(id, true)
		}
		return err
	case <-patient.C:
	}
	w.mu.Lock()
	w.aside[id] = last
	w.mu.Unlock()
	w.besides.Go(func() {
		err := <-done
		if err == nil {
			err = w.follow(ctx, t, id, last)
		}
		if err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	})
	return nil
}

// follow writes what came of a tenant since a sequence, until nothing more has
// come; then the tenant is one among the others again.
func (w *worker) follow(ctx context.Context, t *store.Tenant, id events.Tenant, at uint64) error {
	w.log.Info("rows of a tenant take long and are written aside", zap.Stringer("tenant", id), zap.Uint64("after", at))
	w.soundIs(id, false) // others may have found that the stream was cut short
	for {
		w.mu.Lock()
		to := w.aside[id]
		if to == at {
			delete(w.aside, id)
		}
		w.mu.Unlock()
		if to == at {
			break
		}
		err := w.replay(ctx, at+1, to, readmodel.FiltersOf(id), asideBatch, func(ctx context.Context, some []events.Event, _ uint64) error {
			if len(some) == 0 {
				return nil
			}
			return w.rows(ctx, t, some)
		})
		if err != nil {
			return err
		}
		at = to
	}
	select { // its template may have been among it
	case w.refolds <- id:
	case <-ctx.Done():
	}
	return nil
}

// rows writes some events of a tenant.
func (w *worker) rows(ctx context.Context, t *store.Tenant, all []events.Event) error {
	err := w.write(ctx, t, all)
	if errors.Is(err, store.ErrRefused) {
		err = w.oneByOne(ctx, t, all)
	}
	if err != nil {
		return fmt.Errorf("project tenant %s: %w", all[0].Tenant, err)
	}
	return nil
}

func (w *worker) isAside(id events.Tenant) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, aside := w.aside[id]
	return aside
}

// anyAside reports whether rows of somebody are behind what has been read.
func (w *worker) anyAside() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.aside) > 0
}
