package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/simulated"
)

func at(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(int(float64(len(all))*q), len(all)-1)]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkTurnOverhead is what a turn costs beside the model: caller's words in,
// first word out, at 100 calls at once, less the model's own delay. Beside it a
// plain WebSocket echo and a round trip over the same bus, while the calls run.
func BenchmarkTurnOverhead(b *testing.B) {
	const calls, delay = 100, 300 * time.Millisecond
	model, err := simulated.StartOpenAI(simulated.OpenAIOptions{FirstDelay: delay, ChunkDelay: 20 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	defer model.Close()
	s := serveAll(b, map[string]string{"OPENAI_BASE_URL": model.URL(), "OPENAI_API_KEY": "simulated"})
	tenant := s.tenant("Bench", "+12065550110", nil)
	var over, echo, trip []time.Duration
	for b.Loop() {
		quit := make(chan struct{})
		echoed, tripped := make(chan []time.Duration, 1), make(chan []time.Duration, 1)
		go func() { echoed <- echoes(b, quit) }()
		go func() { tripped <- trips(b, s.Bus, tenant.Tenant, quit) }()
		var play []simulated.CallOptions
		for i := range calls {
			play = append(play, s.options(simulated.CallOptions{
				From: fmt.Sprintf("+1206555%04d", i), To: tenant.Numbers[0], Turns: append(story(i), story(i+1)...),
				Think: func(turn int) time.Duration {
					think := time.Duration((i*37+turn*113)%1000) * time.Millisecond
					if turn == 0 {
						think += time.Second // until all have been connected: it is turns we measure
					}
					return think
				},
			}))
		}
		for _, r := range simulated.PlayMany(b.Context(), play, calls, nil) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
			for _, t := range r.Turns {
				over = append(over, t.First)
			}
		}
		close(quit)
		echo, trip = append(echo, <-echoed...), append(trip, <-tripped...)
	}
	for i := range over {
		over[i] = max(over[i]-model.Delay(), 0)
	}
	b.ReportMetric(ms(at(over, .5)), "ms-turn-p50")
	b.ReportMetric(ms(at(over, .99)), "ms-turn-p99")
	b.ReportMetric(ms(at(echo, .5)), "ms-echo-p50")
	b.ReportMetric(ms(at(echo, .99)), "ms-echo-p99")
	b.ReportMetric(ms(at(trip, .5)), "ms-bus-p50")
	b.ReportMetric(ms(at(trip, .99)), "ms-bus-p99")
	b.ReportMetric(ms(at(over, .5))/(ms(at(echo, .5))+ms(at(trip, .5))), "turn/(echo+bus)")
	b.ReportMetric(0, "ns/op")
}

// echoes are round trips over a WebSocket to a server that does nothing else.
func echoes(b *testing.B, quit chan struct{}) (out []time.Duration) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for {
			kind, raw, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, raw) != nil {
				return
			}
		}
	}))
	defer srv.Close()
	c, resp, err := websocket.Dial(b.Context(), srv.URL, nil)
	if err != nil {
		b.Error(err)
		return nil
	}
	if resp.Body != nil {
		defer resp.Body.Close()
	}
	defer c.CloseNow()
	msg := []byte(strings.Repeat("x", 200))
	return every(quit, func() error {
		if err := c.Write(b.Context(), websocket.MessageText, msg); err != nil {
			return err
		}
		_, _, err := c.Read(b.Context())
		return err
	})
}

// trips are requests over the bus that the owner of a call answers at once.
func trips(b *testing.B, by *bus.Bus, t events.Tenant, quit chan struct{}) []time.Duration {
	o, err := by.OwnCall(t, "bench")
	if err != nil {
		b.Error(err)
		return nil
	}
	defer o.Release()
	go func() {
		for {
			select {
			case m := <-o.Messages():
				o.Read(m)
			case <-quit:
				return
			}
		}
	}()
	return every(quit, func() error {
		_, err := by.Control(b.Context(), t, "bench", events.Control{Kind: events.ControlEnded})
		return err
	})
}

func every(quit chan struct{}, f func() error) (out []time.Duration) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return out
		case <-tick.C:
			began := time.Now()
			if f() != nil {
				return out
			}
			out = append(out, time.Since(began))
		}
	}
}

// BenchmarkWebhook is from Twilio's request to TwiML, beside a handler that
// only answers.
func BenchmarkWebhook(b *testing.B) {
	s := serveAll(b, nil)
	tenant := s.tenant("Bench", "+12065550110", nil)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<Response/>") }))
	defer plain.Close()
	var ours, raw []time.Duration
	for i := 0; b.Loop(); i++ {
		form := url.Values{"CallSid": {fmt.Sprintf("CA%032x", i)}, "AccountSid": {s.Config.TwilioAccountSID}, "From": {"+12065550001"}, "To": {tenant.Numbers[0]}, "CallStatus": {"ringing"}}
		began := time.Now()
		if status, body := s.signed("/twilio/voice", form, nil); status != 200 {
			b.Fatal(status, body)
		}
		ours = append(ours, time.Since(began))
		began = time.Now()
		resp, err := http.Post(plain.URL, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		raw = append(raw, time.Since(began))
	}
	b.ReportMetric(ms(at(ours, .5)), "ms-webhook-p50")
	b.ReportMetric(ms(at(ours, .99)), "ms-webhook-p99")
	b.ReportMetric(ms(at(raw, .5)), "ms-plain-p50")
	b.ReportMetric(ms(at(ours, .5))/ms(at(raw, .5)), "webhook/plain")
}

// BenchmarkCallCompletion is from the caller's hanging up to the last text sent,
// beside a fact stored and fetched again on the same bus.
func BenchmarkCallCompletion(b *testing.B) {
	s := serveAll(b, nil)
	tenant := s.tenant("Bench", "+12065550110", map[string]string{"sms_to": "+12065550199"})
	rows, err := s.Store.For(tenant.Tenant)
	if err != nil {
		b.Fatal(err)
	}
	var ours, raw []time.Duration
	for i := 0; b.Loop(); i++ {
		r := s.play(simulated.CallOptions{From: "+12065550001", To: tenant.Numbers[0], Turns: story(i)})
		began := time.Now()
		for {
			texts, err := rows.Texts(b.Context(), r.CallSID)
			if err == nil && arrived(texts) == 1 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		ours = append(ours, time.Since(began))
		began = time.Now()
		seq, err := s.Bus.Publish(b.Context(), events.New(tenant.Tenant, "", time.Now(), events.SMSReceived{SID: fmt.Sprint(i, began.UnixNano()), From: "+1", To: "+1"}))
		if err != nil {
			b.Fatal(err)
		}
		stop := fmt.Errorf("found")
		_ = s.Bus.Follow(b.Context(), seq, []string{"tenant.*.sms.*"}, func(context.Context, []events.Event) error { return stop })
		raw = append(raw, time.Since(began))
	}
	b.ReportMetric(ms(at(ours, .5)), "ms-completion-p50")
	b.ReportMetric(ms(at(ours, .99)), "ms-completion-p99")
	b.ReportMetric(ms(at(raw, .5)), "ms-store-fetch-p50")
	b.ReportMetric(ms(at(ours, .5))/ms(at(raw, .5)), "completion/raw")
}

// BenchmarkIdleCall is the memory a live call holds while nobody speaks. The
// callers are in a process of their own, so that only our side counts.
func BenchmarkIdleCall(b *testing.B) {
	const calls = 1000
	s := serveAll(b, nil)
	tenant := s.tenant("Bench", "+12065550110", nil)
	var inUse, resident float64
	for b.Loop() {
		heap, before := held(), rss(b)
		o := s.options(simulated.CallOptions{To: tenant.Numbers[0]})
		raw, err := json.Marshal(idle{calls, o.URL, o.PublicURL, o.AccountSID, o.AuthToken, o.To})
		if err != nil {
			b.Fatal(err)
		}
		callers := exec.Command(os.Args[0], "-test.run=^TestIdleCallers$", "-test.v")
		callers.Env = append(os.Environ(), "IDLE_CALLERS="+string(raw))
		callers.Stderr = os.Stderr
		out, err := callers.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := callers.Start(); err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != allAnswered {
		}
		if lines.Text() != allAnswered {
			b.Fatal("the callers' process ended early")
		}
		time.Sleep(2 * time.Second)
		inUse, resident = (held()-heap)/calls, (rss(b)-before)/calls
		_ = callers.Process.Kill()
		_ = callers.Wait()
	}
	b.ReportMetric(inUse/1024, "KB-in-use/call")
	b.ReportMetric(resident/1024, "KB-resident/call")
	b.ReportMetric(0, "ns/op")
}

const allAnswered = "all calls have had an answer"

// idle is what the process of idle callers is told.
type idle struct {
	Calls                                     int
	URL, PublicURL, AccountSID, AuthToken, To string
}

// TestIdleCallers is the other process of BenchmarkIdleCall.
func TestIdleCallers(t *testing.T) {
	var o idle
	if json.Unmarshal([]byte(os.Getenv("IDLE_CALLERS")), &o) != nil {
		t.Skip("not started by the benchmark")
	}
	var play []simulated.CallOptions
	for i := range o.Calls {
		play = append(play, simulated.CallOptions{
			URL: o.URL, PublicURL: o.PublicURL, AccountSID: o.AccountSID, AuthToken: o.AuthToken,
			From: fmt.Sprintf("+1206555%04d", i), To: o.To, Turns: story(i)[:1], Linger: time.Hour,
		})
	}
	var answered atomic.Int64
	simulated.PlayMany(t.Context(), play, o.Calls, func(e simulated.CallEvent) {
		if e.First > 0 && answered.Add(1) == int64(o.Calls) {
			fmt.Println("\n" + allAnswered)
		}
	})
}

// rss is the memory of this process that is really there, in bytes.
func rss(b *testing.B) float64 {
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // elsewhere than on Linux
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(raw))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

func held() float64 {
	for range 3 { // each halves the stacks that have become too large
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
