package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/legacy"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// errMissing is how import-legacy ends when rows do not hold what was imported.
var errMissing = errors.New("rows do not hold all that was imported yet: let a profiler run, or replay -swap, and run this again")

// importing is what import-legacy was asked for.
type importing struct {
	legacy.ImportOptions
	wait time.Duration
	json bool
}

// importLegacy states what the old memory service knew as facts of a customer.
func importLegacy(ctx context.Context, fs *flag.FlagSet, args []string) error {
	from := fs.String("from", "", "URL of the old service's database, postgres://…; it is only read")
	customer := fs.Int("customer", 1, "customer_id whose callers these become")
	region := fs.String("region", "US", "where numbers of ten digits are of")
	dry := fs.Bool("dry-run", false, "say what would be stated, and state nothing")
	wait := fs.Duration("wait", 30*time.Second, "how long rows may make no headway before they are said to be missing; 0: do not look")
	asJSON := fs.Bool("json", false, "print the report as JSON")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *from == "" {
		return wrongf("neurosphere import-legacy: -from is needed, the URL of the old database")
	}
	if err := legacy.CheckURL(*from); err != nil {
		return wrongf("neurosphere import-legacy: -from: %w", err)
	}
	if !settings.Region(strings.ToUpper(*region)) {
		return wrongf("neurosphere import-legacy: -region: there is no %q", *region)
	}
	o := importing{wait: *wait, json: *asJSON}
	o.ImportOptions = legacy.ImportOptions{DSN: *from, Tenant: events.Tenant(*customer), Region: strings.ToUpper(*region), Dry: *dry}
	o.Progress = func(what string, n int) { fmt.Fprintf(os.Stderr, "%s: %d\n", what, n) }
	return onStore(ctx, func(r *reach, s *store.Store) error { return o.run(ctx, r, s) })
}

func (o importing) run(ctx context.Context, r *reach, s *store.Store) error {
	if err := known(ctx, s, o.Tenant); err != nil {
		return err
	}
	b, err := r.bus(ctx)
	if err != nil {
		return err
	}
	gone := privacy.Service{Store: s, Vault: r.vault, Ledger: privacy.NewLedger(r.cfg.Ledger())}
	if o.Erased, err = gone.Erased(o.Tenant); err != nil {
		return err
	}
	report, err := legacy.Import(ctx, b, o.ImportOptions)
	if ctx.Err() != nil {
		return errors.New("stopped; the same command goes on where it was")
	}
	if err != nil {
		return err
	}
	if o.Dry || o.wait <= 0 {
		return o.print(report, nil, privacy.Expiring{})
	}
	compared, err := legacy.Wait(ctx, s, o.ImportOptions, o.wait, func(c legacy.Compared) {
		fmt.Fprintf(os.Stderr, "rows: %d of %d callers\n", c.Callers-c.Less, c.Callers)
	})
	if err != nil {
		return err
	}
	goes, err := gone.Expiring(ctx, o.Tenant, time.Now())
	if err == nil {
		err = o.print(report, &compared, goes)
	}
	if err == nil && compared.Less > 0 {
		err = errMissing
	}
	return err
}

func (o importing) print(r legacy.ImportReport, c *legacy.Compared, goes privacy.Expiring) error {
	if !o.json {
		printImport(os.Stdout, r, c)
		printExpiring(os.Stdout, o.Tenant, goes)
		return nil
	}
	out := map[string]any{"import": r, "rows": c}
	if goes.Callers > 0 {
		out["expiring"] = goes
	}
	return printJSON(out)
}

func printImport(w io.Writer, r legacy.ImportReport, c *legacy.Compared) {
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%-21s %9d rows read, %d of them merged into others\n", t.Table, t.Read, t.Merged)
	}
	verb := "stated"
	if r.Dry {
		verb = "would be stated"
	}
	fmt.Fprintf(w, "%d facts %s (%d of them another word than before), %d stated before; %d callers, %d of them known by no number; %s\n",
		r.Stated, verb, r.Changed, r.Same, r.Callers, r.Others, r.Took.Round(time.Millisecond))
	for _, what := range sortedKeys(r.LeftOut) {
		fmt.Fprintf(w, "left out: %s: %d\n", what, r.LeftOut[what])
	}
	for _, what := range sortedKeys(r.Notes) {
		fmt.Fprintf(w, "note: %s: %d\n", what, r.Notes[what])
	}
	fmt.Fprintf(w, "the old rows hold %s\n", totals(r.Expected))
	if c == nil {
		return
	}
	fmt.Fprintf(w, "our rows hold     %s\n%d callers are the same, %d have more by now, %d have less", totals(c.Rows), c.Same, c.More, c.Less)
	if len(c.Missing) > 0 {
		fmt.Fprintf(w, ": %s", strings.Join(c.Missing, ", "))
	}
	fmt.Fprintln(w)
}

// printExpiring says how what was imported stays, where it would not.
func printExpiring(w io.Writer, t events.Tenant, e privacy.Expiring) {
	if e.Callers == 0 {
		return
	}
	fmt.Fprintf(w, "note: %d callers have nothing newer than retention.caller_days (%d) and go from the next sweep on: "+
		"neurosphere tenant set %s retention.caller_days=N (up to %d), or retention.hold=true, keeps them\n", e.Callers, e.Days, t, settings.MaxDays)
}

func totals(t legacy.Totals) string {
	var n, sum int64
	for _, v := range t.Traits {
		n, sum = n+v.N, sum+v.Sum
	}
	return fmt.Sprintf("%d callers, %d calls (%d summarized), %d memories, %d measures of %.3f in all", t.Callers, t.Calls, t.Summaries, t.Memories, n, float64(sum)/1e6)
}

// migrateLegacy gives the old service's tables a customer, where they are.
func migrateLegacy(ctx context.Context, fs *flag.FlagSet, args []string) error {
	dsn := fs.String("dsn", "", "URL of the old service's database, as the owner of its tables or an administrator")
	finish := fs.Bool("finish", false, "the old service is gone for good: take away what was kept for it")
	asJSON := fs.Bool("json", false, "print the report as JSON")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *dsn == "" {
		return wrongf("neurosphere migrate-legacy: -dsn is needed, the URL of the old database")
	}
	if err := legacy.CheckURL(*dsn); err != nil {
		return wrongf("neurosphere migrate-legacy: -dsn: %w", err)
	}
	report, err := legacy.Migrate(ctx, legacy.MigrateOptions{DSN: *dsn, Finish: *finish, Progress: func(step, what string) {
		fmt.Fprintf(os.Stderr, "%s: %s\n", step, what)
	}})
	if ctx.Err() != nil {
		return errors.New("stopped; the same command goes on where it was")
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(report)
	}
	printMigration(os.Stdout, report)
	return nil
}

func printMigration(w io.Writer, r legacy.MigrateReport) {
	if len(r.Steps) == 0 {
		fmt.Fprintln(w, "there was nothing to do")
	} else {
		fmt.Fprintf(w, "%d steps in %s; no lock was held for longer than %s; %d tries given up because others were at it\n",
			len(r.Steps), r.Took.Round(time.Millisecond), r.Longest.Round(time.Millisecond), r.Tries)
	}
	for _, m := range r.Merged {
		fmt.Fprintf(w, "%s: %d had several rows; %d rows went to %s_merge_log, %d calls got a name of their own\n", m.Table, m.Things, m.Losers, m.Table, m.Renamed)
	}
	for _, s := range []struct {
		when string
		legacy.Sums
	}{{"before", r.Before}, {"after", r.After}} {
		fmt.Fprintf(w, "%-6s  %d memories, %d calls, %d callers with %d calls, %d metrics with satisfaction %.3f, averages over %d calls\n",
			s.when, s.Memories, s.Calls, s.Callers, s.Total, s.Metrics, s.Satisfied, s.Averaged)
	}
	for _, k := range r.Kept {
		fmt.Fprintf(w, "kept for the old service until -finish: %s\n", k)
	}
}
