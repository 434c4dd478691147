package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

// migrate brings the database up to date.
func migrate(ctx context.Context, fs *flag.FlagSet, args []string) error {
	password := fs.String("app-password", "", "set the password of app_rw, the role DATABASE_URL is to name")
	if err := parse(fs, args); err != nil {
		return err
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	if r.cfg.DatabaseAdminURL != "" {
		if err := store.Migrate(ctx, r.cfg.DatabaseAdminURL, *password); err != nil {
			return err
		}
		fmt.Println("database is up to date")
		return nil
	}
	if r.cfg.DatabaseURL != "" {
		return wrongf("DATABASE_ADMIN_URL: needed to migrate the database that DATABASE_URL uses")
	}
	if private, running := store.ConnectPrivate(ctx, filepath.Join(r.cfg.DataDir, "postgres")); running {
		err = store.Migrate(ctx, private.AdminDSN(), "")
	} else {
		_, err = r.store(ctx) // starting it migrates it
	}
	if err == nil {
		fmt.Println("database is up to date")
	}
	return err
}

// deadLetters lists events no worker could handle, and hands them out again.
func deadLetters(ctx context.Context, fs *flag.FlagSet, args []string) error {
	limit := fs.Int("limit", 100, "how many to list")
	if len(args) == 0 {
		return wrongf("neurosphere dead-letters: want list or redrive")
	}
	verb := args[0]
	if verb == "-h" || verb == "--help" {
		fs.Usage()
		return flag.ErrHelp
	}
	fs.Init("dead-letters "+verb, flag.ContinueOnError)
	if err := parseFlags(fs, args[1:]); err != nil {
		return err
	}
	seqs, err := deadLetterArgs(fs, verb, *limit)
	if err != nil {
		return err
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	b, err := r.bus(ctx)
	if err != nil {
		return err
	}
	switch {
	case verb == "list":
		all, err := b.DeadLetters(ctx, *limit)
		if err != nil {
			return err
		}
		return printJSON(all)
	case len(seqs) == 0:
		n, err := b.RedriveAll(ctx)
		fmt.Printf("%d handed out again\n", n)
		return err
	}
	for _, seq := range seqs {
		if err := b.Redrive(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// deadLetterArgs are the seqs to redrive; none of them for all.
func deadLetterArgs(fs *flag.FlagSet, verb string, limit int) (seqs []uint64, err error) {
	switch {
	case verb != "list" && verb != "redrive":
		return nil, wrongf("neurosphere dead-letters: there is no %q", verb)
	case limit < 1:
		return nil, wrongf("neurosphere %s: -limit: want 1 or more, got %d", fs.Name(), limit)
	case verb == "list":
		return nil, noMore(fs, fs.Args())
	case fs.NArg() == 0:
		return nil, wrongf("neurosphere %s: want all, or the seq of each", fs.Name())
	case fs.Arg(0) == "all":
		return nil, noMore(fs, fs.Args()[1:])
	}
	for _, a := range fs.Args() {
		seq, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			return nil, wrongf("neurosphere %s: %q is no seq", fs.Name(), a)
		}
		seqs = append(seqs, seq)
	}
	return seqs, nil
}

// simulate runs the simulated vendors by themselves, for workers in processes
// of their own.
func simulate(ctx context.Context, fs *flag.FlagSet, args []string) error {
	openai := fs.String("openai", "127.0.0.1:8101", "address of the stand-in for OpenAI")
	twilio := fs.String("twilio", "127.0.0.1:8102", "address of the stand-in for Twilio's REST API")
	first := fs.Duration("first", 0, "what the model takes to begin")
	chunk := fs.Duration("chunk", 0, "what it takes between words")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := cmp.Or(address(fs, "openai", *openai), address(fs, "twilio", *twilio)); err != nil {
		return err
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	acct := app.SimulatedAccount{AccountSID: r.cfg.TwilioAccountSID, AuthToken: r.cfg.TwilioAuthToken}
	if acct.AuthToken == "" {
		if acct, err = app.Simulated(r.cfg.DataDir); err != nil {
			return err
		}
	}
	o, err := simulated.StartOpenAI(simulated.OpenAIOptions{Addr: *openai, FirstDelay: *first, ChunkDelay: *chunk})
	if err != nil {
		return err
	}
	defer o.Close()
	t, err := simulated.StartTwilio(simulated.TwilioOptions{
		Addr: *twilio, AccountSID: acct.AccountSID, AuthToken: acct.AuthToken, Dir: filepath.Join(r.cfg.DataDir, "simulated"),
	})
	if err != nil {
		return err
	}
	defer t.Close()
	fmt.Printf("simulated vendors: OPENAI_BASE_URL=%s TWILIO_API_URL=%s since %s\n", o.URL(), t.URL(), time.Now().Format(time.TimeOnly))
	<-ctx.Done()
	return nil
}

// sortedKeys are the keys of m, sorted.
func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
