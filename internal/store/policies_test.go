package store_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// policiesFile is where what TestEveryPolicyIsNeeded finds out is written;
// empty: nowhere.
const policiesFile = "STORE_TEST_POLICIES"

// removal is one way to take a table's policies away, and who noticed.
type removal struct {
	Table string `json:"table"`
	What  string `json:"what"`
	Check string `json:"check"` // what the check at the start says of it
	Probe string `json:"probe"` // what the application's role then sees of two tenants' rows
}

// The check at the start passes on the database as migrated, and notices
// whatever is taken from the policies of any one table. Without them the
// application's role sees another tenant's row, or its own no more.
func TestEveryPolicyIsNeeded(t *testing.T) {
	t.Parallel()
	app, adm := database(t, "stripped")
	if err := store.Migrate(t.Context(), adm, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, app); err != nil {
		t.Fatalf("as migrated: %v", err)
	}
	su := connect(t, adm+" search_path=app")
	var found []removal
	for _, table := range guarded(t, su) {
		plant(t, su, table, 1)
		plant(t, su, table, 2)
		if got := stripped(t, su, table, "SELECT"); got.Check != "" || got.Probe != "its own" {
			t.Fatalf("%s as migrated: %+v", table, got)
		}
		for what, tc := range map[string]struct{ sql, probe string }{
			"row security":      {`ALTER TABLE ` + table + ` DISABLE ROW LEVEL SECURITY`, "another's too"},
			"force":             {`ALTER TABLE ` + table + ` NO FORCE ROW LEVEL SECURITY`, "its own"},
			"guard":             {`DROP POLICY tenant_guard ON ` + table, "its own"},
			"allowance":         {`DROP POLICY tenant_allow ON ` + table, "nothing"},
			"guard's condition": {`ALTER POLICY tenant_guard ON ` + table + ` USING (true)`, "its own"},
			"both conditions":   {`ALTER POLICY tenant_guard ON ` + table + ` USING (true); ALTER POLICY tenant_allow ON ` + table + ` USING (true)`, "another's too"},
			"both policies":     {`DROP POLICY tenant_guard ON ` + table + `; DROP POLICY tenant_allow ON ` + table, "nothing"},
		} {
			got := stripped(t, su, table, tc.sql)
			got.What = what
			found = append(found, got)
			if got.Check == "" {
				t.Errorf("%s without its %s passes the check", table, what)
			}
			if got.Probe != tc.probe {
				t.Errorf("%s without its %s shows %s, want %s", table, what, got.Probe, tc.probe)
			}
		}
	}
	if file := os.Getenv(policiesFile); file != "" {
		slices.SortFunc(found, func(a, b removal) int { return strings.Compare(a.Table+a.What, b.Table+b.What) })
		raw, err := json.MarshalIndent(found, "", "  ")
		if err == nil {
			err = os.WriteFile(file, raw, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// stripped says what becomes of a table's protection after a statement, which
// is undone.
func stripped(t *testing.T, su *pgx.Conn, table, sql string) (r removal) {
	t.Helper()
	r.Table = table
	q, err := su.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := q.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	rows, err := q.Query(t.Context(), store.LintSQL, "app_rw", slices.Sorted(maps.Keys(store.PlatformTables())), store.VersionTable)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Rule, Object string }])
	if err != nil {
		t.Fatal(err)
	}
	var says []string
	for _, f := range faults {
		if f.Object == table {
			says = append(says, f.Rule)
		}
	}
	r.Check = strings.Join(says, "; ")
	if _, err := q.Exec(t.Context(), `SET LOCAL ROLE app_rw; SELECT set_config('app.customer_id', '1', true)`); err != nil {
		t.Fatal(err)
	}
	rows, err = q.Query(t.Context(), `SELECT DISTINCT customer_id FROM `+table+` ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[events.Tenant])
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case slices.Equal(seen, []events.Tenant{1}):
		r.Probe = "its own"
	case len(seen) == 0:
		r.Probe = "nothing"
	default:
		r.Probe = "another's too"
	}
	return r
}
