package memory

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
)

// However much one customer has exported, another's goes through; who gets no
// turn is told when to come back.
func TestOneCustomersExportsAreNotInAnothersWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.searches.wait = 0
	a, b := w.tenant(t), w.tenant(t)
	for _, c := range []*tenant{a, b} {
		c.summarized("CA1", eve, spokenAt, "A call.")
	}
	at := "/v1/callers/%2B12065550166"
	var leave []func()
	for range searchesPerOne {
		done, err := w.searches.take(t.Context(), a.id)
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, done)
	}
	for _, ask := range [][2]string{{"GET", at + "/export"}, {"GET", at + "/erasure"}, {"DELETE", at}, {"DELETE", "/v1/calls/CA1"}} {
		got := a.want(429, ask[0], ask[1], nil)
		if after := got.header.Get("Retry-After"); after != "5" || got.text("code") != "429" {
			t.Errorf("%v: Retry-After %q, %s", ask, after, got.body)
		}
	}
	b.want(200, "GET", at+"/export", nil)
	b.want(200, "GET", at+"/erasure", nil)
	leave[0]()
	a.want(200, "GET", at+"/export", nil)
	leave[1]()
	if n := len(w.searches.all) + len(w.searches.own(a.id)) + len(w.searches.own(b.id)); n != 0 {
		t.Errorf("%d turns are not given back", n)
	}
}

// A turn that is free within a few seconds is waited for, and whoever waits
// behind their own takes nobody's.
func TestSearchesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSearches()
		take := func() func() {
			done, err := s.take(t.Context(), 1)
			if err != nil {
				t.Error(err)
				return func() {}
			}
			return done
		}
		first, second := take(), take()
		go func() { take()() }()
		synctest.Wait()
		if len(s.all) != searchesPerOne {
			t.Errorf("%d of all turns are one customer's", len(s.all))
		}
		first()
		synctest.Wait()
		second()
		if len(s.all) != 0 || len(s.own(1)) != 0 {
			t.Errorf("%d turns are left", len(s.all))
		}

		for range searchesInTotal {
			s.all <- struct{}{}
		}
		var f failure
		if _, err := s.take(t.Context(), 2); !errors.As(err, &f) || f.Code != http.StatusTooManyRequests || f.GetHeaders().Get("Retry-After") == "" {
			t.Errorf("with every turn taken: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.take(gone, 2); !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone: %v", err)
		}
		if len(s.own(2)) != 0 {
			t.Error("a turn is kept")
		}
	})
}
