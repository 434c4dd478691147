package bus

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"neurosphere.ai/neurosphere/events"
)

const (
	headerOperation = "KV-Operation"
	operationDelete = "DEL"
)

var errRaced = errors.New("somebody else wrote the key")

// kept is the newest value of a key.
type kept struct {
	value   []byte
	rev     uint64 // 0: the key was never written
	deleted bool
}

func (k kept) exists() bool { return k.rev != 0 && !k.deleted }

// lookUp reads one key of a bucket.
func (b *Bus) lookUp(ctx context.Context, bucket, key string) (kept, error) {
	s, err := b.stream(ctx, bucketStream(bucket))
	if err != nil {
		return kept{}, err
	}
	var m *jetstream.RawStreamMsg
	err = b.call(ctx, func(ctx context.Context) (err error) {
		m, err = s.GetLastMsgForSubject(ctx, bucketKey(bucket, key))
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return kept{}, nil
	} else if err != nil {
		return kept{}, err
	}
	return kept{value: m.Data, rev: m.Sequence, deleted: isDeletion(m.Header)}, nil
}

func isDeletion(h nats.Header) bool {
	op := h.Get(headerOperation)
	return op == operationDelete || op == "PURGE"
}

// swap writes value, or a mark of deletion that lasts for ttl (0: for ever),
// if the key's newest revision is still rev. Otherwise errRaced.
func (b *Bus) swap(ctx context.Context, m *nats.Msg, rev uint64, ttl time.Duration) error {
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(rev), jetstream.WithRetryAttempts(0)}
	if ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	err := b.call(ctx, func(ctx context.Context) error {
		_, err := b.js.PublishMsg(ctx, m, opts...)
		return err
	})
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return errRaced
	}
	return err
}

func deletion(bucket, key string, data []byte) *nats.Msg {
	m := nats.NewMsg(bucketKey(bucket, key))
	m.Header.Set(headerOperation, operationDelete)
	m.Data = data
	return m
}

// list hands over the newest value of every key of a bucket that is not deleted.
func (b *Bus) list(ctx context.Context, bucket string, each func(key string, value []byte)) error {
	prefix := len(bucketKey(bucket, ""))
	cfg := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: bucketKey(bucket, ">")}
	return b.scan(ctx, bucketStream(bucket), cfg, func(m incoming) bool {
		if !isDeletion(m.Header) && len(m.Subject) > prefix {
			each(m.Subject[prefix:], m.Data)
		}
		return true
	})
}

// stream is a handle to an existing stream, looked up once.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	b.mu.Lock()
	s := b.handles[name]
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	err := b.call(ctx, func(ctx context.Context) (err error) {
		s, err = b.js.Stream(ctx, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	b.mu.Lock()
	b.handles[name] = s
	b.mu.Unlock()
	return s, nil
}

var token = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

var callToken = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// checkCall refuses what could widen or redirect a subject.
func checkCall(t events.Tenant, call string) error {
	if !t.Valid() {
		return events.ErrNoTenant
	}
	if !callToken.MatchString(call) {
		return fmt.Errorf("call: %w", ErrBadToken)
	}
	return nil
}

func checkToken(what, s string) error {
	if !token.MatchString(s) {
		return fmt.Errorf("%s: %w", what, ErrBadToken)
	}
	return nil
}
