package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

// served is a running instance of the whole platform.
type served struct {
	*app.Platform
	t    *testing.T
	stop func() // and wait
}

// serveAll runs every worker in this process, on a database and a bus of its
// own, until the test ends.
func serveAll(t *testing.T, env map[string]string) *served {
	t.Helper()
	return serveIn(t, t.TempDir(), env)
}

func serveIn(t *testing.T, dir string, env map[string]string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, down := make(chan *app.Platform, 1), make(chan error, 1)
	o := options(workers())
	o.Log = zap.NewNop()
	o.Getenv = func(k string) string {
		switch k {
		case "DATA_DIR":
			return dir
		case "LISTEN_ADDR":
			return "127.0.0.1:0"
		case "DRAIN_SECONDS":
			return "1"
		}
		return env[k]
	}
	o.Started = func(_ context.Context, p *app.Platform) error { up <- p; return nil }
	go func() { down <- app.Run(ctx, o) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-down; err != nil {
				t.Errorf("stopping: %v", err)
			}
		})
	}
	select {
	case p := <-up:
		t.Cleanup(stop)
		return &served{Platform: p, t: t, stop: stop}
	case err := <-down:
		cancel()
		if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
			t.Skipf("needs PostgreSQL: %v", err)
		}
		t.Fatalf("serve: %v", err)
	case <-time.After(60 * time.Second):
		cancel()
		t.Fatal("serve: not up after 60 s")
	}
	return nil
}

// tenant makes a business that is live.
func (s *served) tenant(name, number string, set map[string]string) events.Settings {
	s.t.Helper()
	all := map[string]string{"numbers": number}
	for k, v := range set {
		all[k] = v
	}
	made, _, err := createTenant(s.t.Context(), s.Store, name, "insurance_v1", all)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := settings.Publish(s.t.Context(), s.Store, s.Bus); err != nil {
		s.t.Fatal(err)
	}
	// Ingress watches the bucket: the first call may come before it has seen it.
	s.until("tenant "+name+" is live", func() bool {
		r := s.play(simulated.CallOptions{From: "+12065550000", To: number})
		return r.Refused == ""
	})
	return made
}

func (s *served) options(o simulated.CallOptions) simulated.CallOptions {
	o.URL, o.PublicURL = "http://"+s.Addr, s.Config.PublicURL
	o.AccountSID, o.AuthToken = s.Config.TwilioAccountSID, s.Config.TwilioAuthToken
	return o
}

func (s *served) play(o simulated.CallOptions) simulated.CallResult {
	return simulated.Call(s.t.Context(), s.options(o), nil)
}

// until polls for something that has to become true.
func (s *served) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within 60 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// log is every fact stored, as it is now.
func (s *served) log() []events.Event {
	s.t.Helper()
	last, err := s.Bus.LastSeq(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var out []events.Event
	enough := errors.New("read to the end")
	filters := make([]string, 0, len(events.Nouns))
	for _, n := range events.Nouns {
		filters = append(filters, "tenant.*."+n+".*")
	}
	err = s.Bus.Follow(s.t.Context(), 1, filters, func(_ context.Context, batch []events.Event) error {
		out = append(out, batch...)
		if batch[len(batch)-1].Seq >= last {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		s.t.Fatal(err)
	}
	return out
}

// counts of facts by call and name.
func byCall(all []events.Event) map[string]map[string]int {
	out := map[string]map[string]int{}
	for _, e := range all {
		if e.Call == "" {
			continue
		}
		if out[e.Call] == nil {
			out[e.Call] = map[string]int{}
		}
		out[e.Call][e.Fact.Name()]++
	}
	return out
}

// data reads real conversations, which are not part of this repository.
func data(t *testing.T, name string) []simulated.Script {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no real conversations to play: %s is not there", path)
	}
	scripts, err := simulated.ReadScript(path)
	if err != nil {
		t.Fatal(err)
	}
	return scripts
}

// Every real call leaves the facts it should, once each, in its own tenant.
func TestRealCallsOfTwoTenants(t *testing.T) {
	t.Parallel()
	scripts := append(data(t, "insurance-claims.jsonl"), data(t, "service-dialogues.jsonl")[:200]...)
	if testing.Short() {
		scripts = scripts[:40]
	}
	s := serveAll(t, nil)
	texts := []string{"+12065550101", "+12065550102"}
	a := s.tenant("Tenant Alpha", "+12065550110", map[string]string{"sms_to": strings.Join(texts, ","), "agent": "Alma"})
	b := s.tenant("Tenant Beta", "+12065550120", map[string]string{"sms_to": texts[0], "agent": "Bert"})
	var calls []simulated.CallOptions
	for i, script := range scripts {
		to := []string{a.Numbers[0], b.Numbers[0]}[i%2]
		// The same callers phone both.
		from := fmt.Sprintf("+1206555%04d", 1000+i/2)
		calls = append(calls, s.options(simulated.CallOptions{From: from, To: to, Turns: script.Turns, Reconnect: true}))
	}
	results := simulated.PlayMany(t.Context(), calls, 20, nil)
	for i, r := range results {
		if r.Err != nil || r.Refused != "" || r.Unsaid > 0 {
			t.Errorf("call %d: err %v, refused %q, unsaid %d", i, r.Err, r.Refused, r.Unsaid)
		}
		for n, turn := range r.Turns {
			if !turn.Answered || strings.TrimSpace(turn.Heard) == "" {
				t.Errorf("call %d turn %d: no answer", i, n+1)
			}
		}
	}
	wantTexts := map[events.Tenant]int{a.Tenant: 2, b.Tenant: 1}
	tenantOf := map[string]events.Tenant{}
	for i, r := range results {
		tenantOf[r.CallSID] = []events.Tenant{a.Tenant, b.Tenant}[i%2]
	}
	var all []events.Event
	s.until("every call is summarized and told", func() bool {
		all = s.log()
		c := byCall(all)
		for id, tenant := range tenantOf {
			if c[id]["call.summarized"] == 0 || c[id]["sms.sent"] < wantTexts[tenant] {
				return false
			}
		}
		return true
	})
	c := byCall(all)
	for i, r := range results {
		got := c[r.CallSID]
		for name, n := range map[string]int{
			"call.received": 1, "call.answered": 1, "call.ended": 1, "call.summarized": 1,
			"turn.heard": len(calls[i].Turns), "sms.sent": wantTexts[tenantOf[r.CallSID]],
		} {
			if name == "sms.sent" {
				// A caller may have asked for a text of his own.
				got[name] -= got["sms.requested"] - wantTexts[tenantOf[r.CallSID]]
			}
			if got[name] != n {
				t.Errorf("call %d: %d × %s, want %d", i, got[name], name, n)
			}
		}
	}
	for _, e := range all {
		if want, ours := tenantOf[e.Call]; ours && e.Tenant != want {
			t.Errorf("%s of tenant %s's call is tenant %s's", e.Fact.Name(), want, e.Tenant)
		}
	}
	s.until("every row is there", func() bool {
		n := 0
		for _, tenant := range []events.Tenant{a.Tenant, b.Tenant} {
			rows, err := s.Store.For(tenant)
			if err != nil {
				t.Fatal(err)
			}
			list, err := rows.Calls(t.Context(), 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range list {
				if want, ours := tenantOf[call.ID]; ours {
					if want != tenant {
						t.Fatalf("call of tenant %s is a row of tenant %s", want, tenant)
					}
					if call.Summary != nil {
						n++
					}
				}
			}
		}
		return n == len(results)
	})
}
