package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
)

// apartTest is a running apartment and what its test needs of it.
type apartTest struct {
	*apartment
	t    *testing.T
	cfg  app.Config
	bus  *bus.Bus
	rows *store.Store
}

// startApart builds the programs and runs them apart until the test ends.
func startApart(t *testing.T, first, chunk time.Duration) *apartTest {
	t.Helper()
	root := filepath.Join("..", "..")
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/...", "github.com/nats-io/nats-server/v2")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	a := &apartment{
		dir: t.TempDir(), bin: bin, conf: filepath.Join(root, "nats.conf"), addr: "127.0.0.1:" + ports[0],
		first: first, chunk: chunk, up: sync.OnceFunc(func() { close(up) }), out: io.Discard,
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("apart: %v", err)
		}
	})
	select {
	case <-up:
	case err := <-done:
		done <- nil
		if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
			t.Skipf("needs PostgreSQL: %v", err)
		}
		t.Fatalf("apart: %v", err)
	}
	x := &apartTest{apartment: a, t: t}
	env := map[string]string{}
	for _, kv := range a.env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	if x.cfg, err = app.LoadConfig(func(k string) string { return env[k] }); err != nil {
		t.Fatal(err)
	}
	if x.bus, err = bus.Open(t.Context(), bus.Options{URL: x.cfg.NATSURL}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.bus.Close)
	if x.rows, err = store.Open(t.Context(), x.cfg.DatabaseURL, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.rows.Close)
	return x
}

func (x *apartTest) until(what string, ok func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("not within 3 min: %s", what)
		}
	}
}

func (x *apartTest) tenant(name, number string, set map[string]string) events.Settings {
	x.t.Helper()
	set["numbers"] = number
	made, _, err := createTenant(x.t.Context(), x.rows, name, "insurance_v1", set)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := settings.Publish(x.t.Context(), x.rows, x.bus); err != nil {
		x.t.Fatal(err)
	}
	x.until("both ingresses know "+name, func() bool {
		for range 6 { // the proxy takes turns
			r := simulated.Call(x.t.Context(), x.options("+12065550000", number, nil), nil)
			if r.Err != nil || r.Refused != "" {
				return false
			}
		}
		return true
	})
	return made
}

func (x *apartTest) options(from, to string, turns []string) simulated.CallOptions {
	return simulated.CallOptions{
		URL: "http://" + x.addr, PublicURL: x.cfg.PublicURL, AccountSID: x.cfg.TwilioAccountSID, AuthToken: x.cfg.TwilioAuthToken,
		From: from, To: to, Turns: turns, Reconnect: true, Patience: 60 * time.Second,
	}
}

// kill ends a process as a crash would; it is started again by itself.
func (x *apartTest) kill(name string) bool {
	raw, err := os.ReadFile(filepath.Join(x.dir, "pids", name))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
	return err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// killing kills one of names again and again until stopped, and counts.
func (x *apartTest) killing(every time.Duration, n *atomic.Int64, names ...string) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(every/2 + rand.N(every)):
				// In turns, so that the one killed before has had time to come back.
				if x.kill(names[int(n.Load())%len(names)]) {
					n.Add(1)
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

// story is what a caller says, long enough to be killed in.
func story(i int) []string {
	names := []string{"Ada Byron", "Grace Hopper", "Alan Mathison", "Edsger Wybe", "Barbara Jane"}
	return []string{
		"Hello, my name is " + names[i%len(names)] + " and I am calling about my policy.",
		"My car is a 2019 Toyota Corolla and it was parked on Cedar Street when a branch fell on it.",
		"It happened on Tuesday evening during the storm, and nobody was hurt.",
		"The windshield is broken and the roof has a dent about as long as my arm.",
		"I would like to know what I have to do next and which papers you need from me.",
	}
}

// facts counts the facts of each call, by name.
func (x *apartTest) facts() map[string]map[string]int {
	x.t.Helper()
	s := served{Platform: &app.Platform{Bus: x.bus}, t: x.t}
	return byCall(s.log())
}

func fromEnv(name string, otherwise int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return otherwise
}

// Callers get every answer whole, whatever dies behind it. CALLS at a time are
// made again until conversation workers have been killed KILLS times.
func TestApartSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	n, kills := fromEnv("CALLS", 40), fromEnv("KILLS", 5)
	x := startApart(t, 50*time.Millisecond, 20*time.Millisecond)
	to := []string{"+12065550110", "+12065550120"}
	a := x.tenant("Tenant Alpha", to[0], map[string]string{"sms_to": "+12065550101,+12065550102"})
	b := x.tenant("Tenant Beta", to[1], map[string]string{"sms_to": "+12065550101"})

	// In calm the stand-in says the same words to the same story.
	calm := map[string][]simulated.TurnResult{}
	for i := range 10 {
		r := simulated.Call(t.Context(), x.options(fmt.Sprintf("+1206555%04d", 9000+i), to[i%2], story(i)), nil)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		calm[fmt.Sprint(i%2, i%5)] = r.Turns
	}
	play := func(round int) (results []simulated.CallResult) {
		var calls []simulated.CallOptions
		for i := range n {
			calls = append(calls, x.options(fmt.Sprintf("+1206%03d%04d", 300+round, i), to[i%2], story(i)))
		}
		return simulated.PlayMany(t.Context(), calls, n, nil)
	}

	var ids []string
	tenantOf := map[string]events.Settings{}
	note := func(results []simulated.CallResult) {
		for i, r := range results {
			ids = append(ids, r.CallSID)
			tenantOf[r.CallSID] = []events.Settings{a, b}[i%n%2]
		}
	}

	t.Run("conversation", func(t *testing.T) {
		var killed, others atomic.Int64
		stop := x.killing(800*time.Millisecond, &killed, "conversation-1", "conversation-2")
		stopOthers := x.killing(900*time.Millisecond, &others, "summarizer-1", "summarizer-2", "profiler-1", "profiler-2", "notifier-1", "notifier-2")
		var results []simulated.CallResult
		for round := 0; int(killed.Load()) < kills; round++ {
			results = append(results, play(round)...)
		}
		stop()
		stopOthers()
		t.Logf("%d calls, %d at a time, conversation killed %d times, the others %d times", len(results), n, killed.Load(), others.Load())
		note(results)
		var waits []time.Duration
		for i, r := range results {
			if r.Err != nil {
				t.Errorf("call %d: %v", i, r.Err)
			}
			for k, turn := range r.Turns {
				want := calm[fmt.Sprint(i%n%2, i%n%5)][k].Heard
				if strings.Join(strings.Fields(turn.Heard), " ") != strings.Join(strings.Fields(want), " ") {
					t.Errorf("call %d turn %d:\nheard %q\nwant  %q", i, k+1, turn.Heard, want)
				}
				waits = append(waits, max(turn.First, turn.Gap))
			}
		}
		slices.Sort(waits)
		t.Logf("longest wait for the next word in a turn: p50 %v, p95 %v, max %v", waits[len(waits)/2], waits[len(waits)*95/100], waits[len(waits)-1])
	})
	t.Run("ingress", func(t *testing.T) {
		var killed atomic.Int64
		// Whoever has lost more than five sockets is given to a person: the more
		// calls, the longer all of them take.
		stop := x.killing(1100*time.Millisecond+time.Duration(n)*7*time.Millisecond, &killed, "ingress-1", "ingress-2")
		results := play(100)
		stop()
		t.Logf("%d calls, ingress killed %d times", n, killed.Load())
		note(results)
		again := 0
		for i, r := range results {
			again += r.Reconnects
			if r.Err != nil || len(r.Turns) != 5 {
				t.Errorf("call %d: %d turns, err %v", i, len(r.Turns), r.Err)
			}
			for k, turn := range r.Turns {
				if !turn.Answered {
					t.Errorf("call %d turn %d: unanswered, heard %q", i, k+1, turn.Heard)
				}
			}
		}
		t.Logf("callers reconnected %d times", again)
	})
	t.Run("everything arrives once", func(t *testing.T) {
		want := func(id string) map[string]int {
			return map[string]int{
				"call.received": 1, "call.answered": 1, "call.ended": 1, "call.summarized": 1, "turn.heard": 5,
				"sms.requested": len(tenantOf[id].SMSTo), "sms.sent": len(tenantOf[id].SMSTo),
			}
		}
		var got map[string]map[string]int
		missing := "nothing"
		for deadline := time.Now().Add(3 * time.Minute); missing != "" && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			got, missing = x.facts(), ""
			for _, id := range ids {
				for name, n := range want(id) {
					if got[id][name] < n {
						missing = fmt.Sprintf("call %s: %d × %s, want %d", id, got[id][name], name, n)
					}
				}
			}
		}
		for _, id := range ids {
			for name, n := range want(id) {
				if got[id][name] != n {
					t.Errorf("call %s: %d × %s, want %d", id, got[id][name], name, n)
				}
			}
		}
		texts := map[string]int{}
		resp, err := http.Get(x.cfg.TwilioAPIURL + "/_simulated/messages")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			texts["#"+id[len(id)-6:]] += len(tenantOf[id].SMSTo)
		}
		for mark, want := range texts {
			if got := strings.Count(string(raw), mark); got != want {
				t.Errorf("calls %s: Twilio sent %d texts, want %d", mark, got, want)
			}
		}
	})
}

// Calls are answered while the database or the bus is away, and everything
// arrives afterwards.
func TestApartSurvivesOutages(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	outage := 10 * time.Second
	if v, err := time.ParseDuration(os.Getenv("OUTAGE")); err == nil {
		outage = v
	}
	x := startApart(t, 20*time.Millisecond, 20*time.Millisecond)
	const to = "+12065550110"
	tenant := x.tenant("Tenant Alpha", to, map[string]string{"sms_to": "+12065550101"})
	var ids []string
	// during plays calls for as long as the outage lasts.
	during := func(round int, end func() bool) {
		for i := 0; !end(); i++ {
			var calls []simulated.CallOptions
			for k := range 10 {
				calls = append(calls, x.options(fmt.Sprintf("+120655%d%d%03d", 7+round, i%10, k), to, story(k)))
			}
			for k, r := range simulated.PlayMany(t.Context(), calls, 10, nil) {
				ids = append(ids, r.CallSID)
				if r.Err != nil || r.Refused != "" || len(r.Turns) != 5 {
					t.Errorf("call %d: %d turns, refused %q, err %v", k, len(r.Turns), r.Refused, r.Err)
				}
				for n, turn := range r.Turns {
					if !turn.Answered || strings.TrimSpace(turn.Heard) == "" {
						t.Errorf("call %d turn %d: silence (%q)", k, n+1, turn.Heard)
					}
				}
			}
		}
	}
	t.Run("postgres", func(t *testing.T) {
		if err := x.pg.Stop(); err != nil {
			t.Fatal(err)
		}
		back := time.Now().Add(outage)
		during(0, func() bool { return time.Now().After(back) })
		again, err := store.StartPrivate(context.WithoutCancel(t.Context()), filepath.Join(x.dir, "postgres"), nil)
		if err != nil {
			t.Fatal(err)
		}
		x.t.Cleanup(func() { _ = again.Stop() })
	})
	t.Run("nats", func(t *testing.T) {
		hold := filepath.Join(x.dir, "pids", "nats.hold")
		if err := os.WriteFile(hold, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		down := time.AfterFunc(time.Second, func() { x.kill("nats") })
		defer down.Stop()
		up := time.AfterFunc(time.Second+outage, func() { _ = os.Remove(hold) })
		defer up.Stop()
		back := time.Now().Add(outage + time.Second)
		during(1, func() bool { return time.Now().After(back) })
	})
	t.Logf("%d calls", len(ids))
	want := map[string]int{"call.received": 1, "call.answered": 1, "call.ended": 1, "call.summarized": 1, "turn.heard": 5, "sms.requested": 1, "sms.sent": 1}
	missing := "nothing"
	var got map[string]map[string]int
	for deadline := time.Now().Add(3 * time.Minute); missing != "" && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, missing = x.facts(), ""
		for _, id := range ids {
			for name, n := range want {
				if got[id][name] < n {
					missing = fmt.Sprintf("call %s: %d × %s, want %d", id, got[id][name], name, n)
				}
			}
		}
	}
	if missing != "" {
		t.Error(missing)
	}
	for _, id := range ids {
		for name, n := range want {
			if got[id][name] > n {
				t.Errorf("call %s: %d × %s, want %d", id, got[id][name], name, n)
			}
		}
	}
	rows, err := x.rows.For(tenant.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	x.until("every call is a row", func() bool {
		list, err := rows.Calls(t.Context(), 10000)
		n := 0
		for _, c := range list {
			if c.Summary != nil && slices.Contains(ids, c.ID) {
				n++
			}
		}
		return err == nil && n == len(ids)
	})
}
