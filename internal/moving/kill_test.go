package moving_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/moving"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/vault"
)

// childEnv turns the test binary into a process that imports an archive and
// waits to be killed in the middle; see TestAnImportSurvivesKill.
const childEnv = "MOVING_TEST_ARCHIVE"

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		fmt.Println("error", importAndHang(file))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// importAndHang says "half" once a part of the facts is stored, and goes no
// further.
func importAndHang(file string) error {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{URL: os.Getenv("MOVING_TEST_BUS")})
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, os.Getenv("MOVING_TEST_DATABASE"), nil)
	if err != nil {
		return err
	}
	v, err := vault.New(strings.Repeat("cd", 32))
	if err != nil {
		return err
	}
	_, err = moving.Import(ctx, b, s, moving.Options{
		File: file, Passphrase: phrase, Vault: v, Projection: projection,
		Fold: func(context.Context, events.Tenant) error { return nil },
		Progress: func(stage string, n int) {
			if stage == "facts" && n > 0 {
				fmt.Println("half")
				select {}
			}
		},
	})
	return err
}

// A process that is killed in the middle of an import leaves a tenant that is
// suspended; the next one completes it.
func TestAnImportSurvivesKill(t *testing.T) {
	t.Parallel()
	from, moves, _ := town(t)
	for i := range 80 {
		from.call(moves.Tenant, fmt.Sprintf("CAmore%d", i), "+12065550103", "Eve", nil)
	}
	man, file := export(t, from, moves.Tenant, nil)

	server := testenv.Server(t)
	to := &place{t: t, bus: server.Bus(t, bus.Options{}), db: testenv.Postgres(t)}
	to.vault, _ = vault.New(strings.Repeat("cd", 32))
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+file, "MOVING_TEST_BUS="+server.URL(), "MOVING_TEST_DATABASE="+to.db.URL)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(out).ReadString('\n')
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if said != "half\n" {
		t.Fatalf("the child says %q", said)
	}
	if s, err := to.db.Store.Settings(t.Context(), moves.Tenant); err != nil || s.Status != "suspended" {
		t.Errorf("half a tenant is %s, %v", s.Status, err)
	}
	report, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file))
	if err != nil || report.There < 500 || report.Stored == 0 || report.There+report.Stored != man.Facts.Count || report.Profiles != man.Profiles {
		t.Errorf("completed: %+v, %v", report, err)
	}
	same(t, from, to, moves.Tenant)
}
