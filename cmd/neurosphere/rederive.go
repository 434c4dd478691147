package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/summarizer"
)

// maxPrompt bounds a prompt file, in bytes; maxPrice what a million tokens cost.
const (
	maxPrompt = 64 << 10
	maxPrice  = 1e6
)

// words collects a flag that is given more than once, or with commas.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }

func (w *words) Set(s string) error {
	for _, one := range strings.Split(s, ",") {
		if one = strings.TrimSpace(one); one != "" {
			*w = append(*w, one)
		}
	}
	return nil
}

// rederiving is what the command was asked for.
type rederiving struct {
	summarizer.RederiveOptions
	diff, adopt, discard, dry, yes, json bool
}

// rederive derives past calls once more, and shows, adopts or discards that.
func rederive(ctx context.Context, fs *flag.FlagSet, args []string) error {
	o, err := rederiveFlags(fs, args)
	if err != nil {
		return err
	}
	r, err := newReach()
	if err != nil {
		return err
	}
	defer r.close()
	p := &app.Platform{Config: r.cfg, Log: zap.NewNop()}
	if p.Store, err = r.store(ctx); err != nil {
		return err
	}
	if err := known(ctx, p.Store, o.Tenant); err != nil {
		return err
	}
	if p.Bus, err = r.bus(ctx); err != nil {
		return err
	}
	p.Vault = r.vault
	if o.diff || o.adopt || o.discard {
		return o.run(ctx, p)
	}
	if r.cfg.OpenAIKey == "" && r.cfg.OpenAIBaseURL == "" {
		model, err := simulated.StartOpenAI(simulated.OpenAIOptions{})
		if err != nil {
			return err
		}
		defer model.Close()
		p.Config.OpenAIKey, p.Config.OpenAIBaseURL = "simulated", model.URL()
		fmt.Fprintln(os.Stderr, "the model is simulated: there is no OPENAI_API_KEY")
	}
	return o.derive(ctx, p)
}

func rederiveFlags(fs *flag.FlagSet, args []string) (o rederiving, err error) {
	tenant := fs.Int("tenant", 0, "customer_id of the calls")
	fs.Var((*words)(&o.Calls), "call", "a call, CA…; may be given more than once")
	caller := fs.String("caller", "", "calls of this caller only, +1… or legacy:…")
	since := fs.String("since", "", "calls that began at this time or later, as in 2026-01-31 or 2026-01-31T15:04:05Z")
	until := fs.String("until", "", "calls that began before this time")
	prompt := fs.String("prompt", "", "file with the prompt to use in the place of the summarizer's own")
	fs.StringVar(&o.Model, "model", "", "model to ask (default OPENAI_MODEL; without -prompt and -model, answers that are kept are only gone through once more)")
	fs.StringVar(&o.Run, "run", "", "name of the run, to go on with it, compare, adopt or discard it (default: made of prompt and model)")
	fs.Float64Var(&o.PriceIn, "price-in", 0, "dollars for a million tokens the model reads; 0: not known")
	fs.Float64Var(&o.PriceOut, "price-out", 0, "dollars for a million tokens the model writes; 0: not known")
	fs.IntVar(&o.Parallel, "parallel", 4, "calls at a time")
	fs.BoolVar(&o.dry, "dry-run", false, "show how many calls, tokens and dollars it would be, and stop")
	fs.BoolVar(&o.yes, "yes", false, "do not ask before the model is asked")
	fs.BoolVar(&o.diff, "diff", false, "show what adopting the run would change")
	fs.BoolVar(&o.adopt, "adopt", false, "make what the run derived the newest summary of its calls, or of those named by -call")
	fs.BoolVar(&o.discard, "discard", false, "forget the run; its name is free again ten minutes later")
	fs.BoolVar(&o.json, "json", false, "print JSON")
	if err := parse(fs, args); err != nil {
		return o, err
	}
	if err := o.check(*tenant); err != nil {
		return o, err
	}
	o.Tenant = events.Tenant(*tenant)
	if *caller != "" {
		if o.Caller, err = settings.Caller(*caller); err != nil {
			return o, wrongf("neurosphere rederive: -caller: %w", err)
		}
	}
	for name, at := range map[string]struct {
		given string
		to    *time.Time
	}{"-since": {*since, &o.Since}, "-until": {*until, &o.Until}} {
		if *at.to, err = moment(at.given); err != nil {
			return o, wrongf("neurosphere rederive: %s: %w", name, err)
		}
	}
	if !o.Since.IsZero() && !o.Until.IsZero() && !o.Since.Before(o.Until) {
		return o, wrongf("neurosphere rederive: -since is not before -until")
	}
	o.Prompt, err = readPrompt(*prompt)
	return o, err
}

// check finds what is wrong with a combination of flags.
func (o rederiving) check(tenant int) error {
	one := 0
	for _, b := range []bool{o.diff, o.adopt, o.discard} {
		if b {
			one++
		}
	}
	switch {
	case tenant < 0 || tenant == 0 && one == 0:
		return wrongf("neurosphere rederive: -tenant is needed")
	case !summarizer.RunName(o.Run):
		return wrongf("neurosphere rederive: -run: want letters, digits, - _ and ., at most 64, got %q", o.Run)
	case one > 1:
		return wrongf("neurosphere rederive: one of -diff, -adopt and -discard")
	case one == 1 && o.Run == "":
		return wrongf("neurosphere rederive: which -run?")
	case !(o.PriceIn >= 0 && o.PriceIn <= maxPrice) || !(o.PriceOut >= 0 && o.PriceOut <= maxPrice) || o.Parallel < 1 || o.Parallel > 64:
		return wrongf("neurosphere rederive: prices are 0 to 1000000, and -parallel is 1 to 64")
	}
	return nil
}

// moment reads a day or a time; the zero time of nothing.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("want a time such as 2026-01-31 or 2026-01-31T15:04:05Z, got %q", s)
}

func readPrompt(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "", wrongf("-prompt: %w", err)
	case len(raw) > maxPrompt || strings.TrimSpace(string(raw)) == "":
		return "", wrongf("-prompt: the file has %d bytes; want 1 to %d", len(raw), maxPrompt)
	}
	return strings.TrimSpace(string(raw)), nil
}

// derive shows what it would be, asks, and does it.
func (o rederiving) derive(ctx context.Context, p *app.Platform) error {
	o.Progress = everySecond("calls")
	o.Failed = func(call string, err error) { fmt.Fprintf(os.Stderr, "call %s: %v\n", call, err) }
	r, err := summarizer.Rederive(ctx, p, o.RederiveOptions)
	if err != nil {
		return err
	}
	plan := r.Plan()
	if o.json && o.dry {
		return printJSON(plan)
	}
	printPlan(os.Stderr, plan)
	if o.dry || plan.Calls == 0 {
		return nil
	}
	if !o.yes && !consents(os.Stdin, os.Stderr) {
		return errors.New("nothing was asked of the model")
	}
	d, err := r.Derive(ctx)
	if ctx.Err() != nil {
		return errors.New("stopped; the same command goes on where it was")
	}
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(d)
	} else {
		fmt.Printf("run %s: %d calls derived, the model asked about %d (%d tokens read, %d written%s), %d failed\n", d.Run, d.Calls, d.Asked, d.TokensIn, d.TokensOut, dollars(d.Dollars), d.Failed)
		fmt.Printf("neurosphere rederive -tenant %s -run %s -diff shows what would change, -adopt changes it\n", o.Tenant, d.Run)
	}
	if err == nil && d.Failed > 0 {
		err = fmt.Errorf("%d calls failed; the same command tries them again", d.Failed)
	}
	return err
}

func printPlan(w io.Writer, p summarizer.Plan) {
	fmt.Fprintf(w, "run %s: %d calls to derive, %d are done", p.Run, p.Calls, p.Done)
	fmt.Fprintf(w, "; about %d tokens to read and %d to write%s", p.TokensIn, p.TokensOut, dollars(p.Dollars))
	if p.Guessed > 0 {
		fmt.Fprintf(w, "; of %d calls that is not known, and they are taken for average ones", p.Guessed)
	}
	fmt.Fprintln(w)
}

func dollars(d float64) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(", $%.4f", d)
}

// consents asks whoever sits there; nobody there is no consent.
func consents(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "Ask the model? [y/N] ")
	said, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && said == "" {
		fmt.Fprintln(out)
	}
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(said)))
}

// everySecond tells how far something has come.
func everySecond(what string) func(done, of int) {
	var told time.Time
	return func(done, of int) {
		if time.Since(told) >= time.Second || done == of {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "%d of %d %s\n", done, of, what)
		}
	}
}

// run shows, adopts or discards a run: of one tenant, or of all that have it.
func (o rederiving) run(ctx context.Context, p *app.Platform) error {
	tenants := []events.Tenant{o.Tenant}
	if o.Tenant == 0 {
		var err error
		if tenants, err = p.Store.Tenants(ctx); err != nil {
			return err
		}
	}
	found := false
	for _, t := range tenants {
		of := o
		of.Tenant = t
		r, err := summarizer.OpenRun(ctx, p, of.RederiveOptions)
		if err != nil {
			return err
		}
		if r.Empty() {
			continue
		}
		found = true
		if err := of.settle(ctx, r); err != nil {
			return fmt.Errorf("customer %s: %w", t, err)
		}
	}
	if !found {
		return fmt.Errorf("there is no run %s of these calls", o.Run)
	}
	return nil
}

func (o rederiving) settle(ctx context.Context, r *summarizer.Rederivation) error {
	switch {
	case o.diff:
		return o.show(r.Diff())
	case o.discard:
		n, err := r.Discard(ctx)
		fmt.Fprintf(os.Stderr, "customer %s: what run %s derived of %d calls is forgotten\n", o.Tenant, o.Run, n)
		return err
	}
	a, err := r.Adopt(ctx)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(a)
	} else {
		fmt.Printf("customer %s: %d calls adopted, %d were before\n", o.Tenant, a.Adopted, a.Before)
	}
	if err == nil && len(a.Outdated) > 0 {
		err = fmt.Errorf("of %d calls a newer revision has been adopted since, and they stay as they are: %s", len(a.Outdated), strings.Join(a.Outdated, " "))
	}
	return err
}

// show prints what a run would change.
func (o rederiving) show(all []summarizer.CallDiff) error {
	total := summarizer.Total(all)
	if o.json {
		enc := json.NewEncoder(os.Stdout)
		enc.SetEscapeHTML(false)
		for _, d := range all {
			if err := enc.Encode(map[string]any{"customer_id": o.Tenant, "call": d}); err != nil {
				return err
			}
		}
		return enc.Encode(map[string]any{"customer_id": o.Tenant, "total": total})
	}
	for _, d := range all {
		fmt.Printf("%s  revision %d, %s\n", d.Call, d.Revision, d.State)
		for _, c := range d.Changes {
			name := c.Field
			if c.Subject != "" && c.Subject != "caller" {
				name += " (" + c.Subject + ")"
			}
			if c.Was != "" {
				fmt.Printf("    - %-24s %s\n", name, c.Was)
			}
			if c.Is != "" {
				fmt.Printf("    + %-24s %s\n", name, c.Is)
			}
		}
	}
	fmt.Printf("customer %s: %d calls, %d would change; findings: %d added, %d removed, %d changed; summaries: %d%s\n",
		o.Tenant, total.Calls, total.Changing, total.Added, total.Removed, total.Changed, total.Summaries, dollars(float64(total.Micros)/1e6))
	return nil
}
