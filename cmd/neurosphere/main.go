// Command neurosphere is the whole platform in one process, and the operator's
// commands.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
)

// A command is one word after "neurosphere".
type command struct {
	name  string
	args  string // as shown in usage
	about string
	run   func(ctx context.Context, fs *flag.FlagSet, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "[-workers a,b]", "all workers in one process, or those named", serve},
		{"demo", "[-once]", "serve with two demo businesses, and place calls to them", demo},
		{"call", "-to +1… -from +1… -script FILE[#call_id]", "be Twilio and the caller against a running instance", call},
		{"tenant", "create|list|show|set|api-key|api-keys|revoke-key|suspend|resume|export-all|import-all …", "the businesses whose phones are answered", tenant},
		{"platform-key", "create|list|revoke …", "keys that open every tenant of the API", platformKey},
		{"replay", "[-tenant N] [-caller +1…] [-as-of TIME] [-compare | -swap]", "make everything known about callers anew from the log", replayLog},
		{"rederive", "-tenant N [-call CA…] [-since TIME] [-model M] [-prompt FILE] | -run NAME -diff | -adopt | -discard", "past calls by another prompt or model: what it costs, what it changes, and adopting it", rederive},
		{"export", "-tenant N [-caller +1…] [-out DIR]", "everything kept about a caller, or all callers, as JSON and as pages to read", export},
		{"erase", "-tenant N (-caller +1… | -call CA… | -all) | -reapply | -housekeeping", "remove everything about a caller, a call or a business, for good", erase},
		{"retention", "[-tenant N] [-dry-run]", "remove what is older than businesses have it kept", retention},
		{"import-legacy", "-from DSN -customer N [-region US] [-dry-run]", "state what the old memory service knew as facts of a customer", importLegacy},
		{"migrate-legacy", "-dsn DSN [-finish]", "give the old memory service's tables a customer, where they are", migrateLegacy},
		{"migrate", "", "bring the database up to date", migrate},
		{"dead-letters", "list|redrive …", "events that could not be handled", deadLetters},
		{"apart", "[-dir DIR]", "everything as separate processes on this machine, two of each worker", apart},
		{"simulate", "", "the simulated vendors as a process of their own", simulate},
	}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, out io.Writer) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		usage(out)
		if len(args) == 0 {
			return app.ExitUsage
		}
		return app.ExitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		fs.Usage = func() {
			fmt.Fprintf(fs.Output(), "neurosphere %s %s\n\n%s.\n\n", c.name, c.args, strings.ToUpper(c.about[:1])+c.about[1:])
			fs.PrintDefaults()
			fmt.Fprintf(fs.Output(), "\n%s", app.Usage())
		}
		err := c.run(app.Signalled(), fs, args[1:])
		if errors.Is(err, flag.ErrHelp) {
			return app.ExitOK
		}
		return app.Exit(err)
	}
	fmt.Fprintf(os.Stderr, "neurosphere: there is no command %q\n\n", args[0])
	usage(os.Stderr)
	return app.ExitUsage
}

func usage(w io.Writer) {
	fmt.Fprint(w, "neurosphere answers businesses' phones.\n\nUsage: neurosphere COMMAND [-h] …\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.about)
	}
	fmt.Fprintf(w, "\n%s", app.Usage())
}

// parse reads flags where nothing else may follow.
func parse(fs *flag.FlagSet, args []string) error {
	if err := parseFlags(fs, args); err != nil {
		return err
	}
	return noMore(fs, fs.Args())
}

// noMore refuses words that nothing is made of.
func noMore(fs *flag.FlagSet, rest []string) error {
	if len(rest) > 0 {
		return wrongf("neurosphere %s: unexpected %q; see -h", fs.Name(), rest[0])
	}
	return nil
}

// parseFlags reads flags and leaves the words after them. It says what is wrong
// in one line: usage is for those who ask for it.
func parseFlags(fs *flag.FlagSet, args []string) error {
	usage := fs.Usage
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	err := fs.Parse(args)
	fs.SetOutput(nil)
	fs.Usage = usage
	switch {
	case errors.Is(err, flag.ErrHelp):
		fs.Usage()
		return err
	case err != nil:
		return wrongf("neurosphere %s: %w; see -h", fs.Name(), err)
	}
	return named(fs)
}

// named refuses what names nobody: a number that is no customer's, and an empty
// word, as a script leaves it whose variable is not set. Without the flag the
// command is about everybody. Nothing takes less than no time.
func named(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		given := f.Value.String()
		switch f.Name {
		case "tenant", "customer":
			if _, no := events.ParseTenant(given); no != nil {
				err = wrongf("neurosphere %s: -%s: %s is no customer_id", fs.Name(), f.Name, given)
			}
		case "caller", "call", "run", "since", "until", "as-of":
			if given == "" {
				err = wrongf("neurosphere %s: -%s is empty", fs.Name(), f.Name)
			}
		}
		if g, ok := f.Value.(flag.Getter); ok {
			if d, ok := g.Get().(time.Duration); ok && d < 0 {
				err = wrongf("neurosphere %s: -%s: want a time of 0 or more, got %s", fs.Name(), f.Name, given)
			}
		}
	})
	return err
}

// address refuses what no server can listen on.
func address(fs *flag.FlagSet, name, given string) error {
	if _, _, err := net.SplitHostPort(given); err != nil {
		return wrongf("neurosphere %s: -%s: want host:port, got %q", fs.Name(), name, given)
	}
	return nil
}

func wrongf(format string, args ...any) error { return app.Wrong(fmt.Errorf(format, args...)) }
