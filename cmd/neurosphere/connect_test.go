package main

import (
	"os"
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
}
