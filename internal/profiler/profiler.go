// Package profiler folds events into the read models. One worker is active,
// the others stand by; each tenant's rows and how far the stream has been
// applied to them change in one transaction, so that dying at any moment
// neither loses nor repeats anything. It asks no model, reads no clock and
// draws no random number: same events, same rows.
package profiler

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// Projection names the read models.
const Projection = readmodel.Projection

const (
	standBy      = 2 * time.Second
	publishEvery = time.Second
	restoreEvery = time.Minute
	floorEvery   = 5 * time.Second
)

// Run follows the stream whenever this process holds the lock.
func Run(ctx context.Context, p *app.Platform) error {
	if p.Store == nil {
		return app.Wrong(errors.New("profiler: DATABASE_URL is needed"))
	}
	models, err := readmodel.New(p.Vault.Callers)
	if err != nil {
		return err
	}
	w := &worker{
		log: p.Log.Named("profiler"), store: p.Store, models: models, leaveOut: p.Bus.LeaveOut, holds: p.Bus.Holds,
		patience: patience,
		cutShort: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neurosphere_stream_cut_short_total", Help: "Positions in the stream of facts found to be of facts that it has lost.",
		}),
	}
	p.Metrics.MustRegister(w.cutShort)
	p.Ready("profiler")
	for ctx.Err() == nil {
		if err := w.lead(ctx, p); err != nil && ctx.Err() == nil {
			if errors.Is(err, store.ErrRecreated) || errors.Is(err, store.ErrUnsafe) {
				return err
			}
			w.log.Warn("projection interrupted", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(standBy):
		}
	}
	return nil
}

type worker struct {
	log      *zap.Logger
	store    *store.Store
	models   readmodel.Models
	leaveOut func(ctx context.Context, e events.Event, reason string) error
	holds    func(ctx context.Context, seq uint64, event string) (bool, error)
	cutShort prometheus.Counter
	replay   func(ctx context.Context, from, to uint64, filters []string, size int, handle func(context.Context, []events.Event, uint64) error) error
	created  time.Time // of the stream
	floorAt  time.Time
	refolds  chan events.Tenant // whose template may have changed
	asked    asked
	removing sync.Mutex // one at a time removes what is to be forgotten

	patience time.Duration            // how long others wait for one tenant
	besides  sync.WaitGroup           // of those written aside
	fail     func(error)              // ends leading
	mu       sync.Mutex               // of what follows
	sound    map[events.Tenant]bool   // whose rows' position is one of this stream
	aside    map[events.Tenant]uint64 // sequence up to which a tenant's facts have come that is written aside
}

// lead is the time during which this process is the active one.
func (w *worker) lead(ctx context.Context, p *app.Platform) error {
	lost, release, ok, err := w.store.LockProjection(ctx, Projection)
	if err != nil || !ok {
		return err
	}
	defer release()
	if w.created, err = p.Bus.StreamCreated(ctx); err != nil {
		return err
	}
	w.sound, w.aside, w.replay = map[events.Tenant]bool{}, map[events.Tenant]uint64{}, p.Bus.Replay
	floor, err := w.floor(ctx)
	if err != nil {
		return err
	}
	var beside sync.WaitGroup // what ends with us, and before another begins
	defer beside.Wait()
	defer w.besides.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w.fail = stop
	beside.Go(func() {
		select {
		case <-lost:
			stop(errors.New("lost the lock"))
		case <-ctx.Done():
		}
	})
	w.refolds = make(chan events.Tenant, 1024)
	w.asked = asked{bell: make(chan struct{}, 1)}
	beside.Go(func() { w.refold(ctx) })
	beside.Go(func() { w.publishSettings(ctx, p) })
	beside.Go(func() { w.forget(ctx, p) })
	beside.Go(func() { w.erase(ctx, p) })
	w.log.Info("active", zap.Uint64("from", floor+1))
	filters := append(readmodel.Filters(), events.Filter(events.ErasureRequested{}.Name()))
	err = p.Bus.Follow(ctx, floor+1, filters, w.apply)
	return cmp.Or(err, context.Cause(ctx))
}

// floor is where to go on reading. A stream that has lost what was read of it,
// as one restored from an older backup has, gives those sequences to other
// facts: it is read anew, and what is in the rows already is left as it is.
func (w *worker) floor(ctx context.Context) (uint64, error) {
	seq, event, err := w.store.Floor(ctx, Projection)
	if err != nil || seq == 0 {
		return 0, err
	}
	if there, err := w.holds(ctx, seq, event); err != nil || there {
		return seq, err
	}
	w.report(seq)
	return 0, w.store.SetFloor(ctx, Projection, 0, "")
}

// publishSettings brings changes of settings to the bus that whoever made them
// could not, and from time to time all that the bus may have lost.
func (w *worker) publishSettings(ctx context.Context, p *app.Platform) {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	var restored time.Time
	for {
		err := settings.Publish(ctx, p.Store, p.Bus)
		if err == nil && time.Since(restored) > restoreEvery {
			var lost int
			if lost, err = settings.Restore(ctx, p.Store, p.Bus); err == nil {
				restored = time.Now()
			}
			if lost > 0 {
				w.log.Warn("settings the bus had lost are back", zap.Int("customers", lost))
			}
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrUnavailable) {
			w.log.Warn("settings wait to be published", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// refold brings the profiles of tenants whose template has changed to the new
// one, a few callers at a time, beside the events that come meanwhile.
func (w *worker) refold(ctx context.Context) {
	tenants, err := w.store.ListCustomers(ctx)
	if err != nil && ctx.Err() == nil {
		w.log.Warn("unfinished changes of templates are not looked for", zap.Error(err))
	}
	for _, s := range tenants {
		w.refoldTenant(ctx, s.Tenant)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-w.refolds:
			w.refoldTenant(ctx, t)
		}
	}
}

func (w *worker) refoldTenant(ctx context.Context, id events.Tenant) {
	if w.isAside(id) { // named again when it is no more
		return
	}
	t, err := w.store.For(id)
	for more := err == nil; more && ctx.Err() == nil; {
		var refused bool
		more, refused, err = w.models.Refold(func(f func(*store.Projection) error) error { return t.Project(ctx, Projection, w.created, f) })
		if refused {
			w.log.Error("a profile stays as it was: the database refuses the one the new template makes", zap.Stringer("tenant", id))
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("profiles wait for their new template", zap.Stringer("tenant", id), zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(standBy):
			}
			more = true
		}
	}
}

// apply writes a batch, tenant by tenant.
func (w *worker) apply(ctx context.Context, batch []events.Event) error {
	byTenant := map[events.Tenant][]events.Event{}
	for _, e := range batch {
		byTenant[e.Tenant] = append(byTenant[e.Tenant], e)
	}
	for id, all := range byTenant {
		if err := w.tenant(ctx, id, all); err != nil {
			return err
		}
	}
	for _, e := range batch {
		switch e.Fact.(type) {
		case events.SettingsChanged:
			select {
			case w.refolds <- e.Tenant:
			case <-ctx.Done():
			}
		case events.ErasureRequested:
			w.asked.add(e.Tenant)
		}
	}
	if time.Since(w.floorAt) > floorEvery && !w.anyAside() {
		w.floorAt = time.Now()
		last := batch[len(batch)-1]
		return w.store.SetFloor(ctx, Projection, last.Seq, last.ID)
	}
	return nil
}

func (w *worker) write(ctx context.Context, t *store.Tenant, all []events.Event) error {
	return t.Project(ctx, Projection, w.created, func(p *store.Projection) error { return w.project(ctx, p, all) })
}

// oneByOne finds the events of a batch whose rows the database will never
// take, and leaves out those: nobody else's facts wait for them.
func (w *worker) oneByOne(ctx context.Context, t *store.Tenant, all []events.Event) error {
	for _, e := range all {
		err := w.write(ctx, t, []events.Event{e})
		if !errors.Is(err, store.ErrRefused) {
			if err != nil {
				return err
			}
			continue
		}
		if err := w.leaveOut(ctx, e, err.Error()); err != nil {
			return err
		}
		err = t.Project(ctx, Projection, w.created, func(p *store.Projection) error {
			p.SetApplied(e.Seq, e.ID)
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrRefused) { // of a tenant that does not exist: no row to note it in
			return err
		}
	}
	return nil
}

// project writes one tenant's events, in the order of the stream.
func (w *worker) project(ctx context.Context, p *store.Projection, all []events.Event) error {
	sound, err := w.soundly(ctx, p, all[0].Tenant)
	if err != nil {
		return err
	}
	if sound {
		all = slices.DeleteFunc(all, func(e events.Event) bool { return e.Seq <= p.Applied })
	}
	if len(all) == 0 {
		return nil
	}
	touched, err := w.models.Apply(p, all)
	if err != nil {
		return err
	}
	last := all[len(all)-1]
	p.SetApplied(last.Seq, last.ID)
	return w.models.Fold(p, touched)
}

// soundly reports whether the position of a tenant's rows tells which events
// are in them. In a stream that was cut short it does not, and all it holds is
// applied once more. Asked once for as long as this process leads: Follow ends
// when the stream is cut short meanwhile.
func (w *worker) soundly(ctx context.Context, p *store.Projection, t events.Tenant) (bool, error) {
	w.mu.Lock()
	sound := w.sound[t]
	w.mu.Unlock()
	if p.Applied == 0 || sound {
		return true, nil
	}
	there, err := w.holds(ctx, p.Applied, p.Event)
	if err == nil && !there {
		w.report(p.Applied)
	}
	return there, err
}

func (w *worker) soundIs(t events.Tenant, sound bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sound[t] = sound
}

func (w *worker) report(read uint64) {
	w.cutShort.Inc()
	w.log.Error("the stream of facts has lost its end: rows were made of more than it holds, and what it says now is added to them; was it restored from a backup?",
		zap.Uint64("read", read))
}
