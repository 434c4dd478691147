package legacy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/legacy"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func importOld(t testing.TB, b *bus.Bus, o legacy.ImportOptions) legacy.ImportReport {
	t.Helper()
	r, err := legacy.Import(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// facts are all there are of a tenant.
func facts(t testing.TB, b *bus.Bus, tenant events.Tenant) (out []events.Event) {
	t.Helper()
	err := b.Replay(t.Context(), 1, 0, []string{events.Subject(tenant, "*.*")}, 1000, func(_ context.Context, batch []events.Event, _ uint64) error {
		out = append(out, batch...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// project writes the rows of all facts of a tenant, as a profiler does.
func project(t testing.TB, d *testenv.Database, b *bus.Bus, tenant events.Tenant) {
	t.Helper()
	models, err := readmodel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	created, err := b.StreamCreated(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	of, err := d.Store.For(tenant)
	if err != nil {
		t.Fatal(err)
	}
	err = b.Replay(t.Context(), 1, 0, []string{events.Subject(tenant, "*.*")}, 2000, func(ctx context.Context, batch []events.Event, _ uint64) error {
		return of.Project(ctx, "profiler", created, func(p *store.Projection) error {
			touched, err := models.Apply(p, batch)
			if err != nil {
				return err
			}
			return models.Fold(p, touched)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func profiles(t testing.TB, dsn string, tenant events.Tenant) (out []legacy.Profile) {
	t.Helper()
	if err := legacy.Profiles(t.Context(), legacy.ImportOptions{DSN: dsn, Tenant: tenant}, func(p legacy.Profile) error { out = append(out, p); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImport(t *testing.T) {
	d, b := testenv.Postgres(t), testenv.Bus(t)
	t.Run("both ways lead to the same profiles", bothWays(d, b))
	t.Run("a second run states nothing, changed rows are stated anew", again(d, b))
	t.Run("stopped anywhere, it goes on", stopped(d, b))
	t.Run("what rows hold becomes what facts hold", content(d, b))
	t.Run("memories are told apart by what they say where there are no ids", withoutIDs(d, b))
	t.Run("more calls than can be counted", tooManyCalls(d, b))
	t.Run("no id is taken for a later word on another memory", textIDs(d, b))
	t.Run("odd rows do not stop it", oddRows(d, b))
	t.Run("bytes that are no words are refused", noWords(d, b))
	t.Run("the old database goes away", goesAway(d, b))
	t.Run("there are no rows of the customer", nobodysRows(d, b))
	t.Run("a dry run states nothing", func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 50, profiles: 30}.load(t, owner)
		tenant := d.Customer(t, events.Settings{}).Tenant
		r := importOld(t, b, legacy.ImportOptions{DSN: owner, Tenant: tenant, Dry: true})
		if n := len(facts(t, b, tenant)); n > 0 || r.Stated < 50 {
			t.Errorf("%d facts; it says %d would be stated", n, r.Stated)
		}
	})
	t.Run("erased callers do not come back", func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 500, profiles: 30}.load(t, owner)
		tenant := d.Customer(t, events.Settings{}).Tenant
		gone := "+12065000003"
		r := importOld(t, b, legacy.ImportOptions{DSN: owner, Tenant: tenant, Erased: func(c string) bool { return c == gone }})
		for _, e := range facts(t, b, tenant) {
			if strings.Contains(fmt.Sprint(e.Fact), gone) {
				t.Fatalf("%s is of an erased caller", e.Fact.Name())
			}
		}
		if r.LeftOut["a memory of an erased caller"] == 0 {
			t.Errorf("left out: %v", r.LeftOut)
		}
	})
	t.Run("another database is refused", func(t *testing.T) {
		_, owner := database(t, d)
		_, err := legacy.Import(t.Context(), b, legacy.ImportOptions{DSN: owner, Tenant: 1})
		if !errors.Is(err, legacy.ErrNotOld) {
			t.Errorf("err = %v", err)
		}
	})
}

// fullEnv, set to anything, has both ways tried on a database of full size.
const fullEnv = "FULL_SIZE"

// bothWays imports an old database as it was, migrates it while the old service
// writes to it, and imports what came meanwhile.
func bothWays(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		o := small
		if os.Getenv(fullEnv) != "" {
			o = full
		}
		admin, owner := database(t, d)
		o.load(t, owner)
		shared(t, owner)
		tenant := d.Customer(t, events.Settings{}).Tenant
		before := profiles(t, owner, 1)
		if r := imported(t, d, b, legacy.ImportOptions{DSN: owner, Tenant: tenant}); r.Stated < o.memories || r.Same != 0 || r.Changed != 0 {
			t.Errorf("stated %d, same %d, changed %d", r.Stated, r.Same, r.Changed)
		}
		for _, e := range facts(t, b, tenant) {
			if s, ok := e.Fact.(events.CallSummarized); !e.History || ok && s.Via != events.ViaImport {
				t.Fatalf("%s could be acted on", e.Fact.Name())
			}
		}
		stop := live(t, owner, o.callers(), false)
		r := migrate(t, legacy.MigrateOptions{DSN: admin})
		w := stop()
		if w.err != nil || w.calls == 0 {
			t.Fatalf("the old service wrote %d calls: %v", w.calls, w.err)
		}
		t.Logf("migrated in %v; %d calls meanwhile, longest statement %v", r.Took, w.calls, w.worst)
		wrote := map[string]int{}
		for n := range w.calls {
			wrote[legacy.CallerOf(userOf(int(n), o.callers()), "US")]++
		}
		after := map[string]legacy.Profile{}
		for _, p := range profiles(t, admin, 1) {
			after[p.Caller] = p
		}
		if len(before) < o.callers()*9/10 { // a few have words in the place of a number, and the same ones
			t.Errorf("%d callers", len(before))
		}
		for _, was := range before {
			is, calls := after[was.Caller], wrote[was.Caller]
			if calls > 0 { // averages weigh by calls, which are more now
				was.Traits, is.Traits = nil, nil
			}
			less, more := legacy.Difference(was, is)
			if len(less) > 0 || more != (calls > 0) || is.Memories != was.Memories+calls || is.Summaries != was.Summaries+calls {
				t.Errorf("migrated, with %d calls meanwhile, a profile is another:\n%s", calls, cmp.Diff(was, is))
			}
		}
		// From the migrated tables, by the old service's own role.
		again := imported(t, d, b, legacy.ImportOptions{DSN: owner, Tenant: tenant})
		if want := 2*int(w.calls) + len(wrote); again.Stated != want || again.Callers != len(after) {
			t.Errorf("of %d callers, stated %d after the migration, want %d", again.Callers, again.Stated, want)
		}
	}
}

// imported imports, writes the rows, and compares each caller's.
func imported(t *testing.T, d *testenv.Database, b *bus.Bus, o legacy.ImportOptions) legacy.ImportReport {
	t.Helper()
	r := importOld(t, b, o)
	began := time.Now()
	project(t, d, b, o.Tenant)
	c, err := legacy.Compare(t.Context(), d.Store, o)
	if err != nil {
		t.Fatal(err)
	}
	if c.Callers == 0 || c.Same != c.Callers {
		t.Errorf("%d callers, %d the same, %d more, %d less: %v", c.Callers, c.Same, c.More, c.Less, c.Missing)
	}
	t.Logf("%d facts stated in %v; %d callers are the same in their rows after %v", r.Stated, r.Took, c.Same, time.Since(began))
	return r
}

func again(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		o := old{memories: 400, profiles: 60}
		o.load(t, owner)
		tenant := d.Customer(t, events.Settings{}).Tenant
		opts := legacy.ImportOptions{DSN: owner, Tenant: tenant}
		first := importOld(t, b, opts)
		n := len(facts(t, b, tenant))
		second := importOld(t, b, opts)
		if second.Stated != 0 || second.Same != first.Stated || len(facts(t, b, tenant)) != n {
			t.Errorf("the second run stated %d, found %d of %d", second.Stated, second.Same, first.Stated)
		}
		for round, value := range []string{"now this", "then that", "now this"} { // and back again
			run(t, owner, `UPDATE memories SET value = '`+value+`' WHERE id = md5('m7')::uuid`,
				`UPDATE caller_profiles SET preferred_name = '`+value+`', updated_at = '2030-01-01' WHERE user_id = '2065000005'`,
				`UPDATE call_summaries SET summary = '`+value+`' WHERE id = md5('s5')::uuid`)
			if r := importOld(t, b, opts); r.Changed != 3 || r.Stated != 3 {
				t.Errorf("round %d: stated %d, changed %d, want 3", round, r.Stated, r.Changed)
			}
			project(t, d, b, tenant)
			c, err := legacy.Compare(t.Context(), d.Store, opts)
			if err != nil || c.Less > 0 || c.Same != c.Callers {
				t.Errorf("round %d: %+v, %v", round, c, err)
			}
			for table, column := range map[string]string{"memories": "content", "caller_profiles": "name", "call_summaries": "summary"} {
				hits := 0
				for _, row := range d.Rows(t, tenant)[table] {
					if strings.Contains(row, `"`+column+`": "`+value+`"`) {
						hits++
					}
				}
				if hits != 1 {
					t.Errorf("round %d: %d rows of %s have the newest word", round, hits, table)
				}
			}
		}
	}
}

func stopped(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 2000, profiles: 90}.load(t, owner)
		tenant, whole := d.Customer(t, events.Settings{}).Tenant, d.Customer(t, events.Settings{}).Tenant
		want := importOld(t, b, legacy.ImportOptions{DSN: owner, Tenant: whole}).Stated
		for stop := 100; ; stop += 700 {
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			_, err := legacy.Import(ctx, b, legacy.ImportOptions{DSN: owner, Tenant: tenant, Stated: func(events.Event) {
				if n++; n == stop {
					cancel()
				}
			}})
			cancel()
			if err == nil {
				break
			}
		}
		seen := map[string]bool{}
		for _, e := range facts(t, b, tenant) {
			if seen[e.ID] {
				t.Errorf("%s is stated twice", e.Fact.Name())
			}
			seen[e.ID] = true
		}
		if len(seen) != want {
			t.Errorf("%d facts, want %d", len(seen), want)
		}
	}
}

func content(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `TRUNCATE memories, call_summaries, caller_profiles, personality_metrics, personality_averages`,
			`INSERT INTO memories VALUES (md5('1')::uuid, '2065550100', 'fact', 'car', 'drives a Camry', '2024-01-01 10:00'), (md5('2')::uuid, '+442071838750', null, null, null, null),
				(md5('3')::uuid, 'admin', 'rule', 'json', '{"card": "my card is 4111 1111 1111 1111", "n": 1.50}', 'infinity'), (md5('4')::uuid, '(206) 555-0100', 'fact', 'big', repeat('é', 20000), '2024-01-02')`,
			`INSERT INTO call_summaries (id, call_id, user_id, call_date, summary, key_topics, key_variables, sentiment, duration_seconds, resolution_status, created_at) VALUES
				(md5('s')::uuid, 'CA1', '2065550100', '2024-02-01', 'My social is 123-45-6789', '["a", {"b": 1}]', '{"year": 2019, "make": "Toyota", "none": null}', 'Happy', 90, 'RESOLVED', '2024-02-01')`,
			`INSERT INTO personality_metrics (id, user_id, call_id, measured_at, openness, patience, urgency_level, created_at) VALUES
				(md5('x')::uuid, '+12065550100', 'CA1', '2024-02-01', 33.5, 'NaN', 140, '2024-02-01'), (md5('y')::uuid, '2065550100', 'CA1', '2024-02-02', 10, null, null, '2024-02-01')`,
			`INSERT INTO caller_profiles VALUES (md5('p')::uuid, '2065550100', '2023-01-01', '2024-02-01', 5, 'Ann', '{"contact": "phone"}', '"likes tea"', '2024-01-01', '2024-01-01')`,
			`INSERT INTO personality_averages (user_id, call_count, last_updated, avg_openness, satisfaction_trend) VALUES ('2065550100', 4, '2024-02-01', 40, 'stable')`)
		tenant := d.Customer(t, events.Settings{}).Tenant
		r := importOld(t, b, legacy.ImportOptions{DSN: owner, Tenant: tenant})
		if r.Notes["memories cut"] != 1 || r.Notes["memories without a time"] != 2 || r.Notes["sentiments of no known name"] != 1 || r.Others != 1 {
			t.Errorf("notes %v, %d not numbers", r.Notes, r.Others)
		}
		var call events.CallSummarized
		var caller events.CallerImported
		memories := map[string]events.MemoryStored{}
		for _, e := range facts(t, b, tenant) {
			switch f := e.Fact.(type) {
			case events.CallSummarized:
				call = f
				if e.Call != "CA1" || !e.Time.Equal(time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC)) {
					t.Errorf("call %q at %v", e.Call, e.Time)
				}
			case events.CallerImported:
				if f.Caller == "+12065550100" {
					caller = f
				}
			case events.MemoryStored:
				memories[f.Caller+" "+f.Key] = f
			}
		}
		if m := memories["+12065550100 car"]; m.Value != `"drives a Camry"` || m.Content != "drives a Camry" || m.Origin != "import" {
			t.Errorf("memory %+v", m)
		}
		if m := memories["legacy:admin json"]; strings.Contains(m.Value, "1111") || !strings.Contains(m.Value, `"n":1.50`) {
			t.Errorf("memory %+v", m)
		}
		if _, ok := memories["+442071838750 "]; !ok || len(memories) != 4 {
			t.Errorf("%d memories", len(memories))
		}
		want := events.CallSummarized{
			Caller: "+12065550100", StartedAt: call.StartedAt, EndedAt: call.StartedAt.Add(90 * time.Second), Seconds: 90, Summary: call.Summary,
			Topics: []string{"a", `{"b":1}`}, Sentiment: "neutral", Resolution: "resolved", Findings: []events.Finding{}, Rejected: []events.Reject{}, Messages: []events.Message{},
			Style: []events.Measure{{Metric: "openness", Micros: 33_500_000}, {Metric: "urgency_level", Micros: 100_000_000}}, Producer: events.Producer{Model: "legacy"},
			Via: events.ViaImport, Variables: map[string]string{"year": "2019", "make": "Toyota"},
		}
		if diff := cmp.Diff(want, call); diff != "" || strings.Contains(call.Summary, "6789") {
			t.Errorf("call:\n%s", diff)
		}
		caller.Digest = ""
		wantCaller := events.CallerImported{
			Caller: "+12065550100", Source: "legacy", First: time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC), Last: time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC), Calls: 4, KnownAs: "Ann",
			Fields:   map[string]string{"imported.preferences.contact": "phone", "imported.context": "likes tea", "imported.satisfaction_trend": "stable"},
			Averages: []events.ImportedAverage{{Metric: "openness", N: 3, Sum: 10_000_000 + 160_000_000 - 43_500_000}},
		}
		if diff := cmp.Diff(wantCaller, caller); diff != "" {
			t.Errorf("caller:\n%s", diff)
		}
	}
}

func withoutIDs(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `TRUNCATE memories`, `ALTER TABLE memories DROP CONSTRAINT memories_pkey, ALTER COLUMN id DROP NOT NULL`,
			`INSERT INTO memories VALUES (null, '2065550100', 'fact', 'car', 'one', '2024-01-01'), (null, '2065550100', 'fact', 'car', 'two', '2024-01-01'), (null, '2065550100', 'fact', 'car', 'two', '2024-01-02'),
				(md5('x')::uuid, '2065550100', 'fact', 'car', 'three', '2024-01-01'), (md5('x')::uuid, '2065550100', 'fact', 'car', 'four', '2024-01-02')`)
		tenant := d.Customer(t, events.Settings{}).Tenant
		r := imported(t, d, b, legacy.ImportOptions{DSN: owner, Tenant: tenant})
		var values []string
		for _, e := range facts(t, b, tenant) {
			if f, ok := e.Fact.(events.MemoryStored); ok {
				values = append(values, f.Content)
			}
		}
		slices.Sort(values)
		if diff := cmp.Diff([]string{"four", "one", "two"}, values); diff != "" || r.Expected.Memories != 3 || r.Notes["memories without an id"] != 2 {
			t.Errorf("%s\n%+v", diff, r)
		}
	}
}

func tooManyCalls(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `INSERT INTO caller_profiles VALUES (md5('b1')::uuid, '2065550199', now(), now(), 2000000000, null, null, null, now(), now()), (md5('b2')::uuid, '2065550199', now(), now(), 2000000000, null, null, null, now(), now())`)
		r := imported(t, d, b, legacy.ImportOptions{DSN: owner, Tenant: d.Customer(t, events.Settings{}).Tenant})
		if r.Notes["numbers of calls too large to keep"] != 1 {
			t.Errorf("notes %v", r.Notes)
		}
	}
}

func textIDs(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		_, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `TRUNCATE memories`, `ALTER TABLE memories ALTER COLUMN id TYPE text`,
			`INSERT INTO memories SELECT id, '2065550100', 'fact', 'car', id, '2024-01-01' FROM unnest(ARRAY['a', 'a.1', 'a.2', 'k-17', md5('x')::uuid::text]) id`)
		tenant := d.Customer(t, events.Settings{}).Tenant
		opts := legacy.ImportOptions{DSN: owner, Tenant: tenant}
		imported(t, d, b, opts)
		if r := imported(t, d, b, opts); r.Stated != 0 || r.Changed != 0 {
			t.Errorf("stated %d, changed %d", r.Stated, r.Changed)
		}
		for round, value := range []string{"b", "c"} {
			run(t, owner, `UPDATE memories SET value = '`+value+`' WHERE id IN ('a', 'a.1')`)
			if r := imported(t, d, b, opts); r.Stated != 2 || r.Changed != 2 {
				t.Errorf("round %d: stated %d, changed %d", round, r.Stated, r.Changed)
			}
		}
		rows := strings.Join(d.Rows(t, tenant)["memories"], "\n")
		for content, n := range map[string]int{"a": 0, "a.1": 0, "b": 0, "c": 2, "a.2": 1, "k-17": 1} {
			if got := strings.Count(rows, `"content": "`+content+`"`); got != n {
				t.Errorf("%d memories say %q, want %d", got, content, n)
			}
		}
	}
}

func oddRows(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		for name, x := range map[string]struct {
			setup    []string
			callers  int
			calls    int
			memories int
		}{
			"nobody": {[]string{
				`ALTER TABLE memories ALTER user_id DROP NOT NULL`, `ALTER TABLE call_summaries ALTER user_id DROP NOT NULL, ALTER call_id DROP NOT NULL`,
				`ALTER TABLE caller_profiles ALTER user_id DROP NOT NULL`, `ALTER TABLE personality_metrics ALTER user_id DROP NOT NULL, ALTER call_id DROP NOT NULL`,
				`ALTER TABLE personality_averages ALTER user_id DROP NOT NULL`,
				`UPDATE memories SET user_id = NULL`, `UPDATE call_summaries SET user_id = NULL, call_id = NULL`, `UPDATE caller_profiles SET user_id = NULL`,
				`UPDATE personality_metrics SET user_id = NULL, call_id = NULL`, `UPDATE personality_averages SET user_id = NULL`,
			}, 1, 40, 50},
			"no ids": {[]string{
				`ALTER TABLE memories DROP id`, `ALTER TABLE call_summaries DROP id`, `ALTER TABLE caller_profiles DROP id`, `ALTER TABLE personality_metrics DROP id`,
			}, 20, 40, 50},
			"the end of time": {[]string{`UPDATE call_summaries SET call_date = '9999-12-30', duration_seconds = 2147483647`}, 20, 40, 50},
			"one memory of two callers": {[]string{
				`ALTER TABLE memories DROP CONSTRAINT memories_pkey`, `INSERT INTO memories SELECT id, 'somebody', type, key, value, now() FROM memories`,
			}, 21, 40, 50},
		} {
			t.Run(name, func(t *testing.T) {
				_, owner := database(t, d)
				old{memories: 50, profiles: 30}.load(t, owner)
				run(t, owner, x.setup...)
				opts := legacy.ImportOptions{DSN: owner, Tenant: d.Customer(t, events.Settings{}).Tenant}
				r := imported(t, d, b, opts)
				if r.Callers != x.callers || r.Expected.Summaries != x.calls || r.Expected.Memories != x.memories {
					t.Errorf("%d callers, %d calls, %d memories; want %d, %d, %d", r.Callers, r.Expected.Summaries, r.Expected.Memories, x.callers, x.calls, x.memories)
				}
				if r = imported(t, d, b, opts); r.Stated > 0 {
					t.Errorf("stated %d once more", r.Stated)
				}
			})
		}
	}
}

func noWords(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		run(t, admin, `CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 OWNER old_service`)
		owner = regexp.MustCompile(`dbname=\S+`).ReplaceAllString(owner, "dbname=ascii")
		old{memories: 50, profiles: 30}.load(t, owner)
		run(t, owner, `UPDATE memories SET value = E'caf\xc3\xa9' WHERE id = md5('m1')::uuid`)
		opts := legacy.ImportOptions{DSN: owner, Tenant: d.Customer(t, events.Settings{}).Tenant}
		if r := imported(t, d, b, opts); r.Expected.Memories != 50 {
			t.Errorf("%d memories of UTF-8", r.Expected.Memories)
		}
		run(t, owner, `UPDATE memories SET value = E'caf\xe9' WHERE id = md5('m1')::uuid`)
		n := len(facts(t, b, opts.Tenant))
		_, err := legacy.Import(t.Context(), b, opts)
		if err == nil || !strings.Contains(err.Error(), "read memories: text that is not UTF-8") || len(facts(t, b, opts.Tenant)) != n {
			t.Errorf("err = %v", err)
		}
	}
}

func goesAway(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 2000, profiles: 90}.load(t, owner)
		opts := legacy.ImportOptions{DSN: owner, Tenant: d.Customer(t, events.Settings{}).Tenant}
		var once sync.Once
		broken := opts
		broken.Stated = func(events.Event) {
			once.Do(func() {
				run(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'neurosphere legacy' AND datname = current_database()`)
			})
		}
		if _, err := legacy.Import(t.Context(), b, broken); !errors.Is(err, legacy.ErrAway) || err.Error() != legacy.ErrAway.Error() {
			t.Errorf("err = %v", err)
		}
		if r := imported(t, d, b, opts); r.Same == 0 || r.Stated == 0 {
			t.Errorf("stated %d, same %d", r.Stated, r.Same)
		}
	}
}

func nobodysRows(d *testenv.Database, b *bus.Bus) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 50, profiles: 30}.load(t, owner)
		run(t, owner, `ALTER TABLE memories ADD customer_id int NOT NULL DEFAULT 1`, `ALTER TABLE call_summaries ADD customer_id bigint NOT NULL DEFAULT 1`,
			`TRUNCATE caller_profiles, personality_metrics, personality_averages`, `UPDATE memories SET customer_id = 700 WHERE id = md5('m1')::uuid`)
		opts := legacy.ImportOptions{DSN: admin, Tenant: 701}
		_, err := legacy.Import(t.Context(), b, opts)
		if want := "the old tables have customers, and no row of customer 701: they are of 1, 700"; err == nil || err.Error() != want {
			t.Errorf("err = %v, want %q", err, want)
		}
		run(t, owner, `TRUNCATE memories, call_summaries`)
		if _, err = legacy.Import(t.Context(), b, opts); err != nil {
			t.Errorf("an empty database: %v", err)
		}
		run(t, owner, `ALTER TABLE memories ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`,
			`CREATE POLICY own ON memories USING (customer_id = current_setting('app.customer_id')::int)`)
		opts.DSN = owner
		if _, err = legacy.Import(t.Context(), b, opts); err == nil || !strings.Contains(err.Error(), "show this role no row of customer 701") {
			t.Errorf("err = %v", err)
		}
	}
}

// Long words are masked too, and nothing else of them changes.
func TestLongWordsAreMasked(t *testing.T) {
	d, b := testenv.Postgres(t), testenv.Bus(t)
	_, owner := database(t, d)
	old{memories: 1, profiles: 30}.load(t, owner)
	long := strings.Repeat("he talked on about the weather and the garden ", 200)
	run(t, owner, `UPDATE memories SET user_id = 'admin', value = '`+long+`and my card number is 4111 1111 1111 1111 `+long+`'`)
	tenant := d.Customer(t, events.Settings{}).Tenant
	importOld(t, b, legacy.ImportOptions{DSN: owner, Tenant: tenant})
	for _, e := range facts(t, b, tenant) {
		f, ok := e.Fact.(events.MemoryStored)
		if !ok {
			continue
		}
		before, after, found := strings.Cut(f.Content, "and my card number is ")
		if !found || before != long || strings.Contains(f.Content, "1111") || !strings.HasPrefix(after[strings.Index(after, " ")+1:], "he talked on") {
			t.Errorf("%d of %d characters before, then %.60q", len(before), len(long), after)
		}
		return
	}
	t.Error("no memory")
}

func TestCallerOf(t *testing.T) {
	for in, want := range map[string]string{
		"2065550100": "+12065550100", "+12065550100": "+12065550100", "(206) 555-0100": "+12065550100", "12065550100": "+12065550100",
		"admin": "legacy:admin", "unknown": "legacy:unknown", "": "legacy:", "12": "legacy:12", "1-800-FLOWERS": "legacy:1-800-FLOWERS", "+442071838750": "+442071838750",
	} {
		if got := legacy.CallerOf(in, "US"); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := legacy.CallerOf("020 7183 8750", "GB"); got != "+442071838750" {
		t.Errorf("a number of another region: %q", got)
	}
	if got := legacy.CallerOf(strings.Repeat("x", 5000), "US"); len(got) > 100 || !events.Identified(got) {
		t.Errorf("%d bytes", len(got))
	}
}

// BenchmarkImportLegacy imports the same database, and then finds that it has.
func BenchmarkImportLegacy(b *testing.B) {
	o := full
	for range b.N {
		b.StopTimer()
		d, log := testenv.Postgres(b), testenv.Bus(b)
		_, owner := database(b, d)
		o.load(b, owner)
		opts := legacy.ImportOptions{DSN: owner, Tenant: d.Customer(b, events.Settings{}).Tenant}
		b.StartTimer()
		r := importOld(b, log, opts)
		b.ReportMetric(float64(r.Stated)/r.Took.Seconds(), "facts/s")
		again := importOld(b, log, opts)
		b.ReportMetric(float64(again.Same)/again.Took.Seconds(), "facts/s-again")
		if again.Stated > 0 || again.Same != r.Stated {
			b.Errorf("stated %d, then %d; %d the same", r.Stated, again.Stated, again.Same)
		}
		b.Logf("%d facts in %v, again in %v", r.Stated, r.Took, again.Took)
	}
}
