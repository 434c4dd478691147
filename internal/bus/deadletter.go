package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// DeadLetter tells of an event that a consumer could not handle.
type DeadLetter struct {
	Seq        uint64        `json:"seq"`         // among the dead letters; for Redrive
	Consumer   string        `json:"consumer"`    // who gave up on it; "follow": a projection
	Tenant     events.Tenant `json:"customer_id"` // 0 where it cannot be told
	Subject    string        `json:"subject"`     // it was published on
	EventID    string        `json:"event_id"`    // empty where it cannot be told
	EventSeq   uint64        `json:"event_seq"`   // in the stream of facts
	Call       string        `json:"call,omitempty"`
	Deliveries int           `json:"deliveries"`
	Reason     string        `json:"reason"`
	At         time.Time     `json:"at"` // when it was given up
}

const (
	headerReason     = "Dead-Reason"
	headerSubject    = "Dead-Subject"
	headerSeq        = "Dead-Seq" // of the event; kept when it is sent again
	headerDeliveries = "Dead-Deliveries"
	headerAt         = "Dead-Time"

	maxReason = 500 // bytes
)

// letter is a dead letter about to be stored. It holds nobody's words: it says
// where in the stream of facts the event is, and why it was given up.
type letter struct {
	id       string // the same for each attempt to store it
	consumer string
	reason   string
	tries    int
	seq      uint64
	subject  string
	header   nats.Header
}

// letterOf makes a dead letter of m, of the stream of facts.
func letterOf(m incoming, consumer, reason string) letter {
	return letter{
		id: consumer + ":" + strconv.FormatUint(m.seq, 10), consumer: consumer, reason: reason, tries: m.tries,
		seq: m.seq, subject: m.Subject, header: m.Header,
	}
}

// bury stores a dead letter.
func (b *Bus) bury(ctx context.Context, l letter) error {
	t, err := events.TenantOfSubject(l.subject)
	if err != nil {
		t = 0
	}
	h := withoutControl(l.header)
	h.Set(headerReason, percentEncode(cut(l.reason, maxReason)))
	h.Set(headerSubject, l.subject)
	h.Set(headerSeq, strconv.FormatUint(l.seq, 10))
	h.Set(headerDeliveries, strconv.Itoa(l.tries))
	h.Set(headerAt, time.Now().UTC().Format(time.RFC3339Nano))
	h.Set(headerMsgID, l.id)
	_, err = b.store(ctx, &nats.Msg{Subject: "dead." + l.consumer + "." + t.String(), Header: h})
	if err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	b.log.Error("event given up", zap.String("consumer", l.consumer), zap.Stringer("tenant", t),
		zap.Uint64("seq", l.seq), zap.Int("deliveries", l.tries), zap.String("reason", cut(l.reason, maxReason)))
	return nil
}

// LeaveOut makes a dead letter of an event that a projection got from Follow
// and cannot apply.
func (b *Bus) LeaveOut(ctx context.Context, e events.Event, reason string) error {
	m, err := b.at(ctx, e.Seq)
	if err != nil {
		return fmt.Errorf("leave out %d: %w", e.Seq, err)
	}
	if m == nil {
		return nil // erased meanwhile
	}
	return b.bury(ctx, letter{
		id: follower + ":" + strconv.FormatUint(e.Seq, 10), consumer: follower, reason: reason, tries: 1,
		seq: e.Seq, subject: m.Subject, header: m.Header,
	})
}

// withoutControl copies a header without what would instruct the server.
func withoutControl(h nats.Header) nats.Header {
	out := nats.Header{}
	for name, v := range h {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			out[name] = v
		}
	}
	return out
}

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// DeadLetters lists up to limit dead letters, oldest first.
func (b *Bus) DeadLetters(ctx context.Context, limit int) ([]DeadLetter, error) {
	out := []DeadLetter{}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true}
	err := b.scan(ctx, streamDead, cfg, func(m incoming) bool {
		if len(out) < limit {
			out = append(out, readLetter(m.Subject, m.Header, m.seq))
		}
		return len(out) < limit
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	return out, nil
}

func readLetter(subject string, h nats.Header, seq uint64) DeadLetter {
	text := func(name string) string {
		s, err := percentDecode(h.Get(name))
		if err != nil {
			return ""
		}
		return s
	}
	l := DeadLetter{
		Seq: seq, Subject: h.Get(headerSubject), EventID: text("ce-id"),
		Call: text("ce-" + extCall), Reason: text(headerReason),
	}
	if tok := strings.Split(subject, "."); len(tok) == 3 {
		l.Consumer = tok[1]
		l.Tenant, _ = events.ParseTenant(tok[2]) // 0 stands for none
	}
	// Our own headers; where one is unreadable the rest still tells.
	l.EventSeq, _ = strconv.ParseUint(h.Get(headerSeq), 10, 64)
	l.Deliveries, _ = strconv.Atoi(h.Get(headerDeliveries))
	l.At, _ = time.Parse(time.RFC3339Nano, h.Get(headerAt))
	return l
}

// Redrive has the consumer that gave up on a dead letter, and only it, handle
// the event once more, and removes the letter. ErrNoLetter when there is none.
// Of several who redrive a letter at once each succeeds, and it is handled once.
func (b *Bus) Redrive(ctx context.Context, seq uint64) error {
	if _, err := b.redrive(ctx, seq); err != nil {
		return fmt.Errorf("redrive %d: %w", seq, err)
	}
	return nil
}

// redrive reports whether it was us who removed the letter.
func (b *Bus) redrive(ctx context.Context, seq uint64) (ours bool, err error) {
	s, err := b.stream(ctx, streamDead)
	if err != nil {
		return false, err
	}
	var m *jetstream.RawStreamMsg
	get := func(ctx context.Context) (err error) {
		m, err = s.GetMsg(ctx, seq)
		return err
	}
	if err := b.call(ctx, get); errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, ErrNoLetter
	} else if err != nil {
		return false, err
	}
	l := readLetter(m.Subject, m.Header, seq)
	if l.Consumer == follower {
		return false, errors.New("a projection left it out; rebuild the projection")
	}
	h := withoutControl(m.Header)
	for _, name := range []string{headerReason, headerSubject, headerDeliveries, headerAt} {
		h.Del(name)
	}
	// Should deleting fail below, or another be at it, this is the same message.
	h.Set(headerMsgID, "redrive:"+strconv.FormatUint(seq, 10))
	if _, err := b.store(ctx, &nats.Msg{Subject: retrySubject(l.Consumer, l.Subject), Header: h}); err != nil {
		return false, err
	}
	remove := s.DeleteMsg
	if len(m.Data) > 0 { // a former version's, which has the event's words
		remove = s.SecureDeleteMsg
	}
	err = b.call(ctx, func(ctx context.Context) error { return remove(ctx, seq) })
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) && errors.Is(b.call(ctx, get), jetstream.ErrMsgNotFound) {
		return false, nil // another was faster
	} else if err != nil {
		return false, fmt.Errorf("remove letter: %w", err)
	}
	return true, nil
}

// RedriveAll redrives every dead letter there is now, but a projection's, and
// returns how many: those that another redrives meanwhile are not among them.
func (b *Bus) RedriveAll(ctx context.Context) (int, error) {
	var seqs []uint64
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true}
	err := b.scan(ctx, streamDead, cfg, func(m incoming) bool {
		if readLetter(m.Subject, m.Header, m.seq).Consumer != follower {
			seqs = append(seqs, m.seq)
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("redrive all: %w", err)
	}
	n := 0
	for _, seq := range seqs {
		ours, err := b.redrive(ctx, seq)
		if err != nil && !errors.Is(err, ErrNoLetter) {
			return n, fmt.Errorf("redrive %d: %w", seq, err)
		}
		if ours {
			n++
		}
	}
	return n, nil
}

// retrySubject is private to one consumer: sending an event there again
// concerns nobody else.
func retrySubject(consumer, subject string) string { return "retry." + consumer + "." + subject }
