package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
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
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/testenv"
)

const benchTenants = 10

// BenchmarkReplay rebuilds everything from a log of REPLAY_EVENTS (a million)
// facts, in the proportions of real calls, next to an ordered consumer that
// only receives the same stream from the same server; and from a log a quarter
// as long, to compare memory. The server, the consumer and the replay are each a
// process of their own, as they are when they are used.
func BenchmarkReplay(b *testing.B) {
	size := 1_000_000
	if s := os.Getenv("REPLAY_EVENTS"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	short, long := newLog(b, size/4), newLog(b, size)
	for b.Loop() {
		quarter, r := short.replay(b), long.replay(b)
		report := func(n float64, unit string) { b.ReportMetric(n, unit) }
		report(r.perSecond, "events/s")
		report(r.bare, "bare-events/s")
		report(r.perSecond/r.bare, "ratio")
		if r.cpu > 0 {
			report(r.cpu, "cpu-s")
			report(r.bareCPU, "bare-cpu-s")
			report(r.bareCPU/r.cpu, "cpu-ratio")
		}
		report(float64(r.Rows), "rows")
		if r.Peak > 0 {
			report(r.Peak/1e6, "peak-MB")
			report(quarter.Peak/1e6, "peak-MB/quarter")
			report(r.Peak/quarter.Peak, "peak-ratio")
		}
		report(slices.Max(r.Live)/1e6, "live-MB")
		report(slices.Max(quarter.Live)/1e6, "live-MB/quarter")
		b.Logf("%d facts, live heap by quarter of the log: %.0f MB; %d: %.0f MB", long.last, mega(r.Live), short.last, mega(quarter.Live))
	}
}

func mega(bytes []float64) (out []float64) {
	for _, n := range bytes {
		out = append(out, n/1e6)
	}
	return out
}

// benchLog is a log on a server of its own, and a database to make rows in.
type benchLog struct {
	db   *testenv.Database
	url  string
	last uint64
}

// newLog fills a log, or takes the one of that size in REPLAY_LOG, which is kept
// there for the next time.
func newLog(b *testing.B, size int) benchLog {
	dir := b.TempDir()
	if kept := os.Getenv("REPLAY_LOG"); kept != "" {
		dir = filepath.Join(kept, strconv.Itoa(size))
	}
	l := benchLog{db: testenv.Postgres(b)}
	for range benchTenants {
		l.db.Customer(b, events.Settings{Template: events.Template{ID: "insurance_v1"}})
	}
	_, said := child{Task: "serve", Dir: dir}.start(b)
	if err := said.Decode(&l.url); err != nil {
		b.Fatal(err)
	}
	stream, err := bus.Open(b.Context(), bus.Options{URL: l.url})
	if err != nil {
		b.Fatal(err)
	}
	defer stream.Close()
	if l.last, err = stream.LastSeq(b.Context()); err != nil {
		b.Fatal(err)
	}
	if l.last == 0 {
		fill(b, stream, benchTenants, 0, size/factsOfCall)
		if l.last, err = stream.LastSeq(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

// measured is what a process that replays says of itself: how long that took,
// without comparing, which is no part of rebuilding, and the memory it used.
type measured struct {
	Took time.Duration
	Rows int64
	Peak float64   // bytes resident at most; 0 where the system does not say
	Live []float64 // bytes of heap in use after a collection at most, in each quarter of the log
}

type result struct {
	measured
	perSecond, bare float64 // events
	cpu, bareCPU    float64 // seconds of processor, of all processes
}

// replay has one process receive the log, another replay it, and one receive it
// once more, so that work the machine has besides weighs on both alike.
func (l benchLog) replay(b *testing.B) (r result) {
	b.Helper()
	var first, second time.Duration
	began := processors()
	l.have(b, "receive")(&first)
	r.bareCPU = processors() - began
	began = processors()
	ours, rebuilt := l.have(b, "measure"), ""
	ours(&rebuilt)
	r.cpu = processors() - began
	ours(&r.measured)
	began = processors()
	l.have(b, "receive")(&second)
	r.bareCPU = (r.bareCPU + processors() - began) / 2
	r.perSecond, r.bare = float64(l.last)/r.Took.Seconds(), 2*float64(l.last)/(first+second).Seconds()
	return r
}

// have starts a process; next takes what it says.
func (l benchLog) have(b *testing.B, task string) (next func(said any)) {
	b.Helper()
	_, out := child{Task: task, Bus: l.url, Database: l.db.URL, Last: l.last}.start(b)
	return func(said any) {
		b.Helper()
		if err := out.Decode(said); err != nil {
			b.Fatalf("%s: %v", task, err)
		}
	}
}

// receive says how long an ordered consumer takes to receive all events.
func receive(ctx context.Context, c child) error {
	nc, err := nats.Connect(c.Bus)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(ctx, events.Stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	done, began := make(chan struct{}), time.Now()
	var n atomic.Uint64
	consuming, err := consumer.Consume(func(jetstream.Msg) {
		if n.Add(1) == c.Last {
			close(done)
		}
	})
	if err != nil {
		return err
	}
	defer consuming.Stop()
	select {
	case <-done:
		return say(time.Since(began))
	case <-time.After(5 * time.Minute):
		return fmt.Errorf("received %d of %d", n.Load(), c.Last)
	}
}

// measure replays. It says when all is rebuilt, and in the end what that took.
func measure(ctx context.Context, c child) error {
	b, s, err := c.reach(ctx)
	if err != nil {
		return err
	}
	m := measured{Live: make([]float64, 4)}
	var read atomic.Uint64
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { m.watch(ended, &read, c.Last) })
	r, err := replay.Run(ctx, b, s, replay.Options{
		Live: "bench", AsOf: time.Now().Add(time.Hour), Build: strconv.Itoa(os.Getpid()), Progress: func(p replay.Progress) {
			read.Store(p.Read)
			if p.Stage == "comparing" && m.Took == 0 {
				m.Took = time.Since(p.Began)
				_ = say("rebuilt")
			}
		},
	})
	close(ended)
	watching.Wait()
	m.Rows, m.Peak = r.Rows, resident()
	return errors.Join(err, say(m))
}

// watch notes the heap in use, by how far the log has been read.
func (m *measured) watch(ended <-chan struct{}, read *atomic.Uint64, last uint64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			metrics.Read(live)
			quarter := min(4*read.Load()/last, 3)
			m.Live[quarter] = max(m.Live[quarter], float64(live[0].Value.Uint64()))
		}
	}
}

// resident is how many bytes of this process were in memory at most; 0 where
// the system does not say.
func resident() float64 {
	raw, _ := os.ReadFile("/proc/self/status")
	_, after, _ := bytes.Cut(raw, []byte("VmHWM:"))
	var kilobytes float64
	_, _ = fmt.Sscan(string(after), &kilobytes)
	return kilobytes * 1024
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
