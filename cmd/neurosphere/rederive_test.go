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
)

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
