package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// ReadCall reads the facts of one call that lie in the stream between first
// and last, both included: calls, turns and messages. What the call's owner
// numbered comes in the order of the numbers, the rest where the stream has
// it; a fact stored twice comes once. It takes as long as ctx allows, at most
// 30 s.
func (b *Bus) ReadCall(ctx context.Context, t events.Tenant, call string, first, last uint64) ([]events.Event, error) {
	return b.readCall(ctx, t, call, first, last, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(first, 1),
	})
}

// ReadCallSince is ReadCall for a call whose first sequence may not be known,
// up to what the stream holds now: with first 0, since bounds the search.
func (b *Bus) ReadCallSince(ctx context.Context, t events.Tenant, call string, first uint64, since time.Time) ([]events.Event, error) {
	if first > 0 {
		return b.ReadCall(ctx, t, call, first, math.MaxUint64)
	}
	return b.readCall(ctx, t, call, 0, math.MaxUint64, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
	})
}

func (b *Bus) readCall(ctx context.Context, t events.Tenant, call string, first, last uint64, cfg jetstream.ConsumerConfig) ([]events.Event, error) {
	if !t.Valid() || call == "" {
		return nil, fmt.Errorf("read call: %w", errors.Join(events.ErrNoTenant, ErrBadToken))
	}
	for _, noun := range []string{"call", "turn", "message"} {
		cfg.FilterSubjects = append(cfg.FilterSubjects, events.Subject(t, noun+".*"))
	}
	var out []events.Event
	seen := map[string]bool{}
	err := b.scan(ctx, events.Stream, cfg, func(m incoming) bool {
		if m.seq > last {
			return false
		}
		if m.seq >= first && mayBeOf(m, call) {
			e, err := b.codec.decode(m.Subject, m.Header, m.Data)
			if err != nil {
				b.log.Error("fact left out of call", zap.String("call", call), zap.Uint64("seq", m.seq), zap.Error(err))
			} else if e.Call == call && !seen[e.ID] {
				seen[e.ID] = true
				e.Seq, e.Delivery = m.seq, 1
				out = append(out, e)
			}
		}
		return m.seq < last
	})
	if err != nil {
		return nil, fmt.Errorf("read call %s: %w", call, err)
	}
	return inOrder(out), nil
}

// mayBeOf spares the facts of other calls from being decoded.
func mayBeOf(m incoming, call string) bool {
	h := m.Header
	if h.Get("ce-specversion") == "" {
		return true // structured: only the body tells
	}
	of, err := percentDecode(h.Get("ce-" + extCall))
	return err == nil && of == call
}

// inOrder merges facts numbered by the call's owner, by number, with the
// others, by sequence.
func inOrder(all []events.Event) []events.Event {
	var numbered, others []events.Event
	for _, e := range all {
		if e.CallSeq > 0 {
			numbered = append(numbered, e)
		} else {
			others = append(others, e)
		}
	}
	slices.SortStableFunc(numbered, func(a, b events.Event) int {
		return cmp.Or(cmp.Compare(a.CallSeq, b.CallSeq), cmp.Compare(a.Seq, b.Seq))
	})
	out := make([]events.Event, 0, len(all))
	for _, e := range numbered {
		for len(others) > 0 && others[0].Seq < e.Seq {
			out = append(out, others[0])
			others = others[1:]
		}
		out = append(out, e)
	}
	return append(out, others...)
}
