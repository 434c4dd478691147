package legacy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"neurosphere.ai/neurosphere/internal/legacy"
	"neurosphere.ai/neurosphere/internal/testenv"
)

var (
	small = old{memories: 3000, profiles: 300}
	full  = old{memories: 1_000_000, profiles: 30_000}
)

func TestMain(m *testing.M) {
	// The process that is killed half-way is this one, started again.
	if dsn := os.Getenv("LEGACY_MIGRATE"); dsn != "" {
		_, err := legacy.Migrate(context.Background(), legacy.MigrateOptions{DSN: dsn, Finish: os.Getenv("LEGACY_FINISH") != "", Progress: func(step, what string) { fmt.Println(step, what) }})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func migrate(t testing.TB, o legacy.MigrateOptions) legacy.MigrateReport {
	t.Helper()
	r, err := legacy.Migrate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMigrate(t *testing.T) {
	d := testenv.Postgres(t)
	t.Run("sums are the same, and a second run has nothing to do", func(t *testing.T) {
		admin, owner := database(t, d)
		small.load(t, owner)
		shared(t, owner)
		r := migrate(t, legacy.MigrateOptions{DSN: admin})
		if diff := cmp.Diff(r.Before, r.After); diff != "" {
			t.Errorf("sums before and after:\n%s", diff)
		}
		if r.Before.Memories != 3000 || r.Before.Total == 0 || r.Before.Averaged == 0 {
			t.Errorf("sums of a database with little in it: %+v", r.Before)
		}
		again := migrate(t, legacy.MigrateOptions{DSN: admin})
		if len(again.Steps) > 0 || len(again.Merged) > 0 {
			t.Errorf("the second run did %v, merged %v", again.Steps, again.Merged)
		}
		if len(again.Kept) == 0 {
			t.Error("it does not say what is kept for the old service")
		}
		checkShape(t, admin)
	})
	t.Run("what lost is kept", func(t *testing.T) {
		admin, owner := database(t, d)
		small.load(t, owner)
		before := one[int](t, admin, `SELECT count(*) FROM caller_profiles`)
		migrate(t, legacy.MigrateOptions{DSN: admin})
		after := one[int](t, admin, `SELECT count(*) FROM caller_profiles`)
		logged := one[int](t, admin, `SELECT count(*) FROM caller_profiles_merge_log`)
		if after+logged != before || logged == 0 {
			t.Errorf("%d rows before, %d after, %d in the log", before, after, logged)
		}
	})
	t.Run("profiles of one caller become one", mergesProfiles(d))
	t.Run("averages are made of metrics, or keep their sums", mergesAverages(d))
	t.Run("the old service writes on and sees its rows", oldServiceWritesOn(d))
	t.Run("tenants are kept apart", keepsTenantsApart(d))
	t.Run("finish", finishes(d))
	t.Run("killed anywhere, it goes on", killed(d))
	t.Run("an index left invalid is built again", invalidIndex(d))
	t.Run("refused", refuses(d))
	t.Run("what only merging would stop at may stay where nothing is merged", leavesOddValues(d))
}

func checkShape(t *testing.T, dsn string) {
	t.Helper()
	for _, table := range []string{"memories", "call_summaries", "caller_profiles", "personality_metrics", "personality_averages"} {
		if n := one[int](t, dsn, `SELECT count(*) FROM `+table+` WHERE customer_id IS DISTINCT FROM 1`); n > 0 {
			t.Errorf("%s: %d rows are not customer 1's", table, n)
		}
		key := one[string](t, dsn, `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' AND conrelid = '`+table+`'::regclass`)
		if want := "PRIMARY KEY (customer_id, "; !strings.HasPrefix(key, want) {
			t.Errorf("%s: %s", table, key)
		}
		if !one[bool](t, dsn, `SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid = '`+table+`'::regclass`) {
			t.Errorf("%s: foreign key is not validated", table)
		}
		if !one[bool](t, dsn, `SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = '`+table+`'::regclass`) {
			t.Errorf("%s: row security is not forced", table)
		}
		if n := one[int](t, dsn, `SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = '`+table+`'::regclass`); n > 0 {
			t.Errorf("%s: %d invalid indexes", table, n)
		}
	}
	for _, x := range []string{"caller_profiles|customer_id, user_id", "call_summaries|customer_id, call_id", "personality_averages|customer_id, user_id"} {
		table, columns, _ := strings.Cut(x, "|")
		if n := one[int](t, dsn, `SELECT count(*) FROM pg_indexes WHERE tablename = '`+table+`' AND indexdef LIKE 'CREATE UNIQUE INDEX%(`+columns+`)'`); n != 1 {
			t.Errorf("%s: %d unique indexes of (%s)", table, n, columns)
		}
	}
	if n := one[int](t, dsn, `SELECT count(*) FROM pg_indexes WHERE indexname LIKE '%_merging'`); n > 0 {
		t.Errorf("%d indexes for merging are left", n)
	}
}

func mergesProfiles(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `TRUNCATE caller_profiles`, `INSERT INTO caller_profiles VALUES
			(md5('1')::uuid, 'x', '2024-01-05', '2024-02-01', 3, 'Ann', '{"a": 1, "b": 1}', '[1]', '2024-01-05', '2024-02-01'),
			(md5('2')::uuid, 'x', '2024-01-01', '2024-03-01', null, null, '{"b": 2}', null, '2024-01-01', '2024-03-01'),
			(md5('3')::uuid, 'x', '2024-01-02', '2024-02-15', 4, 'Anna', null, '[2]', '2024-01-02', '2024-02-15'),
			(md5('4')::uuid, 'y', '2024-01-02', '2024-02-15', null, null, null, null, '2024-01-02', '2024-02-15')`)
		migrate(t, legacy.MigrateOptions{DSN: admin})
		got := one[string](t, admin, `SELECT string_agg(concat_ws('|', id = md5('2')::uuid, user_id, total_calls, first_call_date::date, last_call_date::date, preferred_name, preferences, context), ' ' ORDER BY user_id) FROM caller_profiles`)
		if want := `t|x|7|2024-01-01|2024-03-01|Anna|{"a": 1, "b": 2}|[2] f|y|2024-01-02|2024-02-15`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		lost := one[string](t, admin, `SELECT string_agg(concat_ws('|', kept = md5('2')::uuid::text, lost->>'preferred_name', lost->>'total_calls'), ' ' ORDER BY lost->>'id') FROM caller_profiles_merge_log`)
		if want := `t|Ann|3 t|Anna|4`; lost != want && lost != `t|Anna|4 t|Ann|3` {
			t.Errorf("log: %s", lost)
		}
	}
}

func mergesAverages(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 1, profiles: 30}.load(t, owner)
		run(t, owner, `TRUNCATE personality_averages, personality_metrics`,
			`INSERT INTO personality_averages (user_id, call_count, last_updated, avg_openness, avg_patience) VALUES
				('covered', 1, '2024-01-01', 10, 1), ('covered', 1, '2024-01-02', 30, null), ('beyond', 1, '2024-01-01', 10, null), ('beyond', 3, '2024-01-02', 30, 40), ('beyond', null, '2024-01-03', 90, 90)`,
			`INSERT INTO personality_metrics (id, user_id, call_id, measured_at, openness, patience, created_at)
				SELECT md5(i::text)::uuid, 'covered', 'c' || i, '2024-01-01', i * 25, null, '2024-01-01' FROM generate_series(1, 2) i`)
		migrate(t, legacy.MigrateOptions{DSN: admin})
		got := one[string](t, admin, `SELECT string_agg(concat_ws('|', user_id, call_count, avg_openness, avg_patience), ' ' ORDER BY user_id) FROM personality_averages`)
		if want := `beyond|4|25|40 covered|2|37.5|1`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The old service's role owns the tables, and row security is forced.
func oldServiceWritesOn(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		for _, unique := range []bool{false, true} {
			t.Run(fmt.Sprintf("unique=%v", unique), func(t *testing.T) {
				admin, owner := database(t, d)
				o := old{memories: 20000, profiles: 3000, unique: unique}
				o.load(t, owner)
				stop := live(t, owner, o.callers(), unique)
				r := migrate(t, legacy.MigrateOptions{DSN: admin})
				last := one[int64](t, owner, `SELECT count(*) FROM memories WHERE key = 'live'`)
				for deadline := time.Now().Add(20 * time.Second); one[int64](t, owner, `SELECT count(*) FROM memories WHERE key = 'live'`) < last+5; {
					if time.Now().After(deadline) {
						t.Fatal("the old service does not write any more")
					}
				}
				w := stop()
				if w.err != nil {
					t.Fatalf("the old service fails: %v", w.err)
				}
				t.Logf("%d calls meanwhile; longest statement %v (%s); longest lock %v; %d tries", w.calls, w.worst, w.at, r.Longest, r.Tries)
				if got := one[int64](t, owner, `SELECT count(*) FROM personality_metrics WHERE call_id LIKE 'live-%'`); got != w.calls {
					t.Errorf("it sees %d of its %d rows", got, w.calls)
				}
				if got, want := one[int64](t, admin, `SELECT coalesce(sum(total_calls), 0) FROM caller_profiles`), r.Before.Total; unique == false && got < want+w.calls-200 {
					t.Errorf("total_calls %d, want %d and what was added", got, want)
				}
			})
		}
	}
}

func keepsTenantsApart(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		small.load(t, owner)
		migrate(t, legacy.MigrateOptions{DSN: admin})
		run(t, admin, `INSERT INTO customers (customer_id) VALUES (2)`, `GRANT CONNECT ON DATABASE `+one[string](t, admin, `SELECT current_database()`)+` TO app_rw`)
		c := dial(t, strings.Replace(admin, "user=postgres", "user=app_rw", 1))
		count := func(tenant string) (n int) {
			t.Helper()
			if _, err := c.Exec(t.Context(), `SELECT set_config('app.customer_id', $1, false)`, tenant); err != nil {
				t.Fatal(err)
			}
			if err := c.QueryRow(t.Context(), `SELECT count(*) FROM memories`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count("1"); n != 3000 {
			t.Errorf("customer 1 sees %d memories", n)
		}
		if n := count("2"); n != 0 {
			t.Errorf("customer 2 sees %d memories", n)
		}
		_, err := c.Exec(t.Context(), `INSERT INTO memories (id, customer_id, user_id) VALUES (gen_random_uuid(), 1, 'x')`)
		if code(err) != "42501" {
			t.Errorf("customer 2 writes to customer 1: %v", err)
		}
		if _, err := c.Exec(t.Context(), `INSERT INTO memories (id, customer_id, user_id) VALUES (gen_random_uuid(), 2, 'x')`); err != nil {
			t.Error(err)
		}
		if n := one[int](t, owner, `SELECT count(*) FROM memories`); n != 3000 {
			t.Errorf("the old service sees %d memories, its own are 3000", n)
		}
	}
}

func finishes(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 100, profiles: 60, unique: true}.load(t, owner)
		migrate(t, legacy.MigrateOptions{DSN: admin})
		r := migrate(t, legacy.MigrateOptions{DSN: admin, Finish: true})
		if len(r.Steps) == 0 || len(r.Kept) > 0 {
			t.Errorf("did %v, kept %v", r.Steps, r.Kept)
		}
		c := dial(t, admin)
		if _, err := c.Exec(t.Context(), `INSERT INTO memories (id, user_id) VALUES (gen_random_uuid(), 'x')`); code(err) != "23502" {
			t.Errorf("a row without a customer: %v", err)
		}
		run(t, admin, `INSERT INTO customers (customer_id) VALUES (2)`, `INSERT INTO caller_profiles (id, customer_id, user_id, first_call_date, last_call_date, created_at, updated_at)
			SELECT gen_random_uuid(), 2, user_id, now(), now(), now(), now() FROM caller_profiles LIMIT 1`)
		if n := one[int](t, owner, `SELECT count(*) FROM memories`); n != 0 {
			t.Errorf("the old service still sees %d memories", n)
		}
		if again := migrate(t, legacy.MigrateOptions{DSN: admin, Finish: true}); len(again.Steps) > 0 {
			t.Errorf("did again: %v", again.Steps)
		}
	}
}

// The process is killed at each step once, as it begins.
func killed(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		small.load(t, owner)
		shared(t, owner)
		before := one[int](t, admin, `SELECT count(*) FROM caller_profiles`)
		if kills := killAtEachStep(t, "LEGACY_MIGRATE="+admin); kills < 30 {
			t.Errorf("killed %d times only", kills)
		}
		if r := migrate(t, legacy.MigrateOptions{DSN: admin}); len(r.Steps) > 0 {
			t.Errorf("after it was done: %v", r.Steps)
		}
		after, logged := one[int](t, admin, `SELECT count(*) FROM caller_profiles`), one[int](t, admin, `SELECT count(*) FROM caller_profiles_merge_log`)
		if before != after+logged {
			t.Errorf("%d profiles, then %d and %d in the log", before, after, logged)
		}
		checkShape(t, admin)
		if kills := killAtEachStep(t, "LEGACY_MIGRATE="+admin, "LEGACY_FINISH=1"); kills < 5 {
			t.Errorf("finishing, killed %d times only", kills)
		}
		if r := migrate(t, legacy.MigrateOptions{DSN: admin, Finish: true}); len(r.Steps) > 0 || len(r.Kept) > 0 {
			t.Errorf("after it was finished: %v, kept %v", r.Steps, r.Kept)
		}
		checkShape(t, admin)
	}
}

// killAtEachStep starts a migration until one comes to its end, and kills each
// at the first step that none was killed at.
func killAtEachStep(t *testing.T, env ...string) (kills int) {
	t.Helper()
	for struck := map[string]bool{}; ; kills++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		said, ended := "", true
		for lines := bufio.NewScanner(out); ended && lines.Scan(); {
			if said = lines.Text(); !struck[said] {
				struck[said], ended = true, false
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); ended {
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			return kills
		}
	}
}

func invalidIndex(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 200, profiles: 60}.load(t, owner)
		run(t, owner, `ALTER TABLE memories ADD COLUMN customer_id int NOT NULL DEFAULT 1`)
		if _, err := dial(t, owner).Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY memories_customer_key ON memories (customer_id, (id IS NULL))`); code(err) != "23505" {
			t.Fatalf("planting an invalid index: %v", err)
		}
		migrate(t, legacy.MigrateOptions{DSN: admin})
		checkShape(t, admin)
	}
}

func refuses(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		for name, x := range map[string]struct{ setup, want string }{
			"another database":     {`DROP TABLE memories`, "no table memories"},
			"keys others refer to": {`CREATE TABLE notes (memory uuid REFERENCES memories (id))`, "refer to the old ones"},
			"ids that may be null": {`ALTER TABLE memories DROP CONSTRAINT memories_pkey, ALTER COLUMN id DROP NOT NULL`, "may be null"},
			"ids twice": {`ALTER TABLE caller_profiles DROP CONSTRAINT caller_profiles_pkey; INSERT INTO caller_profiles (id, user_id, first_call_date, last_call_date, created_at, updated_at)
				SELECT id, user_id, now(), now(), now(), now() FROM caller_profiles LIMIT 2`, "caller_profiles.id: 2 ids are of several rows"},
			"begun otherwise":        {`ALTER TABLE memories ADD COLUMN customer_id int`, "may be null"},
			"customers without one":  {`CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL)`, "no row 1"},
			"customers without key":  {`CREATE TABLE customers (id text PRIMARY KEY)`, "not one whole number"},
			"tables everybody reads": {`GRANT SELECT ON memories TO PUBLIC`, "everybody was granted"},
			"averages too large":     {twoAverages("3", "1e308"), "personality_averages.avg_openness: 2 rows"},
			"averages too small":     {twoAverages("3", "5e-324"), "personality_averages.avg_openness: 2 rows"},
			"averages of NaN":        {twoAverages("3", "'NaN'"), "personality_averages.avg_openness: 2 rows"},
			"averages of infinity":   {twoAverages("3", "'-Infinity'"), "personality_averages.avg_openness: 2 rows"},
			"calls beyond counting":  {twoAverages("2147483647", "50"), "personality_averages.call_count: 1 callers"},
			"measures too large": {twoAverages("1", "50") + `; INSERT INTO personality_metrics (id, user_id, call_id, measured_at, openness, patience, created_at)
				SELECT gen_random_uuid(), 'odd', 'c' || i, now(), i * 1e170, 'Infinity', now() FROM generate_series(1, 2) i`, "personality_metrics.openness: 2 rows that averages are to be made of hold nothing one could be made of: set them to NULL, or to 0 to 100, first\npersonality_metrics.patience: 2 rows"},
			"profiles beyond counting": {`INSERT INTO caller_profiles (id, user_id, first_call_date, last_call_date, total_calls, created_at, updated_at)
				SELECT gen_random_uuid(), 'odd', now(), now(), 2147483647, now(), now() FROM generate_series(1, 2)`, "caller_profiles.total_calls: 1 callers"},
			"callers no index takes": {`DROP INDEX memories_user_id_idx; INSERT INTO memories (id, user_id) SELECT gen_random_uuid(), string_agg(md5(i::text), '') FROM generate_series(1, 100) i`, "memories.user_id: 1 rows"},
		} {
			t.Run(name, func(t *testing.T) {
				admin, owner := database(t, d)
				old{memories: 10, profiles: 30}.load(t, owner)
				run(t, owner, x.setup)
				_, err := legacy.Migrate(t.Context(), legacy.MigrateOptions{DSN: admin})
				if n := one[int](t, admin, `SELECT count(*) FROM information_schema.columns WHERE column_name = 'customer_id' AND table_name LIKE 'c%'`); n > 0 && name != "customers without one" {
					t.Error("it has begun all the same")
				}
				if err == nil || !strings.Contains(err.Error(), x.want) {
					t.Errorf("err = %v, want %q", err, x.want)
				}
				if strings.Contains(name, "another") && !errors.Is(err, legacy.ErrNotOld) {
					t.Errorf("err = %v", err)
				}
			})
		}
	}
}

// twoAverages are two rows of one caller.
func twoAverages(calls, openness string) string {
	return `INSERT INTO personality_averages (user_id, call_count, last_updated, avg_openness)
		SELECT 'odd', ` + calls + `, now(), ` + openness + ` FROM generate_series(1, 2)`
}

func leavesOddValues(d *testenv.Database) func(*testing.T) {
	return func(t *testing.T) {
		admin, owner := database(t, d)
		old{memories: 10, profiles: 30}.load(t, owner)
		run(t, owner, `INSERT INTO personality_averages (user_id, call_count, last_updated, avg_openness) VALUES ('odd', 2147483647, now(), 'NaN')`,
			`INSERT INTO personality_metrics (id, user_id, call_id, measured_at, openness, satisfaction_level, created_at) SELECT gen_random_uuid(), 'odd', 'c' || i, now(), 1e308, 1e308, now() FROM generate_series(1, 2) i`)
		r := migrate(t, legacy.MigrateOptions{DSN: admin})
		if diff := cmp.Diff(r.Before, r.After); diff != "" || r.Before.Satisfied > 1e100 {
			t.Errorf("sums before and after:\n%s", diff)
		}
		if got := one[string](t, admin, `SELECT concat_ws('|', call_count, avg_openness) FROM personality_averages WHERE user_id = 'odd'`); got != "2147483647|NaN" {
			t.Errorf("became %s", got)
		}
		checkShape(t, admin)
	}
}

// While somebody holds a table, the migration gives up its place in the queue
// again and again, and others do not wait behind it.
func TestMigrationDoesNotQueueOthers(t *testing.T) {
	d := testenv.Postgres(t)
	admin, owner := database(t, d)
	old{memories: 100, profiles: 60}.load(t, owner)
	holder := dial(t, owner)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM memories`); err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		r, err := legacy.Migrate(context.WithoutCancel(t.Context()), legacy.MigrateOptions{DSN: admin, Progress: func(step, what string) {
			if step == "memories" && what == "add customer_id" {
				close(tried)
			}
		}})
		if err == nil && r.Tries == 0 {
			err = errors.New("it never gave up")
		}
		done <- err
	}()
	<-tried
	for range 20 { // each would wait for the holder, were it queued behind the migration
		run(t, owner, `INSERT INTO memories (id, user_id) VALUES (gen_random_uuid(), 'x')`)
	}
	select {
	case err := <-done:
		t.Fatalf("migrated while the table was held: %v", err)
	default:
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// BenchmarkMigrateLegacy migrates a database of 1,000,000 memories and 30,000
// profiles, a third of them duplicates, while the old service writes to it.
func BenchmarkMigrateLegacy(b *testing.B) {
	o := full
	for range b.N {
		b.StopTimer()
		d := testenv.Postgres(b)
		admin, owner := database(b, d)
		began := time.Now()
		o.load(b, owner)
		b.Logf("loaded in %v", time.Since(began).Round(time.Millisecond))
		alone := live(b, owner, o.callers(), false)
		for deadline := time.Now().Add(time.Minute); one[int](b, owner, `SELECT count(*) FROM call_summaries WHERE call_id LIKE 'live-%'`) < 2000 && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond) // not to be in the writer's way
		}
		before := alone() // the same for about as long, with nobody beside it
		run(b, owner, `UPDATE call_summaries SET call_id = 'alone-' || id WHERE call_id LIKE 'live-%'`)
		stop := live(b, owner, o.callers(), false)
		b.StartTimer()
		r := migrate(b, legacy.MigrateOptions{DSN: admin})
		b.StopTimer()
		w := stop()
		if w.err != nil {
			b.Fatal(w.err)
		}
		b.ReportMetric(float64(w.worst.Microseconds())/1000, "worst-stall-ms")
		b.ReportMetric(float64(before.worst.Microseconds())/1000, "worst-alone-ms")
		b.ReportMetric(float64(r.Longest.Microseconds())/1000, "longest-lock-ms")
		b.ReportMetric(float64(w.calls), "calls-meanwhile")
		b.Logf("%v: worst %v at %q (alone %v at %q), longest lock of %q, tries %d, merged %+v\nbefore %+v\nafter  %+v", r.Took.Round(time.Millisecond), w.worst, w.at, before.worst, before.at, r.LongestAt, r.Tries, r.Merged, r.Before, r.After)
	}
}
