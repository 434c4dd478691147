package settings

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// Directory is every tenant's settings in memory, so that answering a call
// asks nobody. It is kept up to date by Watch.
type Directory struct {
	log   *zap.Logger
	ready chan struct{}

	mu       sync.RWMutex
	byID     map[events.Tenant]events.Settings
	byNumber map[string]events.Tenant // 0: claimed by more than one
	isReady  bool
}

// NewDirectory is empty.
func NewDirectory(log *zap.Logger) *Directory {
	return &Directory{log: log, ready: make(chan struct{}), byID: map[events.Tenant]events.Settings{}, byNumber: map[string]events.Tenant{}}
}

// Watcher is the bus as a directory needs it.
type Watcher interface {
	WatchSettings(ctx context.Context, changed func(s events.Settings, deleted bool), ready func()) error
}

// Watch follows the bus until ctx ends or the watch breaks; then call it again.
func (d *Directory) Watch(ctx context.Context, b Watcher) error {
	return b.WatchSettings(ctx, d.Apply, d.setReady)
}

func (d *Directory) setReady() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.isReady {
		d.isReady = true
		close(d.ready)
	}
}

// Ready reports whether every tenant there was has been seen.
func (d *Directory) Ready() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.isReady
}

// WaitReady waits for it.
func (d *Directory) WaitReady(ctx context.Context) error {
	select {
	case <-d.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Apply takes a tenant's settings in, or out. An older version than the one
// held changes nothing.
func (d *Directory) Apply(s events.Settings, deleted bool) {
	if !s.Tenant.Valid() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if have, ok := d.byID[s.Tenant]; ok && !deleted && have.Version > s.Version {
		return
	}
	if deleted {
		delete(d.byID, s.Tenant)
	} else {
		d.byID[s.Tenant] = s
	}
	clear(d.byNumber)
	for id, t := range d.byID {
		for _, n := range t.Numbers {
			if other, taken := d.byNumber[n]; taken && other != id {
				// Whose call it is cannot be told: nobody's.
				d.byNumber[n] = 0
				d.log.Error("number claimed twice", zap.String("tenant", id.String()), zap.String("other", other.String()))
				continue
			}
			d.byNumber[n] = id
		}
	}
}

// ByNumber is the tenant a called number belongs to, active or not.
func (d *Directory) ByNumber(e164 string) (events.Settings, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, ok := d.byID[d.byNumber[e164]]
	return s, ok
}

// ByID is a tenant's settings.
func (d *Directory) ByID(t events.Tenant) (events.Settings, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, ok := d.byID[t]
	return s, ok
}
