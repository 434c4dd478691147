package ingress

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	// A first caller hears the greeting meanwhile; one who comes back is better
	// served late than by somebody who remembers nothing.
	registryWait = 2 * time.Second
	logWait      = 3 * time.Second
	skew         = time.Minute // between the clocks that timed a call's facts
)

// callOf is the call a new socket belongs to: one we own, one whose owner died
// or lost it, or one that has just begun.
func (w *worker) callOf(ctx context.Context, setup twilio.Setup) (*call, error) {
	tk, err := w.pass.read(setup.Parameters[paramPass], time.Now())
	if err != nil {
		return nil, err
	}
	if tk.call != setup.CallSID {
		return nil, fmt.Errorf("%w: of another call", errPass)
	}
	if c := w.own(tk.tenant, tk.call); c != nil {
		return c, nil
	}
	s, ok := w.settings.ByID(tk.tenant)
	if !ok {
		return nil, errors.New("no such tenant")
	}
	c := &call{
		w: w, tenant: s.Tenant, id: tk.call, from: setup.From, to: setup.To, started: tk.began.UTC(), seq: 1,
		log:   w.log.With(zap.String("tenant", s.Tenant.String()), zap.String("call", tk.call)),
		inbox: make(chan any, inboxSize), done: make(chan struct{}), epoch: 2,
	}
	if err := w.takeOver(ctx, c, tk.nth > 0); err != nil {
		if have := w.own(tk.tenant, tk.call); have != nil {
			return have, nil // another socket was faster
		}
		return nil, err
	}
	return w.start(c)
}

// start makes c ours and runs it. Two sockets of one call that arrive together
// share whichever came first.
func (w *worker) start(c *call) (*call, error) {
	w.mu.Lock()
	if have := w.calls[c.key()]; have != nil {
		w.mu.Unlock()
		return have, nil
	}
	if w.calls == nil {
		w.mu.Unlock()
		return nil, errors.New("shutting down")
	}
	w.calls[c.key()] = c
	w.busy.Add(1)
	if connected := w.expected[c.key()]; connected != nil {
		connected()
	}
	w.mu.Unlock()
	owned, err := w.bus.OwnCall(c.tenant, c.id)
	if err != nil {
		// Without it no answer arrives; the caller hears the way on.
		c.log.Warn("call cannot listen for answers", zap.Error(err))
	}
	c.owned = owned
	go c.run()
	if c.read > 0 || c.pastless {
		go c.lookAgain()
	}
	return c, nil
}

var errCallOver = errors.New("call is over")

// takeOver finds out whether the call has a past, and takes it from its owner.
// When the bus cannot say, the call goes on without.
func (w *worker) takeOver(ctx context.Context, c *call, again bool) error {
	rctx, cancel := context.WithTimeout(ctx, registryWait)
	entry, err := w.bus.GetCall(rctx, c.tenant, c.id)
	cancel()
	switch {
	case errors.Is(err, bus.ErrCallOver), errors.Is(err, bus.ErrNoCall) && again:
		return errCallOver
	case err != nil:
		c.pastless = again
		return nil
	case entry.Answered && entry.Owner == w.instance:
		return errCallOver // we ended it, and the register is about to know
	case !entry.Answered:
		c.epoch, c.started, c.from, c.to = entry.Epoch+1, entry.StartedAt, entry.From, entry.To
		return nil
	}
	cctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	if claimed, err := w.bus.ClaimCall(cctx, c.tenant, c.id, w.instance); err == nil {
		entry = claimed
	} else {
		entry.Epoch++
	}
	c.epoch = entry.Epoch
	// A dead owner does not answer; a live one lets go.
	_, _ = w.bus.Control(cctx, c.tenant, c.id, events.Control{Kind: events.ControlTaken, Epoch: c.epoch, At: time.Now()})
	lctx, cancel := context.WithTimeout(ctx, logWait)
	defer cancel()
	if err := c.rebuild(lctx, entry); err != nil {
		c.log.Warn("call goes on without its past", zap.Error(err))
		c.answered, c.pastless = true, true
	}
	return nil
}

// rebuild reads the call's past from the log.
func (c *call) rebuild(ctx context.Context, entry bus.CallEntry) error {
	c.started, c.from, c.to = entry.StartedAt, entry.From, entry.To
	past, err := c.w.bus.ReadCall(ctx, c.tenant, c.id, spanOf(entry))
	if err != nil {
		return err
	}
	var seqs []uint64
	read := entry.FirstSeq
	for _, e := range past {
		read = max(read, e.Seq)
		if e.CallSeq > 0 {
			c.seq = max(c.seq, e.CallSeq)
			seqs = append(seqs, e.Seq)
		}
		c.replay(e)
	}
	c.facts.inherit(entry.FirstSeq, seqs)
	c.read = read
	// What the former owner said last may not have been written down.
	if entry.Turn > 0 && c.ans != nil && c.ans.turn == entry.Turn && !c.ans.settled {
		c.ans.said.WriteString(entry.Said)
		c.ans.complete, c.ans.doneAt = true, time.Now()
	}
	return nil
}

// lookAgain reads the log once more: for what a former owner had written down
// but not yet sent when it died, which it does when it is started again, and
// for all of a past that could not be had in time.
func (c *call) lookAgain() {
	for _, after := range []time.Duration{time.Second, 4 * time.Second} {
		select {
		case <-c.done:
			return
		case <-time.After(after):
		}
		span := bus.Span{First: c.read + 1}
		if c.pastless {
			span = bus.Span{Since: c.started.Add(-skew)}
		}
		ctx, cancel := context.WithTimeout(c.w.life, logWait)
		tail, err := c.w.bus.ReadCall(ctx, c.tenant, c.id, span)
		cancel()
		if err == nil && len(tail) > 0 {
			c.post(late(tail))
		}
	}
}

// adopt takes turns of the caller's that we did not know of, with their
// answers, if nothing has been said since.
func (c *call) adopt(tail []events.Event) {
	before := c.turn
	for _, e := range tail {
		switch f := e.Fact.(type) {
		case events.TurnHeard:
			if f.Turn != c.turn+1 {
				continue
			}
			c.settle(false)
		case events.TurnSpoken:
			if f.Turn <= before || f.Turn != c.turn {
				continue
			}
		default:
			continue
		}
		c.seq = max(c.seq, e.CallSeq)
		c.replay(e)
	}
	if c.turn > before {
		c.log.Info("turns of a former owner adopted", zap.Int("from", before+1), zap.Int("to", c.turn))
		if !c.ans.settled {
			c.ask(time.Now())
		}
	}
}

// spanOf is where to look for the facts of a call in the registry.
func spanOf(e bus.CallEntry) bus.Span {
	return bus.Span{First: e.FirstSeq, Since: e.StartedAt.Add(-skew), Facts: e.Facts}
}

func (c *call) replay(e events.Event) {
	switch f := e.Fact.(type) {
	case events.CallAnswered:
		c.answered = true
		c.hides.Agent(f.Greeting)
		if f.Greeting != "" {
			c.history = append(c.history, events.Line{Role: events.RoleAgent, Text: f.Greeting})
		}
	case events.TurnHeard:
		c.hid = c.hides
		c.hides.Caller(f.Text, f.Keys) // of which the marks are left, and say enough
		c.remember(f)
	case events.TurnSpoken:
		c.hides.Agent(f.Text)
		if f.Turn > 0 {
			c.history = append(c.history, events.Line{Role: events.RoleAgent, Text: f.Text, Cut: f.Cut})
		}
		if c.ans != nil && c.ans.turn == f.Turn {
			c.ans.settled, c.ans.complete = true, true
		}
	case events.CallTransferred:
		c.transfers = max(c.transfers, f.Nth)
		if f.Outcome == "" {
			c.transferred, c.dialling, c.moved = f.To, true, c.turn
		} else if !reached(f.Outcome) {
			c.notReached(f.Outcome)
		}
	}
}

func (w *worker) register(c *call) {
	first, facts := c.facts.known()
	e := bus.CallEntry{
		Tenant: c.tenant, Call: c.id, From: c.from, To: c.to, StartedAt: c.started,
		Owner: w.instance, Epoch: c.epoch, FirstSeq: first, Facts: facts, CallSeq: c.seq, Answered: c.answered,
	}
	// An answer whose words are all sent and not yet a fact.
	if a := c.ans; a != nil && a.turn > 0 && a.complete && !a.settled {
		e.Turn, e.Said = a.turn, a.said.String()
	}
	if err := w.outbox.PutCall(e); err != nil {
		c.log.Error("owner cannot be written down", zap.Error(err))
	}
}

func (w *worker) unregister(c *call) {
	if err := w.outbox.DeleteCall(c.tenant, c.id); err != nil {
		c.log.Error("call cannot be taken off the register", zap.Error(err))
	}
}

// endFromLog ends a call nobody owns, from what the log says of it. Any number
// of ingresses may do so at once: they all state the same fact.
func (w *worker) endFromLog(ctx context.Context, t events.Tenant, id string, m events.Control) error {
	entry, err := w.bus.GetCall(ctx, t, id)
	if errors.Is(err, bus.ErrNoCall) {
		return nil // ended already
	} else if err != nil {
		return err
	}
	c := &call{w: w, tenant: t, id: id, seq: 1, log: w.log.With(zap.String("tenant", t.String()), zap.String("call", id))}
	c.epoch = entry.Epoch
	past, err := w.bus.ReadCall(ctx, t, id, spanOf(entry))
	if err != nil {
		return err
	}
	last := entry.StartedAt
	for _, e := range past {
		if _, ended := e.Fact.(events.CallEnded); ended {
			return w.outbox.DeleteCall(t, id)
		}
		if e.Time.After(last) {
			last = e.Time
		}
	}
	if err := c.rebuild(ctx, entry); err != nil {
		return err
	}
	if m.Reason == events.EndLost || m.At.IsZero() {
		m.At = last
	}
	c.end(c.why(m.Reason), m.At)
	return nil
}

// Sweeping: calls whose owner is gone and that Twilio never mentions again.
const (
	sweepEvery = 10 * time.Second
	sweepGrace = 60 * time.Second  // Twilio reconnects well within
	neverGrace = 180 * time.Second // from webhook to socket
)

// sweep ends calls that nobody owns any more.
func (w *worker) sweep(ctx context.Context) {
	orphaned := map[string]time.Time{}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		alive, err := w.bus.AliveOwners(ctx)
		if err != nil {
			continue
		}
		entries, err := w.bus.ListCalls(ctx)
		if err != nil {
			continue
		}
		w.sweepOnce(ctx, entries, alive, orphaned, time.Now())
	}
}

func (w *worker) sweepOnce(ctx context.Context, entries []bus.CallEntry, alive map[string]bool, orphaned map[string]time.Time, now time.Time) {
	seen := map[string]bool{}
	for _, e := range entries {
		key := e.Tenant.String() + "." + e.Call
		seen[key] = true
		grace := sweepGrace
		if !e.Answered {
			grace = neverGrace
		}
		// An ingress that only took the webhook is alive and owns nothing; what
		// is ours by the register alone ended when that could not be stated.
		if w.own(e.Tenant, e.Call) != nil || alive[e.Owner] && e.Answered && e.Owner != w.instance {
			delete(orphaned, key)
			continue
		}
		since, known := orphaned[key]
		if !known {
			orphaned[key] = now
			continue
		}
		if now.Sub(since) < grace {
			continue
		}
		if err := w.endFromLog(ctx, e.Tenant, e.Call, events.Control{Reason: events.EndLost}); err != nil {
			w.log.Warn("orphaned call stays", zap.String("call", e.Call), zap.Error(err))
		}
	}
	for key := range orphaned {
		if !seen[key] {
			delete(orphaned, key)
		}
	}
}
