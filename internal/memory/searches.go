package memory

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"neurosphere.ai/neurosphere/events"
)

const (
	searchesInTotal = 6               // at a time: each reads a customer's whole log
	searchesPerOne  = 2               // of them, of one customer
	searchWait      = 5 * time.Second // for its turn
	searchTime      = 2 * time.Minute // how long one may take then
)

// searches bound how many are at a time. Who waits because their own customer
// has as many as one may have is in nobody else's way.
type searches struct {
	wait time.Duration
	all  chan struct{}

	mu sync.Mutex
	of map[events.Tenant]chan struct{}
}

func newSearches() *searches {
	return &searches{wait: searchWait, all: make(chan struct{}, searchesInTotal), of: map[events.Tenant]chan struct{}{}}
}

func (s *searches) own(t events.Tenant) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[t] == nil {
		s.of[t] = make(chan struct{}, searchesPerOne)
	}
	return s.of[t]
}

// take waits for a turn, a while.
func (s *searches) take(ctx context.Context, t events.Tenant) (done func(), err error) {
	until, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	own := s.own(t)
	if err := enter(until, own); err != nil {
		return nil, tooMany(ctx, "too much of this customer is exported or looked for already")
	}
	if err := enter(until, s.all); err != nil {
		<-own
		return nil, tooMany(ctx, "too much is exported or looked for already")
	}
	return func() { <-s.all; <-own }, nil
}

func enter(ctx context.Context, turns chan struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	default:
	}
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func tooMany(ctx context.Context, text string) error {
	if err := ctx.Err(); errors.Is(err, context.Canceled) { // they have gone themselves
		return err
	}
	f := fail(http.StatusTooManyRequests, "%s", text)
	f.retry = searchWait
	return f
}

// searching waits for its turn to read a whole log, which waits for outages: not
// where one is under way, and not for ever.
func (s *service) searching(ctx context.Context, t events.Tenant) (_ context.Context, done func(), err error) {
	if _, err := s.bus.LastSeq(ctx); err != nil {
		return ctx, nil, err
	}
	leave, err := s.searches.take(ctx, t)
	if err != nil {
		return ctx, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	return ctx, func() { cancel(); leave() }, nil
}
