package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Stored is a fact as the stream holds it, be it one that can be read or not.
type Stored struct {
	Seq  uint64
	Name string // as its subject has it
	Data []byte

	bus *Bus
	msg *nats.Msg
}

// Call is the call the fact is of, as far as its head tells; else empty.
func (s Stored) Call() string {
	call, err := percentDecode(s.msg.Header.Get("ce-" + extCall))
	if err != nil {
		return ""
	}
	return call
}

// Time is when it became true, as far as its head tells; else zero.
func (s Stored) Time() time.Time {
	text, err := percentDecode(s.msg.Header.Get("ce-time"))
	if err != nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// Event is the fact, or why it cannot be read.
func (s Stored) Event() (events.Event, error) {
	e, err := s.bus.codec.decode(s.msg.Subject, s.msg.Header, s.Data)
	e.Seq, e.Delivery = s.Seq, 1
	return e, err
}

// Search hands over what the stream holds of a tenant from a sequence on, in
// order, be it readable or not: facts called one of names, or all of them
// (none). Outages are waited for; an error of each ends it. It returns the
// sequence up to which the stream has been read.
func (b *Bus) Search(ctx context.Context, t events.Tenant, from uint64, names []string, each func(Stored) error) (uint64, error) {
	if !t.Valid() {
		return 0, fmt.Errorf("search: %w", events.ErrNoTenant)
	}
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1)}
	for _, name := range names {
		cfg.FilterSubjects = append(cfg.FilterSubjects, events.Subject(t, name))
	}
	if len(names) == 0 {
		cfg.FilterSubject = events.Subject(t, ">")
	}
	for try := 0; ; try++ {
		before := cfg.OptStartSeq
		last, err := b.searchSome(ctx, &cfg, t, each)
		var told eachError
		switch {
		case err == nil:
			return last, nil
		case errors.As(err, &told):
			return 0, told.error
		case ctx.Err() != nil || errors.Is(err, jetstream.ErrStreamNotFound):
			return 0, fmt.Errorf("search: %w", err)
		}
		if cfg.OptStartSeq != before {
			try = 0
		}
		b.log.Warn("search interrupted", zap.Uint64("next", cfg.OptStartSeq), zap.Error(err))
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
}

// eachError is what whoever is handed facts says.
type eachError struct{ error }

// searchSome reads through one consumer. The start of cfg is moved past what
// was handed over.
func (b *Bus) searchSome(ctx context.Context, cfg *jetstream.ConsumerConfig, t events.Tenant, each func(Stored) error) (last uint64, err error) {
	if last, err = b.LastSeq(ctx); err != nil {
		return 0, err
	}
	r, err := b.newReader(ctx, events.Stream, *cfg)
	if err != nil {
		return 0, err
	}
	defer r.close()
	for r.left > 0 {
		var told error
		_, err := r.some(ctx, func(m incoming) bool {
			if ctx.Err() != nil {
				return false
			}
			name := strings.TrimPrefix(m.Subject, events.Subject(t, ""))
			if told = each(Stored{Seq: m.seq, Name: name, Data: m.Data, bus: b, msg: m.Msg}); told == nil {
				cfg.OptStartSeq = m.seq + 1
			}
			return told == nil
		})
		switch {
		case told != nil:
			return 0, eachError{told}
		case err != nil || ctx.Err() != nil:
			return 0, errors.Join(err, ctx.Err())
		}
	}
	return last, nil
}

// Erase removes facts of a tenant by their sequences, so that nothing of them
// is left in the files of the server, and what refers to them elsewhere in the
// bus. It returns how many were there; a sequence of another tenant's fact is
// refused. It can be repeated.
func (b *Bus) Erase(ctx context.Context, t events.Tenant, seqs []uint64, progress func(done int)) (erased int, err error) {
	if !t.Valid() {
		return 0, fmt.Errorf("erase: %w", events.ErrNoTenant)
	}
	gone := map[uint64]bool{}
	for i, seq := range seqs {
		was, err := b.eraseOne(ctx, t, seq)
		if err != nil {
			return erased, fmt.Errorf("erase fact %d: %w", seq, err)
		}
		if gone[seq] = true; was {
			erased++
		}
		if progress != nil {
			progress(i + 1)
		}
	}
	if err := b.eraseLetters(ctx, t, gone); err != nil {
		return erased, fmt.Errorf("erase dead letters: %w", err)
	}
	return erased, nil
}

func (b *Bus) eraseOne(ctx context.Context, t events.Tenant, seq uint64) (was bool, err error) {
	for try := range publishTries {
		m, err := b.at(ctx, seq)
		if err == nil && m == nil {
			return was, nil
		}
		if err == nil {
			was = true
			if of, err := events.TenantOfSubject(m.Subject); err != nil || of != t {
				return false, errors.New("it is not this tenant's")
			}
			err = b.secureDelete(ctx, events.Stream, seq)
		}
		if err == nil {
			return true, nil
		}
		if try == publishTries-1 || !b.pause(ctx, jitter(doubled(50*time.Millisecond, 2*time.Second, try))) {
			return false, errors.Join(err, ctx.Err())
		}
	}
	return was, nil
}

func (b *Bus) secureDelete(ctx context.Context, stream string, seq uint64) error {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return err
	}
	return b.call(ctx, func(ctx context.Context) error { return s.SecureDeleteMsg(ctx, seq) })
}

// eraseLetters removes the dead letters and retries of facts. Those we write
// hold nobody's words, but what they name is gone; those of former versions do.
func (b *Bus) eraseLetters(ctx context.Context, t events.Tenant, gone map[uint64]bool) error {
	var seqs []uint64
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy, HeadersOnly: true, FilterSubject: "dead.*." + t.String()}
	err := b.scan(ctx, streamDead, cfg, func(m incoming) bool {
		if gone[readLetter(m.Subject, m.Header, m.seq).EventSeq] {
			seqs = append(seqs, m.seq)
		}
		return true
	})
	for _, seq := range seqs {
		err = errors.Join(err, b.secureDelete(ctx, streamDead, seq))
	}
	if err != nil {
		return err
	}
	retries, err := b.stream(ctx, streamRetry)
	if err != nil {
		return err
	}
	for next := uint64(1); ; { // a stream that is worked off takes no reader beside the workers
		var m *jetstream.RawStreamMsg
		err := b.call(ctx, func(ctx context.Context) (err error) {
			m, err = retries.GetMsg(ctx, next, jetstream.WithGetMsgSubject(retrySubject("*", events.Subject(t, ">"))))
			return err
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if next = m.Sequence + 1; gone[readLetter("", m.Header, 0).EventSeq] {
			if err := b.secureDelete(ctx, streamRetry, m.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
				return err
			}
		}
	}
}

// The files of a bucket are its last block, of at most blockBytes, and earlier
// ones, which the server writes anew once they are mostly of values replaced
// since.
const (
	blockBytes = 8 << 20
	fillerSize = 200 << 10
	fillerKey  = "filler"
)

// TurnOver has the server write the files of the register of calls, and of
// tenants' settings, anew: without it values that were replaced or deleted stay
// in them. What the buckets hold does not change. It takes some 20 MB of room
// for a moment.
func (b *Bus) TurnOver(ctx context.Context) error {
	again := map[string][]byte{}
	err := b.list(ctx, bucketSettings, func(key string, value []byte) { again[key] = value })
	if err != nil {
		return fmt.Errorf("turn over buckets: %w", err)
	}
	for key, value := range again {
		k, err := b.lookUp(ctx, bucketSettings, key)
		if err == nil && k.exists() && string(k.value) == string(value) {
			err = b.swap(ctx, &nats.Msg{Subject: bucketKey(bucketSettings, key), Data: value}, k.rev, 0)
		}
		if err != nil && !errors.Is(err, errRaced) {
			return fmt.Errorf("turn over buckets: %w", err)
		}
	}
	for _, bucket := range []string{bucketSettings, bucketCalls} {
		if err := b.fill(ctx, bucket); err != nil {
			return fmt.Errorf("turn over bucket %s: %w", bucket, err)
		}
	}
	return nil
}

// fill writes one key of a bucket, which counts as deleted, until what was the
// last block is not any more, whatever size the server gives it.
func (b *Bus) fill(ctx context.Context, bucket string) error {
	filler := make([]byte, fillerSize)
	for left := 2 * blockBytes; left > 0; left -= fillerSize {
		if left <= fillerSize {
			filler = nil
		}
		m := deletion(bucket, fillerKey, filler)
		if bucket == bucketCalls {
			m.Header.Set("Nats-TTL", "60s")
		}
		if _, err := b.store(ctx, m); err != nil {
			return err
		}
	}
	return nil
}
