package privacy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/store"
)

func (i *installation) ask(r privacy.Request) store.Erasure {
	i.t.Helper()
	r.By = "api:key"
	e, _, err := i.service.Ask(i.t.Context(), r)
	if err != nil {
		i.t.Fatal(err)
	}
	return e
}

// record is an erasure as the database has it.
func (i *installation) record(t events.Tenant, id string) (e store.Erasure) {
	i.t.Helper()
	rows, err := i.store.For(t)
	if err == nil {
		e, err = rows.Erasure(i.t.Context(), id)
	}
	if err != nil {
		i.t.Fatal(err)
	}
	return e
}

func (i *installation) carryOut(t events.Tenant) (open bool) {
	i.t.Helper()
	open, err := i.service.CarryOut(i.t.Context(), t, privacy.Request{})
	if err != nil {
		i.t.Fatal(err)
	}
	return open
}

func (i *installation) certify(t ...events.Tenant) int {
	i.t.Helper()
	n, err := i.service.Certify(i.t.Context(), t, func(string) {})
	if err != nil {
		i.t.Fatal(err)
	}
	return n
}

// What is asked for is one request until it has been carried out, elsewhere; it
// changes nothing before, and leaves a certificate after the bytes are gone.
func TestWhatIsAskedForIsCarriedOutElsewhere(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	i.project()
	i.claims(canary, ann, elsa)
	other := i.rows(2, []string{elsa.number}, elsa.ids()...)
	before := i.rows(1, []string{canary.number, ann.number})
	r := privacy.Request{Tenant: 1, Caller: canary.number}
	ids := make([]string, 4)
	var group sync.WaitGroup
	for n := range ids {
		group.Go(func() {
			e, p, err := i.service.Ask(t.Context(), privacy.Request{Tenant: 1, Caller: canary.number, By: "api:key"})
			if ids[n] = e.ID; err != nil || p.Facts["turn.heard"] != 3 || len(p.Calls) != 3 {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	group.Wait()
	if len(slices.Compact(slices.Clone(ids))) != 1 || ids[0] == "" {
		t.Errorf("asked at once, these are %q", ids)
	}
	call := i.ask(privacy.Request{Tenant: 1, Call: ann.call(2)})
	same(t, "asked", before, i.rows(1, []string{canary.number, ann.number}))
	if asked := i.names(1)["erasure.requested"]; asked != 2 {
		t.Errorf("it was stated %d times", asked)
	}
	if entries, err := i.service.Ledger.Entries(); err != nil || len(entries) > 0 {
		t.Errorf("ledger %v, %v", entries, err)
	}
	if n, err := i.service.Again(t.Context(), privacy.Request{}); n != 0 || err != nil {
		t.Errorf("%d erased again, %v", n, err)
	}
	for n, tenant := range []events.Tenant{2, 1} {
		if open := i.carryOut(tenant); open {
			t.Error("some of it has to wait")
		}
		if state := i.record(1, ids[0]).State; state != []string{privacy.StateAsked, privacy.StateErased}[n] {
			t.Errorf("it is %s", state)
		}
	}
	words := canary.words()
	if got := i.rows(1, []string{canary.number}, append(canary.ids(), ann.call(2))...); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if e := i.record(1, ids[0]); e.Sealed != "" || e.Finished != nil {
		t.Errorf("%+v", e)
	}
	if again := i.ask; again(privacy.Request{Tenant: 1, Call: ann.call(2)}).ID != call.ID || again(r).ID != ids[0] {
		t.Error("asked again it is another request, with nothing to do")
	}
	if n, err := i.service.Again(t.Context(), privacy.Request{}); n != 0 || err != nil {
		t.Errorf("%d erased again, %v", n, err)
	}
	if n := i.certify(1, 2); n != 2 {
		t.Errorf("%d certificates", n)
	}
	if found := i.scan(words...); len(found) > 0 {
		t.Errorf("words are found: %+v", found)
	}
	e := i.record(1, ids[0])
	c, err := privacy.CertificateOf(e)
	if err != nil || !c.Genuine() || c.Facts["turn.heard"] != 3 || c.Rows["calls"] != 3 || len(c.Calls) != 3 || c.By != "api:key" || len(c.Files) < 2 || e.State != privacy.StateDone {
		t.Errorf("%s, certificate %+v, %v", e.State, c, err)
	}
	same(t, "the other business", other, i.rows(2, []string{elsa.number}, elsa.ids()...))
	if _, _, err := i.service.Ask(t.Context(), privacy.Request{Tenant: 1, Caller: canary.number, By: "api:key"}); !errors.Is(err, privacy.ErrNothing) {
		t.Errorf("once more: %v", err)
	}
	// Who phones again is new, and may be erased again.
	back := canary
	back.calls = 5
	i.publish(back.factsOf(4, time.Now().Add(-time.Hour))...)
	i.project()
	if id := i.ask(r).ID; id == ids[0] {
		t.Error("it is the request that has been carried out")
	}
	if i.carryOut(1); len(i.rows(1, []string{canary.number}, back.call(4))) > 0 {
		t.Error("the second time rows are left")
	}
}

// Whoever carries it out may be killed at any moment: the next one goes on, and
// what the certificate counts is all of it.
func TestCarryingOutGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	for n, steps := range []int{1, 3, 4, 6, 9} {
		w := who{fmt.Sprint("+1206555060", n), fmt.Sprint("Name", n), fmt.Sprint("word", n), 1, 2}
		i.publish(w.facts()...)
		i.project()
		id := i.ask(privacy.Request{Tenant: 1, Caller: w.number}).ID
		ctx, cancel := context.WithCancel(t.Context())
		left := steps
		_, _ = i.service.CarryOut(ctx, 1, privacy.Request{Progress: func(string, int, int) {
			if left--; left == 0 {
				cancel()
			}
		}})
		cancel()
		if left > 0 {
			t.Fatalf("not stopped at step %d", steps)
		}
		if again, err := i.service.Again(t.Context(), privacy.Request{}); again != 0 || err != nil {
			t.Errorf("step %d: %d by the ledger, %v", steps, again, err)
		}
		if i.carryOut(1) {
			t.Errorf("step %d: some of it has to wait", steps)
		}
		if got := i.rows(1, []string{w.number}, w.ids()...); len(got) > 0 {
			t.Errorf("stopped at step %d, left: %v", steps, got)
		}
		ctx, cancel = context.WithCancel(t.Context())
		_, err := i.service.Certify(ctx, []events.Tenant{1}, func(string) { cancel() })
		if cancel(); err == nil || i.record(1, id).State != privacy.StateErased {
			t.Errorf("stopped in housekeeping it is %s, %v", i.record(1, id).State, err)
		}
		i.certify(1)
		c, err := privacy.CertificateOf(i.record(1, id))
		if err != nil || !c.Genuine() || c.Rows["calls"] != 2 || c.Facts["turn.heard"] != 2 || c.Facts["memory.stored"] != 1 {
			t.Errorf("stopped at step %d, certificate %+v, %v", steps, c, err)
		}
	}
}

// What cannot be done yet waits, and says so.
func TestWhatIsAskedForWaits(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	facts := canary.factsOf(0, time.Now().Add(-2*time.Minute))
	i.publish(facts[:7]...) // it has ended, and is being summarized
	i.project()
	rows, err := i.store.For(1)
	if err == nil {
		_, err = rows.ClaimExtraction(t.Context(), canary.call(0), "k", "w", time.Hour)
	}
	if err != nil {
		t.Fatal(err)
	}
	id := i.ask(privacy.Request{Tenant: 1, Call: canary.call(0)}).ID
	if !i.carryOut(1) || i.record(1, id).State != privacy.StateErasing {
		t.Errorf("while it is summarized it is %s", i.record(1, id).State)
	}
	hold := func(on bool) {
		t.Helper()
		_, _, err := i.store.UpdateSettings(t.Context(), 1, func(s *events.Settings) error { s.Retention = &events.Retention{Hold: on}; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.ReleaseExtraction(t.Context(), canary.call(0), "k", "w"); err != nil {
		t.Fatal(err)
	}
	hold(true)
	if !i.carryOut(1) || i.names(1)["call.ended"] != 1 {
		t.Error("it was erased while it is held")
	}
	if _, _, err := i.service.Ask(t.Context(), privacy.Request{Tenant: 1, Caller: canary.number, By: "x"}); !errors.Is(err, privacy.ErrHeld) {
		t.Errorf("on hold: %v", err)
	}
	hold(false)
	if i.carryOut(1) || i.names(1)["call.ended"] != 0 {
		t.Error("it was not erased")
	}
	// A business that leaves takes along what was asked for.
	i.publish(ann.facts()...)
	i.project()
	asked := i.ask(privacy.Request{Tenant: 1, Caller: ann.number}).ID
	i.erase(privacy.Request{Tenant: 1, All: true})
	if e := i.record(1, asked); e.State != privacy.StateDone || e.Sealed != "" {
		t.Errorf("%+v", e)
	}
}

// A database from before it was carried out does not have it carried out once
// more: what became true since stays.
func TestARestoredRequestLeavesWhatBecameTrueSince(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(canary.facts()...)
	i.project()
	id := i.ask(privacy.Request{Tenant: 1, Caller: canary.number}).ID
	restore := i.backup()
	i.carryOut(1)
	i.certify(1)
	restore()
	if e := i.record(1, id); e.State != privacy.StateAsked {
		t.Fatalf("it is %s", e.State)
	}
	back := canary
	back.calls = 5
	i.publish(back.factsOf(4, time.Now().Add(time.Second))...)
	i.project()
	if i.carryOut(1); i.record(1, id).State != privacy.StateAsked {
		t.Error("it is carried out anew")
	}
	if n, err := i.service.Again(t.Context(), privacy.Request{}); n != 1 || err != nil {
		t.Errorf("%d erased again, %v", n, err)
	}
	got := i.rows(1, []string{canary.number})
	if len(got["calls"]) != 1 || i.record(1, id).State != privacy.StateDone {
		t.Errorf("it is %s, with %d calls left", i.record(1, id).State, len(got["calls"]))
	}
	_, err := i.bus.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
		if s.Call() == canary.call(0) && s.Name != "call.erased" {
			return fmt.Errorf("left: %s", s.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
