package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/settings"
)

// privacy is what exports and erases, on the bus and database there are.
func (r *reach) privacy(ctx context.Context) (*privacy.Service, error) {
	s, err := r.store(ctx)
	if err != nil {
		return nil, err
	}
	b, err := r.bus(ctx)
	if err != nil {
		return nil, err
	}
	if err := sendLeft(ctx, b, filepath.Join(r.cfg.DataDir, "outbox")); err != nil {
		return nil, err
	}
	return &privacy.Service{
		Bus: b, Store: s, Vault: r.vault, Live: profiler.Projection, Ledger: privacy.NewLedger(r.cfg.Ledger()), Dir: r.cfg.DataDir,
		Housekeep:   privacy.Housekeeping(func(ctx context.Context) string { return app.AdminDSN(ctx, r.cfg) }),
		ForgetTexts: func(sids []string) error { return app.ForgetTexts(r.cfg, sids) },
	}, nil
}

// sendWithin is how long what a process left in its outbox may take.
const sendWithin = time.Minute

// sendLeft has the log take what a process that was killed left in its outbox,
// where else it would not be found. One that runs does so by itself.
func sendLeft(ctx context.Context, b *bus.Bus, dir string) error {
	if _, err := os.Stat(dir); err != nil { // no process has written one
		return nil
	}
	o, err := b.OpenOutbox(dir)
	if errors.Is(err, bus.ErrOutboxInUse) {
		return nil
	} else if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	if err := o.Close(ctx); err != nil {
		return fmt.Errorf("send what is left in the outbox: %w", err)
	}
	return nil
}

// erase removes what is kept about somebody.
func erase(ctx context.Context, fs *flag.FlagSet, args []string) error {
	tenant := fs.Int("tenant", 0, "customer_id")
	caller := fs.String("caller", "", "everything about this caller, +1… or legacy:…")
	call := fs.String("call", "", "everything of this call, CA…")
	all := fs.Bool("all", false, "the whole business, with its settings, numbers and keys")
	by := fs.String("by", "operator", "who asks for it; stays on record")
	yes := fs.Bool("yes", false, "do not ask")
	asJSON := fs.Bool("json", false, "print the certificate as JSON")
	verify := fs.String("verify", "", "words, with commas, to look for in every file under DATA_DIR afterwards")
	wait := fs.Duration("wait", 5*time.Minute, "how long to wait for a call of theirs that is under way")
	keep := fs.Bool("housekeeping", true, "make the bytes go from the files of bus and database, which locks each table for a moment; alone: do only that")
	again := fs.Bool("reapply", false, "erase again what the ledger says was erased and a restored backup has brought back")
	if err := parse(fs, args); err != nil {
		return err
	}
	req := privacy.Request{Tenant: events.Tenant(*tenant), Call: *call, All: *all, By: *by, Wait: *wait, Files: *keep, Progress: showSteps(os.Stderr)}
	if *verify != "" {
		req.Verify = strings.Split(*verify, ",")
	}
	given := 0
	for _, some := range []bool{*caller != "", *call != "", *all} {
		if some {
			given++
		}
	}
	only := given == 0 && !*again && *keep && fs.NFlag() == 1
	fs.Visit(func(f *flag.Flag) { only = only && f.Name == "housekeeping" })
	switch {
	case !*again && !only && (given != 1 || *tenant <= 0):
		return wrongf("neurosphere erase: want -tenant N and one of -caller, -call and -all; or -reapply; or -housekeeping")
	case *by == "":
		return wrongf("neurosphere erase: -by: say who asks for it")
	case *again && (given > 0 || *tenant != 0):
		return wrongf("neurosphere erase: -reapply goes by the ledger alone")
	}
	if *caller != "" {
		n, err := settings.Caller(*caller)
		if err != nil {
			return wrongf("neurosphere erase: -caller: %w", err)
		}
		req.Caller = n
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
	switch {
	case *again:
		n, err := s.Again(ctx, req)
		fmt.Printf("%d erased again\n", n)
		return err
	case only:
		return housekeep(ctx, s, req)
	}
	return eraseSubject(ctx, s, req, *yes, *asJSON)
}

func housekeep(ctx context.Context, s *privacy.Service, req privacy.Request) error {
	did, left, err := s.Clean(ctx, true, func(step string) { req.Progress(step, 0, 0) })
	for _, line := range did {
		fmt.Println(line)
	}
	for _, line := range left {
		fmt.Println("left to do:", line)
	}
	return err
}

// eraseSubject shows what would go, asks, and erases.
func eraseSubject(ctx context.Context, s *privacy.Service, req privacy.Request, yes, asJSON bool) error {
	plan, err := s.Plan(ctx, req)
	if err != nil {
		return err
	}
	if !yes && !plan.Empty() {
		showPlan(os.Stderr, plan)
		if !agreed(os.Stdin, os.Stderr) {
			return errors.New("nothing was erased")
		}
	}
	c, err := s.Erase(ctx, req)
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped; the same command goes on where it was")
	case errors.Is(err, privacy.ErrNothing):
		return cmp.Or(known(ctx, s.Store, req.Tenant), err)
	case err != nil:
		return err
	case asJSON:
		return printJSON(c)
	}
	c.Text(os.Stdout)
	return nil
}

func showPlan(w io.Writer, p privacy.Plan) {
	fmt.Fprintf(w, "This would go for good, of %d calls:\n", len(p.Calls))
	for _, name := range slices.Sorted(maps.Keys(p.Rows)) {
		fmt.Fprintf(w, "  %7d rows of %s\n", p.Rows[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Facts)) {
		fmt.Fprintf(w, "  %7d facts %s\n", p.Facts[name], name)
	}
}

func agreed(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "Erase it? Type yes: ")
	line, _ := bufio.NewReader(in).ReadString('\n') // without a line it is no
	return strings.TrimSpace(line) == "yes"
}

// showSteps tells people what is being done, at most once a second where it is
// the same step.
func showSteps(w io.Writer) func(step string, done, of int) {
	var last string
	var told time.Time
	return func(step string, done, of int) {
		if step == last && done != of && time.Since(told) < time.Second {
			return
		}
		last, told = step, time.Now()
		if of > 0 {
			step += fmt.Sprintf(": %d of %d", done, of)
		}
		fmt.Fprintln(w, step)
	}
}
