// Package store keeps tenants' data in PostgreSQL. It is the only package that
// writes SQL, and there is no query without a tenant: every statement goes
// through a handle that supplies the tenant as $1 and binds it for row
// security in the same round trip.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// What callers may ask errors.Is for.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("database is away")                        // try again later
	ErrBehind      = errors.New("database is behind: run migrate")         // schema is older than the program
	ErrUnsafe      = errors.New("database does not keep tenants apart")    // see the text for what is wrong
	ErrWrongTenant = errors.New("row of another tenant")                   // a bug; refused by the database
	ErrRefused     = errors.New("database refuses the row")                // for what is in it; trying again does not help
	ErrNumberTaken = errors.New("number belongs to another customer")      //
	ErrRecreated   = errors.New("event stream is not the one rows are of") //
)

//go:embed lint.sql
var lintSQL string

//go:embed templates.json
var templatesJSON []byte

//go:embed migrations/*.sql
var migrations embed.FS

// platformTables are the only ones without a tenant's guard, each with the
// reason. The application's role reaches none of them: only app_platform does.
// A table that is neither here nor guarded keeps the program from starting.
func platformTables() map[string]string {
	return map[string]string{
		"customers":          "it is what a tenant is: the settings of each",
		"phone_numbers":      "who owns a number is asked before the tenant is known, and a number is one tenant's among all",
		"api_keys":           "whose a key is is asked before the tenant is known; it holds digests only",
		"platform_keys":      "they open any tenant, and are no tenant's; it holds digests only",
		"industry_templates": "the same for every tenant, and no tenant's data",
		"master_key":         "tells one key of the whole installation from another, and is none",
		"projection_floor":   "how far the stream has been read as a whole; no tenant's data",
	}
}

// Store is the whole database. Ask it For a tenant.
type Store struct {
	pool    *pgxpool.Pool
	log     *zap.Logger
	checked atomic.Bool
}

// Open connects as the application's role. A database that is away is no
// error: statements return ErrUnavailable until it is there. One that is there
// and unsafe or behind is refused, at once or at the first statement.
func Open(ctx context.Context, dsn string, log *zap.Logger) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("DATABASE_URL cannot be read") // the text may hold a password
	}
	cfg.MaxConns = max(cfg.MaxConns, 12)
	cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	cfg.ConnConfig.RuntimeParams["search_path"] = "app"
	cfg.ConnConfig.RuntimeParams["application_name"] = "neurosphere"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, errors.New("DATABASE_URL cannot be used")
	}
	if log == nil {
		log = zap.NewNop()
	}
	s := &Store{pool: pool, log: log}
	if err := s.check(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

// check refuses a database that would not keep tenants apart.
func (s *Store) check(ctx context.Context) error {
	if s.checked.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var role string
	var super, bypass bool
	err := s.pool.QueryRow(ctx, `SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user`).Scan(&role, &super, &bypass)
	if err != nil {
		return classify(err)
	}
	if super || bypass {
		return fmt.Errorf("%w: role %s is above row security", ErrUnsafe, role)
	}
	if err := behind(ctx, s.pool); err != nil {
		return err
	}
	rows, err := s.pool.Query(ctx, lintSQL, role, slices.Sorted(maps.Keys(platformTables())), versionTable)
	if err != nil {
		return classify(err)
	}
	faults, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		var rule, object string
		err := r.Scan(&rule, &object)
		return object + ": " + rule, err
	})
	if err != nil {
		return classify(err)
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w:\n  %s", ErrUnsafe, strings.Join(faults, "\n  "))
	}
	s.checked.Store(true)
	return nil
}

// For is the part of the database that belongs to one tenant, and the only way
// to its rows.
func (s *Store) For(t events.Tenant) (*Tenant, error) {
	if !t.Valid() {
		return nil, events.ErrNoTenant
	}
	return &Tenant{s: s, id: t}, nil
}

// Tenant reaches one tenant's rows and no others: PostgreSQL enforces it.
type Tenant struct {
	s  *Store
	id events.Tenant
}

const bind = `SELECT set_config('app.customer_id', $1, true)`

// many runs one query in one round trip. $1 is always the tenant.
func many[T any](ctx context.Context, t *Tenant, fn pgx.RowToFunc[T], sql string, args ...any) (out []T, err error) {
	if err := t.ok(ctx); err != nil {
		return nil, err
	}
	var b pgx.Batch
	b.Queue(bind, t.id.String())
	b.Queue(sql, append([]any{int32(t.id)}, args...)...).Query(func(r pgx.Rows) (err error) {
		out, err = pgx.CollectRows(r, fn)
		return err
	})
	return out, classify(t.s.pool.SendBatch(ctx, &b).Close())
}

// one is many for exactly one row; ErrNotFound without it.
func one[T any](ctx context.Context, t *Tenant, fn pgx.RowToFunc[T], sql string, args ...any) (v T, err error) {
	rows, err := many(ctx, t, fn, sql, args...)
	if err != nil {
		return v, err
	}
	if len(rows) == 0 {
		return v, ErrNotFound
	}
	return rows[0], nil
}

func (t *Tenant) ok(ctx context.Context) error {
	if t == nil || !t.id.Valid() {
		return events.ErrNoTenant
	}
	return t.s.check(ctx)
}

// tx is one transaction of one tenant; its statements too get the tenant as $1.
type tx struct {
	tx pgx.Tx
	id events.Tenant
}

func (t *Tenant) begin(ctx context.Context, f func(tx) error) error {
	return t.beginTx(ctx, pgx.TxOptions{}, f)
}

func (t *Tenant) beginTx(ctx context.Context, o pgx.TxOptions, f func(tx) error) error {
	if err := t.ok(ctx); err != nil {
		return err
	}
	var b pgx.Batch
	b.BeginTx(o)
	b.Queue(bind, t.id.String())
	br := t.s.pool.SendBatch(ctx, &b)
	inner := br.Tx()
	if err := br.Close(); err != nil {
		if inner != nil {
			_ = inner.Rollback(context.WithoutCancel(ctx))
		}
		return classify(err)
	}
	// After a commit this does nothing.
	defer func() { _ = inner.Rollback(context.WithoutCancel(ctx)) }()
	if err := f(tx{inner, t.id}); err != nil {
		return classify(err)
	}
	return classify(inner.Commit(ctx))
}

func (q tx) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := q.tx.Exec(ctx, sql, append([]any{int32(q.id)}, args...)...)
	return tag.RowsAffected(), err
}

func query[T any](ctx context.Context, q tx, fn pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.tx.Query(ctx, sql, append([]any{int32(q.id)}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, fn)
}

// platform runs f as the platform's own role, which reaches customers, numbers
// and templates, and no tenant's rows.
func (s *Store) platform(ctx context.Context, f func(pgx.Tx) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	return classify(pgx.BeginFunc(ctx, s.pool, func(q pgx.Tx) error {
		if _, err := q.Exec(ctx, `SET LOCAL ROLE app_platform`); err != nil {
			return err
		}
		return f(q)
	}))
}

// classify turns what the driver says into what callers can act on.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "42704" || pg.Code == "22P02" && strings.Contains(pg.Message, "integer: \"\""):
			return fmt.Errorf("%w: %w", events.ErrNoTenant, err)
		case pg.Code == "42501":
			return fmt.Errorf("%w: %w", ErrWrongTenant, err)
		case strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53"):
			return fmt.Errorf("%w: %s", ErrUnavailable, pg.Code)
		case strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23") || strings.HasPrefix(pg.Code, "54"):
			// The driver's own text would quote the row.
			return fmt.Errorf("%w: %s %s %s %s", ErrRefused, pg.Code, pg.TableName, pg.ColumnName, pg.ConstraintName)
		}
		return err
	}
	if strings.Contains(err.Error(), "failed to encode args") {
		return fmt.Errorf("%w: a value does not fit its column", ErrRefused)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed") {
		return fmt.Errorf("%w", ErrUnavailable)
	}
	return err
}
