package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// versionTable is goose's own.
const versionTable = "public.neurosphere_migrations"

// Migrate brings the database up to date as adminDSN, a role that may create
// roles and passes row security. appPassword, when given, becomes the password
// of the application's role. Any number of processes may migrate at once.
func Migrate(ctx context.Context, adminDSN, appPassword string) error {
	for try := 1; ; try++ {
		err := migrate(ctx, adminDSN, appPassword)
		if try == 10 || !raced(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 20 * time.Millisecond):
		}
	}
}

// raced reports whether somebody else changed a role or a right at the same
// moment: of two at once the server refuses the second instead of letting it wait.
func raced(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "XX000" && strings.Contains(pg.Message, "concurrently updated")
}

func migrate(ctx context.Context, adminDSN, appPassword string) error {
	cfg, err := pgx.ParseConfig(adminDSN)
	if err != nil {
		return errors.New("the administrator's database URL cannot be read")
	}
	// Without this a forced policy would make foreign keys validate and
	// updates succeed on nothing; with it they fail loudly.
	cfg.RuntimeParams["row_security"] = "off"
	cfg.RuntimeParams["lock_timeout"] = "10s"
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	p, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := saveTemplates(ctx, db); err != nil {
		return fmt.Errorf("save templates: %w", err)
	}
	if appPassword != "" {
		_, err := db.ExecContext(ctx, `ALTER ROLE app_rw PASSWORD `+quote(appPassword))
		if raced(err) {
			return err
		} else if err != nil { // its text may hold the statement
			return errors.New("set the password of app_rw")
		}
	}
	_, err = db.ExecContext(ctx, `GRANT SELECT ON `+versionTable+` TO app_rw`)
	return err
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func provider(db *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	// Polls instead of blocking, so that two of us never deadlock with an
	// index that is built concurrently.
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker), goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
}

// behind is ErrBehind when a migration of this program has not been applied.
func behind(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var applied int
	err = pool.QueryRow(ctx, `SELECT count(*) FROM `+versionTable+` WHERE version_id > 0 AND is_applied`).Scan(&applied)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42501") {
		return ErrBehind // never migrated, or cut off before the table could be read
	} else if err != nil {
		return classify(err)
	}
	if applied < len(files) {
		return fmt.Errorf("%w (%d of %d applied)", ErrBehind, applied, len(files))
	}
	return nil
}

// saveTemplates adds the industry templates that are not there yet; a version
// once saved never changes.
func saveTemplates(ctx context.Context, db *sql.DB) error {
	templates, err := Templates()
	if err != nil {
		return err
	}
	for _, t := range templates {
		raw, err := json.Marshal(t)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, `INSERT INTO app.industry_templates (template_id, template) VALUES ($1, $2) ON CONFLICT DO NOTHING`, t.ID, string(raw))
		if err != nil {
			return err
		}
	}
	return nil
}
