package privacy_test

import (
	"bytes"
	"fmt"
	"iter"
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

// A text is sent, or arrives, after whom it was to was erased: that it does
// tells of nobody, whichever is applied first, and is found by the sweep.
func TestATextUnderWayIsErasedWithWhomItIsTo(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	text := func(w who, mark string, requested, since time.Time) (all []events.Event) {
		m := events.Derive(w.number, mark)
		return []events.Event{
			events.New(1, "", requested, events.SMSRequested{Message: m, To: w.number, Purpose: "reply", Body: "for " + w.word}),
			events.New(1, "", since, events.SMSSent{Message: m, To: w.number, Purpose: "reply", SID: "SM" + w.word + mark, From: "+12065550100"}),
			events.New(1, "", since, events.SMSDelivered{Message: m, SID: "SM" + w.word + mark}),
		}
	}
	known, anns := text(canary, "known", began, time.Now().Add(time.Hour)), text(ann, "x", began, time.Now().Add(time.Hour))
	i.publish(slices.Concat(canary.facts(), ann.facts(), known[:1], anns[:1])...)
	i.project()
	c := i.erase(privacy.Request{Tenant: 1, Caller: canary.number, Wait: time.Minute})
	unknown, new := text(canary, "unknown", c.Requested.Add(-time.Minute), time.Now().Add(time.Hour)), text(canary, "new", c.Requested.Add(time.Minute), time.Now().Add(time.Hour))
	check := func(when string, texts, facts int) {
		t.Helper()
		i.project()
		if got := i.texts(1, "SM"+canary.word); len(got) != texts {
			t.Errorf("%s: %v", when, got)
		}
		if got := i.texts(1, "SM"+ann.word+"x"); len(got) != 1 {
			t.Errorf("%s, the other caller has %v", when, got)
		}
		r, err := replay.Run(t.Context(), i.bus, i.store, replay.Options{Live: live, Refs: i.service.Vault.Callers, Found: func(_ events.Tenant, d store.Difference) { t.Errorf("%s: %+v", when, d) }})
		if err != nil || r.Rows < 10 || r.Different > 0 {
			t.Errorf("%s, compared with the log: %+v, %v", when, r, err)
		}
		left := 0
		_, err = i.bus.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
			if bytes.Contains(s.Data, []byte(canary.number)) || bytes.Contains(s.Data, []byte("SM"+canary.word)) {
				left++
			}
			return nil
		})
		if err != nil || left != facts {
			t.Errorf("%s: %d facts tell of it, %v", when, left, err)
		}
	}
	i.publish(known[1:]...)
	i.publish(anns[1:]...)
	check("known before", 0, 2)
	i.publish(unknown[1], unknown[0], unknown[2])
	check("never known", 0, 5)
	i.publish(new...)
	check("and a new one", 1, 8)
	sweep := func(when string, want int) {
		t.Helper()
		if n, err := i.service.Late(t.Context(), 1); n != want || err != nil {
			t.Errorf("%s: %d late facts, %v", when, n, err)
		}
	}
	sweep("swept", 5)
	check("swept", 1, 3)
	// What the sweep found, it knows as well.
	i.publish(events.New(1, "", time.Now().Add(time.Hour), events.SMSFailed{Message: events.Derive(canary.number, "unknown"), SID: "SM" + canary.word + "unknown", Reason: "x"}))
	check("later still", 1, 4)
	sweep("swept once more", 1)
	check("swept once more", 1, 3)
	i.forget(1)
	check("read anew", 1, 3)
}

// Rows do not depend on which is applied first: that a text is asked for, sent,
// delivered, or that whom it was to was erased.
func TestErasureAndTextInEitherOrder(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	ref, err := i.service.Vault.Callers(1)
	if err != nil {
		t.Fatal(err)
	}
	at := began.Add(time.Hour)
	const m = "0123456789abcdef0123456789abcdef"
	requested := events.New(1, "", began, events.SMSRequested{Message: m, To: canary.number, Purpose: "reply", Body: "x"})
	sent := events.New(1, "", at.Add(time.Minute), events.SMSSent{Message: m, To: canary.number, Purpose: "reply", SID: "SMx", From: "+12065550100"})
	delivered := events.New(1, "", at.Add(time.Minute), events.SMSDelivered{Message: m, SID: "SMx"})
	callerGone := events.New(1, "", at, events.CallerErased{Ref: ref(canary.number), By: "test", Erasure: "x"})
	textGone := events.New(1, "", at, events.SMSErased{Ref: ref(m), By: "test", Erasure: "x"})
	for name, all := range map[string][]events.Event{
		"the caller": {requested, sent, delivered, callerGone}, "the text": {requested, sent, delivered, textGone}, "both, without the request": {sent, delivered, callerGone, textGone},
	} {
		for order := range permutations(all) {
			i.forget(1)
			first, names := i.seq(), ""
			for n, e := range order {
				e.Seq = first + uint64(n)
				i.apply(e)
				names += " " + e.Fact.Name()
			}
			if got := i.texts(1, ""); len(got) > 0 {
				t.Errorf("%s:%s: %v", name, names, got)
			}
		}
	}
	// Of one that was sent before, nobody may say later that it was delivered.
	i.forget(1)
	sent.Time = at
	for n, e := range []events.Event{callerGone, sent, delivered} {
		e.Seq = i.seq() + uint64(n)
		i.apply(e)
	}
	if got := i.texts(1, ""); len(got) > 0 {
		t.Errorf("sent when they were erased: %v", got)
	}
}

// permutations are all orders of some events.
func permutations(all []events.Event) iter.Seq[[]events.Event] {
	return func(yield func([]events.Event) bool) {
		var next func(n int) bool
		next = func(n int) bool {
			if n == len(all) {
				return yield(slices.Clone(all))
			}
			for k := n; k < len(all); k++ {
				all[n], all[k] = all[k], all[n]
				if !next(n + 1) {
					return false
				}
				all[n], all[k] = all[k], all[n]
			}
			return true
		}
		next(0)
	}
}

// texts are the rows of texts that name a word.
func (i *installation) texts(t events.Tenant, word string) (out []string) {
	i.t.Helper()
	rows, err := i.store.For(t)
	if err != nil {
		i.t.Fatal(err)
	}
	err = rows.Project(i.t.Context(), "texts", time.Unix(0, 0), func(p *store.Projection) error {
		ids, err := p.Texts()
		if err != nil {
			return err
		}
		all, err := rows.RowsAbout(i.t.Context(), store.Subject{Texts: ids})
		for _, raw := range all["texts"] {
			if bytes.Contains(raw, []byte(word)) {
				out = append(out, string(raw))
			}
		}
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return out
}

// Killed when all but the last word on a text is gone, whoever goes on still
// knows whose that is.
func TestAnErasureThatWasKilledFindsTheRestOfAText(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	m := events.Derive("m")
	i.publish(
		events.New(1, "", began, events.SMSRequested{Message: m, To: canary.number, Purpose: "reply", Body: "x"}),
		events.New(1, "", began, events.SMSSent{Message: m, To: canary.number, Purpose: "reply", SID: "SMx", From: "+12065550100"}),
		events.New(1, "", began, events.SMSDelivered{Message: m, SID: "SMx"}),
	)
	i.project()
	func() {
		defer func() { _ = recover() }()
		_, err := i.service.Erase(t.Context(), privacy.Request{Tenant: 1, Caller: canary.number, By: "test", Progress: func(step string, done, _ int) {
			if step == "facts of the log" && done == 2 {
				panic("killed")
			}
		}})
		t.Errorf("not killed: %v", err)
	}()
	if left := i.names(1); left["sms.delivered"] != 1 || left["sms.sent"] != 0 {
		t.Fatalf("killed, the log has %v", left)
	}
	c := i.erase(privacy.Request{Tenant: 1, Caller: canary.number})
	if left := i.names(1); left["sms.delivered"] != 0 || !c.AtLeast {
		t.Errorf("the log has %v, certificate %+v", left, c)
	}
}
