package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Told is one fact of a tenant as it is told to that tenant.
type Told struct {
	Seq  uint64 // in the stream of all tenants: not for outsiders
	ID   string
	Type string
	ce   *event.Event
}

// extCursor is where a told fact says how to go on after it.
const extCursor = "cursor"

// JSON is the fact as a structured CloudEvent, with a cursor as an extension.
func (t Told) JSON(cursor string) ([]byte, error) {
	ce := t.ce.Clone()
	ce.SetExtension(extCursor, cursor)
	return json.Marshal(ce)
}

// Feed is a tenant's own facts after a sequence that the stream holds now, in
// order, up to limit.
func (b *Bus) Feed(ctx context.Context, t events.Tenant, after uint64, limit int) (out []Told, err error) {
	cfg, err := feedOf(t, after)
	if err != nil {
		return nil, err
	}
	err = b.scan(ctx, events.Stream, cfg, func(m incoming) bool {
		if one, ok := b.told(t, m); ok && m.seq > after {
			out = append(out, one)
		}
		return len(out) < limit
	})
	return out, err
}

func feedOf(t events.Tenant, after uint64) (cfg jetstream.ConsumerConfig, err error) {
	if !t.Valid() {
		return cfg, fmt.Errorf("read feed: %w", events.ErrNoTenant)
	}
	return jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, FilterSubject: events.Subject(t, ">"),
	}, nil
}

// told is a message as it is told; not where it cannot be decoded, or is
// another tenant's.
func (b *Bus) told(t events.Tenant, m incoming) (Told, bool) {
	e, err := b.codec.decode(m.Subject, m.Header, m.Data)
	if err != nil || e.Tenant != t {
		b.log.Error("fact left out of feed", zap.Stringer("tenant", t), zap.Uint64("seq", m.seq), zap.Error(err))
		return Told{}, false
	}
	ce, err := fromMessage(m.Header, m.Data)
	if err != nil {
		return Told{}, false
	}
	if f, ok := e.Fact.(events.CallEnded); ok {
		f.FirstSeq, f.Facts = 0, nil // of the stream of all tenants: not for outsiders
		if err := ce.SetData(event.ApplicationJSON, f); err != nil {
			return Told{}, false
		}
	}
	return Told{Seq: m.seq, ID: e.ID, Type: ce.Type(), ce: ce}, true
}

// FollowFeed hands over a tenant's own facts after a sequence, in order, as
// they come, until ctx ends; then it returns nil. idle is called each time
// nothing has come for the time given. An error of either function ends it and
// is returned; outages are waited for.
func (b *Bus) FollowFeed(ctx context.Context, t events.Tenant, after uint64, each time.Duration, give func(Told) error, idle func() error) error {
	f := &feeding{bus: b, tenant: t, after: after, each: each, give: give, idle: idle}
	for try := 0; ctx.Err() == nil; try++ {
		before := f.after
		err := f.run(ctx)
		var stop *handleError
		switch {
		case errors.As(err, &stop):
			return stop.error
		case errors.Is(err, events.ErrNoTenant):
			return err
		}
		if f.after != before {
			try = 0
		}
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
	return nil
}

type feeding struct {
	bus    *Bus
	tenant events.Tenant
	after  uint64
	each   time.Duration
	give   func(Told) error
	idle   func() error
}

func (f *feeding) run(ctx context.Context) error {
	cfg, err := feedOf(f.tenant, f.after)
	if err != nil {
		return err
	}
	r, err := f.bus.newReader(ctx, events.Stream, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	quiet := time.NewTicker(f.each)
	defer quiet.Stop()
	for ctx.Err() == nil {
		p, err := r.pull(batchSize)
		if err != nil {
			return err
		}
		if err := errors.Join(f.drain(ctx, r, p, quiet), p.end()); err != nil {
			return err
		}
	}
	return nil
}

// drain hands over what one pull brings.
func (f *feeding) drain(ctx context.Context, r *reader, p *pulled, quiet *time.Ticker) error {
	for {
		m, got, more := p.next(ctx, quiet.C)
		switch {
		case !more:
			return nil
		case !got:
			if err := f.idle(); err != nil {
				return &handleError{err}
			}
			continue
		}
		if err := r.accept(m); err != nil {
			return err
		}
		if m.seq <= f.after {
			continue
		}
		if one, ok := f.bus.told(f.tenant, m); ok {
			if err := f.give(one); err != nil {
				return &handleError{err}
			}
			quiet.Reset(f.each)
		}
		f.after = m.seq
	}
}
