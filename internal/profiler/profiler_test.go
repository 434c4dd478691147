package profiler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

var began = time.Date(2026, 5, 6, 15, 0, 0, 0, time.UTC)

func newWorker(t *testing.T, db *testenv.Database) *worker {
	t.Helper()
	models, err := readmodel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{
		log: zap.NewNop(), store: db.Store, models: models, created: began, refolds: make(chan events.Tenant, 100),
		cutShort: prometheus.NewCounter(prometheus.CounterOpts{Name: "cut_short"}), sound: map[events.Tenant]bool{}, patience: time.Hour,
		holds: func(context.Context, uint64, string) (bool, error) { return true, nil },
		leaveOut: func(_ context.Context, e events.Event, reason string) error {
			t.Errorf("event %s is left out: %s", e.ID, reason)
			return nil
		},
	}
	return w
}

// leads has a worker lead until stop is called.
func leads(t *testing.T, b *bus.Bus, db *testenv.Database) (stop func()) {
	t.Helper()
	return lead(t, b, db, patience)
}

func lead(t *testing.T, b *bus.Bus, db *testenv.Database, patience time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := newWorker(t, db)
	w.leaveOut, w.holds, w.patience = b.LeaveOut, b.Holds, patience
	go func() {
		var err error
		// The one before may not have let go yet; a bus may have been restored.
		for ctx.Err() == nil && (err == nil || errors.Is(err, bus.ErrCutShort) || errors.Is(err, bus.ErrAway)) {
			err = w.lead(ctx, &app.Platform{Log: zap.NewNop(), Bus: b, Store: db.Store})
		}
		done <- err
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("leading: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// applied is how far the stream is in one tenant's rows.
func applied(t *testing.T, db *testenv.Database, tenant events.Tenant) (seq uint64) {
	t.Helper()
	for _, row := range db.Rows(t, tenant)["projection_offsets"] {
		var o struct{ Seq uint64 }
		if err := json.Unmarshal([]byte(row), &o); err != nil {
			t.Fatal(err)
		}
		seq = o.Seq
	}
	return seq
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

var insurance = func() events.Template {
	all, err := store.Templates()
	if err != nil {
		panic(err)
	}
	return all[slices.IndexFunc(all, func(t events.Template) bool { return t.ID == "insurance_v1" })]
}()

func settingsChanged(tenant events.Tenant, version int64, tpl events.Template) events.SettingsChanged {
	return events.SettingsChanged{Changed: []string{"template"}, Settings: events.Settings{
		Tenant: tenant, Version: version, Status: "active", Name: "of " + tenant.String(), Numbers: []string{"+12065550100"}, TimeZone: "UTC", Language: "en",
		Agent: "Sam", Greeting: "Hello.", Blocks: map[string]string{}, Sliders: map[string]int{}, Template: tpl, Transfers: []events.Transfer{}, SMSTo: []string{},
	}}
}

// day is everything that may happen to one business, in the order it did.
func day(tenant events.Tenant) (all []events.Event) {
	mark := "of " + tenant.String()
	at := began
	say := func(call string, n int, f events.Fact) {
		e := events.New(tenant, call, at, f)
		e.CallSeq = n
		all = append(all, e)
		at = at.Add(time.Second)
	}
	say("", 0, settingsChanged(tenant, 2, insurance)) // after those it was made with
	for i := range 6 {
		call := fmt.Sprint("CA", i)
		from := fmt.Sprint("+1206555019", i%2)
		start := at
		say(call, 1, events.CallReceived{From: from, To: "+12065550100"})
		say(call, 2, events.CallAnswered{Session: "s", Greeting: "Hello " + mark})
		for turn := 1; turn < 4; turn++ {
			say(call, 2*turn+1, events.TurnHeard{Turn: turn, Text: fmt.Sprint("heard ", turn, " ", mark)})
			say(call, 2*turn+2, events.TurnSpoken{Turn: turn, Text: fmt.Sprint("spoken ", turn, " ", mark), Cut: turn == 2})
		}
		say(call, 0, events.MessageTaken{Turn: 3, For: "Bo", Text: mark})
		say(call, 9, events.CallTransferred{To: "claims", Number: "+12065550111", Nth: 1})
		say(call, 10, events.CallTransferred{To: "claims", Outcome: "busy", Nth: 1})
		say(call, 0, events.CallRecorded{Recording: "RE" + call, URL: "https://example.com/" + call, Seconds: 60})
		say(call, 11, events.CallEnded{From: from, To: "+12065550100", StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Turns: 3, Answered: true})
		for revision := range 1 + i%2 {
			f := events.CallSummarized{
				Caller: from, StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Revision: revision,
				Summary: fmt.Sprint("summary ", revision, " ", mark), Sentiment: "neutral", Resolution: "unknown", Template: "insurance_v1", Topics: []string{}, Rejected: []events.Reject{}, Messages: []events.Message{},
				Style: []events.Measure{{Metric: "patience", Micros: int64(i+revision) * 1_000_003}},
			}
			for field, v := range map[string]string{"personal.name": "Ann " + tenant.String(), "policies.auto_1.make": []string{"Kia", "Audi", "Volvo"}[i%3], "memory.date": fmt.Sprint("May ", i)} {
				f.Findings = append(f.Findings, events.Finding{Turn: 1, Evidence: v, Subject: "caller", Field: field, Value: v, Confidence: "stated"})
			}
			slices.SortFunc(f.Findings, func(a, b events.Finding) int { return strings.Compare(a.Field, b.Field) })
			say(call, 0, f)
		}
		message := events.Derive("text", call)
		say(call, 0, events.SMSRequested{Message: message, To: "+12065550177", Purpose: "summary", Body: mark})
		say(call, 0, events.SMSSent{Message: message, To: "+12065550177", Purpose: "summary", SID: "SM" + call, From: "+12065550100"})
		say(call, 0, events.SMSDelivered{Message: message, SID: "SM" + call})
	}
	say("", 0, events.LeadStaged{Caller: "+12065550190", Stage: "Underwriting", By: "staff:1", Nth: "1"})
	say("", 0, events.CallerCorrected{Caller: "+12065550191", Field: "personal.name", Value: "Anna " + tenant.String(), By: "staff:1", Nth: "1"})
	say("", 0, events.SMSOptedOut{Number: "+12065550177", Source: "SM1"})
	say("", 0, events.SMSOptedIn{Number: "+12065550177", Source: "SM2"})
	say("", 0, events.LeadStaged{Caller: "+12065550199", Stage: "Lost", By: "staff:1", Nth: "2"}) // never called
	// What is known of those who never called.
	say("", 0, events.MemoryStored{Memory: "M1 " + mark, Caller: "+12065550198", Type: "fact", Key: "pet", Value: `"a dog ` + mark + `"`, Origin: "api", By: "api:1"})
	say("", 0, events.MemoryStored{Memory: "M2 " + mark, Caller: "+12065550198", Type: "fact", Key: "pet", Value: `"a cat ` + mark + `"`, Origin: "api"})
	say("", 0, events.MemoryForgotten{Memory: "M2 " + mark, Caller: "+12065550198", By: "api:1"})
	say("", 0, events.CallerImported{Caller: "+12065550190", Source: "old", Digest: "1", First: began.AddDate(-1, 0, 0), Last: began, Calls: 7, KnownAs: "Anne", Fields: map[string]string{"imported.color": "red " + mark}, Averages: []events.ImportedAverage{{Metric: "patience", N: 7, Sum: 70}}})
	say("", 0, events.CallerImported{Caller: "+12065550197", Source: "old", Digest: "1", First: began.AddDate(-1, 0, 0), Last: began, KnownAs: "Bo " + mark, Averages: []events.ImportedAverage{{Metric: "patience", N: 1, Sum: 70}}})
	say("", 0, events.CallerCorrected{Caller: "+12065550196", Field: "personal.name", Value: "Cy " + mark, By: "staff:1", Nth: "1", Reason: "said so by mail"})
	// Two calls that are erased: one of them with its caller.
	for _, gone := range []string{"CA-gone", "CA-his"} {
		for _, f := range erasedCall(gone, at, "+12065550190", mark) {
			say(gone, 0, f)
		}
		say("", 0, events.MemoryStored{Memory: gone + mark, Caller: "+12065550190", Type: "fact", Key: "gone", Value: `"x"`, Origin: "staff", Call: gone})
	}
	say("CA-gone", 0, events.CallErased{By: "staff:1"})
	say("", 0, events.CallerErased{Ref: "ref", By: "staff:1", Calls: []string{"CA-his"}})
	return all
}

// erasedCall is everything that leads to rows of one call.
func erasedCall(call string, at time.Time, from, mark string) []events.Fact {
	return []events.Fact{
		events.CallReceived{From: from, To: "+12065550100"},
		events.CallAnswered{Session: "s", Greeting: "Hello " + mark},
		events.MessageTaken{Turn: 3, For: "Bo", Text: mark},
		events.CallTransferred{To: "claims", Number: "+12065550111", Nth: 1},
		events.CallRecorded{Recording: "RE" + call, URL: "https://example.com/" + call, Seconds: 60},
		events.CallEnded{From: from, To: "+12065550100", StartedAt: at, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Turns: 3, Answered: true},
		events.CallSummarized{
			Caller: from, StartedAt: at, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Summary: "erased " + mark, Sentiment: "neutral", Resolution: "unknown",
			Template: "insurance_v1", Topics: []string{}, Rejected: []events.Reject{}, Messages: []events.Message{}, Style: []events.Measure{{Metric: "patience", Micros: 5}},
			Findings: []events.Finding{{Turn: 1, Evidence: "Zoe", Subject: "caller", Field: "personal.name", Value: "Zoe", Confidence: "stated"}},
		},
		events.SMSRequested{Message: events.Derive("text", call), To: "+12065550177", Purpose: "summary", Body: mark},
		events.SMSDelivered{Message: events.Derive("text", call), SID: "SM" + call},
	}
}

// woven are the days of several businesses as one stream has them.
func woven(tenants ...events.Tenant) (all []events.Event) {
	var days [][]events.Event
	for _, id := range tenants {
		days = append(days, day(id))
	}
	for i := range days[0] {
		for _, d := range days {
			all = append(all, d[i])
		}
	}
	return all
}

func publish(t *testing.T, b *bus.Bus, all []events.Event) (last map[events.Tenant]uint64) {
	t.Helper()
	last = map[events.Tenant]uint64{}
	for _, e := range all {
		seq, err := b.Publish(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(readmodel.Filters(), events.Filter(e.Fact.Name())) {
			last[e.Tenant] = seq
		}
	}
	return last
}

func reached(t *testing.T, db *testenv.Database, last map[events.Tenant]uint64) {
	t.Helper()
	for tenant, seq := range last {
		until(t, fmt.Sprintf("rows of tenant %s are those of %d", tenant, seq), func() bool { return applied(t, db, tenant) >= seq })
		until(t, "profiles are of the tenant's template", func() bool {
			rows := db.Rows(t, tenant)["tenant_templates"]
			return len(rows) == 0 || strings.Contains(rows[0], `"refold_after": null`)
		})
	}
}

func same(t *testing.T, what string, want, got map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// The stream read again from its beginning makes the same rows, to the byte:
// whether they were written as things happened, with the worker stopped again
// and again, or all at once.
func TestSameRowsAfterReplay(t *testing.T) {
	t.Parallel()
	b, live, stopped, again := testenv.Bus(t), testenv.Postgres(t), testenv.Postgres(t), testenv.Postgres(t)
	all := woven(1, 2)
	leads(t, b, live)
	r := rand.New(rand.NewPCG(1, 2))
	last := map[events.Tenant]uint64{}
	for len(all) > 0 {
		n := min(len(all), 1+r.IntN(40))
		stop := leads(t, b, stopped)
		maps.Copy(last, publish(t, b, all[:n]))
		all = all[n:]
		if r.IntN(2) == 0 {
			reached(t, stopped, last)
		} else { // somewhere in the middle
			until(t, "something is applied", func() bool { return applied(t, stopped, 1) > 0 })
		}
		stop()
	}
	leads(t, b, stopped)
	leads(t, b, again)
	for _, db := range []*testenv.Database{live, stopped, again} {
		reached(t, db, last)
	}
	for _, tenant := range []events.Tenant{1, 2} {
		want := live.Rows(t, tenant)
		for _, table := range []string{"calls", "messages_taken", "call_summaries", "caller_facts", "memories", "caller_profiles", "personality_metrics", "personality_averages", "leads", "texts", "sms_opt_outs", "transfers", "recordings", "tenant_templates", "erased_calls", "erased_callers"} {
			if len(want[table]) == 0 {
				t.Errorf("nothing in %s", table)
			}
		}
		same(t, "stopped again and again", want, stopped.Rows(t, tenant))
		same(t, "read again", want, again.Rows(t, tenant))
	}
}

// stream gives events the sequences of a stream of their own.
func stream(all []events.Event) []events.Event {
	all = slices.Clone(all)
	for i := range all {
		all[i].Seq = uint64(i + 1)
	}
	return all
}

// timeless are rows without their sequences, which tell when something came.
func timeless(t *testing.T, rows map[string][]string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for table, all := range rows {
		for _, raw := range all {
			var row map[string]any
			if err := json.Unmarshal([]byte(raw), &row); err != nil {
				t.Fatal(err)
			}
			delete(row, "seq")
			delete(row, "refold_after")
			if table == "projection_offsets" {
				delete(row, "event_id") // of whatever came last
			}
			short, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			out[table] = append(out[table], string(short))
		}
		slices.Sort(out[table])
	}
	return out
}

// Facts come late, in any order and more than once: the rows are the same.
func TestRowsDoNotDependOnTheOrderOfArrival(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	all := day(1)
	if err := newWorker(t, db).apply(t.Context(), stream(all)); err != nil {
		t.Fatal(err)
	}
	want := timeless(t, db.Rows(t, 1))
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		late := slices.Concat(all, all[:len(all)/2]) // stored twice
		r.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
		late = stream(late)
		db.Clear(t, 1)
		w := newWorker(t, db)
		for len(late) > 0 {
			n := min(len(late), 1+r.IntN(30))
			if err := w.apply(t.Context(), late[:n]); err != nil {
				t.Fatal(err)
			}
			late = late[n:]
		}
		w.refoldTenant(t.Context(), 1) // of callers who came before the template
		same(t, fmt.Sprint("seed ", seed), want, timeless(t, db.Rows(t, 1)))
	}
}

// What comes of an erased call, before that is said or after, leaves no rows:
// they are those there would be had the call never been.
func TestErasedCallsLeaveNoRows(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	all, never := day(1), []events.Event{}
	for _, e := range all {
		f, ok := e.Fact.(events.MemoryStored)
		if _, erased := e.Fact.(events.CallerErased); !strings.HasPrefix(e.Call, "CA-") && (!ok || f.Call == "") && !erased {
			never = append(never, e)
		}
	}
	if len(all)-len(never) < 20 {
		t.Fatalf("%d facts are of erased calls", len(all)-len(never))
	}
	if err := newWorker(t, db).apply(t.Context(), stream(never)); err != nil {
		t.Fatal(err)
	}
	rows := func() map[string][]string {
		got := timeless(t, db.Rows(t, 1))
		delete(got, "projection_offsets")
		delete(got, "erased_calls")
		delete(got, "erased_callers")
		return got
	}
	want := rows()
	backwards := slices.Clone(all)
	slices.Reverse(backwards)
	for name, all := range map[string][]events.Event{"erased in the end": all, "erased before": backwards} {
		for _, n := range []int{1, 7, len(all)} {
			db.Clear(t, 1)
			w := newWorker(t, db)
			for some := range slices.Chunk(stream(all), n) {
				if err := w.apply(t.Context(), some); err != nil {
					t.Fatal(err)
				}
			}
			w.refoldTenant(t.Context(), 1)
			same(t, fmt.Sprintf("%s, %d at a time", name, n), want, rows())
		}
	}
}

// A caller is known by what was stored, imported or set right, without a call.
func TestCallersAreKnownWithoutCalls(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	w := newWorker(t, db)
	if err := w.apply(t.Context(), stream(day(1))); err != nil {
		t.Fatal(err)
	}
	w.refoldTenant(t.Context(), 1)
	rows, err := db.Store.For(1)
	if err != nil {
		t.Fatal(err)
	}
	for caller, want := range map[string]string{
		"+12065550190": "true Ann 1 10 false Underwriting map[date:May 4]", // 3 calls, and 7 before
		"+12065550196": "true Cy of 1 0 true  map[]",
		"+12065550197": "true Bo of 1 0 false  map[]",
		"+12065550198": `true  0 true  map[pet:"a dog of 1"]`,
		"+12065550199": "true  0 true Lost map[]",
		"+12065550100": "false  0 true  map[]",
	} {
		c, err := rows.CallerContext(t.Context(), caller, 5)
		if got := fmt.Sprint(c.Known, c.Name, c.Calls, c.Last.IsZero(), c.Stage, c.Memories); err != nil || strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: %s, %v; want %s", caller, got, err, want)
		}
	}
}

// Events handed over again change nothing, by their place in the stream or, where
// they are stored more than once, by what they say.
func TestNothingIsAppliedTwice(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	w := newWorker(t, db)
	all := stream(day(1))
	if err := w.apply(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	want := db.Rows(t, 1)
	if err := w.apply(t.Context(), all[len(all)/2:]); err != nil {
		t.Fatal(err)
	}
	same(t, "handed over again", want, db.Rows(t, 1))
	var thrice []events.Event
	for range 3 {
		thrice = append(thrice, all...)
	}
	thrice = stream(thrice)
	delete(want, "projection_offsets")
	for _, batch := range []int{len(thrice), 7} {
		db.Clear(t, 1)
		for some := range slices.Chunk(thrice, batch) {
			if err := w.apply(t.Context(), some); err != nil {
				t.Fatal(err)
			}
		}
		got := db.Rows(t, 1)
		delete(got, "projection_offsets")
		same(t, fmt.Sprintf("stored three times, %d at a time", batch), want, got)
	}
}

// A tenant whose template changes gets profiles of the new one, and those of
// the old one back when it returns.
func TestProfilesFollowTheTemplate(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), testenv.Postgres(t)
	leads(t, b, db)
	version := int64(2) // as in woven
	set := func(id, bio string, own ...events.Field) {
		tpl := insurance
		tpl.ID, tpl.BioFormat, tpl.Extra = id, bio, own
		version++
		if _, err := b.Publish(t.Context(), events.New(1, "", began, settingsChanged(1, version, tpl))); err != nil {
			t.Fatal(err)
		}
	}
	bio := func() string {
		rows, err := db.Store.For(1)
		if err != nil {
			t.Fatal(err)
		}
		c, err := rows.CallerContext(t.Context(), "+12065550190", 1)
		if err != nil {
			t.Fatal(err)
		}
		return c.QuickBio
	}
	reached(t, db, publish(t, b, woven(1, 2)))
	before := db.Rows(t, 1)
	set("insurance_v2", "It is {name}, {color}", events.Field{Path: "imported.color", Type: "text"})
	until(t, "the new bio", func() bool { return bio() == "It is Ann 1, red of 1" })
	if row := strings.Join(db.Rows(t, 1)["caller_profiles"], "\n"); !strings.Contains(row, `"insurance_v2"`) {
		t.Errorf("profiles are of another template: %s", row)
	}
	set("insurance_v2", "It is {name}, {color}", events.Field{Path: "imported.color", Type: "text", Sensitive: true})
	until(t, "the bio without what is kept sealed", func() bool { return bio() == "" })
	set(insurance.ID, insurance.BioFormat)
	until(t, "the old bio", func() bool { return !strings.HasPrefix(bio(), "It is") })
	until(t, "all is as it was", func() bool {
		after := db.Rows(t, 1)
		for _, table := range []string{"caller_profiles", "memories", "personality_averages", "leads"} {
			if !slices.Equal(before[table], after[table]) {
				return false
			}
		}
		return true
	})
}

// What can neither be written nor left out holds up its tenant until it can:
// the position is that of the rows, and another's are not touched by it.
func TestPositionAndRowsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	w := newWorker(t, db)
	all := stream(woven(1, 2))
	bad := slices.Clone(all)
	i := slices.IndexFunc(bad, func(e events.Event) bool {
		return e.Tenant == 2 && e.Fact.Name() == "call.received" && e.Call != all[0].Call
	})
	f := bad[i].Fact.(events.CallReceived)
	f.From = "\x00" // PostgreSQL has no such character
	bad[i].Fact = f
	away := errors.New("bus is away")
	w.leaveOut = func(context.Context, events.Event, string) error { return away }
	if err := w.apply(t.Context(), bad); !errors.Is(err, away) {
		t.Fatalf("a row that cannot be written: %v", err)
	}
	before := i - 1
	for all[before].Tenant != 2 {
		before--
	}
	if at := applied(t, db, 2); at != all[before].Seq {
		t.Errorf("applied to %d, and the rows to %d", at, all[before].Seq)
	}
	if floor, _, err := db.Store.Floor(t.Context(), Projection); err != nil || floor != 0 {
		t.Errorf("the floor is %d, %v", floor, err)
	}
	if err := w.apply(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	got := [2]map[string][]string{db.Rows(t, 1), db.Rows(t, 2)}
	db.Clear(t, 1)
	db.Clear(t, 2)
	if err := newWorker(t, db).apply(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	same(t, "written without trouble", db.Rows(t, 1), got[0])
	same(t, "written after trouble", db.Rows(t, 2), got[1])
}

// The same calls from the same number to two businesses are two callers.
func TestTenantsAreNotMixed(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	if err := newWorker(t, db).apply(t.Context(), stream(woven(1, 2))); err != nil {
		t.Fatal(err)
	}
	for tenant, other := range map[events.Tenant]events.Tenant{1: 2, 2: 1} {
		mine := 0
		for table, rows := range db.Rows(t, tenant) {
			for _, row := range rows {
				mine += strings.Count(row, "of "+tenant.String())
				if strings.Contains(row, "of "+other.String()) || strings.Contains(row, "Ann "+other.String()) {
					t.Errorf("%s of tenant %s: %s", table, tenant, row)
				}
			}
		}
		if mine < 20 {
			t.Errorf("tenant %s has %d words of its own", tenant, mine)
		}
		rows, err := db.Store.For(tenant)
		if err != nil {
			t.Fatal(err)
		}
		c, err := rows.CallerContext(t.Context(), "+12065550190", 5)
		if err != nil || c.Name != "Ann "+tenant.String() || c.Calls != 10 || c.Stage != "Underwriting" || len(c.Summaries) != 3 || c.Memories["date"] != "May 4" {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if rows := db.Rows(t, 3); len(rows) > 0 {
		t.Errorf("rows of a tenant there is not: %v", rows)
	}
}

// What the database will never take is a dead letter, and nothing waits for it.
func TestARefusedRowIsLeftOut(t *testing.T) {
	t.Parallel()
	b, db, sound := testenv.Bus(t), testenv.Postgres(t), testenv.Postgres(t)
	all := woven(1, 2)
	if err := newWorker(t, sound).apply(t.Context(), stream(all)); err != nil {
		t.Fatal(err)
	}
	call := all[0].Call
	bad := []events.Event{
		events.New(1, call, began, events.CallTransferred{To: "no column is as wide", Nth: 3_000_000_000}),
		events.New(1, "CA-too-long", began, events.CallEnded{From: "+12065550190", To: "+12065550100", StartedAt: began, EndedAt: began, Seconds: 1 << 40, Reason: events.EndCaller}),
	}
	for i, e := range bad {
		all = slices.Insert(all, 7*i+5, e)
	}
	last := publish(t, b, all)
	leads(t, b, db)
	reached(t, db, last)
	for _, tenant := range []events.Tenant{1, 2} {
		want, got := timeless(t, sound.Rows(t, tenant)), timeless(t, db.Rows(t, tenant))
		delete(want, "projection_offsets")
		delete(got, "projection_offsets")
		same(t, "rows beside it", want, got)
	}
	letters, err := b.DeadLetters(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, l := range letters {
		left = append(left, l.EventID)
		if strings.Contains(l.Reason, "wide") || !strings.Contains(l.Reason, "refuses") {
			t.Errorf("reason: %s", l.Reason)
		}
	}
	want := []string{bad[0].ID, bad[1].ID}
	slices.Sort(want)
	slices.Sort(left)
	if !slices.Equal(want, left) {
		t.Errorf("left out: %v, want %v", left, want)
	}
}

func TestOneLeadsAndTheNextGoesOn(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), testenv.Postgres(t)
	all := woven(1)
	stop := leads(t, b, db)
	last := publish(t, b, all[:len(all)/2])
	reached(t, db, last)
	if err := newWorker(t, db).lead(t.Context(), &app.Platform{Log: zap.NewNop(), Bus: b, Store: db.Store}); err != nil {
		t.Fatal(err) // stands by, and says so by returning at once
	}
	stop()
	last = publish(t, b, all[len(all)/2:])
	if got := applied(t, db, 1); got >= last[1] {
		t.Errorf("%d applied by nobody", got)
	}
	leads(t, b, db)
	reached(t, db, last)
}

// What the bus lost of the settings is put back from the rows, as it is now.
func TestSettingsTheBusLostAreBack(t *testing.T) {
	t.Parallel()
	b, db := testenv.Bus(t), testenv.Postgres(t)
	kept, lost := db.Customer(t, events.Settings{}), db.Customer(t, events.Settings{})
	there := func() bool {
		have, err := b.SettingsVersions(t.Context())
		return err == nil && have[kept.Tenant] == kept.Version && have[lost.Tenant] == lost.Version
	}
	stop := leads(t, b, db)
	until(t, "all settings are on the bus", there)
	until(t, "it is known that they are", func() bool {
		all, err := db.Store.Unpublished(t.Context())
		return err == nil && len(all) == 0
	})
	stop()
	if err := b.DeleteSettings(t.Context(), lost.Tenant); err != nil || there() {
		t.Fatalf("not lost: %v", err)
	}
	leads(t, b, db)
	until(t, "all settings are on the bus again", there)
}

// Rows of one stream are not mixed with those of another.
func TestAnotherStreamIsRefused(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t)
	b := testenv.Bus(t)
	stop := leads(t, b, db)
	reached(t, db, publish(t, b, woven(1)))
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for name, all := range map[string][]events.Event{"shorter than what was read": woven(1)[:3], "longer": woven(1, 2, 3)} {
		other := testenv.Bus(t)
		publish(t, other, all)
		w := newWorker(t, db)
		w.holds = other.Holds
		err := w.lead(ctx, &app.Platform{Log: zap.NewNop(), Bus: other, Store: db.Store})
		for err == nil && ctx.Err() == nil { // the one before may not have let go yet
			err = w.lead(ctx, &app.Platform{Log: zap.NewNop(), Bus: other, Store: db.Store})
		}
		if !errors.Is(err, store.ErrRecreated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bus restored from an older backup gives the sequences of what it has lost
// to other facts. None of those is left out of the rows, and none of what was
// in them counts twice.
func TestNoFactIsSkippedAfterTheBusWasRestored(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		leading bool // meanwhile
		floor   bool // it is as high as the rows
		lost    int  // facts
		fresh   int  // facts since
	}{
		"the stream ends before the floor":    {false, true, 60, 0},
		"it ends at the floor":                {false, true, 20, 20},
		"it has grown beyond it":              {false, true, 20, 40},
		"the floor is what both have":         {false, false, 20, 10},
		"it is restored while it is followed": {true, true, 40, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db, want := testenv.Server(t), testenv.Postgres(t), testenv.Postgres(t)
			b := s.Bus(t, bus.Options{Name: "test"})
			all := woven(1, 2)
			kept := len(all) - tc.lost - tc.fresh
			stop := leads(t, b, db)
			reached(t, db, publish(t, b, all[:kept]))
			restore := s.Backup()
			reached(t, db, publish(t, b, all[kept:kept+tc.lost]))
			if !tc.leading {
				stop()
			}
			at := kept
			if tc.floor {
				at += tc.lost
			}
			if err := db.Store.SetFloor(t.Context(), Projection, uint64(at), all[at-1].ID); err != nil {
				t.Fatal(err)
			}
			restore()
			publish(t, b, all[kept+tc.lost:])
			if !tc.leading {
				leads(t, b, db)
			}
			if err := newWorker(t, want).apply(t.Context(), stream(all)); err != nil {
				t.Fatal(err)
			}
			until(t, "every fact is in the rows", func() bool {
				return len(db.Rows(t, 1)["inbox"]) == len(want.Rows(t, 1)["inbox"]) && len(db.Rows(t, 2)["inbox"]) == len(want.Rows(t, 2)["inbox"])
			})
			for _, tenant := range []events.Tenant{1, 2} {
				want, got := timeless(t, want.Rows(t, tenant)), timeless(t, db.Rows(t, tenant))
				delete(want, "projection_offsets")
				delete(got, "projection_offsets")
				same(t, "rows", want, got)
			}
		})
	}
}
