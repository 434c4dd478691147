package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/internal/store"
)

// A text is claimed by one worker at a time. What a worker that lost its claim
// says afterwards does not take it from whoever has it now.
func TestLateWordsDoNotLoseATextsState(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		story func(t *testing.T, r *store.Tenant) error
		want  store.Claim // what the next to ask gets
	}{
		"given back, it may be sent at once": {
			func(t *testing.T, r *store.Tenant) error { return r.UnclaimText(t.Context(), "m", "a") },
			store.Claim{Ours: true, Attempts: 1, State: "claimed"},
		},
		"given back by somebody else, it is still claimed": {
			func(t *testing.T, r *store.Tenant) error { return r.UnclaimText(t.Context(), "m", "b") },
			store.Claim{Attempts: 1, State: "claimed"},
		},
		"given back late, it stays with who took over": {
			func(t *testing.T, r *store.Tenant) error {
				takeOver(t, r, "b")
				return r.UnclaimText(t.Context(), "m", "a")
			},
			store.Claim{Attempts: 2, State: "claimed"},
		},
		"given back by who took over, an earlier attempt may have sent it": {
			func(t *testing.T, r *store.Tenant) error {
				takeOver(t, r, "b")
				return r.UnclaimText(t.Context(), "m", "b")
			},
			store.Claim{Ours: true, Attempts: 3, State: "claimed"},
		},
		"given back when sent, it is sent": {
			func(t *testing.T, r *store.Tenant) error {
				return errors.Join(r.TextSent(t.Context(), "m", "SM1"), r.UnclaimText(t.Context(), "m", "a"))
			},
			store.Claim{Attempts: 1, State: "sent", SID: "SM1"},
		},
		"refused": {
			func(t *testing.T, r *store.Tenant) error { return r.TextFailed(t.Context(), "m", "30003") },
			store.Claim{Attempts: 1, State: "failed"},
		},
		"refused to one after another sent it, it is sent": {
			func(t *testing.T, r *store.Tenant) error {
				return errors.Join(r.TextSent(t.Context(), "m", "SM1"), r.TextFailed(t.Context(), "m", "30003"))
			},
			store.Claim{Attempts: 1, State: "sent", SID: "SM1"},
		},
		"sent by one after another was refused, it is sent": {
			func(t *testing.T, r *store.Tenant) error {
				return errors.Join(r.TextFailed(t.Context(), "m", "30003"), r.TextSent(t.Context(), "m", "SM1"))
			},
			store.Claim{Attempts: 1, State: "sent", SID: "SM1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, r := customer(t)
			if c, err := r.ClaimText(t.Context(), "m", "+1", "a", time.Hour); err != nil || !c.Ours || c.Attempts != 1 {
				t.Fatalf("%+v, %v", c, err)
			}
			if err := tc.story(t, r); err != nil {
				t.Fatal(err)
			}
			got, err := r.ClaimText(t.Context(), "m", "+1", "next", time.Hour)
			first := got.First
			if got.First = (time.Time{}); err != nil || got.Ours != tc.want.Ours || got.Attempts != tc.want.Attempts || got.State != tc.want.State || got.SID != tc.want.SID {
				t.Errorf("%+v, %v; want %+v", got, err, tc.want)
			}
			if since := time.Since(first); since < 0 || since > time.Minute {
				t.Errorf("first claimed %v ago", since)
			}
		})
	}
	_, r := customer(t)
	if err := r.TextSent(t.Context(), "nobody's", "SM1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a text never claimed is sent: %v", err)
	}
}

// takeOver has by claim what somebody claimed a moment ago.
func takeOver(t *testing.T, r *store.Tenant, by string) {
	t.Helper()
	until(t, "taken over", func() bool {
		c, err := r.ClaimText(t.Context(), "m", "+1", by, 0)
		if err != nil {
			t.Fatal(err)
		}
		return c.Ours
	})
}

// What was paid for is paid for once, and everybody tells the same of it.
func TestExtractionsHaveOneResult(t *testing.T) {
	t.Parallel()
	_, r := customer(t)
	claim := func(by string, lease time.Duration, ours bool, attempts int) store.Claim {
		t.Helper()
		c, err := r.ClaimExtraction(t.Context(), "CA1", "k", by, lease)
		if err != nil || c.Ours != ours || c.Attempts != attempts {
			t.Errorf("%s: %+v, %v; want %v, %d", by, c, err, ours, attempts)
		}
		return c
	}
	claim("a", time.Hour, true, 1)
	claim("b", time.Hour, false, 1)
	claim("a", time.Hour, true, 2) // renewed
	if err := r.ReleaseExtraction(t.Context(), "CA1", "k", "b"); err != nil {
		t.Error(err)
	}
	claim("b", time.Hour, false, 2) // not theirs to give back
	if err := r.ReleaseExtraction(t.Context(), "CA1", "k", "a"); err != nil {
		t.Error(err)
	}
	claim("b", time.Hour, true, 3)
	if err := r.SaveExtraction(t.Context(), "CA1", "k", []byte(`{"by":"b"}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.SaveExtraction(t.Context(), "CA1", "k", []byte(`{"by":"a"}`)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second result: %v", err)
	}
	if c := claim("a", 0, false, 3); !strings.Contains(string(c.Result), `"b"`) {
		t.Errorf("the result is %s", c.Result)
	}
	if c, err := r.ClaimExtraction(t.Context(), "CA1", "another prompt", "a", 0); err != nil || !c.Ours || c.Attempts != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}
