package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

const (
	liveDrain  = 10 * time.Second // what is being answered may take this long after ctx ends
	greetSlots = 64
)

// AskHandler answers one turn through reply, step by step. reply fills in turn
// and attempt. Once ctx ends nobody wants the answer any more, and reply sends
// nothing and returns ctx's error.
type AskHandler func(ctx context.Context, t events.Tenant, a events.Ask, reply func(events.Answer) error)

// ServeAsks makes this process one of the conversation workers until ctx ends;
// then it takes no more, finishes what was begun (within ten seconds) and
// returns nil. Up to slots asks are answered at a time; one beyond is answered
// with AnswerFailed, ReasonBusy, at once. An ask's context ends with a
// Cancel of its turn and with a newer ask of its call to this process.
func (b *Bus) ServeAsks(ctx context.Context, slots int, handle AskHandler) error {
	s := &asks{bus: b, id: nats.NewInbox()[len(nats.InboxPrefix):], handle: handle, slots: max(slots, 1), running: map[string]*asked{}}
	here, err := b.live.Subscribe(events.LiveWorker(s.id), func(m *nats.Msg) { _ = m.Respond(nil) })
	if err != nil {
		return fmt.Errorf("serve asks: %w", away(err))
	}
	defer unsubscribe([]*nats.Subscription{here})
	// One channel keeps a cancel behind the ask it cancels.
	msgs := make(chan *nats.Msg, 4096)
	subs, err := b.subscribe(msgs, queueConversation, events.LiveFilter(events.VerbAsk))
	if err != nil {
		return fmt.Errorf("serve asks: %w", err)
	}
	cancels, err := b.subscribe(msgs, "", events.LiveFilter(events.VerbCancel))
	if err != nil {
		unsubscribe(subs)
		return fmt.Errorf("serve asks: %w", err)
	}
	defer unsubscribe(cancels)
	answering, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	for ctx.Err() == nil {
		select {
		case m := <-msgs:
			s.take(answering, m)
		case <-ctx.Done():
		}
	}
	unsubscribe(subs)
	finished := make(chan struct{})
	go func() {
		s.tasks.Wait()
		close(finished)
	}()
	limit := time.AfterFunc(liveDrain, cancel)
	defer limit.Stop()
	for {
		select {
		case m := <-msgs:
			s.decline(m)
		case <-finished:
			return nil
		}
	}
}

// asks are the turns one ServeAsks is answering.
type asks struct {
	bus    *Bus
	id     string // of this worker, see Gone
	handle AskHandler
	tasks  sync.WaitGroup

	mu      sync.Mutex
	slots   int
	running map[string]*asked // by call
}

// asked is one ask being answered.
type asked struct {
	turn, attempt int
	cancel        func()
	slot          bool // it holds a slot; a newer ask of the call may have taken it over
}

func (s *asks) take(ctx context.Context, m *nats.Msg) {
	t, call, err := splitLive(m.Subject)
	if err != nil {
		s.bus.log.Warn("live subject is malformed", zap.String("subject", m.Subject))
		return
	}
	if m.Subject == events.LiveSubject(t, call, events.VerbCancel) {
		s.cancel(callKey(t, call), m.Data)
		return
	}
	var a events.Ask
	if err := json.Unmarshal(m.Data, &a); err != nil || a.Call != call {
		s.bus.log.Warn("ask is malformed", zap.Stringer("tenant", t), zap.String("call", call))
		return
	}
	s.begin(ctx, t, a)
}

// decline is all that happens to what arrives while shutting down.
func (s *asks) decline(m *nats.Msg) {
	t, call, err := splitLive(m.Subject)
	if err != nil {
		return
	}
	if m.Subject == events.LiveSubject(t, call, events.VerbCancel) {
		s.cancel(callKey(t, call), m.Data)
		return
	}
	var a events.Ask
	if json.Unmarshal(m.Data, &a) == nil && a.Call == call {
		s.fail(t, a, events.ReasonLeaving)
	}
}

func (s *asks) cancel(key string, data []byte) {
	var c events.Cancel
	if json.Unmarshal(data, &c) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[key]; r != nil && r.turn == c.Turn {
		r.cancel()
	}
}

func (s *asks) begin(ctx context.Context, t events.Tenant, a events.Ask) {
	key := callKey(t, a.Call)
	ctx, cancel := context.WithCancel(ctx)
	r := &asked{turn: a.Turn, attempt: a.Attempt, cancel: cancel, slot: true}
	s.mu.Lock()
	old := s.running[key]
	switch {
	case old != nil && (old.turn > a.Turn || old.turn == a.Turn && old.attempt >= a.Attempt):
		s.mu.Unlock() // older than what is being answered, or the same
		cancel()
		return
	case old != nil && old.slot:
		old.slot = false // taken over, so that a newer attempt is never "busy"
		old.cancel()
	case s.slots == 0:
		s.mu.Unlock()
		cancel()
		s.fail(t, a, events.ReasonBusy)
		return
	default:
		s.slots--
	}
	s.running[key] = r
	s.mu.Unlock()
	s.tasks.Go(func() {
		defer cancel()
		defer s.finish(key, r)
		s.answer(ctx, t, a)
	})
}

func (s *asks) finish(key string, r *asked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.slot {
		s.slots++
	}
	if s.running[key] == r {
		delete(s.running, key)
	}
}

func (s *asks) answer(ctx context.Context, t events.Tenant, a events.Ask) {
	defer func() {
		if p := recover(); p != nil {
			s.bus.log.Error("ask handler panicked", zap.Stringer("tenant", t), zap.String("call", a.Call),
				zap.String("class", fmt.Sprintf("%T", p)), zap.Strings("stack", stack()))
			s.fail(t, a, "panic")
		}
	}()
	s.handle(ctx, t, a, func(step events.Answer) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		step.Turn, step.Attempt, step.Worker = a.Turn, a.Attempt, s.id
		return s.bus.say(t, a.Call, events.VerbAnswer, step)
	})
}

// fail tells the owner to ask another worker.
func (s *asks) fail(t events.Tenant, a events.Ask, class string) {
	step := events.Answer{Turn: a.Turn, Attempt: a.Attempt, Kind: events.AnswerFailed, Worker: s.id, Reason: class}
	if err := s.bus.say(t, a.Call, events.VerbAnswer, step); err != nil {
		s.bus.log.Debug("failure not told", zap.Error(err)) // the owner does not wait long
	}
}

// ServeGreets answers requests for greetings, one process of the conversation
// workers each, until ctx ends; then it finishes what was begun and returns
// nil. An error of handle is told to who asked as a failure, without its text.
func (b *Bus) ServeGreets(ctx context.Context, handle func(context.Context, events.Tenant, events.Greet) (events.Greeting, error)) error {
	msgs := make(chan *nats.Msg, 1024)
	subs, err := b.subscribe(msgs, queueConversation, events.LiveFilter(events.VerbGreet))
	if err != nil {
		return fmt.Errorf("serve greetings: %w", err)
	}
	var tasks sync.WaitGroup
	slots := make(chan struct{}, greetSlots)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case m := <-msgs:
			select {
			case slots <- struct{}{}:
				tasks.Go(func() {
					defer func() { <-slots }()
					b.greet(context.WithoutCancel(ctx), m, handle)
				})
			default:
				b.answerWith(m, nil, "busy")
			}
		}
	}
	unsubscribe(subs)
	tasks.Wait()
	return nil
}

func (b *Bus) greet(ctx context.Context, m *nats.Msg, handle func(context.Context, events.Tenant, events.Greet) (events.Greeting, error)) {
	ctx, cancel := context.WithTimeout(ctx, requestTime) // nobody waits longer
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("greet handler panicked", zap.String("class", fmt.Sprintf("%T", p)), zap.Strings("stack", stack()))
			b.answerWith(m, nil, "panic")
		}
	}()
	t, call, err := splitLive(m.Subject)
	var g events.Greet
	if err != nil || json.Unmarshal(m.Data, &g) != nil || g.Call != call {
		b.answerWith(m, nil, "request is malformed")
		return
	}
	greeting, err := handle(ctx, t, g)
	if err != nil {
		b.log.Warn("no greeting", zap.Stringer("tenant", t), zap.String("call", call), zap.Error(err))
		b.answerWith(m, nil, "failed")
		return
	}
	b.answerWith(m, greeting, "")
}
