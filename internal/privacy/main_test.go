package privacy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// live names the projection of these tests.
const live = "profiler"

// installation is bus, database and ledger as a process has them under its
// DATA_DIR, stored as the product does. It can be stopped, copied and restored.
type installation struct {
	t       testing.TB
	dir     string
	nats    *embedded.Server
	pg      *store.Private
	bus     *bus.Bus
	store   *store.Store
	service *privacy.Service
	stop    func()
	quick   bool // it does not wait for the disk
}

func install(t testing.TB) *installation { return made(t, false) }

func quick(t testing.TB) *installation { return made(t, true) }

func made(t testing.TB, quick bool) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir(), stop: func() {}, quick: quick}
	i.start()
	t.Cleanup(func() { i.stop() })
	return i
}

func (i *installation) start() {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fail := func(err error) {
		i.t.Helper()
		if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
			i.t.Skip(err)
		} else if err != nil {
			i.t.Fatal(err)
		}
	}
	var err error
	i.pg, err = store.StartPrivateWith(ctx, filepath.Join(i.dir, "postgres"), nil, store.PrivateOptions{Fast: i.quick})
	fail(err)
	fail(store.Migrate(ctx, i.pg.AdminDSN(), ""))
	i.store, err = store.Open(ctx, i.pg.DSN(), nil)
	fail(err)
	i.nats, err = embedded.StartWith(filepath.Join(i.dir, "nats"), zap.NewNop(), embedded.Options{NoSync: i.quick})
	fail(err)
	i.bus, err = bus.Open(ctx, bus.Options{URL: i.nats.URL(), InProcess: i.nats})
	fail(err)
	v, err := vault.New(strings.Repeat("ab", 32))
	fail(err)
	i.service = &privacy.Service{
		Bus: i.bus, Store: i.store, Vault: v, Live: live, Ledger: privacy.NewLedger(filepath.Join(i.dir, "erasures.jsonl")), Dir: i.dir,
		Housekeep: func(ctx context.Context, told func(string)) ([]string, error) {
			return nil, store.Housekeep(ctx, i.pg.AdminDSN(), told)
		},
	}
	i.stop = func() {
		i.stop = func() {}
		i.bus.Close()
		i.store.Close()
		i.nats.Stop()
		if err := i.pg.Stop(); err != nil {
			i.t.Error(err)
		}
	}
}

// backup copies bus and database as they are; restore puts that back in place
// of what there is then. The ledger is in neither.
func (i *installation) backup() (restore func()) {
	i.t.Helper()
	to := i.t.TempDir()
	run := func(name string, args ...string) {
		i.t.Helper()
		if out, err := exec.CommandContext(i.t.Context(), name, args...).CombinedOutput(); err != nil {
			i.t.Fatalf("%v: %s", err, out)
		}
	}
	i.stop()
	run("cp", "-a", filepath.Join(i.dir, "nats"), filepath.Join(i.dir, "postgres"), to) // the server is another user where we are root
	i.start()
	return func() {
		i.t.Helper()
		i.stop()
		run("rm", "-rf", filepath.Join(i.dir, "nats"), filepath.Join(i.dir, "postgres"))
		run("cp", "-a", filepath.Join(to, "nats"), filepath.Join(to, "postgres"), i.dir)
		i.start()
	}
}

func (i *installation) customers(n int) {
	i.t.Helper()
	for id := range n {
		_, _, err := i.store.CreateCustomer(i.t.Context(), events.Settings{Name: fmt.Sprint("Business ", id+1), Numbers: []string{fmt.Sprintf("+1206555010%d", id)}})
		if err != nil {
			i.t.Fatal(err)
		}
	}
}

func (i *installation) publish(all ...events.Event) {
	i.t.Helper()
	for _, e := range all {
		if _, err := i.bus.Publish(i.t.Context(), e); err != nil {
			i.t.Fatal(err)
		}
	}
}

// project applies what the log has got, as the profiler does.
func (i *installation) project() {
	i.t.Helper()
	ctx := i.t.Context()
	models, err := readmodel.New(i.service.Vault.Callers)
	if err != nil {
		i.t.Fatal(err)
	}
	created, err := i.bus.StreamCreated(ctx)
	if err != nil {
		i.t.Fatal(err)
	}
	err = i.bus.Replay(ctx, 1, 0, readmodel.Filters(), 100, func(ctx context.Context, batch []events.Event, _ uint64) error {
		for _, e := range batch {
			t, err := i.store.For(e.Tenant)
			if err != nil {
				return err
			}
			err = t.Project(ctx, live, created, func(p *store.Projection) error {
				if e.Seq <= p.Applied {
					return nil
				}
				touched, err := models.Apply(p, []events.Event{e})
				p.SetApplied(e.Seq, e.ID)
				return errors.Join(err, models.Fold(p, touched))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
}

// seq is the next one that nothing has been written of.
func (i *installation) seq() uint64 {
	i.t.Helper()
	last, err := i.bus.LastSeq(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	return last + 1
}

// apply writes the rows of one event, stored or not.
func (i *installation) apply(e events.Event) {
	i.t.Helper()
	models, err := readmodel.New(i.service.Vault.Callers)
	if err != nil {
		i.t.Fatal(err)
	}
	created, err := i.bus.StreamCreated(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	t, err := i.store.For(e.Tenant)
	if err == nil {
		err = t.Project(i.t.Context(), live, created, func(p *store.Projection) error {
			touched, err := models.Apply(p, []events.Event{e})
			return errors.Join(err, models.Fold(p, touched))
		})
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// forget empties the read models, for the log to be read anew.
func (i *installation) forget(t events.Tenant) {
	i.t.Helper()
	rows, err := i.store.For(t)
	if err == nil {
		_, err = rows.EraseAll(i.t.Context())
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// rows are all about some callers of a tenant, without the sequences that tell
// when something came.
func (i *installation) rows(t events.Tenant, callers []string, calls ...string) map[string][]string {
	i.t.Helper()
	rows, err := i.store.For(t)
	if err != nil {
		i.t.Fatal(err)
	}
	out := map[string][]string{}
	for n, who := range append(slices.Clone(callers), "") {
		s := store.Subject{Caller: who}
		if n == len(callers) {
			s.Calls = calls
		}
		all, err := rows.RowsAbout(i.t.Context(), s)
		if err != nil {
			i.t.Fatal(err)
		}
		for table, list := range all {
			for _, raw := range list {
				var row map[string]any
				if err := json.Unmarshal(raw, &row); err != nil {
					i.t.Fatal(err)
				}
				for _, when := range []string{"seq", "lease_until", "claimed_at", "first_claimed_at"} {
					delete(row, when)
				}
				raw, err := json.Marshal(row)
				if err != nil {
					i.t.Fatal(err)
				}
				out[table] = append(out[table], string(raw))
			}
		}
	}
	for table := range out {
		slices.Sort(out[table])
		out[table] = slices.Compact(out[table]) // found by caller and by call
	}
	return out
}

func same(t testing.TB, what string, want, got map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

var began = time.Date(2026, 5, 6, 15, 0, 0, 0, time.UTC)

// who calls, what they say, and what is texted about it.
type who struct {
	number, name, word string
	tenant             events.Tenant
	calls              int
}

var (
	canary = who{"+12065550666", "Zebulon Quagmire", "xylophonic", 1, 3}
	ann    = who{"+12065550191", "Ann Lee", "harmless", 1, 3}
	ben    = who{"+12065550192", "Ben Ito", "innocent", 1, 2}
	elsa   = who{"+12065550666", "Elsa Berg", "blameless", 2, 2} // the canary's number, with another business
)

// words that are the canary's alone, beside the number.
func (w who) words() []string { return []string{w.name, w.word, "Zanzibar Street " + w.word} }

func (w who) call(n int) string {
	return fmt.Sprintf("CA%032x", int(w.tenant)<<24+int(w.number[len(w.number)-1])<<8+n)
}

func (w who) ids() (out []string) {
	for n := range w.calls {
		out = append(out, w.call(n))
	}
	return out
}

// facts are all there are of someone.
func (w who) facts() (all []events.Event) {
	for n := range w.calls {
		all = append(all, w.factsOf(n, began.Add(time.Duration(n)*time.Hour))...)
	}
	at := began.Add(100 * time.Hour)
	for _, f := range []events.Fact{
		events.LeadStaged{Caller: w.number, Stage: "Underwriting", By: "staff:1", Reason: w.word, Nth: "1"},
		events.CallerCorrected{Caller: w.number, Field: "personal.name", Value: w.name + " Jr", By: "staff:1", Nth: "1"},
		events.MemoryStored{Memory: events.Derive("m", w.number), Caller: w.number, Type: "fact", Key: "pet", Value: `"` + w.word + `"`, Content: "Has a " + w.word, Origin: "staff"},
		events.SMSOptedOut{Number: w.number, Source: "SM1"},
		events.SMSReceived{SID: "SMin" + w.word, From: w.number, To: "+12065550100", Body: "STOP " + w.word},
	} {
		all = append(all, events.New(w.tenant, "", at, f))
		at = at.Add(time.Second)
	}
	return all
}

func (w who) factsOf(n int, at time.Time) (all []events.Event) {
	call, start := w.call(n), at
	say := func(seq int, f events.Fact) {
		e := events.New(w.tenant, call, at, f)
		e.CallSeq = seq
		all = append(all, e)
		at = at.Add(time.Second)
	}
	say(1, events.CallReceived{From: w.number, To: "+12065550100"})
	say(2, events.CallAnswered{Session: "s", Greeting: "Hello " + w.name})
	say(3, events.TurnHeard{Turn: 1, Text: "I am " + w.name + " of Zanzibar Street " + w.word})
	say(4, events.TurnSpoken{Turn: 1, Text: "Thank you, " + w.name})
	say(0, events.MessageTaken{Turn: 1, For: "Bo", Text: "call " + w.name, Callback: w.number})
	say(0, events.CallRecorded{Recording: "RE" + call, URL: "https://example.com/" + w.word, Seconds: 60})
	say(5, events.CallEnded{From: w.number, To: "+12065550100", StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Turns: 1, Answered: true})
	finding := func(field, v string) events.Finding {
		return events.Finding{Turn: 1, Evidence: v, Subject: "caller", Field: field, Value: v, Confidence: "stated"}
	}
	say(0, events.CallSummarized{
		Caller: w.number, StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Summary: fmt.Sprint(w.name, " called about ", w.word, " ", n),
		Topics: []string{w.word}, Sentiment: "neutral", Resolution: "unknown", Template: "insurance_v1", Messages: []events.Message{},
		Rejected: []events.Reject{{Finding: finding("personal.email", w.word+"@example.com"), Reason: "quote_not_found"}},
		Findings: []events.Finding{finding("personal.name", w.name), finding("memory.street", "Zanzibar Street "+w.word)},
		Style:    []events.Measure{{Metric: "patience", Micros: int64(n) * 1_000_003}}, Producer: events.Producer{Model: "gpt-test", PromptSHA: strings.Repeat("a", 64)},
	})
	message := events.Derive("text", call)
	say(0, events.SMSRequested{Message: message, To: "+12065550177", Purpose: "summary", Body: w.name + " called"})
	say(0, events.SMSSent{Message: message, To: "+12065550177", Purpose: "summary", SID: "SM" + call, From: "+12065550100"})
	all = append(all, events.New(w.tenant, "", at, events.SMSDelivered{Message: message, SID: "SM" + call}))
	return all
}

// woven are several people's facts as one log has them.
func woven(people ...who) (all []events.Event) {
	var lists [][]events.Event
	for _, w := range people {
		lists = append(lists, w.facts())
	}
	for n := 0; ; n++ {
		some := false
		for _, l := range lists {
			if n < len(l) {
				all, some = append(all, l[n]), true
			}
		}
		if !some {
			return all
		}
	}
}
