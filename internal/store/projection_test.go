package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

func apply(t *testing.T, r *store.Tenant, f func(p *store.Projection)) {
	t.Helper()
	if err := r.Project(t.Context(), "p", created, func(p *store.Projection) error { f(p); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Facts arrive in any order, and call.received may never come: what is known of
// a call is the same in the end.
func TestCallsAreTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	type step = func(events.Tenant) func(*store.Projection)
	in := func(id events.Tenant) func(*store.Projection) {
		return func(p *store.Projection) { p.Received(event(id, "CA1", 0, received), received) }
	}
	up := func(id events.Tenant) func(*store.Projection) {
		return func(p *store.Projection) { p.Answered(event(id, "CA1", 2, events.CallAnswered{})) }
	}
	down := func(id events.Tenant) func(*store.Projection) {
		return func(p *store.Projection) { p.Ended(event(id, "CA1", 3, ended), ended) }
	}
	for name, steps := range map[string][]step{
		"as it was":                {in, up, down},
		"ended first":              {down, in, up},
		"answered first":           {up, down, in},
		"never received":           {up, down},
		"nothing but its end":      {down},
		"received after all else":  {up, down, in},
		"answered after its end":   {in, down, up},
		"ended twice, in a replay": {in, up, down, down},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, r := customer(t)
			for _, step := range steps {
				apply(t, r, step(s.Tenant))
			}
			c, err := r.Call(t.Context(), "CA1")
			if err != nil {
				t.Fatal(err)
			}
			if c.Caller == nil || *c.Caller != received.From || c.Received == nil || !c.Received.Equal(created) ||
				c.Ended == nil || !c.Ended.Equal(ended.EndedAt) || c.Seconds == nil || *c.Seconds != 60 || c.Turns == nil || *c.Turns != 3 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// A caller who stands nowhere yet is known all the same.
func TestCallerWithoutLeadIsKept(t *testing.T) {
	t.Parallel()
	_, r := customer(t)
	apply(t, r, func(p *store.Projection) { p.SaveCaller(known("Ann")) })
	if c, err := r.CallerContext(t.Context(), received.From, 5); err != nil || c.Stage != "Follow-up" {
		t.Errorf("%+v, %v", c, err)
	}
	apply(t, r, func(p *store.Projection) {
		rows := known("Ben")
		rows.Lead, rows.Memories, rows.Averages = store.LeadRow{}, nil, nil
		p.SaveCaller(rows)
	})
	c, err := r.CallerContext(t.Context(), received.From, 5)
	if err != nil || !c.Known || c.Name != "Ben" {
		t.Errorf("%+v, %v", c, err)
	}
	if c.Stage != "" || len(c.Memories) > 0 || len(c.Style) > 0 {
		t.Errorf("what was known before is left: %+v", c)
	}
}

func TestSummariesAreReplacedByLaterRevisionsOnly(t *testing.T) {
	t.Parallel()
	s, r := customer(t)
	for i, tc := range []struct {
		revision   int
		text, want string
	}{{1, "first", "first"}, {0, "old", "first"}, {1, "again", "first"}, {2, "better", "better"}} {
		apply(t, r, func(p *store.Projection) {
			f := summarized
			f.Revision, f.Summary = tc.revision, tc.text
			if err := p.Summarized(event(s.Tenant, "CA1", uint64(i+1), f), f); err != nil {
				t.Error(err)
			}
		})
		if c, err := r.Call(t.Context(), "CA1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a summary alone is no call: %+v, %v", c, err)
		}
		var got string
		err := admin(t).QueryRow(t.Context(), `SELECT summary FROM call_summaries WHERE customer_id = $1`, int32(s.Tenant)).Scan(&got)
		if err != nil || got != tc.want {
			t.Errorf("%q, %v; want %s", got, err, tc.want)
		}
	}
	c, err := r.CallerContext(t.Context(), received.From, 5)
	if err != nil || c.Known {
		t.Errorf("a caller whose profile is not folded yet: %+v, %v", c, err)
	}
}

func TestLatestWordOnTextsCounts(t *testing.T) {
	t.Parallel()
	s, r := customer(t)
	for _, tc := range []struct {
		seq  uint64
		out  bool
		want bool
	}{{5, true, true}, {3, false, true}, {6, false, false}, {4, true, false}, {7, true, true}} {
		apply(t, r, func(p *store.Projection) { p.OptOut(event(s.Tenant, "", tc.seq, optedOut), "+1", tc.out) })
		if out, err := r.OptedOut(t.Context(), "+1"); err != nil || out != tc.want {
			t.Errorf("after word %d: %v, %v", tc.seq, out, err)
		}
	}
}

// Words on one text arrive in any order too.
func TestTextsAreTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	sent, delivered := created.Add(time.Second), created.Add(2*time.Second)
	words := []store.TextChange{
		{Message: "m", Call: "CA1", Recipient: "+1", Purpose: "summary", Body: "hi", Requested: &created},
		{Message: "m", SID: "SM1", Sent: &sent},
		{Message: "m", SID: "SM1", Delivered: &delivered},
	}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			s, r := customer(t)
			for _, i := range order {
				apply(t, r, func(p *store.Projection) { p.Text(event(s.Tenant, "CA1", uint64(i+1), message), words[i]) })
			}
			all, err := r.Texts(t.Context(), "CA1")
			if err != nil || len(all) != 1 {
				t.Fatalf("%+v, %v", all, err)
			}
			if x := all[0]; x.Recipient != "+1" || x.Body != "hi" || x.Sent == nil || !x.Sent.Equal(sent) || x.Delivered == nil || x.Failed != nil {
				t.Errorf("%+v", x)
			}
		})
	}
}

// Callers are taken by how much is known about them, so that those of whom much
// is are few at a time.
func TestCallersAreTakenByTheirFacts(t *testing.T) {
	t.Parallel()
	s, r := customer(t)
	apply(t, r, func(p *store.Projection) {
		for i, user := range []string{"+1", "+1", "+1", "+2", "+3", "+3"} {
			f := staged
			f.Caller, f.Nth = user, fmt.Sprint(i)
			if err := p.Stated(event(s.Tenant, "", uint64(i+1), f), user, f); err != nil {
				t.Error(err)
			}
		}
	})
	for _, tc := range []struct {
		after string
		facts int
		want  []string
	}{{"", 1, []string{"+1"}}, {"", 4, []string{"+1", "+2"}}, {"", 5, []string{"+1", "+2", "+3"}}, {"+2", 9, []string{"+3"}}, {"+3", 9, nil}} {
		apply(t, r, func(p *store.Projection) {
			if got, err := p.CallersAfter(tc.after, tc.facts); err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("of %d facts after %q: %v, %v", tc.facts, tc.after, got, err)
			}
		})
	}
}

// What a projection did is there whole, with how far it came, or not at all.
func TestProjectionIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s, r := customer(t)
	no := errors.New("no")
	err := r.Project(t.Context(), "p", created, func(p *store.Projection) error {
		p.Ended(event(s.Tenant, "CA1", 1, ended), ended)
		p.SetApplied(7, "e")
		return no
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	apply(t, r, func(p *store.Projection) {
		if p.Applied != 0 {
			t.Errorf("applied is %d", p.Applied)
		}
		p.SetApplied(8, "e")
	})
	if _, err := r.Call(t.Context(), "CA1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half of it is there: %v", err)
	}
	apply(t, r, func(p *store.Projection) {
		if p.Applied != 8 {
			t.Errorf("applied is %d", p.Applied)
		}
	})
}

func TestFloorIsWhereItWasSetLast(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		seq   uint64
		event string
	}{{0, ""}, {5, "e5"}, {3, "e3"}, {9, "e9"}} {
		if tc.seq > 0 {
			if err := shared.SetFloor(t.Context(), "floor", tc.seq, tc.event); err != nil {
				t.Fatal(err)
			}
		}
		if seq, event, err := shared.Floor(t.Context(), "floor"); err != nil || seq != tc.seq || event != tc.event {
			t.Errorf("%d %q, %v; want %d %q", seq, event, err, tc.seq, tc.event)
		}
	}
}

// One process at a time writes a projection; it hears when it no longer may.
func TestProjectionHasOneWriter(t *testing.T) {
	t.Parallel()
	lost, release, ok, err := shared.LockProjection(t.Context(), "one")
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, _, ok, err := shared.LockProjection(t.Context(), "one"); err != nil || ok {
		t.Errorf("two writers: %v, %v", ok, err)
	}
	select {
	case <-lost:
		t.Error("lost while held")
	default:
	}
	release()
	select {
	case <-lost:
	default:
		t.Error("not told that it was given back")
	}
	lost, release, ok, err = shared.LockProjection(t.Context(), "one")
	if err != nil || !ok {
		t.Fatalf("what was given back is not free: %v, %v", ok, err)
	}
	defer release()
	_, err = admin(t).Exec(t.Context(), `SELECT pg_terminate_backend(l.pid) FROM pg_locks l
		WHERE locktype = 'advisory' AND objid = (hashtext('neurosphere projection one')::bigint & 4294967295)::oid`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case <-lost:
	case <-ctx.Done():
		t.Error("not told that it was lost")
	}
}
