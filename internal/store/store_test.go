package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

var (
	private *store.Private
	shared  *store.Store
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if dir := os.Getenv(parentOf); dir != "" {
		return parent(dir)
	}
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	private, err = store.StartPrivateWith(context.Background(), dir, nil, store.PrivateOptions{Fast: true})
	if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
		fmt.Fprintln(os.Stderr, "skipped:", err)
		return 0
	}
	if err == nil {
		defer private.Stop()
		err = store.Migrate(context.Background(), private.AdminDSN(), "")
	}
	if err == nil {
		shared, err = store.Open(context.Background(), private.DSN(), nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer shared.Close()
	return m.Run()
}

func admin(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), private.AdminDSN()+" search_path=app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context())) })
	return c
}

var number atomic.Int64

func customer(t *testing.T) (events.Settings, *store.Tenant) {
	t.Helper()
	s, key, err := shared.CreateCustomer(t.Context(), events.Settings{Name: t.Name(), Numbers: []string{fmt.Sprintf("+1206555%04d", number.Add(1))}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(key, "ns_"+s.Tenant.String()+"_") {
		t.Errorf("key %q", key)
	}
	rows, err := shared.For(s.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	return s, rows
}

var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ended(call string, seq uint64) events.Event {
	e := events.New(1, call, created, events.CallEnded{})
	e.Seq = seq
	return e
}

func project(t *testing.T, rows *store.Tenant, call string, seq uint64) {
	t.Helper()
	err := rows.Project(t.Context(), "test", created, func(p *store.Projection) error {
		p.Ended(ended(call, seq), events.CallEnded{From: "+1", StartedAt: created, EndedAt: created, Turns: 3})
		p.SetApplied(seq)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The same call id under two tenants is two calls, and neither sees the other's.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	_, a := customer(t)
	_, b := customer(t)
	project(t, a, "CA1", 5)
	if _, err := b.Call(t.Context(), "CA1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's call: %v", err)
	}
	if c, err := a.Call(t.Context(), "CA1"); err != nil || *c.Turns != 3 {
		t.Errorf("own call: %+v, %v", c, err)
	}
	project(t, b, "CA1", 6)
	if all, err := b.Calls(t.Context(), 10); err != nil || len(all) != 1 {
		t.Errorf("%d calls, %v", len(all), err)
	}
	if _, err := shared.For(0); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("no tenant: %v", err)
	}
}

// Acting as the application's role, without the handle's own filter, every
// tenant table shows the bound tenant's rows and refuses the rest.
func TestEveryTableIsGuarded(t *testing.T) {
	su := admin(t)
	app, err := pgx.Connect(t.Context(), private.DSN()+" search_path=app")
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close(context.WithoutCancel(t.Context()))
	rows, err := su.Query(t.Context(), `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'app' AND c.relkind = 'r' AND c.relname NOT IN ('customers','phone_numbers','api_keys','industry_templates','projection_floor') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 15 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range tables {
		if _, err := app.Exec(t.Context(), `SELECT * FROM `+table); err == nil {
			t.Errorf("%s: readable without a tenant", table)
		}
		err := pgx.BeginFunc(t.Context(), app, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SELECT set_config('app.customer_id', '880001', true)`); err != nil {
				return err
			}
			var n int
			// A positive control: the grant is there.
			if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
				return fmt.Errorf("own rows cannot be read: %w", err)
			}
			if n != 0 {
				return fmt.Errorf("sees %d rows of others", n)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", table, err)
		}
		if _, err := app.Exec(t.Context(), `TRUNCATE `+table); err == nil {
			t.Errorf("%s: can be truncated", table)
		}
	}
	for _, table := range []string{"customers", "phone_numbers", "api_keys", "projection_floor"} {
		if _, err := app.Exec(t.Context(), `SELECT * FROM `+table); err == nil {
			t.Errorf("%s: readable outside the platform's role", table)
		}
	}
}

// A table that does not keep tenants apart keeps the program from starting.
func TestUnsafeDatabaseIsRefused(t *testing.T) {
	su := admin(t)
	for name, tc := range map[string]struct{ plant, undo, says string }{
		"row security off": {`ALTER TABLE calls DISABLE ROW LEVEL SECURITY`, `ALTER TABLE calls ENABLE ROW LEVEL SECURITY`, "calls: row security is off"},
		"not forced":       {`ALTER TABLE turns NO FORCE ROW LEVEL SECURITY`, `ALTER TABLE turns FORCE ROW LEVEL SECURITY`, "turns: row security is not forced"},
		"no guard":         {`DROP POLICY tenant_guard ON leads`, `CREATE POLICY tenant_guard ON leads AS RESTRICTIVE TO app_rw USING (customer_id = current_setting('app.customer_id')::int)`, "leads: no restrictive tenant guard"},
		"new bare table":   {`CREATE TABLE oops (id int PRIMARY KEY)`, `DROP TABLE oops`, "oops: no customer_id"},
		"default tenant":   {`ALTER TABLE memories ALTER customer_id SET DEFAULT 1`, `ALTER TABLE memories ALTER customer_id DROP DEFAULT`, "memories: customer_id has a default"},
		"owner's view":     {`CREATE VIEW everything AS SELECT * FROM calls`, `DROP VIEW everything`, "everything: view without security_invoker"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := su.Exec(t.Context(), tc.plant); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if _, err := su.Exec(context.WithoutCancel(t.Context()), tc.undo); err != nil {
					t.Error(err)
				}
			}()
			s, err := store.Open(t.Context(), private.DSN(), nil)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, store.ErrUnsafe) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
	if _, err := store.Open(t.Context(), private.AdminDSN(), nil); !errors.Is(err, store.ErrUnsafe) {
		t.Errorf("as superuser: %v", err)
	}
}

// Of many that claim at once, one wins.
func TestClaimsAreTakenOnce(t *testing.T) {
	_, rows := customer(t)
	for name, claim := range map[string]func(by string) (store.Claim, error){
		"text": func(by string) (store.Claim, error) { return rows.ClaimText(t.Context(), "m1", "+1", by, time.Hour) },
		"extraction": func(by string) (store.Claim, error) {
			return rows.ClaimExtraction(t.Context(), "CA1", "k", by, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var won atomic.Int64
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					c, err := claim(fmt.Sprint("w", i))
					if err != nil {
						t.Error(err)
					}
					if c.Ours {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%d won", won.Load())
			}
		})
	}
	if err := rows.SaveExtraction(t.Context(), "CA1", "k", []byte(`{"raw":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if c, err := rows.ClaimExtraction(t.Context(), "CA1", "k", "later", 0); err != nil || c.Ours || !strings.Contains(string(c.Result), "x") {
		t.Errorf("what was paid for is lost: %+v, %v", c, err)
	}
	if c, err := rows.ClaimText(t.Context(), "m1", "+1", "later", 0); err != nil || !c.Ours || c.Attempts != 2 {
		t.Errorf("a claim that came to nothing cannot be taken over: %+v, %v", c, err)
	}
	if err := rows.TextSent(t.Context(), "m1", "SM1"); err != nil {
		t.Fatal(err)
	}
	if c, err := rows.ClaimText(t.Context(), "m1", "+1", "later", 0); err != nil || c.Ours || c.SID != "SM1" {
		t.Errorf("a text sent is claimed again: %+v, %v", c, err)
	}
}

func TestSettingsHaveVersionsAndNumbersOneOwner(t *testing.T) {
	s, _ := customer(t)
	other, _ := customer(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, _, err := shared.UpdateSettings(t.Context(), s.Tenant, func(set *events.Settings) error {
				set.Greeting = fmt.Sprint(i)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := shared.Settings(t.Context(), s.Tenant)
	if err != nil || got.Version != 11 {
		t.Errorf("version %d, %v; want 11", got.Version, err)
	}
	_, _, err = shared.UpdateSettings(t.Context(), s.Tenant, func(set *events.Settings) error {
		set.Numbers = append(set.Numbers, other.Numbers[0])
		return nil
	})
	if !errors.Is(err, store.ErrNumberTaken) {
		t.Errorf("another's number: %v", err)
	}
	if now, err := shared.Settings(t.Context(), s.Tenant); err != nil || now.Version != 11 {
		t.Errorf("a refused change changed something: %d, %v", now.Version, err)
	}
	if _, err := shared.Settings(t.Context(), 99999); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("nobody's settings: %v", err)
	}
}

func TestProjectionOfAnotherStreamIsRefused(t *testing.T) {
	_, rows := customer(t)
	project(t, rows, "CA9", 1)
	err := rows.Project(t.Context(), "test", created.Add(time.Second), func(*store.Projection) error { return nil })
	if !errors.Is(err, store.ErrRecreated) {
		t.Errorf("%v", err)
	}
}

func TestTemplatesAreThoseOfTheIndustries(t *testing.T) {
	for id, want := range map[string]string{"insurance_v1": "policies.auto_2.vin", "real_estate_v1": "properties.property_1.status"} {
		tm, err := shared.Template(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range tm.Fields {
			found = found || f.Path == want
			if f.Path == "properties.property_1.status" && (f.Type != "enum" || len(f.Values) != 3) {
				t.Errorf("%+v", f)
			}
		}
		if !found || tm.BioFormat == "" {
			t.Errorf("%s has no %s: %+v", id, want, tm)
		}
	}
}
