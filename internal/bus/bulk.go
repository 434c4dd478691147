package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
)

const (
	bulkWindow = 512              // facts in flight at a time; the client stalls beyond 4000
	bulkWait   = 10 * time.Second // for one acknowledgement
	bulkTries  = 20               // without any in between: some 30 s
)

// PublishAll stores many facts, in their order, without waiting for each: it
// returns when all are stored. progress, which may be nil, is told how many are
// from time to time. An error of the sequence, or a fact that is refused, ends
// it; facts that came before are stored by then, and publishing them again
// changes nothing for as long as the bus remembers them.
func (b *Bus) PublishAll(ctx context.Context, all iter.Seq2[events.Event, error], progress func(n int)) error {
	p, n := b.Bulk(), 0
	defer p.close()
	stored := func(uint64) {
		if n++; progress != nil && n%bulkWindow == 0 {
			progress(n)
		}
	}
	for e, err := range all {
		if err != nil {
			return errors.Join(err, p.Flush(ctx))
		}
		m, err := b.codec.encode(e)
		if err != nil {
			return errors.Join(fmt.Errorf("publish: %w", err), p.Flush(ctx))
		}
		if err := p.add(ctx, m, stored); err != nil {
			return fmt.Errorf("publish %s: %w", e.Fact.Name(), err)
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	if progress != nil {
		progress(n)
	}
	return nil
}

// Bulk is a new one, empty. Nothing is certain to be stored before Flush says so.
func (b *Bus) Bulk() *Bulk { return &Bulk{bus: b} }

// Bulk publishes facts with many in flight. One that fails is sent again before
// anything new, and so are those after it: what a lost connection took with it
// keeps its order. It is for one goroutine.
type Bulk struct {
	bus    *Bus
	nc     *nats.Conn
	js     jetstream.JetStream
	gone   chan struct{} // closed with the connection
	unhook func() bool
	flying []*flight // oldest first
}

// close ends the connection; what is put later makes another.
func (p *Bulk) close() {
	if p.nc != nil {
		p.unhook()
		p.nc.Close()
		p.nc = nil
	}
}

// connect makes a connection where there is none, or none that works. Nothing
// may be in flight but what is sent again: a connection that makes itself anew
// would carry what comes next past what was lost with it.
func (p *Bulk) connect() (err error) {
	if p.nc != nil && p.nc.IsConnected() {
		return nil
	}
	p.close()
	gone := make(chan struct{})
	nc, err := nats.Connect(p.bus.opts.URL, append(p.bus.connectOptions(), nats.Name(p.bus.opts.Name+" bulk"), nats.NoReconnect(), nats.RetryOnFailedConnect(false),
		nats.ConnectHandler(nil), nats.ReconnectHandler(nil), nats.DisconnectErrHandler(nil), nats.ClosedHandler(func(*nats.Conn) { close(gone) }))...)
	if err != nil {
		return ErrAway
	}
	p.nc, p.gone, p.unhook = nc, gone, context.AfterFunc(p.bus.ctx, nc.Close) // should nobody else close it
	p.js, err = jetstream.New(nc)
	return err
}

type flight struct {
	msg    *nats.Msg
	ack    jetstream.PubAckFuture
	gone   <-chan struct{} // closed with the connection it went over
	stored func(seq uint64)
	err    error // it could not be sent
}

// Put sends e on its way, when there is room for it. The error may be that of a
// fact put before. Like Publish it refuses what does not fit its schema.
func (p *Bulk) Put(ctx context.Context, e events.Event) error {
	m, err := p.bus.codec.encode(e)
	if err == nil {
		err = p.add(ctx, m, func(uint64) {})
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", e.Fact.Name(), err)
	}
	return nil
}

// Flush waits until everything put is stored.
func (p *Bulk) Flush(ctx context.Context) error {
	defer p.close()
	if err := p.settle(ctx, 0); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// add sends m once there is room; stored is called, in order, when the stream
// has it.
func (p *Bulk) add(ctx context.Context, m *nats.Msg, stored func(seq uint64)) error {
	if err := p.settle(ctx, bulkWindow-1); err != nil {
		return err
	}
	if p.nc == nil && len(p.flying) == 0 {
		_ = p.connect() // or else when it is sent again
	}
	f := &flight{msg: m, stored: stored}
	p.send(f)
	p.flying = append(p.flying, f)
	return nil
}

func (p *Bulk) send(f *flight) {
	if p.nc == nil || !p.nc.IsConnected() {
		f.err = ErrAway
		return
	}
	m := &nats.Msg{Subject: f.msg.Subject, Header: f.msg.Header, Data: f.msg.Data} // the client keeps its own marks in it
	f.gone = p.gone
	f.ack, f.err = p.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0))
}

// settle waits until at most n are in flight.
func (p *Bulk) settle(ctx context.Context, n int) error {
	for try := 0; len(p.flying) > n; {
		f := p.flying[0]
		seq, err := p.wait(ctx, f)
		if err == nil {
			p.flying, try = p.flying[1:], 0
			f.stored(seq)
			continue
		}
		var api *jetstream.APIError
		if try++; ctx.Err() != nil || try > bulkTries || errors.As(err, &api) && api.Code < 500 {
			return errors.Join(err, ctx.Err())
		}
		p.drain(ctx)
		p.bus.pause(ctx, jitter(doubled(50*time.Millisecond, 2*time.Second, try)))
		if p.connect() != nil {
			continue
		}
		for _, again := range p.flying {
			p.send(again) // one the stream has keeps its place there
		}
	}
	return nil
}

// drain waits for all that is in flight, so that nothing arrives behind what is
// sent again.
func (p *Bulk) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, bulkWait)
	defer cancel()
	for _, f := range p.flying[1:] {
		_, _ = p.wait(ctx, f)
	}
}

func (p *Bulk) wait(ctx context.Context, f *flight) (uint64, error) {
	if f.err != nil {
		return 0, away(f.err)
	}
	limit := time.NewTimer(bulkWait)
	defer limit.Stop()
	select {
	case ack := <-f.ack.Ok():
		return ack.Sequence, nil
	case err := <-f.ack.Err():
		f.err = err
		return 0, away(err)
	case <-f.gone:
		return 0, ErrAway
	case <-limit.C:
		return 0, ErrAway
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
