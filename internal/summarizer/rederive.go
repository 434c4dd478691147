package summarizer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/settings"
)

// RederiveOptions say which past calls to derive once more, and by what.
type RederiveOptions struct {
	Tenant events.Tenant
	Run    string // names what is derived, to compare, adopt and go on with; empty: made of prompt and model
	Prompt string // in the place of the summarizer's own; empty: that one
	Model  string // empty: that of the configuration
	Calls  []string
	Caller string    // E.164; empty: whoever called
	Since  time.Time // of the calls' beginning; zero: no limit
	Until  time.Time // likewise

	PriceIn, PriceOut float64                    // dollars for a million tokens; 0: not known
	Parallel          int                        // calls at a time; default 4
	Progress          func(done, of int)         // may be nil
	Failed            func(call string, _ error) // each call that could not be derived; may be nil
}

// Rederivation is one run of deriving past calls once more. Nothing is made of
// what it states until it is adopted.
type Rederivation struct {
	o      RederiveOptions
	p      *app.Platform
	worker *worker
	calls  map[string]*pastCall
}

// pastCall is what the log says of a call, as far as a run needs it.
type pastCall struct {
	ended      events.Event
	erased     bool
	told       bool // there is a summary
	revision   int  // of the newest
	in, out    int  // tokens it took
	derived    bool // in this run
	newest, is *events.Event
}

// Plan is what a run would do.
type Plan struct {
	Run       string  `json:"run"`
	Calls     int     `json:"calls"`      // to be derived
	Done      int     `json:"done"`       // derived before, in this run
	TokensIn  int64   `json:"tokens_in"`  // estimated, by what the calls took before
	TokensOut int64   `json:"tokens_out"` // likewise
	Guessed   int     `json:"guessed"`    // calls of which that is not known: taken for average ones
	Dollars   float64 `json:"dollars"`    // estimated; 0 where prices are not known
}

// Derived is what a run has done.
type Derived struct {
	Run       string  `json:"run"`
	Calls     int     `json:"calls"`  // derived
	Asked     int     `json:"asked"`  // of them, the model was asked about; of the others its answer was kept
	Failed    int     `json:"failed"` // the same command tries them again
	TokensIn  int64   `json:"tokens_in"`
	TokensOut int64   `json:"tokens_out"`
	Dollars   float64 `json:"dollars"`
}

// Rederive reads what there is to derive from. It asks no model.
func Rederive(ctx context.Context, p *app.Platform, o RederiveOptions) (*Rederivation, error) {
	r, err := openRun(p, o)
	if err != nil {
		return nil, err
	}
	s, err := p.Store.Settings(ctx, o.Tenant)
	if err != nil {
		return nil, err
	}
	dir := settings.NewDirectory(p.Log)
	dir.Apply(s, false)
	client := openai.Open(openai.Options{APIKey: p.Config.OpenAIKey, BaseURL: p.Config.OpenAIBaseURL, Model: cmp.Or(o.Model, p.Config.OpenAIModel)})
	r.worker = newWorker(p, dir, client.JSON)
	r.worker.log, r.worker.past, r.worker.prompt = zap.NewNop(), true, cmp.Or(o.Prompt, instructions)
	if o.Model != "" || o.Prompt != "" {
		// The summarizer's own question, when nothing else is asked, may have an
		// answer that is kept; whatever model gave it.
		r.worker.by = cmp.Or(o.Model, p.Config.OpenAIModel)
	}
	if r.o.Run == "" {
		r.o.Run = sha(r.worker.prompt + "\n" + r.worker.by)[:8]
	}
	return r, r.read(ctx, func(c string, f events.CallEnded) bool { return r.chosen(c, f) }, false)
}

// OpenRun reads what a run has derived, to compare, adopt or discard it.
func OpenRun(ctx context.Context, p *app.Platform, o RederiveOptions) (*Rederivation, error) {
	r, err := openRun(p, o)
	if err != nil {
		return nil, err
	}
	if o.Run == "" {
		return nil, errors.New("rederive: which run?")
	}
	ours := map[string]bool{}
	err = r.replay(ctx, func(e events.Event) {
		if f, ok := e.Fact.(events.CallRederived); ok && f.Run == o.Run && (len(o.Calls) == 0 || slices.Contains(o.Calls, e.Call)) {
			ours[e.Call] = true
		}
	}, events.CallRederived{})
	if err != nil {
		return nil, err
	}
	return r, r.read(ctx, func(c string, _ events.CallEnded) bool { return ours[c] }, true)
}

// RunName reports whether a run may have this name; empty is for one to be made.
func RunName(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" && len(s) <= 64
}

func openRun(p *app.Platform, o RederiveOptions) (*Rederivation, error) {
	if !o.Tenant.Valid() {
		return nil, events.ErrNoTenant
	}
	if !RunName(o.Run) {
		return nil, errors.New("rederive: a run's name is of letters, digits, - _ and ., at most 64")
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	return &Rederivation{o: o, p: p, calls: map[string]*pastCall{}}, nil
}

// chosen reports whether a call is one of those asked for that a model can say
// something about.
func (r *Rederivation) chosen(call string, f events.CallEnded) bool {
	o := r.o
	return f.Turns > 0 && f.Via != events.ViaImport && (len(o.Calls) == 0 || slices.Contains(o.Calls, call)) && (o.Caller == "" || o.Caller == f.From) &&
		(o.Since.IsZero() || !f.StartedAt.Before(o.Since)) && (o.Until.IsZero() || f.StartedAt.Before(o.Until))
}

const readBatch = 1000

func (r *Rederivation) replay(ctx context.Context, each func(events.Event), facts ...events.Fact) error {
	var filters []string
	for _, f := range facts {
		filters = append(filters, events.Subject(r.o.Tenant, f.Name()))
	}
	return r.p.Bus.Replay(ctx, 1, 0, filters, readBatch, func(_ context.Context, batch []events.Event, _ uint64) error {
		for _, e := range batch {
			each(e)
		}
		return nil
	})
}

// read goes through what the log says of calls. whole keeps what is to be
// compared; a plan needs none of it.
func (r *Rederivation) read(ctx context.Context, wanted func(string, events.CallEnded) bool, whole bool) error {
	return r.replay(ctx, func(e events.Event) {
		if f, ok := e.Fact.(events.CallEnded); ok && r.calls[e.Call] == nil && wanted(e.Call, f) {
			r.calls[e.Call] = &pastCall{ended: e}
		}
		if f, ok := e.Fact.(events.CallerErased); ok {
			for _, c := range f.Calls {
				delete(r.calls, c)
			}
		}
		c := r.calls[e.Call]
		if c == nil {
			return
		}
		switch f := e.Fact.(type) {
		case events.CallErased:
			c.erased = true
		case events.CallSummarized:
			if c.told && f.Revision <= c.revision {
				return
			}
			c.told, c.revision, c.in, c.out = true, f.Revision, f.Producer.TokensIn, f.Producer.TokensOut
			if whole {
				c.newest = &e
			}
		case events.CallRederived:
			if f.Run == r.o.Run {
				c.derived = true
				if whole {
					c.is = &e
				}
			}
		}
	}, events.CallEnded{}, events.CallSummarized{}, events.CallRederived{}, events.CallErased{}, events.CallerErased{})
}

// pending are the calls to derive, oldest first. One the summarizer has not
// told of yet is its own to tell of, unless it came with a tenant that moved.
func (r *Rederivation) pending() (ids []string) {
	for id, c := range r.calls {
		if !c.erased && !c.derived && (c.told || c.ended.History) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(r.calls[a].ended.Seq, r.calls[b].ended.Seq) })
	return ids
}

// Plan is what Derive would do, and what it would cost. Calls whose answer is
// kept cost nothing, which is not known before.
func (r *Rederivation) Plan() Plan {
	p := Plan{Run: r.o.Run}
	var in, out, known int64
	for _, c := range r.calls {
		if c.derived {
			p.Done++
		}
		if c.in > 0 {
			in, out, known = in+int64(c.in), out+int64(c.out), known+1
		}
	}
	for _, id := range r.pending() {
		p.Calls++
		c := r.calls[id]
		if c.in > 0 {
			p.TokensIn, p.TokensOut = p.TokensIn+int64(c.in), p.TokensOut+int64(c.out)
			continue
		}
		p.Guessed++
		if known > 0 {
			p.TokensIn, p.TokensOut = p.TokensIn+in/known, p.TokensOut+out/known
		}
	}
	p.Dollars = float64(r.micros(p.TokensIn, p.TokensOut)) / 1e6
	return p
}

// micros is what tokens cost, in millionths of a dollar.
func (r *Rederivation) micros(in, out int64) int64 {
	return int64(float64(in)*r.o.PriceIn + float64(out)*r.o.PriceOut)
}

// Derive derives what the plan says and states it. A call that fails is told,
// and the others go on; run again, it goes on with what is left, and what was
// paid for is not paid for again.
func (r *Rederivation) Derive(ctx context.Context) (d Derived, err error) {
	d.Run = r.o.Run
	ids := r.pending()
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.Parallel)
	for _, id := range ids {
		g.Go(func() error {
			f, asked, err := r.derive(gctx, r.calls[id])
			if gctx.Err() != nil {
				return gctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				d.Failed++
				if r.o.Failed != nil {
					r.o.Failed(id, err)
				}
			} else {
				d.Calls++
			}
			if err == nil && asked {
				d.Asked++
				d.TokensIn, d.TokensOut = d.TokensIn+int64(f.Producer.TokensIn), d.TokensOut+int64(f.Producer.TokensOut)
			}
			if r.o.Progress != nil {
				r.o.Progress(d.Calls+d.Failed, len(ids))
			}
			return nil
		})
	}
	err = g.Wait()
	d.Dollars = float64(r.micros(d.TokensIn, d.TokensOut)) / 1e6
	return d, err
}

// derive takes the summarizer's own way, up to what it would publish.
func (r *Rederivation) derive(ctx context.Context, c *pastCall) (sum events.CallSummarized, asked bool, err error) {
	w := *r.worker
	w.model = func(ctx context.Context, system, user, name string, schema json.RawMessage) (openai.Result, error) {
		asked = true
		return r.worker.model(ctx, system, user, name, schema)
	}
	w.publish = func(ctx context.Context, e events.Event) (uint64, error) {
		sum = e.Fact.(events.CallSummarized)
		sum.Revision = c.revision + 1
		f := events.CallRederived{Run: r.o.Run, Summarized: sum}
		if asked {
			f.CostMicros = r.micros(int64(sum.Producer.TokensIn), int64(sum.Producer.TokensOut))
		}
		out := events.New(e.Tenant, e.Call, time.Now(), f)
		out.Cause, out.History = e.Cause, true // nobody acts on it
		return r.p.Bus.Publish(ctx, out)
	}
	e := c.ended
	e.Delivery = 1
	return sum, asked, w.callEnded(ctx, e, e.Fact.(events.CallEnded))
}

// Change is one thing that a run says otherwise. Without Was it is new, without
// Is it is gone.
type Change struct {
	Subject string `json:"subject,omitempty"`
	Field   string `json:"field"`
	Was     string `json:"was,omitempty"`
	Is      string `json:"is,omitempty"`
}

// CallDiff is what adopting a run would change of one call.
type CallDiff struct {
	Call     string   `json:"call_id"`
	Revision int      `json:"revision"`
	State    string   `json:"state"` // open, adopted, outdated
	Changes  []Change `json:"changes"`
	Model    string   `json:"model"`
	Micros   int64    `json:"cost_micros"`
}

// States of a call in a run.
const (
	RunOpen     = "open"
	RunAdopted  = "adopted"
	RunOutdated = "outdated" // a newer revision has been adopted since
)

func (r *Rederivation) state(c *pastCall) string {
	f := c.is.Fact.(events.CallRederived).Summarized
	switch {
	case !c.told && f.Revision == 1, c.told && f.Revision == c.revision+1:
		return RunOpen
	case c.newest != nil && c.newest.Cause == c.is.ID:
		return RunAdopted
	}
	return RunOutdated
}

// inRun are the calls the run has derived, oldest first.
func (r *Rederivation) inRun() []string {
	ids := slices.Collect(maps.Keys(r.calls))
	ids = slices.DeleteFunc(ids, func(id string) bool { return r.calls[id].is == nil || r.calls[id].erased })
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(r.calls[a].ended.Seq, r.calls[b].ended.Seq) })
	return ids
}

// Diff is what adopting the run would change, call by call.
func (r *Rederivation) Diff() (all []CallDiff) {
	for _, id := range r.inRun() {
		c := r.calls[id]
		f := c.is.Fact.(events.CallRederived)
		d := CallDiff{Call: id, Revision: f.Summarized.Revision, State: r.state(c), Model: f.Summarized.Producer.Model, Micros: f.CostMicros, Changes: []Change{}}
		if d.State != RunAdopted {
			var was events.CallSummarized
			if c.newest != nil {
				was = c.newest.Fact.(events.CallSummarized)
			}
			d.Changes = changes(was, f.Summarized)
		}
		all = append(all, d)
	}
	return all
}

// changes from one summary of a call to another.
func changes(was, is events.CallSummarized) []Change {
	out := []Change{}
	for _, c := range []Change{
		{Field: "summary", Was: was.Summary, Is: is.Summary},
		{Field: "stage", Was: was.Stage, Is: is.Stage},
		{Field: "sentiment", Was: was.Sentiment, Is: is.Sentiment},
		{Field: "resolution", Was: was.Resolution, Is: is.Resolution},
		{Field: "topics", Was: strings.Join(was.Topics, ", "), Is: strings.Join(is.Topics, ", ")},
	} {
		if c.Was != c.Is {
			out = append(out, c)
		}
	}
	type about struct{ subject, field string }
	before, after := map[about][]string{}, map[about][]string{}
	for _, side := range []struct {
		of []events.Finding
		to map[about][]string
	}{{was.Findings, before}, {is.Findings, after}} {
		for _, f := range side.of {
			k := about{f.Subject, f.Field}
			if !slices.Contains(side.to[k], f.Value) {
				side.to[k] = append(side.to[k], f.Value)
			}
		}
	}
	keys := slices.Collect(maps.Keys(before))
	for k := range after {
		if before[k] == nil {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b about) int { return cmp.Or(cmp.Compare(a.field, b.field), cmp.Compare(a.subject, b.subject)) })
	for _, k := range keys {
		gone := slices.DeleteFunc(slices.Clone(before[k]), func(v string) bool { return slices.Contains(after[k], v) })
		came := slices.DeleteFunc(slices.Clone(after[k]), func(v string) bool { return slices.Contains(before[k], v) })
		for i := range max(len(gone), len(came)) {
			c := Change{Subject: k.subject, Field: k.field}
			if i < len(gone) {
				c.Was = gone[i]
			}
			if i < len(came) {
				c.Is = came[i]
			}
			out = append(out, c)
		}
	}
	return out
}

// Adopted is what became of the calls of a run.
type Adopted struct {
	Run      string   `json:"run"`
	Adopted  int      `json:"adopted"`
	Before   int      `json:"adopted_before"`
	Outdated []string `json:"outdated"` // calls of which a newer revision has been adopted: they stay as they are
}

// Adopt makes what the run derived the newest summary of its calls. Done twice,
// it changes nothing.
func (r *Rederivation) Adopt(ctx context.Context) (a Adopted, err error) {
	a = Adopted{Run: r.o.Run, Outdated: []string{}}
	for i, id := range r.inRun() {
		c := r.calls[id]
		switch r.state(c) {
		case RunAdopted:
			a.Before++
		case RunOutdated:
			a.Outdated = append(a.Outdated, id)
		default:
			out := events.New(r.o.Tenant, id, c.is.Time, c.is.Fact.(events.CallRederived).Summarized)
			out.Cause, out.History = c.is.ID, !c.told // without a summary before, nobody is to be told now
			if _, err := r.p.Bus.Publish(ctx, out); err != nil {
				return a, fmt.Errorf("adopt call %s: %w", id, err)
			}
			a.Adopted++
		}
		if r.o.Progress != nil {
			r.o.Progress(i+1, len(r.calls))
		}
	}
	return a, nil
}

// Discard forgets what the run derived, and returns of how many calls. What the
// model was paid for stays; summaries that were adopted stay as well.
func (r *Rederivation) Discard(ctx context.Context) (int, error) {
	ids := r.inRun()
	for n, id := range ids {
		if err := r.p.Bus.Withdraw(ctx, *r.calls[id].is); err != nil {
			return n, fmt.Errorf("discard call %s: %w", id, err)
		}
		if r.o.Progress != nil {
			r.o.Progress(n+1, len(ids))
		}
	}
	return len(ids), nil
}

// Empty reports whether the run has derived nothing.
func (r *Rederivation) Empty() bool { return len(r.inRun()) == 0 }

// Totals are what a run would change, over all its calls.
type Totals struct {
	Calls     int   `json:"calls"`
	Changing  int   `json:"changing"` // calls of which something would be another
	Added     int   `json:"findings_added"`
	Removed   int   `json:"findings_removed"`
	Changed   int   `json:"findings_changed"`
	Summaries int   `json:"summaries"` // that would be others
	Micros    int64 `json:"cost_micros"`
}

// Total adds up what a run would change.
func Total(all []CallDiff) (t Totals) {
	for _, d := range all {
		t.Calls++
		t.Micros += d.Micros
		if len(d.Changes) > 0 {
			t.Changing++
		}
		for _, c := range d.Changes {
			switch {
			case c.Field == "summary":
				t.Summaries++
			case c.Subject == "":
			case c.Was == "":
				t.Added++
			case c.Is == "":
				t.Removed++
			default:
				t.Changed++
			}
		}
	}
	return t
}
