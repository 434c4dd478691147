package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
)

// reader reads a stream in order through a consumer of its own that keeps no
// acknowledgements.
type reader struct {
	bus      *Bus
	stream   string
	consumer string
	last     uint64 // delivery read last
	left     uint64 // messages there were for it when it was made, or when the last one was sent
}

// newReader makes a consumer of cfg's subjects and start.
func (b *Bus) newReader(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (*reader, error) {
	cfg.AckPolicy = jetstream.AckNonePolicy
	cfg.MemoryStorage = true
	cfg.Replicas = 1
	cfg.InactiveThreshold = time.Minute // should we die without deleting it
	var cons jetstream.Consumer
	err := b.call(ctx, func(ctx context.Context) (err error) {
		cons, err = b.js.CreateConsumer(ctx, stream, cfg)
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) && stream != events.Stream {
		b.spawn(b.restore) // somebody deleted it; whoever reads comes again
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	info := cons.CachedInfo()
	return &reader{bus: b, stream: stream, consumer: info.Name, left: info.NumPending}, nil
}

func (r *reader) pull(n int) (*pulled, error) { return r.bus.pull(r.stream, r.consumer, n, true) }

// accept fails when a message before m is missing.
func (r *reader) accept(m incoming) error {
	if m.nth != r.last+1 {
		return errGap
	}
	r.last, r.left = m.nth, m.pending
	return nil
}

// recount asks the server how many messages are left.
func (r *reader) recount(ctx context.Context) error {
	return r.bus.call(ctx, func(ctx context.Context) error {
		cons, err := r.bus.js.Consumer(ctx, r.stream, r.consumer)
		if err == nil {
			r.left = cons.CachedInfo().NumPending
		}
		return err
	})
}

func (r *reader) close() {
	if !r.bus.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.bus.js.DeleteConsumer(ctx, r.stream, r.consumer) // else it expires
}

const (
	// scanTime bounds a scan, whatever its context allows, and scanSlots how
	// many there are at a time: the server drops a connection that it owes too
	// much, and with it all else that goes over it.
	scanTime  = 30 * time.Second
	scanSlots = 8
)

// scan hands over what a stream holds for cfg now, in order, until each
// returns false. It fails when the connection does. Others may have to be done
// first: each must not scan.
func (b *Bus) scan(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, each func(incoming) bool) error {
	select {
	case b.scans <- struct{}{}:
		defer func() { <-b.scans }()
	case <-ctx.Done():
		return fmt.Errorf("read stream %s: %w", stream, ctx.Err())
	}
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	r, err := b.newReader(ctx, stream, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	for r.left > 0 {
		more, err := r.some(ctx, each)
		if err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// some hands over as much as one request brings; more is false once each was.
// When nothing comes, what there was may have been deleted meanwhile.
func (r *reader) some(ctx context.Context, each func(incoming) bool) (more bool, err error) {
	p, err := r.bus.pull(r.stream, r.consumer, int(min(r.left, batchSize)), false)
	if err != nil {
		return false, err
	}
	for came := false; ; {
		m, _, ok := p.next(ctx, nil)
		if !ok {
			err := p.end()
			if err == nil && !came {
				err = r.recount(ctx)
			}
			return true, err
		}
		came = true
		err := r.accept(m)
		if err != nil || !each(m) {
			_ = p.end()
			return false, err
		}
	}
}
