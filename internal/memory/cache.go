package memory

import (
	"context"
	"sync"
	"time"
)

// maxCached bounds a cache; what is there can always be loaded again.
const maxCached = 10_000

// cache keeps what was loaded for a short time. What could not be loaded is not
// kept. Those who want the same at once wait for one of them to load it.
type cache[K comparable, V any] struct {
	ttl  time.Duration
	now  func() time.Time
	load func(context.Context, K) (V, error)

	mu    sync.Mutex
	slots map[K]*slot[V]
}

type slot[V any] struct {
	mu     sync.Mutex
	v      V
	loaded time.Time
}

func newCache[K comparable, V any](ttl time.Duration, now func() time.Time, load func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{ttl: ttl, now: now, load: load, slots: map[K]*slot[V]{}}
}

func (c *cache[K, V]) get(ctx context.Context, key K) (V, error) {
	c.mu.Lock()
	s := c.slots[key]
	if s == nil {
		if len(c.slots) >= maxCached {
			clear(c.slots)
		}
		s = &slot[V]{}
		c.slots[key] = s
	}
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := c.now().Sub(s.loaded); age >= 0 && age < c.ttl {
		return s.v, nil
	}
	began := c.now()
	v, err := c.load(ctx, key)
	if err != nil {
		c.mu.Lock()
		if c.slots[key] == s {
			delete(c.slots, key)
		}
		c.mu.Unlock()
		s.loaded = time.Time{}
		return v, err
	}
	s.v, s.loaded = v, began
	return v, nil
}
