// Package replay makes the read models anew from the log, beside those in use:
// to compare them, or to take their place. It calls no model and sends
// nothing, and what it is doing does not hold up what happens meanwhile.
package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
)

const everything = math.MaxUint64

// turns names the lock of whoever replays, and how far the log has been read.
const turns = "replay"

const (
	batchSize  = 10_000
	atOnce     = 4 // tenants whose rows are written at a time
	floorEvery = time.Second
	gcPercent  = 300
	turnEvery  = 200 * time.Millisecond
	closeUp    = 50 // times the rebuilding catches up with the read models in use before it gives up
)

// Options say what to replay, and what for.
type Options struct {
	Live   string        // name of the projection in use
	Tenant events.Tenant // 0: every tenant
	Caller string        // compare and swap this caller's rows only; needs Tenant
	AsOf   time.Time     // leave out what became true later; zero: nothing
	Swap   bool          // put the rebuilt rows in the place of those in use
	Refs   readmodel.Refs
	// Build tells one build of the program from another: what was begun by one
	// is not continued by another.
	Build string

	Progress func(Progress)                        // at most once a second, and at each new stage
	Found    func(events.Tenant, store.Difference) // each row that is not the same

	batch int // events at a time, of all tenants, and facts of a slice of callers; 0: as many as is good
}

// Progress is how far a replay has come.
type Progress struct {
	Stage  string // waiting, reading, folding, comparing, swapping
	Tenant events.Tenant
	Read   uint64 // of the stream
	To     uint64
	Events int64
	Began  time.Time
}

// Report is what came of it.
type Report struct {
	Events    int64         `json:"events"`
	Took      time.Duration `json:"took_ns"`
	Tenants   int           `json:"tenants"`
	Rows      int64         `json:"rows"`
	Different int64         `json:"different"`
	Swapped   bool          `json:"swapped"`
	Refused   int64         `json:"refused"` // callers left out, as the database does not take their rows
	Resumed   bool          `json:"resumed"` // it went on with what an earlier one had begun
}

type run struct {
	Options
	bus     *bus.Bus
	store   *store.Store
	models  readmodel.Models
	name    string
	created time.Time
	limit   map[events.Tenant]uint64 // sequence up to which the rows to compare with have come
	floorAt time.Time
	mu      sync.Mutex // of at, told, whole and report.Refused: tenants are written and folded beside each other
	whole   uint64     // nothing up to here was left out for a limit
	at      Progress
	told    time.Time
	report  Report
}

// Run replays. Stopped at any moment, it goes on where it was when it is run
// again with the same Options. Replays of one database take turns.
func Run(ctx context.Context, b *bus.Bus, s *store.Store, o Options) (Report, error) {
	models, err := readmodel.New(o.Refs)
	if err != nil {
		return Report{}, err
	}
	r := &run{Options: o, bus: b, store: s, models: models, limit: map[events.Tenant]uint64{}, at: Progress{Began: time.Now()}, whole: everything}
	switch {
	case o.Caller != "" && o.Tenant == 0:
		return Report{}, errors.New("replay: a caller is of a tenant: say which")
	case o.Swap && !o.AsOf.IsZero():
		return Report{}, errors.New("replay: rows as of another time cannot take the place of those in use")
	}
	// What is read is garbage soon after, and bounded by the batches; collecting
	// it as seldom as this halves what that costs.
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	r.name = "replay " + o.Build
	if !o.AsOf.IsZero() {
		r.name += " as of " + o.AsOf.UTC().Format(time.RFC3339Nano)
	}
	if r.created, err = b.StreamCreated(ctx); err != nil {
		return Report{}, err
	}
	ctx, release, err := r.turn(ctx)
	if err != nil {
		return Report{}, err
	}
	defer release()
	if err = r.run(ctx); err != nil && errors.Is(context.Cause(ctx), store.ErrUnavailable) {
		err = store.ErrUnavailable
	}
	r.report.Took = time.Since(r.at.Began)
	return r.report, err
}

// turn waits until no other replay has the rows beside those in use. The
// context returned ends when they are ours no more.
func (r *run) turn(ctx context.Context) (_ context.Context, release func(), err error) {
	for first := true; ; first = false {
		lost, unlock, ok, err := r.store.LockProjection(ctx, turns)
		switch {
		case err != nil:
			return nil, nil, err
		case ok:
			ours, stop := context.WithCancelCause(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				select {
				case <-lost:
					stop(store.ErrUnavailable)
				case <-ours.Done():
				}
			}()
			return ours, func() { stop(nil); <-done; unlock() }, nil
		case first:
			r.stage("waiting", 0)
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(turnEvery):
		}
	}
}

func (r *run) run(ctx context.Context) error {
	tenants, err := r.tenants(ctx)
	if err != nil {
		return err
	}
	r.report.Tenants = len(tenants)
	from, err := r.begin(ctx, tenants)
	if err != nil {
		return err
	}
	if r.at.To, err = r.bus.LastSeq(ctx); err != nil {
		return err
	}
	r.stage("reading", 0)
	if err := r.read(ctx, from, r.at.To, r.filters(r.Tenant), false); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, id := range tenants {
		g.Go(func() error {
			if err := r.fold(gctx, id); err != nil {
				return fmt.Errorf("fold callers of tenant %s: %w", id, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if r.Tenant == 0 { // from here on some have their rows beside, and some not any more
		if err := r.store.SetFloor(ctx, turns, 0, r.name); err != nil {
			return err
		}
	}
	for _, id := range tenants {
		if err := r.finish(ctx, id); err != nil {
			return fmt.Errorf("tenant %s: %w", id, err)
		}
	}
	return nil
}

func (r *run) tenants(ctx context.Context) ([]events.Tenant, error) {
	all, err := r.store.Tenants(ctx)
	if err != nil || r.Tenant == 0 {
		return all, err
	}
	for _, t := range all {
		if t == r.Tenant {
			return []events.Tenant{t}, nil
		}
	}
	return nil, fmt.Errorf("replay: customer %s: %w", r.Tenant, store.ErrNotFound)
}

// begin clears what another replay left, and finds where this one was stopped.
// How far the log has been read says something only while every tenant's rows
// are of the same replay: it is forgotten before any are cleared.
func (r *run) begin(ctx context.Context, tenants []events.Tenant) (from uint64, err error) {
	floor, of, err := r.store.Floor(ctx, turns)
	if err == nil && (r.Tenant != 0 || of != r.name) {
		floor, err = 0, r.store.SetFloor(ctx, turns, 0, r.name)
	}
	if err != nil {
		return 0, err
	}
	for _, id := range tenants {
		t, err := r.store.For(id)
		if err != nil {
			return 0, err
		}
		if err := t.ClearRebuilt(ctx, r.name); err != nil {
			return 0, err
		}
		at, err := t.Positions(ctx, r.Live, r.name)
		if err != nil {
			return 0, err
		}
		r.report.Resumed = r.report.Resumed || at.Rebuilt > 0
		if r.limit[id] = at.Live; r.Swap || !r.AsOf.IsZero() {
			r.limit[id] = everything
		}
		if r.Tenant != 0 {
			return at.Rebuilt + 1, nil
		}
	}
	if !r.report.Resumed && floor > 0 {
		floor, err = 0, r.store.SetFloor(ctx, turns, 0, r.name)
	}
	return floor + 1, err
}

func (r *run) filters(t events.Tenant) (out []string) {
	if t == 0 {
		return readmodel.Filters()
	}
	return readmodel.FiltersOf(t)
}

// read writes what the log says between two sequences. Profiles are folded
// with it, or all at once when everything has been read.
func (r *run) read(ctx context.Context, from, to uint64, filters []string, fold bool) error {
	return r.bus.Replay(ctx, from, to, filters, cmp.Or(r.batch, batchSize), func(ctx context.Context, batch []events.Event, read uint64) error {
		byTenant := map[events.Tenant][]events.Event{}
		for _, e := range batch {
			byTenant[e.Tenant] = append(byTenant[e.Tenant], e)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(atOnce)
		for id, all := range byTenant {
			g.Go(func() error {
				if err := r.write(gctx, id, all, fold); err != nil {
					return fmt.Errorf("rebuild tenant %s: %w", id, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		r.report.Events += int64(len(batch))
		r.mu.Lock()
		r.at.Read, r.at.Events = read, r.report.Events
		r.mu.Unlock()
		r.tell()
		// The floor is a lower bound: each tenant's position is what counts.
		if r.Tenant != 0 || fold || read < to && time.Since(r.floorAt) < floorEvery {
			return nil
		}
		r.floorAt = time.Now()
		return r.store.SetFloor(ctx, turns, min(read, r.whole), r.name)
	})
}

// write writes some events of a tenant, one by one where the database refuses
// one of them; which is left out, as it is when it happens.
func (r *run) write(ctx context.Context, id events.Tenant, all []events.Event, fold bool) error {
	t, err := r.store.For(id)
	if err != nil {
		return err
	}
	folds := func(all []events.Event) bool {
		// Whom nothing is left of is not among those who are folded in the end; an
		// earlier run may have folded them.
		return fold || slices.ContainsFunc(all, erases)
	}
	err = r.project(ctx, t, id, all, folds)
	if !errors.Is(err, store.ErrRefused) {
		return err
	}
	for _, e := range all {
		err := r.project(ctx, t, id, []events.Event{e}, folds)
		if errors.Is(err, store.ErrRefused) && !fold { // it may be who is folded, whose turn comes
			err = r.project(ctx, t, id, []events.Event{e}, func([]events.Event) bool { return false })
		}
		if err != nil && !errors.Is(err, store.ErrRefused) {
			return err
		}
	}
	return nil
}

func (r *run) project(ctx context.Context, t *store.Tenant, id events.Tenant, all []events.Event, folds func([]events.Event) bool) error {
	for len(all) > 0 && all[len(all)-1].Seq > r.limit[id] {
		r.leftOut(all[len(all)-1].Seq)
		all = all[:len(all)-1]
	}
	if len(all) == 0 {
		return nil
	}
	return t.Rebuild(ctx, r.name, r.created, func(p *store.Projection) error {
		last := all[len(all)-1]
		if last.Seq <= p.Applied {
			return nil
		}
		p.SetApplied(last.Seq, last.ID)
		var some []events.Event
		for _, e := range all {
			if e.Seq > p.Applied && (r.AsOf.IsZero() || !e.Time.After(r.AsOf)) {
				some = append(some, e)
			}
		}
		touched, err := r.models.Apply(p, some)
		if err != nil || !folds(some) {
			return err
		}
		return r.models.Fold(p, touched)
	})
}

func (r *run) leftOut(seq uint64) {
	r.mu.Lock()
	r.whole = min(r.whole, seq-1)
	r.mu.Unlock()
}

func erases(e events.Event) bool {
	switch e.Fact.(type) {
	case events.CallErased, events.CallerErased, events.SMSErased:
		return true
	}
	return false
}

// fold makes the rows of all callers.
func (r *run) fold(ctx context.Context, id events.Tenant) error {
	t, err := r.store.For(id)
	if err != nil {
		return err
	}
	r.stage("folding", id)
	after := ""
	for more := true; more; {
		last := after
		refused, err := readmodel.FoldNext(cmp.Or(r.batch, readmodel.FoldSlice), func(facts int, fold bool) error {
			return t.Rebuild(ctx, r.name, r.created, func(p *store.Projection) error {
				users, err := p.CallersAfter(after, facts)
				if err != nil {
					return err
				}
				if more = len(users) > 0; more {
					last = users[len(users)-1]
				} else {
					p.Refolded(nil)
				}
				if !fold {
					return nil
				}
				return r.models.Fold(p, users)
			})
		})
		if err != nil {
			return err
		}
		after = last
		r.refused(refused)
		r.tell()
	}
	return nil
}

// refused counts a caller whose rows the database does not take.
func (r *run) refused(so bool) {
	if so {
		r.mu.Lock()
		r.report.Refused++
		r.mu.Unlock()
	}
}

// finish compares or swaps one tenant's rows.
func (r *run) finish(ctx context.Context, id events.Tenant) error {
	t, err := r.store.For(id)
	if err != nil {
		return err
	}
	var shown int
	found := func(d store.Difference) {
		if shown++; shown <= maxFound && r.Found != nil {
			r.Found(id, d)
		}
	}
	if !r.Swap {
		r.stage("comparing", id)
		if err := r.compare(ctx, t, id, found); err != nil {
			return err
		}
		return t.ClearRebuilt(ctx, "")
	}
	r.stage("swapping", id)
	// Nearly all of what has been stated since is read before anything waits.
	if err := r.catchUp(ctx, t, id, 0); err != nil {
		return err
	}
	c, err := t.Swap(ctx, r.Live, r.name, r.Caller, func(ctx context.Context) error { return r.catchUp(ctx, t, id, 0) }, found)
	r.add(c)
	r.report.Swapped = err == nil
	return err
}

func (r *run) add(c store.Compared) {
	r.report.Rows += c.Rows
	r.report.Different += c.Different
}

// catchUp reads what has been stated of a tenant since, to a sequence (0: all).
func (r *run) catchUp(ctx context.Context, t *store.Tenant, id events.Tenant, to uint64) error {
	at, err := t.Positions(ctx, r.Live, r.name)
	if err != nil {
		return err
	}
	r.limit[id] = everything
	if err := r.read(ctx, at.Rebuilt+1, to, r.filters(id), true); err != nil {
		return err
	}
	if to > at.Rebuilt { // the last of it may have been erased since
		err = t.Rebuild(ctx, r.name, r.created, func(p *store.Projection) error {
			if p.Applied < to {
				p.SetApplied(to, "")
			}
			return nil
		})
	}
	// Among it may have been another template.
	for more := true; more && err == nil; {
		var refused bool
		more, refused, err = r.models.Refold(func(f func(*store.Projection) error) error { return t.Rebuild(ctx, r.name, r.created, f) })
		r.refused(refused)
	}
	return err
}

// compare waits for a moment at which both sets have come equally far: what
// goes on meanwhile moves them apart now and then.
func (r *run) compare(ctx context.Context, t *store.Tenant, id events.Tenant, found func(store.Difference)) error {
	for range closeUp {
		c, at, ok, err := t.Compare(ctx, r.Live, r.name, r.Caller, !r.AsOf.IsZero(), found)
		if err != nil {
			return err
		}
		if ok {
			r.add(c)
			return nil
		}
		if err := r.catchUp(ctx, t, id, at.Live); err != nil {
			return err
		}
	}
	return errors.New("so much is happening that there is no moment to compare at: try again, or swap")
}

// maxFound is how many differences of one tenant are kept to be shown; all are
// counted.
const maxFound = 1000

func (r *run) stage(name string, t events.Tenant) {
	r.mu.Lock()
	r.at.Stage, r.at.Tenant, r.told = name, t, time.Time{}
	r.mu.Unlock()
	r.tell()
}

func (r *run) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); r.Progress != nil && now.Sub(r.told) >= time.Second {
		r.told = now
		r.Progress(r.at)
	}
}
