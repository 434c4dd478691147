package testenv

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

// Database is a PostgreSQL server of one test, migrated and empty.
type Database struct {
	Store *store.Store
	URL   string // as the application's role

	admin   string
	numbers atomic.Int64
}

// Postgres starts a server for one test, which is skipped where there is none
// to start. It does not wait for the disk.
func Postgres(t testing.TB) *Database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTime)
	defer cancel()
	p, err := store.StartPrivateWith(ctx, t.TempDir(), nil, store.PrivateOptions{Fast: true})
	if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(ctx, p.AdminDSN(), ""); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(ctx, p.DSN(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &Database{Store: s, URL: p.DSN(), admin: p.AdminDSN()}
}

// Empty makes an empty database on the same server, owned by role, which is made
// where it is missing. It yields its URL as the server's own superuser and as
// role; both end with the test.
func (d *Database) Empty(t testing.TB, role string) (admin, owner string) {
	t.Helper()
	name := fmt.Sprintf("other_%d", d.numbers.Add(1))
	if len(d.query(t, `SELECT '' FROM pg_roles WHERE rolname = $1`, role)) == 0 {
		d.query(t, `CREATE ROLE `+pgx.Identifier{role}.Sanitize()+` LOGIN`)
	}
	d.query(t, `CREATE DATABASE `+name+` OWNER `+pgx.Identifier{role}.Sanitize())
	admin = strings.Replace(d.admin, "dbname=neurosphere", "dbname="+name, 1)
	return admin, strings.Replace(admin, "user=postgres", "user="+role, 1)
}

// Run runs statements in a database that Empty made.
func (d *Database) Run(t testing.TB, dsn, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// Customer makes a tenant with a number of its own.
func (d *Database) Customer(t testing.TB, set events.Settings) events.Settings {
	t.Helper()
	if set.Name == "" {
		set.Name = t.Name()
	}
	set.Numbers = []string{fmt.Sprintf("+1206555%04d", d.numbers.Add(1))}
	set, _, err := d.Store.CreateCustomer(t.Context(), set)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Rows are all rows of one tenant as JSON, sorted, by table; its settings,
// numbers and keys are not among them.
func (d *Database) Rows(t testing.TB, tenant events.Tenant) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	var each []string
	for _, table := range d.tables(t) {
		each = append(each, `SELECT '`+strings.Trim(table, `"`)+` ' || to_jsonb(x)::text FROM `+table+` x WHERE customer_id = $1`)
	}
	for _, line := range d.query(t, strings.Join(each, " UNION ALL ")+" ORDER BY 1", int32(tenant)) {
		table, row, _ := strings.Cut(line, " ")
		out[table] = append(out[table], row)
	}
	return out
}

// Clear deletes all rows of one tenant, or those in some tables.
func (d *Database) Clear(t testing.TB, tenant events.Tenant, tables ...string) {
	t.Helper()
	if len(tables) == 0 {
		tables = d.tables(t)
	}
	for _, table := range tables {
		d.query(t, `DELETE FROM `+table+` WHERE customer_id = $1 RETURNING ''`, int32(tenant))
	}
}

// Exec runs SQL as the one who may do everything, to load what a benchmark
// needs.
func (d *Database) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, d.admin+" search_path=app")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Hold runs a statement as the one who may do everything, and neither commits
// nor undoes it: whoever comes to what it locks waits. Waited returns once
// somebody does; release undoes the statement.
func (d *Database) Hold(t testing.TB, sql string, args ...any) (waited, release func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, d.admin)
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = c.Close(ctx) })
	t.Cleanup(release)
	held, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		for end := time.Now().Add(startTime); len(d.query(t, `SELECT '' FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))`, c.PgConn().PID())) == 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nobody waits within %v for what is held", startTime)
			}
		}
	}, release
}

// tables are those with rows of tenants, quoted.
func (d *Database) tables(t testing.TB) []string {
	t.Helper()
	return d.query(t, `SELECT quote_ident(table_name) FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = 'app' AND column_name = 'customer_id' AND table_type = 'BASE TABLE' AND table_name NOT IN ('customers', 'phone_numbers', 'api_keys')`)
}

func (d *Database) query(t testing.TB, sql string, args ...any) []string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, d.admin+" search_path=app")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}
