package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

const (
	batchSize = 500
	batchTime = 20 * time.Millisecond // from the first event of a batch to its end
	batchGap  = 2 * time.Millisecond  // without another event: the batch ends at once
	follower  = "follow"              // stands for a consumer's name in dead letters
)

// Follow hands over every fact from sequence from on (0: from the first), in
// the order of the stream, in batches of up to 500 or what comes within 20 ms,
// as long as ctx lasts; then it returns nil. filters are subjects such as
// events.Filter("call.ended"); none: all facts. What cannot be decoded becomes
// a dead letter and is left out. An error of handle ends it and is returned, as
// is ErrCutShort when the stream comes back from an outage without what was
// read of it: its sequences are given to other facts then. Nothing else ends
// it, outages are waited for. ctx is handle's too.
func (b *Bus) Follow(ctx context.Context, from uint64, filters []string, handle func(context.Context, []events.Event) error) error {
	f := &following{bus: b, next: max(from, 1), filters: filters, handle: handle}
	for try := 0; ctx.Err() == nil; try++ {
		before := f.next
		err := f.run(ctx)
		var stop *handleError
		if errors.As(err, &stop) {
			if ctx.Err() != nil {
				return nil // cut short in the middle of a batch
			}
			return stop.error
		}
		if errors.Is(err, ErrCutShort) {
			return fmt.Errorf("follow from %d: %w", f.next, err)
		}
		if f.next != before {
			try = 0
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("following interrupted", zap.Uint64("next", f.next), zap.Error(err))
		}
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
	return nil
}

type handleError struct{ error }

type following struct {
	bus     *Bus
	next    uint64 // first sequence not yet handled
	filters []string
	handle  func(context.Context, []events.Event) error

	last  events.Event // handled last
	batch []events.Event
	seen  uint64 // newest sequence of the batch, decodable or not
}

// run follows through one server-side consumer for as long as that works.
func (f *following) run(ctx context.Context) error {
	if f.last.Seq > 0 {
		if there, err := f.bus.Holds(ctx, f.last.Seq, f.last.ID); err != nil {
			return err
		} else if !there {
			return ErrCutShort
		}
	}
	r, err := f.bus.newReader(ctx, events.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.next, FilterSubjects: f.filters,
	})
	if err != nil {
		return err
	}
	defer r.close()
	for ctx.Err() == nil {
		p, err := r.pull(batchSize)
		if err != nil {
			return err
		}
		// A pull that failed may have lost messages, which a consumer without
		// acknowledgements does not send again: go on with another.
		if err := errors.Join(f.drain(ctx, r, p), p.end()); err != nil {
			return err
		}
	}
	return nil
}

// drain handles what one pull brings, batch by batch.
func (f *following) drain(ctx context.Context, r *reader, p *pulled) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var end time.Time // of the batch
	for {
		m, got, more := p.next(ctx, timer.C)
		if !more {
			return f.flush(ctx)
		}
		if got {
			if err := r.accept(m); err != nil {
				return errors.Join(err, f.flush(ctx))
			}
			if f.seen == 0 {
				end = time.Now().Add(batchTime)
			}
			f.add(ctx, m)
			if len(f.batch) < batchSize {
				timer.Reset(min(batchGap, time.Until(end)))
				continue
			}
		}
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
}

func (f *following) add(ctx context.Context, m incoming) {
	if m.seq < f.next {
		return
	}
	f.seen = m.seq
	e, err := f.bus.codec.decode(m.Subject, m.Header, m.Data)
	if err != nil {
		f.bus.log.Error("fact left out", zap.Uint64("seq", m.seq), zap.Error(err))
		if err := f.bus.bury(ctx, letterOf(m, follower, err.Error())); err != nil {
			// The original stays in the stream; only the notice is missing.
			f.bus.log.Warn("dead letter not stored", zap.Uint64("seq", m.seq), zap.Error(err))
		}
		return
	}
	e.Seq, e.Delivery = m.seq, 1
	f.batch = append(f.batch, e)
}

func (f *following) flush(ctx context.Context) error {
	if f.seen == 0 {
		return nil
	}
	if len(f.batch) > 0 {
		batch := f.batch
		f.batch = nil
		if err := f.handle(ctx, batch); err != nil {
			return &handleError{fmt.Errorf("follow from %d: %w", f.next, err)}
		}
		f.last = batch[len(batch)-1]
	}
	f.next, f.seen = f.seen+1, 0
	return nil
}
