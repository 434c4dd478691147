package replay_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/testenv"
)

const (
	turnsOfCall = 18 // as many as the real service dialogues have on average
	factsOfCall = turnsOfCall + 7
	callsOfOne  = 4 // of one caller
	tenants     = 10
)

// BenchmarkReplay rebuilds everything from a log of REPLAY_EVENTS (a million)
// facts, in the proportions of real calls, next to an ordered consumer that
// only receives the same stream. Memory is the heap in use at most, early and
// late in the reading.
func BenchmarkReplay(b *testing.B) {
	size := 1_000_000
	if s := os.Getenv("REPLAY_EVENTS"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	db, server := testenv.Postgres(b), log(b)
	for range tenants {
		db.Customer(b, events.Settings{Template: events.Template{ID: "insurance_v1"}})
	}
	stream := server.Remote(b, bus.Options{})
	last, err := stream.LastSeq(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if last == 0 {
		fill(b, stream, size/factsOfCall)
		if last, err = stream.LastSeq(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	before := processors()
	bare := receive(b, server.URL(), last)
	bareCPU := processors() - before
	for b.Loop() {
		heap, before := &heapUse{of: last}, processors()
		r, err := replay.Run(b.Context(), stream, db.Store, replay.Options{
			Live: "bench", AsOf: time.Now().Add(time.Hour), Build: strconv.Itoa(b.N), Progress: heap.note,
		})
		if err != nil {
			b.Fatal(err)
		}
		ours := float64(last) / heap.rebuilt.Seconds()
		b.ReportMetric(ours, "events/s")
		b.ReportMetric(bare, "bare-events/s")
		b.ReportMetric(ours/bare, "ratio")
		if bareCPU > 0 {
			b.ReportMetric(heap.cpu-before, "cpu-s")
			b.ReportMetric(bareCPU, "bare-cpu-s")
		}
		b.ReportMetric(float64(r.Rows), "rows")
		b.ReportMetric(float64(heap.early)/1e6, "early-MB")
		b.ReportMetric(float64(heap.late)/1e6, "late-MB")
	}
}

// log is a bus server whose data is kept in REPLAY_LOG, for the next run, where
// that is set.
func log(b *testing.B) *testenv.BusServer {
	if dir := os.Getenv("REPLAY_LOG"); dir != "" {
		return testenv.ServerIn(b, dir)
	}
	return testenv.Server(b)
}

// heapUse is the most memory in use in the first and the last third of the
// reading, and how long all took but comparing, which is no part of rebuilding.
type heapUse struct {
	of          uint64
	early, late uint64
	rebuilt     time.Duration
	cpu         float64 // seconds of processor used by then
	stage       string
	since       time.Time
}

func (h *heapUse) note(p replay.Progress) {
	if h.stage == "" {
		h.since = p.Began
	}
	now := time.Now()
	if h.stage != "comparing" {
		h.rebuilt += now.Sub(h.since)
	}
	if p.Stage == "comparing" && h.stage != "comparing" {
		h.cpu = processors()
	}
	h.stage, h.since = p.Stage, now
	if p.Stage == "comparing" {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	switch {
	case p.Read < h.of/3:
		h.early = max(h.early, m.HeapInuse)
	case p.Read > h.of*2/3:
		h.late = max(h.late, m.HeapInuse)
	}
}

// processors is how many seconds of processor this process and those it started
// have used; 0 where the system does not say. It says more than the time does
// on a machine with other work to do.
func processors() (seconds float64) {
	parents, used := map[int]int{}, map[int]float64{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		name := bytes.LastIndexByte(raw, ')')
		if err != nil || name < 0 {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		f := strings.Fields(string(raw[name+1:]))
		parents[pid], _ = strconv.Atoi(f[1])
		for _, ticks := range f[11:15] { // its own, and those of children that have ended
			n, _ := strconv.ParseFloat(ticks, 64)
			used[pid] += n / 100
		}
	}
	for pid, s := range used {
		for at := pid; at > 1; at = parents[at] {
			if at == os.Getpid() {
				seconds += s
				break
			}
		}
	}
	return seconds
}

// receive is how many events of the stream an ordered consumer receives in a
// second.
func receive(b *testing.B, url string, last uint64) float64 {
	nc, err := nats.Connect(url)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	c, err := js.OrderedConsumer(b.Context(), events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	done, began := make(chan struct{}), time.Now()
	var n atomic.Uint64
	consuming, err := c.Consume(func(jetstream.Msg) {
		if n.Add(1) == last {
			close(done)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer consuming.Stop()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		b.Fatalf("the bare consumer received %d of %d", n.Load(), last)
	}
	return float64(last) / time.Since(began).Seconds()
}

// fill states some calls, of ten tenants.
func fill(b *testing.B, stream *bus.Bus, calls int) {
	g, ctx := errgroup.WithContext(b.Context())
	g.SetLimit(64)
	for i := range calls {
		g.Go(func() error { return state(ctx, stream, i) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// state states everything about one call.
func state(ctx context.Context, stream *bus.Bus, i int) error {
	tenant, call := events.Tenant(i%tenants+1), fmt.Sprintf("CA%032x", i)
	from, to := fmt.Sprintf("+1206%07d", i/tenants/callsOfOne), "+12065550100"
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	at, n := start, 0
	say := func(f events.Fact, ofCall bool) error {
		e := events.New(tenant, call, at, f)
		if ofCall {
			n++
			e.CallSeq = n
		}
		at = at.Add(time.Second)
		_, err := stream.Publish(ctx, e)
		return err
	}
	message := events.Derive("bench", call)
	facts := []events.Fact{events.CallReceived{From: from, To: to}, events.CallAnswered{Session: "s", Greeting: "Hello, how can I help?"}}
	for turn := 1; turn <= turnsOfCall/2; turn++ {
		facts = append(facts, events.TurnHeard{Turn: turn, Text: fmt.Sprint("I would like to know what my ", turn, "th policy covers.")},
			events.TurnSpoken{Turn: turn, Text: fmt.Sprint("Let me have a look at number ", turn, " for you.")})
	}
	facts = append(facts, events.CallEnded{From: from, To: to, StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Turns: turnsOfCall / 2, Answered: true})
	for _, f := range facts {
		if err := say(f, true); err != nil {
			return err
		}
	}
	for _, f := range []events.Fact{
		summary(i, from, start),
		events.SMSRequested{Message: message, To: "+12065550177", Purpose: events.PurposeSummary, Body: "Somebody called about a policy."},
		events.SMSSent{Message: message, To: "+12065550177", Purpose: events.PurposeSummary, SID: "SM" + call[2:], From: to},
		events.SMSDelivered{Message: message, SID: "SM" + call[2:]},
	} {
		if err := say(f, false); err != nil {
			return err
		}
	}
	return nil
}

func summary(i int, from string, start time.Time) events.CallSummarized {
	f := events.CallSummarized{
		Caller: from, StartedAt: start, EndedAt: start.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Summary: "Asked what the policy covers.",
		Sentiment: "neutral", Resolution: "resolved", Template: "insurance_v1", Topics: []string{"cover"}, Rejected: []events.Reject{}, Messages: []events.Message{},
	}
	for metric := range 13 {
		f.Style = append(f.Style, events.Measure{Metric: "metric_" + string(rune('a'+metric)), Micros: int64(i) % 100_000_000})
	}
	for field, v := range map[string]string{"personal.name": fmt.Sprint("Ann ", i), "policies.auto_1.make": "Kia", "memory.date": "May 3"} {
		f.Findings = append(f.Findings, events.Finding{Turn: 1, Evidence: v, Subject: "caller", Field: field, Value: v, Confidence: "stated"})
	}
	return f
}
