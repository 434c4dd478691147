package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// Subject is what rows may be about: a caller, calls, texts, and what single
// facts said. Empty parts name nothing.
type Subject struct {
	Caller string   // by number
	Calls  []string // by id
	Texts  []string // by message id
	Events []string // ids of facts
}

func (s Subject) args() []any {
	list := func(l []string) []string { return append([]string{}, l...) } // none is empty, not null
	return []any{s.Caller, list(s.Calls), list(s.Texts), list(s.Events)}
}

// subjects says of every table of tenants which rows x are about a Subject: $2
// is the caller, $3 the calls, $4 the texts, $5 the facts. Empty: no row is
// about anybody. A table that is not here keeps anything from being exported or
// erased, so that none is forgotten.
func subjects() map[string]string {
	const (
		caller = "x.user_id = nullif($2, '')"
		call   = "x.call_id = ANY ($3)"
	)
	return map[string]string{
		"calls":                caller + " OR " + call,
		"call_summaries":       caller + " OR " + call,
		"caller_facts":         caller + " OR " + call + " OR x.event_id = ANY ($5)",
		"caller_profiles":      caller,
		"memories":             caller + " OR " + call,
		"personality_metrics":  caller + " OR " + call,
		"personality_averages": caller,
		"leads":                caller,
		"messages_taken":       call,
		"recordings":           call,
		"transfers":            call,
		"texts":                "x.recipient = nullif($2, '') OR " + call + " OR x.message_id = ANY ($4)",
		"sms_opt_outs":         "x.number = nullif($2, '')",
		"extractions":          call,
		"call_claims":          call,
		"sms_outbox":           "x.recipient = nullif($2, '') OR x.message_id = ANY ($4)",

		"tenant_templates":   "", // which fields there are
		"projection_offsets": "", // how far the log has been read
		"erased_calls":       "", // that they were erased
		"erased_callers":     "", // likewise
		"erasures":           "", // likewise
	}
}

// tableOf is a table of tenants' rows.
type tableOf struct{ Schema, Name string }

func (t tableOf) String() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

// held are the tables of tenants there are, each with its part of subjects. It
// fails where one has none.
func held(ctx context.Context, q tx) (tables []tableOf, where map[string]string, err error) {
	tables, err = query(ctx, q, pgx.RowToStructByPos[tableOf], `
		SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped
		WHERE $1::int = $1 AND n.nspname IN ('app', 'rebuild') AND c.relkind IN ('r', 'p') AND NOT c.relname = ANY ($2) ORDER BY 1, 2`,
		slices.Collect(maps.Keys(platformTables())))
	where = subjects()
	for _, t := range tables {
		if _, ok := where[t.Name]; !ok {
			return nil, nil, fmt.Errorf("table %s does not say whose rows it holds: see subjects", t.Name)
		}
	}
	return tables, where, err
}

// about is the condition for rows x, which names every parameter.
func about(where string) string {
	return `x.customer_id = $1 AND $2::text = $2 AND $3::text[] = $3 AND $4::text[] = $4 AND $5::text[] = $5 AND (` + where + `)`
}

// RowsAbout are the tenant's rows about a subject, by table, as JSON: all but
// what is made of other columns.
func (t *Tenant) RowsAbout(ctx context.Context, s Subject) (map[string][]json.RawMessage, error) {
	out := map[string][]json.RawMessage{}
	err := t.beginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(q tx) error {
		tables, where, err := held(ctx, q)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table.Schema != "app" || where[table.Name] == "" {
				continue
			}
			rows, err := query(ctx, q, pgx.RowTo[json.RawMessage], `SELECT to_jsonb(x) - 'customer_id' - 'search' FROM `+table.String()+` x WHERE `+about(where[table.Name])+` ORDER BY x::text`, s.args()...)
			if err != nil {
				return fmt.Errorf("read %s: %w", table.Name, err)
			}
			if len(rows) > 0 {
				out[table.Name] = rows
			}
		}
		return nil
	})
	return out, err
}

// Erase removes every row about a subject, in use or being rebuilt, and says
// how many by table. What is left of a caller is to be written and folded anew
// in the same transaction.
func (p *Projection) Erase(s Subject) (map[string]int64, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	tables, where, err := held(p.ctx, p.q)
	if err != nil {
		return nil, err
	}
	// Texts that only the rows know: their facts may have expired.
	more, err := query(p.ctx, p.q, pgx.RowTo[string], `SELECT message_id FROM app.texts WHERE customer_id = $1 AND (call_id = ANY ($2) OR recipient = nullif($3, ''))`, s.args()[1], s.Caller)
	if err != nil {
		return nil, err
	}
	s.Texts = append(slices.Clone(s.Texts), more...)
	counts := map[string]int64{}
	for _, table := range tables {
		if where[table.Name] == "" {
			continue
		}
		n, err := p.q.exec(p.ctx, `DELETE FROM `+table.String()+` x WHERE `+about(where[table.Name]), s.args()...)
		if err != nil {
			return nil, fmt.Errorf("erase from %s: %w", table.Name, err)
		}
		if n > 0 {
			counts[strings.TrimPrefix(table.Schema+"."+table.Name, "app.")] += n
		}
	}
	return counts, nil
}

// EraseAll removes every row of the tenant but the record of what was erased,
// and says how many by table.
func (t *Tenant) EraseAll(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := t.begin(ctx, func(q tx) error {
		tables, _, err := held(ctx, q)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table.Name == "erasures" {
				continue
			}
			n, err := q.exec(ctx, `DELETE FROM `+table.String()+` x WHERE x.customer_id = $1`)
			if err != nil {
				return fmt.Errorf("erase from %s: %w", table.Name, err)
			}
			if n > 0 {
				counts[strings.TrimPrefix(table.Schema+"."+table.Name, "app.")] = n
			}
		}
		return nil
	})
	return counts, err
}

// DropCustomer removes a tenant's settings, numbers and keys, and says how many
// rows that was by table. A tenant that is not there is no error.
func (s *Store) DropCustomer(ctx context.Context, t events.Tenant) (map[string]int64, error) {
	if !t.Valid() {
		return nil, events.ErrNoTenant
	}
	counts := map[string]int64{}
	err := s.platform(ctx, func(q pgx.Tx) error {
		rows, err := q.Query(ctx, `
			SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'customer_id' AND NOT a.attisdropped
			WHERE c.relnamespace = 'app'::regnamespace AND c.relkind = 'r' AND c.relname = ANY ($1) ORDER BY c.relname = 'customers', 1`,
			slices.Collect(maps.Keys(platformTables())))
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, table := range tables { // customers last: the others refer to it
			tag, err := q.Exec(ctx, `DELETE FROM app.`+pgx.Identifier{table}.Sanitize()+` WHERE customer_id = $1`, int32(t))
			if err != nil {
				return fmt.Errorf("drop from %s: %w", table, err)
			}
			if n := tag.RowsAffected(); n > 0 {
				counts[table] = n
			}
		}
		return nil
	})
	return counts, err
}

// CustomerSince is when a tenant was made; ErrNotFound when there is none.
func (s *Store) CustomerSince(ctx context.Context, t events.Tenant) (at time.Time, err error) {
	if !t.Valid() {
		return at, events.ErrNoTenant
	}
	err = s.platform(ctx, func(q pgx.Tx) error {
		err := q.QueryRow(ctx, `SELECT created_at FROM customers WHERE customer_id = $1`, int32(t)).Scan(&at)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("customer %s: %w", t, ErrNotFound)
		}
		return err
	})
	return at, err
}

// known are the user_ids of callers who can be known again: what
// events.Identified says in Go.
const known = `(user_id LIKE '+%' OR user_id LIKE '` + events.Legacy + `%')`

// Callers are up to limit of a tenant's callers after one, in the order of
// their numbers, or of what stands in the place of one.
func (t *Tenant) Callers(ctx context.Context, after string, limit int) ([]string, error) {
	return many(ctx, t, pgx.RowTo[string], `
		SELECT DISTINCT user_id FROM (
			SELECT user_id FROM calls WHERE customer_id = $1 AND user_id > $2
			UNION ALL SELECT user_id FROM caller_facts WHERE customer_id = $1 AND user_id > $2
			UNION ALL SELECT user_id FROM caller_profiles WHERE customer_id = $1 AND user_id > $2
			UNION ALL SELECT number FROM sms_opt_outs WHERE customer_id = $1 AND number > $2) x
		WHERE `+known+` ORDER BY 1 LIMIT $3`, after, limit)
}

// Expired are callers about whom nothing was heard since a time, and calls of
// nobody known that ended before it; a number of each at a time.
func (t *Tenant) Expired(ctx context.Context, before time.Time, limit int) (callers, calls []string, err error) {
	callers, err = many(ctx, t, pgx.RowTo[string], `
		SELECT user_id FROM (
			SELECT user_id, coalesce(ended_at, received_at) AS at FROM calls WHERE customer_id = $1
			UNION ALL SELECT user_id, stated_at FROM caller_facts WHERE customer_id = $1) x
		WHERE `+known+` GROUP BY user_id HAVING max(at) < $2 ORDER BY 1 LIMIT $3`, before, limit)
	if err != nil {
		return nil, nil, err
	}
	calls, err = many(ctx, t, pgx.RowTo[string], `
		SELECT call_id FROM calls WHERE customer_id = $1 AND NOT `+known+` AND coalesce(ended_at, received_at) < $2
		ORDER BY 1 LIMIT $3`, before, limit)
	return callers, calls, err
}

// ExpireRaw removes what models answered before a time, unedited, or, dry,
// counts it.
func (t *Tenant) ExpireRaw(ctx context.Context, before time.Time, dry bool) (n int64, err error) {
	if dry {
		return one(ctx, t, pgx.RowTo[int64], `SELECT count(*) FROM extractions WHERE customer_id = $1 AND lease_until < $2`, before)
	}
	err = t.begin(ctx, func(q tx) error {
		n, err = q.exec(ctx, `DELETE FROM extractions WHERE customer_id = $1 AND lease_until < $2`, before)
		return err
	})
	return n, err
}

// Erasure is one request to erase, and how far it has come.
type Erasure struct {
	ID          string
	Kind        string // caller, call, tenant
	Ref         string // keyed hash of the caller's number
	Calls       []string
	By          string
	Sealed      string // the number, until it is done
	State       string // see the states of privacy
	Scanned     uint64 // of the stream, when it was done
	Certificate json.RawMessage
	Requested   time.Time
	Finished    *time.Time
}

// SaveErasure writes a request down, or how far it has come.
func (t *Tenant) SaveErasure(ctx context.Context, e Erasure) error {
	if e.Calls == nil {
		e.Calls = []string{}
	}
	calls, err := json.Marshal(e.Calls)
	if err != nil {
		return err
	}
	if e.Certificate == nil {
		e.Certificate = json.RawMessage(`{}`)
	}
	return t.begin(ctx, func(q tx) error {
		_, err := q.exec(ctx, `
			INSERT INTO erasures AS e (customer_id, id, kind, ref, calls, by, sealed, state, scanned, certificate, requested_at, finished_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (customer_id, id) DO UPDATE SET calls = excluded.calls, sealed = excluded.sealed, state = excluded.state, scanned = excluded.scanned,
				certificate = excluded.certificate, finished_at = excluded.finished_at`,
			e.ID, e.Kind, e.Ref, string(calls), e.By, e.Sealed, e.State, int64(e.Scanned), string(e.Certificate), e.Requested, e.Finished)
		return err
	})
}

// AskErasure writes a request down unless there is one of its id, which stays
// as it is.
func (t *Tenant) AskErasure(ctx context.Context, e Erasure) error {
	calls, err := json.Marshal(append([]string{}, e.Calls...))
	if err != nil {
		return err
	}
	return t.begin(ctx, func(q tx) error {
		_, err := q.exec(ctx, `
			INSERT INTO erasures (customer_id, id, kind, ref, calls, by, sealed, state, scanned, certificate, requested_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, '{}', $9) ON CONFLICT DO NOTHING`,
			e.ID, e.Kind, e.Ref, string(calls), e.By, e.Sealed, e.State, e.Requested)
		return err
	})
}

const erasureColumns = `id, kind, ref, calls, by, sealed, state, scanned, certificate, requested_at, finished_at`

func erasureOf(r pgx.CollectableRow) (e Erasure, err error) {
	var calls []byte
	var scanned int64
	err = r.Scan(&e.ID, &e.Kind, &e.Ref, &calls, &e.By, &e.Sealed, &e.State, &scanned, &e.Certificate, &e.Requested, &e.Finished)
	e.Scanned = uint64(scanned)
	return e, errors.Join(err, json.Unmarshal(calls, &e.Calls))
}

// Erasures are all requests of a tenant, oldest first; with states, those in
// one of them.
func (t *Tenant) Erasures(ctx context.Context, states ...string) ([]Erasure, error) {
	return many(ctx, t, erasureOf, `SELECT `+erasureColumns+` FROM erasures WHERE customer_id = $1 AND (state = ANY ($2) OR cardinality($2::text[]) = 0)
		ORDER BY requested_at, id`, append([]string{}, states...))
}

// Erasure is one request of a tenant; ErrNotFound without it.
func (t *Tenant) Erasure(ctx context.Context, id string) (Erasure, error) {
	return one(ctx, t, erasureOf, `SELECT `+erasureColumns+` FROM erasures WHERE customer_id = $1 AND id = $2`, id)
}

// ProjectionActive reports whether some process is writing a projection.
func (s *Store) ProjectionActive(ctx context.Context, name string) (bool, error) {
	_, release, ok, err := s.LockProjection(ctx, name)
	if ok {
		release()
	}
	return !ok, err
}

// CallsOfNobody are the calls of people whose number was withheld, by id.
func (t *Tenant) CallsOfNobody(ctx context.Context) ([]string, error) {
	return many(ctx, t, pgx.RowTo[string], `SELECT call_id FROM calls WHERE customer_id = $1 AND `+known+` IS NOT true ORDER BY 1`)
}
