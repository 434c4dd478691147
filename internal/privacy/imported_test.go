package privacy_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
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
