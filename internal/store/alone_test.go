package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// barrier names the only barrier that stands while tests run: "filters", those
// of the statements, in a database that shows everybody everything; or
// "policies", those of the tables, for whoever takes the filters out of the
// statements. Empty: all of them.
const barrier = "STORE_TEST_BARRIER"

// statement is a part of the only statements that are of interest; empty: all.
const statement = "STORE_TEST_STATEMENT"

// thorough, set to anything, has deeds that name many tables tried without the
// rows of each.
const thorough = "ISOLATION_ALL"

// answered is what the database said to the store, and what it was asked.
var answered recorder

// openFor opens the database of the tests, with a single barrier or all.
func openFor(only string) (*store.Store, error) {
	ctx := context.Background()
	if only == "" {
		return store.Open(ctx, private.DSN(), nil)
	}
	if only == "filters" {
		su, err := pgx.Connect(ctx, private.AdminDSN())
		if err != nil {
			return nil, err
		}
		defer su.Close(ctx)
		_, err = su.Exec(ctx, `DO $$ DECLARE t regclass; BEGIN
			FOR t IN SELECT oid FROM pg_class WHERE relrowsecurity LOOP EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', t); END LOOP; END $$`)
		if err != nil {
			return nil, err
		}
	}
	return store.OpenUnchecked(ctx, private.DSN(), func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = &answered
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &listened{Conn: conn, to: &answered}, err
		}
	})
}

// With the policies taken away, the filters of the statements keep tenants
// apart by themselves. The database is one of its own, in another process.
func TestFiltersHoldAlone(t *testing.T) {
	if os.Getenv(barrier) != "" {
		t.Skip("this is that process")
	}
	t.Parallel()
	const tests = `^(TestTenantsDoNotInterfere|TestPlatformActsOnTheTenantNamed|TestEventsOfOthersAreRefused)$`
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", tests, "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), barrier+"=filters")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestTenantsDoNotInterfere ")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// recorder keeps the statements that are sent and the rows that come back.
type recorder struct {
	mu         sync.Mutex
	statements []string
	rows       []string
}

func (r *recorder) take() (statements, rows []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	statements, rows, r.statements, r.rows = r.statements, r.rows, nil, nil
	slices.Sort(statements) // some are made in the order of a map
	slices.Sort(rows)
	return statements, rows
}

func (r *recorder) said(sql string) {
	r.mu.Lock()
	r.statements = append(r.statements, sql)
	r.mu.Unlock()
}

// TraceQueryStart notes one statement.
func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.said(d.SQL)
	return ctx
}

// TraceQueryEnd is for pgx.
func (r *recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart notes the statements of a batch.
func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	for _, q := range d.Batch.QueuedQueries {
		r.said(q.SQL)
	}
	return ctx
}

// TraceBatchQuery is for pgx.
func (r *recorder) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd is for pgx.
func (r *recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// listened is a connection whose rows and counts of rows are noted, whatever
// the store then makes of them.
type listened struct {
	net.Conn
	to   *recorder
	rest []byte // of a message that has not come whole
}

// Read passes on what the server says.
func (l *listened) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.rest = append(l.rest, b[:n]...)
	for len(l.rest) >= 5 {
		end := 1 + int(binary.BigEndian.Uint32(l.rest[1:]))
		if len(l.rest) < end {
			break
		}
		if kind, body := l.rest[0], l.rest[5:end]; kind == 'D' || kind == 'C' {
			l.to.mu.Lock()
			l.to.rows = append(l.to.rows, plainly(kind, body))
			l.to.mu.Unlock()
		}
		l.rest = slices.Clone(l.rest[end:])
	}
	return n, err
}

// plainly is a row or a count with the times of this test taken out.
func plainly(kind byte, body []byte) string {
	if kind == 'C' {
		return string(body)
	}
	var out []string
	for rest := body[2:]; len(rest) >= 4; {
		size := int(int32(binary.BigEndian.Uint32(rest)))
		rest = rest[4:]
		if size < 0 {
			out = append(out, "NULL")
			continue
		}
		field := rest[:size]
		rest = rest[size:]
		if size == 8 && recent(time.Unix(946684800, 0).Add(time.Duration(binary.BigEndian.Uint64(field))*time.Microsecond)) {
			field = []byte("now")
		}
		out = append(out, withoutNow(string(field)))
	}
	return fmt.Sprintf("%q", out)
}

func recent(at time.Time) bool { return time.Since(at).Abs() < 26*time.Hour }

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d:?\d\d|[+-]\d\d)?`)

// random is what is different each time.
var random = regexp.MustCompile(`"(hash|key_id)": "[^"]*"`)

// withoutNow puts a word in the place of every time of today, and takes out
// what is random.
func withoutNow(s string) string {
	s = random.ReplaceAllString(s, "")
	return timestamp.ReplaceAllStringFunc(s, func(at string) string {
		for _, layout := range []string{"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999"} {
			if when, err := time.Parse(layout, at); err == nil && recent(when) {
				return "now"
			}
		}
		return at
	})
}

// deed is one thing that can be done in a tenant's name.
type deed func(ctx context.Context, id events.Tenant, rows *store.Tenant) error

// deeds are all of them: every method of the handle, of a projection into
// either set of read models, and of the platform that names a tenant.
func deeds(t *testing.T) map[string]deed {
	t.Helper()
	all := map[string]deed{
		"Compare, as it is": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			_, _, _, err := r.Compare(ctx, "p", "r", "", true, func(store.Difference) {})
			return err
		},
		"Compare, of a caller": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			_, _, _, err := r.Compare(ctx, "p", "r", received.From, true, func(store.Difference) {})
			return err
		},
		"Swap, of a caller": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			_, err := r.Swap(ctx, "p", "r", received.From, func(context.Context) error { return nil }, func(store.Difference) {})
			return err
		},
		"ClearRebuilt, kept": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error { return r.ClearRebuilt(ctx, "r") },
		"ClaimText, leased": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			_, err := r.ClaimText(ctx, "m1", "+1", "another", time.Hour)
			return err
		},
		"ClaimExtraction, leased": func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			_, err := r.ClaimExtraction(ctx, "CA1", "k", "another", time.Hour)
			return err
		},
	}
	all["Store.KeyUsed"] = func(ctx context.Context, id events.Tenant, _ *store.Tenant) error {
		return shared.KeyUsed(ctx, store.Key{ID: sameKey, Tenant: id}, time.Now())
	}
	all["Store.DropCustomer"] = func(ctx context.Context, id events.Tenant, _ *store.Tenant) error {
		_, err := shared.DropCustomer(ctx, id)
		return err
	}
	all["ExpireRaw, counted"] = func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
		_, err := r.ExpireRaw(ctx, time.Now().Add(2*time.Hour), true)
		return err
	}
	all["Store.Admit"] = func(ctx context.Context, id events.Tenant, _ *store.Tenant) error {
		r, err := shared.Resident(ctx, id)
		if err != nil {
			return err
		}
		return shared.Admit(ctx, r)
	}
	all["Projection.EraseCalls, of its own"] = func(ctx context.Context, id events.Tenant, r *store.Tenant) error {
		return r.Project(ctx, "p", created, func(p *store.Projection) error {
			_, err := p.EraseCalls(event(id, "CA1", 20, events.CallErased{}), []string{"CA1"})
			return err
		})
	}
	all["Projection.Forget, of its own"] = func(ctx context.Context, id events.Tenant, r *store.Tenant) error {
		return r.Project(ctx, "p", created, func(p *store.Projection) error {
			for _, number := range []string{received.From, staged.Caller, optedOut.Number, "+1"} {
				if _, _, err := p.Forget(event(id, "", 20, events.CallerErased{}), number, created.AddDate(1, 0, 0)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	all["Projection.EraseText, of its own"] = func(ctx context.Context, id events.Tenant, r *store.Tenant) error {
		return r.Project(ctx, "p", created, func(p *store.Projection) error {
			return p.EraseText(event(id, "", 20, events.SMSErased{}), "", "m1")
		})
	}
	all["Projection.Unerase, of its own"] = func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
		return r.Project(ctx, "p", created, func(p *store.Projection) error {
			return p.Unerase([]string{"CA8", "CA9"}, []string{"ref", "another", "text"})
		})
	}
	for name, o := range handles(t) {
		all[name] = func(ctx context.Context, _ events.Tenant, r *store.Tenant) error { _, err := o.do(ctx, r); return err }
	}
	for name := range writes(1, "") {
		all["Projection."+name] = func(ctx context.Context, id events.Tenant, r *store.Tenant) error {
			return r.Project(ctx, "p", created, func(p *store.Projection) error { return writes(id, "Ben")[name](p) })
		}
	}
	all["Projection.SaveCaller, of nobody's lead"] = func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
		return r.Project(ctx, "p", created, func(p *store.Projection) error {
			c := known("Ben")
			c.Lead.Stage = ""
			p.SaveCaller(c)
			return nil
		})
	}
	for name, read := range reads() {
		all["Projection."+name+", as it is"] = func(ctx context.Context, _ events.Tenant, r *store.Tenant) error {
			return errors.Join(r.Project(ctx, "p", created, read), r.Rebuild(ctx, "r", created, read))
		}
	}
	for name, do := range platform() {
		all["Store."+name] = func(ctx context.Context, id events.Tenant, _ *store.Tenant) error { return do(ctx, id) }
	}
	return all
}

// ofNoTenant are methods of the store that are not asked in one tenant's name,
// each with what else they are.
var ofNoTenant = map[string]string{
	"Close": "ends all", "For": "makes the handle", "CreateCustomer": "makes a tenant", "FindKey": "tells whose a key is, of the key",
	"ListCustomers": "is the platform's list", "Tenants": "is the platform's list", "Unpublished": "is the platform's list", "Newer": "is the platform's list",
	"Template": "is no tenant's", "ListTemplates": "is no tenant's", "NewPlatformKey": "is the platform's", "PlatformKeys": "is the platform's", "RevokePlatformKey": "is the platform's",
	"Floor": "is no tenant's", "SetFloor": "is no tenant's", "LockProjection": "is no tenant's", "ProjectionActive": "is no tenant's",
	"CheckKey": "is the platform's",
}

// Every method of the store is tried in a tenant's name, or is in no one's.
func TestEveryMethodOfTheStoreIsTried(t *testing.T) {
	t.Parallel()
	all := deeds(t)
	for _, name := range methods(&store.Store{}) {
		if _, tried := all["Store."+name]; tried == (ofNoTenant[name] != "") {
			t.Errorf("%s: have platform try it for the tenant it names, or say in ofNoTenant why it names none", name)
		}
	}
}

// reads are the methods of a projection that read, on what is there.
func reads() map[string]func(*store.Projection) error {
	return map[string]func(*store.Projection) error{
		"Template":     func(p *store.Projection) error { _, _, err := p.Template(); return err },
		"Refold":       func(p *store.Projection) error { _, _, err := p.Refold(); return err },
		"Refolded":     func(p *store.Projection) error { p.Refolded(nil); return nil },
		"CallersAfter": func(p *store.Projection) error { _, err := p.CallersAfter("", 100); return err },
		"CallerFacts":  func(p *store.Projection) error { _, err := p.CallerFacts([]string{received.From}); return err },
		"DropCaller":   func(p *store.Projection) error { p.DropCaller(received.From); return nil },
		"SetApplied":   func(p *store.Projection) error { p.SetApplied(40, "e"); return nil },
	}
}

// Whatever is done in a tenant's name, the database answers the same, and the
// tenant's rows are the same afterwards, whether or not two others are there
// with rows under the same names and more; and theirs stay as they are. That
// holds for a tenant who has everything, nothing, or lacks one table's rows.
func TestTenantsDoNotInterfere(t *testing.T) {
	if os.Getenv(barrier) == "" {
		t.Skip("run by TestFiltersHoldAlone, in a database with nobody else in it")
	}
	w := newWorld(t)
	all := deeds(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(barrier) == "policies" && strings.HasPrefix(name, "Store.") {
				t.Skip("the platform's tables have no policies")
			}
			if only := os.Getenv(statement); only != "" && !w.says(t, all[name], only) {
				t.Skip("does not come to that statement")
			}
			var lacking []string
			for _, sql := range w.differs(t, all[name], "") {
				lacking = append(lacking, w.named(sql)...)
			}
			slices.Sort(lacking)
			lacking = slices.Compact(slices.DeleteFunc(lacking, tenantItself))
			if os.Getenv(statement) == "" && os.Getenv(thorough) == "" {
				lacking = lacking[:min(len(lacking), 6)] // what names all tables takes long
			}
			for _, table := range append(lacking, everything) {
				w.differs(t, all[name], table)
			}
		})
	}
}

// world is three tenants in a database of their own, of whom the middle one is
// looked at.
type world struct {
	su      *pgx.Conn
	tenants [3]events.Tenant
	rows    *store.Tenant
	tables  []string
	full    [3]map[string]json.RawMessage // by table

	clear, plant, show string // statements
}

const (
	left, middle, right = 0, 1, 2
	everything          = "everything" // in the place of the name of a table
	sameKey             = "samekey"    // what a key of each of the three is called
)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{su: admin(t)}
	// The statements that plant and show all tables take longer to plan than to run.
	if _, err := w.su.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	w.tables = append(guarded(t, w.su), "customers", "phone_numbers", "api_keys")
	for i := range w.tenants {
		s, rows := customer(t)
		w.tenants[i] = s.Tenant
		if i == middle {
			w.rows = rows
		}
	}
	model, _ := seeded(t, "Ann")
	w.prepare(t)
	seen := w.dump(t, model)
	if _, err := w.su.Exec(t.Context(), w.clear, []int32{int32(model)}); err != nil {
		t.Fatal(err)
	}
	// Those made anew have come further, for Swap to move the others on.
	seen["rebuild.projection_offsets"] = strings.Replace(seen["rebuild.projection_offsets"], `"seq": 9`, `"seq": 12`, 1)
	for _, table := range []string{"memories", "rebuild.memories"} { // some methods look at those of one type
		liked := strings.NewReplacer(`"type": "fact"`, `"type": "preference"`, `"id": "m"`, `"id": "p"`).Replace(seen[table])
		seen[table] = strings.TrimSuffix(seen[table], "]") + ", " + strings.TrimPrefix(liked, "[")
	}
	for _, table := range []string{"caller_facts", "rebuild.caller_facts"} { // or at facts of calls that are no summaries
		other := regexp.MustCompile(`"event_id": "([^"]*)"`).ReplaceAllString(strings.ReplaceAll(seen[table], `"call.summarized"`, `"message.taken"`), `"event_id": "${1}m"`)
		seen[table] = strings.TrimSuffix(seen[table], "]") + ", " + strings.TrimPrefix(other, "[")
	}
	// A fact's id names its tenant; here all have the one that is asked for.
	of := func(id events.Tenant) string { return event(id, "", 7, staged).ID }
	for table := range seen {
		seen[table] = strings.ReplaceAll(seen[table], of(model), of(w.tenants[middle]))
	}
	for i, id := range w.tenants {
		own := w.dump(t, id)
		w.full[i] = map[string]json.RawMessage{}
		for _, table := range w.tables {
			if table == "customers" || table == "phone_numbers" || table == "api_keys" {
				if own[table] == "[]" {
					t.Errorf("of three tenants one has nothing in %s", table)
				}
				w.full[i][table] = json.RawMessage(regexp.MustCompile(`"key_id": "[^"]*"`).ReplaceAllString(own[table], `"key_id": "`+sameKey+`"`))
				continue
			}
			if seen[table] == "[]" {
				t.Errorf("%s has no row: have seeded write one, so that what reads it is tried", table)
			}
			w.full[i][table] = json.RawMessage(belonging(i, id, seen[table]))
		}
	}
	return w
}

// belonging are the rows of the model as those of one of the three. The two
// beside have other words, other times and sequences, and more rows.
func belonging(i int, id events.Tenant, model string) string {
	own := regexp.MustCompile(`"customer_id": \d+`).ReplaceAllString(model, `"customer_id": `+id.String())
	switch i {
	case left:
		own = regexp.MustCompile(`"seq": (\d+)`).ReplaceAllString(strings.ReplaceAll(own, "2026-01-01", "2026-01-02"), `"seq": 7$1`)
	case middle:
		return strings.ReplaceAll(own, "Ann", "Ben")
	case right: // whose calls of the same names are another caller's
		own = strings.ReplaceAll(own, `"`+received.From+`"`, `"`+received.From+`8"`)
		own = strings.ReplaceAll(strings.ReplaceAll(own, "2026-01-01", "2025-12-31"), "Ann", "Cat")
	}
	own = strings.ReplaceAll(own, `"sid": ""`, `"sid": "SM7"`)
	more := own
	for _, name := range []string{received.From, received.From + "8", "CA1", "m1", "RE1"} {
		more = strings.ReplaceAll(more, `"`+name+`"`, `"`+name+`9"`)
	}
	more = strings.ReplaceAll(more, `"`+received.From+`89"`, `"anonymous"`) // some calls are of nobody known
	more = regexp.MustCompile(`"(id|event_id)": "([^"]*)"`).ReplaceAllString(more, `"$1": "${2}9"`)
	return strings.TrimSuffix(own, "]") + ", " + strings.TrimPrefix(more, "[")
}

// tenantItself reports whether a table's rows are what makes a tenant.
func tenantItself(table string) bool { return table == "customers" || table == "api_keys" }

// prepare makes the statements that clear, plant and show all tables at once.
func (w *world) prepare(t *testing.T) {
	t.Helper()
	var clear, plant, show []string
	for i, table := range w.tables {
		var columns string
		err := w.su.QueryRow(t.Context(), `SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
			WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped`, table).Scan(&columns)
		if err != nil {
			t.Fatal(err)
		}
		clear = append(clear, fmt.Sprintf("c%d AS (DELETE FROM %s WHERE customer_id = ANY ($1))", i, table))
		plant = append(plant, fmt.Sprintf("p%d AS (INSERT INTO %s (%s) SELECT %[3]s FROM jsonb_populate_recordset(NULL::%[2]s, $1::jsonb -> '%[2]s') ON CONFLICT DO NOTHING)", i, table, columns))
		show = append(show, fmt.Sprintf("SELECT '%s', coalesce(jsonb_agg(to_jsonb(x) ORDER BY (to_jsonb(x) - 'hash' - 'key_id')::text), '[]')::text FROM %[1]s x WHERE customer_id = $1", table))
	}
	w.clear, w.plant = "WITH "+strings.Join(clear, ", ")+" SELECT 1", "WITH "+strings.Join(plant, ", ")+" SELECT 1"
	w.show = strings.Join(show, " UNION ALL ")
}

func (w *world) dump(t *testing.T, id events.Tenant) map[string]string {
	t.Helper()
	rows, err := w.su.Query(t.Context(), w.show, int32(id))
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Table, Rows string }])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range all {
		out[r.Table] = r.Rows
	}
	return out
}

// done is what came of a deed.
type done struct {
	err        string
	statements []string
	answers    []string
	own        map[string]string
}

// do has the middle tenant, who lacks a table's rows, do something, with the
// others there or not.
func (w *world) do(t *testing.T, do deed, lacks string, beside bool) (d done) {
	t.Helper()
	ids := []int32{int32(w.tenants[left]), int32(w.tenants[middle]), int32(w.tenants[right])}
	if _, err := w.su.Exec(t.Context(), w.clear, ids); err != nil {
		t.Fatal(err)
	}
	before := [3]map[string]string{}
	for i, id := range w.tenants {
		rows := maps.Clone(w.full[i])
		if i == middle && lacks == everything {
			maps.DeleteFunc(rows, func(table string, _ json.RawMessage) bool { return !tenantItself(table) })
		} else if i == middle {
			delete(rows, lacks)
		}
		if i == middle || beside {
			raw, err := json.Marshal(rows)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.su.Exec(t.Context(), w.plant, string(raw)); err != nil {
				t.Fatal(err)
			}
		}
		if i != middle && beside {
			before[i] = w.dump(t, id)
		}
	}
	answered.take()
	if err := do(t.Context(), w.tenants[middle], w.rows); err != nil {
		d.err = err.Error()
	}
	d.statements, d.answers = answered.take()
	for i, id := range w.tenants {
		if i != middle && !beside {
			continue
		}
		after := w.dump(t, id)
		if i == middle {
			d.own = after
			continue
		}
		for table, rows := range after {
			if withoutNow(rows) != withoutNow(before[i][table]) {
				t.Errorf("without rows in %q: another tenant's %s changes from\n%s to\n%s", lacks, table, before[i][table], rows)
			}
		}
	}
	return d
}

// differs reports in what a deed differs for a tenant who has neighbours, and
// returns the statements it consists of.
func (w *world) differs(t *testing.T, do deed, lacks string) []string {
	t.Helper()
	alone, beside := w.do(t, do, lacks, false), w.do(t, do, lacks, true)
	if (alone.err == "") != (beside.err == "") {
		t.Errorf("without rows in %q: with others there it fails with %q, else with %q", lacks, beside.err, alone.err)
	}
	if !slices.Equal(alone.statements, beside.statements) { // which would take another time
		t.Errorf("without rows in %q: with others there it takes the statements\n%s, else\n%s", lacks, strings.Join(beside.statements, "\n"), strings.Join(alone.statements, "\n"))
	}
	if !slices.Equal(alone.answers, beside.answers) {
		t.Errorf("without rows in %q: with others there the database answers\n%s, else\n%s", lacks, strings.Join(beside.answers, "\n"), strings.Join(alone.answers, "\n"))
	}
	for table, rows := range alone.own {
		if withoutNow(rows) != withoutNow(beside.own[table]) {
			t.Errorf("without rows in %q: with others there %s becomes\n%s, else\n%s", lacks, table, beside.own[table], rows)
		}
	}
	return slices.Concat(alone.statements, beside.statements)
}

// says reports whether a deed comes to a statement that contains text.
func (w *world) says(t *testing.T, do deed, text string) bool {
	t.Helper()
	for _, lacks := range []string{"", everything} {
		said := w.do(t, do, lacks, false).statements
		if slices.ContainsFunc(said, func(sql string) bool { return strings.Contains(sql, text) }) {
			return true
		}
	}
	return false
}

// named are the tables a statement names.
func (w *world) named(sql string) (tables []string) {
	for _, table := range w.tables {
		if name := strings.TrimPrefix(table, "rebuild."); regexp.MustCompile(`\b` + name + `\b`).MatchString(sql) {
			tables = append(tables, table)
		}
	}
	return tables
}
