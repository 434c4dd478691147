package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

const (
	streamDead  = "DEADLETTERS"
	streamRetry = "RETRY"

	bucketSettings = "settings"
	bucketCalls    = "calls"
	bucketOwners   = "owners"

	// MaxEventSize bounds one fact, attributes included, in bytes.
	MaxEventSize = 256 << 10

	ownerTTL = 5 * time.Second
)

// streams are all this package needs to exist. Consumers are bounded
// explicitly: the server's own default has changed between versions.
func streams(replicas int) []jetstream.StreamConfig {
	facts := make([]string, 0, len(events.Nouns))
	for _, n := range events.Nouns {
		facts = append(facts, "tenant.*."+n+".*")
	}
	cfgs := []jetstream.StreamConfig{
		{
			// No schedules, roll-ups or TTLs here: headers could then rewrite
			// the past of any tenant.
			Name: events.Stream, Subjects: facts, Storage: jetstream.FileStorage,
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
			AllowDirect: true, Duplicates: 10 * time.Minute, MaxMsgSize: MaxEventSize, MaxConsumers: 1000,
		},
		{
			// Room for a fact of the largest size and the story of its death.
			Name: streamDead, Subjects: []string{"dead.>"}, Storage: jetstream.FileStorage,
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: 30 * 24 * time.Hour,
			AllowDirect: true, Duplicates: 10 * time.Minute, MaxMsgSize: MaxEventSize + 8<<10, MaxConsumers: 1000,
		},
		{
			Name: streamRetry, Subjects: []string{"retry.>"}, Storage: jetstream.FileStorage,
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
			AllowDirect: true, Duplicates: 10 * time.Minute, MaxMsgSize: MaxEventSize + 8<<10, MaxConsumers: 1000,
		},
		bucket(bucketSettings, jetstream.FileStorage),
		bucket(bucketCalls, jetstream.FileStorage),
		bucket(bucketOwners, jetstream.MemoryStorage),
	}
	for i := range cfgs {
		cfgs[i].Replicas = replicas
		switch cfgs[i].Name {
		case bucketStream(bucketCalls):
			cfgs[i].AllowMsgTTL = true // the mark an ended call leaves goes away by itself
		case bucketStream(bucketOwners):
			cfgs[i].MaxAge, cfgs[i].Duplicates = ownerTTL, ownerTTL
		}
	}
	return cfgs
}

// bucket is the stream behind a key-value bucket, as every NATS client lays it out.
func bucket(name string, storage jetstream.StorageType) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: bucketStream(name), Subjects: []string{bucketKey(name, ">")}, Storage: storage,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
		AllowDirect: true, Duplicates: 2 * time.Minute, MaxConsumers: 1000,
	}
}

func bucketStream(bucket string) string   { return "KV_" + bucket }
func bucketKey(bucket, key string) string { return "$KV." + bucket + "." + key }

// ensure creates what is missing. Many processes may do so at once.
func (b *Bus) ensure(ctx context.Context) error {
	for _, cfg := range streams(b.opts.Replicas) {
		if err := b.call(ctx, func(ctx context.Context) error { return b.ensureStream(ctx, cfg) }); err != nil {
			return fmt.Errorf("prepare stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// ensureStream creates the stream, or verifies the one there is. Limits and
// replicas of an existing stream belong to its operator; only subjects it does
// not capture yet are added.
func (b *Bus) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	for range 10 {
		s, err := b.js.Stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			_, err = b.js.CreateStream(ctx, want)
			if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
				continue // another process was faster
			}
			return err
		}
		if err != nil {
			return err
		}
		have := s.CachedInfo().Config
		if err := misfit(have, want); err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(want.Subjects), func(s string) bool { return slices.Contains(have.Subjects, s) })
		if len(missing) == 0 {
			return nil
		}
		// Two processes adding different subjects may overwrite each other:
		// look again after writing.
		have.Subjects = append(have.Subjects, missing...)
		if _, err := b.js.UpdateStream(ctx, have); err != nil {
			return err
		}
		b.log.Info("stream takes new subjects", zap.String("stream", want.Name), zap.Strings("subjects", missing))
	}
	return fmt.Errorf("%w: its subjects keep changing", errMisfit)
}

// misfit says why an existing stream would not keep what this program promises.
func misfit(have, want jetstream.StreamConfig) error {
	switch {
	case have.Storage != want.Storage:
		return fmt.Errorf("%w: storage is %v, want %v", errMisfit, have.Storage, want.Storage)
	case have.Retention != want.Retention:
		return fmt.Errorf("%w: retention is %v, want %v", errMisfit, have.Retention, want.Retention)
	case want.Name == events.Stream && (have.AllowRollup || have.AllowMsgTTL || have.AllowMsgSchedules):
		return fmt.Errorf("%w: it lets headers remove or forge facts (rollup, TTL or schedules)", errMisfit)
	case want.AllowMsgTTL && !have.AllowMsgTTL:
		return fmt.Errorf("%w: it does not allow a TTL per message", errMisfit)
	}
	return nil
}

// LastSeq is the sequence of the newest fact in the stream; 0 when empty.
func (b *Bus) LastSeq(ctx context.Context) (uint64, error) {
	info, err := b.info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// StreamCreated is when the stream of facts was created: sequences are
// comparable only within one value of it.
func (b *Bus) StreamCreated(ctx context.Context) (time.Time, error) {
	info, err := b.info(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return info.Created.UTC(), nil
}

// Holds reports whether the event with this id, which was read at seq, is still
// there. It is not once the stream has lost its end, as one restored from an
// older backup has, be it that it ends before seq or that it has given seq to
// another event since. One that was erased or has expired counts as there, and
// without an id all that is asked is whether the stream ends before seq.
func (b *Bus) Holds(ctx context.Context, seq uint64, id string) (bool, error) {
	last, err := b.LastSeq(ctx)
	if err != nil || last < seq {
		return false, err
	}
	m, err := b.at(ctx, seq)
	if err != nil {
		return false, fmt.Errorf("look up fact %d: %w", seq, err)
	}
	if m == nil || id == "" {
		return true, nil
	}
	e, err := b.codec.decode(m.Subject, m.Header, m.Data)
	return err == nil && e.ID == id, nil
}

// StoredAt is a tenant's fact that the stream has at seq; not where there is none
// (any more), or it is another's.
func (b *Bus) StoredAt(ctx context.Context, t events.Tenant, seq uint64) (e events.Event, there bool, err error) {
	m, err := b.at(ctx, seq)
	if err != nil || m == nil {
		return e, false, err
	}
	e, err = b.codec.decode(m.Subject, m.Header, m.Data)
	if err != nil || e.Tenant != t {
		return events.Event{}, false, nil //nolint:nilerr // erased
	}
	e.Seq = seq
	return e, true, nil
}

// at is the message the stream has at seq, nil where there is none (any more).
func (b *Bus) at(ctx context.Context, seq uint64) (m *jetstream.RawStreamMsg, err error) {
	s, err := b.stream(ctx, events.Stream)
	if err != nil {
		return nil, err
	}
	err = b.call(ctx, func(ctx context.Context) (err error) {
		m, err = s.GetMsg(ctx, seq)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // said above
	}
	return m, err
}

func (b *Bus) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	var s jetstream.Stream
	err := b.call(ctx, func(ctx context.Context) (err error) {
		s, err = b.js.Stream(ctx, events.Stream)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", events.Stream, err)
	}
	return s.CachedInfo(), nil
}
