// Package profiler folds events into the read models. One worker is active,
// the others stand by; each tenant's rows and how far the stream has been
// applied to them change in one transaction, so that dying at any moment
// neither loses nor repeats anything. It asks no model, reads no clock and
// draws no random number: same events, same rows.
package profiler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// projection names the read models; a second version of them would have
// another name.
const projection = "profiler"

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
	templates, err := store.Templates()
	if err != nil {
		return err
	}
	w := &worker{
		log: p.Log.Named("profiler"), store: p.Store, templates: map[string]events.Template{}, leaveOut: p.Bus.LeaveOut, holds: p.Bus.Holds,
		cutShort: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neurosphere_stream_cut_short_total", Help: "Positions in the stream of facts found to be of facts that it has lost.",
		}),
	}
	p.Metrics.MustRegister(w.cutShort)
	for _, t := range templates {
		w.templates[t.ID] = t
	}
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
	log       *zap.Logger
	store     *store.Store
	templates map[string]events.Template
	leaveOut  func(ctx context.Context, e events.Event, reason string) error
	holds     func(ctx context.Context, seq uint64, event string) (bool, error)
	cutShort  prometheus.Counter
	sound     map[events.Tenant]bool // whose rows' position is one of this stream
	created   time.Time              // of the stream
	floorAt   time.Time
}

// lead is the time during which this process is the active one.
func (w *worker) lead(ctx context.Context, p *app.Platform) error {
	lost, release, ok, err := w.store.LockProjection(ctx, projection)
	if err != nil || !ok {
		return err
	}
	defer release()
	if w.created, err = p.Bus.StreamCreated(ctx); err != nil {
		return err
	}
	w.sound = map[events.Tenant]bool{}
	floor, err := w.floor(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-lost:
			stop(errors.New("lost the lock"))
		case <-ctx.Done():
		}
	}()
	go w.publishSettings(ctx, p)
	w.log.Info("active", zap.Uint64("from", floor+1))
	return p.Bus.Follow(ctx, floor+1, filters(), w.apply)
}

// floor is where to go on reading. A stream that has lost what was read of it,
// as one restored from an older backup has, gives those sequences to other
// facts: it is read anew, and what is in the rows already is left as it is.
func (w *worker) floor(ctx context.Context) (uint64, error) {
	seq, event, err := w.store.Floor(ctx, projection)
	if err != nil || seq == 0 {
		return 0, err
	}
	if there, err := w.holds(ctx, seq, event); err != nil || there {
		return seq, err
	}
	w.report(seq)
	return 0, w.store.SetFloor(ctx, projection, 0, "")
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

func filters() (out []string) {
	for _, noun := range events.Nouns {
		out = append(out, "tenant.*."+noun+".*")
	}
	return out
}

// apply writes a batch, tenant by tenant.
func (w *worker) apply(ctx context.Context, batch []events.Event) error {
	byTenant := map[events.Tenant][]events.Event{}
	for _, e := range batch {
		byTenant[e.Tenant] = append(byTenant[e.Tenant], e)
	}
	for id, all := range byTenant {
		t, err := w.store.For(id)
		if err != nil {
			return err
		}
		err = w.write(ctx, t, all)
		if errors.Is(err, store.ErrRefused) {
			err = w.oneByOne(ctx, t, all)
		}
		if err != nil {
			return fmt.Errorf("project tenant %s: %w", id, err)
		}
		w.sound[id] = true
	}
	if time.Since(w.floorAt) > floorEvery {
		w.floorAt = time.Now()
		last := batch[len(batch)-1]
		return w.store.SetFloor(ctx, projection, last.Seq, last.ID)
	}
	return nil
}

func (w *worker) write(ctx context.Context, t *store.Tenant, all []events.Event) error {
	return t.Project(ctx, projection, w.created, func(p *store.Projection) error { return w.project(ctx, p, all) })
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
		err = t.Project(ctx, projection, w.created, func(p *store.Projection) error {
			_, err := p.Fresh([]string{e.ID}) // left out once is enough, should the stream be read anew
			p.SetApplied(e.Seq, e.ID)
			return err
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
	ids := make([]string, 0, len(all))
	for _, e := range all {
		ids = append(ids, e.ID)
	}
	fresh, err := p.Fresh(ids)
	if err != nil {
		return err
	}
	var touched []string
	for _, e := range all {
		if !fresh[e.ID] {
			continue
		}
		fresh[e.ID] = false // stored twice in one batch
		caller, err := w.one(p, e)
		if err != nil {
			return err
		}
		if caller != "" && !slices.Contains(touched, caller) {
			touched = append(touched, caller)
		}
	}
	for _, caller := range touched {
		if err := w.refold(p, caller); err != nil {
			return err
		}
	}
	last := all[len(all)-1]
	p.SetApplied(last.Seq, last.ID)
	return nil
}

// soundly reports whether the position of a tenant's rows tells which events
// are in them. In a stream that was cut short it does not, and only the ids of
// the events do. Asked once for as long as this process leads: Follow ends when
// the stream is cut short meanwhile.
func (w *worker) soundly(ctx context.Context, p *store.Projection, t events.Tenant) (bool, error) {
	if p.Applied == 0 || w.sound[t] {
		return true, nil
	}
	there, err := w.holds(ctx, p.Applied, p.Event)
	if err == nil && !there {
		w.report(p.Applied)
	}
	return there, err
}

func (w *worker) report(read uint64) {
	w.cutShort.Inc()
	w.log.Error("the stream of facts has lost its end: rows were made of more than it holds, and what it says now is added to them; was it restored from a backup?",
		zap.Uint64("read", read))
}

// one writes what one event says, and names the caller whose profile it
// changes.
func (w *worker) one(p *store.Projection, e events.Event) (caller string, err error) {
	at := e.Time
	switch f := e.Fact.(type) {
	case events.CallReceived:
		p.Received(e, f)
	case events.CallAnswered:
		p.Answered(e)
	case events.TurnHeard:
		p.Turn(e, events.RoleCaller, f.Turn, f.Text, false, "")
	case events.TurnSpoken:
		p.Turn(e, events.RoleAgent, f.Turn, f.Text, f.Cut, f.Way)
	case events.MessageTaken:
		p.MessageTaken(e, f)
	case events.CallEnded:
		p.Ended(e, f)
	case events.CallSummarized:
		if events.Identified(f.Caller) {
			caller = f.Caller
		}
		return caller, p.Summarized(e, f, variables(f))
	case events.LeadStaged:
		p.Staged(e, f)
		return f.Caller, nil
	case events.SMSRequested:
		p.Text(store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, Body: f.Body, Requested: &at, Seq: e.Seq})
	case events.SMSSent:
		p.Text(store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, SID: f.SID, Sent: &at, Seq: e.Seq})
	case events.SMSDelivered:
		p.Text(store.TextChange{Message: f.Message, SID: f.SID, Delivered: &at, Seq: e.Seq})
	case events.SMSFailed:
		p.Text(store.TextChange{Message: f.Message, SID: f.SID, Code: f.Code, Failed: &at, Seq: e.Seq})
	case events.SMSOptedOut:
		p.OptOut(e, f.Number, true)
	case events.SMSOptedIn:
		p.OptOut(e, f.Number, false)
	}
	return "", nil
}

func variables(f events.CallSummarized) map[string]string {
	out := map[string]string{}
	for _, v := range f.Findings {
		out[v.Field] = v.Value
	}
	return out
}

// refold makes a caller's rows anew from everything calls and people said.
func (w *worker) refold(p *store.Projection, user string) error {
	rows, moves, err := p.CallerFacts(user)
	if err != nil || len(rows) == 0 {
		return err
	}
	var seq uint64
	calls := make([]profile.Call, 0, len(rows))
	for _, r := range rows {
		calls = append(calls, profile.Call{ID: r.Call, Fact: r.Fact})
		seq = max(seq, r.Seq)
	}
	steps := make([]profile.Move, 0, len(moves))
	for _, m := range moves {
		steps = append(steps, profile.Move{Event: m.Event, Stage: m.Stage, By: m.By, Reason: m.Reason, At: m.At})
	}
	c := profile.Fold(profile.Input{Calls: calls, Moves: steps, Template: func(id string) (events.Template, bool) { t, ok := w.templates[id]; return t, ok }})
	out, err := callerRows(user, c, seq)
	if err != nil {
		return err
	}
	p.SaveCaller(out)
	return nil
}

func callerRows(user string, c profile.Caller, seq uint64) (out store.CallerRows, err error) {
	raw, sha := c.JSON()
	out.Profile = store.ProfileRow{
		User: user, Name: c.Name, Template: c.Template, QuickBio: c.QuickBio, SHA: sha, Profile: raw,
		First: c.First, Last: c.Last, Calls: c.Calls, Seq: seq,
	}
	for _, m := range c.Memories {
		out.Memories = append(out.Memories, store.MemoryRow{
			ID: m.ID, Type: "fact", Key: m.Key, Value: m.Value, Content: m.Value, Call: m.Call, Evidence: m.Evidence,
			Subject: m.Subject, Origin: "call", Turn: m.Turn, At: m.At, Seq: seq,
		})
	}
	for _, m := range c.Metrics {
		out.Metrics = append(out.Metrics, store.MetricRow{Call: m.Call, Metric: m.Metric, Micros: m.Micros})
	}
	for _, a := range c.Averages {
		out.Averages = append(out.Averages, store.AverageRow{Metric: a.Metric, N: a.N, Sum: a.Sum, Min: a.Min, Max: a.Max})
	}
	history, err := json.Marshal(c.Lead)
	if err != nil {
		return out, err
	}
	if len(c.Lead) > 0 {
		last := c.Lead[len(c.Lead)-1]
		out.Lead = store.LeadRow{Stage: last.Stage, Since: last.At, First: c.First, History: history, Seq: seq}
	}
	return out, nil
}
