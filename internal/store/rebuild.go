package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// readModel is one table that events lead to.
type readModel struct {
	name string
	key  []string // beside customer_id
	// of is the condition under which a row x is one caller's, who is $2; empty:
	// no row is any caller's.
	of string
}

const ofCall = `x.call_id IN (SELECT call_id FROM calls c WHERE c.customer_id = $1 AND c.user_id = $2)`

// readModels are the tables of both sets; a test compares them with the
// catalogue.
var readModels = []readModel{
	{"calls", []string{"call_id"}, "x.user_id = $2"},
	{"call_summaries", []string{"call_id"}, "x.user_id = $2"},
	{"caller_facts", []string{"user_id", "event_id"}, "x.user_id = $2"},
	{"caller_profiles", []string{"user_id"}, "x.user_id = $2"},
	{"memories", []string{"id"}, "x.user_id = $2"},
	{"personality_metrics", []string{"call_id"}, "x.user_id = $2"},
	{"personality_averages", []string{"user_id"}, "x.user_id = $2"},
	{"leads", []string{"user_id"}, "x.user_id = $2"},
	{"messages_taken", []string{"call_id", "event_id"}, ofCall},
	{"recordings", []string{"call_id", "recording"}, ofCall},
	{"transfers", []string{"call_id", "nth"}, ofCall},
	{"texts", []string{"message_id"}, ofCall},
	{"sms_opt_outs", []string{"number"}, "x.number = $2"},
	{"tenant_templates", nil, ""},
	{"erased_calls", []string{"call_id"}, ""},
	{"erased_callers", []string{"ref"}, ""},
}

// Rebuild is Project for the read models beside those in use.
func (t *Tenant) Rebuild(ctx context.Context, name string, streamCreated time.Time, f func(*Projection) error) error {
	return t.project(ctx, rebuilt, name, streamCreated, f)
}

// Positions are how far the read models in use and those being rebuilt have
// come; zero: not begun.
type Positions struct{ Live, Rebuilt uint64 }

func positions(ctx context.Context, q tx, live, rebuild, lock string) (p Positions, err error) {
	for table, to := range map[string]*uint64{"app": &p.Live, "rebuild": &p.Rebuilt} {
		name, clause := rebuild, ""
		if table == "app" {
			name, clause = live, lock
		}
		rows, err := query(ctx, q, pgx.RowTo[int64], `SELECT seq FROM `+table+`.projection_offsets WHERE customer_id = $1 AND projection = $2 `+clause, name)
		if err != nil {
			return p, err
		}
		if len(rows) > 0 {
			*to = uint64(rows[0])
		}
	}
	return p, nil
}

// Positions of a projection and its rebuilding.
func (t *Tenant) Positions(ctx context.Context, live, rebuild string) (p Positions, err error) {
	err = t.begin(ctx, func(q tx) error {
		p, err = positions(ctx, q, live, rebuild, "")
		return err
	})
	return p, err
}

// ClearRebuilt empties the tenant's part of the read models beside those in
// use, unless they are of the rebuilding called keep.
func (t *Tenant) ClearRebuilt(ctx context.Context, keep string) error {
	return t.begin(ctx, func(q tx) error {
		n, err := query(ctx, q, pgx.RowTo[int64], `SELECT count(*) FROM rebuild.projection_offsets WHERE customer_id = $1 AND projection = $2`, keep)
		if err != nil || n[0] > 0 {
			return err
		}
		return clearRebuilt(ctx, q)
	})
}

func clearRebuilt(ctx context.Context, q tx) error {
	for _, m := range append(readModels, readModel{name: "projection_offsets"}) {
		if _, err := q.exec(ctx, `DELETE FROM rebuild.`+m.name+` WHERE customer_id = $1`); err != nil {
			return err
		}
	}
	return nil
}

// Difference is one row that is not the same in both sets.
type Difference struct {
	Table   string         `json:"table"`
	Key     map[string]any `json:"key"`
	Live    map[string]any `json:"live,omitempty"`    // what differs of it; absent: there is no such row
	Rebuilt map[string]any `json:"rebuilt,omitempty"` // likewise
}

// Compared is how many rows were compared and how many are not the same.
type Compared struct {
	Rows      int64 `json:"rows"`
	Different int64 `json:"different"`
}

// everything is past any sequence.
const everything = math.MaxInt64

// Compare compares the two sets row by row, for one caller or (user empty) for
// all, where both have come equally far; ok is false where they have not, with
// their positions. Rows written ahead of the position are not compared. With
// anyway they are compared as they are.
func (t *Tenant) Compare(ctx context.Context, live, rebuild, user string, anyway bool, found func(Difference)) (c Compared, at Positions, ok bool, err error) {
	err = t.beginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q tx) error {
		if at, err = positions(ctx, q, live, rebuild, ""); err != nil || at.Live != at.Rebuilt && !anyway {
			return err
		}
		ok = true
		to := int64(at.Live)
		if anyway {
			to = everything
		}
		c, err = compare(ctx, q, user, to, found)
		return err
	})
	return c, at, ok, err
}

func compare(ctx context.Context, q tx, user string, to int64, found func(Difference)) (c Compared, err error) {
	for _, m := range readModels {
		if err := m.compare(ctx, q, user, to, &c, found); err != nil {
			return c, fmt.Errorf("compare %s: %w", m.name, err)
		}
	}
	return c, nil
}

// side is the rows of one set, as text without what is no part of the read
// model: what is made of other columns, and the state of folding.
func (m readModel) side(schema, user string) string {
	sql := `SELECT * FROM ` + schema + `.` + m.name + ` x WHERE x.customer_id = $1 AND x.seq <= $3 AND $2 = $2`
	if user != "" {
		sql += ` AND ` + strings.ReplaceAll(m.of, "FROM calls", "FROM "+schema+".calls")
	}
	return `(SELECT x.*, (to_jsonb(x) - 'search' - 'refold_after')::text AS row FROM (` + sql + `) x)`
}

func (m readModel) compare(ctx context.Context, q tx, user string, to int64, c *Compared, found func(Difference)) error {
	if user != "" && m.of == "" {
		return nil
	}
	on := []string{"l.customer_id = r.customer_id"}
	for _, k := range m.key {
		on = append(on, "l."+k+" = r."+k)
	}
	join := m.side("app", user) + ` l FULL JOIN ` + m.side("rebuild", user) + ` r ON ` + strings.Join(on, " AND ")
	n, err := query(ctx, q, pgx.RowTo[int64], `SELECT count(*) FROM `+join, user, to)
	if err != nil {
		return err
	}
	c.Rows += n[0]
	rows, err := q.tx.Query(ctx, `SELECT l.row, r.row FROM `+join+` WHERE l.row IS DISTINCT FROM r.row`, int32(q.id), user, to)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l, r *string
		if err := rows.Scan(&l, &r); err != nil {
			return err
		}
		d, err := m.difference(l, r)
		if err != nil {
			return err
		}
		c.Different++
		found(d)
	}
	return rows.Err()
}

func (m readModel) difference(l, r *string) (d Difference, err error) {
	d = Difference{Table: m.name, Key: map[string]any{}}
	for raw, to := range map[*string]*map[string]any{l: &d.Live, r: &d.Rebuilt} {
		if raw == nil {
			continue
		}
		if err := json.Unmarshal([]byte(*raw), to); err != nil {
			return d, err
		}
	}
	for _, k := range m.key {
		for _, side := range []map[string]any{d.Live, d.Rebuilt} {
			if v, ok := side[k]; ok {
				d.Key[k] = v
			}
		}
	}
	for name, v := range d.Live {
		if d.Rebuilt != nil && fmt.Sprint(v) == fmt.Sprint(d.Rebuilt[name]) {
			delete(d.Live, name)
			delete(d.Rebuilt, name)
		}
	}
	return d, nil
}

// Swap puts the rebuilt rows, for one caller or (user empty) for all, in the
// place of those in use, in one transaction, and says what that changed.
// Meanwhile nothing is projected for the tenant; catchUp is to bring the
// rebuilding to where the log ends. The read models beside are empty afterwards.
func (t *Tenant) Swap(ctx context.Context, live, rebuild, user string, catchUp func(context.Context) error, found func(Difference)) (c Compared, err error) {
	err = t.begin(ctx, func(q tx) error {
		if _, err := positions(ctx, q, live, rebuild, "FOR UPDATE"); err != nil {
			return err
		}
		if err := catchUp(ctx); err != nil {
			return err
		}
		if c, err = compare(ctx, q, user, everything, found); err != nil {
			return err
		}
		// Rows that are of a call go before the call they are found by.
		for i := range readModels {
			m := readModels[len(readModels)-1-i]
			if user != "" && m.of == "" {
				continue
			}
			if err := m.swap(ctx, q, user); err != nil {
				return fmt.Errorf("swap %s: %w", m.name, err)
			}
		}
		if user == "" {
			_, err = q.exec(ctx, `UPDATE app.projection_offsets AS l SET seq = r.seq, event_id = r.event_id FROM rebuild.projection_offsets r
				WHERE l.customer_id = $1 AND l.projection = $2 AND r.customer_id = $1 AND r.projection = $3 AND r.seq > l.seq`, live, rebuild)
			if err != nil {
				return err
			}
		}
		return clearRebuilt(ctx, q)
	})
	return c, err
}

func (m readModel) swap(ctx context.Context, q tx, user string) error {
	columns, err := query(ctx, q, pgx.RowTo[string], `
		SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE $1::int = $1 AND attrelid = ('app.' || $2)::regclass AND attnum > 0 AND attgenerated = '' AND NOT attisdropped`, m.name)
	if err != nil {
		return err
	}
	for _, step := range []string{`DELETE FROM app.` + m.name + ` x`, `INSERT INTO app.` + m.name + ` (` + columns[0] + `) SELECT ` + columns[0] + ` FROM rebuild.` + m.name + ` x`} {
		schema := "app"
		if strings.HasPrefix(step, "INSERT") {
			schema = "rebuild"
		}
		step += ` WHERE x.customer_id = $1 AND $2 = $2`
		if user != "" {
			step += ` AND ` + strings.ReplaceAll(m.of, "FROM calls", "FROM "+schema+".calls")
		}
		if _, err := q.exec(ctx, step, user); err != nil {
			return err
		}
	}
	return nil
}

// Tenants are all there are settings of.
func (s *Store) Tenants(ctx context.Context) (all []events.Tenant, err error) {
	customers, err := s.ListCustomers(ctx)
	for _, c := range customers {
		all = append(all, c.Tenant)
	}
	return all, err
}
