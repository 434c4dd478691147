package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// steps a server is taken through at most until its log holds nothing old.
const (
	maxSegments = 256
	oldReaders  = time.Minute
	lockWait    = "20s"
	lockTries   = 6
)

// Housekeep makes the bytes of rows that were deleted go from the server's
// files, as adminDSN, a superuser: every table of ours and the statistics are
// written anew, and the log is cut off behind that. Each table is locked while
// it is written. told is told each step.
func Housekeep(ctx context.Context, adminDSN string, told func(step string)) error {
	c, err := pgx.Connect(ctx, adminDSN)
	if err != nil {
		return errors.New("connect as administrator: the database cannot be reached")
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := forgotten(ctx, c); err != nil {
		return err
	}
	rows, err := c.Query(ctx, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('app', 'rebuild') AND c.relkind = 'r' AND pg_total_relation_size(c.oid) > 0 ORDER BY 1`)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	if _, err := c.Exec(ctx, `SET lock_timeout = '`+lockWait+`'; SET statement_timeout = 0`); err != nil {
		return err
	}
	// What a table's statistics quote of its rows is in the last one.
	for _, table := range append(tables, "pg_catalog.pg_statistic") {
		told("write " + table + " anew")
		if err := rewrite(ctx, c, table); err != nil {
			return fmt.Errorf("write %s anew: %w", table, err)
		}
	}
	told("cut off the write-ahead log")
	return cutLog(ctx, c)
}

// forgotten waits until nobody's snapshot is older than now: rows somebody may
// still see would be written anew with the others.
func forgotten(ctx context.Context, c *pgx.Conn) error {
	var now int64
	if err := c.QueryRow(ctx, `SELECT txid_current()`).Scan(&now); err != nil {
		return fmt.Errorf("look at the clock of transactions: %w", err)
	}
	for end := time.Now().Add(oldReaders); ; {
		var oldest *int64
		err := c.QueryRow(ctx, `SELECT min(backend_xmin::text::bigint) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()`).Scan(&oldest)
		if err != nil {
			return fmt.Errorf("look for old transactions: %w", err)
		}
		if oldest == nil || *oldest >= now&0xffffffff {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("a transaction has been open for more than %v: end it and try again", oldReaders)
		}
		if err := pauseFor(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// rewrite writes one table anew, its indexes with it. Whoever holds it is not
// interrupted, and does not have others wait behind us for long.
func rewrite(ctx context.Context, c *pgx.Conn, table string) (err error) {
	for range lockTries {
		if _, err = c.Exec(ctx, `VACUUM (FULL, ANALYZE) `+table); !isLockTimeout(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	// Of a table without rows the statistics stay what they were, words and all.
	_, err = c.Exec(ctx, `DELETE FROM pg_catalog.pg_statistic WHERE NOT EXISTS (SELECT FROM `+table+`)
		AND (starelid = $1::regclass OR starelid IN (SELECT indexrelid FROM pg_index WHERE indrelid = $1::regclass))`, table)
	return err
}

// cutLog has the log of everything before now removed. What a former version
// of the program had the server keep for reuse is used up first.
func cutLog(ctx context.Context, c *pgx.Conn) error {
	for range maxSegments {
		if _, err := c.Exec(ctx, `SELECT pg_logical_emit_message(true, 'neurosphere', 'housekeeping'), pg_switch_wal()`); err != nil {
			return fmt.Errorf("begin a new segment of the log: %w", err)
		}
		var ahead int
		err := c.QueryRow(ctx, `SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())`).Scan(&ahead)
		if err != nil {
			return fmt.Errorf("list the log: %w", err)
		}
		if ahead == 0 {
			break
		}
	}
	// The first may leave the segment it began in.
	for range 2 {
		if _, err := c.Exec(ctx, `CHECKPOINT`); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		if _, err := c.Exec(ctx, `SELECT pg_logical_emit_message(true, 'neurosphere', 'housekeeping'), pg_switch_wal()`); err != nil {
			return fmt.Errorf("begin a new segment of the log: %w", err)
		}
	}
	_, err := c.Exec(ctx, `CHECKPOINT`)
	return err
}

func isLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03"
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
