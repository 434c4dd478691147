package bus_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// each is a sequence of facts.
func each[T any](all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// factsOf is everything of a tenant that a bus holds.
func factsOf(t *testing.T, b *bus.Bus, tenant events.Tenant) (all []bus.Moved) {
	t.Helper()
	must[uint64](t)(b.ReadTenant(within(t, 30*time.Second), tenant, 0, func(m bus.Moved) error { all = append(all, m); return nil }))
	return all
}

// Many facts at once keep their order, though the server goes away meanwhile,
// and come once.
func TestPublishAllKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{})
	const n = 3000
	var all []events.Event
	for i := range n {
		all = append(all, heard(1, fmt.Sprint("CA", i%7), i+1))
	}
	told := 0
	seq := func(yield func(events.Event, error) bool) {
		for i, e := range all {
			if i == n/2 {
				s.Restart()
			}
			if !yield(e, nil) {
				return
			}
		}
	}
	if err := b.PublishAll(within(t, 60*time.Second), seq, func(n int) { told = n }); err != nil {
		t.Fatal(err)
	}
	got := factsOf(t, b, 1)
	if len(got) != n || told != n {
		t.Fatalf("%d facts, told of %d, want %d", len(got), told, n)
	}
	for i, m := range got {
		if m.ID != all[i].ID {
			t.Fatalf("fact %d is another", i)
		}
	}
}

func TestPublishAllEndsWithWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	wrong := errors.New("wrong")
	seq := func(yield func(events.Event, error) bool) {
		_ = yield(heard(1, "CA1", 1), nil) && yield(heard(1, "CA1", 2), nil) && yield(events.Event{}, wrong)
	}
	if err := b.PublishAll(within(t, 10*time.Second), seq, nil); !errors.Is(err, wrong) {
		t.Errorf("error %v", err)
	}
	if got := factsOf(t, b, 1); len(got) != 2 {
		t.Errorf("%d facts before it, want 2", len(got))
	}
	forged := heard(1, "CA1", 3)
	forged.ID = "0"
	if err := b.PublishAll(within(t, 10*time.Second), each([]events.Event{forged}), nil); err == nil {
		t.Error("a fact that is not what it says is taken")
	}
}

// What is read of one tenant is written to another stream as it was, but as
// history, and once.
func TestATenantsFactsMove(t *testing.T) {
	t.Parallel()
	from, to := testenv.Server(t).Bus(t, bus.Options{Name: "here"}), testenv.Server(t).Bus(t, bus.Options{Name: "there"})
	ctx := within(t, 60*time.Second)
	first := heard(7, "CA1", 1)
	first.Cause, first.Trace = "cause", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	publish(t, from, heard(8, "CA1", 1), first, heard(8, "CA1", 2), heard(7, "CA1", 2))
	end := ended(7, "CA1", 3)
	f := end.Fact.(events.CallEnded)
	f.FirstSeq, f.Facts = 2, []uint64{2, 4}
	end.Fact = f
	publish(t, from, end)
	publish(t, to, heard(9, "CA1", 1), heard(9, "CA1", 2), heard(9, "CA1", 3))

	all := factsOf(t, from, 7)
	var lines []bus.Moved
	for _, m := range all {
		lines = append(lines, must[bus.Moved](t)(from.FromLine(must[[]byte](t)(from.Line(m)))))
	}
	if diff := cmp.Diff(all, lines, cmp.Transformer("delivery", func(h events.Head) string { h.Delivery = 0; return fmt.Sprint(h) })); diff != "" {
		t.Errorf("lines are not what was written:\n%s", diff)
	}
	for _, part := range [][]bus.Moved{lines[:2], lines, lines} { // interrupted, and done once more
		must[bus.Arrived](t)(to.PublishTenant(ctx, 7, each(part), nil))
	}
	got := factsOf(t, to, 7)
	if len(got) != 3 {
		t.Fatalf("%d facts, want 3", len(got))
	}
	for i, m := range got {
		want := all[i]
		if !m.History {
			t.Errorf("%s: workers would act on it", m.Fact.Name())
		}
		m.History, m.Seq, want.Seq = false, 0, 0
		if e, ok := m.Fact.(events.CallEnded); ok {
			if e.FirstSeq != 4 || !slices.Equal(e.Facts, []uint64{4, 5}) {
				t.Errorf("the call lies at %d, %v; want 4, [4 5]", e.FirstSeq, e.Facts)
			}
			e.FirstSeq, e.Facts = f.FirstSeq, f.Facts
			m.Fact = e
		}
		if diff := cmp.Diff(want, m); diff != "" {
			t.Error(diff)
		}
	}
	if n := len(factsOf(t, to, 9)); n != 3 {
		t.Errorf("another tenant has %d facts, want 3", n)
	}
	if _, err := to.PublishTenant(ctx, 8, each(lines), nil); err == nil {
		t.Error("facts of another tenant are taken")
	}
}

// Sequences of another stream that happen to be of the same call do not hide a
// part of it.
func TestReadCallNoticesForeignSequences(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1), heard(1, "CA1", 2), heard(1, "CA1", 3), ended(1, "CA1", 4))
	for _, facts := range [][]uint64{{2, 3}, {2, 3, 4}, {1, 3}} {
		got := must[[]events.Event](t)(b.ReadCall(within(t, 10*time.Second), 1, "CA1", bus.Span{First: facts[0], Since: at.Add(-time.Hour), Facts: facts}))
		if len(got) != 4 {
			t.Errorf("by %v: %d facts, want 4", facts, len(got))
		}
	}
}

func TestLinesThatAreNoFactsAreRefused(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	m := bus.Moved{Event: heard(7, "CA1", 1), Source: "/x"}
	line := string(must[[]byte](t)(b.Line(m)))
	for name, wrong := range map[string]string{
		"no JSON":               line[:len(line)/2],
		"words changed":         strings.Replace(line, "turn 1", "turn 2", 1),
		"tenant changed":        strings.Replace(line, `"tenantid":"7"`, `"tenantid":"8"`, 1),
		"no tenant":             strings.Replace(line, `"tenantid":"7"`, `"tenantid":"0"`, 1),
		"of a type nobody has":  strings.Replace(line, "turn.heard.v1\",\"", "turn.sung.v1\",\"", 1),
		"against the schema":    strings.Replace(line, `"turn":1`, `"turn":"1"`, 1),
		"without where it lay":  strings.Replace(line, "storedseq", "otherseq", 1),
		"of a later generation": strings.Replace(line, `"specversion":"1.0"`, `"specversion":"2.0"`, 1),
	} {
		if wrong == line {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := b.FromLine([]byte(wrong)); err == nil || strings.Contains(err.Error(), "turn 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
