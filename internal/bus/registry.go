package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// CallEntry is a live call in the registry: who owns it and where its facts
// begin, so that another owner can take it over.
type CallEntry struct {
	Tenant    events.Tenant `json:"customer_id"`
	Call      string        `json:"call"`
	Owner     string        `json:"owner"`     // ingress instance
	Epoch     int64         `json:"epoch"`     // 1,2,3… with each owner
	FirstSeq  uint64        `json:"first_seq"` // of the call's first fact; 0 while not known
	CallSeq   int           `json:"callseq"`   // newest number the owner gave a fact
	Facts     []uint64      `json:"facts"`     // sequences of the call's facts, as far as they are stored
	From      string        `json:"from"`      // as call.received says
	To        string        `json:"to"`        // E.164
	StartedAt time.Time     `json:"started_at"`
	Answered  bool          `json:"answered"`
	Turn      int           `json:"turn"` // newest turn of the caller that was answered to the end
	Said      string        `json:"said"` // the words of that answer, while they are no fact yet
}

func (e CallEntry) check() error {
	if err := checkCall(e.Tenant, e.Call); err != nil {
		return err
	}
	return checkToken("owner", e.Owner)
}

func (e CallEntry) epoch() epoch { return epoch{e.Epoch, e.Owner} }

// epoch is one owner's time with a call. It is also all that is left of an
// entry that was deleted.
type epoch struct {
	Epoch int64  `json:"epoch"`
	Owner string `json:"owner"`
}

// markTTL is how long a deleted entry is remembered, so that a late write of
// an owner long gone cannot bring it back.
const markTTL = 24 * time.Hour

func callKey(t events.Tenant, call string) string { return t.String() + "." + call }

// GetCall reads one entry; ErrNoCall when there is none, which is ErrCallOver
// when there was one of late.
func (b *Bus) GetCall(ctx context.Context, t events.Tenant, call string) (CallEntry, error) {
	if err := checkCall(t, call); err != nil {
		return CallEntry{}, fmt.Errorf("get call entry: %w", err)
	}
	k, err := b.lookUp(ctx, bucketCalls, callKey(t, call))
	if err != nil {
		return CallEntry{}, fmt.Errorf("get call entry %s: %w", call, err)
	}
	if k.deleted {
		return CallEntry{}, fmt.Errorf("get call entry %s: %w", call, ErrCallOver)
	} else if !k.exists() {
		return CallEntry{}, fmt.Errorf("get call entry %s: %w", call, ErrNoCall)
	}
	var e CallEntry
	if err := json.Unmarshal(k.value, &e); err != nil || e.Tenant != t || e.Call != call {
		return CallEntry{}, fmt.Errorf("get call entry %s: it is malformed", call)
	}
	return e, nil
}

// ListCalls reads all entries, in no order.
func (b *Bus) ListCalls(ctx context.Context) ([]CallEntry, error) {
	var out []CallEntry
	err := b.list(ctx, bucketCalls, func(key string, value []byte) {
		var e CallEntry
		if err := json.Unmarshal(value, &e); err != nil || callKey(e.Tenant, e.Call) != key {
			b.log.Error("call entry is malformed", zap.String("key", key))
			return
		}
		out = append(out, e)
	})
	if err != nil {
		return nil, fmt.Errorf("list call entries: %w", err)
	}
	return out, nil
}

// ClaimCall makes owner the owner of a call that has an entry, in a new epoch,
// and returns the entry as it is then. Of several that claim at once each gets
// an epoch of its own; the highest is the owner. ErrNoCall when the call has
// no entry (any more).
func (b *Bus) ClaimCall(ctx context.Context, t events.Tenant, call, owner string) (CallEntry, error) {
	if err := errors.Join(checkCall(t, call), checkToken("owner", owner)); err != nil {
		return CallEntry{}, fmt.Errorf("claim call: %w", err)
	}
	key := callKey(t, call)
	for {
		k, err := b.lookUp(ctx, bucketCalls, key)
		if err != nil {
			return CallEntry{}, fmt.Errorf("claim call %s: %w", call, err)
		}
		if !k.exists() {
			return CallEntry{}, fmt.Errorf("claim call %s: %w", call, ErrNoCall)
		}
		var e CallEntry
		if err := json.Unmarshal(k.value, &e); err != nil || callKey(e.Tenant, e.Call) != key {
			return CallEntry{}, fmt.Errorf("claim call %s: its entry is malformed", call)
		}
		e.Owner, e.Epoch = owner, e.Epoch+1
		data, err := json.Marshal(e)
		if err != nil {
			return CallEntry{}, fmt.Errorf("claim call %s: %w", call, err)
		}
		err = b.swap(ctx, &nats.Msg{Subject: bucketKey(bucketCalls, key), Data: data}, k.rev, 0)
		switch {
		case err == nil:
			b.setEpoch(key, e.epoch())
			return e, nil
		case !errors.Is(err, errRaced):
			return CallEntry{}, fmt.Errorf("claim call %s: %w", call, err)
		}
	}
}

func (b *Bus) setEpoch(key string, e epoch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.epochs[key].Epoch <= e.Epoch {
		b.epochs[key] = e
	}
}

// takeEpoch is the epoch in which this process last wrote the call; zero when
// it never did.
func (b *Bus) takeEpoch(key string) epoch {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.epochs[key]
	delete(b.epochs, key)
	return e
}

// writeEntry puts or deletes an entry unless it was overtaken: by an owner of
// a later epoch, or by its deletion. Both kinds of data hold the epoch they
// were written in.
func (b *Bus) writeEntry(ctx context.Context, kind byte, key string, data []byte) error {
	var ours epoch
	if err := json.Unmarshal(data, &ours); err != nil {
		return fmt.Errorf("read call entry: %w", err)
	}
	for {
		k, err := b.lookUp(ctx, bucketCalls, key)
		if err != nil {
			return err
		}
		if overtaken(kind, ours, k) {
			b.log.Info("call entry was overtaken", zap.String("key", key))
			return nil
		}
		m, ttl := &nats.Msg{Subject: bucketKey(bucketCalls, key), Data: data}, time.Duration(0)
		if kind == kindDelete {
			m, ttl = deletion(bucketCalls, key, data), markTTL
		}
		if err := b.swap(ctx, m, k.rev, ttl); !errors.Is(err, errRaced) {
			return err
		}
	}
}

func overtaken(kind byte, ours epoch, k kept) bool {
	if k.rev == 0 {
		return kind == kindDelete // nothing to delete
	}
	var theirs epoch
	if json.Unmarshal(k.value, &theirs) != nil {
		return false // not an entry; ours is
	}
	switch {
	case kind == kindDelete:
		return k.deleted || ours.Epoch != 0 && theirs.Epoch > ours.Epoch
	case k.deleted:
		return theirs.Epoch >= ours.Epoch
	case theirs.Epoch == ours.Epoch:
		return theirs.Owner != ours.Owner
	}
	return theirs.Epoch > ours.Epoch
}

// KeepAlive says that an ingress instance is alive, each second, until ctx
// ends; then it says good-bye and returns nil. An instance that is not heard
// of for five seconds is dead.
func (b *Bus) KeepAlive(ctx context.Context, instance string) error {
	if err := checkToken("instance", instance); err != nil {
		return fmt.Errorf("keep alive: %w", err)
	}
	subject := bucketKey(bucketOwners, instance)
	for {
		if err := b.beat(ctx, subject); err != nil && ctx.Err() == nil {
			b.log.Warn("cannot report being alive", zap.Error(err))
		}
		if !b.pause(ctx, time.Second) {
			break
		}
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s, err := b.stream(bye, bucketStream(bucketOwners)); err == nil {
		// Not heard, it is as if the instance had died.
		_ = s.Purge(bye, jetstream.WithPurgeSubject(subject))
	}
	return nil
}

func (b *Bus) beat(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, ownerTTL/2)
	defer cancel()
	return b.call(ctx, func(ctx context.Context) error {
		_, err := b.js.Publish(ctx, subject, []byte(time.Now().UTC().Format(time.RFC3339)), jetstream.WithRetryAttempts(0))
		return err
	})
}

// AliveOwners is the set of instances that are alive. Right after a restart of
// the server, which forgets them, it is ErrUnsettled until each had time to
// report.
func (b *Bus) AliveOwners(ctx context.Context) (map[string]bool, error) {
	facts, err := b.info(ctx)
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	s, err := b.stream(ctx, bucketStream(bucketOwners))
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	var info *jetstream.StreamInfo
	err = b.call(ctx, func(ctx context.Context) (err error) {
		info, err = s.Info(ctx, jetstream.WithSubjectFilter(bucketKey(bucketOwners, ">")))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	// Where the bucket is as old as the facts there was nobody to forget.
	if info.Created.Sub(facts.Created) > ownerTTL && info.TimeStamp.Sub(info.Created) < ownerTTL {
		return nil, fmt.Errorf("list owners: %w", ErrUnsettled)
	}
	alive := map[string]bool{}
	for subject := range info.State.Subjects {
		alive[strings.TrimPrefix(subject, bucketKey(bucketOwners, ""))] = true
	}
	return alive, nil
}
