package privacy_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/store"
)

// about are facts that were true of somebody at a time, of no call.
func about(w who, at time.Time, mark string) (all []events.Event) {
	for _, f := range []events.Fact{
		events.MemoryStored{Memory: events.Derive(mark, w.number), Caller: w.number, Type: "fact", Key: mark, Value: `"` + w.word + `"`, Origin: "staff"},
		events.CallerCorrected{Caller: w.number, Field: "personal.email", Value: mark + "@" + w.word + ".example", By: "staff:1", Nth: mark},
		events.LeadStaged{Caller: w.number, Stage: "Underwriting", By: "staff:1", Nth: mark},
		events.SMSRequested{Message: events.Derive(mark, "text"), To: w.number, Purpose: "reply", Body: "for " + w.word},
		events.SMSOptedOut{Number: w.number, Source: "SM" + mark},
	} {
		all = append(all, events.New(w.tenant, "", at, f))
	}
	return all
}

// A fact that was true before a caller was erased and is stored afterwards, as
// from the outbox of a process that was down, does not bring the caller back;
// neither does a call of theirs of which nobody knew. Who phones again is new.
func TestWhatComesLateDoesNotBringACallerBack(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	i.project()
	untouched := i.rows(1, []string{ann.number}, ann.ids()...)
	other := i.rows(2, []string{elsa.number}, elsa.ids()...)
	c := i.erase(privacy.Request{Tenant: 1, Caller: canary.number, Wait: time.Minute})
	unknown := canary
	unknown.calls = 8
	before := c.Requested.Add(-time.Hour)
	late := slices.Concat(about(canary, before, "late"), unknown.factsOf(6, before))
	// The end and the summary of a call that began before come last.
	slices.SortStableFunc(late, func(a, b events.Event) int { return b.Time.Compare(a.Time) })
	i.publish(late...)
	i.project()
	calls := append(canary.ids(), unknown.call(6), unknown.call(7))
	if got := i.rows(1, []string{canary.number}, calls...); len(got) > 0 {
		t.Errorf("what came late leads to %v", got)
	}
	compared := func(when string) {
		t.Helper()
		r, err := replay.Run(t.Context(), i.bus, i.store, replay.Options{Live: live, Refs: i.service.Vault.Callers, Found: func(_ events.Tenant, d store.Difference) { t.Errorf("%s: %+v", when, d) }})
		if err != nil || r.Rows < 10 || r.Different > 0 {
			t.Errorf("%s, compared with the log: %+v, %v", when, r, err)
		}
	}
	compared("late")
	// They phone again, and state something anew.
	since := slices.Concat(unknown.factsOf(7, time.Now().Add(time.Minute)), about(canary, time.Now().Add(2*time.Minute), "new"))
	i.publish(since...)
	i.project()
	back := i.rows(1, []string{canary.number}, calls...)
	if len(back["calls"]) != 1 || len(back["caller_profiles"]) != 1 || len(back["memories"]) != 2 || len(back["leads"]) != 1 || len(back["sms_opt_outs"]) != 1 {
		t.Errorf("phoned again: %v", back)
	}
	compared("phoned again")
	// The sweep finds what came late, and leaves what is new.
	n, err := i.service.Late(t.Context(), 1)
	if err != nil || n != len(late) {
		t.Errorf("%d of %d late facts removed, %v", n, len(late), err)
	}
	i.project()
	same(t, "after the sweep", back, i.rows(1, []string{canary.number}, calls...))
	compared("after the sweep")
	left := map[string]int{}
	_, err = i.bus.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
		if bytes.Contains(s.Data, []byte(canary.number)) {
			left[s.Name]++
		}
		if s.Call() == unknown.call(6) && s.Name != "call.erased" {
			return fmt.Errorf("left: %s", s.Name)
		}
		return nil
	})
	if err != nil || left["memory.stored"] != 1 || left["call.received"] != 1 {
		t.Errorf("the log has %v, %v", left, err)
	}
	if n, err := i.service.Late(t.Context(), 1); n != 0 || err != nil {
		t.Errorf("%d late facts more, %v", n, err)
	}
	same(t, "the other caller", untouched, i.rows(1, []string{ann.number}, ann.ids()...))
	same(t, "the other business", other, i.rows(2, []string{elsa.number}, elsa.ids()...))
	// Erased once more, what came between is gone as well, however soon it is.
	again := i.erase(privacy.Request{Tenant: 1, Caller: canary.number, Wait: time.Minute})
	i.publish(about(canary, again.Requested.Add(-time.Millisecond), "between")...)
	i.project()
	if got := i.rows(1, []string{canary.number}); len(got["memories"])+len(got["caller_facts"]) > 0 {
		t.Errorf("erased once more: %v", got)
	}
	compared("erased once more")
}

// Rows do not depend on whether a fact or the erasure it precedes is applied
// first.
func TestErasureAndFactInEitherOrder(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	ref, err := i.service.Vault.Ref(1, "caller", canary.number)
	if err != nil {
		t.Fatal(err)
	}
	mine := slices.Concat(about(canary, began, "before"), canary.factsOf(0, began), canary.factsOf(1, began.Add(48*time.Hour)), about(canary, began.Add(48*time.Hour), "after"))
	erased := events.New(1, "", began.Add(24*time.Hour), events.CallerErased{Ref: ref, By: "test", Erasure: "x"})
	with := func(at int) map[string][]string {
		t.Helper()
		i.forget(1)
		first := i.seq()
		for n, e := range slices.Insert(slices.Clone(mine), at, erased) {
			e.Seq = first + uint64(n)
			i.apply(e)
		}
		got := i.rows(1, []string{canary.number}, canary.ids()...)
		delete(got, "erased_callers")
		return got
	}
	want := with(0)
	if len(want["calls"]) != 1 || len(want["caller_facts"]) != 4 || len(want["sms_opt_outs"]) != 1 || len(want["memories"]) != 2 {
		t.Errorf("after the erasure: %v", want)
	}
	for _, at := range []int{3, 7, 12, len(mine) / 2, len(mine)} {
		same(t, fmt.Sprint("erased after ", at), want, with(at))
	}
}
