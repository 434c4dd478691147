package conversation

import (
	"context"
	"sync"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

const (
	contextBudget = 150 * time.Millisecond
	restAfter     = 2 * time.Second // after a failure, so that a database that hangs is not waited for at each turn
	contextAge    = 2 * time.Hour
	summaries     = 3
)

// callers remembers what is known about the callers of live calls. What cannot
// be had in time is not known: never an error, never somebody else's.
type callers struct {
	read   func(ctx context.Context, t events.Tenant, caller string) (store.CallerContext, error)
	missed func() // counts those not had in time

	mu     sync.Mutex
	kept   map[key]kept
	asleep time.Time
}

type key struct {
	tenant       events.Tenant
	call, caller string
}

type kept struct {
	c  store.CallerContext
	at time.Time
}

// newCallers reads from s, which may be nil.
func newCallers(s *store.Store) *callers {
	c := &callers{kept: map[key]kept{}, missed: func() {}}
	if s != nil {
		c.read = func(ctx context.Context, t events.Tenant, caller string) (store.CallerContext, error) {
			tenant, err := s.For(t)
			if err != nil {
				return store.CallerContext{}, err
			}
			return tenant.CallerContext(ctx, caller, summaries)
		}
	}
	return c
}

// load is what is known about the caller of a call, within 150 ms.
func (c *callers) load(ctx context.Context, t events.Tenant, call, caller string) store.CallerContext {
	if c.read == nil || !events.Identified(caller) {
		return store.CallerContext{}
	}
	k := key{t, call, caller}
	c.mu.Lock()
	have, ok := c.kept[k]
	asleep := time.Now().Before(c.asleep)
	c.mu.Unlock()
	if !ok && asleep {
		c.missed()
	}
	if ok || asleep {
		return have.c
	}
	limited, cancel := context.WithTimeout(ctx, contextBudget)
	defer cancel()
	got, err := c.read(limited, t, caller)
	if err != nil && ctx.Err() != nil {
		return store.CallerContext{} // the caller went on; that says nothing about the database
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.missed()
		c.asleep = time.Now().Add(restAfter)
		return store.CallerContext{}
	}
	if len(c.kept) > 4096 {
		c.forget()
	}
	c.kept[k] = kept{got, time.Now()}
	return got
}

// forget drops what is old, or everything when nothing is.
func (c *callers) forget() {
	for k, v := range c.kept {
		if time.Since(v.at) > contextAge {
			delete(c.kept, k)
		}
	}
	if len(c.kept) > 4096 {
		clear(c.kept)
	}
}
