package main

import (
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/replay"
)

func TestReportOfAReplayTellsOfCallersLeftOut(t *testing.T) {
	t.Parallel()
	for refused, want := range map[int64]bool{0: false, 2: true} {
		var b strings.Builder
		printReport(&b, replay.Report{Events: 5, Tenants: 1, Rows: 9, Refused: refused})
		if got := strings.Contains(b.String(), "left out 2 callers whose rows the database refuses\n"); got != want {
			t.Errorf("with %d: %s", refused, b.String())
		}
	}
}
