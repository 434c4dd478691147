package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Replay hands over the facts there are from one sequence to another (0: to
// the last), in the order of the stream, in batches of up to size, with the
// sequence up to which the stream has been read; then it returns nil. The next
// batch is read while handle works on one. What cannot be decoded is left out:
// whoever follows the stream has made a dead letter of it. Outages are waited
// for; an error of handle ends it.
func (b *Bus) Replay(ctx context.Context, from, to uint64, filters []string, size int, handle func(ctx context.Context, batch []events.Event, read uint64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan replayed)
	done := make(chan error, 1)
	go func() {
		defer close(batches)
		done <- b.replay(ctx, max(from, 1), to, filters, size, batches)
	}()
	for r := range batches {
		if err := handle(ctx, r.batch, r.read); err != nil {
			return err
		}
	}
	return <-done
}

type replayed struct {
	batch []events.Event
	read  uint64
}

func (b *Bus) replay(ctx context.Context, next, to uint64, filters []string, size int, out chan<- replayed) error {
	for try := 0; ; try++ {
		before := next
		err := b.replaySome(ctx, &next, to, filters, size, out)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("replay: %w", err)
		}
		if next != before {
			try = 0
		}
		b.log.Warn("replay interrupted", zap.Uint64("next", next), zap.Error(err))
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
}

// replaySome reads through one consumer; nil when all is read. next is moved
// past each batch that was handed over.
func (b *Bus) replaySome(ctx context.Context, next *uint64, to uint64, filters []string, size int, out chan<- replayed) error {
	last, err := b.LastSeq(ctx)
	if err != nil {
		return err
	}
	if to == 0 || to > last {
		to = last
	}
	if *next > to {
		return nil
	}
	pick := newPick(filters)
	r, err := b.newReader(ctx, events.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *next, FilterSubjects: pick.ask,
	})
	if err != nil {
		return err
	}
	defer r.close()
	var now replayed
	give := func() error {
		select {
		case out <- now:
			*next, now = now.read+1, replayed{}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	past := false
	for r.left > 0 && !past {
		before := r.last
		p, err := r.pull(int(min(r.left, uint64(size))))
		if err != nil {
			return err
		}
		for m, _, more := p.next(ctx, nil); more; m, _, more = p.next(ctx, nil) {
			if err := r.accept(m); err != nil {
				_ = p.end()
				return err
			}
			if past = past || m.seq > to; past {
				continue
			}
			now.read = m.seq
			if !pick.wants(m.Subject) {
				continue
			}
			e, err := b.codec.decode(m.Subject, m.Header, m.Data)
			if err != nil {
				continue
			}
			e.Seq, e.Delivery = m.seq, 1
			if now.batch = append(now.batch, e); len(now.batch) == size {
				if err := give(); err != nil {
					_ = p.end()
					return err
				}
			}
		}
		if err := errors.Join(p.end(), ctx.Err()); err != nil {
			return err
		}
		if r.last == before { // what there was has been erased meanwhile
			if err := r.recount(ctx); err != nil {
				return err
			}
		}
	}
	now.read = to
	return give()
}

// pick chooses among what the server sends. The server takes several times
// longer to find its way through many filters than to send everything, so it is
// asked for one that covers them all.
type pick struct {
	ask   []string // of the server; none: everything
	any   map[string]bool
	exact map[string]bool
}

func newPick(filters []string) pick {
	p := pick{any: map[string]bool{}, exact: map[string]bool{}}
	tenants := map[string]bool{}
	for _, f := range filters {
		tenant, name, ok := cutTenant(f)
		if !ok || strings.ContainsAny(name, "*>") {
			return pick{ask: filters}
		}
		tenants[tenant] = true
		if p.exact[f] = true; tenant == "*" {
			p.any[name] = true
		}
	}
	if len(tenants) == 0 || tenants["*"] {
		return p
	}
	for t := range tenants {
		p.ask = append(p.ask, "tenant."+t+".>")
	}
	return p
}

// wants is false for what the server was not to send.
func (p pick) wants(subject string) bool {
	if len(p.exact) == 0 {
		return true
	}
	_, name, _ := cutTenant(subject)
	return p.any[name] || p.exact[subject]
}

// cutTenant splits tenant.<id>.<name>.
func cutTenant(subject string) (tenant, name string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "tenant.")
	if ok {
		tenant, name, ok = strings.Cut(rest, ".")
	}
	return tenant, name, ok
}
