package summarizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/testenv"
)

// told has the calls summarized, the model saying that Ann called.
func (o *office) told(calls ...events.Event) {
	o.t.Helper()
	w := newWorker(o.Platform, o.dir, (&says{}).ask)
	for _, e := range calls {
		if err := w.callEnded(o.t.Context(), e, ended(e)); err != nil {
			o.t.Fatal(err)
		}
	}
}

// rederive opens a run for which m is the model.
func (o *office) rederive(m *says, change func(*RederiveOptions)) *Rederivation {
	o.t.Helper()
	opts := RederiveOptions{Tenant: o.set.Tenant, Run: "run-1", Prompt: "Another prompt.", PriceIn: 2, PriceOut: 8}
	if change != nil {
		change(&opts)
	}
	r, err := Rederive(o.t.Context(), o.Platform, opts)
	if err != nil {
		o.t.Fatal(err)
	}
	r.worker.model = m.ask
	return r
}

func (o *office) openRun(run string) *Rederivation {
	o.t.Helper()
	r, err := OpenRun(o.t.Context(), o.Platform, RederiveOptions{Tenant: o.set.Tenant, Run: run})
	if err != nil {
		o.t.Fatal(err)
	}
	return r
}

// stated are the facts of a name there are.
func (o *office) stated(name string) (all []events.Event) {
	o.t.Helper()
	_, err := o.Bus.ReadTenant(o.t.Context(), o.set.Tenant, 0, func(m bus.Moved) error {
		if m.Fact.Name() == name {
			all = append(all, m.Event)
		}
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

// newer is a model that has found a car.
func newer() *says {
	doc := document(claim("personal.name", "Ann Lee", "My name is Ann Lee"), claim("policies.auto_1.make", "Toyota", "I drive a Toyota"))
	doc["summary"], doc["sentiment"] = "Ann Lee drives a Toyota.", "neutral"
	return &says{doc: doc}
}

const words = "My name is Ann Lee. I drive a Toyota."

// A run states what another prompt makes of past calls, shows what would change,
// and changes nothing until it is adopted, once.
func TestCallsAreDerivedOnceMore(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	o.told(o.call("CA1", words), o.call("CA2", words))
	m := newer()
	r := o.rederive(m, nil)
	want := Plan{Run: "run-1", Calls: 2, TokensIn: 20, TokensOut: 10, Dollars: 0.00012}
	if diff := cmp.Diff(want, r.Plan()); diff != "" || m.asked.Load() > 0 {
		t.Errorf("asked %d times, %s", m.asked.Load(), diff)
	}
	d, err := r.Derive(t.Context())
	if diff := cmp.Diff(Derived{Run: "run-1", Calls: 2, Asked: 2, TokensIn: 20, TokensOut: 10, Dollars: 0.00012}, d); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	all := o.stated("call.rederived")
	if len(all) != 2 || len(o.stated("call.summarized")) != 2 {
		t.Fatalf("%d rederived, %d summarized", len(all), len(o.stated("call.summarized")))
	}
	f := all[0].Fact.(events.CallRederived)
	if f.Run != "run-1" || f.Summarized.Revision != 1 || f.CostMicros != 60 || f.Summarized.Producer.PromptSHA != sha("Another prompt.") || len(f.Summarized.Findings) != 2 || !all[0].History {
		t.Errorf("%+v", f)
	}

	diffs := o.openRun("run-1").Diff()
	changes := []Change{
		{Field: "summary", Was: "Ann called.", Is: "Ann Lee drives a Toyota."},
		{Field: "sentiment", Was: "positive", Is: "neutral"},
		{Subject: "caller", Field: "personal.name", Is: "Ann Lee"},
		{Subject: "caller", Field: "policies.auto_1.make", Is: "Toyota"},
	}
	if diff := cmp.Diff([]CallDiff{
		{Call: "CA1", Revision: 1, State: RunOpen, Changes: changes, Model: "gpt-test", Micros: 60},
		{Call: "CA2", Revision: 1, State: RunOpen, Changes: changes, Model: "gpt-test", Micros: 60},
	}, diffs); diff != "" {
		t.Error(diff)
	}

	if diff := cmp.Diff(Totals{Calls: 2, Changing: 2, Added: 4, Summaries: 2, Micros: 120}, Total(diffs)); diff != "" {
		t.Error(diff)
	}
	for i, want := range []Adopted{{Run: "run-1", Adopted: 2, Outdated: []string{}}, {Run: "run-1", Before: 2, Outdated: []string{}}} {
		got, err := o.openRun("run-1").Adopt(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("adopted for the %d. time: %v %s", i+1, err, diff)
		}
	}
	sums := o.stated("call.summarized")
	if len(sums) != 4 {
		t.Fatalf("%d summaries", len(sums))
	}
	if s := sums[2]; s.History || s.Fact.(events.CallSummarized).Revision != 1 || !slices.ContainsFunc(all, func(e events.Event) bool { return e.Call == s.Call && e.ID == s.Cause }) {
		t.Errorf("%+v", s)
	}
	if diffs := o.openRun("run-1").Diff(); diffs[0].State != RunAdopted || len(diffs[0].Changes) > 0 {
		t.Errorf("%+v", diffs[0])
	}
}

// Of two runs of the same calls the one that was not adopted is out of date, and
// is not adopted either; the next run goes on from what holds.
func TestWhatIsOutOfDateIsNotAdopted(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	o.told(o.call("CA1", words))
	for _, run := range []string{"a", "b"} {
		if d, err := o.rederive(newer(), func(r *RederiveOptions) { r.Run, r.Model = run, "model-"+run }).Derive(t.Context()); err != nil || d.Calls != 1 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	if a, err := o.openRun("a").Adopt(t.Context()); err != nil || a.Adopted != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := o.openRun("b").Adopt(t.Context()); err != nil || a.Adopted != 0 || !slices.Equal(a.Outdated, []string{"CA1"}) {
		t.Errorf("%+v, %v", a, err)
	}
	if d, err := o.rederive(newer(), func(r *RederiveOptions) { r.Run = "c" }).Derive(t.Context()); err != nil || d.Calls != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if diffs := o.openRun("c").Diff(); diffs[0].Revision != 2 || diffs[0].State != RunOpen {
		t.Errorf("%+v", diffs)
	}
}

// A call that fails is told, the others go on, and the next try does what is
// left without paying again for anything.
func TestFailuresAreToldAndMadeUpFor(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	var calls []events.Event
	for i := range 6 {
		calls = append(calls, o.call(fmt.Sprint("CA", i), words))
	}
	o.told(calls...)
	m := newer()
	m.err = func(n int64) error {
		if n%3 == 0 { // the third and the sixth
			return &openai.Error{Kind: openai.Refused}
		}
		return nil
	}
	var failed []string
	r := o.rederive(m, func(r *RederiveOptions) {
		r.Failed = func(call string, err error) {
			failed = append(failed, call)
			if openai.KindOf(err) != openai.Refused {
				t.Errorf("%v", err)
			}
		}
	})
	d, err := r.Derive(t.Context())
	if err != nil || d.Calls != 4 || d.Failed != 2 || len(failed) != 2 {
		t.Errorf("%+v, %v, %v", d, failed, err)
	}
	for _, e := range o.stated("call.rederived") {
		if slices.Contains(failed, e.Call) || strings.Contains(e.Fact.(events.CallRederived).Summarized.Summary, "No summary") {
			t.Errorf("something stands for what failed: %+v", e)
		}
	}
	m.err = nil
	r = o.rederive(m, nil)
	if p := r.Plan(); p.Calls != 2 || p.Done != 4 {
		t.Errorf("%+v", p)
	}
	if d, err := r.Derive(t.Context()); err != nil || d.Calls != 2 || m.asked.Load() != 8 {
		t.Errorf("%+v, %v, asked %d times", d, err, m.asked.Load())
	}
	if n := len(o.stated("call.rederived")); n != 6 {
		t.Errorf("%d rederived", n)
	}
	// The same question in another run has been paid for.
	d, err = o.rederive(m, func(r *RederiveOptions) { r.Run = "again" }).Derive(t.Context())
	if err != nil || d.Calls != 6 || d.Asked != 0 || d.Dollars != 0 || m.asked.Load() != 8 {
		t.Errorf("%+v, %v, asked %d times", d, err, m.asked.Load())
	}
}

// Where neither prompt nor model is another, the answers that are kept are gone
// through once more, and nobody is asked.
func TestKeptAnswersAreCheckedOnceMore(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	o.told(o.call("CA1", words))
	m := newer()
	d, err := o.rederive(m, func(r *RederiveOptions) { r.Prompt = "" }).Derive(t.Context())
	if err != nil || d.Calls != 1 || d.Asked != 0 || m.asked.Load() != 0 {
		t.Errorf("%+v, %v, asked %d times", d, err, m.asked.Load())
	}
	if diffs := o.openRun("run-1").Diff(); len(diffs) != 1 || len(diffs[0].Changes) != 0 {
		t.Errorf("%+v", diffs)
	}
	// Another model is another question.
	d, err = o.rederive(m, func(r *RederiveOptions) { r.Prompt, r.Model, r.Run = "", "another", "" }).Derive(t.Context())
	if err != nil || d.Asked != 1 || len(d.Run) != 8 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestOnlyTheCallsAskedForAreDerived(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	at := func(id, from string, start time.Time, via string) events.Event {
		first := o.publish(o.fact(id, 1, events.TurnHeard{Turn: 1, Text: words}))
		e := o.fact(id, 2, events.CallEnded{From: from, To: o.set.Numbers[0], StartedAt: start, EndedAt: start.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Turns: 1, FirstSeq: first, Via: via})
		e.Seq = o.publish(e)
		return e
	}
	day := func(n int) time.Time { return began.AddDate(0, 0, n) }
	o.told(at("CA1", "+12065550191", day(0), ""), at("CA2", "+12065550192", day(1), ""), at("CA3", "+12065550191", day(2), events.ViaAPI), o.call("CAsilent"),
		at("CAimported", "+12065550191", day(1), events.ViaImport), at("CAerased", "+12065550191", day(1), ""), at("CAgone", "+12065550193", day(1), ""))
	at("CAnew", "+12065550191", day(3), "") // the summarizer's to tell of
	moved := o.fact("CAmoved", 1, events.TurnHeard{Turn: 1, Text: words})
	o.publish(moved)
	end := o.fact("CAmoved", 2, events.CallEnded{From: "+12065550194", StartedAt: day(4), EndedAt: day(4), Reason: events.EndCaller, Turns: 1})
	end.History = true
	o.publish(end)
	o.publish(o.fact("CAerased", 0, events.CallErased{By: "staff:1"}))
	o.publish(events.New(o.set.Tenant, "", began, events.CallerErased{Ref: "r", By: "staff:1", Calls: []string{"CAgone"}}))
	for name, tc := range map[string]struct {
		change func(*RederiveOptions)
		want   []string
	}{
		"all":       {func(*RederiveOptions) {}, []string{"CA1", "CA2", "CA3", "CAmoved"}},
		"by call":   {func(o *RederiveOptions) { o.Calls = []string{"CA2", "CAerased", "CAnone"} }, []string{"CA2"}},
		"by caller": {func(o *RederiveOptions) { o.Caller = "+12065550191" }, []string{"CA1", "CA3"}},
		"since":     {func(o *RederiveOptions) { o.Since = day(1) }, []string{"CA2", "CA3", "CAmoved"}},
		"until":     {func(o *RederiveOptions) { o.Until = day(1) }, []string{"CA1"}},
	} {
		if got := o.rederive(newer(), tc.change).pending(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	m := newer()
	if d, err := o.rederive(m, func(o *RederiveOptions) { o.Calls = []string{"CAmoved"} }).Derive(t.Context()); err != nil || d.Calls != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if a, err := o.openRun("run-1").Adopt(t.Context()); err != nil || a.Adopted != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	sums := o.stated("call.summarized")
	if s := sums[len(sums)-1]; s.Call != "CAmoved" || !s.History || s.Fact.(events.CallSummarized).Revision != 1 {
		t.Errorf("of a call that was never told of people would be told now: %+v", s)
	}
}

// A run that is discarded is forgotten; nothing else is.
func TestARunIsDiscarded(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	o.told(o.call("CA1", words), o.call("CA2", words))
	for _, run := range []string{"a", "b"} {
		if _, err := o.rederive(newer(), func(r *RederiveOptions) { r.Run = run }).Derive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := o.openRun("a").Discard(t.Context()); err != nil || n != 2 {
		t.Errorf("%d, %v", n, err)
	}
	if a, b := o.openRun("a").Diff(), o.openRun("b").Diff(); len(a) != 0 || len(b) != 2 {
		t.Errorf("%d of the one, %d of the other", len(a), len(b))
	}
	if n := len(o.stated("call.summarized")); n != 2 {
		t.Errorf("%d summaries", n)
	}
	if err := o.Bus.Withdraw(t.Context(), o.stated("call.summarized")[0]); err == nil {
		t.Error("a summary can be withdrawn")
	}
}

// No more calls than asked for are derived at a time, and stopping stops.
func TestRederivingIsBoundedAndStops(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	var calls []events.Event
	for i := range 5 {
		calls = append(calls, o.call(fmt.Sprint("CA", i), words))
	}
	o.told(calls...)
	m := newer()
	m.wait = make(chan struct{})
	var mu sync.Mutex
	now, most := 0, 0
	r := o.rederive(m, func(r *RederiveOptions) { r.Parallel = 2 })
	r.worker.model = func(ctx context.Context, system, user, name string, schema json.RawMessage) (openai.Result, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		defer func() { mu.Lock(); now--; mu.Unlock() }()
		return m.ask(ctx, system, user, name, schema)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.Derive(ctx)
		done <- err
	}()
	until(t, "two are asked about", func() bool { return m.asked.Load() == 2 })
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(m.wait)
	if d, err := o.rederive(m, nil).Derive(t.Context()); err != nil || d.Calls != 5 || most != 2 {
		t.Errorf("%+v, %v, %d at a time", d, err, most)
	}
}

func TestRunsAreNamedWell(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]RederiveOptions{
		"no tenant":  {Run: "a"},
		"odd name":   {Tenant: 1, Run: "a b"},
		"a path":     {Tenant: 1, Run: "a/b"},
		"a long one": {Tenant: 1, Run: strings.Repeat("x", 65)},
	} {
		if _, err := openRun(nil, o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
