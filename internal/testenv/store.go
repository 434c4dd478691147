package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

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

// Rows are all rows of one tenant as JSON, sorted, by table.
func (d *Database) Rows(t testing.TB, tenant events.Tenant) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, table := range d.query(t, `SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables USING (table_schema, table_name)
		WHERE c.table_schema = 'app' AND c.column_name = 'customer_id' AND table_type = 'BASE TABLE'`) {
		if rows := d.query(t, `SELECT to_jsonb(x)::text FROM app.`+pgx.Identifier{table}.Sanitize()+` x WHERE customer_id = $1 ORDER BY 1`, int32(tenant)); len(rows) > 0 {
			out[table] = rows
		}
	}
	return out
}

// Forget does what no program does: it runs one statement as an administrator,
// $1 being the tenant.
func (d *Database) Forget(t testing.TB, tenant events.Tenant, sql string) {
	t.Helper()
	d.query(t, sql, int32(tenant))
}

func (d *Database) query(t testing.TB, sql string, args ...any) []string {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	c, err := pgx.Connect(ctx, d.admin)
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
