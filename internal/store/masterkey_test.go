package store_test

import (
	"errors"
	"sync"
	"testing"

	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// The first key is the key, whoever else comes with another at the same time.
func TestOneMasterKey(t *testing.T) {
	t.Parallel()
	s := testenv.Postgres(t).Store
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = s.CheckKey(t.Context(), string(rune('a'+i))) })
	}
	all.Wait()
	taken := -1
	for i, err := range errs {
		switch {
		case err == nil && taken < 0:
			taken = i
		case !errors.Is(err, store.ErrOtherKey):
			t.Errorf("another key: %v", err)
		}
	}
	if err := s.CheckKey(t.Context(), string(rune('a'+taken))); err != nil {
		t.Errorf("the same key: %v", err)
	}
}
