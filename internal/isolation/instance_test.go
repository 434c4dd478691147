package isolation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/bus/embedded"
	"neurosphere.ai/neurosphere/internal/conversation"
	"neurosphere.ai/neurosphere/internal/ingress"
	"neurosphere.ai/neurosphere/internal/memory"
	"neurosphere.ai/neurosphere/internal/notifier"
	"neurosphere.ai/neurosphere/internal/profiler"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/summarizer"
)

// instance is the whole platform in this process, on a database and a bus of
// its own, with everything noted that leaves it.
type instance struct {
	*app.Platform
	url    string
	busURL string
	adm    string // the database's administrator
	logs   *observer.ObservedLogs

	mu      sync.Mutex
	prompts []string // what the model was asked
}

// start runs every worker until the test ends.
func start(t testing.TB) *instance {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	in := &instance{logs: logs}
	dir := t.TempDir()
	model := in.model(t)
	ctx, cancel := context.WithCancel(context.Background())
	up, down := make(chan *app.Platform, 1), make(chan error, 1)
	o := app.Options{
		Workers: []app.Named{
			{Name: "ingress", Run: ingress.Run},
			{Name: "conversation", Run: conversation.Run},
			{Name: "summarizer", Run: summarizer.Run},
			{Name: "profiler", Run: profiler.Run},
			{Name: "notifier", Run: notifier.Run},
			{Name: "memory", Run: memory.Run},
		},
		Getenv: func(k string) string {
			return map[string]string{"DATA_DIR": dir, "LISTEN_ADDR": "127.0.0.1:0", "DRAIN_SECONDS": "1", "OPENAI_BASE_URL": model, "OPENAI_API_KEY": "simulated", "LOG_LEVEL": "debug"}[k]
		},
		StartBus: func(dir string, log *zap.Logger) (bus.Options, func() bool, func(), error) {
			srv, err := embedded.StartWith(dir, log, embedded.Options{NoSync: true})
			if err != nil {
				return bus.Options{}, nil, nil, err
			}
			in.busURL = srv.URL()
			return bus.Options{URL: srv.URL(), InProcess: srv}, srv.Up, srv.Stop, nil
		},
		StartStore: func(ctx context.Context, dir string, log *zap.Logger) (*store.Private, error) {
			p, err := store.StartPrivateWith(ctx, dir, log, store.PrivateOptions{Fast: true})
			if err == nil {
				in.adm = p.AdminDSN()
			}
			return p, err
		},
		Started: func(_ context.Context, p *app.Platform) error { up <- p; return nil },
		Log:     zap.New(core),
	}
	go func() { down <- app.Run(ctx, o) }()
	select {
	case in.Platform = <-up:
	case err := <-down:
		cancel()
		if errors.Is(err, store.ErrNoPostgres) && os.Getenv("CI") != "true" {
			t.Skipf("needs PostgreSQL: %v", err)
		}
		t.Fatalf("start: %v", err)
	case <-time.After(time.Minute):
		cancel()
		t.Fatal("start: not up after a minute")
	}
	t.Cleanup(func() {
		cancel()
		if err := <-down; err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	in.url = "http://" + in.Addr
	return in
}

// model is the simulated model, with what it is asked noted.
func (in *instance) model(t testing.TB) string {
	t.Helper()
	s, err := simulated.StartOpenAI(simulated.OpenAIOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	target, err := url.Parse(strings.TrimSuffix(s.URL(), "/v1"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		in.mu.Lock()
		in.prompts = append(in.prompts, string(raw))
		in.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(raw))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/v1"
}

// until waits for something that has to become true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// business is one tenant, with words of its own that are found nowhere else.
type business struct {
	in     *instance
	id     events.Tenant
	number string
	people string // number of those who get texts
	key    string
	words  []string // names of its callers and things
	only   string   // a caller that no other business has
	call   string   // of one of its calls on the phone

	erasure string // that it has asked for

	users []string // callers that no other business has, each to be used once
}

// Callers that every business has, under the same numbers.
const (
	ann = "+12065550142"
	bob = "+12065550143"
)

// peculiar are words for three businesses.
var peculiar = [][]string{
	{"Quillonby", "Brastowick", "Feldermoor"},
	{"Zantherly", "Oakenvane", "Pellwhistle"},
	{"Umberforth", "Dravendale", "Mirkstone"},
}

// businesses makes three that share their callers' numbers, each with
// everything that can be known of a caller.
func (in *instance) businesses(t testing.TB) (all []*business) {
	t.Helper()
	for i, words := range peculiar {
		b := &business{in: in, number: fmt.Sprintf("+1206555011%d", i), only: fmt.Sprintf("+1206555015%d", i), people: fmt.Sprintf("+1206555019%d", i), words: words}
		tpl, err := in.Store.Template(t.Context(), "insurance_v1")
		if err != nil {
			t.Fatal(err)
		}
		set := settings.Default(words[2]+" Insurance", tpl)
		set.Numbers = []string{b.number}
		set.ReturningGreeting = "Hello {caller_name}, this is " + words[2] + "."
		if err := settings.Set(&set, "sms_to", b.people); err != nil {
			t.Fatal(err)
		}
		if set, _, err = in.Store.CreateCustomer(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		if _, b.key, err = in.Store.NewAPIKey(t.Context(), set.Tenant, store.KeyOptions{Name: "probe"}); err != nil { // without a limit
			t.Fatal(err)
		}
		b.id = set.Tenant
		all = append(all, b)
	}
	if err := settings.Publish(t.Context(), in.Store, in.Bus); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		b.live(t)
	}
	var wg sync.WaitGroup
	for _, b := range all {
		wg.Go(func() { b.fill(t) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// live waits until its phone is answered.
func (b *business) live(t testing.TB) {
	t.Helper()
	until(t, "a phone is answered", func() bool {
		r := b.phone(t, "+12065550000", "Hello.")
		return r.Refused == "" && r.Err == nil
	})
}

func (b *business) phone(t testing.TB, from string, turns ...string) simulated.CallResult {
	t.Helper()
	return simulated.Call(t.Context(), simulated.CallOptions{
		URL: b.in.url, PublicURL: b.in.Config.PublicURL, AccountSID: b.in.Config.TwilioAccountSID, AuthToken: b.in.Config.TwilioAuthToken,
		From: from, To: b.number, Turns: turns,
	}, nil)
}

// fill has its callers call, and its people write.
func (b *business) fill(t testing.TB) {
	t.Helper()
	r := b.phone(t, ann, "Hi, my name is "+b.words[0]+".", "I drive a 2019 Kia Soul and my dog is called "+b.words[1]+".",
		"Please leave a message for Paula that "+b.words[1]+" needs a quote.", "Could you text me the address of "+b.words[2]+"?", "That is all. Goodbye.")
	if r.Err != nil || r.Refused != "" {
		t.Errorf("a call: %v %s", r.Err, r.Refused)
		return
	}
	b.call = r.CallSID
	for i, user := range []string{bob, b.only} {
		got := b.ask(t, "POST", "/v2/process-call", map[string]any{
			"user_id": user, "call_id": fmt.Sprintf("held-%d", i), "started_at": "2026-05-01T10:00:00Z",
			"conversation_history": [][]string{{"user", "Hello, this is " + b.words[0] + "."}, {"assistant", "How can I help?"}, {"user", "I live near " + b.words[1] + " and want a quote from " + b.words[2] + "."}},
		})
		if got.status != http.StatusAccepted {
			t.Errorf("a call held elsewhere: %d %s", got.status, got.body)
		}
	}
	for i, user := range []string{ann, bob, b.only} {
		got := b.ask(t, "POST", "/v1/memories", map[string]any{"user_id": user, "type": "fact", "key": fmt.Sprintf("pet %d", i), "value": b.words[1], "content": "has a pet called " + b.words[1]})
		if got.status != http.StatusCreated {
			t.Errorf("a memory: %d %s", got.status, got.body)
		}
	}
	for i, what := range []string{"behind " + b.words[1] + " Road", "ask for " + b.words[2]} { // two, for a list to have pages
		got := b.ask(t, "POST", "/v1/memories/shared", map[string]any{"type": "rule", "key": fmt.Sprintf("rule %d", i), "value": what})
		if got.status != http.StatusCreated {
			t.Errorf("a shared memory: %d %s", got.status, got.body)
		}
	}
	for _, user := range []string{ann, bob, b.only} {
		until(t, "a call is summarized", func() bool {
			got := b.ask(t, "GET", "/v2/profile/"+url.PathEscape(user), nil)
			return got.status == http.StatusOK && strings.Contains(got.body, b.words[0])
		})
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask asks for what is the business's own.
func (b *business) ask(t testing.TB, method, path string, body map[string]any) answer {
	t.Helper()
	q := query{method: method, path: path, key: b.key, body: copied(body)}
	q.name(b.id.String())
	return b.in.send(t, q)
}

// query is a request that is yet to be sent.
type query struct {
	method, path, key string
	query             url.Values
	body              map[string]any // nil: none
	raw               string         // in the place of body
	header            map[string]string
}

func copied(m map[string]any) map[string]any {
	return maps.Clone(m)
}

// name names a customer where this kind of request does.
func (q *query) name(id string) {
	if q.body != nil {
		q.body["customer_id"] = json.RawMessage(id)
		return
	}
	if q.query == nil {
		q.query = url.Values{}
	}
	q.query.Set("customer_id", id)
}

func (in *instance) send(t testing.TB, q query) answer {
	t.Helper()
	raw := q.raw
	if raw == "" && q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	target := in.url + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), q.method, target, strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if raw != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.key != "" {
		req.Header.Set("Authorization", "Bearer "+q.key)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

// foreign are the words of others in a text.
func foreign(all []*business, me *business, text string) (found []string) {
	for _, b := range all {
		if b == me {
			continue
		}
		for _, w := range b.words {
			if strings.Contains(text, w) {
				found = append(found, w)
			}
		}
	}
	return found
}
