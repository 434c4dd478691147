// Package legacy brings the old memory service over, which knew one business
// only: by importing its tables as facts of a customer, or by giving those
// tables a customer where they are. It alone writes SQL for a database that is
// not ours.
package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The old service's tables, in the order they are worked on.
const (
	tableMemories  = "memories"
	tableSummaries = "call_summaries"
	tableProfiles  = "caller_profiles"
	tableMetrics   = "personality_metrics"
	tableAverages  = "personality_averages"
)

var tables = []string{tableMemories, tableSummaries, tableProfiles, tableMetrics, tableAverages}

// averaged are the traits whose average the old service kept over all calls;
// recent are those of which it kept the last three only.
var (
	averaged = []string{
		"openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism",
		"formality", "directness", "detail_orientation", "patience", "technical_comfort",
	}
	recent = []string{"frustration_level", "satisfaction_level", "urgency_level"}
)

func traits() []string { return slices.Concat(averaged, recent) }

// progressEvery is how often long work says how far it is.
const progressEvery = 2 * time.Second

// errBytes tells what to do about words of which nobody says what they are.
var errBytes = errors.New("text that is not UTF-8, and the database is SQL_ASCII, which does not say what else it is: " +
	"dump it, set the client_encoding in the dump to what the text is in, restore it into a database made with ENCODING 'UTF8', and use that")

// ErrAway means that the old database went away meanwhile.
var ErrAway = errors.New("the old database is away: run the same command again, and it goes on where it was")

// lost is err, or ErrAway where the connection has ended for another reason than
// ctx.
func lost(ctx context.Context, c *pgx.Conn, err error) error {
	if err != nil && ctx.Err() == nil && c.IsClosed() {
		return ErrAway
	}
	return err
}

// ErrNotOld means that the database does not hold the old service's tables.
var ErrNotOld = errors.New("not a database of the old service")

// sameCaller is, in SQL, what two spellings of one caller's number have in
// common; what is no number stands for itself.
const sameCaller = `CASE WHEN user_id !~ '^[-+0-9 ().]+$' OR length(regexp_replace(user_id, '\D', '', 'g')) < 7 THEN user_id
	WHEN user_id LIKE '+%' AND user_id NOT LIKE '+1%' THEN regexp_replace(user_id, '\D', '', 'g')
	ELSE right(regexp_replace(user_id, '\D', '', 'g'), 10) END`

// sharedCalls are, in SQL, the ids under which several callers' summaries are
// kept, and the empty one: they name no call. Each of those summaries is a call
// of its own, under ownCall.
const sharedCalls = `SELECT call_id FROM call_summaries GROUP BY call_id
	HAVING call_id = '' OR count(*) > 1 AND count(DISTINCT coalesce(` + sameCaller + `, '')) > 1`

// ownCall is the call of a summary whose call_id names none.
func ownCall(summary string) string { return "legacy:" + summary }

// errURL says no more: the text may hold a password.
var errURL = errors.New("the old database's URL cannot be read")

// CheckURL refuses what names no database, without connecting to any.
func CheckURL(dsn string) error {
	if _, err := pgx.ParseConfig(dsn); err != nil {
		return errURL
	}
	return nil
}

// connect opens the old database. Nothing is hidden from the connection without
// an error, and times without a zone are UTC.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errURL
	}
	for name, v := range map[string]string{
		"application_name": "neurosphere legacy", "row_security": "off", "timezone": "UTC", "statement_timeout": "0",
		"client_encoding": "UTF8", "idle_in_transaction_session_timeout": "0",
	} {
		cfg.RuntimeParams[name] = v
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the old database: %w", err)
	}
	return c, nil
}

// table is one of the old tables as it is now.
type table struct {
	name    string
	schema  string // quoted
	oid     uint32
	owner   string
	columns map[string]column
}

type column struct {
	notNull, hasDefault bool
}

func (t table) has(column string) bool { _, ok := t.columns[column]; return ok }

// inspect reads the catalogue; a table that is not there is not in the result.
func inspect(ctx context.Context, c *pgx.Conn) (map[string]table, error) {
	out := map[string]table{}
	rows, err := c.Query(ctx, `
		SELECT c.relname, quote_ident(n.nspname), c.oid, pg_get_userbyid(c.relowner), a.attname, a.attnotnull, a.atthasdef
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.oid IN (SELECT to_regclass(x) FROM unnest($1::text[]) x) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped`, tables)
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	var t table
	var name string
	var col column
	_, err = pgx.ForEachRow(rows, []any{&t.name, &t.schema, &t.oid, &t.owner, &name, &col.notNull, &col.hasDefault}, func() error {
		if _, ok := out[t.name]; !ok {
			out[t.name] = table{name: t.name, schema: t.schema, oid: t.oid, owner: t.owner, columns: map[string]column{}}
		}
		out[t.name].columns[name] = col
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	return out, nil
}

// state is the SQLSTATE of err; empty where it is not the database's.
func state(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// unique is, in SQL, whether no two rows of a table, whose oid that is, can have
// the same id.
func unique(oid string) string {
	return `EXISTS (SELECT FROM pg_index i WHERE i.indrelid = ` + oid + ` AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
		AND (SELECT bool_and(a.attname IN ('id', 'customer_id') AND a.attnotnull) FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)))`
}

// busy reports whether err says that somebody else is at it just now.
func busy(err error) bool {
	return slices.Contains([]string{"55P03", "40P01", "40001"}, state(err))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forEach is format once for each of names, with commas.
func forEach(names []string, format string) string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, strings.ReplaceAll(format, "$T", n))
	}
	return strings.Join(out, ", ")
}
