package bus

import (
	"context"
	"slices"
	"sync"
)

// delivery is one message held by this process until it is settled.
type delivery struct {
	key     source
	tenant  string // token of its subject; decides whose turn it is
	subject string // it was published on first
	seq     uint64 // in the stream of facts
	tries   int    // deliveries, this one included

	mu  sync.Mutex
	msg incoming // newest copy: earlier ones can no longer be acknowledged
}

// source identifies a message.
type source struct {
	stream string
	seq    uint64
}

func (d *delivery) current() incoming {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.msg
}

// fair hands out deliveries in turn among tenants, so that one tenant's
// backlog holds up nobody else's.
type fair struct {
	mu     sync.Mutex
	cond   *sync.Cond
	held   map[source]*delivery // waiting or being handled
	count  map[string]int       // of held, by stream
	queues map[string][]*delivery
	turns  []string // tenants with a queue, whose turn is next first
	closed bool
}

func newFair() *fair {
	f := &fair{held: map[source]*delivery{}, count: map[string]int{}, queues: map[string][]*delivery{}}
	f.cond = sync.NewCond(&f.mu)
	return f
}

// push takes d in. Where the message is held already, d is but a later copy.
func (f *fair) push(d *delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.held[d.key]; h != nil {
		h.mu.Lock()
		h.msg = d.msg
		h.mu.Unlock()
		return
	}
	f.held[d.key] = d
	f.count[d.key.stream]++
	if len(f.queues[d.tenant]) == 0 {
		f.turns = append(f.turns, d.tenant)
	}
	f.queues[d.tenant] = append(f.queues[d.tenant], d)
	f.cond.Broadcast()
}

// pop waits for a delivery; nil once closed.
func (f *fair) pop() *delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.turns) == 0 && !f.closed {
		f.cond.Wait()
	}
	if f.closed {
		return nil
	}
	t := f.turns[0]
	f.turns = f.turns[1:]
	d := f.queues[t][0]
	if rest := f.queues[t][1:]; len(rest) > 0 {
		f.queues[t] = rest
		f.turns = append(f.turns, t)
	} else {
		delete(f.queues, t)
	}
	return d
}

// release forgets d, which is settled.
func (f *fair) release(d *delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, d.key)
	f.count[d.key.stream]--
	f.cond.Broadcast()
}

// room waits until less than limit of a stream is held and returns how much
// less; 0 when ctx ends first.
func (f *fair) room(ctx context.Context, stream string, limit int) int {
	defer context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.cond.Broadcast()
	})()
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.count[stream] >= limit && ctx.Err() == nil {
		f.cond.Wait()
	}
	if ctx.Err() != nil {
		return 0
	}
	return limit - f.count[stream]
}

// all is what is held, in no order.
func (f *fair) all() []*delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*delivery, 0, len(f.held))
	for _, d := range f.held {
		out = append(out, d)
	}
	return out
}

// close ends pop and returns what nobody has begun to handle.
func (f *fair) close() []*delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
	var out []*delivery
	for _, t := range f.turns {
		out = slices.Concat(out, f.queues[t])
	}
	f.turns, f.queues = nil, map[string][]*delivery{}
	return out
}
