package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Outbox stores facts that must not be lost without making their writer wait
// for the bus: each is written to a local spool, published at once when the
// bus is there, and again and again until it is stored, across restarts of
// either side. What belongs to one call is done strictly one after the other,
// in the order it was put, so that call.ended is stored after every earlier
// fact of the call and the registry entry goes last. Duplicates that a retry
// may cause carry the same message id.
type Outbox struct {
	bus    *Bus
	log    *zap.Logger
	inbox  string // acknowledgements come to <inbox>.<record number>
	sub    *nats.Subscription
	unhook func()
	ctx    context.Context // ends with Close, or with the bus
	cancel context.CancelFunc

	wake  chan struct{} // something is ready to be sent
	clock chan struct{} // something is to be looked at later
	tasks sync.WaitGroup
	slots chan struct{} // registry writes at a time

	mu      sync.Mutex
	spool   *spool
	closed  bool
	records map[uint64]*record   // all not done, by number
	held    []*record            // of those, the ones not in the spool, in order
	heldN   uint64               // number of the newest held
	heldSum int64                // bytes held
	lanes   map[string][]*record // in order; the first is the lane's head
	heads   map[*record]struct{} // those that may be acted upon
	ready   []*record
	flying  int
	idle    time.Time     // since when nothing is left
	drained chan struct{} // closed when nothing is left, while closing
}

const (
	window        = 1024 // facts in flight at a time
	retryFirst    = 100 * time.Millisecond
	retryLimit    = 5 * time.Second
	registrySlots = 32
	heldNumbers   = 1 << 63         // records that were held have numbers from here on
	quiet         = 2 * time.Second // after which what is done is removed from the disk
	heldShare     = 8               // of OutboxBytes may be held, one in so many
)

// OpenOutbox opens the spool in dir, creating it if need be, and starts to
// publish what an earlier process left there. One process may have it open at
// a time: ErrOutboxInUse.
func (b *Bus) OpenOutbox(dir string) (*Outbox, error) {
	sp, left, err := openSpool(dir, b.opts.OutboxBytes)
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	o := &Outbox{
		bus: b, log: b.log, inbox: b.nc.NewInbox(), spool: sp,
		wake: make(chan struct{}, 1), clock: make(chan struct{}, 1),
		slots: make(chan struct{}, registrySlots), records: map[uint64]*record{},
		lanes: map[string][]*record{}, heads: map[*record]struct{}{},
	}
	o.ctx, o.cancel = context.WithCancel(b.ctx)
	for _, l := range left {
		r, err := unmarshalRecord(l.payload)
		if err != nil { // written by a newer program: kept for it
			o.log.Error("outbox leaves a record", zap.Uint64("record", l.at.number()), zap.Error(err))
			continue
		}
		r.at, r.number = l.at, l.at.number()
		o.enqueue(r)
	}
	if sp.damaged > 0 {
		o.log.Error("outbox holds what cannot be read: kept in files that end in .damaged", zap.Int64("bytes", sp.damaged), zap.String("dir", dir))
	}
	if len(left) > 0 {
		o.log.Info("outbox resumes", zap.Int("records", len(left)))
	}
	if o.sub, err = b.nc.Subscribe(o.inbox+".*", o.acked); err != nil {
		o.cancel()
		o.spool.close(o.segments())
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	// The only limit on acknowledgements waiting is the window.
	_ = o.sub.SetPendingLimits(-1, -1)
	o.unhook = b.onConnect(o.again)
	o.tasks.Go(o.send)
	o.tasks.Go(o.watch)
	return o, nil
}

// Put accepts e: it returns once e is in the spool, without waiting for the
// bus. stored, which may be nil, is called once when the stream has e, with
// its sequence, possibly before Put returns, or never if the process ends
// first; it must not block. A fact that does not fit its schema is refused. One
// that the disk cannot take, or the spool has no room for, is kept in memory and
// published from there, which is an error all the same: ErrNotSafe. Beyond what
// may be kept so it is refused: ErrOutboxFull.
func (o *Outbox) Put(e events.Event, stored func(seq uint64)) error {
	m, err := o.bus.codec.encode(e)
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	r := &record{kind: kindFact, msg: m, stored: stored}
	if e.Call != "" {
		r.lane = callKey(e.Tenant, e.Call)
	}
	if err := o.add(r); err != nil {
		return fmt.Errorf("put %s: %w", e.Fact.Name(), err)
	}
	return nil
}

// PutCall writes entry to the call registry after what was put for the call
// before. An entry of a later epoch, or of a call already deleted, stays.
func (o *Outbox) PutCall(entry CallEntry) error {
	if err := entry.check(); err != nil {
		return fmt.Errorf("put call entry: %w", err)
	}
	data, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("put call entry: %w", err)
	}
	key := callKey(entry.Tenant, entry.Call)
	o.bus.setEpoch(key, entry.epoch())
	r := &record{kind: kindPut, lane: key, msg: &nats.Msg{Subject: bucketKey(bucketCalls, key), Data: data}}
	if err := o.add(r); err != nil {
		return fmt.Errorf("put call entry: %w", err)
	}
	return nil
}

// DeleteCall removes the call's registry entry after everything put for the
// call before is stored. An entry whose owner took the call from this process
// in the meantime stays.
func (o *Outbox) DeleteCall(t events.Tenant, call string) error {
	if err := checkCall(t, call); err != nil {
		return fmt.Errorf("delete call entry: %w", err)
	}
	key := callKey(t, call)
	data, err := json.Marshal(o.bus.takeEpoch(key))
	if err != nil {
		return fmt.Errorf("delete call entry: %w", err)
	}
	r := &record{kind: kindDelete, lane: key, msg: &nats.Msg{Subject: bucketKey(bucketCalls, key), Data: data}}
	if err := o.add(r); err != nil {
		return fmt.Errorf("delete call entry: %w", err)
	}
	return nil
}

// Depth is the number of records not yet stored.
func (o *Outbox) Depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.records)
}

// Close takes nothing more and waits until all is stored or ctx ends; what is
// left then is published by the next process that opens the spool.
func (o *Outbox) Close(ctx context.Context) error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil
	}
	o.closed = true
	o.drained = make(chan struct{})
	if len(o.records) == 0 {
		close(o.drained)
	}
	drained := o.drained
	o.mu.Unlock()
	select {
	case <-drained:
	case <-ctx.Done():
	case <-o.ctx.Done():
	}
	o.unhook()
	o.cancel()
	_ = o.sub.Unsubscribe() // fails only when the connection is closed, which ends it too
	o.tasks.Wait()

	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.spoolHeld() // what stays out is counted below with the rest
	o.spool.close(o.segments())
	if n := len(o.records); n > 0 {
		return fmt.Errorf("close outbox: %d records are left for the next start: %w", n, ErrAway)
	}
	return nil
}

// segments that still hold records. Callers hold mu, or are alone.
func (o *Outbox) segments() []*segment {
	seen := map[*segment]bool{nil: true}
	var out []*segment
	for _, r := range o.records {
		if !seen[r.at.seg] {
			seen[r.at.seg] = true
			out = append(out, r.at.seg)
		}
	}
	return out
}

// add spools r, or holds it, and lets it be sent.
func (o *Outbox) add(r *record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrOutboxClosed
	}
	err := o.spoolHeld() // first: the spool keeps the order
	if err == nil {
		r.at, err = o.spool.append(r.marshal())
	}
	if err != nil {
		if err := o.hold(r, err); err != nil {
			return err
		}
		o.enqueue(r)
		return fmt.Errorf("%w: %w", ErrNotSafe, err)
	}
	r.number = r.at.number()
	o.enqueue(r)
	return nil
}

// hold keeps r, which the spool refused, in memory. Callers hold mu.
func (o *Outbox) hold(r *record, refused error) error {
	size := int64(len(r.msg.Data))
	if o.heldSum+size > o.bus.opts.OutboxBytes/heldShare {
		return fmt.Errorf("%w: %w", ErrOutboxFull, refused)
	}
	if len(o.held) == 0 {
		o.log.Error("outbox cannot be written: facts are kept in memory until it can", zap.Error(refused))
		signal(o.clock)
	}
	o.heldN++
	r.number = heldNumbers + o.heldN
	o.held, o.heldSum = append(o.held, r), o.heldSum+size
	return nil
}

// spoolHeld brings what is held into the spool, as far as that takes it.
// Callers hold mu.
func (o *Outbox) spoolHeld() error {
	spooled := 0
	for ; len(o.held) > 0; o.held = o.held[1:] {
		r := o.held[0]
		if r.state != done { // else the bus has it already
			at, err := o.spool.append(r.marshal())
			if err != nil {
				return err
			}
			r.at = at
			spooled++
		}
		o.heldSum -= int64(len(r.msg.Data))
	}
	if spooled > 0 {
		o.log.Info("outbox can be written again", zap.Int("records", spooled))
	}
	return nil
}

// enqueue puts r behind the others of its lane. Callers hold mu, or are alone.
func (o *Outbox) enqueue(r *record) {
	o.records[r.number] = r
	if r.lane != "" {
		o.lanes[r.lane] = append(o.lanes[r.lane], r)
		if len(o.lanes[r.lane]) > 1 {
			return
		}
	}
	o.lead(r)
}

// lead makes r the head of its lane, to be sent now. Callers hold mu.
func (o *Outbox) lead(r *record) {
	if len(o.heads) == 0 {
		signal(o.clock)
	}
	o.heads[r] = struct{}{}
	r.state = ready
	o.ready = append(o.ready, r)
	signal(o.wake)
}

// finish takes r, which is done, out of the spool and lets the next of its
// lane go. Callers hold mu.
func (o *Outbox) finish(r *record) {
	if r.state == inFlight && r.kind == kindFact {
		o.flying--
		if len(o.ready) > 0 {
			signal(o.wake)
		}
	}
	delete(o.records, r.number)
	delete(o.heads, r)
	r.state = done
	if r.at.seg != nil {
		if err := o.spool.done(r.at); err != nil {
			o.log.Warn("outbox will repeat a record after a restart", zap.Error(err))
		}
	}
	if r.lane != "" {
		if rest := o.lanes[r.lane][1:]; len(rest) > 0 {
			o.lanes[r.lane] = rest
			o.lead(rest[0])
		} else {
			delete(o.lanes, r.lane)
		}
	}
	if len(o.records) > 0 {
		return
	}
	o.idle = time.Now()
	signal(o.clock)
	if o.drained != nil {
		close(o.drained)
	}
}

// tidy removes what is done from the disk when nothing has come for a while: it
// is somebody's words. It returns when to look again. Callers hold mu.
func (o *Outbox) tidy(now time.Time) time.Duration {
	if len(o.records) > 0 || o.spool.live == nil {
		return time.Hour // until signalled
	}
	if left := o.idle.Add(quiet).Sub(now); left > 0 {
		return left
	}
	o.spool.seal()
	return time.Hour
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fields are what may be logged of a record.
func (r *record) fields() []zap.Field {
	tenant, call, _ := strings.Cut(r.lane, ".")
	name := "call entry"
	if r.kind == kindFact {
		_, name, _ = splitSubject(r.msg.Subject)
	}
	return []zap.Field{zap.String("event", name), zap.String("tenant", tenant), zap.String("call", call), zap.Int("tries", r.tries)}
}
