package privacy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

func (i *installation) erase(r privacy.Request) privacy.Certificate {
	i.t.Helper()
	r.By = "test"
	c, err := i.service.Erase(i.t.Context(), r)
	if err != nil {
		i.t.Fatal(err)
	}
	if !c.Genuine() {
		i.t.Error("the certificate is not what was sealed")
	}
	return c
}

// claims leaves what workers leave beside the read models.
func (i *installation) claims(people ...who) {
	i.t.Helper()
	for _, w := range people {
		rows, err := i.store.For(w.tenant)
		if err != nil {
			i.t.Fatal(err)
		}
		for _, call := range w.ids() {
			_, err1 := rows.ClaimExtraction(i.t.Context(), call, "k", "w", time.Millisecond)
			err2 := rows.SaveExtraction(i.t.Context(), call, "k", fmt.Appendf(nil, `{"raw":"what the model said of %s, %s"}`, w.name, w.word))
			_, err3 := rows.ClaimText(i.t.Context(), events.Derive("text", call), "+12065550177", "w", time.Hour)
			if err := errors.Join(err1, err2, err3); err != nil {
				i.t.Fatal(err)
			}
		}
	}
}

func (i *installation) scan(words ...string) []privacy.Hit {
	i.t.Helper()
	s, err := privacy.Scan(i.t.Context(), i.dir, words)
	if err != nil || s.Files < 50 {
		i.t.Fatalf("%d files, %v", s.Files, err)
	}
	return s.Found
}

// Rows after a caller or a call was erased, and after the log was then read
// anew, are those there would be had they never called. No file of bus or
// database holds any of their words; the others' are all there.
func TestErasedAsIfTheyHadNeverCalled(t *testing.T) {
	t.Parallel()
	without := quick(t)
	without.customers(2)
	less := ann
	less.calls = 2 // her last call is erased
	all := woven(canary, ann, ben, elsa)
	others := slices.DeleteFunc(slices.Clone(all), func(e events.Event) bool {
		return e.Call == ann.call(2) || strings.Contains(fmt.Sprint(e.Fact), "SM"+ann.call(2))
	})
	mine := map[string]bool{}
	for _, e := range canary.facts() {
		mine[e.ID] = true
	}
	without.publish(slices.DeleteFunc(others, func(e events.Event) bool { return mine[e.ID] })...)
	without.project()
	without.claims(less, ben, elsa)
	callers := []string{canary.number, ann.number, ben.number}
	calls := slices.Concat(canary.ids(), ann.ids(), ben.ids())
	want, wantElsa := without.rows(1, callers, calls...), without.rows(2, []string{elsa.number}, elsa.ids()...)

	i := install(t)
	i.customers(2)
	i.publish(all...)
	i.project()
	i.claims(canary, ann, ben, elsa)
	outbox, err := i.bus.OpenOutbox(filepath.Join(i.dir, "outbox"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = outbox.Close(context.Background()) })
	entry := bus.CallEntry{Tenant: 1, Call: canary.call(0), Owner: "me", Epoch: 1, From: canary.number, Said: canary.name}
	if err := errors.Join(outbox.PutCall(entry), outbox.DeleteCall(1, entry.Call)); err != nil {
		t.Fatal(err)
	}
	if got := i.rows(1, callers, calls...); len(got["calls"]) <= len(want["calls"]) || len(got["memories"]) <= len(want["memories"]) {
		t.Fatalf("before, there is nothing to erase: %v", got)
	}
	// The positive control: each of the words is found in bus and database.
	words := append(canary.words(), "Zebulon", "quagmire")
	for n, w := range words {
		in := map[string]bool{}
		for _, h := range i.scan(w) {
			in[strings.SplitN(h.File, "/", 2)[0]] = true
		}
		if !in["nats"] || !in["postgres"] {
			t.Errorf("before, word %d is found in %v only", n, in)
		}
	}
	var steps []string
	c := i.erase(privacy.Request{
		Tenant: 1, Caller: canary.number, Files: true, Verify: words, Wait: time.Minute,
		Progress: func(step string, _, _ int) { steps = append(steps, step) },
	})
	if c.Verified == nil || len(c.Verified.Found) > 0 || len(steps) < 20 {
		t.Errorf("found %+v; %d steps", c.Verified, len(steps))
	}
	for _, table := range []string{"calls", "call_summaries", "caller_facts", "caller_profiles", "memories", "messages_taken", "recordings", "texts", "sms_opt_outs", "extractions", "sms_outbox", "leads", "personality_metrics", "personality_averages"} {
		if c.Rows[table] == 0 {
			t.Errorf("no row of %s was erased", table)
		}
	}
	if c.Facts["turn.heard"] != 3 || c.Facts["sms.delivered"] != 3 || c.Facts["sms.received"] != 1 || len(c.Calls) != 3 {
		t.Errorf("facts %v of calls %v", c.Facts, c.Calls)
	}
	if found := i.scan(words...); len(found) > 0 {
		t.Errorf("after, words are found: %+v", found)
	}
	i.erase(privacy.Request{Tenant: 1, Call: ann.call(2), Files: true, Wait: time.Minute})
	same(t, "after", want, i.rows(1, callers, calls...))
	same(t, "the other business", wantElsa, i.rows(2, []string{elsa.number}, elsa.ids()...))
	report, err := replay.Run(t.Context(), i.bus, i.store, replay.Options{Live: live, Found: func(id events.Tenant, d store.Difference) { t.Errorf("customer %s: %+v", id, d) }})
	if err != nil || report.Rows < 30 || report.Different > 0 {
		t.Errorf("compared with the log: %+v, %v", report, err)
	}
	// The number is Elsa's too, and hers to keep; what is not hers is gone.
	if found := i.scan(elsa.name, elsa.number, ann.name, ben.word); len(found) < 4 {
		t.Errorf("others' words are gone: %+v", found)
	}
	i.stop()
	i.start()
	if found := i.scan(words...); len(found) > 0 {
		t.Errorf("after a restart, words are found: %+v", found)
	}
	for id := range events.Tenant(2) {
		i.forget(id + 1)
	}
	i.project()
	i.claims(less, ben, elsa)
	same(t, "after a replay", want, i.rows(1, callers, calls...))
	same(t, "the other business after a replay", wantElsa, i.rows(2, []string{elsa.number}, elsa.ids()...))
	var text bytes.Buffer
	c.Text(&text)
	ledger, err := os.ReadFile(filepath.Join(i.dir, "erasures.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range append(words, canary.number, canary.number[1:]) {
		if strings.Contains(text.String()+string(ledger), w) {
			t.Error("certificate or ledger name the caller")
		}
	}
	if !strings.Contains(text.String(), "found 0 times") || !strings.Contains(text.String(), c.Ledger) || !strings.Contains(string(ledger), c.Ledger) {
		t.Errorf("certificate %s", text.String())
	}
	if _, err := i.service.Erase(t.Context(), privacy.Request{Tenant: 1, Caller: canary.number, By: "test"}); !errors.Is(err, privacy.ErrNothing) {
		t.Errorf("once more: %v", err)
	}
}

// A backup brings back what was erased; the ledger takes it away again, and
// leaves what became true since.
func TestABackupDoesNotBringBackWhatWasErased(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	i.project()
	i.claims(canary, ann, elsa)
	restore := i.backup()
	i.erase(privacy.Request{Tenant: 1, Caller: canary.number, Wait: time.Minute})
	i.erase(privacy.Request{Tenant: 1, Call: ann.call(0), Wait: time.Minute})
	all := []string{canary.number, ann.number}
	calls := append(canary.ids(), ann.ids()...)
	for tenant, want := range map[events.Tenant]bool{1: true, 2: false} {
		erased, err := i.service.Erased(tenant)
		if err != nil {
			t.Fatal(err)
		}
		if erased(canary.number) != want || erased(ann.number) {
			t.Errorf("to customer %d the erased caller is gone: %v, one with an erased call: %v", tenant, erased(canary.number), erased(ann.number))
		}
	}
	want := i.rows(1, all, calls...)
	if len(want["calls"]) != 2 {
		t.Fatalf("calls %v", want["calls"])
	}
	if n, err := i.service.Again(t.Context(), privacy.Request{}); err != nil || n != 0 {
		t.Errorf("without a restore %d are erased again, %v", n, err)
	}
	restore()
	if got := i.rows(1, all, calls...); len(got["calls"]) != 6 {
		t.Fatalf("the backup brings back %v", got["calls"])
	}
	// They call again, before anybody thinks of the ledger.
	again := canary
	again.calls = 5
	since := again.factsOf(4, time.Now().Add(time.Second))
	i.publish(since...)
	i.project()
	// With another key nobody is told from others, and nobody is taken for done.
	other := *i.service
	var err error
	if other.Vault, err = vault.New(strings.Repeat("cd", 32)); err != nil {
		t.Fatal(err)
	}
	if n, err := other.Again(t.Context(), privacy.Request{}); !errors.Is(err, privacy.ErrOtherKey) || n != 0 {
		t.Errorf("with another key %d are erased again, %v", n, err)
	}
	if _, err := other.Erased(1); !errors.Is(err, privacy.ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}
	n, err := i.service.Again(t.Context(), privacy.Request{Wait: time.Minute, Files: true})
	if err != nil || n != 2 {
		t.Fatalf("%d are erased again, %v", n, err)
	}
	got := i.rows(1, all, calls...)
	if len(got["calls"]) != 3 || len(got["caller_profiles"]) != 2 || len(got["leads"]) != 2 || len(got["sms_opt_outs"]) != 1 || len(got["extractions"]) != 2 {
		t.Errorf("left: %d %d %d %d %d", len(got["calls"]), len(got["caller_profiles"]), len(got["leads"]), len(got["sms_opt_outs"]), len(got["extractions"]))
	}
	for _, row := range got["texts"] {
		if strings.Contains(row, again.call(4)) && !strings.Contains(row, `"delivered_at":"20`) {
			t.Errorf("the text of the new call: %s", row)
		}
	}
	i.forget(1)
	i.project()
	i.claims(who{number: ann.number, name: ann.name, word: ann.word, tenant: 1, calls: 0})
	replayed := i.rows(1, all, calls...)
	delete(got, "extractions")
	delete(got, "sms_outbox")
	same(t, "after a replay", replayed, got)
	if n, err := i.service.Again(t.Context(), privacy.Request{}); err != nil || n != 0 {
		t.Errorf("%d are erased once more, %v", n, err)
	}
	if got := i.rows(2, []string{elsa.number}, elsa.ids()...); len(got["calls"]) != 2 {
		t.Errorf("the other business: %v", got)
	}
}

// Stopped at any moment, the same request goes on, and so does the ledger.
func TestErasingGoesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	for n, steps := range []int{1, 3, 4, 9, 20} {
		w := who{fmt.Sprint("+1206555060", n), fmt.Sprint("Name", n), fmt.Sprint("word", n), 1, 2}
		i.publish(w.facts()...)
		i.project()
		ctx, cancel := context.WithCancel(t.Context())
		left := steps
		_, err := i.service.Erase(ctx, privacy.Request{Tenant: 1, Caller: w.number, By: "test", Wait: time.Minute, Progress: func(string, int, int) {
			if left--; left == 0 {
				cancel()
			}
		}})
		cancel()
		if err == nil {
			t.Fatalf("not stopped at step %d", steps)
		}
		if n%2 == 0 {
			var c privacy.Certificate
			c, err = i.service.Erase(t.Context(), privacy.Request{Tenant: 1, Caller: w.number, By: "test", Wait: time.Minute})
			if errors.Is(err, privacy.ErrNothing) { // stopped before it had begun
				t.Errorf("step %d: %v", steps, err)
			}
			var sum int64
			for _, n := range c.Facts {
				sum += n
			}
			if sum != int64(len(w.facts())) || c.Rows["calls"] == 0 || c.Rows["caller_profiles"] == 0 {
				t.Errorf("stopped at step %d: the certificate tells of %v and %v", steps, c.Facts, c.Rows)
			}
		} else {
			_, err = i.service.Again(t.Context(), privacy.Request{Wait: time.Minute})
		}
		if err != nil {
			t.Errorf("stopped at step %d: %v", steps, err)
		}
		if got := i.rows(1, []string{w.number}, w.ids()...); len(got) > 0 {
			t.Errorf("stopped at step %d, left: %v", steps, got)
		}
		_, err = i.bus.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
			if bytes.Contains(s.Data, []byte(w.name)) || bytes.Contains(s.Data, []byte(w.number)) {
				return fmt.Errorf("left: %s", s.Name)
			}
			return nil
		})
		if err != nil {
			t.Errorf("stopped at step %d: %v", steps, err)
		}
		rows, err := i.store.For(1)
		if err != nil {
			t.Fatal(err)
		}
		all, err := rows.Erasures(t.Context())
		if err != nil || len(all) != n+1 || all[n].State != "done" || all[n].Sealed != "" {
			t.Errorf("stopped at step %d: records %+v, %v", steps, all, err)
		}
	}
}

// Killed while it removes something, nothing is written down of what went since:
// the certificate of whoever goes on does not tell a number that is too low
// without saying so, nor one that is too high.
func TestACertificateDoesNotCountWhatItCannotKnow(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	read := func(r privacy.Request) (c privacy.Certificate, text string, line privacy.Entry) {
		c = i.erase(r)
		var b strings.Builder
		c.Text(&b)
		all, err := i.service.Ledger.Entries()
		if err != nil || all[len(all)-1].ID != c.ID {
			t.Fatalf("ledger %+v, %v", all, err)
		}
		return c, b.String(), all[len(all)-1]
	}
	for n, at := range []struct {
		step          string
		done          int
		kill, atLeast bool
	}{
		{"facts of the log", 5, true, true},
		{"rows", 0, true, true}, // it cannot tell
		{"facts of the log", 5, false, true},
		{"looking for what is there", 0, true, false},
		{"", 0, false, false}, // not stopped
	} {
		w := who{fmt.Sprint("+1206555070", n), fmt.Sprint("Name", n), fmt.Sprint("word", n), 1, 2}
		i.publish(w.facts()...)
		i.project()
		r := privacy.Request{Tenant: 1, Caller: w.number, By: "test", Wait: time.Minute}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := r
		stopped.Progress = func(step string, done, _ int) {
			if step != at.step || done != at.done {
				return
			}
			if cancel(); at.kill {
				panic("killed") // nothing after this is done
			}
		}
		if at.step != "" {
			func() {
				defer func() { _ = recover() }()
				_, err := i.service.Erase(ctx, stopped)
				t.Logf("stopped: %v", err)
			}()
		}
		cancel()
		c, text, line := read(r)
		var facts int64
		for _, n := range c.Facts {
			facts += n
		}
		all := int64(len(w.facts()))
		if c.AtLeast != at.atLeast || line.AtLeast != at.atLeast || strings.Contains(text, "at least") != at.atLeast {
			t.Errorf("%s: at least %v, in the ledger %v: %s", at.step, c.AtLeast, line.AtLeast, text)
		}
		if facts > all || facts < all-int64(at.done) || !at.atLeast && facts != all || c.Rows["calls"] != 2 {
			t.Errorf("%s: %d of %d facts, rows %v", at.step, facts, all, c.Rows)
		}
	}
}

// A call that is under way is waited for, and what it states goes too; what
// arrives later still is found by whoever sweeps.
// A caller may have more calls than one fact has room for.
func TestACallerOfManyCallsIsErased(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	const many = 1050
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(50)
	for n := range many {
		group.Go(func() error {
			f := events.CallSummarized{
				Caller: canary.number, StartedAt: time.Now().Add(-time.Hour), EndedAt: time.Now().Add(-time.Hour), Sentiment: "neutral", Resolution: "unknown", Reason: events.EndCaller,
				Topics: []string{}, Findings: []events.Finding{}, Rejected: []events.Reject{}, Messages: []events.Message{}, Style: []events.Measure{},
			}
			_, err := i.bus.Publish(ctx, events.New(1, fmt.Sprintf("many-%0250d", n), f.StartedAt, events.CallRederived{Run: "r", Summarized: f}))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if c := i.erase(privacy.Request{Tenant: 1, Caller: canary.number}); len(c.Calls) != many || c.Facts["call.rederived"] != many {
		t.Errorf("%d calls, %v", len(c.Calls), c.Facts)
	}
}

func TestACallUnderWayIsErasedWithTheRest(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(1)
	facts := canary.factsOf(0, time.Now().Add(-2*time.Minute))
	i.publish(facts[:3]...)
	i.project()
	outbox, err := i.bus.OpenOutbox(filepath.Join(i.dir, "outbox"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = outbox.Close(context.Background()) })
	if err := outbox.PutCall(bus.CallEntry{Tenant: 1, Call: canary.call(0), Owner: "me", Epoch: 1, From: canary.number}); err != nil {
		t.Fatal(err)
	}
	for outbox.Depth() > 0 {
		if t.Context().Err() != nil {
			t.Fatal("never stored")
		}
	}
	r := privacy.Request{Tenant: 1, Caller: canary.number, By: "test"}
	if _, err := i.service.Erase(t.Context(), r); !errors.Is(err, privacy.ErrBusy) {
		t.Errorf("while it is live: %v", err)
	}
	once := false
	r.Wait, r.Progress = time.Minute, func(step string, _, _ int) {
		if !strings.HasPrefix(step, "waiting") || once {
			return
		}
		once = true
		i.publish(facts[3:8]...) // it goes on, and ends
		if err := outbox.DeleteCall(1, canary.call(0)); err != nil {
			t.Error(err)
		}
	}
	c := i.erase(r)
	if !once || c.Facts["call.summarized"] != 1 || c.Facts["turn.spoken"] != 1 {
		t.Errorf("waited %v, erased %v", once, c.Facts)
	}
	i.publish(facts[8:]...) // a text about it
	n, err := i.service.Late(t.Context(), 1)
	if err != nil || n != 3 {
		t.Errorf("%d late facts, %v", n, err)
	}
	_, err = i.bus.Search(t.Context(), 1, 1, nil, func(s bus.Stored) error {
		if bytes.Contains(s.Data, []byte(canary.name)) || strings.HasPrefix(s.Name, "sms.") {
			return fmt.Errorf("left: %s", s.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := i.rows(1, []string{canary.number}, canary.ids()...); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// A business that leaves takes all it has, and nothing of another's.
func TestEraseABusiness(t *testing.T) {
	t.Parallel()
	i := install(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	i.project()
	i.claims(canary, ann, elsa)
	restore := i.backup()
	other := i.rows(2, []string{elsa.number}, elsa.ids()...)
	words := append(canary.words(), ann.name, ann.number, "Business 1")
	if found := i.scan(words...); len(found) < len(words) {
		t.Fatalf("before, only %v are found", found)
	}
	check := func(when string) {
		t.Helper()
		if found := i.scan(words...); len(found) > 0 {
			t.Errorf("%s, words are found: %+v", when, found)
		}
		if _, err := i.store.Settings(t.Context(), 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s, its settings are there: %v", when, err)
		}
		same(t, when+", the other business", other, i.rows(2, []string{elsa.number}, elsa.ids()...))
		v, err := i.bus.SettingsVersions(t.Context())
		if err != nil || v[1] != 0 {
			t.Errorf("%s, the bus has settings %v, %v", when, v, err)
		}
	}
	c := i.erase(privacy.Request{Tenant: 1, All: true, Files: true, Wait: time.Minute})
	if c.Rows["customers"] != 1 || c.Rows["phone_numbers"] != 1 || c.Rows["calls"] != 6 || c.Facts["turn.heard"] != 6 {
		t.Errorf("certificate %+v", c)
	}
	check("erased")
	restore()
	if n, err := i.service.Again(t.Context(), privacy.Request{Files: true}); n != 1 || err != nil {
		t.Errorf("%d are erased again, %v", n, err)
	}
	check("erased again")
}

func TestWhatIsNotClearlyAskedForIsRefused(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(elsa.facts()...)
	i.project()
	for name, r := range map[string]privacy.Request{
		"no tenant":       {Caller: elsa.number, By: "x"},
		"nobody":          {Tenant: 2, By: "x"},
		"two at once":     {Tenant: 2, Caller: elsa.number, Call: "CA1", By: "x"},
		"no number":       {Tenant: 2, Caller: "anonymous", By: "x"},
		"asked by no one": {Tenant: 2, Caller: elsa.number},
		"of another":      {Tenant: 1, Caller: elsa.number, By: "x"},
		"another's call":  {Tenant: 1, Call: elsa.call(0), By: "x"},
		"an unknown call": {Tenant: 2, Call: "CA404", By: "x"},
	} {
		if _, err := i.service.Erase(t.Context(), r); err == nil {
			t.Errorf("%s: erased", name)
		}
	}
	if _, _, err := i.store.UpdateSettings(t.Context(), 2, func(s *events.Settings) error { s.Retention = &events.Retention{Hold: true}; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := i.service.Erase(t.Context(), privacy.Request{Tenant: 2, Caller: elsa.number, By: "x"}); !errors.Is(err, privacy.ErrHeld) {
		t.Errorf("on hold: %v", err)
	}
	if got := i.rows(2, []string{elsa.number}, elsa.ids()...); len(got["calls"]) != 2 {
		t.Errorf("left: %v", got)
	}
	if entries, err := i.service.Ledger.Entries(); err != nil || len(entries) > 0 {
		t.Errorf("ledger %v, %v", entries, err)
	}
}
