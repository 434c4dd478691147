package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// ErrIDTaken is returned for a tenant whose id is another business's here.
var ErrIDTaken = errors.New("customer_id belongs to another business")

// ProfileHash is one caller's profile, as a digest.
type ProfileHash struct {
	User string `json:"user_id"`
	SHA  string `json:"sha256"`
}

// Snapshot is what the read models of a tenant come to at one moment. Nothing
// in it depends on where events lie in a stream, but for Applied.
type Snapshot struct {
	Applied  uint64           // sequence of the last event in the rows; 0: none was noted
	Profiles []ProfileHash    // by caller, sorted
	Rows     map[string]int64 // by table
}

// Snapshot of the read models in use.
func (t *Tenant) Snapshot(ctx context.Context, projection string) (s Snapshot, err error) {
	s.Rows = map[string]int64{}
	err = t.beginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q tx) error {
		at, err := query(ctx, q, pgx.RowTo[int64], `SELECT seq FROM projection_offsets WHERE customer_id = $1 AND projection = $2`, projection)
		if err != nil {
			return err
		}
		if len(at) > 0 {
			s.Applied = uint64(at[0])
		}
		s.Profiles, err = query(ctx, q, pgx.RowToStructByPos[ProfileHash], `
			SELECT user_id, profile_sha256 FROM caller_profiles WHERE customer_id = $1 ORDER BY user_id COLLATE "C"`)
		if err != nil {
			return err
		}
		for _, m := range readModels {
			n, err := query(ctx, q, pgx.RowTo[int64], `SELECT count(*) FROM `+m.name+` WHERE customer_id = $1`)
			if err != nil {
				return err
			}
			s.Rows[m.name] = n[0]
		}
		return nil
	})
	return s, err
}

// kept are the tables of tenants that no event leads to, with those columns
// that are written.
const kept = `
	SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE $1::int = $1 AND c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND NOT c.relname = ANY ($2)
		AND a.attnum > 0 AND a.attgenerated = '' AND NOT a.attisdropped
		AND EXISTS (SELECT FROM pg_attribute k WHERE k.attrelid = c.oid AND k.attname = 'customer_id' AND NOT k.attisdropped)
	GROUP BY c.relname ORDER BY 1`

func (t *Tenant) kept(ctx context.Context, q tx) ([]keptTable, error) {
	derived := append(slices.Collect(maps.Keys(platformTables())), "projection_offsets", "call_claims") // whose digests are of this instance's key
	for _, m := range readModels {
		derived = append(derived, m.name)
	}
	return query(ctx, q, pgx.RowToStructByPos[keptTable], kept, derived)
}

type keptTable struct {
	Name    string
	Columns []string
}

// Kept hands over a tenant's rows that no event leads to, as JSON, table by
// table: what was paid for, what was sent, what is not to be forgotten.
func (t *Tenant) Kept(ctx context.Context, each func(table string, row []byte) error) error {
	return t.beginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q tx) error {
		tables, err := t.kept(ctx, q)
		if err != nil {
			return err
		}
		for _, table := range tables {
			// Rows are read as they come; their order is that of their text, so that
			// the same rows are written the same way.
			rows, err := q.tx.Query(ctx, `SELECT to_jsonb(x)::text FROM `+pgx.Identifier{table.Name}.Sanitize()+` x WHERE x.customer_id = $1 ORDER BY x::text`, int32(q.id))
			if err != nil {
				return err
			}
			var row []byte
			_, err = pgx.ForEachRow(rows, []any{&row}, func() error { return each(table.Name, row) })
			if err != nil {
				return fmt.Errorf("read %s: %w", table.Name, err)
			}
		}
		return nil
	})
}

// KeptTables are the tables Kept reads.
func (t *Tenant) KeptTables(ctx context.Context) (names []string, err error) {
	err = t.begin(ctx, func(q tx) error {
		tables, err := t.kept(ctx, q)
		for _, table := range tables {
			names = append(names, table.Name)
		}
		return err
	})
	return names, err
}

// Restore writes rows that Kept has read, here or elsewhere, into one of its
// tables. A row that is there stays, unless replace says that these are newer.
func (t *Tenant) Restore(ctx context.Context, table string, rows [][]byte, replace bool) error {
	return t.begin(ctx, func(q tx) error {
		tables, err := t.kept(ctx, q)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(tables, func(k keptTable) bool { return k.Name == table })
		if i < 0 {
			return fmt.Errorf("restore: there is no table of that name to restore: %w", ErrNotFound)
		}
		name := pgx.Identifier{table}.Sanitize()
		may, err := query(ctx, q, pgx.RowTo[bool], `SELECT has_table_privilege(current_user, 'app.' || quote_ident($2), 'DELETE') AND $1::int = $1`, table)
		if err != nil {
			return err
		}
		key, err := primaryKey(ctx, q, table)
		if err != nil {
			return err
		}
		if replace && may[0] && len(key) > 0 { // what is only ever added to is not replaced
			_, err := q.exec(ctx, `DELETE FROM `+name+` x USING unnest($2::jsonb[]) AS r WHERE x.customer_id = $1 AND `+sameKey(key), rows)
			if err != nil {
				return err
			}
		}
		columns := quoted(tables[i].Columns)
		_, err = q.exec(ctx, `INSERT INTO `+name+` (`+columns+`) SELECT `+columns+` FROM unnest($2::jsonb[]) AS r,
			jsonb_populate_record(NULL::app.`+name+`, r || jsonb_build_object('customer_id', $1::int)) ON CONFLICT DO NOTHING`, rows)
		return err
	})
}

// primaryKey is that of a table, without the tenant.
func primaryKey(ctx context.Context, q tx, table string) ([]string, error) {
	return query(ctx, q, pgx.RowTo[string], `
		SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE $1::int = $1 AND i.indrelid = ('app.' || quote_ident($2))::regclass AND i.indisprimary AND a.attname <> 'customer_id' ORDER BY a.attnum`, table)
}

func sameKey(key []string) (sql string) {
	for i, k := range key {
		if i > 0 {
			sql += " AND "
		}
		sql += "to_jsonb(x." + pgx.Identifier{k}.Sanitize() + ") = r -> '" + k + "'"
	}
	return sql
}

func quoted(names []string) (sql string) {
	for i, n := range names {
		if i > 0 {
			sql += ", "
		}
		sql += pgx.Identifier{n}.Sanitize()
	}
	return sql
}

// Resident is a tenant as the platform has it: all there is of it outside its
// own tables and the log.
type Resident struct {
	Settings events.Settings   `json:"settings"`
	Since    time.Time         `json:"since"`    // tells it from another business of the same id
	Keys     []json.RawMessage `json:"api_keys"` // rows, which hold digests only
}

// Resident is one tenant; ErrNotFound when there is none.
func (s *Store) Resident(ctx context.Context, t events.Tenant) (r Resident, err error) {
	if !t.Valid() {
		return r, events.ErrNoTenant
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		var raw, keys []byte
		err := q.QueryRow(ctx, `SELECT settings, created_at, (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.hash), '[]') FROM api_keys k WHERE k.customer_id = $1)
			FROM customers WHERE customer_id = $1`, int32(t)).Scan(&raw, &r.Since, &keys)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("customer %s: %w", t, ErrNotFound)
		} else if err != nil {
			return err
		}
		r.Since = r.Since.UTC()
		return errors.Join(json.Unmarshal(raw, &r.Settings), json.Unmarshal(keys, &r.Keys))
	})
	return r, err
}

// Admit makes room for a tenant that moves in: its id, numbers and keys are its
// own from then on, and its calls are not answered before Settle. A tenant that
// is here already stays as it is; ErrIDTaken when that is another business,
// ErrNumberTaken when one of its numbers is another's.
func (s *Store) Admit(ctx context.Context, r Resident) error {
	id := int32(r.Settings.Tenant)
	if !r.Settings.Tenant.Valid() || r.Settings.Version < 1 {
		return events.ErrNoTenant
	}
	return s.platform(ctx, func(q pgx.Tx) error {
		waiting := r.Settings
		waiting.Status, waiting.Version = "suspended", waiting.Version-1
		raw, err := json.Marshal(waiting)
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, `INSERT INTO customers (customer_id, settings, version, published_version, status, created_at)
			VALUES ($1, $2, $3, $3, $4, $5) ON CONFLICT DO NOTHING`, id, raw, waiting.Version, waiting.Status, r.Since)
		if err != nil {
			return err
		}
		var since time.Time
		var version int64
		if err := q.QueryRow(ctx, `SELECT created_at, version FROM customers WHERE customer_id = $1 FOR UPDATE`, id).Scan(&since, &version); err != nil {
			return err
		}
		if !since.Equal(r.Since) {
			return fmt.Errorf("customer %s: %w", r.Settings.Tenant, ErrIDTaken)
		}
		if version < r.Settings.Version { // else what it has here is newer
			if err := claimNumbers(ctx, q, r.Settings.Tenant, r.Settings.Numbers); err != nil {
				return err
			}
		}
		_, err = q.Exec(ctx, `INSERT INTO api_keys SELECT k.* FROM unnest($2::jsonb[]) AS r, jsonb_populate_record(NULL::api_keys, r || jsonb_build_object('customer_id', $1::int)) k
			ON CONFLICT DO NOTHING`, id, r.Keys)
		if err != nil {
			return err
		}
		_, err = q.Exec(ctx, `SELECT setval('customer_ids', $1) FROM customer_ids WHERE last_value < $1 OR last_value = $1 AND NOT is_called`, int64(id))
		return err
	})
}

// Settle gives a tenant that was admitted its settings; those it has here stay
// when they are as new or newer. It returns what holds.
func (s *Store) Settle(ctx context.Context, set events.Settings) (now events.Settings, err error) {
	if !set.Tenant.Valid() {
		return now, events.ErrNoTenant
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		if now, err = settings(ctx, q, set.Tenant, "FOR UPDATE"); err != nil || now.Version >= set.Version {
			return err
		}
		raw, err := json.Marshal(set)
		if err != nil {
			return err
		}
		now = set
		_, err = q.Exec(ctx, `UPDATE customers SET settings = $2, version = $3, published_version = $3, status = $4 WHERE customer_id = $1`,
			int32(set.Tenant), raw, set.Version, set.Status)
		return err
	})
	return now, err
}
