package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// settle handles d and tells the server what became of it.
func (w *worker) settle(ctx context.Context, d *delivery) {
	if d.tries > w.MaxTries { // it may be what kills its workers: do not touch it
		w.giveUp(ctx, d, "given up after "+strconv.Itoa(d.tries-1)+" deliveries")
		return
	}
	m, err := w.named(ctx, d)
	if err != nil {
		w.log.Warn("event will be retried", zap.Uint64("seq", d.seq), zap.Error(err))
		w.giveBack(d, w.delay(d))
		return
	}
	if m == nil { // erased since it was given up
		if err := w.bus.tell(d.current(), "+ACK"); err != nil {
			w.log.Warn("event will come again: not acknowledged", zap.Uint64("seq", d.seq), zap.Error(err))
		}
		return
	}
	e, err := w.bus.codec.decode(d.subject, m.Header, m.Data)
	if err != nil {
		w.giveUp(ctx, d, err.Error())
		return
	}
	e.Seq, e.Delivery = d.seq, d.tries
	handle := w.guarded
	if e.History { // what was to be done about it was done elsewhere
		handle = func(context.Context, events.Event) error { return nil }
	}
	switch err := handle(ctx, e); {
	case err == nil:
		if err := w.bus.tell(d.current(), "+ACK"); err != nil {
			w.logOf(e).Warn("event will come again: not acknowledged", zap.Error(err))
		}
	case IsPermanent(err):
		w.giveUp(ctx, d, err.Error())
	case d.tries >= w.MaxTries:
		w.giveUp(ctx, d, fmt.Sprintf("given up after %d deliveries: %v", d.tries, err))
	default:
		delay := w.delay(d)
		w.logOf(e).Warn("event will be retried", zap.Int("delivery", d.tries), zap.Duration("after", delay), zap.Error(err))
		w.giveBack(d, delay)
	}
}

// named is the message that d is about, nil where the stream does not have it
// any more. One that is handed out again only says where it is.
func (w *worker) named(ctx context.Context, d *delivery) (*nats.Msg, error) {
	m := d.current().Msg
	if d.key.stream != streamRetry {
		return m, nil
	}
	raw, err := w.bus.at(ctx, d.seq)
	if err != nil || raw == nil || raw.Subject != d.subject || raw.Header.Get("ce-id") != m.Header.Get("ce-id") {
		return nil, err
	}
	return &nats.Msg{Subject: raw.Subject, Header: raw.Header, Data: raw.Data}, nil
}

func (w *worker) logOf(e events.Event) *zap.Logger {
	return w.log.With(zap.String("event", e.Fact.Name()), zap.Stringer("tenant", e.Tenant),
		zap.String("call", e.Call), zap.Uint64("seq", e.Seq))
}

// guarded turns a panic of the handler into a permanent error. What was
// thrown may hold anybody's words, so only its type and place are told.
func (w *worker) guarded(ctx context.Context, e events.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			class := fmt.Sprintf("%T", p)
			w.logOf(e).Error("handler panicked", zap.String("class", class), zap.Strings("stack", stack()))
			err = Permanent(errors.New("handler panicked: " + class))
		}
	}()
	return w.handle(ctx, e)
}

// stack is where the caller's caller is, functions and lines only.
func stack() []string {
	pcs := make([]uintptr, 24)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var out []string
	for {
		f, more := frames.Next()
		out = append(out, f.Function[strings.LastIndexByte(f.Function, '/')+1:]+":"+strconv.Itoa(f.Line))
		if !more {
			return out
		}
	}
}

// giveUp makes d a dead letter. Only when that is stored is the event let go.
func (w *worker) giveUp(ctx context.Context, d *delivery, reason string) {
	l := letterOf(d.current(), w.Name, reason)
	l.subject, l.seq = d.subject, d.seq
	if d.key.stream == streamRetry {
		// Not the id of the letter it was redriven from: that one is
		// remembered, and this would be dropped as its duplicate.
		l.id = w.Name + ":retry:" + strconv.FormatUint(d.key.seq, 10)
	}
	if err := w.bus.bury(ctx, l); err != nil {
		w.log.Warn("event will be given up later", zap.Uint64("seq", d.seq), zap.Error(err))
		w.giveBack(d, w.delay(d))
		return
	}
	if err := w.bus.tell(d.current(), "+TERM dead letter"); err != nil {
		w.log.Warn("event will be given up again", zap.Uint64("seq", d.seq), zap.Error(err))
	}
}

// giveBack has the server deliver d again, to anyone, after delay.
func (w *worker) giveBack(d *delivery, delay time.Duration) {
	verdict := "-NAK"
	if delay > 0 {
		verdict = fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds())
	}
	// When it cannot be sent, the event comes again after AckWait.
	if err := w.bus.tell(d.current(), verdict); err != nil {
		w.log.Debug("event not given back", zap.Uint64("seq", d.seq), zap.Error(err))
	}
}

func (w *worker) delay(d *delivery) time.Duration {
	return jitter(doubled(w.Backoff, maxBackoff, d.tries-1))
}

// tell lets the server know what became of m. Nothing confirms it.
func (b *Bus) tell(m incoming, verdict string) error {
	return away(b.nc.Publish(m.Reply, []byte(verdict)))
}
