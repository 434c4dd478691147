package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/privacy"
)

// retention removes what is older than it may be, as the profiler does each
// day.
func retention(ctx context.Context, fs *flag.FlagSet, args []string) error {
	tenant := fs.Int("tenant", 0, "customer_id; default: every tenant")
	dry := fs.Bool("dry-run", false, "count what would go, and remove nothing")
	keep := fs.Bool("housekeeping", true, "make the bytes go from the files of bus and database")
	asJSON := fs.Bool("json", false, "print JSON")
	if err := parse(fs, args); err != nil {
		return err
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	s, err := r.privacy(ctx)
	if err != nil {
		return err
	}
	if err := known(ctx, s.Store, events.Tenant(*tenant)); err != nil {
		return err
	}
	all, err := s.Sweep(ctx, privacy.SweepOptions{Tenant: events.Tenant(*tenant), Now: time.Now(), Dry: *dry, Files: *keep, Progress: showSteps(os.Stderr)})
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(all)
	}
	verb := "removed"
	if *dry {
		verb = "would go"
	}
	for _, w := range all {
		if w.Limits.Hold {
			fmt.Printf("customer %s  on hold: everything stays\n", w.Tenant)
			continue
		}
		fmt.Printf("customer %s  %s: %d lines of transcripts (after %d days), %d raw answers and %d rederivations (%d), %d texts (%d), %d callers and %d calls of nobody known (%d)\n",
			w.Tenant, verb, w.Transcripts, w.Limits.Transcripts, w.Raw, w.Rederived, w.Limits.Raw, w.Texts, w.Limits.Texts, w.Callers, w.Calls, w.Limits.Callers)
	}
	return nil
}
