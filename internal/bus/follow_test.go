package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// follow runs Follow and sends each batch's sequences.
func follow(t testing.TB, b *bus.Bus, from uint64, filters ...string) (batches chan []uint64, stop func()) {
	t.Helper()
	batches = make(chan []uint64, 1000)
	return batches, run(t, func(ctx context.Context) error {
		return b.Follow(ctx, from, filters, func(_ context.Context, all []events.Event) error {
			var seqs []uint64
			for _, e := range all {
				seqs = append(seqs, e.Seq)
			}
			batches <- seqs
			return nil
		})
	})
}

// collect reads batches until n events came, which must be from, from+1, ….
func collect(t testing.TB, batches chan []uint64, from uint64, n int) {
	t.Helper()
	for next := from; next < from+uint64(n); {
		for _, seq := range recv(t, batches, fmt.Sprint("event ", next)) {
			if seq != next {
				t.Fatalf("got %d, want %d", seq, next)
			}
			next++
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	o := openOutbox(t, b)
	const n = 1200
	for i := range n {
		if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "stored", func() bool { return o.Depth() == 0 })
	t.Run("from the first, in bounded batches", func(t *testing.T) {
		batches, stop := follow(t, b, 0)
		defer stop()
		for next := 1; next <= n; {
			batch := recv(t, batches, "batch")
			if len(batch) > 500 {
				t.Errorf("batch of %d", len(batch))
			}
			if batch[0] != uint64(next) {
				t.Fatalf("batch begins at %d, want %d", batch[0], next)
			}
			next += len(batch)
		}
		publish(t, b, heard(1, "CAlive", 1))
		collect(t, batches, n+1, 1)
	})
	t.Run("from anywhere", func(t *testing.T) {
		batches, stop := follow(t, b, n-5)
		defer stop()
		collect(t, batches, n-5, 5)
	})
	t.Run("only what matches", func(t *testing.T) {
		publish(t, b, ended(2, "CAx", 1))
		batches, stop := follow(t, b, 1, events.Filter("call.ended"))
		defer stop()
		collect(t, batches, n+2, 1)
	})
	t.Run("an error of the handler ends it", func(t *testing.T) {
		boom := errors.New("boom")
		err := b.Follow(within(t, 20*time.Second), 1, nil, func(context.Context, []events.Event) error { return boom })
		if !errors.Is(err, boom) {
			t.Errorf("error %v", err)
		}
	})
}

// A projection sees each fact once and in order, whatever happens to the server.
func TestFollowSurvives(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Remote(t, bus.Options{})
	o := openOutbox(t, b)
	batches, _ := follow(t, b, 1)
	n := 0
	for range 3 {
		for range 20 {
			n++
			if err := o.Put(heard(1, "CA"+strconv.Itoa(n), 1), nil); err != nil {
				t.Fatal(err)
			}
		}
		s.Restart()
	}
	collect(t, batches, 1, n)
	publish(t, b, heard(1, "CAlast", 1))
	start := time.Now()
	collect(t, batches, uint64(n)+1, 1)
	if d := time.Since(start); d > 4*time.Second {
		t.Errorf("a fact took %v after the restarts", d)
	}
}

func TestFollowLeavesOutForgeries(t *testing.T) {
	t.Parallel()
	s := testenv.Server(t)
	b := s.Bus(t, bus.Options{})
	_, js := raw(t, s)
	publish(t, b, heard(1, "CA1", 1))
	must[*jetstream.PubAck](t)(js.PublishMsg(within(t, 5*time.Second), &nats.Msg{Subject: "tenant.1.turn.heard", Data: []byte("{}")}))
	publish(t, b, heard(1, "CA1", 2))
	batches, _ := follow(t, b, 1)
	var got []uint64
	for len(got) < 2 {
		got = append(got, recv(t, batches, "batch")...)
	}
	if diff := cmp.Diff([]uint64{1, 3}, got); diff != "" {
		t.Error(diff)
	}
	l := oneLetter(t, b)
	if l.Consumer != "follow" || l.EventSeq != 2 {
		t.Errorf("letter %+v", l)
	}
	if n, err := b.RedriveAll(within(t, 5*time.Second)); n != 0 || err != nil {
		t.Errorf("redrove %d, %v", n, err)
	}
	if err := b.Redrive(within(t, 5*time.Second), l.Seq); err == nil {
		t.Error("redrove what nobody would read")
	}
}

func TestReadCall(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 30*time.Second)
	note := events.New(1, "CA1", at, events.CallRecorded{Recording: "RE1", URL: "https://example.com/RE1", Seconds: 5}) // not numbered
	stored := []events.Event{
		heard(1, "CA1", 1), heard(1, "CA2", 1), heard(2, "CA1", 1),
		heard(1, "CA1", 3), note, heard(1, "CA1", 2), // a retry can turn two around
		events.New(1, "CA1", at, events.SMSReceived{SID: "SM1", From: "+15550001111", To: "+15550002222", Body: "x"}),
		ended(1, "CA1", 4), heard(1, "CA3", 1),
	}
	publish(t, b, stored...)
	last := must[uint64](t)(b.LastSeq(ctx))
	names := func(all []events.Event) (out []string) {
		for _, e := range all {
			out = append(out, fmt.Sprintf("%s %d at %d", e.Fact.Name(), e.CallSeq, e.Seq))
		}
		return out
	}
	for name, tc := range map[string]struct {
		tenant      events.Tenant
		call        string
		first, last uint64
		want        []string
	}{
		"the call, in its own order": {1, "CA1", 1, last, []string{
			"turn.heard 1 at 1", "call.recorded 0 at 5", "turn.heard 2 at 6", "turn.heard 3 at 4", "call.ended 4 at 8",
		}},
		"another tenant's call of the same id": {2, "CA1", 1, last, []string{"turn.heard 1 at 3"}},
		"only the range":                       {1, "CA1", 4, 6, []string{"call.recorded 0 at 5", "turn.heard 2 at 6", "turn.heard 3 at 4"}},
		"an end before the stream's":           {1, "CA1", 1, 2, []string{"turn.heard 1 at 1"}},
		"an end that is not the tenant's":      {1, "CA1", 1, 3, []string{"turn.heard 1 at 1"}},
		"an end beyond the stream's":           {1, "CA3", 1, last + 1000, []string{"turn.heard 1 at 9"}},
		"a start beyond the stream's":          {1, "CA1", last + 1, last + 1000, nil},
		"a call that is not there":             {1, "CA9", 1, last, nil},
		"a tenant without facts":               {3, "CA1", 1, last, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := must[[]events.Event](t)(b.ReadCall(ctx, tc.tenant, tc.call, bus.Span{First: tc.first, Last: tc.last}))
			if diff := cmp.Diff(tc.want, names(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A busy tenant: hundreds of facts of other calls lie among those of one.
func TestReadCallPicksWhatTheOwnerKnows(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	ctx := within(t, 60*time.Second)
	var noise []events.Event
	for i := range 300 {
		noise = append(noise, heard(1, "CA2", i+1))
	}
	publish(t, b, heard(1, "CA1", 1))
	publish(t, b, noise...)
	publish(t, b, heard(1, "CA1", 2), events.New(1, "CA1", at, events.MessageTaken{Turn: 1, Text: "call me"}))
	for i := range noise {
		noise[i] = heard(1, "CA3", i+1)
	}
	publish(t, b, noise...)
	publish(t, b, heard(1, "CA1", 3), ended(1, "CA1", 4))
	last := must[uint64](t)(b.LastSeq(ctx))
	all := must[[]events.Event](t)(b.ReadCall(ctx, 1, "CA1", bus.Span{First: 1, Last: last}))
	if len(all) != 5 {
		t.Fatalf("%d facts", len(all))
	}
	first, second := all[0].Seq, all[1].Seq
	for name, tc := range map[string]struct {
		at   bus.Span
		want []events.Event
	}{
		"those known, and what came after them":        {bus.Span{First: first, Last: last, Facts: []uint64{first, second}}, all},
		"those known, when nothing came after them":    {bus.Span{First: first, Last: second, Facts: []uint64{first, second}}, all[:2]},
		"what the stream holds now":                    {bus.Span{First: first, Facts: []uint64{first, second}}, all},
		"all by time when one was erased or lost":      {bus.Span{First: first, Since: at.Add(-time.Hour), Facts: []uint64{first, second, last + 7}}, all},
		"all by time when the first is not there":      {bus.Span{First: last + 7, Last: last, Since: at.Add(-time.Hour)}, all},
		"all by time when the first is of another":     {bus.Span{First: first + 1, Last: last, Since: at.Add(-time.Hour)}, all},
		"what came after, of which nothing is known":   {bus.Span{First: second + 1}, all[2:]},
		"all by time when the sequences are of others": {bus.Span{First: first, Last: last, Since: at.Add(-time.Hour), Facts: []uint64{first, first + 1}}, all},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, must[[]events.Event](t)(b.ReadCall(ctx, 1, "CA1", tc.at))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := must[[]events.Event](t)(b.ReadCall(ctx, 2, "CA1", bus.Span{First: first, Last: last, Since: at.Add(-time.Hour), Facts: []uint64{first, second}})); len(got) > 0 {
		t.Errorf("%d facts of another tenant", len(got))
	}
}

func TestReadCallNeedsTenant(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	if _, err := b.ReadCall(within(t, 5*time.Second), 0, "CA1", bus.Span{First: 1, Last: 10}); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("error %v", err)
	}
}

// Many who look for their calls at once wait for one another: all that the
// server would send them together is more than it lets a connection owe it.
func TestReadCallByManyAtOnce(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.WarnLevel)
	b := testenv.Server(t).Bus(t, bus.Options{Log: zap.New(core)})
	o := openOutbox(t, b)
	for i := range 700 {
		e := events.New(1, "CA"+strconv.Itoa(i), at, events.TurnHeard{Turn: 1, Text: strings.Repeat("word ", 800)})
		if err := o.Put(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "stored", func() bool { return o.Depth() == 0 })
	var g sync.WaitGroup
	for i := range 70 {
		g.Go(func() {
			all, err := b.ReadCall(within(t, time.Minute), 1, "CA"+strconv.Itoa(10*i), bus.Span{Since: at.Add(-time.Hour)})
			if err != nil || len(all) != 1 {
				t.Errorf("%d facts, %v", len(all), err)
			}
		})
	}
	g.Wait()
	for _, l := range logs.All() {
		t.Errorf("%s %v", l.Message, l.ContextMap())
	}
}
