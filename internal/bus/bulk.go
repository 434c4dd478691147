package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
)

// bulkWindow is how many facts of a Bulk may be on their way at a time.
const bulkWindow = 1000

// Bulk publishes many facts without waiting for each. Facts arrive in the order
// they were put, unless the bus fails: then those that were on their way may
// arrive before one that is tried again. It is for one goroutine.
type Bulk struct {
	bus    *Bus
	flying []flight // oldest first
}

type flight struct {
	msg  *nats.Msg
	sent jetstream.PubAckFuture // nil: it could not even be sent
}

// Bulk is a new one, empty. Nothing is certain to be stored before Flush says so.
func (b *Bus) Bulk() *Bulk { return &Bulk{bus: b} }

// Put sends e on its way, when there is room for it. The error may be that of a
// fact put before. Like Publish it refuses what does not fit its schema, and it
// may be called again with what was put before: facts are stored once.
func (k *Bulk) Put(ctx context.Context, e events.Event) error {
	m, err := k.bus.codec.encode(e)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if len(k.flying) >= bulkWindow {
		if err := k.land(ctx); err != nil {
			return err
		}
	}
	f := flight{msg: m}
	if f.sent, err = k.bus.js.PublishMsgAsync(m); err != nil {
		f.sent = nil
	}
	k.flying = append(k.flying, f)
	return nil
}

// Flush waits until everything put is stored.
func (k *Bulk) Flush(ctx context.Context) error {
	for len(k.flying) > 0 {
		if err := k.land(ctx); err != nil {
			return err
		}
	}
	return nil
}

// land waits for the oldest. One that failed, or whose answer was lost, is
// published again as Publish does; the stream knows what it has by its id.
func (k *Bulk) land(ctx context.Context) error {
	f := k.flying[0]
	if f.sent != nil && k.landed(ctx, f.sent) {
		k.flying = k.flying[1:]
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := k.bus.store(ctx, &nats.Msg{Subject: f.msg.Subject, Header: f.msg.Header, Data: f.msg.Data}); err != nil {
		return fmt.Errorf("publish: %w", errors.Join(err, ctx.Err()))
	}
	k.flying = k.flying[1:]
	return nil
}

func (k *Bulk) landed(ctx context.Context, sent jetstream.PubAckFuture) bool {
	select {
	case <-sent.Ok():
		return true
	default:
	}
	limit := time.NewTimer(requestLimit)
	defer limit.Stop()
	select {
	case <-sent.Ok():
		return true
	case <-sent.Err():
	case <-limit.C:
	case <-ctx.Done():
	}
	return false
}
