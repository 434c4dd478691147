package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
)

// PlatformTables are those of the check at the start.
var PlatformTables = platformTables

// LintSQL is the check at the start.
var LintSQL = lintSQL

// VersionTable is where migrations are counted.
const VersionTable = versionTable

// OpenUnchecked opens a database whatever it is like.
func OpenUnchecked(ctx context.Context, dsn string, change func(*pgxpool.Config)) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = "app"
	change(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{pool: pool, log: zap.NewNop()}
	s.checked.Store(true)
	return s, nil
}

// IDOf is the tenant of a handle; 0 where it is nobody's.
func IDOf(t *Tenant) events.Tenant {
	if t == nil {
		return 0
	}
	return t.id
}

// Subjects say which rows are about whom.
var Subjects = subjects
