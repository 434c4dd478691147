package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Consumer says how a worker takes its share of the facts of one name. All
// processes that use the same Name share the facts among them.
type Consumer struct {
	Name     string        // [A-Za-z0-9_-]; one Name, one fact
	Slots    int           // handled at a time in this process; default 4
	AckWait  time.Duration // how soon others get what a dead process held; default 10 s
	MaxTries int           // deliveries after which an event is given up; default 200
	Backoff  time.Duration // before the second try; doubles, capped at 30 s; default 250 ms
	Drain    time.Duration // handlers have this long after ctx ends, then their context does; default 30 s
}

const (
	maxBackoff    = 30 * time.Second
	maxAckPending = 2000 // of one consumer, in all processes
	holdFacts     = 1000 // of one consumer, in one process: how far fairness among tenants sees
	holdRetries   = 100
)

func (c Consumer) withDefaults() Consumer {
	if c.Slots <= 0 {
		c.Slots = 4
	}
	if c.AckWait <= 0 {
		c.AckWait = 10 * time.Second
	}
	if c.MaxTries <= 0 {
		c.MaxTries = 200
	}
	if c.Backoff <= 0 {
		c.Backoff = 250 * time.Millisecond
	}
	if c.Drain <= 0 {
		c.Drain = 30 * time.Second
	}
	return c
}

// Consume hands each F to handle, at least once, until ctx ends; then it
// finishes what was begun, gives back the rest and returns nil. The first
// process to use a Name gets all facts there are, from the oldest on.
//
// handle returns nil when the event is dealt with; Permanent for one that
// never will be, which becomes a dead letter; any other error to get it again,
// later each time. A panic is permanent. Slots take turns among tenants.
// handle's context outlives ctx by Consumer.Drain.
//
// Outages are waited for. Consume returns an error only where it cannot ever
// work: a bad Name, or one that consumes another fact.
func Consume[F events.Fact](ctx context.Context, b *Bus, c Consumer, handle func(context.Context, events.Event, F) error) error {
	var zero F
	if any(zero) == nil {
		return errors.New("consume: the fact must be a concrete type")
	}
	w := &worker{bus: b, Consumer: c.withDefaults(), fact: zero.Name(), fair: newFair()}
	w.log = b.log.With(zap.String("consumer", c.Name))
	w.handle = func(ctx context.Context, e events.Event) error {
		f, ok := e.Fact.(F)
		if !ok { // a redriven letter of another fact
			return Permanent(fmt.Errorf("not a %s", zero.Name()))
		}
		return handle(ctx, e, f)
	}
	if err := w.run(ctx); err != nil {
		return fmt.Errorf("consume %s: %w", c.Name, err)
	}
	return nil
}

// worker is one Consume under way.
type worker struct {
	Consumer
	bus    *Bus
	log    *zap.Logger
	fact   string
	handle func(context.Context, events.Event) error
	fair   *fair
}

func (w *worker) run(ctx context.Context) error {
	if err := checkToken("name", w.Name); err != nil {
		return err
	}
	if err := w.ready(ctx, events.Stream); errors.Is(err, errMisfit) {
		return err
	}
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var feeds, slots, beats sync.WaitGroup
	feeds.Go(func() { w.feed(ctx, events.Stream, holdFacts) })
	feeds.Go(func() { w.feed(ctx, streamRetry, holdRetries) })
	for range w.Slots {
		slots.Go(func() {
			for d := w.fair.pop(); d != nil; d = w.fair.pop() {
				w.settle(handling, d)
				w.fair.release(d)
			}
		})
	}
	done := make(chan struct{})
	beats.Go(func() { w.beat(done) })

	<-ctx.Done()
	feeds.Wait()
	for _, d := range w.fair.close() {
		w.giveBack(d, 0)
		w.fair.release(d)
	}
	limit := time.AfterFunc(w.Drain, cancel)
	defer limit.Stop()
	slots.Wait()
	close(done)
	beats.Wait()
	return nil
}

// ready is ensure as one request.
func (w *worker) ready(ctx context.Context, stream string) error {
	return w.bus.call(ctx, func(ctx context.Context) error { return w.ensure(ctx, stream) })
}

// ensure finds or makes the shared consumer of one stream. One that exists
// is left as it is.
func (w *worker) ensure(ctx context.Context, stream string) error {
	filter := events.Filter(w.fact)
	if stream == streamRetry {
		filter = retrySubject(w.Name, ">")
	}
	cons, err := w.bus.js.Consumer(ctx, stream, w.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		cons, err = w.bus.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: w.Name, FilterSubject: filter, AckPolicy: jetstream.AckExplicitPolicy,
			DeliverPolicy: jetstream.DeliverAllPolicy, AckWait: w.AckWait, MaxDeliver: -1, MaxAckPending: maxAckPending,
		})
		if errors.Is(err, jetstream.ErrConsumerExists) { // another process, another AckWait
			cons, err = w.bus.js.Consumer(ctx, stream, w.Name)
		}
	}
	if err != nil {
		return err
	}
	if have := cons.CachedInfo().Config.FilterSubject; have != filter {
		return fmt.Errorf("%w: consumer takes %s, not %s", errMisfit, have, filter)
	}
	return nil
}

// feed brings in what a stream holds for the consumer, as far as there is room.
func (w *worker) feed(ctx context.Context, stream string, hold int) {
	ensured := false
	for try := 0; ctx.Err() == nil; {
		n := w.fair.room(ctx, stream, hold)
		if n == 0 {
			return
		}
		var err error
		if !ensured {
			err = w.ready(ctx, stream)
			ensured = err == nil
		}
		if err == nil {
			err = w.take(ctx, stream, n)
		}
		if err == nil || ctx.Err() != nil {
			try = 0
			continue
		}
		ensured = false // it may have been deleted
		if try == 3 {
			w.log.Warn("waiting for the bus", zap.String("stream", stream), zap.Error(err))
		}
		w.bus.pause(ctx, jitter(doubled(10*time.Millisecond, 2*time.Second, try)))
		try++
	}
}

// take makes one request for up to n messages and queues what comes.
func (w *worker) take(ctx context.Context, stream string, n int) error {
	p, err := w.bus.pull(stream, w.Name, n, true)
	if err != nil {
		return err
	}
	for {
		m, _, more := p.next(ctx, nil)
		if !more {
			return p.end()
		}
		w.fair.push(w.delivery(m, stream))
	}
}

func (w *worker) delivery(m incoming, stream string) *delivery {
	d := &delivery{key: source{stream, m.seq}, msg: m, subject: m.Subject, seq: m.seq, tries: m.tries}
	if stream == streamRetry {
		d.subject = strings.TrimPrefix(m.Subject, retrySubject(w.Name, ""))
		d.seq = readLetter("", m.Header, 0).EventSeq
	}
	if tok := strings.SplitN(d.subject, ".", 3); len(tok) == 3 {
		d.tenant = tok[1]
	}
	return d
}

// beat tells the server that everything held is still being worked on.
func (w *worker) beat(done <-chan struct{}) {
	tick := time.NewTicker(w.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			for _, d := range w.fair.all() {
				if w.bus.tell(d.current(), "+WPI") != nil {
					break // away; next time then
				}
			}
		}
	}
}
