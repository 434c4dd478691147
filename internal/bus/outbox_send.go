package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// send publishes what is ready. It alone writes to the connection, so that a
// connection that does not take writes holds up no caller of Put.
func (o *Outbox) send() {
	for {
		select {
		case <-o.wake:
		case <-o.ctx.Done():
			return
		}
		for batch := o.takeReady(); len(batch) > 0; batch = o.takeReady() {
			for _, r := range batch {
				if r.kind != kindFact {
					o.tasks.Go(func() { o.sendEntry(r) })
					continue
				}
				m := &nats.Msg{Subject: r.msg.Subject, Header: r.msg.Header, Data: r.msg.Data}
				m.Reply = o.inbox + "." + strconv.FormatUint(r.number, 36)
				if err := o.bus.nc.PublishMsg(m); err != nil {
					o.failed(r, away(err))
				}
			}
		}
	}
}

// takeReady marks what may be sent now as in flight and returns it.
func (o *Outbox) takeReady() []*record {
	o.mu.Lock()
	defer o.mu.Unlock()
	var batch []*record
	now := time.Now()
	for len(o.ready) > 0 {
		r := o.ready[0]
		if r.state != ready { // done meanwhile, by a late acknowledgement
			o.ready = o.ready[1:]
			continue
		}
		if r.kind == kindFact {
			if o.flying >= window {
				break
			}
			o.flying++
		}
		o.ready = o.ready[1:]
		r.state, r.sent = inFlight, now
		batch = append(batch, r)
	}
	return batch
}

// failed has r tried again later.
func (o *Outbox) failed(r *record, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.state != inFlight {
		return
	}
	if r.kind == kindFact {
		o.flying--
	}
	r.state = waiting
	r.due = time.Now().Add(jitter(doubled(retryFirst, retryLimit, r.tries)))
	r.tries++
	if !errors.Is(err, ErrAway) && (r.tries == 1 || r.tries%20 == 0) {
		o.log.Warn("fact not stored yet", append(r.fields(), zap.Error(err))...)
	}
	signal(o.clock)
}

// again sends everything over a new connection: what was in flight on the
// last one may have been lost with it.
func (o *Outbox) again() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.heads {
		o.resend(r)
	}
}

// resend makes a head ready, whatever it waits for. Callers hold mu.
func (o *Outbox) resend(r *record) {
	switch {
	case r.state == inFlight && r.kind == kindFact:
		o.flying--
	case r.state == inFlight, r.state == ready: // a registry write is at it and knows when it fails
		return
	}
	r.state = ready
	o.ready = append(o.ready, r)
	signal(o.wake)
}

// watch resends what is due and what was never acknowledged.
func (o *Outbox) watch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := o.resendDue(time.Now())
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-o.clock:
			// A burst of failures is one look, not one each.
			if !sleep(o.ctx, 10*time.Millisecond) {
				return
			}
		case <-o.ctx.Done():
			return
		}
	}
}

// resendDue returns how long nothing will be due.
func (o *Outbox) resendDue(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.heads) == 0 {
		return o.tidy(now)
	}
	next := time.Second
	_ = o.spoolHeld() // what cannot be spooled yet stays held
	for r := range o.heads {
		due := r.due
		switch {
		case r.state == inFlight && r.kind == kindFact:
			due = r.sent.Add(o.bus.opts.ResendAfter)
		case r.state != waiting:
			continue
		}
		if left := due.Sub(now); left <= 0 {
			o.resend(r)
		} else {
			next = min(next, left)
		}
	}
	return next
}

// acked takes the stream's answers, one at a time.
func (o *Outbox) acked(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	seq, err := readAck(m)
	o.mu.Lock()
	r := o.records[n]
	if r == nil { // acknowledged before
		o.mu.Unlock()
		return
	}
	if err != nil {
		o.mu.Unlock()
		o.failed(r, err)
		return
	}
	o.finish(r)
	o.mu.Unlock()
	if r.stored != nil {
		r.stored(seq)
	}
}

// readAck is the sequence a stream gave, or why it did not.
func readAck(m *nats.Msg) (uint64, error) {
	if status := m.Header.Get("Status"); status != "" {
		if status == "503" {
			return 0, ErrNobody
		}
		return 0, fmt.Errorf("stream answers %s", status)
	}
	var ack struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
		Error  *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("read acknowledgement: %w", err)
	case ack.Error != nil:
		return 0, fmt.Errorf("stream refuses: %s (%d)", ack.Error.Description, ack.Error.Code)
	case ack.Stream == "" || ack.Seq == 0:
		return 0, fmt.Errorf("read acknowledgement: %d bytes say nothing", len(m.Data))
	}
	return ack.Seq, nil
}

// sendEntry does a registry write.
func (o *Outbox) sendEntry(r *record) {
	select {
	case o.slots <- struct{}{}:
		defer func() { <-o.slots }()
	case <-o.ctx.Done():
		return
	}
	if err := o.bus.writeEntry(o.ctx, r.kind, r.lane, r.msg.Data); err != nil {
		o.failed(r, err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finish(r)
}
