package ingress

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	tenant = events.Tenant(7)
	sid    = "CA00000000000000000000000000000001"
)

var began = time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)

// ingress is a worker without its webhooks.
func ingress(t *testing.T, b *bus.Bus, name string) *worker {
	t.Helper()
	out, err := b.OpenOutbox(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = out.Close(ctx)
	})
	return &worker{
		log: zap.NewNop(), bus: b, outbox: out, settings: settings.NewDirectory(zap.NewNop()), instance: name,
		metrics: newMetrics(prometheus.NewRegistry()), life: t.Context(), serving: t.Context(), settle: 50 * time.Millisecond, calls: map[key]*call{}, expected: map[key]func(){},
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// said publishes the beginning of a call that nobody owns any more.
func said(t *testing.T, b *bus.Bus, facts ...events.Fact) {
	t.Helper()
	for i, f := range facts {
		e := events.New(tenant, sid, began.Add(time.Duration(i)*time.Second), f)
		e.CallSeq = i + 1
		if _, err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func log(t *testing.T, b *bus.Bus) []events.Event {
	t.Helper()
	all, err := b.ReadCall(t.Context(), tenant, sid, bus.Span{Since: began.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func entry(owner string) bus.CallEntry {
	return bus.CallEntry{Tenant: tenant, Call: sid, Owner: owner, Epoch: 1, From: "+12065550142", To: "+12065550110", StartedAt: began, Answered: true, FirstSeq: 1}
}

func TestSweeperEndsACallNobodyOwns(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	one, two := ingress(t, b, "one"), ingress(t, b, "two")
	said(t, b,
		events.CallReceived{From: "+12065550142", To: "+12065550110"}, events.CallAnswered{Session: "VX1", Greeting: "Hello."},
		events.TurnHeard{Turn: 1, Text: "My roof leaks."})
	if err := one.outbox.PutCall(entry("dead")); err != nil {
		t.Fatal(err)
	}
	list := func() []bus.CallEntry {
		all, err := b.ListCalls(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	until(t, "the call is on the register", func() bool { return len(list()) == 1 })
	now := time.Now()
	seenByOne, seenByTwo := map[string]time.Time{}, map[string]time.Time{}
	one.sweepOnce(t.Context(), list(), nil, seenByOne, now.Add(-time.Hour)) // it seemed lost, and was not
	for _, at := range []time.Time{now, now.Add(time.Hour)} {
		one.sweepOnce(t.Context(), list(), map[string]bool{"dead": true}, seenByOne, at)
	}
	one.sweepOnce(t.Context(), list(), nil, seenByOne, now)
	two.sweepOnce(t.Context(), list(), nil, seenByTwo, now)
	if one.outbox.Depth() > 0 || two.outbox.Depth() > 0 || len(log(t, b)) > 3 {
		t.Fatal("ended while its owner lived, or at once")
	}
	// Both find it at once, long after.
	entries := list()
	one.sweepOnce(t.Context(), entries, nil, seenByOne, now.Add(sweepGrace+time.Second))
	two.sweepOnce(t.Context(), entries, nil, seenByTwo, now.Add(sweepGrace+time.Second))
	until(t, "the call is off the register", func() bool { return len(list()) == 0 })
	var ends []events.CallEnded
	for _, e := range log(t, b) {
		if f, ok := e.Fact.(events.CallEnded); ok {
			ends = append(ends, f)
		}
	}
	if len(ends) != 1 || ends[0].Reason != events.EndLost || ends[0].Turns != 1 || !ends[0].Answered || !ends[0].EndedAt.Equal(began.Add(2*time.Second)) {
		t.Errorf("ended as %+v", ends)
	}
}

// An end that could be written down nowhere is stated later, by whoever sweeps,
// though the owner of the call lives on.
func TestAnEndThatCouldNotBeStatedIsSwept(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	one := ingress(t, b, "one")
	said(t, b, events.CallReceived{From: "+12065550142", To: "+12065550110"}, events.TurnHeard{Turn: 1, Text: "My roof leaks."})
	if err := one.outbox.PutCall(entry("one")); err != nil {
		t.Fatal(err)
	}
	list := func() []bus.CallEntry {
		all, err := b.ListCalls(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	until(t, "the call is on the register", func() bool { return len(list()) == 1 })
	c := resumed(one)
	c.turn = -1 // no schema lets that through
	c.end(events.EndCaller, began.Add(time.Minute))
	until(t, "nothing is on its way", func() bool { return one.outbox.Depth() == 0 })
	entries := list()
	if len(entries) != 1 || len(log(t, b)) != 2 {
		t.Fatalf("entries %+v, facts %+v", entries, log(t, b))
	}
	orphaned, alive, now := map[string]time.Time{}, map[string]bool{"one": true}, time.Now()
	for _, at := range []time.Time{now, now.Add(sweepGrace + time.Second)} {
		one.sweepOnce(t.Context(), entries, alive, orphaned, at)
	}
	until(t, "the call is off the register", func() bool { return len(list()) == 0 })
	all := log(t, b)
	if f, ok := all[len(all)-1].Fact.(events.CallEnded); !ok || f.Turns != 1 || f.Reason != events.EndLost {
		t.Errorf("ended as %+v", all[len(all)-1])
	}
}

// Twilio may tell of an end before whoever had the call has written down how
// it went: then its own word counts, for as long as it lives.
func TestAnEndIsNotToldShort(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	one, two := ingress(t, b, "one"), ingress(t, b, "two")
	said(t, b, events.CallReceived{From: "+12065550142", To: "+12065550110"}, events.TurnHeard{Turn: 1, Text: "My roof leaks."})
	lives, dies := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- b.KeepAlive(lives, "one") }()
	until(t, "the owner is known to live", func() bool {
		alive, err := b.AliveOwners(t.Context())
		return err == nil && alive["one"]
	})
	if err := one.outbox.PutCall(entry("one")); err != nil {
		t.Fatal(err)
	}
	until(t, "the call is on the register", func() bool {
		_, err := b.GetCall(t.Context(), tenant, sid)
		return err == nil
	})
	m := events.Control{Kind: events.ControlEnded, Reason: events.EndCaller, At: began.Add(time.Minute)}
	if err := two.endOrphan(tenant, sid, m); err == nil {
		t.Error("another's call was ended while it lives")
	}
	if err := one.endOrphan(tenant, sid, m); err != nil {
		t.Error(err)
	}
	if all := log(t, b); len(all) != 2 {
		t.Errorf("stated: %+v", all)
	}
	dies()
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if err := two.endOrphan(tenant, sid, m); err != nil {
		t.Error(err)
	}
	until(t, "the call is ended", func() bool { return len(log(t, b)) == 3 })
	if err := two.endOrphan(tenant, sid, m); err != nil {
		t.Error(err)
	}
}

// resumed is a call that w has just taken over.
func resumed(w *worker) *call {
	return &call{
		w: w, log: zap.NewNop(), tenant: tenant, id: sid, from: "+12065550142", started: began, epoch: 2,
		inbox: make(chan any, inboxSize), done: make(chan struct{}), answered: true,
	}
}

func TestWordsTwilioReplaysAreNotAnotherTurn(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	heard := func() *call {
		c := resumed(w)
		c.replay(events.Event{Fact: events.TurnHeard{Turn: 1, Text: "My roof leaks."}})
		c.fresh = true
		return c
	}
	c := heard()
	c.heard("My roof leaks.", "")
	if c.turn != 1 || len(c.history) != 1 {
		t.Errorf("replayed words became turn %d of %+v", c.turn, c.history)
	}
	c.heard("My roof leaks.", "")
	if c.turn != 2 {
		t.Error("a caller cannot say the same twice")
	}
	c = heard()
	c.heard("And my window.", "")
	if c.turn != 2 {
		t.Error("other words pass for replayed ones")
	}
	c = resumed(w) // its past comes to the log after its socket
	c.open(opened{sock: &socket{}})
	c.adopt([]events.Event{{Fact: events.TurnHeard{Turn: 1, Text: "My roof leaks."}}})
	c.heard("My roof leaks.", "")
	if c.turn != 1 {
		t.Error("replayed words of a past that came late became another turn")
	}
	c = heard()
	c.fresh = false
	c.heard("My roof leaks.", "")
	if c.turn != 2 {
		t.Error("words of a socket that was never lost pass for replayed ones")
	}
}

func TestTurnsOfAFormerOwnerAreAdopted(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	tail := []events.Event{
		{Head: events.Head{CallSeq: 3}, Fact: events.TurnHeard{Turn: 1, Text: "My roof leaks."}},
		{Head: events.Head{CallSeq: 4}, Fact: events.TurnSpoken{Turn: 1, Text: "Since when?"}},
		{Head: events.Head{CallSeq: 5}, Fact: events.TurnHeard{Turn: 2, Text: "Since Monday."}},
	}
	for name, tc := range map[string]struct {
		known int // turns
		tail  []events.Event
		turn  int
		lines int
		asks  int // attempts at the last turn
	}{
		"all of a past that could not be read": {0, tail, 2, 3, 1},
		"the one that came late":               {1, tail, 2, 3, 1},
		"one that was answered":                {0, tail[:2], 1, 2, 0},
		"none when all are known":              {2, tail, 2, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := resumed(w)
			for _, e := range tail {
				f, heard := e.Fact.(events.TurnHeard)
				if heard && f.Turn > tc.known || tc.known == 0 {
					break
				}
				c.replay(e)
			}
			c.adopt(tc.tail)
			c.adopt(tc.tail) // looked at twice
			if c.turn != tc.turn || len(c.history) != tc.lines || c.ans.attempt != tc.asks || c.ans.settled != (len(tc.tail) == 2) {
				t.Errorf("turn %d, history %+v, %d asks", c.turn, c.history, c.ans.attempt)
			}
		})
	}
}

// Whoever owned a call that was being transferred has died: the new owner knows
// from the log that it was, and from Twilio what became of it.
func TestATransferOfAFormerOwnerThatFailed(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	dialling := func() *call {
		c := resumed(w)
		c.replay(events.Event{Fact: events.TurnHeard{Turn: 1, Text: "A person, please."}})
		c.replay(events.Event{Fact: events.TurnSpoken{Turn: 1, Text: "One moment."}})
		c.replay(events.Event{Fact: events.CallTransferred{To: "claims", Nth: 1}})
		return c
	}
	for name, tc := range map[string]struct {
		params map[string]string
		line   string
	}{
		"told":     {map[string]string{paramDialled: "busy"}, "(the transfer to claims was not answered: busy)"},
		"not told": {nil, "(the transfer to claims was not answered: failed)"},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialling()
			c.open(opened{sock: &socket{}, setup: twilio.Setup{Parameters: tc.params}})
			if last := c.history[len(c.history)-1]; last.Text != tc.line || c.transferred != "" || c.why(events.EndCaller) != events.EndCaller {
				t.Errorf("%+v, transferred to %q", last, c.transferred)
			}
			c.heard("A person, please.", "")
			if c.turn != 2 {
				t.Error("who asks for the same again after a transfer is not heard")
			}
		})
	}
	c := dialling()
	c.replay(events.Event{Fact: events.CallTransferred{To: "claims", Nth: 1, Outcome: "no-answer"}})
	if last := c.history[len(c.history)-1]; last.Text != "(the transfer to claims was not answered: no-answer)" || c.transferred != "" || c.dialling {
		t.Errorf("%+v, transferred to %q", last, c.transferred)
	}
}

func TestAnInterruptedAnswerHoldsNoWordThatWasNotSaid(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ said, told, want string }{
		{"Your policy is 12 months old.", "Your policy is", "Your policy is"},
		{"Your policy is 12 months old.", " policy is 12", "Your policy is 12"},
		{"Your policy is 12 months old.", "Your policy is twelve mon", "Your policy is 12 months old."},
		{"Your policy is 12 months old.", "You won", "Your policy"},
		{"Your policy", "We will pay you a million dollars.", "Your policy"},
		{"Your policy", "", ""},
		{"", "We will pay you a million dollars.", ""},
	} {
		a := newAnswer(1)
		a.said.WriteString(tc.said)
		a.cutAt(tc.told)
		if a.spoken() != tc.want {
			t.Errorf("of %q, cut at %q: %q, want %q", tc.said, tc.told, a.spoken(), tc.want)
		}
	}
}
