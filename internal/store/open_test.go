package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// database is an empty one beside the shared one; its URLs are of the
// application and of the administrator.
func database(t *testing.T, name string) (app, adm string) {
	t.Helper()
	su := admin(t)
	if _, err := su.Exec(t.Context(), `CREATE DATABASE `+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		c, err := pgx.Connect(ctx, private.AdminDSN())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	in := func(dsn string) string { return strings.Replace(dsn, "dbname=neurosphere", "dbname="+name, 1) }
	return in(private.DSN()), in(private.AdminDSN())
}

// A schema older than the program is refused, and that is told apart from
// whatever else can go wrong.
func TestDatabaseThatIsBehindIsRefused(t *testing.T) {
	t.Parallel()
	app, adm := database(t, "behind")
	if _, err := open(t, app); !errors.Is(err, store.ErrBehind) {
		t.Errorf("never migrated: %v", err)
	}
	if err := store.Migrate(t.Context(), adm, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, app); err != nil {
		t.Errorf("migrated: %v", err)
	}
	su := connect(t, adm)
	if _, err := su.Exec(t.Context(), `REVOKE SELECT ON neurosphere_migrations FROM app_rw`); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, app); !errors.Is(err, store.ErrBehind) {
		t.Errorf("cut off at the last step: %v", err)
	}
	if err := store.Migrate(t.Context(), adm, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := su.Exec(t.Context(), `DELETE FROM neurosphere_migrations WHERE version_id = (SELECT max(version_id) FROM neurosphere_migrations)`); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, app); !errors.Is(err, store.ErrBehind) || !regexp.MustCompile(`\([0-9]+ of [0-9]+ applied\)`).MatchString(err.Error()) {
		t.Errorf("one missing: %v", err)
	}
}

// Being told to stop, or waiting in vain, in the middle of the check does not
// make a database one that is behind.
func TestCheckCutOffIsNotBehind(t *testing.T) {
	t.Parallel()
	app, adm := database(t, "held")
	if err := store.Migrate(t.Context(), adm, ""); err != nil {
		t.Fatal(err)
	}
	hold := connect(t, adm)
	if _, err := hold.Exec(t.Context(), `BEGIN; LOCK TABLE neurosphere_migrations`); err != nil {
		t.Fatal(err)
	}
	waits := func() bool {
		var n int
		if err := hold.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'neurosphere_migrations'::regclass`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		s, err := store.Open(ctx, app, nil)
		if err == nil {
			s.Close()
		}
		result <- err
	}()
	until(t, "the check waits", waits)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrBehind) {
		t.Errorf("told to stop: %v", err)
	}
	until(t, "nothing waits", func() bool { return !waits() })

	// Who waits in vain has a database that is away for now.
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s, err := store.Open(ctx, app, nil)
	if err != nil {
		t.Fatalf("waited in vain: %v", err)
	}
	defer s.Close()
	if _, err := hold.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ListCustomers(t.Context()); err != nil {
		t.Errorf("it is there again: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Open(gone, app, nil); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrBehind) {
		t.Errorf("told to stop before: %v", err)
	}
}

// A database that is away is waited for; what it is like is found out when it
// is there, before anything is read or written.
func TestDatabaseThatIsAwayIsCheckedWhenItComes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	p := start(t, dir)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s, err := open(t, p.DSN())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.For(1)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]func() error{
		"tenant's query": func() error { _, err := r.Calls(t.Context(), 1); return err },
		"tenant's transaction": func() error {
			return r.Project(t.Context(), "p", created, func(*store.Projection) error { return nil })
		},
		"platform": func() error { _, err := s.ListCustomers(t.Context()); return err },
		"lock": func() error {
			_, release, ok, err := s.LockProjection(t.Context(), "p")
			if ok {
				release()
			}
			return err
		},
	}
	each := func(when string, want error) {
		t.Helper()
		for name, do := range all {
			if err := do(); !errors.Is(err, want) {
				t.Errorf("%s, %s: %v; want %v", name, when, err, want)
			}
		}
	}
	each("away", store.ErrUnavailable)
	p = start(t, dir)
	su := connect(t, p.AdminDSN())
	if _, err := su.Exec(t.Context(), `CREATE ROLE app_rw LOGIN NOINHERIT`); err != nil {
		t.Fatal(err)
	}
	each("empty", store.ErrBehind)
	if err := store.Migrate(t.Context(), p.AdminDSN(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := su.Exec(t.Context(), `GRANT TRUNCATE ON app.calls TO app_rw`); err != nil {
		t.Fatal(err)
	}
	each("unsafe", store.ErrUnsafe)
	if _, err := su.Exec(t.Context(), `REVOKE TRUNCATE ON app.calls FROM app_rw`); err != nil {
		t.Fatal(err)
	}
	each("there", nil)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	each("away again", store.ErrUnavailable)
}

// Many processes that start at once migrate once.
func TestMigrationsAtOnceAreOne(t *testing.T) {
	t.Parallel()
	app, adm := database(t, "many")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := store.Migrate(t.Context(), adm, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := open(t, app)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Template(t.Context(), "insurance_v1"); err != nil {
		t.Error(err)
	}
}

// The password is set as given, whatever is in it, and shown in no error.
func TestMigrateSetsThePassword(t *testing.T) {
	const password = `it's "one" \ $1; DROP`
	if err := store.Migrate(t.Context(), private.AdminDSN(), password); err != nil {
		t.Fatal(err)
	}
	su := admin(t)
	var set bool
	if err := su.QueryRow(t.Context(), `SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'app_rw'`).Scan(&set); err != nil || !set {
		t.Errorf("%v, %v", set, err)
	}
	if _, err := su.Exec(t.Context(), `ALTER ROLE app_rw PASSWORD NULL`); err != nil {
		t.Fatal(err)
	}
}

func TestBadAddressesAreRefusedWithoutTheirPassword(t *testing.T) {
	t.Parallel()
	const bad = "postgres://app_rw:secret@host:port/db"
	if _, err := store.Open(t.Context(), bad, nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if err := store.Migrate(t.Context(), bad, ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if _, err := shared.For(-1); !errors.Is(err, events.ErrNoTenant) {
		t.Errorf("%v", err)
	}
}

// Whoever may not migrate is told so, and nothing is half done.
func TestMigrateAsTheApplicationIsRefused(t *testing.T) {
	t.Parallel()
	app, adm := database(t, "refused")
	if err := store.Migrate(t.Context(), app, ""); err == nil || !strings.HasPrefix(err.Error(), "migrate: ") {
		t.Errorf("%v", err)
	}
	if err := store.Migrate(t.Context(), adm, ""); err != nil {
		t.Errorf("the administrator: %v", err)
	}
}
