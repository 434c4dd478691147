package summarizer

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
)

func vendor(t *testing.T, faults ...simulated.Fault) *simulated.OpenAI {
	t.Helper()
	s, err := simulated.StartOpenAI(simulated.OpenAIOptions{Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The program as it is started: what it needs it finds in the environment, and
// a call that ended before it came up is summarized.
func TestRunTakesCallsThatEndedBefore(t *testing.T) {
	t.Parallel()
	db, server, model := testenv.Postgres(t), testenv.Server(t), vendor(t, simulated.Fault{Kind: "500", Times: 2})
	o := &office{Platform: &app.Platform{Bus: server.Bus(t, bus.Options{Name: "test"})}, t: t, set: db.Customer(t, events.Settings{Agent: "Mia", TimeZone: "UTC"})}
	if err := o.Bus.PutSettings(t.Context(), o.set); err != nil {
		t.Fatal(err)
	}
	o.call("CA1", "Hello, my name is Nadia Farouk.")
	env := map[string]string{
		"NATS_URL": server.URL(), "DATABASE_URL": db.URL, "DATA_DIR": t.TempDir(), "LISTEN_ADDR": "127.0.0.1:0",
		"OPENAI_BASE_URL": model.URL(), "OPENAI_API_KEY": "k",
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Options{Workers: []app.Named{{Name: "summarizer", Run: Run}}, Getenv: func(k string) string { return env[k] }, Log: zap.NewNop()})
	}()
	sum := o.only()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(sum.Summary, "Nadia Farouk") || !sum.Producer.Simulated || model.Requests() < 3 {
		t.Errorf("after %d requests: %+v", model.Requests(), sum)
	}
}

// On real calls the caller's own name gets past the gate, and nobody else's.
func TestNamesOfRealCallersGetThroughTheGate(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "insurance-claims.jsonl"))
	if err != nil {
		t.Skipf("no real conversations: %v", err)
	}
	templates, err := store.Templates()
	if err != nil {
		t.Fatal(err)
	}
	o := newOffice(t, testenv.Postgres(t))
	for _, tpl := range templates {
		if tpl.ID == "insurance_v1" {
			o.set.Template = tpl
			o.dir.Apply(o.set, false)
		}
	}
	o.works(newWorker(o.Platform, o.dir, openai.Open(openai.Options{APIKey: "k", BaseURL: vendor(t).URL(), Model: "m"}).JSON))
	type real struct {
		CallID string                        `json:"call_id"`
		Turns  []struct{ Role, Text string } `json:"turns"`
		Gold   map[string][]string           `json:"gold"`
	}
	calls := map[string]real{}
	for line := range bytes.Lines(raw) {
		var c real
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		calls[c.CallID] = c
		first, turn, n := uint64(0), 0, 1
		for _, l := range c.Turns {
			var f events.Fact
			if l.Role == events.RoleCaller {
				turn++
				f = events.TurnHeard{Turn: turn, Text: l.Text}
			} else {
				f = events.TurnSpoken{Turn: max(turn, 1), Text: l.Text}
			}
			seq := o.publish(o.fact(c.CallID, n, f))
			if n++; first == 0 {
				first = seq
			}
		}
		o.end(c.CallID, n, first, turn)
	}
	right, found, refused := 0, 0, map[string]int{}
	for _, e := range o.summaries(len(calls)) {
		f := e.Fact.(events.CallSummarized)
		found += len(f.Findings)
		for _, r := range f.Rejected {
			refused[r.Reason]++
		}
		who := profile.Fold(profile.Input{
			Calls:    []profile.Call{{ID: e.Call, Fact: f}},
			Template: func(string) (events.Template, bool) { return o.set.Template, true },
		}).Name
		gold := calls[e.Call].Gold
		first, last := gold["ContactInfo.Caller-First Name"], gold["ContactInfo.Caller-Last Name"]
		if len(first) > 0 && len(last) > 0 && who == first[0]+" "+last[0] || len(last) == 0 && strings.Contains(who, " ") {
			right++
		}
		for slot, values := range gold {
			if strings.Contains(slot, "Other Driver-") && strings.Contains(slot, "Last Name") && len(values) > 0 && strings.HasSuffix(who, values[0]) {
				t.Errorf("%s: took another driver's name for the caller's", e.Call)
			}
		}
	}
	t.Logf("%d of %d names right, %d findings, refused %v", right, len(calls), found, refused)
	if right < 17 {
		t.Errorf("%d of %d names right, want 17", right, len(calls))
	}
}

// A worker that is told to stop finishes the call it has begun.
func TestStoppingFinishesTheCall(t *testing.T) {
	t.Parallel()
	o := newOffice(t, testenv.Postgres(t))
	m := &says{wait: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	w := newWorker(o.Platform, o.dir, m.ask)
	go func() { done <- bus.Consume(ctx, o.Bus, bus.Consumer{Name: "summarizer"}, w.callEnded) }()
	o.call("CA1", "My name is Ann Lee.")
	until(t, "the model is asked", func() bool { return m.asked.Load() == 1 })
	cancel()
	select {
	case err := <-done:
		t.Fatalf("stopped in the middle of a call: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(m.wait)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if sum := o.summaries(1); m.asked.Load() != 1 || sum[0].Fact.(events.CallSummarized).Summary != "Ann called." {
		t.Errorf("asked %d times: %+v", m.asked.Load(), sum)
	}
}
