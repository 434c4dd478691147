package bus_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
)

// childEnv turns the test binary into a process that fills an outbox and waits
// to be killed; see TestOutboxSurvivesKill.
const childEnv = "BUS_TEST_OUTBOX"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fillOutbox(dir)
	}
	goleak.VerifyTestMain(m)
}

// fillOutbox puts what the parent counts on, reporting each step on stdout.
func fillOutbox(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := bus.Open(ctx, bus.Options{URL: os.Getenv("BUS_TEST_URL"), Name: "child"})
	fail(err)
	o, err := b.OpenOutbox(dir)
	fail(err)
	fmt.Println("open")
	var go1 string
	_, err = fmt.Scanln(&go1) // the parent has stopped the server
	fail(err)
	n, err := strconv.Atoi(os.Getenv("BUS_TEST_FACTS"))
	fail(err)
	for i := range n {
		fail(o.Put(heard(1, "CAkill", i+1), nil))
	}
	fmt.Println("put")
	select {} // until killed
}

var at = time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)

// heard is the nth turn of a call.
func heard(t events.Tenant, call string, n int) events.Event {
	e := events.New(t, call, at, events.TurnHeard{Turn: n, Text: "turn " + strconv.Itoa(n)})
	e.CallSeq = n
	return e
}

func ended(t events.Tenant, call string, callSeq int) events.Event {
	e := events.New(t, call, at, events.CallEnded{
		From: "+15550001111", To: "+15550002222", StartedAt: at, EndedAt: at.Add(time.Minute),
		Seconds: 60, Reason: events.EndCaller, Turns: callSeq - 1, Answered: true,
	})
	e.CallSeq = callSeq
	return e
}

// within is a context for one test.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// recv waits for the next value of c.
func recv[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// eventually polls for what has no channel to wait on.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// run starts f, which must return nil once the returned function has ended its
// context; that happens with the test at the latest.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(40 * time.Second):
			t.Error("does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// consume runs a consumer of turn.heard.
func consume(t testing.TB, b *bus.Bus, c bus.Consumer, handle func(context.Context, events.Event, events.TurnHeard) error) (stop func()) {
	return run(t, func(ctx context.Context) error { return bus.Consume(ctx, b, c, handle) })
}
