package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
)

// Span is where in the stream a call's facts lie, as far as one knows.
type Span struct {
	First uint64    // sequence of the first; 0: not known
	Since time.Time // a time before the first, for when First is 0 or does not hold any more
	Last  uint64    // sequence of the last that is wanted; 0: of whatever the stream holds now
	Facts []uint64  // sequences of those the call's owner knows
}

const (
	fetches  = 16 // facts fetched at a time
	requests = 50 // for one fact each, before a consumer is quicker
)

// ReadCall reads the facts of one call: calls, turns and messages. What the
// call's owner numbered comes in the order of the numbers, the rest where the
// stream has it; a fact stored twice comes once. It takes as long as ctx
// allows, at most 30 s.
//
// Reading a span means reading what all of the tenant's calls said meanwhile.
// Where the owner's facts are known, those are fetched one by one and only what
// came after them is read.
func (b *Bus) ReadCall(ctx context.Context, t events.Tenant, call string, at Span) ([]events.Event, error) {
	if !t.Valid() || call == "" {
		return nil, fmt.Errorf("read call: %w", errors.Join(events.ErrNoTenant, ErrBadToken))
	}
	if at.Last == 0 {
		at.Last = math.MaxUint64
	}
	r := &callReader{bus: b, tenant: t, call: call, seen: map[string]bool{}}
	err := r.read(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("read call %s: %w", call, err)
	}
	return inOrder(r.out), nil
}

// callReader collects the facts of one call.
type callReader struct {
	bus    *Bus
	tenant events.Tenant
	call   string
	seen   map[string]bool
	out    []events.Event
}

func (r *callReader) read(ctx context.Context, at Span) error {
	switch {
	case at.First == 0:
		return r.scan(ctx, at, ">")
	case len(at.Facts) == 0 && at.Since.IsZero():
		return r.follow(ctx, at, ">")
	}
	known := at.Facts
	if len(known) == 0 {
		known = []uint64{at.First}
	}
	switch all, err := r.own(ctx, known); {
	case err != nil:
		return err
	case !all: // the stream was written anew since: no sequence holds any more
		r.out, r.seen = nil, map[string]bool{}
		return r.scan(ctx, Span{Since: at.Since, Last: math.MaxUint64}, ">")
	case len(at.Facts) == 0:
		return r.follow(ctx, at, ">")
	}
	// Messages are taken by whoever answers the turn.
	if err := r.follow(ctx, at, "message.*"); err != nil {
		return err
	}
	at.First = slices.Max(at.Facts) + 1
	return r.follow(ctx, at, ">")
}

// follow reads what matches under the tenant's subjects within a span, of which
// there should be little: a consumer costs the server more than a few requests.
func (r *callReader) follow(ctx context.Context, at Span, what string) error {
	s, err := r.bus.stream(ctx, events.Stream)
	if err != nil {
		return err
	}
	for range requests {
		if at.First > at.Last {
			return nil
		}
		var m *jetstream.RawStreamMsg
		err := r.bus.call(ctx, func(ctx context.Context) (err error) {
			m, err = s.GetMsg(ctx, at.First, jetstream.WithGetMsgSubject(events.Subject(r.tenant, what)))
			return err
		})
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err != nil:
			return err
		case m.Sequence > at.Last:
			return nil
		}
		r.add(m.Subject, m.Header, m.Data, m.Sequence)
		at.First = m.Sequence + 1
	}
	return r.scan(ctx, at, what)
}

// fetch gets facts by sequence. all is false when one of them is of another
// call, when the stream ends before it, or when none is there. Some that are
// missing in between were erased: transcripts expire before calls do.
func (r *callReader) fetch(ctx context.Context, seqs []uint64) (all bool, err error) {
	s, err := r.bus.stream(ctx, events.Stream)
	if err != nil {
		return false, err
	}
	got := make([]*jetstream.RawStreamMsg, len(seqs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for i, seq := range seqs {
		g.Go(func() error {
			return r.bus.call(gctx, func(ctx context.Context) (err error) {
				got[i], err = s.GetMsg(ctx, seq)
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					return nil
				}
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	found := 0
	for _, m := range got {
		if m == nil {
			continue
		}
		if !r.add(m.Subject, m.Header, m.Data, m.Sequence) {
			return false, nil
		}
		found++
	}
	if found == len(seqs) || found == 0 {
		return found > 0, nil
	}
	last, err := r.bus.LastSeq(ctx)
	return err == nil && slices.Max(seqs) <= last, err
}

// scan reads what matches under the tenant's subjects within a span.
func (r *callReader) scan(ctx context.Context, at Span, what string) error {
	// One filter, though it lets more through: the server takes twice as long
	// to find its way through three.
	cfg := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(at.First, 1), FilterSubject: events.Subject(r.tenant, what),
	}
	if at.First == 0 && !at.Since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &at.Since
	}
	return r.bus.scan(ctx, events.Stream, cfg, func(m incoming) bool {
		if m.seq > at.Last {
			return false
		}
		if m.seq >= at.First {
			r.add(m.Subject, m.Header, m.Data, m.seq)
		}
		return m.seq < at.Last
	})
}

// add takes a fact if it is of the call, once, and reports whether it is.
func (r *callReader) add(subject string, h nats.Header, data []byte, seq uint64) bool {
	if !ofCalls(r.tenant, subject) || !mayBeOf(h, r.call) {
		return false
	}
	e, err := r.bus.codec.decode(subject, h, data)
	if err != nil {
		r.bus.log.Error("fact left out of call", zap.String("call", r.call), zap.Uint64("seq", seq), zap.Error(err))
		return true
	}
	if e.Call == r.call && !r.seen[e.ID] {
		r.seen[e.ID] = true
		e.Seq, e.Delivery = seq, 1
		r.out = append(r.out, e)
	}
	return e.Call == r.call
}

// own is fetch for the sequences of the first facts of a call's owner. In
// another stream they may be of later facts of the same call: then a number is
// too high. Of a first one alone that cannot be told: retries turn facts around.
func (r *callReader) own(ctx context.Context, seqs []uint64) (all bool, err error) {
	all, err = r.fetch(ctx, seqs)
	foreign := func(e events.Event) bool { return e.CallSeq > len(seqs) }
	return all && (len(seqs) == 1 || !slices.ContainsFunc(r.out, foreign)), err
}

// ofCalls reports whether a subject is of a fact that calls are made of.
func ofCalls(t events.Tenant, subject string) bool {
	name, ours := strings.CutPrefix(subject, events.Subject(t, ""))
	noun, _, _ := strings.Cut(name, ".")
	return ours && (noun == "call" || noun == "turn" || noun == "message")
}

// mayBeOf spares the facts of other calls from being decoded.
func mayBeOf(h nats.Header, call string) bool {
	if h.Get("ce-specversion") == "" {
		return true // structured: only the body tells
	}
	of, err := percentDecode(h.Get("ce-" + extCall))
	return err == nil && of == call
}

// inOrder merges facts numbered by the call's owner, by number, with the
// others, by sequence.
func inOrder(all []events.Event) []events.Event {
	slices.SortStableFunc(all, func(a, b events.Event) int { return cmp.Compare(a.Seq, b.Seq) })
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
