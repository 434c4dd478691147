package bus_test

import (
	"context"
	"errors"
	"strconv"
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

// While the letter cannot be stored, the event is not let go.
func TestConsumeKeepsWhatItCannotBury(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	_, js := raw(t, s)
	if err := js.DeleteStream(within(t, 5*time.Second), "DEADLETTERS"); err != nil {
		t.Fatal(err)
	}
	publish(t, b, heard(1, "CA1", 1))
	handled := make(chan int, 100)
	consume(t, b, bus.Consumer{Name: "w", Backoff: time.Millisecond}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		handled <- e.Delivery
		return bus.Permanent(errors.New("broken"))
	})
	for want := 1; want <= 2; want++ {
		if got := recv(t, handled, "delivery"); got != want {
			t.Errorf("delivery %d, want %d", got, want)
		}
	}
	s.Bus(t, bus.Options{}) // puts the stream back
	if l := oneLetter(t, b); l.Reason != "broken" || l.EventSeq != 1 {
		t.Errorf("letter %+v", l)
	}
}

func oneLetter(t testing.TB, b *bus.Bus) bus.DeadLetter {
	t.Helper()
	var letters []bus.DeadLetter
	eventually(t, "a dead letter", func() bool {
		letters = must[[]bus.DeadLetter](t)(b.DeadLetters(within(t, 5*time.Second), 10))
		return len(letters) > 0
	})
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	return letters[0]
}

// An event whose handling kills the process each time is given up as well:
// nobody was left to say so, the server has counted.
func TestConsumeGivesUpOnKiller(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	publish(t, b, heard(1, "CA1", 1))
	_, js := raw(t, s)
	ctx := within(t, 20*time.Second)
	cons := must[jetstream.Consumer](t)(js.CreateConsumer(ctx, events.Stream, jetstream.ConsumerConfig{
		Durable: "w", FilterSubject: events.Filter("turn.heard"), AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxDeliver: -1,
	}))
	for range 2 { // processes that died
		m := must[jetstream.Msg](t)(cons.Next(jetstream.FetchMaxWait(5 * time.Second)))
		if err := m.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	consume(t, b, bus.Consumer{Name: "w", MaxTries: 2}, func(context.Context, events.Event, events.TurnHeard) error {
		t.Error("handled")
		return nil
	})
	if l := oneLetter(t, b); l.Reason != "given up after 2 deliveries" || l.Deliveries != 3 {
		t.Errorf("letter %+v", l)
	}
}

func TestConsumeRefusesForgeries(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		forge  func(m *nats.Msg)
		reason string
		tenant events.Tenant
	}{
		"another tenant's event": {func(m *nats.Msg) { m.Subject = "tenant.2.turn.heard" }, "tenantid 1 on subject of tenant 2", 2},
		"a tenant that is none":  {func(m *nats.Msg) { m.Subject = "tenant.x.turn.heard" }, `"x": no tenant`, 0},
		"a body off schema":      {func(m *nats.Msg) { m.Data = []byte(`"+15550001111"`) }, "turn.heard: body does not fit its schema: / type", 1},
		"no event at all":        {func(m *nats.Msg) { m.Header = nil }, "not an event: ce-specversion is missing", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.Server(t)
			b := s.Bus(t, bus.Options{})
			publish(t, b, heard(1, "CA1", 1))
			_, js := raw(t, s)
			ctx := within(t, 20*time.Second)
			good := must[*jetstream.RawStreamMsg](t)(must[jetstream.Stream](t)(js.Stream(ctx, events.Stream)).GetMsg(ctx, 1))
			m := &nats.Msg{Subject: good.Subject, Header: good.Header, Data: good.Data}
			tc.forge(m)
			m.Header.Del("Nats-Msg-Id")
			must[*jetstream.PubAck](t)(js.PublishMsg(ctx, m))
			handled := make(chan uint64, 9)
			consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
				handled <- e.Seq
				return nil
			})
			if l := oneLetter(t, b); l.Reason != tc.reason || l.EventSeq != 2 || l.Tenant != tc.tenant {
				t.Errorf("letter %+v", l)
			}
			if seq := recv(t, handled, "the good one"); seq != 1 || len(handled) != 0 {
				t.Errorf("handled %d, %d more", seq, len(handled))
			}
		})
	}
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 30*time.Second)
	publish(t, b, heard(3, "CA1", 1), heard(3, "CA0", 1)) // the first of its stream, as it will be of its retries
	var broken atomic.Bool
	broken.Store(true)
	got := make(chan events.Event, 10)
	handle := func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		if e.Call == "CA1" {
			if broken.Load() {
				return bus.Permanent(errors.New("broken"))
			}
			got <- e
		}
		return nil
	}
	consume(t, b, bus.Consumer{Name: "w"}, handle)
	others := make(chan uint64, 10)
	consume(t, b, bus.Consumer{Name: "other"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		others <- e.Seq
		return nil
	})
	recv(t, others, "first")
	recv(t, others, "second")

	first := oneLetter(t, b)
	if err := b.Redrive(ctx, first.Seq); err != nil {
		t.Fatal(err)
	}
	// Still broken: it dies again and is not lost as a duplicate of its first death.
	var second bus.DeadLetter
	eventually(t, "second letter", func() bool {
		all := must[[]bus.DeadLetter](t)(b.DeadLetters(ctx, 10))
		if len(all) == 1 {
			second = all[0]
		}
		return len(all) == 1 && second.Seq > first.Seq
	})
	if second.EventSeq != 1 || second.Subject != first.Subject || second.EventID != first.EventID || second.Tenant != 3 {
		t.Errorf("second letter %+v", second)
	}
	broken.Store(false)
	if n := must[int](t)(b.RedriveAll(ctx)); n != 1 {
		t.Errorf("redrove %d", n)
	}
	if e := recv(t, got, "redriven event"); e.Seq != 1 || e.Tenant != 3 || e.Call != "CA1" {
		t.Errorf("got %+v", e.Head)
	}
	if left := must[[]bus.DeadLetter](t)(b.DeadLetters(ctx, 10)); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
	if err := b.Redrive(ctx, first.Seq); !errors.Is(err, bus.ErrNoLetter) {
		t.Errorf("redriving what is gone: %v", err)
	}
	if last := must[uint64](t)(b.LastSeq(ctx)); last != 2 || len(others) != 0 {
		t.Errorf("%d facts, %d came to others", last, len(others))
	}
}

// Several who redrive all letters at once hand each out once, and none fails.
func TestRedriveByManyAtOnce(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	ctx := within(t, 60*time.Second)
	const letters, hands = 60, 4
	for i := range letters {
		publish(t, b, heard(1, "CA"+strconv.Itoa(i), 1))
	}
	var broken atomic.Bool
	broken.Store(true)
	got := make(chan string, 10*letters)
	consume(t, b, bus.Consumer{Name: "w"}, func(_ context.Context, e events.Event, _ events.TurnHeard) error {
		if broken.Load() {
			return bus.Permanent(errors.New("broken"))
		}
		got <- e.Call
		return nil
	})
	eventually(t, "all are dead", func() bool { return len(must[[]bus.DeadLetter](t)(b.DeadLetters(ctx, 2*letters))) == letters })
	broken.Store(false)
	var g sync.WaitGroup
	var sum atomic.Int64
	for range hands {
		operator := s.Remote(t, bus.Options{Name: "operator"})
		g.Go(func() {
			n, err := operator.RedriveAll(ctx)
			if err != nil {
				t.Error(err)
			}
			sum.Add(int64(n))
		})
	}
	g.Wait()
	seen := map[string]int{}
	for range letters {
		seen[recv(t, got, "redriven event")]++
	}
	if sum.Load() != letters || len(seen) != letters || len(got) > 0 {
		t.Errorf("%d handed out, %d calls, %d more", sum.Load(), len(seen), len(got))
	}
}
