package legacy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// source reads the old tables as of one moment, a little at a time.
type source struct {
	conn   *pgx.Conn
	tx     pgx.Tx
	tables map[string]table
	tenant events.Tenant // whose rows, where rows have a customer
	shared map[string]bool
	partly bool // row security shows the customer's rows only
}

// fetchRows are fetched at a time.
const fetchRows = 1000

// open reads what there is. Tables that have a customer yield one customer's
// rows; the others are all his.
func open(ctx context.Context, dsn string, tenant events.Tenant) (_ *source, err error) {
	s := &source{tenant: tenant, shared: map[string]bool{"": true}}
	if s.conn, err = connect(ctx, dsn); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = lost(ctx, s.conn, err)
			s.close()
		}
	}()
	if s.tables, err = inspect(ctx, s.conn); err != nil {
		return nil, err
	}
	if _, ok := s.tables[tableMemories]; !ok && len(s.tables) < 3 {
		return nil, fmt.Errorf("%w: it has no table %s", ErrNotOld, tableMemories)
	}
	if err := s.visible(ctx); err != nil {
		return nil, err
	}
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return nil, err
	}
	if err := s.readable(ctx); err != nil {
		return nil, err
	}
	if _, ok := s.tables[tableSummaries]; !ok {
		return s, nil
	}
	rows, err := s.tx.Query(ctx, strings.Replace(sharedCalls, "GROUP BY", "WHERE call_id <> '' AND "+s.mine(tableSummaries)+" GROUP BY", 1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tableSummaries, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, id := range ids {
		s.shared[id] = true
	}
	return s, err
}

// visible refuses a role that row security shows too little to. One that it
// shows some of the rows, as the old service's owner after a migration, is
// shown customer 1's.
func (s *source) visible(ctx context.Context) error {
	for name, t := range s.tables {
		var active, permitted bool
		err := s.conn.QueryRow(ctx, `
			SELECT row_security_active($1::oid), EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = $1 AND p.polpermissive
				AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE r = 0 OR pg_has_role(r, 'MEMBER')))`, t.oid).Scan(&active, &permitted)
		if err != nil {
			return err
		}
		if active && !permitted {
			return fmt.Errorf("row security hides %s from this role: use its owner, or one that passes row security", name)
		}
		if active {
			s.partly = true
			if _, err := s.conn.Exec(ctx, `SELECT set_config('row_security', 'on', false), set_config('app.customer_id', $1, false)`, s.tenant.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// readable refuses bytes that are no words: a server that is told no encoding
// keeps whatever it is given.
func (s *source) readable(ctx context.Context) error {
	var encoding string
	if err := s.tx.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil || encoding != "SQL_ASCII" {
		return err
	}
	for _, name := range tables {
		if _, ok := s.tables[name]; !ok {
			continue
		}
		_, err := s.tx.Exec(ctx, `SELECT count(convert_from(textsend(t::text), 'UTF8')) FROM `+name+` t WHERE `+s.mine(name))
		if state(err) == "22021" {
			err = errBytes
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

// others tells whose the rows are where there are none of the customer asked
// for.
func (s *source) others(ctx context.Context) error {
	has, seen := false, map[int64]bool{}
	for name, t := range s.tables {
		if !t.has("customer_id") {
			continue
		}
		has = true
		rows, err := s.tx.Query(ctx, `SELECT DISTINCT customer_id::bigint FROM `+name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		for _, id := range ids {
			seen[id] = true
		}
	}
	switch {
	case !has || len(seen) == 0 && !s.partly:
		return nil
	case len(seen) == 0:
		return fmt.Errorf("the old tables have customers, and show this role no row of customer %s: use one that passes row security to see whose rows there are", s.tenant)
	}
	var all []string
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		all = append(all, strconv.FormatInt(id, 10))
	}
	return fmt.Errorf("the old tables have customers, and no row of customer %s: they are of %s", s.tenant, strings.Join(all, ", "))
}

func (s *source) close() { s.conn.Close(context.Background()) }

// mine is, in SQL, which rows of a table are read.
func (s *source) mine(name string) string {
	if s.tables[name].has("customer_id") {
		return "customer_id = " + s.tenant.String()
	}
	return "true"
}

// near is, in SQL, what all spellings of one caller have in common, and few
// other callers have: the order in which callers are read.
const near = `coalesce(CASE WHEN user_id !~ '^[-+0-9 ().]+$' THEN user_id ELSE right(regexp_replace(user_id, '\D', '', 'g'), 6) END, '') COLLATE "C"`

// moment is, in SQL, a time that can be written down; null where it cannot.
func moment(column string) string {
	return `CASE WHEN isfinite(` + column + `) AND ` + column + ` BETWEEN '0001-01-02' AND '9999-12-30' THEN ` + column + `::timestamp END`
}

// cursor reads rows of one statement in order.
type cursor[T any] struct {
	s    *source
	name string
	buf  []T
	done bool
	read int
}

func newCursor[T any](ctx context.Context, s *source, table, name, sql string) (*cursor[T], error) {
	c := &cursor[T]{s: s, name: name}
	if _, ok := s.tables[table]; !ok {
		c.done = true
		return c, nil
	}
	if _, err := s.tx.Exec(ctx, `DECLARE `+name+` NO SCROLL CURSOR FOR `+sql); err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	return c, nil
}

// peek is the next row; nil at the end.
func (c *cursor[T]) peek(ctx context.Context) (*T, error) {
	if len(c.buf) == 0 && !c.done {
		rows, err := c.s.tx.Query(ctx, fmt.Sprintf(`FETCH %d FROM %s`, fetchRows, c.name))
		if err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		if c.buf, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T]); err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
		c.done = len(c.buf) < fetchRows
	}
	if len(c.buf) == 0 {
		return nil, nil //nolint:nilnil // said above
	}
	return &c.buf[0], nil
}

func (c *cursor[T]) take() T {
	v := c.buf[0]
	c.buf = c.buf[1:]
	c.read++
	return v
}

// while takes the rows for which ok holds.
func (c *cursor[T]) while(ctx context.Context, ok func(T) bool) (out []T, err error) {
	for {
		v, err := c.peek(ctx)
		if err != nil || v == nil || !ok(*v) {
			return out, err
		}
		out = append(out, c.take())
	}
}

type memoryRow struct {
	ID, User         string
	Type, Key, Value *string
	Created          *time.Time
}

type summaryRow struct {
	Near, Call, User, ID, Summary            string
	Date, Created                            *time.Time
	Topics, Variables, Sentiment, Resolution *string
	Seconds                                  *int
}

type metricRow struct {
	Near, Call, User string
	At               *time.Time
	Values           []*float64
}

type profileRow struct {
	Near, User           string
	First, Last, Updated *time.Time
	Calls                *int
	Name                 *string
	Preferences, Context *string
}

type averageRow struct {
	Near, User   string
	Calls        *int
	Updated      *time.Time
	Values       []*float64
	Satisfaction *string
	Frustration  *string
}

type countRow struct {
	Near, User string
	N          int
}

// id is, in SQL, what tells a table's rows apart: all they hold, where they have
// no id.
func (s *source) id(table string) string {
	if s.tables[table].has("id") {
		return "id"
	}
	return "md5(" + table + "::text)"
}

// memoryID is, in SQL, the id of a memory; null without.
func (s *source) memoryID() string {
	if s.tables[tableMemories].has("id") {
		return "id::text"
	}
	return "NULL::text"
}

// eachMemory is, in SQL, the customer's memories, of several rows of one the
// newest: they have the id in common, or all that is said where there is none.
func (s *source) eachMemory(ctx context.Context) (from string, err error) {
	if _, ok := s.tables[tableMemories]; !ok {
		return "", nil
	}
	var once bool
	err = s.tx.QueryRow(ctx, `SELECT `+unique("$1"), s.tables[tableMemories].oid).Scan(&once)
	if once {
		return `memories WHERE ` + s.mine(tableMemories), err
	}
	same := `coalesce(` + s.memoryID() + `, md5(row(user_id, type, key, value)::text))`
	return `(SELECT DISTINCT ON (` + same + `) * FROM memories m WHERE ` + s.mine(tableMemories) + ` ORDER BY ` + same + `, created_at DESC NULLS LAST, md5(m::text)) AS m`, err
}

// memories of one caller come together: whoever makes rows of them makes each
// caller's anew for every batch they are in.
func (s *source) memories(ctx context.Context) (*cursor[memoryRow], error) {
	from, err := s.eachMemory(ctx)
	if err != nil {
		return nil, err
	}
	return newCursor[memoryRow](ctx, s, tableMemories, "old_memories", `SELECT coalesce(`+s.memoryID()+`, ''), coalesce(user_id, ''), type::text, key::text, value::text, `+moment("created_at")+`
		FROM `+from+` ORDER BY `+near)
}

// walk reads everything but memories, callers that may be one together.
type walk struct {
	summaries *cursor[summaryRow]
	metrics   *cursor[metricRow]
	profiles  *cursor[profileRow]
	averages  *cursor[averageRow]
	counts    *cursor[countRow] // of memories
}

func (s *source) walk(ctx context.Context) (w walk, err error) {
	declare := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	declare(func() (err error) {
		w.summaries, err = newCursor[summaryRow](ctx, s, tableSummaries, "old_summaries", `SELECT `+near+`, coalesce(call_id, ''), coalesce(user_id, ''), coalesce(`+s.id(tableSummaries)+`::text, ''), coalesce(summary, ''),
			`+moment("call_date")+`, `+moment("created_at")+`, key_topics::text, key_variables::text, sentiment::text, resolution_status::text, duration_seconds
			FROM call_summaries WHERE `+s.mine(tableSummaries)+` ORDER BY 1, coalesce(call_id, '') COLLATE "C", created_at DESC, `+s.id(tableSummaries)+` DESC`)
		return err
	})
	declare(func() (err error) {
		w.metrics, err = newCursor[metricRow](ctx, s, tableMetrics, "old_metrics", `SELECT `+near+`, coalesce(call_id, ''), coalesce(user_id, ''), `+moment("measured_at")+`,
			ARRAY[`+strings.Join(traits(), ", ")+`]::float8[] FROM personality_metrics WHERE `+s.mine(tableMetrics)+` ORDER BY 1, coalesce(call_id, '') COLLATE "C", measured_at, `+s.id(tableMetrics))
		return err
	})
	declare(func() (err error) {
		w.profiles, err = newCursor[profileRow](ctx, s, tableProfiles, "old_profiles", `SELECT `+near+`, coalesce(user_id, ''), `+moment("first_call_date")+`, `+moment("last_call_date")+`, `+moment("updated_at")+`,
			total_calls, preferred_name, preferences::text, context::text FROM caller_profiles WHERE `+s.mine(tableProfiles)+` ORDER BY 1, user_id COLLATE "C", updated_at, `+s.id(tableProfiles))
		return err
	})
	declare(func() (err error) {
		w.averages, err = newCursor[averageRow](ctx, s, tableAverages, "old_averages", `SELECT `+near+`, coalesce(user_id, ''), call_count, `+moment("last_updated")+`,
			ARRAY[`+forEach(averaged, "avg_$T")+`]::float8[], satisfaction_trend::text, frustration_trend::text
			FROM personality_averages a WHERE `+s.mine(tableAverages)+` ORDER BY 1, user_id COLLATE "C", last_updated, md5(a::text)`)
		return err
	})
	declare(func() (err error) {
		from, err := s.eachMemory(ctx)
		if err != nil {
			return err
		}
		w.counts, err = newCursor[countRow](ctx, s, tableMemories, "old_counts", `SELECT `+near+` AS near, coalesce(user_id, ''), count(*)::int
			FROM `+from+` GROUP BY 1, 2 ORDER BY 1, 2`)
		return err
	})
	return w, err
}

// next is the smallest key any cursor is at; ok is false at the end.
func (w walk) next(ctx context.Context) (key string, ok bool, err error) {
	var keys []string
	for _, peek := range []func() (*string, error){
		func() (*string, error) {
			return keyOf(ctx, w.summaries, func(r *summaryRow) *string { return &r.Near })
		},
		func() (*string, error) {
			return keyOf(ctx, w.metrics, func(r *metricRow) *string { return &r.Near })
		},
		func() (*string, error) {
			return keyOf(ctx, w.profiles, func(r *profileRow) *string { return &r.Near })
		},
		func() (*string, error) {
			return keyOf(ctx, w.averages, func(r *averageRow) *string { return &r.Near })
		},
		func() (*string, error) { return keyOf(ctx, w.counts, func(r *countRow) *string { return &r.Near }) },
	} {
		k, err := peek()
		if err != nil {
			return "", false, err
		}
		if k != nil {
			keys = append(keys, *k)
		}
	}
	if len(keys) == 0 {
		return "", false, nil
	}
	return slices.Min(keys), true, nil
}

func keyOf[T any](ctx context.Context, c *cursor[T], key func(*T) *string) (*string, error) {
	v, err := c.peek(ctx)
	if err != nil || v == nil {
		return nil, err
	}
	return key(v), nil
}
