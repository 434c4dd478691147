package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

const (
	queueConversation = "conversation"
	requestTime       = 2 * time.Second // of a request whose context has no deadline
	headerFailure     = "Failure"       // of a reply: why there is none, a class
)

// Ask hands a turn to one conversation worker, any. What comes of it reaches
// the call's Owner: the steps of the answer, or AnswerNobody at once. ErrAway
// when the bus cannot be reached.
func (b *Bus) Ask(t events.Tenant, a events.Ask) error {
	m, err := liveMessage(t, a.Call, events.VerbAsk, a)
	if err == nil {
		m.Reply = events.LiveSubject(t, a.Call, events.VerbAnswer)
		err = away(b.live.PublishMsg(m))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", events.VerbAsk, err)
	}
	return nil
}

// Gone reports whether a worker that sent answers is certainly not there any
// more: its connection is closed, as the server notices at once when a process
// dies. A worker that hangs is not gone. It waits as long as ctx allows.
func (b *Bus) Gone(ctx context.Context, worker string) bool {
	if checkToken("worker", worker) != nil {
		return false
	}
	_, err := b.live.RequestWithContext(ctx, events.LiveWorker(worker), nil)
	return errors.Is(err, nats.ErrNoResponders)
}

// Cancel tells all workers to stop answering a turn of a call.
func (b *Bus) Cancel(t events.Tenant, call string, turn int) error {
	return b.say(t, call, events.VerbCancel, events.Cancel{Turn: turn})
}

// say publishes v on a live subject; nothing of it is stored or repeated.
func (b *Bus) say(t events.Tenant, call, verb string, v any) error {
	m, err := liveMessage(t, call, verb, v)
	if err == nil {
		err = away(b.live.PublishMsg(m))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

func liveMessage(t events.Tenant, call, verb string, v any) (*nats.Msg, error) {
	if err := checkCall(t, call); err != nil {
		return nil, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: events.LiveSubject(t, call, verb), Data: data}, nil
}

// Greet asks a conversation worker for the words to greet a caller with. It
// waits as long as ctx allows, two seconds if ctx has no deadline; ErrNobody
// when no worker is there.
func (b *Bus) Greet(ctx context.Context, t events.Tenant, g events.Greet) (events.Greeting, error) {
	var out events.Greeting
	m, err := liveMessage(t, g.Call, events.VerbGreet, g)
	if err == nil {
		err = b.request(ctx, m, &out)
	}
	if err != nil {
		return events.Greeting{}, fmt.Errorf("greet: %w", err)
	}
	return out, nil
}

// Control tells the owner of a call something. handled is what the owner's
// Control function returned, false when nobody owns the call. It waits as long
// as ctx allows, two seconds if ctx has no deadline.
func (b *Bus) Control(ctx context.Context, t events.Tenant, call string, c events.Control) (handled bool, err error) {
	var out controlled
	m, err := liveMessage(t, call, events.VerbControl, c)
	if err == nil {
		err = b.request(ctx, m, &out)
	}
	switch {
	case errors.Is(err, ErrNobody):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("control: %w", err)
	}
	return out.Handled, nil
}

type controlled struct {
	Handled bool `json:"handled"`
}

// request waits for the one reply to m.
func (b *Bus) request(ctx context.Context, m *nats.Msg, out any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, requestTime)
		defer cancel()
	}
	reply, err := b.live.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		return ErrNobody
	} else if err != nil {
		return away(err)
	}
	if class := reply.Header.Get(headerFailure); class != "" {
		return errors.New(class)
	}
	if err := json.Unmarshal(reply.Data, out); err != nil {
		return errors.New("reply is malformed")
	}
	return nil
}

// answerWith replies to a request.
func (b *Bus) answerWith(m *nats.Msg, v any, failure string) {
	data, err := json.Marshal(v)
	if err != nil {
		failure = "reply cannot be encoded"
	}
	reply := &nats.Msg{Data: data}
	if failure != "" {
		reply = nats.NewMsg("")
		reply.Header.Set(headerFailure, failure)
	}
	if err := m.RespondMsg(reply); err != nil {
		b.log.Debug("reply not sent", zap.Error(away(err)))
	}
}

// noResponders is the server's word that nobody listens to what was asked.
const noResponders = "503"

// Owned brings what is meant for the owner of a call: see OwnCall. A nil one
// brings nothing.
type Owned struct {
	bus  *Bus
	msgs chan *nats.Msg
	subs []*nats.Subscription
}

// OwnCall listens for a call's answers and controls until released. Several
// may own a call for the moment it moves from one to the other.
func (b *Bus) OwnCall(t events.Tenant, call string) (*Owned, error) {
	if err := checkCall(t, call); err != nil {
		return nil, fmt.Errorf("own call: %w", err)
	}
	// Exactly these verbs: a wildcard would bring back our own asks, and make
	// this process look like one that answers greetings.
	o := &Owned{bus: b, msgs: make(chan *nats.Msg, 128)}
	var err error
	o.subs, err = b.subscribe(o.msgs, "", events.LiveSubject(t, call, events.VerbAnswer), events.LiveSubject(t, call, events.VerbControl))
	if err != nil {
		return nil, fmt.Errorf("own call %s: %w", call, err)
	}
	return o, nil
}

// Messages is where they arrive, each to be given to Read: the goroutine that
// runs the call takes them itself, since another one between would cost each
// word a hop, and each call a stack.
func (o *Owned) Messages() <-chan *nats.Msg {
	if o == nil {
		return nil
	}
	return o.msgs
}

// Read is what a message says: an events.Answer, one step of any attempt, or
// an events.Control, whose sender is told that it was dealt with; nil where it
// is malformed.
func (o *Owned) Read(m *nats.Msg) any {
	switch m.Subject[strings.LastIndexByte(m.Subject, '.')+1:] {
	case events.VerbAnswer:
		if m.Header.Get("Status") == noResponders {
			return events.Answer{Kind: events.AnswerNobody}
		}
		var a events.Answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			o.bus.log.Warn("answer is malformed", zap.String("subject", m.Subject))
			return nil
		}
		return a
	case events.VerbControl:
		var c events.Control
		if err := json.Unmarshal(m.Data, &c); err != nil {
			o.bus.answerWith(m, nil, "request is malformed")
			return nil
		}
		o.bus.answerWith(m, controlled{true}, "")
		return c
	}
	return nil
}

// Release stops listening. Whoever controlled the call and was not read is
// told that nobody owns it.
func (o *Owned) Release() {
	if o == nil {
		return
	}
	unsubscribe(o.subs)
	for {
		select {
		case m := <-o.msgs:
			if strings.HasSuffix(m.Subject, "."+events.VerbControl) {
				o.bus.answerWith(m, controlled{false}, "")
			}
		default:
			return
		}
	}
}

// subscribe brings several subjects into one channel, in the order they come.
func (b *Bus) subscribe(msgs chan *nats.Msg, queue string, subjects ...string) ([]*nats.Subscription, error) {
	var subs []*nats.Subscription
	for _, s := range subjects {
		var sub *nats.Subscription
		var err error
		if queue == "" {
			sub, err = b.live.ChanSubscribe(s, msgs)
		} else {
			sub, err = b.live.ChanQueueSubscribe(s, queue, msgs)
		}
		if err != nil {
			unsubscribe(subs)
			return nil, away(err)
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

func unsubscribe(subs []*nats.Subscription) {
	for _, s := range subs {
		_ = s.Unsubscribe() // fails only when the connection is closed, which ends it too
	}
}

// splitLive reads tenant.<id>.live.<call>.<verb>.
func splitLive(subject string) (events.Tenant, string, error) {
	t, err := events.TenantOfSubject(subject)
	if err != nil {
		return 0, "", err
	}
	tok := strings.Split(subject, ".")
	if len(tok) != 5 || !callToken.MatchString(tok[3]) {
		return 0, "", ErrBadToken
	}
	return t, tok[3], nil
}
