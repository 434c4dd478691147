package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 2 * time.Second // two missed ones end a pull
)

// pulled is one request for messages under way.
type pulled struct {
	msgs   <-chan jetstream.Msg // closed when all came, none came for long, or the request failed
	batch  jetstream.MessageBatch
	cancel func()
}

// pull asks a consumer for up to n messages. Its caller must end it.
func (b *Bus) pull(ctx context.Context, c jetstream.Consumer, n int) (*pulled, error) {
	ctx, cancel := context.WithTimeout(ctx, pullExpiry)
	// The server one connects to anew may have forgotten the request, or
	// answered it into the void.
	unhook := b.onConnect(cancel)
	batch, err := c.Fetch(n, jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(pullHeartbeat))
	if err != nil {
		unhook()
		cancel()
		return nil, away(err)
	}
	return &pulled{batch.Messages(), batch, func() { unhook(); cancel() }}, nil
}

// end stops the request where it still runs and says whether messages may have
// been lost with it.
func (p *pulled) end() error {
	p.cancel()
	for range p.msgs { // what nobody took
	}
	return away(p.batch.Error())
}

var errGap = errors.New("a message was lost on the way")

// reader reads a stream in order through a consumer of its own that keeps no
// acknowledgements.
type reader struct {
	bus  *Bus
	name string
	cons jetstream.Consumer
	last uint64 // consumer sequence
	left uint64 // messages there were for it when it was made, or when the last one was sent
}

// newReader makes a consumer of cfg's subjects and start.
func (b *Bus) newReader(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (*reader, error) {
	cfg.AckPolicy = jetstream.AckNonePolicy
	cfg.MemoryStorage = true
	cfg.Replicas = 1
	cfg.InactiveThreshold = time.Minute // should we die without deleting it
	cons, err := b.js.CreateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, away(err))
	}
	info := cons.CachedInfo()
	return &reader{bus: b, name: info.Name, cons: cons, left: info.NumPending}, nil
}

// accept returns m's stream sequence, or errGap if one before it is missing.
func (r *reader) accept(m jetstream.Msg) (uint64, error) {
	meta, err := m.Metadata()
	if err != nil {
		return 0, err
	}
	if meta.Sequence.Consumer != r.last+1 {
		return 0, errGap
	}
	r.last, r.left = meta.Sequence.Consumer, meta.NumPending
	return meta.Sequence.Stream, nil
}

func (r *reader) close(stream string) {
	if !r.bus.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.bus.js.DeleteConsumer(ctx, stream, r.name) // else it expires
}

// scanTime bounds a scan whose context has no deadline.
const scanTime = 30 * time.Second

// scan hands over what a stream holds for cfg now, in order, until each
// returns false. It fails when the connection does.
func (b *Bus) scan(ctx context.Context, stream string, cfg jetstream.ConsumerConfig, each func(m jetstream.Msg, seq uint64) bool) error {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	r, err := b.newReader(ctx, stream, cfg)
	if err != nil {
		return err
	}
	defer r.close(stream)
	for more := true; more && r.left > 0; {
		if more, err = r.some(ctx, each); err != nil {
			return fmt.Errorf("read stream %s: %w", stream, err)
		}
	}
	return nil
}

func (r *reader) some(ctx context.Context, each func(m jetstream.Msg, seq uint64) bool) (more bool, err error) {
	p, err := r.bus.pull(ctx, r.cons, int(min(r.left, batchSize)))
	if err != nil {
		return false, err
	}
	for m := range p.msgs {
		seq, err := r.accept(m)
		if err != nil || !each(m, seq) {
			_ = p.end() // cut short by us
			return false, err
		}
	}
	return true, p.end()
}
