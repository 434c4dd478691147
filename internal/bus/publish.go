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

const publishTries = 6

// Publish stores e and returns its sequence in the stream; a fact stored
// before keeps its first sequence. It retries for some seconds while the bus
// is away and returns when e is stored, when the tries are used up, or when
// ctx ends. An event that does not fit its schema is refused at once.
func (b *Bus) Publish(ctx context.Context, e events.Event) (uint64, error) {
	m, err := b.codec.encode(e)
	if err != nil {
		return 0, fmt.Errorf("publish: %w", err)
	}
	seq, err := b.store(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("publish %s: %w", e.Fact.Name(), err)
	}
	return seq, nil
}

// store publishes m, which carries its own message id, until a stream has it.
func (b *Bus) store(ctx context.Context, m *nats.Msg) (uint64, error) {
	var last error
	for try := range publishTries {
		var ack *jetstream.PubAck
		err := b.call(ctx, func(ctx context.Context) (err error) {
			ack, err = b.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
			return err
		})
		if err == nil {
			return ack.Sequence, nil
		}
		last = err
		var api *jetstream.APIError
		if errors.As(err, &api) && api.Code < 500 {
			return 0, last // the same message will be refused again
		}
		if !b.pause(ctx, jitter(doubled(50*time.Millisecond, 2*time.Second, try))) {
			return 0, errors.Join(last, ctx.Err())
		}
	}
	return 0, last
}
