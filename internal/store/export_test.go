package store

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"
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

// Subjects say which rows are about whom.
var Subjects = subjects
