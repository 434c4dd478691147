package bus_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// own listens as the owner of a call and returns what it is told.
func own(t testing.TB, b *bus.Bus, tenant events.Tenant, call string) chan events.Answer {
	t.Helper()
	answers := make(chan events.Answer, 100)
	o, err := b.OwnCall(tenant, call)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { close(done); o.Release() })
	go func() {
		for {
			select {
			case m := <-o.Messages():
				if a, ok := o.Read(m).(events.Answer); ok {
					answers <- a
				}
			case <-done:
				return
			}
		}
	}()
	return answers
}

func serveAsks(t testing.TB, b *bus.Bus, slots int, handle bus.AskHandler) (stop func()) {
	t.Helper()
	stop = run(t, func(ctx context.Context) error { return b.ServeAsks(ctx, slots, handle) })
	// A greeting to nobody tells when subscriptions made before it are known to
	// the server: they go over the same connection.
	_, _ = b.Greet(within(t, 5*time.Second), 1, events.Greet{Call: "CAsync"})
	time.Sleep(20 * time.Millisecond)
	return stop
}

func ask(t testing.TB, b *bus.Bus, call string, turn, attempt int) {
	t.Helper()
	if err := b.Ask(1, events.Ask{Call: call, Turn: turn, Attempt: attempt}); err != nil {
		t.Fatal(err)
	}
}

func TestAskIsAnsweredStepByStep(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	ingress, worker := s.Bus(t, bus.Options{Name: "ingress"}), s.Remote(t, bus.Options{Name: "conversation"})
	serveAsks(t, worker, 2, func(_ context.Context, tenant events.Tenant, a events.Ask, reply func(events.Answer) error) {
		for _, step := range []events.Answer{
			{Kind: events.AnswerBeat}, {Kind: events.AnswerText, Text: "Hello "}, {Kind: events.AnswerText, Text: tenant.String() + a.History[0].Text}, {Kind: events.AnswerDone},
		} {
			if err := reply(step); err != nil {
				t.Error(err)
			}
		}
	})
	answers, others := own(t, ingress, 1, "CA1"), own(t, ingress, 2, "CA1")
	if err := ingress.Ask(1, events.Ask{Call: "CA1", Turn: 3, Attempt: 2, History: []events.Line{{Role: events.RoleCaller, Text: " there"}}}); err != nil {
		t.Fatal(err)
	}
	want := []events.Answer{
		{Turn: 3, Attempt: 2, Kind: events.AnswerBeat},
		{Turn: 3, Attempt: 2, Kind: events.AnswerText, Text: "Hello "},
		{Turn: 3, Attempt: 2, Kind: events.AnswerText, Text: "1 there"},
		{Turn: 3, Attempt: 2, Kind: events.AnswerDone},
	}
	for _, w := range want {
		got := recv(t, answers, w.Kind)
		if got.Worker == "" {
			t.Errorf("%s of nobody", got.Kind)
		}
		w.Worker = got.Worker
		if diff := cmp.Diff(w, got); diff != "" {
			t.Error(diff)
		}
	}
	if len(others) > 0 {
		t.Error("another tenant's call of the same id was told")
	}
}

// Whoever asked knows at once when nobody is there, and can find out that the
// worker that was there has died.
func TestWorkersThatAreGoneAreKnownToBe(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	ingress, worker := s.Bus(t, bus.Options{Name: "ingress"}), s.Remote(t, bus.Options{Name: "conversation"})
	answers := own(t, ingress, 1, "CA1")
	ask(t, ingress, "CA1", 1, 1)
	if a := recv(t, answers, "word that nobody is there"); a.Kind != events.AnswerNobody || a.Turn != 0 {
		t.Fatalf("answer %+v", a)
	}
	hanging := make(chan struct{})
	stop := serveAsks(t, worker, 4, func(_ context.Context, _ events.Tenant, _ events.Ask, reply func(events.Answer) error) {
		_ = reply(events.Answer{Kind: events.AnswerBeat})
		<-hanging
	})
	ask(t, ingress, "CA1", 1, 2)
	beat := recv(t, answers, "beat")
	if beat.Kind != events.AnswerBeat || ingress.Gone(within(t, 5*time.Second), beat.Worker) {
		t.Errorf("%+v passes for gone while it hangs", beat)
	}
	worker.Close() // as when the process dies
	// A question on its way while the connection closes gets no answer.
	for deadline := time.Now().Add(5 * time.Second); !ingress.Gone(within(t, 100*time.Millisecond), beat.Worker); {
		if time.Now().After(deadline) {
			t.Error("a dead worker passes for one that is there")
			break
		}
	}
	if ingress.Gone(within(t, 5*time.Second), "") || ingress.Gone(within(t, 5*time.Second), "a.b") {
		t.Error("nobody in particular passes for gone")
	}
	close(hanging)
	stop()
}

// Of many workers one takes an ask; when it is lost the next attempt finds
// another.
func TestAskFailsOver(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	ingress := s.Bus(t, bus.Options{})
	took, thaw := make(chan int, 10), make(chan struct{})
	var stops []func()
	for i := range 2 {
		w := s.Remote(t, bus.Options{Name: "w" + strconv.Itoa(i)})
		stops = append(stops, serveAsks(t, w, 4, func(_ context.Context, _ events.Tenant, a events.Ask, reply func(events.Answer) error) {
			took <- i
			if a.Attempt == 1 {
				<-thaw // frozen
				return
			}
			_ = reply(events.Answer{Kind: events.AnswerDone})
		}))
	}
	defer close(thaw)
	answers := own(t, ingress, 1, "CA1")
	ask(t, ingress, "CA1", 1, 1)
	dead := recv(t, took, "first worker")
	select {
	case a := <-answers:
		t.Fatalf("a frozen worker answered %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	go stops[dead]() // it is taken away
	for attempt := 2; ; attempt++ {
		ask(t, ingress, "CA1", 1, attempt)
		select {
		case a := <-answers:
			if a.Kind == events.AnswerFailed { // it was on its way out
				continue
			}
			if a.Attempt != attempt || a.Kind != events.AnswerDone {
				t.Errorf("answer %+v", a)
			}
			return
		case <-time.After(250 * time.Millisecond):
		}
		if attempt > 20 {
			t.Fatal("nobody answers")
		}
	}
}

func TestAskBeyondSlotsIsBusy(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	began := make(chan string, 10)
	serveAsks(t, b, 1, func(ctx context.Context, _ events.Tenant, a events.Ask, _ func(events.Answer) error) {
		began <- a.Call + strconv.Itoa(a.Attempt)
		<-ctx.Done()
	})
	first, second := own(t, b, 1, "CA1"), own(t, b, 1, "CA2")
	ask(t, b, "CA1", 1, 1)
	recv(t, began, "first ask")
	ask(t, b, "CA2", 1, 1)
	if a := recv(t, second, "refusal"); a.Kind != events.AnswerFailed || a.Reason != "busy" || a.Turn != 1 || a.Attempt != 1 {
		t.Errorf("answer %+v", a)
	}
	// A newer attempt of the call that holds the slot is never refused.
	ask(t, b, "CA1", 1, 2)
	if got := recv(t, began, "second attempt"); got != "CA12" {
		t.Errorf("began %s", got)
	}
	if len(first) > 0 {
		t.Errorf("told %+v", <-first)
	}
	// Once free the slot is given again, and there is one only.
	if err := b.Cancel(1, "CA1", 1); err != nil {
		t.Fatal(err)
	}
	for attempt := 2; ; attempt++ {
		ask(t, b, "CA2", 1, attempt)
		select {
		case got := <-began:
			if got != "CA2"+strconv.Itoa(attempt) {
				t.Errorf("began %s", got)
			}
			ask(t, b, "CA1", 2, 1)
			if a := recv(t, first, "refusal"); a.Reason != "busy" || a.Turn != 2 {
				t.Errorf("answer %+v", a)
			}
			if err := b.Cancel(1, "CA2", 1); err != nil {
				t.Error(err)
			}
			return
		case a := <-second:
			if a.Reason != "busy" || attempt > 100 {
				t.Fatalf("answer %+v", a)
			}
		}
	}
}

func TestAskEndsWith(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*bus.Bus) error{
		"a cancel of its turn":       func(b *bus.Bus) error { return b.Cancel(1, "CA1", 5) },
		"a newer attempt":            func(b *bus.Bus) error { return b.Ask(1, events.Ask{Call: "CA1", Turn: 5, Attempt: 3}) },
		"a newer turn":               func(b *bus.Bus) error { return b.Ask(1, events.Ask{Call: "CA1", Turn: 6, Attempt: 1}) },
		"a cancel right behind it":   nil,
		"nothing of another call":    func(b *bus.Bus) error { return b.Cancel(1, "CA2", 5) },
		"nothing of another tenant":  func(b *bus.Bus) error { return b.Cancel(2, "CA1", 5) },
		"nothing of another turn":    func(b *bus.Bus) error { return b.Cancel(1, "CA1", 4) },
		"nothing of an older ask":    func(b *bus.Bus) error { return b.Ask(1, events.Ask{Call: "CA1", Turn: 5, Attempt: 1}) },
		"nothing of the same again":  func(b *bus.Bus) error { return b.Ask(1, events.Ask{Call: "CA1", Turn: 5, Attempt: 2}) },
		"nothing of an earlier turn": func(b *bus.Bus) error { return b.Ask(1, events.Ask{Call: "CA1", Turn: 4, Attempt: 9}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := testenv.Bus(t)
			began, over := make(chan events.Ask, 10), make(chan error, 10)
			serveAsks(t, b, 4, func(ctx context.Context, _ events.Tenant, a events.Ask, reply func(events.Answer) error) {
				began <- a
				if a.Turn == 5 && a.Attempt == 2 {
					<-ctx.Done()
					over <- reply(events.Answer{Kind: events.AnswerText, Text: "too late"})
				}
			})
			answers := own(t, b, 1, "CA1")
			ask(t, b, "CA1", 5, 2)
			if end == nil {
				if err := b.Cancel(1, "CA1", 5); err != nil {
					t.Fatal(err)
				}
			}
			recv(t, began, "ask")
			if end != nil {
				if err := end(b); err != nil {
					t.Fatal(err)
				}
			}
			ends := name[:7] != "nothing"
			select {
			case err := <-over:
				if !ends {
					t.Error("it ended")
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("a late reply: %v", err)
				}
			case <-time.After(map[bool]time.Duration{true: 10 * time.Second, false: 50 * time.Millisecond}[ends]):
				if ends {
					t.Error("it does not end")
				}
				if err := b.Cancel(1, "CA1", 5); err != nil {
					t.Fatal(err)
				}
				recv(t, over, "end")
			}
			if len(answers) > 0 {
				t.Errorf("the owner was told %+v", <-answers)
			}
		})
	}
}

func TestAskHandlerPanicIsTold(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	serveAsks(t, b, 1, func(context.Context, events.Tenant, events.Ask, func(events.Answer) error) {
		panic("words of a caller")
	})
	answers := own(t, b, 1, "CA1")
	for attempt := range 2 { // the slot is free again
		ask(t, b, "CA1", 1, attempt+1)
		if a := recv(t, answers, "failure"); a.Kind != events.AnswerFailed || a.Reason != "panic" {
			t.Errorf("answer %+v", a)
		}
	}
}

func TestServeAsksFinishesWhatItBegan(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	began, finish := make(chan struct{}, 1), make(chan struct{})
	stop := serveAsks(t, b, 1, func(_ context.Context, _ events.Tenant, _ events.Ask, reply func(events.Answer) error) {
		began <- struct{}{}
		<-finish
		_ = reply(events.Answer{Kind: events.AnswerDone})
	})
	answers := own(t, b, 1, "CA1")
	ask(t, b, "CA1", 1, 1)
	recv(t, began, "ask")
	time.AfterFunc(50*time.Millisecond, func() { close(finish) })
	stop()
	if a := recv(t, answers, "answer"); a.Kind != events.AnswerDone {
		t.Errorf("answer %+v", a)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 20*time.Second)
	c := events.Control{Kind: events.ControlTaken, At: at, Epoch: 2}
	if handled, err := b.Control(ctx, 1, "CA1", c); handled || err != nil {
		t.Errorf("nobody owns it: %v, %v", handled, err)
	}
	o, err := b.OwnCall(1, "CA1")
	if err != nil {
		t.Fatal(err)
	}
	told := func() chan bool {
		out := make(chan bool, 1)
		go func() {
			handled, err := b.Control(ctx, 1, "CA1", c)
			out <- handled && err == nil
		}()
		return out
	}
	reply := told()
	if diff := cmp.Diff(any(c), o.Read(recv(t, o.Messages(), "control"))); diff != "" {
		t.Error(diff)
	}
	if !recv(t, reply, "reply") {
		t.Error("what was read counts as not dealt with")
	}
	if handled, err := b.Control(ctx, 2, "CA1", c); handled || err != nil {
		t.Errorf("another tenant's call: %v, %v", handled, err)
	}
	unread := told()
	for len(o.Messages()) == 0 {
		runtime.Gosched()
	}
	o.Release()
	o.Release()
	if recv(t, unread, "reply") {
		t.Error("what nobody read counts as dealt with")
	}
	if handled, err := b.Control(ctx, 1, "CA1", c); handled || err != nil {
		t.Errorf("after release: %v, %v", handled, err)
	}
}

func TestGreet(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 20*time.Second)
	own(t, b, 1, "CA1") // an owner is nobody who greets
	if _, err := b.Greet(ctx, 1, events.Greet{Call: "CA1"}); !errors.Is(err, bus.ErrNobody) {
		t.Fatalf("without workers: %v", err)
	}
	run(t, func(ctx context.Context) error {
		return b.ServeGreets(ctx, func(_ context.Context, tenant events.Tenant, g events.Greet) (events.Greeting, error) {
			switch g.Call {
			case "CAbad":
				return events.Greeting{}, errors.New("no " + g.Caller)
			case "CApanic":
				panic(g.Caller)
			}
			return events.Greeting{Text: tenant.String() + " greets"}, nil
		})
	})
	eventually(t, "a greeting", func() bool {
		g, err := b.Greet(ctx, 7, events.Greet{Call: "CA1", Caller: "+15550001111"})
		return err == nil && g.Text == "7 greets"
	})
	for call, want := range map[string]string{"CAbad": "greet: failed", "CApanic": "greet: panic"} {
		if _, err := b.Greet(ctx, 7, events.Greet{Call: call, Caller: "+15550001111"}); err == nil || err.Error() != want {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// Live words fail at once while the bus is away, and are not kept for later.
func TestLiveFailsFast(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{})
	var mu sync.Mutex
	var got []int
	serveAsks(t, b, 10, func(_ context.Context, _ events.Tenant, a events.Ask, _ func(events.Answer) error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, a.Turn)
	})
	s.Stop()
	eventually(t, "away", func() bool { return !b.Connected() })
	start := time.Now()
	for what, err := range map[string]error{
		"ask":     b.Ask(1, events.Ask{Call: "CA1", Turn: 1, Attempt: 1}),
		"cancel":  b.Cancel(1, "CA1", 1),
		"control": func() error { _, err := b.Control(within(t, time.Minute), 1, "CA1", events.Control{}); return err }(),
		"greet":   func() error { _, err := b.Greet(within(t, time.Minute), 1, events.Greet{Call: "CA1"}); return err }(),
	} {
		if !errors.Is(err, bus.ErrAway) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("that took %v", d)
	}
	s.Restart()
	eventually(t, "asked again", func() bool {
		_ = b.Ask(1, events.Ask{Call: "CA1", Turn: 2, Attempt: 1})
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		return len(got) > 0
	})
	mu.Lock()
	defer mu.Unlock()
	if got[0] != 2 {
		t.Errorf("turn %d of the outage was asked later", got[0])
	}
}

func TestLiveRefusesTokens(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	for _, call := range []string{"", "*", ">", "a.b", "a b", "a\r\n", "Zoë", "x1234567890123456789012345678901234567890123456789012345678901234"} {
		if err := b.Ask(1, events.Ask{Call: call}); !errors.Is(err, bus.ErrBadToken) {
			t.Errorf("ask %q: %v", call, err)
		}
		if _, err := b.OwnCall(1, call); !errors.Is(err, bus.ErrBadToken) {
			t.Errorf("own %q: %v", call, err)
		}
	}
	if err := b.Ask(0, events.Ask{Call: "CA1"}); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}
