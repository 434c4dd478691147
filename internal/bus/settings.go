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

// PutSettings makes s what everybody who watches settings sees of its tenant.
// A version as high as s's or higher that is there already stays; that is no
// error.
func (b *Bus) PutSettings(ctx context.Context, s events.Settings) error {
	if !s.Tenant.Valid() {
		return fmt.Errorf("put settings: %w", events.ErrNoTenant)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("put settings of tenant %s: %w", s.Tenant, err)
	}
	key := s.Tenant.String()
	for {
		k, err := b.lookUp(ctx, bucketSettings, key)
		if err != nil {
			return fmt.Errorf("put settings of tenant %s: %w", s.Tenant, err)
		}
		var have events.Settings
		if k.exists() && json.Unmarshal(k.value, &have) == nil && have.Version >= s.Version {
			return nil
		}
		err = b.swap(ctx, &nats.Msg{Subject: bucketKey(bucketSettings, key), Data: data}, k.rev, 0)
		if err == nil {
			return nil
		} else if !errors.Is(err, errRaced) {
			return fmt.Errorf("put settings of tenant %s: %w", s.Tenant, err)
		}
	}
}

// SettingsVersions is which version of each tenant's settings there is.
func (b *Bus) SettingsVersions(ctx context.Context) (map[events.Tenant]int64, error) {
	out := map[events.Tenant]int64{}
	err := b.list(ctx, bucketSettings, func(key string, value []byte) {
		var s events.Settings
		if json.Unmarshal(value, &s) == nil && s.Tenant.String() == key { // else as if there were none
			out[s.Tenant] = s.Version
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list settings: %w", err)
	}
	return out, nil
}

// DeleteSettings makes a tenant unknown to everybody who watches settings.
func (b *Bus) DeleteSettings(ctx context.Context, t events.Tenant) error {
	if !t.Valid() {
		return fmt.Errorf("delete settings: %w", events.ErrNoTenant)
	}
	err := b.call(ctx, func(ctx context.Context) error {
		_, err := b.js.PublishMsg(ctx, deletion(bucketSettings, t.String(), nil))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete settings of tenant %s: %w", t, err)
	}
	return nil
}

// WatchSettings calls changed for the settings of every tenant there is, then
// ready, once, then changed for each that changes, until ctx ends; then it
// returns nil. Of settings that were deleted only the tenant is given. After
// an outage every tenant comes again, changed or not; a version lower than one
// seen before never comes. The functions are called one at a time.
func (b *Bus) WatchSettings(ctx context.Context, changed func(s events.Settings, deleted bool), ready func()) error {
	w := &settingsWatch{bus: b, changed: changed, ready: ready, seen: map[events.Tenant]int64{}}
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		if err := w.run(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("watching settings interrupted", zap.Error(err))
		}
		if time.Since(began) > pullExpiry {
			try = 0
		}
		b.pause(ctx, jitter(doubled(20*time.Millisecond, 2*time.Second, try)))
	}
	return nil
}

type settingsWatch struct {
	bus     *Bus
	changed func(events.Settings, bool)
	ready   func() // nil once called
	seen    map[events.Tenant]int64
}

func (w *settingsWatch) run(ctx context.Context) error {
	r, err := w.bus.newReader(ctx, bucketStream(bucketSettings), jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: bucketKey(bucketSettings, ">"),
	})
	if err != nil {
		return err
	}
	defer r.close()
	for ctx.Err() == nil {
		w.caughtUp(r)
		p, err := r.pull(batchSize)
		if err != nil {
			return err
		}
		for {
			m, _, more := p.next(ctx, nil)
			if !more {
				break
			}
			if err := r.accept(m); err != nil {
				return errors.Join(err, p.end())
			}
			w.take(m)
			w.caughtUp(r)
		}
		if err := p.end(); err != nil {
			return err
		}
	}
	return nil
}

func (w *settingsWatch) caughtUp(r *reader) {
	if r.left == 0 && w.ready != nil {
		w.ready()
		w.ready = nil
	}
}

func (w *settingsWatch) take(m incoming) {
	key := strings.TrimPrefix(m.Subject, bucketKey(bucketSettings, ""))
	if key == fillerKey {
		return
	}
	t, err := events.ParseTenant(key)
	if err != nil {
		w.bus.log.Error("settings of no tenant", zap.String("key", m.Subject))
		return
	}
	if isDeletion(m.Header) {
		delete(w.seen, t)
		w.changed(events.Settings{Tenant: t}, true)
		return
	}
	var s events.Settings
	if err := json.Unmarshal(m.Data, &s); err != nil || s.Tenant != t {
		w.bus.log.Error("settings are malformed", zap.Stringer("tenant", t))
		return
	}
	if s.Version < w.seen[t] {
		return
	}
	w.seen[t] = s.Version
	w.changed(s, false)
}
