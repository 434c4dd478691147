package bus_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// durations reports percentiles in microseconds.
func durations(b *testing.B, all []time.Duration) (p50 time.Duration) {
	slices.Sort(all)
	p50 = all[len(all)/2]
	b.ReportMetric(float64(p50.Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "p99-µs")
	return p50
}

// rawRoundTrip is the least a message to another process and back can take
// here: a core request between two connections.
func rawRoundTrip(b *testing.B, s *testenv.BusServer) time.Duration {
	b.Helper()
	one, two := must[*nats.Conn](b)(nats.Connect(s.URL())), must[*nats.Conn](b)(nats.Connect(s.URL()))
	defer one.Close()
	defer two.Close()
	must[*nats.Subscription](b)(two.Subscribe("raw", func(m *nats.Msg) { _ = m.Respond(m.Data) }))
	if err := two.Flush(); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 200)
	all := make([]time.Duration, 2000)
	for i := range all {
		start := time.Now()
		must[*nats.Msg](b)(one.Request("raw", payload, time.Second))
		all[i] = time.Since(start)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// BenchmarkPut is how long a call waits to hand over a fact.
func BenchmarkPut(b *testing.B) {
	s := testenv.DurableServer(b)
	o := openOutbox(b, s.Remote(b, bus.Options{}))
	facts := make([]events.Event, 2000)
	for i := range facts {
		facts[i] = heard(1, "CA"+strconv.Itoa(i%100), i+1)
	}
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := o.Put(facts[i%len(facts)], nil); err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(start))
		b.StopTimer()
		for o.Depth() > 500 { // the disk's pace is not what is measured
			time.Sleep(time.Millisecond)
		}
		b.StartTimer()
	}
	durations(b, all)
}

// BenchmarkPutToWire is how long until a fact that was put reaches another
// connection, next to a raw request's half.
func BenchmarkPutToWire(b *testing.B) {
	s := testenv.Server(b)
	o := openOutbox(b, s.Remote(b, bus.Options{}))
	nc := must[*nats.Conn](b)(nats.Connect(s.URL()))
	defer nc.Close()
	arrived := make(chan *nats.Msg, 1)
	must[*nats.Subscription](b)(nc.ChanSubscribe("tenant.>", arrived))
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
			b.Fatal(err)
		}
		<-arrived
		all = append(all, time.Since(start))
	}
	p50, limit := durations(b, all), rawRoundTrip(b, s)/2
	b.ReportMetric(float64(limit.Nanoseconds())/1e3, "raw-µs")
	b.ReportMetric(float64(p50)/float64(limit), "ratio")
}

// BenchmarkPublishToHandler is how long until a fact is handled, next to a raw
// request.
func BenchmarkPublishToHandler(b *testing.B) {
	s := testenv.Server(b)
	o := openOutbox(b, s.Remote(b, bus.Options{}))
	handled := make(chan struct{}, 1)
	consume(b, s.Remote(b, bus.Options{}), bus.Consumer{Name: "w"}, func(context.Context, events.Event, events.TurnHeard) error {
		handled <- struct{}{}
		return nil
	})
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
			b.Fatal(err)
		}
		<-handled
		all = append(all, time.Since(start))
	}
	p50, limit := durations(b, all), rawRoundTrip(b, s)
	b.ReportMetric(float64(limit.Nanoseconds())/1e3, "raw-µs")
	b.ReportMetric(float64(p50)/float64(limit), "ratio")
}

// BenchmarkAsk is how long from an ask to the first step of its answer, next
// to a raw request.
func BenchmarkAsk(b *testing.B) {
	s := testenv.Server(b)
	ingress := s.Remote(b, bus.Options{})
	serveAsks(b, s.Remote(b, bus.Options{}), 4, func(_ context.Context, _ events.Tenant, _ events.Ask, reply func(events.Answer) error) {
		_ = reply(events.Answer{Kind: events.AnswerBeat})
	})
	answers := own(b, ingress, 1, "CA1")
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		ask(b, ingress, "CA1", i+1, 1)
		<-answers
		all = append(all, time.Since(start))
	}
	p50, limit := durations(b, all), rawRoundTrip(b, s)
	b.ReportMetric(float64(limit.Nanoseconds())/1e3, "raw-µs")
	b.ReportMetric(float64(p50)/float64(limit), "ratio")
}

// BenchmarkFollow is how fast a projection is rebuilt, facts per second.
func BenchmarkFollow(b *testing.B) {
	const n = 20000
	s := testenv.Server(b)
	br := s.Remote(b, bus.Options{})
	o := openOutbox(b, br)
	for i := range n {
		if err := o.Put(heard(1, "CA"+strconv.Itoa(i), 1), nil); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "stored", func() bool { return o.Depth() == 0 })
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		seen := 0
		if err := br.Follow(ctx, 1, nil, func(_ context.Context, all []events.Event) error {
			if seen += len(all); seen == n {
				cancel()
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "facts/s")
}

// Erasing overwrites the block a fact lies in; beside it, deleting that leaves
// its bytes where they are.
func BenchmarkErase(b *testing.B) {
	s := testenv.DurableServer(b)
	bb := s.Bus(b, bus.Options{})
	var seqs []uint64
	for i := range 2 * b.N {
		e := events.New(1, "CA1", at, events.TurnHeard{Turn: i + 1, Text: strings.Repeat("words ", 150)})
		seqs = append(seqs, must[uint64](b)(bb.Publish(context.Background(), e)))
	}
	_, js := raw(b, s)
	stream := must[jetstream.Stream](b)(js.Stream(context.Background(), events.Stream))
	b.ResetTimer()
	if n, err := bb.Erase(context.Background(), 1, seqs[:b.N], nil); err != nil || n != b.N {
		b.Fatal(n, err)
	}
	ours := b.Elapsed()
	b.StopTimer()
	began := time.Now()
	for _, seq := range seqs[b.N:] {
		if err := stream.DeleteMsg(context.Background(), seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/ours.Seconds(), "erased/s")
	b.ReportMetric(float64(ours)/float64(time.Since(began)), "x-plain-delete")
}
