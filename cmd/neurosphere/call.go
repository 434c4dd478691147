package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
)

// call plays Twilio and the caller against a running instance.
func call(ctx context.Context, fs *flag.FlagSet, args []string) error {
	to := fs.String("to", "", "number called, +1…")
	from := fs.String("from", "", "number calling, +1…")
	script := fs.String("script", "", "JSON Lines of {call_id, turns}; #call_id picks one, else all are played")
	at := fs.String("url", "", "where the instance is (default PUBLIC_URL)")
	speak := fs.Int("speak", 0, "characters of the agent's words spoken per second; 0: at once")
	parallel := fs.Int("parallel", 1, "calls at a time")
	reconnect := fs.Bool("reconnect", true, "reconnect when the socket is lost, as Twilio does")
	asJSON := fs.Bool("json", false, "print one JSON object per call")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *to == "" || *from == "" || *script == "" {
		return wrongf("neurosphere call: -to, -from and -script are needed; see -h")
	}
	if err := callable(*to, *at, *speak, *parallel); err != nil {
		return err
	}
	scripts, err := simulated.ReadScript(*script)
	if err != nil {
		return wrongf("neurosphere call: -script: %w", err)
	}
	cfg, err := app.LoadConfig(os.Getenv)
	if err != nil {
		return app.Wrong(err)
	}
	acct := app.SimulatedAccount{AccountSID: cfg.TwilioAccountSID, AuthToken: cfg.TwilioAuthToken}
	if acct.AuthToken == "" {
		if acct, err = app.Simulated(cfg.DataDir); err != nil {
			return err
		}
	}
	if *at == "" {
		*at = cfg.PublicURL
	}
	var calls []simulated.CallOptions
	for _, s := range scripts {
		calls = append(calls, simulated.CallOptions{
			URL: *at, PublicURL: cfg.PublicURL, AccountSID: acct.AccountSID, AuthToken: acct.AuthToken,
			From: *from, To: *to, Turns: s.Turns, Speak: *speak, Reconnect: *reconnect,
		})
	}
	watch := transcript(os.Stdout)
	if *asJSON || *parallel > 1 {
		watch = nil
	}
	failed := 0
	for i, r := range simulated.PlayMany(ctx, calls, *parallel, watch) {
		if r.Err != nil {
			failed++
		}
		if err := printCall(os.Stdout, scripts[i].CallID, r, *asJSON); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d calls failed", failed, len(calls))
	}
	return nil
}

// callable refuses what no call can be made of.
func callable(to, at string, speak, parallel int) error {
	if _, err := settings.Number(to); err != nil {
		return wrongf("neurosphere call: -to: %w", err)
	}
	if u, err := url.Parse(at); at != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return wrongf("neurosphere call: -url: want http(s)://host, got %q", at)
	}
	if speak < 0 || parallel < 1 {
		return wrongf("neurosphere call: -speak is 0 or more, and -parallel 1 or more")
	}
	return nil
}

// transcript prints what is said as it is said.
func transcript(w io.Writer) func(simulated.CallEvent) {
	return func(e simulated.CallEvent) {
		switch e.Kind {
		case simulated.EventAgent:
			fmt.Fprintf(w, "    agent   %s%s\n", e.Text, timing(e.First))
		case simulated.EventCaller:
			fmt.Fprintf(w, "    caller  %s\n", e.Text)
		case simulated.EventNote:
			fmt.Fprintf(w, "    ——      %s\n", e.Text)
		}
	}
}

func timing(first time.Duration) string {
	if first <= 0 {
		return ""
	}
	return fmt.Sprintf("   (first word after %.1f ms)", float64(first.Microseconds())/1000)
}

func printCall(w io.Writer, id string, r simulated.CallResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Script string `json:"script"`
			simulated.CallResult
			Error string `json:"error,omitempty"`
		}{id, r, errText(r.Err)})
	}
	state := "ok"
	if r.Err != nil {
		state = r.Err.Error()
	}
	var slow []string
	for _, t := range r.Turns {
		slow = append(slow, fmt.Sprintf("%.1f", float64(t.First.Microseconds())/1000))
	}
	_, err := fmt.Fprintf(w, "%s %s: %s; first words after %s ms\n", id, r.CallSID, state, strings.Join(slow, " "))
	return err
}

func errText(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	return err.Error()
}
