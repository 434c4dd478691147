package main

import (
	"context"
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

//go:embed demo
var demoFiles embed.FS

// demo serves two demo businesses and places calls to them.
func demo(ctx context.Context, fs *flag.FlagSet, args []string) error {
	once := fs.Bool("once", false, "stop when the calls have flowed through")
	if err := parse(fs, args); err != nil {
		return err
	}
	began := time.Now()
	fmt.Println("NeuroSphere demo: two businesses, one process, nothing mocked but the vendors.")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o := options(workers())
	log, err := fileLog(os.Getenv("DATA_DIR"))
	if err != nil {
		return err
	}
	o.Log = log
	var failed error
	o.Started = func(ctx context.Context, p *app.Platform) error {
		fmt.Printf("Everything is up after %.1f s on http://%s (logs: %s)\n", time.Since(began).Seconds(), p.Addr, filepath.Join(p.Config.DataDir, "demo.log"))
		failed = (&demonstration{p: p, out: os.Stdout}).run(ctx)
		if failed != nil || *once {
			stop()
			return nil
		}
		fmt.Printf("\nStill answering on http://%s/twilio/voice. Try, in another terminal:\n  bin/neurosphere tenant list\n  bin/neurosphere call -to +12065550142 -from +12065550150 -script cmd/neurosphere/demo/calls.jsonl#insurance-first\nCtrl-C stops.\n", p.Addr)
		return nil
	}
	if err := app.Run(ctx, o); err != nil {
		return err
	}
	return failed
}

// fileLog keeps the processes' logs out of the demonstration.
func fileLog(dir string) (*zap.Logger, error) {
	if dir == "" {
		dir = "data"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "demo.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(f), zapcore.InfoLevel)), nil
}

type demonstration struct {
	p   *app.Platform
	out io.Writer
}

// demoTenant is a business of the demo, as its data file says.
type demoTenant struct {
	Name      string            `json:"name"`
	Agent     string            `json:"agent"`
	Template  string            `json:"template"`
	TimeZone  string            `json:"time_zone"`
	Numbers   []string          `json:"numbers"`
	SMSTo     []string          `json:"sms_to"`
	Greeting  string            `json:"greeting"`
	Returning string            `json:"returning_greeting"`
	Transfers string            `json:"transfers"`
	Set       map[string]string `json:"set"`
}

func (d *demonstration) run(ctx context.Context) error {
	tenants, err := d.tenants(ctx)
	if err != nil {
		return fmt.Errorf("set up the demo businesses: %w", err)
	}
	raw, err := demoFiles.ReadFile("demo/calls.jsonl")
	if err != nil {
		return err
	}
	scripts, err := simulated.ParseScript(raw, "")
	if err != nil {
		return err
	}
	for _, s := range scripts {
		if err := d.call(ctx, tenants[s.To], s); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.out, "\nAll calls have flowed through: answered, summarized, remembered, and told by text, each in its own business.\n")
	return nil
}

// tenants are the demo's businesses by number, made when they are not there.
func (d *demonstration) tenants(ctx context.Context) (map[string]events.Settings, error) {
	raw, err := demoFiles.ReadFile("demo/tenants.json")
	if err != nil {
		return nil, err
	}
	var want []demoTenant
	if err := json.Unmarshal(raw, &want); err != nil {
		return nil, err
	}
	have, err := d.p.Store.ListCustomers(ctx)
	if err != nil {
		return nil, err
	}
	byNumber := map[string]events.Settings{}
	for _, s := range have {
		for _, n := range s.Numbers {
			byNumber[n] = s
		}
	}
	for _, t := range want {
		if _, ok := byNumber[t.Numbers[0]]; ok {
			continue
		}
		set := map[string]string{
			"agent": t.Agent, "time_zone": t.TimeZone, "numbers": strings.Join(t.Numbers, ","), "sms_to": strings.Join(t.SMSTo, ","),
			"greeting": t.Greeting, "returning_greeting": t.Returning, "transfers": t.Transfers,
		}
		for k, v := range t.Set {
			set[k] = v
		}
		made, key, err := createTenant(ctx, d.p.Store, t.Name, t.Template, set)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(d.out, "New business: customer %s, %s, on %s; API key %s\n", made.Tenant, made.Name, made.Numbers[0], key)
		byNumber[t.Numbers[0]] = made
	}
	if err := settings.Publish(ctx, d.p.Store, d.p.Bus); err != nil {
		return nil, err
	}
	return byNumber, nil
}

// call places one call, shows it as it happens, and what came of it.
func (d *demonstration) call(ctx context.Context, t events.Settings, s simulated.Script) error {
	fmt.Fprintf(d.out, "\n── %s's phone rings: %s calls %s ── (simulated caller, simulated model)\n", t.Name, s.From, s.To)
	o := simulated.CallOptions{
		URL: "http://" + d.p.Addr, PublicURL: d.p.Config.PublicURL, AccountSID: d.p.Config.TwilioAccountSID, AuthToken: d.p.Config.TwilioAuthToken,
		From: s.From, To: s.To, Turns: s.Turns, Reconnect: true, Linger: 20 * time.Second,
	}
	var r simulated.CallResult
	// The first call may ring before the new business is known to ingress.
	for range 20 {
		r = simulated.Call(ctx, o, transcript(d.out))
		if r.Refused == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if r.Err != nil {
		return fmt.Errorf("call to %s: %w", t.Name, r.Err)
	}
	if r.Refused != "" || len(r.Turns) == 0 {
		return fmt.Errorf("call to %s was not answered: %s", t.Name, r.Refused)
	}
	return d.came(ctx, t, s, r)
}

// came waits for what the call leads to, and shows it.
func (d *demonstration) came(ctx context.Context, t events.Settings, s simulated.Script, r simulated.CallResult) error {
	rows, err := d.p.Store.For(t.Tenant)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var c store.CallOf
	var texts []store.TextOf
	for {
		c, err = rows.Call(ctx, r.CallSID)
		if err == nil && c.Summary != nil {
			if texts, err = rows.Texts(ctx, r.CallSID); err == nil && arrived(texts) >= len(t.SMSTo) {
				break
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("call %s to %s: summary and texts did not arrive within 60 s (see the log)", r.CallSID, t.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
	known, err := rows.CallerContext(ctx, s.From, 5)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  summary  %s\n", *c.Summary)
	fmt.Fprintf(d.out, "  profile  %s\n", known.QuickBio)
	var fields map[string]struct {
		Value    string `json:"value"`
		Evidence string `json:"evidence"`
	}
	if json.Unmarshal(known.Profile, &fields) == nil {
		for _, path := range sortedKeys(fields) {
			fmt.Fprintf(d.out, "           %-32s %s   (\"%s\")\n", path, fields[path].Value, fields[path].Evidence)
		}
	}
	fmt.Fprintf(d.out, "  lead     %s, after %d call(s)\n", known.Stage, known.Calls)
	for _, x := range texts {
		fmt.Fprintf(d.out, "  text     to %s (%s): %s\n", x.Recipient, x.Purpose, x.Body)
	}
	return nil
}

func arrived(texts []store.TextOf) (n int) {
	for _, t := range texts {
		if t.Purpose == events.PurposeSummary && t.Sent != nil {
			n++
		}
	}
	return n
}
