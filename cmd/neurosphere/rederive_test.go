package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/internal/app"
)

// What is wrong with a command is said before anything is opened or started.
func TestWrongUsageIsToldAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, there := filepath.Join(dir, "empty"), filepath.Join(dir, "there")
	for path, text := range map[string]string{empty: " \n", there: "Another prompt."} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "missing")
	for _, args := range []string{
		"rederive", "rederive -tenant -1", "rederive -tenant 1 extra", "rederive -tenant 1 -diff", "rederive -run a -diff -adopt", "rederive -tenant 1 -caller 5",
		"rederive -tenant 1 -since yesterday", "rederive -tenant 1 -prompt " + empty, "rederive -tenant 1 -prompt " + missing, "rederive -tenant 1 -price-in -1",
		"rederive -tenant 1 -parallel 0", "rederive -nothing", "rederive -tenant 1 -price-in NaN", "rederive -tenant 1 -price-out +Inf",
		// 4294967298 is 2 in 32 bits.
		"replay -swap -tenant 4294967298", "replay -swap -tenant 0", "erase -all -yes -tenant 4294967298", "export -tenant 4294967298", "retention -tenant 4294967296",
		"rederive -tenant 4294967298", "import-legacy -from postgres:///x -customer 4294967298",
		"replay -tenant 1 -caller=", "export -tenant 1 -caller=", "rederive -tenant 1 -caller=", "rederive -tenant 1 -call=", "replay -as-of=", "erase -tenant 1 -call= -yes",
		"replay -swap tenant 1", "replay -hash -swap", "erase -yes", "erase -json -verify word", "erase -by x -housekeeping", "erase -tenant 1 -all -yes -by=",
		"tenant export-all", "tenant export-all x", "tenant export-all 1 2", "tenant export-all 1 -out " + there, "tenant export-all 1 -out " + missing + " -passphrase-file " + empty,
		"tenant import-all", "tenant import-all " + missing, "tenant import-all " + there + " -passphrase-file " + missing, "tenant import-all -nothing",
	} {
		if code := run(strings.Fields(args), io.Discard); code != app.ExitUsage {
			t.Errorf("%s: exit code %d, want %d", args, code, app.ExitUsage)
		}
	}
}

func TestRederivingIsAskedForByFlags(t *testing.T) {
	t.Parallel()
	prompt := filepath.Join(t.TempDir(), "prompt")
	if err := os.WriteFile(prompt, []byte("Another prompt.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := rederiveFlags(flag.NewFlagSet("rederive", flag.ContinueOnError), strings.Fields("-tenant 7 -call CA1,CA2 -call CA3 -caller +12065550123 -since 2026-01-31 -until 2026-02-01T10:00:00Z -model m -run r -prompt "+prompt+" -yes -price-in 0.5"))
	if err != nil {
		t.Fatal(err)
	}
	want := rederiving{yes: true}
	want.Tenant, want.Run, want.Model, want.Prompt, want.Caller, want.PriceIn, want.Parallel = 7, "r", "m", "Another prompt.", "+12065550123", 0.5, 4
	want.Calls = []string{"CA1", "CA2", "CA3"}
	want.Since, want.Until = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 1, 10, 0, 0, 0, time.UTC)
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(rederiving{})); diff != "" {
		t.Error(diff)
	}
}

// Only a yes is one.
func TestConsentIsGivenInWords(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]bool{"y\n": true, "Yes\n": true, "y": true, "\n": false, "": false, "n\n": false, "yesterday\n": false} {
		if got := consents(strings.NewReader(said), io.Discard); got != want {
			t.Errorf("%q: %v", said, got)
		}
	}
}
