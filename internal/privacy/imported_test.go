package privacy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
)

// imported is a call of the old service, as an import states it: nobody states
// that it came in.
func imported(t events.Tenant, caller, call string, at time.Time) events.Event {
	return events.New(t, call, at, events.CallSummarized{
		Caller: caller, StartedAt: at, EndedAt: at.Add(time.Minute), Seconds: 60, Summary: "Said " + call + " of old.", Topics: []string{}, Sentiment: "neutral",
		Resolution: "resolved", Findings: []events.Finding{}, Rejected: []events.Reject{}, Messages: []events.Message{}, Via: events.ViaImport,
		Style: []events.Measure{{Metric: "openness", Micros: 33_500_000}}, Producer: events.Producer{Model: "legacy"},
	})
}

// A call of which there is a summary and nothing else is in its caller's
// document with the rest, in the order in which they were held.
func TestImportedCallsAreExported(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(woven(ann)...)
	i.publish(imported(1, ann.number, "old-2", began.Add(90*time.Minute)), imported(1, ann.number, "old-1", began.AddDate(-1, 0, 0)), imported(2, ann.number, "old-3", began))
	i.project()
	d, err := i.service.Export(t.Context(), 1, ann.number)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{"json": string(raw), "html": page.String()} {
		if !strings.Contains(out, "Said old-1 of old.") || !strings.Contains(out, "Said old-2 of old.") || strings.Contains(out, "old-3") {
			t.Errorf("%s: %s", name, out)
		}
	}
	if !strings.Contains(page.String(), "<strong>2025-05-06T15:00:00&#43;00:00</strong><code>old-1</code>") {
		t.Errorf("the page does not say when the call was: %s", page.String())
	}
	var ids []string
	for _, c := range d.Calls {
		ids = append(ids, c.ID)
	}
	if want := []string{"old-1", ann.call(0), ann.call(1), "old-2", ann.call(2)}; strings.Join(ids, " ") != strings.Join(want, " ") {
		t.Errorf("calls %v, want %v", ids, want)
	}
	if c := d.Calls[0]; c.Call != nil || c.Metrics == nil || len(c.Derivations) != 1 || c.Derivations[0].Producer.Model != "legacy" {
		t.Errorf("call %+v", c)
	}
	if n := len(d.Calls); d.Profile["total_calls"] != float64(n) || len(d.Other) > 0 {
		t.Errorf("%v calls, %d of them here; %v", d.Profile["total_calls"], n, d.Other)
	}
}

// What hangs on a call of which there is no more is shown as that call's.
func TestNothingOfACallIsLeftOutOfItsCallersDocument(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	call := ann
	call.calls = 1
	all := call.factsOf(0, began)
	i.publish(all[4], all[5], all[7]) // a message, a recording, the summary
	i.project()
	i.claims(call)
	d, err := i.service.Export(t.Context(), 1, ann.number)
	if err != nil || len(d.Calls) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	if c := d.Calls[0]; len(c.Messages) != 1 || len(c.Recordings) != 1 || len(c.Answers) != 1 || c.Summary == nil {
		t.Errorf("call %+v", c)
	}
}

// tom is known to the old service by words, which JSON writes otherwise.
const tom = events.Legacy + "Tom & <Jürgen>/Söhne"

// tomsFacts are those of an import, and one stated since.
func tomsFacts() []events.Event {
	old := began.AddDate(-3, 0, 0)
	return []events.Event{
		imported(1, tom, "old-tom", old),
		events.New(1, "", old.Add(time.Hour), events.MemoryStored{Memory: "m-tom", Caller: tom, Type: "fact", Key: "pet", Value: `"newt"`, Content: "Has a newt", Origin: "import"}),
		events.New(1, "", old.Add(2*time.Hour), events.LeadStaged{Caller: tom, Stage: "Underwriting", By: "staff:1", Nth: "1"}),
	}
}

// nothingOf fails for what is left of a caller and a call of theirs.
func (i *installation) nothingOf(t events.Tenant, caller, call string) {
	i.t.Helper()
	if got := i.rows(t, []string{caller}, call); len(got) > 0 {
		i.t.Errorf("rows are left: %v", got)
	}
	_, err := i.bus.Search(i.t.Context(), t, 1, nil, func(s bus.Stored) error {
		if e, err := s.Event(); err != nil || events.CallerOf(e.Fact) == caller {
			i.t.Errorf("%s is left, %v", s.Name, err)
		}
		return nil
	})
	if err != nil {
		i.t.Error(err)
	}
}

// Who is known by words in the place of a number is shown and forgotten as
// anybody is, and expires.
func TestCallersKnownByWords(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	i.publish(woven(ann)...)
	i.publish(tomsFacts()...)
	i.project()
	var all []string
	if err := i.service.ExportAll(t.Context(), 1, func(d privacy.Document) error { all = append(all, d.Caller); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(all, []string{ann.number, tom}) {
		t.Errorf("exported are %q", all)
	}
	d, err := i.service.Export(t.Context(), 1, tom)
	if err != nil || d.Caller != tom || len(d.Calls) != 1 || len(d.Memories) != 1 || len(d.Statements) != 2 || d.Lead == nil {
		t.Errorf("%+v, %v", d, err)
	}
	whole := i.rows(1, []string{ann.number}, ann.ids()...)
	restore := i.backup()
	c := i.erase(privacy.Request{Tenant: 1, Caller: tom})
	if c.Facts["call.summarized"] != 1 || c.Facts["memory.stored"] != 1 || c.Facts["lead.staged"] != 1 {
		t.Errorf("%+v", c)
	}
	i.nothingOf(1, tom, "old-tom")
	if _, err := i.service.Export(t.Context(), 1, tom); !errors.Is(err, privacy.ErrNothing) {
		t.Errorf("exported once more: %v", err)
	}

	restore()
	if n, err := i.service.Again(t.Context(), privacy.Request{}); err != nil || n != 1 {
		t.Errorf("%d erased again, %v", n, err)
	}
	i.nothingOf(1, tom, "old-tom")
	same(t, "another's rows", whole, i.rows(1, []string{ann.number}, ann.ids()...))
}

// Callers known by words expire as others do, and with them their calls: those
// are not of nobody.
func TestCallersKnownByWordsExpire(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	i.publish(woven(ann)...)
	i.publish(tomsFacts()...)
	own := events.New(1, "CAtom", began.AddDate(-3, 0, 0), events.CallReceived{From: tom, To: "+12065550100", Via: events.ViaAPI})
	own.CallSeq = 1
	i.publish(own)
	i.project()
	if e, err := i.service.Expiring(t.Context(), 1, began); err != nil || e.Callers != 1 {
		t.Errorf("expiring %+v, %v", e, err)
	}
	all, err := i.service.Sweep(t.Context(), privacy.SweepOptions{Now: began})
	if err != nil || len(all) != 1 || all[0].Callers != 1 || all[0].Calls != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	i.nothingOf(1, tom, "old-tom")
	i.nothingOf(1, tom, "CAtom")
	if rows := i.rows(1, []string{ann.number}, ann.ids()...); len(rows["calls"]) != ann.calls {
		t.Errorf("another's rows: %v", rows)
	}
}
