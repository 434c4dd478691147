package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/moving"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/store"
)

// tenantExport writes everything of one tenant into a file.
func tenantExport(ctx context.Context, fs *flag.FlagSet, args []string) error {
	out := fs.String("out", "", "file to write; it must not be there yet (default tenant-N.tar.gz)")
	suspend := fs.Bool("suspend", false, "answer no more calls, and wait until those under way and what they lead to are done")
	wait := fs.Duration("wait", 2*time.Minute, "how long to wait for that")
	passphrase := fs.String("passphrase-file", "", "holds the passphrase under which sealed values go along; without it they stay here")
	given, err := first(fs, args)
	if err != nil {
		return err
	}
	t, err := events.ParseTenant(given)
	if err != nil {
		return wrongf("neurosphere tenant export-all: which one? give its customer_id; %q is none", given)
	}
	o := moving.Options{File: *out, Suspend: *suspend, Wait: *wait}
	if o.File == "" {
		o.File = "tenant-" + t.String() + ".tar.gz"
	}
	if _, err := os.Lstat(o.File); err == nil {
		return wrongf("neurosphere tenant export-all: %s is there already", o.File)
	}
	if o.Passphrase, err = readPassphrase(*passphrase); err != nil {
		return err
	}
	r, b, s, err := movingReach(ctx, &o)
	if err != nil {
		return err
	}
	defer r.close()
	if err := known(ctx, s, t); err != nil {
		return err
	}
	man, err := moving.Export(ctx, b, s, t, o)
	if err != nil {
		return fmt.Errorf("export tenant %s: %w", t, err)
	}
	if man.Sealed.LeftOut > 0 {
		fmt.Fprintf(os.Stderr, "%d sealed values are not in the archive: with -passphrase-file they are\n", man.Sealed.LeftOut)
	}
	if n := man.Open.Calls + man.Open.Texts; n > 0 {
		fmt.Fprintf(os.Stderr, "%d calls and texts are under way: a later archive has what comes of them\n", n)
	}
	return printJSON(map[string]any{
		"file": o.File, "customer_id": t, "facts": man.Facts, "facts_left_out": man.LeftOut, "profiles": man.Profiles,
		"tables": man.Tables, "sealed": man.Sealed, "open": man.Open,
	})
}

// tenantImport takes over a tenant from a file.
func tenantImport(ctx context.Context, fs *flag.FlagSet, args []string) error {
	passphrase := fs.String("passphrase-file", "", "holds the passphrase the archive was made with")
	leave := fs.Bool("leave-sealed", false, "go on without the values that the passphrase opens")
	file, err := first(fs, args)
	if err != nil {
		return err
	}
	if file == "" {
		return wrongf("neurosphere tenant import-all: which file?")
	}
	if _, err := os.Stat(file); err != nil {
		return wrongf("neurosphere tenant import-all: %w", err)
	}
	o := moving.Options{File: file, LeaveSealed: *leave}
	if o.Passphrase, err = readPassphrase(*passphrase); err != nil {
		return err
	}
	r, b, s, err := movingReach(ctx, &o)
	if err != nil {
		return err
	}
	defer r.close()
	report, err := moving.Import(ctx, b, s, o)
	if ctx.Err() != nil {
		return errors.New("stopped; the same command goes on where it was")
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", file, err)
	}
	if report.Status != "active" {
		fmt.Fprintf(os.Stderr, "customer %s is suspended, as where it comes from: neurosphere tenant resume %s\n", report.Tenant, report.Tenant)
	}
	return printJSON(report)
}

// first is the one word that is no flag; flags may come before and after it.
func first(fs *flag.FlagSet, args []string) (word string, err error) {
	if err := parseFlags(fs, args); err != nil || fs.NArg() == 0 {
		return "", err
	}
	word = fs.Arg(0)
	return word, parse(fs, fs.Args()[1:])
}

func readPassphrase(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", wrongf("-passphrase-file: %w", err)
	}
	p := strings.TrimSpace(string(raw))
	if p == "" {
		return "", wrongf("-passphrase-file: it is empty")
	}
	return p, nil
}

// movingReach opens what moving needs, and completes its options.
func movingReach(ctx context.Context, o *moving.Options) (r *reach, b *bus.Bus, s *store.Store, err error) {
	if r, err = newReach(); err != nil {
		return nil, nil, nil, err
	}
	if s, err = r.store(ctx); err == nil {
		b, err = r.bus(ctx)
	}
	if err == nil {
		o.Vault = r.vault
		o.Fold, err = foldByReplay(b, s, o.Vault.Callers)
	}
	if err != nil {
		r.close()
		return nil, nil, nil, err
	}
	o.Projection = profiler.Projection
	o.Progress = movingProgress()
	return r, b, s, nil
}

// foldByReplay puts rows made anew from the log in the place of a tenant's.
func foldByReplay(b *bus.Bus, s *store.Store, refs readmodel.Refs) (func(context.Context, events.Tenant) error, error) {
	build, err := buildOf()
	return func(ctx context.Context, t events.Tenant) error {
		_, err := replay.Run(ctx, b, s, replay.Options{Live: profiler.Projection, Tenant: t, Swap: true, Build: build, Refs: refs})
		return err
	}, err
}

// movingProgress tells of each stage, and at most once a second within one.
func movingProgress() func(stage string, n int) {
	var last string
	var told time.Time
	return func(stage string, n int) {
		if stage == last && time.Since(told) < time.Second || n == 0 && strings.HasPrefix(stage, "waiting") {
			return
		}
		last, told = stage, time.Now()
		if n > 0 {
			fmt.Fprintf(os.Stderr, "%s: %d\n", stage, n)
		} else {
			fmt.Fprintln(os.Stderr, stage)
		}
	}
}

// printHashes prints the digest of a tenant's profiles as they are in use, which
// is the same wherever the same facts are.
func printHashes(ctx context.Context, t events.Tenant) error {
	return onTenant(ctx, t, func(_ *reach, s *store.Store) (err error) {
		tenants := []events.Tenant{t}
		if t == 0 {
			if tenants, err = s.Tenants(ctx); err != nil {
				return err
			}
		}
		for _, id := range tenants {
			sum, err := moving.Hash(ctx, s, id, profiler.Projection)
			if err != nil {
				return err
			}
			if err := printJSON(map[string]any{"customer_id": id, "profiles": sum.Count, "sha256": sum.SHA256}); err != nil {
				return err
			}
		}
		return nil
	})
}
