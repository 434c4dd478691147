package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// extStored is where a fact lay in the stream it was taken from.
const extStored = "storedseq"

// Moved is a fact on its way to another stream. Its Seq is that of the stream
// it comes from.
type Moved struct {
	events.Event
	Source string // who stated it, as CloudEvents have it
}

// ReadTenant hands over every fact of a tenant from one sequence on (0: from the
// first) to the end the stream has when it is asked, in order, and returns that
// end. What cannot be decoded is handed over without a Fact. Outages are waited
// for; an error of each ends it.
func (b *Bus) ReadTenant(ctx context.Context, t events.Tenant, from uint64, each func(Moved) error) (to uint64, err error) {
	if !t.Valid() {
		return 0, fmt.Errorf("read tenant: %w", events.ErrNoTenant)
	}
	if to, err = b.LastSeq(ctx); err != nil {
		return 0, err
	}
	next := max(from, 1)
	for try := 0; next <= to; try++ {
		before := next
		err := b.readTenant(ctx, t, &next, to, each)
		var stop *handleError
		switch {
		case err == nil:
			return to, nil
		case errors.As(err, &stop):
			return 0, stop.error
		case ctx.Err() != nil:
			return 0, ctx.Err()
		}
		if next != before {
			try = 0
		}
		b.log.Warn("reading a tenant interrupted", zap.Uint64("next", next), zap.Error(err))
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
	return to, nil
}

// readTenant reads through one consumer; next moves past each fact handed over.
func (b *Bus) readTenant(ctx context.Context, t events.Tenant, next *uint64, to uint64, each func(Moved) error) error {
	r, err := b.newReader(ctx, events.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *next, FilterSubject: events.Subject(t, ">"),
	})
	if err != nil {
		return err
	}
	defer r.close()
	for past := false; r.left > 0 && !past; {
		var failed error
		_, err := r.some(ctx, func(m incoming) bool {
			if past = m.seq > to; past {
				return false
			}
			if failed = each(b.moved(m)); failed != nil {
				return false
			}
			*next = m.seq + 1
			return true
		})
		if failed != nil {
			return &handleError{failed}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) moved(m incoming) Moved {
	e, err := b.codec.decode(m.Subject, m.Header, m.Data)
	if err != nil {
		return Moved{Event: events.Event{Head: events.Head{Seq: m.seq}}}
	}
	e.Seq, e.Delivery = m.seq, 1
	ce, err := fromMessage(m.Header, m.Data)
	if err != nil {
		return Moved{Event: e}
	}
	return Moved{Event: e, Source: ce.Source()}
}

// Line is a fact as one line of JSON: a CloudEvent in structured mode, which
// says besides where it lay in its stream. FromLine reads it.
func (b *Bus) Line(m Moved) ([]byte, error) {
	data, err := json.Marshal(m.Fact)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", m.Fact.Name(), err)
	}
	ce, err := b.codec.cloudEvent(m.Event, data)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", m.Fact.Name(), err)
	}
	if m.Source != "" {
		ce.SetSource(m.Source)
	}
	ce.SetExtension(extStored, strconv.FormatUint(m.Seq, 10))
	return json.Marshal(ce)
}

// FromLine is the inverse of Line. A fact that does not fit its schema, or whose
// id is not the one it derives, is an error, which quotes nothing of it.
func (b *Bus) FromLine(line []byte) (m Moved, err error) {
	ce := event.New()
	if err := ce.UnmarshalJSON(line); err != nil {
		return m, errors.New("not a structured event")
	}
	name, _ := events.NameOfType(ce.Type())
	of, _ := ce.Extensions()[extTenant].(string)
	t, err := events.ParseTenant(of)
	if err != nil {
		return m, errors.New("tenantid is missing or malformed")
	}
	m.Event, err = b.codec.decode(events.Subject(t, name), nats.Header{headerContentType: {contentStructured}}, line)
	if err != nil {
		return m, err
	}
	if err := m.Check(); err != nil {
		return m, err
	}
	stored, _ := ce.Extensions()[extStored].(string)
	if m.Seq, err = strconv.ParseUint(stored, 10, 64); err != nil {
		return m, errors.New(extStored + " is missing or malformed")
	}
	m.Source = ce.Source()
	return m, nil
}

// Arrived is what became of facts that were moved.
type Arrived struct {
	Stored int // now
	There  int // before
}

// PublishTenant stores facts of a tenant that come from another stream, in
// their order, as history: rows are made of them, and no worker acts on them.
// Those the stream holds already are left as they are, however long ago they
// came, so that whoever was interrupted begins again. Where call.ended says
// where its call lies, it says so of this stream. progress, which may be nil, is
// told how many are done.
func (b *Bus) PublishTenant(ctx context.Context, t events.Tenant, all iter.Seq2[Moved, error], progress func(n int)) (Arrived, error) {
	p := &arrival{bus: b, bulk: b.Bulk(), tenant: t, there: map[string]uint64{}, calls: map[string]*callMoved{}, progress: progress}
	defer p.bulk.close()
	_, err := b.ReadTenant(ctx, t, 1, func(m Moved) error {
		if m.Fact != nil {
			p.there[m.ID] = m.Seq
		}
		return nil
	})
	if err != nil {
		return p.done, err
	}
	for m, err := range all {
		if err == nil {
			err = p.publish(ctx, m)
		}
		if err != nil {
			return p.done, errors.Join(err, p.bulk.settle(ctx, 0))
		}
	}
	return p.done, p.bulk.settle(ctx, 0)
}

// arrival is PublishTenant under way.
type arrival struct {
	bus      *Bus
	bulk     *Bulk
	tenant   events.Tenant
	there    map[string]uint64 // sequence by id, of what the stream held before
	calls    map[string]*callMoved
	done     Arrived
	progress func(n int)
}

// callMoved is where the facts of one call lie now, by where they lay.
type callMoved struct {
	seqs   map[uint64]uint64
	flying int
}

func (p *arrival) publish(ctx context.Context, m Moved) error {
	if m.Tenant != p.tenant {
		return fmt.Errorf("publish %s: it is of another tenant", m.Fact.Name())
	}
	was, c := m.Seq, p.call(m.Call)
	if seq, ok := p.there[m.ID]; ok {
		if seq == 0 { // the same fact, stored twice where it comes from
			if err := p.bulk.settle(ctx, 0); err != nil {
				return err
			}
			seq = p.there[m.ID]
		}
		c.seqs[was] = seq
		p.done.There++
		p.told()
		p.forget(m)
		return nil
	}
	if f, ok := m.Fact.(events.CallEnded); ok {
		for c.flying > 0 { // where they lie is known once they are stored
			if err := p.bulk.settle(ctx, len(p.bulk.flying)-1); err != nil {
				return err
			}
		}
		f.FirstSeq, f.Facts = c.where(f)
		m.Fact = f
	}
	m.History = true
	msg, err := p.bus.codec.encode(m.Event)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if m.Source != "" {
		msg.Header["ce-source"] = []string{percentEncode(m.Source)}
	}
	c.flying++
	p.there[m.ID] = 0
	err = p.bulk.add(ctx, msg, func(seq uint64) {
		c.flying--
		c.seqs[was], p.there[m.ID] = seq, seq
		p.done.Stored++
		p.told()
	})
	p.forget(m)
	return err
}

func (p *arrival) told() {
	if n := p.done.Stored + p.done.There; p.progress != nil && n%bulkWindow == 0 {
		p.progress(n)
	}
}

func (p *arrival) call(id string) *callMoved {
	c := p.calls[id]
	if c == nil {
		c = &callMoved{seqs: map[uint64]uint64{}}
		if id != "" {
			p.calls[id] = c
		}
	}
	return c
}

// forget lets go of a call that nothing more is asked about.
func (p *arrival) forget(m Moved) {
	if _, ended := m.Fact.(events.CallEnded); ended {
		delete(p.calls, m.Call)
	}
}

// where the call lies that f ended; all of it, or nothing is known.
func (c *callMoved) where(f events.CallEnded) (first uint64, facts []uint64) {
	first, ok := c.seqs[f.FirstSeq]
	if !ok {
		return 0, nil
	}
	for _, was := range f.Facts {
		seq, ok := c.seqs[was]
		if !ok {
			return first, nil
		}
		facts = append(facts, seq)
	}
	return first, facts
}

// Withdraw takes a call.rederived, as it was read, out of the stream: nothing
// was made of it. No other fact can be withdrawn. The bus remembers its id for
// some minutes, and takes it for stored if it is published again by then.
func (b *Bus) Withdraw(ctx context.Context, e events.Event) error {
	if _, ok := e.Fact.(events.CallRederived); !ok || !e.Tenant.Valid() || e.Seq == 0 {
		return errors.New("withdraw: only what was rederived can be")
	}
	m, err := b.at(ctx, e.Seq)
	if err != nil || m == nil {
		return err
	}
	if have, err := b.codec.decode(m.Subject, m.Header, m.Data); err != nil || have.ID != e.ID {
		return errors.New("withdraw: the stream holds another fact there")
	}
	s, err := b.stream(ctx, events.Stream)
	if err != nil {
		return err
	}
	err = b.call(ctx, func(ctx context.Context) error { return s.SecureDeleteMsg(ctx, e.Seq) })
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("withdraw: %w", err)
	}
	return nil
}
