package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 2 * time.Second // two missed ones end a pull
	drainTime     = time.Second
)

var (
	errGone   = errors.New("consumer is gone")
	errSilent = errors.New("server is silent")
	errGap    = errors.New("a message was lost on the way")
)

// incoming is one message of a stream, delivered by a consumer.
type incoming struct {
	*nats.Msg
	seq     uint64 // in the stream
	nth     uint64 // among the consumer's deliveries
	pending uint64 // messages for the consumer after this one
	tries   int    // 1 on first delivery
}

// pulled is one request for messages under way. The client library's own
// requests lose what the server sends while they are being cancelled, which
// others then get only after AckWait; ours are drained.
type pulled struct {
	msgs    chan *nats.Msg
	sub     *nats.Subscription
	left    int // messages still to come
	silence *time.Timer
	heard   bool          // something came since silence was set
	again   chan struct{} // a new connection was made: its server has forgotten the request
	unhook  func()
	stopped bool // what is in msgs is all there will be
	err     error
}

// pull asks a consumer for up to n messages, of those there are now or, where
// it waits, of those that come. Its caller must end it.
func (b *Bus) pull(stream, consumer string, n int, wait bool) (*pulled, error) {
	p := &pulled{msgs: make(chan *nats.Msg, n+64), left: n, again: make(chan struct{}, 1)} // room for messages and heartbeats
	ask := map[string]any{"batch": n, "no_wait": true}
	if wait {
		ask = map[string]any{"batch": n, "expires": pullExpiry, "idle_heartbeat": pullHeartbeat}
	}
	request, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	inbox := b.nc.NewInbox()
	if p.sub, err = b.nc.ChanSubscribe(inbox, p.msgs); err != nil {
		return nil, away(err)
	}
	p.unhook = b.onConnect(func() { signal(p.again) })
	p.silence = time.NewTimer(2 * pullHeartbeat)
	subject := "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer
	if err := b.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: inbox, Data: request}); err != nil {
		p.stop(away(err))
		return nil, p.end()
	}
	return p, nil
}

// next waits for a message. got is false when wake fired first; more is false
// when none will come. Once ctx ends it hands over what is already under way.
func (p *pulled) next(ctx context.Context, wake <-chan time.Time) (m incoming, got, more bool) {
	for p.left > 0 {
		if p.stopped {
			select {
			case raw := <-p.msgs:
				if m, got = p.take(raw); got {
					return m, true, true
				}
				continue
			default:
				return incoming{}, false, false
			}
		}
		select { // most of the time there is one, and nothing to wait for
		case raw := <-p.msgs:
			if m, got = p.take(raw); got {
				return m, true, true
			}
			continue
		default:
		}
		if p.heard {
			p.silence.Reset(2 * pullHeartbeat)
			p.heard = false
		}
		select {
		case raw := <-p.msgs:
			if m, got = p.take(raw); got {
				return m, true, true
			}
		case <-wake:
			return incoming{}, false, true
		case <-p.silence.C:
			p.stop(errSilent)
		case <-p.again:
			p.stop(ErrAway)
		case <-ctx.Done():
			p.drain()
			p.stop(ctx.Err())
		}
	}
	return incoming{}, false, false
}

// take tells messages from what the server says about the request.
func (p *pulled) take(raw *nats.Msg) (incoming, bool) {
	p.heard = true
	status := raw.Header.Get("Status")
	if status == "" || len(raw.Data) > 0 {
		m, err := readDelivery(raw)
		if err != nil {
			p.stop(fmt.Errorf("read delivery: %w", err))
			return incoming{}, false
		}
		p.left--
		return m, true
	}
	reason := strings.ToLower(raw.Header.Get("Description"))
	switch {
	case status == "100": // a heartbeat
	case status == "404", status == "408", strings.Contains(reason, "batch completed"):
		p.stop(nil) // it expired, or there is nothing more
	case status == "503", strings.Contains(reason, "consumer deleted"):
		p.stop(errGone)
	default:
		p.stop(fmt.Errorf("server answers %s %s", status, reason))
	}
	return incoming{}, false
}

// readDelivery reads $JS.ACK.<stream>.<consumer>.<tries>.<seq>.<nth>.<time>.<pending>
// at a fraction of the client library's price, and leaves any other form to it.
func readDelivery(raw *nats.Msg) (incoming, error) {
	m := incoming{Msg: raw}
	var n [5]uint64
	rest, ok := strings.CutPrefix(raw.Reply, "$JS.ACK.")
	for i := 0; ok && i < 2; i++ {
		_, rest, ok = strings.Cut(rest, ".")
	}
	for i := 0; ok && i < len(n); i++ {
		var token string
		more := i < len(n)-1
		if token, rest, ok = strings.Cut(rest, "."); ok == more {
			var err error
			n[i], err = strconv.ParseUint(token, 10, 64)
			ok = err == nil
		} else {
			ok = false
		}
	}
	if ok {
		m.tries, m.seq, m.nth, m.pending = int(n[0]), n[1], n[2], n[4]
		return m, nil
	}
	meta, err := raw.Metadata()
	if err != nil {
		return m, err
	}
	m.tries, m.seq, m.nth, m.pending = int(meta.NumDelivered), meta.Sequence.Stream, meta.Sequence.Consumer, meta.NumPending
	return m, nil
}

func (p *pulled) stop(err error) {
	if !p.stopped {
		p.stopped, p.err = true, err
	}
}

// drain has the server send no more and waits until what it sent is here.
func (p *pulled) drain() {
	closed := make(chan struct{})
	p.sub.SetClosedHandler(func(string) { close(closed) })
	if p.sub.Drain() != nil {
		return // the connection is gone, nothing is under way
	}
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
	}
}

// end ends the request and says why it ended before its time, if it did.
// Messages may then have been lost with it.
func (p *pulled) end() error {
	p.unhook()
	p.silence.Stop()
	_ = p.sub.Unsubscribe() // fails where it has ended already
	return p.err
}

// pause waits for d or for a new connection; false when ctx ended first.
func (b *Bus) pause(ctx context.Context, d time.Duration) bool {
	again := make(chan struct{}, 1)
	defer b.onConnect(func() { signal(again) })()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-again:
		return true
	case <-ctx.Done():
		return false
	}
}
