package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"neurosphere.ai/neurosphere/internal/app"
)

// Commands that each need servers of their own, since nothing else runs, wait for
// each other: the servers of one end with it.
func TestCommandsTakeTurns(t *testing.T) {
	t.Setenv("DATA_DIR", t.TempDir())
	var all sync.WaitGroup
	for _, args := range [][]string{{"tenant", "list"}, {"replay"}, {"replay"}, {"tenant", "list"}, {"retention", "-dry-run"}} {
		all.Go(func() {
			if code := run(args, os.Stdout); code != app.ExitOK {
				t.Errorf("%v: exit %d", args, code)
			}
		})
	}
	all.Wait()
	// Each is the first for all it knows: the key to what they keep came before.
	key := filepath.Join(os.Getenv("DATA_DIR"), "master.key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"tenant", "list"}, {"replay"}, {"serve"}} {
		if code := run(args, os.Stdout); code != app.ExitUsage {
			t.Errorf("%v without the key: exit %d", args, code)
		}
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("another key has taken its place")
	}
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"tenant", "list"}, {"replay"}, {"serve"}} {
		if code := run(args, os.Stdout); code != app.ExitUsage {
			t.Errorf("%v with another key: exit %d", args, code)
		}
	}
}
