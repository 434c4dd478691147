// Package bus carries the facts of package events over NATS JetStream, and
// the words of live calls over core NATS. It is the only package that knows
// NATS exists: it owns streams and buckets, encoding, delivery, retries and
// dead letters.
package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/schemas"
)

// Options of Open. Every field but URL may be left at zero.
type Options struct {
	URL         string                     // nats://user:password@host:port, or several separated by commas
	Name        string                     // of the worker or process: the events' source, the connection's name; default "neurosphere"
	InProcess   nats.InProcessConnProvider // a server of this process, reached without a socket; URL then only signs in
	Replicas    int                        // of what Open creates; default 1
	OutboxBytes int64                      // bound on the disk one outbox may use; default 64 MB
	ResendAfter time.Duration              // without an acknowledgement a fact is sent again; default 10 s
	Log         *zap.Logger                // default: none
}

// Bus publishes and consumes facts and relays live calls. It outlives any
// outage of the server and is safe for concurrent use. Close it after the
// consumers and outboxes that use it.
type Bus struct {
	nc    *nats.Conn
	live  *nats.Conn // live calls only
	js    jetstream.JetStream
	codec *codec
	opts  Options
	log   *zap.Logger
	scans chan struct{} // under way

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu       sync.Mutex
	hooks    map[int]func() // see onConnect
	nextHook int
	epochs   map[string]epoch // of the calls this process wrote, by key
	handles  map[string]jetstream.Stream
}

// Open connects, waiting as long as ctx allows for the first connection, and
// creates the streams and buckets that are missing. Later outages are retried
// for ever.
func Open(ctx context.Context, o Options) (*Bus, error) {
	return open(ctx, o, schemas.FS)
}

func open(ctx context.Context, o Options, schemaFS fs.FS) (*Bus, error) {
	if o.Name == "" {
		o.Name = "neurosphere"
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.ResendAfter <= 0 {
		o.ResendAfter = 10 * time.Second
	}
	if o.OutboxBytes <= 0 {
		o.OutboxBytes = 64 << 20
	}
	o.Replicas = max(o.Replicas, 1)
	c, err := newCodec(schemaFS, o.Name)
	if err != nil {
		return nil, err
	}
	b := &Bus{codec: c, opts: o, log: o.Log, scans: make(chan struct{}, scanSlots), hooks: map[int]func(){}, epochs: map[string]epoch{}, handles: map[string]jetstream.Stream{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	if b.nc, err = nats.Connect(o.URL, b.connectOptions()...); err != nil {
		b.cancel()
		return nil, fmt.Errorf("connect to bus: %w", withoutURL(err))
	}
	if b.live, err = nats.Connect(o.URL, b.liveOptions()...); err != nil {
		b.cancel()
		b.nc.Close()
		return nil, fmt.Errorf("connect to bus: %w", withoutURL(err))
	}
	if b.js, err = jetstream.New(b.nc); err == nil {
		err = b.prepare(ctx)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	// From here on every new connection may be to a server that has forgotten
	// what it kept in memory.
	b.onConnect(func() { b.spawn(b.restore) })
	return b, nil
}

// connectOptions differ from the client's defaults where those give up (60
// reconnects) or notice a dead server after minutes.
func (b *Bus) connectOptions() []nats.Option {
	o := []nats.Option{
		nats.Name(b.opts.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.CustomReconnectDelay(func(tries int) time.Duration {
			return jitter(doubled(20*time.Millisecond, 2*time.Second, tries))
		}),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(2 * time.Second), // a frozen server must not hold up who writes to it
		nats.ReconnectBufSize(-1),            // publishing while away fails at once; the outbox keeps what must not be lost
		nats.ConnectHandler(func(*nats.Conn) { b.connected() }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.Info("bus reconnected", zap.String("server", nc.ConnectedServerName()))
			b.connected()
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if b.ctx.Err() == nil {
				b.log.Warn("bus away", zap.Error(err))
			}
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			if b.ctx.Err() == nil {
				b.log.Error("bus connection closed for good")
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			b.log.Warn("bus error", zap.String("subject", subject), zap.Error(err))
		}),
	}
	if b.opts.InProcess != nil {
		o = append(o, nats.InProcessServer(b.opts.InProcess))
	}
	return o
}

// liveOptions are those of the connection that live calls have to themselves.
// A server handles what one connection sends in order, and some of what
// JetStream asks of it waits for the disk: words of a call must not queue
// behind that.
func (b *Bus) liveOptions() []nats.Option {
	return append(b.connectOptions(), nats.Name(b.opts.Name+" live"), nats.ConnectHandler(nil), nats.ReconnectHandler(nil))
}

// prepare waits for the first connection and for a JetStream that answers.
func (b *Bus) prepare(ctx context.Context) error {
	var last error
	for try := 0; ; try++ {
		if last = b.waitConnected(ctx); last == nil {
			if last = b.ensure(ctx); last == nil {
				return nil
			}
		}
		if errors.Is(last, errMisfit) {
			return last
		}
		if !sleep(ctx, jitter(doubled(20*time.Millisecond, time.Second, try))) {
			return fmt.Errorf("connect to bus: %w", last)
		}
	}
}

func (b *Bus) waitConnected(ctx context.Context) error {
	changed := b.nc.StatusChanged(nats.CONNECTED)
	defer b.nc.RemoveStatusListener(changed)
	if b.nc.IsConnected() {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		if err := b.nc.LastError(); err != nil {
			return fmt.Errorf("%w: %w", ErrAway, err)
		}
		return ErrAway
	}
}

// restore puts back what a restarted server does not keep.
func (b *Bus) restore() {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
		err := b.ensure(ctx)
		cancel()
		if err == nil || b.ctx.Err() != nil {
			return
		}
		b.log.Warn("streams not ready", zap.Error(err))
		if !sleep(b.ctx, jitter(doubled(50*time.Millisecond, 2*time.Second, try))) {
			return
		}
	}
}

// Connected reports whether the bus can be reached now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Close ends the connection. What consumers have not acknowledged is delivered
// again to whoever consumes next.
func (b *Bus) Close() {
	b.mu.Lock() // no task starts after this
	b.cancel()
	b.mu.Unlock()
	if b.nc.IsConnected() {
		// Acknowledgements just given may still be in the client's buffer. A
		// server that cannot take them now will redeliver; nothing is lost.
		_ = b.nc.FlushTimeout(time.Second)
	}
	b.live.Close()
	b.nc.Close()
	b.tasks.Wait()
}

// onConnect has f called on every connection made from now on, until the
// returned function is called. f must not block.
func (b *Bus) onConnect(f func()) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id := b.nextHook
	b.nextHook++
	b.hooks[id] = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.hooks, id)
	}
}

func (b *Bus) connected() {
	b.mu.Lock()
	hooks := make([]func(), 0, len(b.hooks))
	for _, f := range b.hooks {
		hooks = append(hooks, f)
	}
	b.mu.Unlock()
	for _, f := range hooks {
		f()
	}
}

// spawn runs f as a task Close waits for.
func (b *Bus) spawn(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() == nil {
		b.tasks.Go(f)
	}
}

// withoutURL drops the address from err, which may hold a password.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
