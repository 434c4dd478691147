package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
)

// errDiffers is how replay ends when rows are not what the log says.
var errDiffers = errors.New("rows differ from what the log says; -swap puts it right")

// errLeftOut is how replay ends when there are callers it made no rows of.
var errLeftOut = errors.New("there are callers whose rows the database refuses; all others were replayed")

// errDiffered is how replay -as-of ends when something has changed since.
var errDiffered = errors.New("rows differ from what the log said then")

// replayLog rebuilds the read models from the log.
func replayLog(ctx context.Context, fs *flag.FlagSet, args []string) error {
	tenant := fs.Int("tenant", 0, "customer_id; default: every tenant")
	caller := fs.String("caller", "", "compare or swap this caller's rows only, +1… or legacy:…; needs -tenant")
	asOf := fs.String("as-of", "", "leave out what became true after this time, as in 2026-01-31T15:04:05Z; not with -swap")
	compare := fs.Bool("compare", false, "show where rows differ, and change nothing (the default); ends with 1 when some do")
	swap := fs.Bool("swap", false, "show where rows differ, and put the rebuilt ones in their place")
	asJSON := fs.Bool("json", false, "print differences and the report as JSON lines")
	hash := fs.Bool("hash", false, "print a digest of the profiles in use, the same wherever the same facts are, and do nothing else")
	if err := parse(fs, args); err != nil {
		return err
	}
	o := replay.Options{Live: profiler.Projection, Tenant: events.Tenant(*tenant), Swap: *swap, Progress: showProgress(os.Stderr)}
	var err error
	switch {
	case *compare && *swap:
		return wrongf("neurosphere replay: -compare or -swap")
	case *hash && (*compare || *swap || *caller != "" || *asOf != ""):
		return wrongf("neurosphere replay: -hash goes with -tenant alone")
	case *caller != "" && *tenant == 0:
		return wrongf("neurosphere replay: -caller needs the -tenant it is a caller of")
	case *swap && *asOf != "":
		return wrongf("neurosphere replay: rows -as-of another time cannot take the place of those in use")
	}
	if *hash {
		return printHashes(ctx, o.Tenant)
	}
	if *caller != "" {
		if o.Caller, err = settings.Caller(*caller); err != nil {
			return wrongf("neurosphere replay: -caller: %w", err)
		}
	}
	if *asOf != "" {
		if o.AsOf, err = time.Parse(time.RFC3339, *asOf); err != nil {
			return wrongf("neurosphere replay: -as-of: want a time such as 2026-01-31T15:04:05Z, got %q", *asOf)
		}
	}
	if o.Build, err = buildOf(); err != nil {
		return err
	}
	if o.Found = printDifference; *asJSON {
		o.Found = func(t events.Tenant, d store.Difference) {
			_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"customer_id": t, "difference": d})
		}
	}
	return onTenant(ctx, o.Tenant, func(r *reach, s *store.Store) error { return runReplay(ctx, r, s, o, *asJSON) })
}

func runReplay(ctx context.Context, r *reach, s *store.Store, o replay.Options, asJSON bool) error {
	b, err := r.bus(ctx)
	if err != nil {
		return err
	}
	if o.Refs = r.vault.Callers; r.vault == nil {
		fmt.Fprintln(os.Stderr, "MASTER_KEY is not set: what arrived late about callers who were erased is not told from the rest")
	}
	report, err := replay.Run(ctx, b, s, o)
	if ctx.Err() != nil {
		return errors.New("stopped; the same command goes on where it was")
	}
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(map[string]any{"report": report})
	} else {
		printReport(os.Stdout, report)
	}
	switch {
	case err == nil && report.Refused > 0:
		return errLeftOut
	case err != nil || report.Different == 0 || report.Swapped:
	case !o.AsOf.IsZero():
		return errDiffered
	default:
		return errDiffers
	}
	return err
}

// buildOf names this build: what another was rebuilding is not to be continued.
func buildOf() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// showProgress tells people what is being done: on one line of a terminal, on
// several elsewhere.
func showProgress(w *os.File) func(replay.Progress) {
	return func(p replay.Progress) {
		line := p.Stage
		if line == "waiting" {
			line = "waiting for another replay to end"
		}
		if p.Tenant != 0 {
			line += " customer " + p.Tenant.String()
		}
		if p.Stage == "reading" && p.To > 0 {
			took := time.Since(p.Began).Seconds()
			line += fmt.Sprintf(" the log: %d of %d (%d %%), %.0f facts of callers a second", p.Read, p.To, 100*p.Read/p.To, float64(p.Events)/max(took, 0.001))
		}
		fmt.Fprintln(w, line)
	}
}

func printDifference(t events.Tenant, d store.Difference) {
	var key []string
	for _, k := range slices.Sorted(maps.Keys(d.Key)) {
		key = append(key, fmt.Sprint(d.Key[k]))
	}
	fmt.Printf("customer %s  %s %s", t, d.Table, strings.Join(key, " "))
	switch {
	case d.Live == nil:
		fmt.Println("  is missing")
	case d.Rebuilt == nil:
		fmt.Println("  should not be there")
	default:
		fmt.Println()
		names := maps.Clone(d.Live)
		maps.Copy(names, d.Rebuilt)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			fmt.Printf("    %-18s is         %s\n    %-18s should be  %s\n", name, show(d.Live[name]), "", show(d.Rebuilt[name]))
		}
	}
}

func show(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

func printReport(w io.Writer, r replay.Report) {
	fmt.Fprintf(w, "%d facts of %d businesses in %s; %d rows compared, %d differ", r.Events, r.Tenants, r.Took.Round(time.Millisecond), r.Rows, r.Different)
	switch {
	case r.Swapped && r.Different > 0:
		fmt.Fprint(w, "ed: put right")
	case r.Swapped:
		fmt.Fprint(w, "; swapped")
	}
	fmt.Fprintln(w)
	if r.Refused > 0 {
		fmt.Fprintf(w, "left out %d callers whose rows the database refuses\n", r.Refused)
	}
}
