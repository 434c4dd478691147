package bus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func bulkFact(i int) events.Event {
	return events.New(1, "", time.Unix(int64(i), 0), events.MemoryStored{
		Memory: fmt.Sprint(i), Caller: "+12065550100", Type: "fact", Key: "k", Value: "1", Origin: "import",
	})
}

// stored are the ids of the memories there are, in order.
func stored(t *testing.T, b *bus.Bus) (out []string) {
	t.Helper()
	err := b.Replay(t.Context(), 1, 0, []string{events.Filter("memory.stored")}, 500, func(_ context.Context, batch []events.Event, _ uint64) error {
		for _, e := range batch {
			out = append(out, e.Fact.(events.MemoryStored).Memory)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestBulkStoresInOrderAndOnce(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	const n = 3500
	for range 2 {
		k := b.Bulk()
		for i := range n {
			if err := k.Put(t.Context(), bulkFact(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := stored(t, b)
	if len(got) != n {
		t.Fatalf("%d stored, want %d", len(got), n)
	}
	for i, id := range got {
		if id != fmt.Sprint(i) {
			t.Fatalf("number %d is %s", i, id)
		}
	}
}

func TestBulkOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{Name: "test"})
	k := b.Bulk()
	const n = 3000
	for i := range n {
		if i == 1500 {
			s.Restart()
		}
		if err := k.Put(t.Context(), bulkFact(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, id := range stored(t, b) {
		if seen[id] {
			t.Errorf("%s is stored twice", id)
		}
		seen[id] = true
	}
	if len(seen) != n {
		t.Errorf("%d stored, want %d", len(seen), n)
	}
}

func TestBulkRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	e := bulkFact(1)
	e.Tenant = 0
	if err := b.Bulk().Put(t.Context(), e); err == nil {
		t.Error("a fact of no tenant is put")
	}
}
