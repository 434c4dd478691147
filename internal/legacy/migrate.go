package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// MigrateOptions say how the old tables get their customer. Only DSN is needed.
type MigrateOptions struct {
	DSN      string
	Finish   bool                    // the old service is gone: take away what was kept for it
	Patience time.Duration           // how long one step may wait for others in all; default 10 minutes
	Progress func(step, what string) // told before each step that has something to do; may be nil
}

// MigrateReport is what was done.
type MigrateReport struct {
	Steps     []Step        `json:"steps"` // those that had something to do, in order
	Merged    []Merged      `json:"merged"`
	Longest   time.Duration `json:"longest_lock_ns"` // for which one step kept others from a table or its rows
	LongestAt string        `json:"longest_lock_of"` // what did so
	Tries     int           `json:"tries"`           // steps given up because others were at it, and tried again
	Kept      []string      `json:"kept"`            // for the old service, until -finish
	Before    Sums          `json:"before"`
	After     Sums          `json:"after"`
	Took      time.Duration `json:"took_ns"`
}

// Step is one change of the database.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took_ns"`
}

// Merged counts rows of one table that said the same of one thing.
type Merged struct {
	Table   string `json:"table"`
	Things  int    `json:"things"`
	Losers  int    `json:"losers"` // now in <table>_merge_log
	Renamed int    `json:"renamed,omitempty"`
}

// Sums are what must be the same before and after, writers apart.
type Sums struct {
	Memories  int64   `json:"memories"`
	Calls     int64   `json:"calls"`       // summarized
	Callers   int64   `json:"callers"`     // with a profile
	Total     int64   `json:"total_calls"` // of all profiles
	Metrics   int64   `json:"metrics"`
	Satisfied float64 `json:"satisfaction_sum"` // of all metrics
	Averaged  int64   `json:"call_count"`       // of all averages
}

// lockWait bounds how long a statement that keeps writers out may wait for them:
// as long as it waits, everybody else queues behind it.
const lockWait = "25ms"

type migration struct {
	MigrateOptions
	conn   *pgx.Conn
	tables map[string]table
	report MigrateReport
}

// Migrate gives the old service's five tables a customer, number 1, where they
// are, while the old service goes on writing. It can be stopped anywhere and
// run again; where nothing is left to do it does nothing.
func Migrate(ctx context.Context, o MigrateOptions) (MigrateReport, error) {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Minute
	}
	if o.Progress == nil {
		o.Progress = func(string, string) {}
	}
	began := time.Now()
	c, err := connect(ctx, o.DSN)
	if err != nil {
		return MigrateReport{}, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	m := &migration{MigrateOptions: o, conn: c, report: MigrateReport{Steps: []Step{}, Merged: []Merged{}, Kept: []string{}}}
	err = lost(ctx, c, m.run(ctx))
	m.report.Took = time.Since(began)
	return m.report, err
}

func (m *migration) run(ctx context.Context) (err error) {
	if err := m.alone(ctx); err != nil {
		return err
	}
	if err := m.preflight(ctx); err != nil {
		return err
	}
	if m.report.Before, err = m.sums(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{m.role, m.customers, m.columns, m.indexes, m.references, m.merge, m.keys, m.security, m.finish} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	m.report.After, err = m.sums(ctx)
	return err
}

// alone takes the lock that keeps two migrations of one database apart. What a
// killed one was at ends with its connection, which the server may notice late.
func (m *migration) alone(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); ; {
		var ok bool
		if err := m.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(7214001)`).Scan(&ok); err != nil || ok {
			return err
		}
		if time.Now().After(end) {
			return errors.New("another migration of this database is under way")
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// preflight refuses what could not be carried through, before anything changes.
func (m *migration) preflight(ctx context.Context) error {
	var version int
	if err := m.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return err
	}
	if version < 120000 {
		return errors.New("the old database's server is older than PostgreSQL 12: a column with a default would lock its tables for long")
	}
	var err error
	if m.tables, err = inspect(ctx, m.conn); err != nil {
		return err
	}
	for _, name := range tables {
		t, ok := m.tables[name]
		if !ok || !t.has("user_id") {
			return fmt.Errorf("%w: it has no table %s", ErrNotOld, name)
		}
		if c, ok := t.columns["customer_id"]; ok && !c.notNull {
			return fmt.Errorf("%s.customer_id exists and may be null: somebody has begun this otherwise; make it NOT NULL DEFAULT 1, or drop it", name)
		}
		key := "id"
		if name == tableAverages {
			key = "user_id"
		}
		if c, ok := t.columns[key]; !ok || !c.notNull {
			return fmt.Errorf("%s.%s may be null: it is to be part of the primary key; make it NOT NULL first", name, key)
		}
		if _, err := m.oldRoles(ctx, name); err != nil {
			return err
		}
	}
	var foreign []string
	rows, err := m.conn.Query(ctx, `
		SELECT conrelid::regclass || ' (' || conname || ')' FROM pg_constraint
		WHERE contype = 'f' AND confrelid = ANY ($1::oid[]) ORDER BY 1`, m.oids())
	if err == nil {
		foreign, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err == nil && len(foreign) > 0 {
		err = fmt.Errorf("other tables refer to the old ones by keys that are to change: %s", strings.Join(foreign, ", "))
	}
	if err != nil {
		return err
	}
	return m.values(ctx)
}

func (m *migration) oids() (out []uint32) {
	for _, name := range tables {
		out = append(out, m.tables[name].oid)
	}
	return out
}

func (m *migration) sums(ctx context.Context) (s Sums, err error) {
	err = m.conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM memories), (SELECT count(*) FROM (
			SELECT DISTINCT call_id, `+sameCaller+`, CASE WHEN call_id IN (`+sharedCalls+`) THEN id END FROM call_summaries) c),
		(SELECT count(DISTINCT user_id) FROM caller_profiles), (SELECT coalesce(sum(total_calls), 0) FROM caller_profiles),
		(SELECT count(*) FROM personality_metrics), (SELECT coalesce(sum(satisfaction_level) FILTER (WHERE `+measurable("satisfaction_level")+`), 0) FROM personality_metrics),
		(SELECT coalesce(sum(call_count), 0) FROM personality_averages)`).
		Scan(&s.Memories, &s.Calls, &s.Callers, &s.Total, &s.Metrics, &s.Satisfied, &s.Averaged)
	if err != nil {
		err = fmt.Errorf("add up: %w", err)
	}
	return s, err
}

// step does one thing that is to be reported.
func (m *migration) step(ctx context.Context, name, what string, do func(context.Context) error) error {
	m.Progress(name, what)
	began := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.report.Steps = append(m.report.Steps, Step{name, time.Since(began)})
	return nil
}

// short runs f, which may keep others out, but not for long: it gives up
// whatever it would have to wait for, and tries again later.
func (m *migration) short(ctx context.Context, what string, f func() error) error {
	for began, wait := time.Now(), 20*time.Millisecond; ; wait = min(2*wait, time.Second) {
		at := time.Now()
		err := f()
		if took := time.Since(at); took > m.report.Longest {
			m.report.Longest, m.report.LongestAt = took, what
		}
		if !busy(err) {
			return err
		}
		m.report.Tries++
		if time.Since(began) > m.Patience {
			return fmt.Errorf("others hold locks for too long: %w", err)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// ddl is short for statements. They go to the server at once: a lock is not
// held while anybody waits for the network.
func (m *migration) ddl(statements ...string) func(context.Context) error {
	all := `BEGIN; SET LOCAL lock_timeout = '` + lockWait + `'; ` + strings.Join(statements, "; ") + `; COMMIT`
	return func(ctx context.Context) error {
		return m.short(ctx, statements[len(statements)-1], func() error {
			_, err := m.conn.PgConn().Exec(ctx, all).ReadAll()
			if err != nil {
				_, _ = m.conn.Exec(context.WithoutCancel(ctx), `ROLLBACK`)
			}
			return err
		})
	}
}

// customers makes the table the others refer to, or takes the one there is.
func (m *migration) customers(ctx context.Context) error {
	key, err := m.customerKey(ctx)
	if err != nil {
		return err
	}
	if key == "" {
		schema := m.tables[tableMemories].schema
		err = m.step(ctx, "customers", "make the table", m.ddl(
			`CREATE TABLE `+schema+`.customers (customer_id int PRIMARY KEY, name text, created_at timestamptz NOT NULL DEFAULT now())`))
		if err != nil {
			return err
		}
		key = "customer_id"
	}
	var there bool
	if err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM customers WHERE `+key+` = 1)`).Scan(&there); err != nil || there {
		return err
	}
	err = m.step(ctx, "customers", "add number 1", m.ddl(`INSERT INTO customers (`+key+`) VALUES (1)`))
	if state(err) == "23502" {
		return errors.New("customers has no row 1 and needs more than its key: add that row first")
	}
	return err
}

// customerKey is the primary key of the table of customers; empty without one.
func (m *migration) customerKey(ctx context.Context) (string, error) {
	var there bool
	if err := m.conn.QueryRow(ctx, `SELECT to_regclass('customers') IS NOT NULL`).Scan(&there); err != nil || !there {
		return "", err
	}
	var keys []string
	err := m.conn.QueryRow(ctx, `
		SELECT array_agg(quote_ident(a.attname)) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = 'customers'::regclass AND i.indisprimary AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)`).Scan(&keys)
	if err == nil && len(keys) != 1 {
		err = errors.New("there is a table customers whose primary key is not one whole number")
	}
	if err != nil {
		return "", err
	}
	return keys[0], nil
}

// columns adds customer_id. A constant default is in the catalogue alone: no
// row is written, and every row is customer 1's.
func (m *migration) columns(ctx context.Context) (err error) {
	for _, name := range tables {
		if m.tables[name].has("customer_id") {
			continue
		}
		if err := m.step(ctx, name, "add customer_id", m.ddl(`ALTER TABLE `+name+` ADD COLUMN customer_id int NOT NULL DEFAULT 1`)); err != nil {
			return err
		}
		if err := m.long(ctx, `ANALYZE `+name+` (customer_id, user_id)`); err != nil { // or plans would take it for a rare one
			return err
		}
	}
	m.tables, err = inspect(ctx, m.conn)
	return err
}

// index is one to be built while others write.
type index struct {
	name, table, columns string
	unique               bool
}

// indexes are what tenants' queries go by, and what the new primary keys will
// be made of. Those that duplicates stand in the way of come after merging.
func (m *migration) indexes(ctx context.Context) error {
	for _, x := range []index{
		{"memories_customer_user", tableMemories, "customer_id, user_id, created_at DESC", false},
		{"call_summaries_customer_user", tableSummaries, "customer_id, user_id, call_date DESC", false},
		{"personality_metrics_customer_user", tableMetrics, "customer_id, user_id, measured_at DESC", false},
		{"personality_metrics_customer_call", tableMetrics, "customer_id, call_id", false},
		{keyIndex(tableMemories), tableMemories, "customer_id, id", true},
		{keyIndex(tableSummaries), tableSummaries, "customer_id, id", true},
		{keyIndex(tableProfiles), tableProfiles, "customer_id, id", true},
		{keyIndex(tableMetrics), tableMetrics, "customer_id, id", true},
	} {
		if x.name == keyIndex(x.table) {
			// It has another name once it is the primary key.
			if k, err := m.primaryKey(ctx, x.table); err != nil || len(k.columns) > 0 && k.columns[0] == "customer_id" {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := m.build(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

func keyIndex(table string) string { return table + "_customer_key" }

var errDuplicates = errors.New("rows stand in the way of a unique index")

// build makes an index CONCURRENTLY. One that a former attempt left behind
// invalid is dropped first: IF NOT EXISTS would keep it.
func (m *migration) build(ctx context.Context, x index) error {
	there, valid, err := m.indexState(ctx, x.name)
	if err != nil || valid {
		return err
	}
	unique := ""
	if x.unique {
		unique = "UNIQUE "
	}
	return m.step(ctx, x.table, "build index ("+x.columns+")", func(ctx context.Context) error {
		for began := time.Now(); ; {
			if there {
				if err := m.long(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+m.tables[x.table].schema+`.`+x.name); err != nil {
					return err
				}
			}
			err := m.long(ctx, `CREATE `+unique+`INDEX CONCURRENTLY `+x.name+` ON `+x.table+` (`+x.columns+`)`)
			if err == nil {
				return nil
			}
			there = true
			switch {
			case state(err) == "23505":
				_ = m.long(ctx, `DROP INDEX CONCURRENTLY IF EXISTS `+m.tables[x.table].schema+`.`+x.name)
				return fmt.Errorf("%w (%s)", errDuplicates, x.columns)
			case !busy(err) || time.Since(began) > m.Patience:
				return err
			}
			m.report.Tries++
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	})
}

func (m *migration) indexState(ctx context.Context, name string) (there, valid bool, err error) {
	err = m.conn.QueryRow(ctx, `
		SELECT count(*) > 0, coalesce(bool_and(i.indisvalid AND i.indisready), false) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
		WHERE i.indrelid = ANY ($1::oid[]) AND c.relname = $2`, m.oids(), name).Scan(&there, &valid)
	return there, valid, err
}

// long runs a statement that keeps no writer out, however long it waits.
func (m *migration) long(ctx context.Context, sql string) error {
	_, err := m.conn.Exec(ctx, sql)
	return err
}

// references adds foreign keys in two steps: new rows are checked at once, the
// old ones afterwards, without keeping writers out. Row security is off on this
// connection: forced, it would have a violated key pass as valid.
func (m *migration) references(ctx context.Context) error {
	key, err := m.customerKey(ctx)
	if err != nil {
		return err
	}
	for _, name := range tables {
		constraint := name + "_customer"
		var n, valid int
		err := m.conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE convalidated) FROM pg_constraint WHERE contype = 'f' AND conrelid = $1 AND conname = $2`,
			m.tables[name].oid, constraint).Scan(&n, &valid)
		if err != nil {
			return err
		}
		if n == 0 {
			err := m.step(ctx, name, "refer to customers", m.ddl(
				`ALTER TABLE `+name+` ADD CONSTRAINT `+constraint+` FOREIGN KEY (customer_id) REFERENCES customers (`+key+`) NOT VALID`))
			if err != nil {
				return err
			}
		}
		if valid == 0 {
			err := m.step(ctx, name, "check what refers to customers", func(ctx context.Context) error {
				return m.long(ctx, `ALTER TABLE `+name+` VALIDATE CONSTRAINT `+constraint)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// keys swaps primary keys for ones that begin with the customer. The index is
// there already; only the catalogue changes.
func (m *migration) keys(ctx context.Context) error {
	for _, name := range tables {
		have, err := m.primaryKey(ctx, name)
		if err != nil {
			return err
		}
		want := []string{"customer_id", "id"}
		if name == tableAverages {
			want[1] = "user_id"
		}
		if slices.Equal(have.columns, want) {
			continue
		}
		swap := `ALTER TABLE ` + name
		if have.name != "" {
			swap += ` DROP CONSTRAINT ` + have.name + `,`
		}
		swap += ` ADD CONSTRAINT ` + name + `_customer_pkey PRIMARY KEY USING INDEX ` + keyIndex(name)
		if err := m.step(ctx, name, "make ("+strings.Join(want, ", ")+") the primary key", m.ddl(swap)); err != nil {
			return err
		}
	}
	return nil
}

type primaryKey struct {
	name    string // quoted; empty without one
	columns []string
}

func (m *migration) primaryKey(ctx context.Context, name string) (k primaryKey, err error) {
	err = m.conn.QueryRow(ctx, `
		SELECT quote_ident(c.conname), array(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k (num, n)
			JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num ORDER BY k.n)
		FROM pg_constraint c WHERE c.conrelid = $1 AND c.contype = 'p'`, m.tables[name].oid).Scan(&k.name, &k.columns)
	if errors.Is(err, pgx.ErrNoRows) {
		return primaryKey{}, nil
	}
	return k, err
}
