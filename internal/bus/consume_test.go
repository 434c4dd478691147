package bus_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// publish stores events, checking each.
func publish(t testing.TB, b *bus.Bus, all ...events.Event) {
	t.Helper()
	for _, e := range all {
		must[uint64](t)(b.Publish(within(t, 20*time.Second), e))
	}
}

// raw is a connection past the bus, for what no well-behaved process sends.
func raw(t testing.TB, s *testenv.BusServer) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc := must[*nats.Conn](t)(nats.Connect(s.URL()))
	t.Cleanup(nc.Close)
	return nc, must[jetstream.JetStream](t)(jetstream.New(nc))
}

func TestPublish(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 20*time.Second)
	t.Run("twice is stored once", func(t *testing.T) {
		e := heard(1, "CA1", 1)
		first := must[uint64](t)(b.Publish(ctx, e))
		if again := must[uint64](t)(b.Publish(ctx, e)); again != first {
			t.Errorf("stored at %d and %d", first, again)
		}
	})
	t.Run("one tenant's id does not suppress another's", func(t *testing.T) {
		// Whatever the ids are, the tenant is part of what is compared.
		one, two := heard(1, "CA2", 1), heard(2, "CA2", 1)
		first := must[uint64](t)(b.Publish(ctx, one))
		if second := must[uint64](t)(b.Publish(ctx, two)); second <= first {
			t.Errorf("stored at %d and %d", first, second)
		}
	})
	t.Run("what does not fit is refused", func(t *testing.T) {
		e := heard(1, "CA3", 1)
		e.Tenant = 2
		if _, err := b.Publish(ctx, e); err == nil {
			t.Error("published")
		}
	})
}

func TestConsumeHandlesEach(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1), heard(1, "CA1", 2)) // before there is a consumer
	got := make(chan events.Event, 10)
	consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, f events.TurnHeard) error {
		if !reflect.DeepEqual(e.Fact, events.Fact(f)) {
			t.Errorf("event of %v with %v", e.Fact, f)
		}
		got <- e
		return nil
	})
	publish(t, b, heard(1, "CA1", 3))
	seen := map[uint64]string{}
	for range 3 {
		e := recv(t, got, "event")
		seen[e.Seq] = e.Fact.(events.TurnHeard).Text
		if e.Delivery != 1 || e.Tenant != 1 || e.Call != "CA1" {
			t.Errorf("head %+v", e.Head)
		}
	}
	if seen[1] != "turn 1" || seen[2] != "turn 2" || seen[3] != "turn 3" {
		t.Errorf("seen %v", seen)
	}
}

// History is kept and read like any other fact; nobody acts on it.
func TestConsumePassesOverHistory(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	past := heard(1, "CA1", 1)
	past.History = true
	publish(t, b, past, heard(1, "CA1", 2))
	got := make(chan events.Event, 2)
	ctx, stop := context.WithCancel(within(t, 20*time.Second))
	var g sync.WaitGroup
	g.Go(func() {
		_ = bus.Consume(ctx, b, bus.Consumer{Name: "history"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
			got <- e
			return nil
		})
	})
	select {
	case e := <-got:
		if e.Seq != 2 || e.History {
			t.Errorf("handled event %d, history %v", e.Seq, e.History)
		}
	case <-ctx.Done():
		t.Fatal("nothing came")
	}
	var all []events.Event
	err := b.Replay(ctx, 1, 0, []string{events.Filter("turn.heard")}, 10, func(_ context.Context, batch []events.Event, _ uint64) error {
		all = append(all, batch...)
		return nil
	})
	if err != nil || len(all) != 2 || !all[0].History || all[1].History {
		t.Errorf("the log has %+v, %v", all, err)
	}
	stop()
	g.Wait()
	if len(got) > 0 {
		t.Error("both were handled")
	}
}

func TestConsumeRetriesThenSucceeds(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1))
	tries := make(chan int, 10)
	stop := consume(t, b, bus.Consumer{Name: "w", Backoff: 10 * time.Millisecond}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		tries <- e.Delivery
		if e.Delivery < 3 {
			return errors.New("busy")
		}
		return nil
	})
	for want := 1; want <= 3; want++ {
		if got := recv(t, tries, "delivery"); got != want {
			t.Errorf("delivery %d, want %d", got, want)
		}
	}
	stop()
	if letters := must[[]bus.DeadLetter](t)(b.DeadLetters(within(t, 5*time.Second), 10)); len(letters) != 0 || len(tries) != 0 {
		t.Errorf("letters %v, more tries %d", letters, len(tries))
	}
}

// Whatever stops an event for good is told, with the reason.
func TestConsumeGivesUp(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		consumer bus.Consumer
		handle   func(context.Context, events.Event, events.TurnHeard) error
		reason   string
		tries    int
	}{
		"a permanent error": {bus.Consumer{}, func(context.Context, events.Event, events.TurnHeard) error {
			return bus.Permanent(errors.New("no such customer"))
		}, "no such customer", 1},
		"too many tries": {bus.Consumer{MaxTries: 3, Backoff: time.Millisecond}, func(context.Context, events.Event, events.TurnHeard) error {
			return errors.New("busy")
		}, "given up after 3 deliveries: busy", 3},
		"a panic, its words left out": {bus.Consumer{}, func(context.Context, events.Event, events.TurnHeard) error {
			panic("+15550001111")
		}, "handler panicked: string", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testenv.Bus(t)
			e := heard(7, "CA1", 1)
			publish(t, b, e)
			tc.consumer.Name = "w"
			consume(t, b, tc.consumer, tc.handle)
			letter := oneLetter(t, b)
			if letter.Reason != tc.reason || letter.Deliveries != tc.tries || letter.Consumer != "w" || letter.Tenant != 7 ||
				letter.Subject != "tenant.7.turn.heard" || letter.EventID != e.ID || letter.EventSeq != 1 || letter.Call != "CA1" || letter.At.IsZero() {
				t.Errorf("letter %+v", letter)
			}
		})
	}
}

// One tenant's thousand do not hold up another's one.
func TestConsumeIsFair(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	o := openOutbox(t, b)
	for i := range 1000 {
		if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "backlog stored", func() bool { return o.Depth() == 0 })
	publish(t, b, heard(2, "CAother", 1))

	const slots = 4
	var mu sync.Mutex
	var order []events.Tenant
	other := make(chan struct{})
	consume(t, b, bus.Consumer{Name: "w", Slots: slots}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		time.Sleep(5 * time.Millisecond) // work
		mu.Lock()
		defer mu.Unlock()
		order = append(order, e.Tenant)
		if e.Tenant == 2 {
			close(other)
		}
		return nil
	})
	recv(t, other, "the other tenant's event")
	mu.Lock()
	defer mu.Unlock()
	// Reading in a thousand takes a moment in which slots are not idle.
	if n := slices.Index(order, 2); n > 100 {
		t.Errorf("%d of the backlog were handled first", n)
	} else {
		t.Logf("%d of the backlog were handled first", n)
	}
}

// A handler that takes longer than AckWait is not disturbed by a second delivery,
// nor is what waits behind it.
func TestConsumeKeepsHold(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1), heard(1, "CA1", 2))
	var handled atomic.Int32
	done := make(chan int, 9)
	handle := func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		handled.Add(1)
		time.Sleep(5 * time.Second) // more than twice AckWait
		done <- e.Delivery
		return nil
	}
	c := bus.Consumer{Name: "w", Slots: 1, AckWait: 2 * time.Second}
	consume(t, b, c, handle)
	consume(t, b, c, func(ctx context.Context, e events.Event, f events.TurnHeard) error { return handle(ctx, e, f) })
	for range 2 {
		if d := recv(t, done, "end of handling"); d != 1 {
			t.Errorf("delivery %d", d)
		}
	}
	if n := handled.Load(); n != 2 {
		t.Errorf("handled %d times", n)
	}
}

func TestConsumeFinishesWhatItBegan(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1), heard(1, "CA1", 2))
	began, finish := make(chan struct{}, 2), make(chan struct{})
	var ctxErr error
	stop := consume(t, b, bus.Consumer{Name: "w", Slots: 1}, func(ctx context.Context, _ events.Event, _ events.TurnHeard) error {
		began <- struct{}{}
		<-finish
		ctxErr = ctx.Err()
		return nil
	})
	recv(t, began, "handling")
	time.AfterFunc(100*time.Millisecond, func() { close(finish) })
	stop()
	if ctxErr != nil {
		t.Errorf("the handler's context ended: %v", ctxErr)
	}
	// What was not begun goes to the next at once, what was finished to nobody.
	next := make(chan events.Event, 2)
	start := time.Now()
	stop = consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		next <- e
		return nil
	})
	if e := recv(t, next, "the other event"); e.Seq != 2 {
		t.Errorf("got %d again", e.Seq)
	}
	if d := time.Since(start); d > 9*time.Second {
		t.Errorf("it took %v", d)
	}
	stop()
	if len(next) > 0 {
		t.Error("a finished event came again")
	}
}

// Processes come and go, as in a deployment; nothing waits for AckWait because
// it was on its way to one that left.
func TestConsumeHandsOver(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{})
	o := openOutbox(t, b)
	const facts = 1500
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range facts {
			if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
				t.Error(err)
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	defer wg.Wait()
	var mu sync.Mutex
	handled := map[uint64]bool{}
	start := time.Now()
	for len(handled) < facts {
		stop := consume(t, b, bus.Consumer{Name: "w", AckWait: 3 * time.Minute}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
			mu.Lock()
			defer mu.Unlock()
			handled[e.Seq] = true
			return nil
		})
		time.Sleep(3 * time.Millisecond)
		stop()
		if time.Since(start) > 2*time.Minute {
			t.Fatalf("%d of %d handled", len(handled), facts)
		}
	}
}

func TestConsumeDrainIsBounded(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1))
	began := make(chan struct{}, 1)
	stop := consume(t, b, bus.Consumer{Name: "w", Drain: 50 * time.Millisecond}, func(ctx context.Context, _ events.Event, _ events.TurnHeard) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	recv(t, began, "handling")
	start := time.Now()
	stop()
	if d := time.Since(start); d > 25*time.Second {
		t.Errorf("ended after %v", d)
	}
}

// Neither an outage nor the loss of the consumer ends it.
func TestConsumeSurvives(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{})
	got := make(chan uint64, 100)
	consume(t, b, bus.Consumer{Name: "w", AckWait: time.Second}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		got <- e.Seq
		return nil
	})
	expect := func(want uint64) {
		t.Helper()
		for {
			if seq := recv(t, got, "event "+strconv.FormatUint(want, 10)); seq == want {
				return
			} else if seq > want {
				t.Fatalf("got %d", seq)
			}
		}
	}
	publish(t, b, heard(1, "CA1", 1))
	expect(1)
	start := time.Now()
	s.Restart()
	publish(t, b, heard(1, "CA1", 2))
	expect(2)
	t.Logf("went on %v after the server was stopped", time.Since(start))
	_, js := raw(t, s)
	if err := js.DeleteConsumer(within(t, 5*time.Second), events.Stream, "w"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, heard(1, "CA1", 3))
	expect(3)
}

func TestConsumeRefusesToStart(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	publish(t, b, heard(1, "CA1", 1))
	got := make(chan uint64, 1)
	consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		got <- e.Seq
		return nil
	})
	recv(t, got, "event")
	ctx := within(t, 20*time.Second)
	err := bus.Consume(ctx, b, bus.Consumer{Name: "w"}, func(context.Context, events.Event, events.CallEnded) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "consumer takes tenant.*.turn.heard") {
		t.Errorf("another fact under the same name: %v", err)
	}
	for _, name := range []string{"", "a.b", "a>", "a b"} {
		if err := bus.Consume(ctx, b, bus.Consumer{Name: name}, func(context.Context, events.Event, events.CallEnded) error { return nil }); !errors.Is(err, bus.ErrBadToken) {
			t.Errorf("name %q: %v", name, err)
		}
	}
}
