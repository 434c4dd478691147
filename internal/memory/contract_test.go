package memory

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
)

// client is made of the document at /openapi.json and of nothing else: it knows
// no path and no parameter that is not in it, and checks each answer against
// what the document says of it.
type client struct {
	doc    *openapi3.T
	router routers.Router
	ops    map[string]operation

	mu       sync.Mutex
	answered map[string]bool // operations that have answered well
}

type operation struct {
	method, path string
	*openapi3.Operation
}

func newClient(t testing.TB, base string) *client {
	t.Helper()
	resp, err := http.Get(base + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the document is not valid: %v", err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	doc.Servers = openapi3.Servers{{URL: base}}
	c := &client{doc: doc, ops: map[string]operation{}, answered: map[string]bool{}}
	if c.router, err = gorillamux.NewRouter(doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			c.ops[op.OperationID] = operation{method, path, op}
		}
	}
	return c
}

// args are parameters by name, and the body.
type args map[string]any

const body = "body"

// call calls an operation as a tenant and wants one status.
func (c *client) call(who *tenant, status int, id string, in args) answered {
	t := who.t
	t.Helper()
	op, ok := c.ops[id]
	if !ok {
		t.Fatalf("the document has no operation %s", id)
	}
	path, query, header := op.path, url.Values{}, http.Header{}
	put := func(name string, v any) {
		for _, p := range op.Parameters {
			if p.Value.Name != name {
				continue
			}
			switch s := fmt.Sprint(v); p.Value.In {
			case "path":
				path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(s))
			case "query":
				query.Set(name, s)
			case "header":
				header.Set(name, s)
			}
			return
		}
		t.Fatalf("%s has no parameter %s", id, name)
	}
	for name, v := range in {
		if name != body {
			put(name, v)
		}
	}
	var raw []byte
	if op.RequestBody != nil {
		b := map[string]any{"customer_id": who.id}
		for k, v := range in[body].(map[string]any) {
			b[k] = v
		}
		var err error
		if raw, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	} else {
		put("customer_id", who.id)
	}
	target := who.w.url + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), op.method, target, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+who.key)
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	got := c.do(t, req)
	if got.status != status {
		t.Fatalf("%s %v: %d %s; want %d", id, in, got.status, got.body, status)
	}
	if status < 300 {
		c.mu.Lock()
		c.answered[id] = true
		c.mu.Unlock()
	}
	return got
}

// do sends a request and checks its answer against the document.
func (c *client) do(t testing.TB, req *http.Request) answered {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &a.json)
	if err := c.check(req, a); err != nil {
		t.Errorf("%s %s: the answer is not what the document says: %v\n%d %s", req.Method, req.URL.Path, err, a.status, a.body)
	}
	return a
}

func (c *client) check(req *http.Request, a answered) error {
	route, params, err := c.router.FindRoute(req)
	if err != nil {
		return fmt.Errorf("find route: %w", err)
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.status, Header: a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: !strings.HasPrefix(a.header.Get("Content-Type"), "application/json")},
	}
	in.SetBodyBytes([]byte(a.body))
	if err := openapi3filter.ValidateResponse(req.Context(), in); err != nil {
		return err
	}
	if a.status >= 400 && (a.json["error"] == nil || a.json["code"] != float64(a.status)) {
		return errors.New("an error without its text and code")
	}
	return nil
}

var spokenAt = time.Date(2026, 5, 6, 15, 0, 0, 0, time.UTC)

const (
	ann = "+12065550142"
	bob = "+12065550177"
)

// summarized is a call as the summarizer states it.
func (c *tenant) summarized(call, user string, at time.Time, summary string, findings ...events.Finding) {
	c.t.Helper()
	if findings == nil {
		findings = []events.Finding{}
	}
	c.state(call, at, events.CallEnded{From: user, To: "+12065550100", StartedAt: at, EndedAt: at.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Turns: 3, Answered: true})
	c.state(call, at, events.CallSummarized{
		Caller: user, StartedAt: at, EndedAt: at.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Summary: summary, Topics: []string{"auto"},
		Sentiment: "positive", Resolution: "resolved", Findings: findings, Rejected: []events.Reject{}, Messages: []events.Message{}, Template: "insurance_v1",
		Style: []events.Measure{{Metric: "formality", Micros: 61_500_000}, {Metric: "urgency_level", Micros: 20_000_000}, {Metric: "curiosity", Micros: 30_000_000}},
	})
}

// state publishes a fact of a call and writes its rows.
func (c *tenant) state(call string, at time.Time, f events.Fact) {
	c.t.Helper()
	rows, err := c.w.store.For(c.id)
	if err == nil {
		err = c.w.state(c.t.Context(), asker{tenant: c.id, rows: rows}, events.New(c.id, call, at, f))
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func finding(field, v string) events.Finding {
	return events.Finding{Turn: 1, Evidence: "it is " + v, Subject: "caller", Field: field, Value: v, Confidence: "stated"}
}

// known has one caller, of whom a call is known.
func (w *world) known(t testing.TB, mark string) *tenant {
	c := w.tenant(t)
	c.summarized("CA1"+mark, ann, spokenAt, "Asked for a quote, "+mark+".", finding("personal.name", "Ann "+mark), finding("policies.auto_1.make", "Kia"), finding("memory.dog", "Rex "+mark))
	return c
}

// step is one operation of the document, called well.
type step struct {
	op  string
	run func(t *testing.T, me *tenant)
}

// Every operation of the document is driven through a client made of it.
func testContract(t *testing.T, w *world) {
	c := newClient(t, w.url)
	me, other := w.known(t, "mine"), w.known(t, "theirs")

	var id string
	steps := []step{
		{"store-memory", func(t *testing.T, me *tenant) {
			got := c.call(me, 201, "store-memory", args{body: map[string]any{"user_id": ann, "type": "preference", "key": "contact_time", "value": map[string]any{"after": 17}, "content": "call after five"}})
			if id = got.text("memory_id"); got.at("success") != true || id == "" {
				t.Error(got.body)
			}
		}},
		{"list-memories", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "list-memories", args{"user_id": ann, "memory_type": "preference", "query": "after five", "limit": 5})
			m, _ := got.at("memories", 0).(map[string]any)
			if got.at("count") != 1.0 || got.at("customer_id") != float64(me.id) || m["id"] != id || m["user_id"] != ann || m["type"] != "preference" || m["key"] != "contact_time" ||
				fmt.Sprint(m["value"]) != "map[after:17]" || m["content"] != "call after five" || m["created_at"] == nil || m["customer_id"] != float64(me.id) {
				t.Error(got.body)
			}
		}},
		{"list-user-memories", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "list-user-memories", args{"user_id": ann})
			if !strings.Contains(got.body, id) || !strings.Contains(got.body, "Rex mine") || strings.Contains(got.body, "theirs") {
				t.Error(got.body)
			}
		}},
		{"store-user-memory", func(t *testing.T, me *tenant) {
			got := c.call(me, 201, "store-user-memory", args{"user_id": ann, body: map[string]any{"type": "fact", "key": "pet", "value": "cat"}})
			if got.text("user_id") != ann {
				t.Error(got.body)
			}
		}},
		{"store-shared-memory", func(t *testing.T, me *tenant) {
			in := args{"Idempotency-Key": "k", body: map[string]any{"type": "rule", "key": "parking", "value": "behind the mill"}}
			got, again := c.call(me, 201, "store-shared-memory", in), c.call(me, 201, "store-shared-memory", in)
			if got.text("memory_id") != again.text("memory_id") || got.at("user_id") != nil {
				t.Error(got.body, again.body)
			}
			c.call(other, 201, "store-shared-memory", args{body: map[string]any{"type": "rule", "key": "parking", "value": "in front, theirs"}})
		}},
		{"list-shared-memories", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "list-shared-memories", args{"query": "where is the mill?", "memory_type": "rule"})
			m, _ := got.at("memories", 0).(map[string]any)
			if got.at("count") != 1.0 || m["shared"] != true || m["user_id"] != "" || m["value"] != "behind the mill" || strings.Contains(got.body, "theirs") {
				t.Error(got.body)
			}
		}},
		{"legacy-store", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "legacy-store", args{body: map[string]any{"user_id": ann, "role": "user", "content": "hello there", "metadata": map[string]any{"thread_id": "t1"}}})
			if got.at("success") != true || got.at("id") == nil || got.at("memory_id") != got.at("id") {
				t.Error(got.body)
			}
		}},
		{"legacy-retrieve", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "legacy-retrieve", args{body: map[string]any{"user_id": ann, "thread_id": "t1"}})
			if got.at("count") != 1.0 || got.text("memories", 0, "content") != "hello there" || got.text("memories", 0, "value", "role") != "user" {
				t.Error(got.body)
			}
		}},
		{"forget-memory", func(t *testing.T, me *tenant) {
			c.call(other, 404, "forget-memory", args{"id": id})
			c.call(me, 200, "forget-memory", args{"id": id})
			c.call(me, 404, "forget-memory", args{"id": id})
			if got := c.call(me, 200, "list-memories", args{"user_id": ann}); strings.Contains(got.body, id) {
				t.Error("it is there still")
			}
		}},
		{"enriched-context", func(t *testing.T, me *tenant) { enrichedContext(t, c, me) }},
		{"list-summaries", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "list-summaries", args{"user_id": ann, "limit": 10})
			if got.at("total") != 1.0 || got.text("summaries", 0, "call_id") != "CA1mine" || got.text("summaries", 0, "key_topics") != "[auto]" ||
				got.text("summaries", 0, "key_variables", "policies.auto_1.make") != "Kia" || got.text("summaries", 0, "sentiment") != "positive" ||
				got.text("summaries", 0, "resolution_status") != "resolved" || got.text("summaries", 0, "call_date") != "2026-05-06T15:00:00Z" {
				t.Error(got.body)
			}
		}},
		{"search-summaries", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "search-summaries", args{body: map[string]any{"user_id": ann, "query": "any quotes or boats"}})
			if got.text("results", 0, "call_id") != "CA1mine" {
				t.Error(got.body)
			}
		}},
		{"list-profiles", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "list-profiles", nil)
			if got.at("total") != 1.0 || got.text("profiles", 0, "preferred_name") != "Ann mine" {
				t.Error(got.body)
			}
		}},
		{"get-profile", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "get-profile", args{"user_id": ann})
			f, _ := got.at("profile", "fields", "policies.auto_1.make").(map[string]any)
			if got.text("profile", "context", "policies.auto_1.make") != "Kia" || f["call_id"] != "CA1mine" || f["evidence"] != "it is Kia" || f["turn"] != 1.0 || f["said_at"] == nil {
				t.Error(got.body)
			}
			c.call(me, 404, "get-profile", args{"user_id": "+12065550199"})
		}},
		{"get-caller-profile", func(t *testing.T, me *tenant) {
			if got := c.call(me, 200, "get-caller-profile", args{"phone": ann}); got.text("user_id") != ann || got.at("total_calls") != 1.0 {
				t.Error(got.body)
			}
			c.call(me, 404, "get-caller-profile", args{"phone": "+12065550199"})
		}},
		{"correct-profile", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "correct-profile", args{"user_id": ann, body: map[string]any{"field": "personal.name", "value": "Anna", "by": "Bo", "reason": "asked"}})
			if got.text("profile", "context", "personal.name") != "Anna" || got.text("profile", "fields", "personal.name", "by") != "staff:Bo" || got.text("profile", "preferred_name") != "Anna" {
				t.Error(got.body)
			}
			c.call(me, 422, "correct-profile", args{"user_id": ann, body: map[string]any{"field": "no.such", "value": "x"}})
			c.call(me, 404, "correct-profile", args{"user_id": "+12065550199", body: map[string]any{"field": "personal.name", "value": "x"}})
		}},
		{"delete-profile-field", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "delete-profile-field", args{"user_id": ann, "field": "policies.auto_1.make"})
			if got.at("profile", "context", "policies.auto_1.make") != nil {
				t.Error(got.body)
			}
			c.call(me, 404, "delete-profile-field", args{"user_id": ann, "field": "policies.auto_1.make"})
		}},
		{"get-personality", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "get-personality", args{"user_id": ann})
			if got.at("personality", "communication_style", "formality") != 61.5 || got.at("personality", "emotional_state", "urgency_level") != 20.0 ||
				got.at("personality", "others", "curiosity") != 30.0 || got.at("personality", "call_count") != 1.0 || got.text("personality", "trends", "satisfaction_trend") != "stable" {
				t.Error(got.body)
			}
		}},
		{"move-lead", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "move-lead", args{"user_id": ann, body: map[string]any{"stage": "Underwriting", "by": "Bo"}})
			if got.text("lead_stage") != "Underwriting" {
				t.Error(got.body)
			}
			c.call(me, 422, "move-lead", args{"user_id": ann, body: map[string]any{"stage": "Nowhere"}})
		}},
		{"process-call", func(t *testing.T, me *tenant) {
			got := c.call(me, 202, "process-call", args{body: map[string]any{"user_id": ann, "thread_id": "t", "conversation_history": [][2]string{{"user", "Hi, it is Ann"}, {"assistant", "Hello Ann"}}}})
			id = got.text("call_id")
		}},
		{"get-call", func(t *testing.T, me *tenant) {
			got := c.call(me, 200, "get-call", args{"call_id": id})
			if got.text("transcript", 0, "text") != "Hi, it is Ann" || got.text("transcript", 1, "role") != "agent" {
				t.Error(got.body)
			}
			c.call(other, 404, "get-call", args{"call_id": id})
		}},
		{"read-events", func(t *testing.T, me *tenant) {
			if got := c.call(me, 200, "read-events", args{"limit": 1}); !strings.Contains(got.body, `"cursor"`) {
				t.Error(got.body)
			}
		}},
		{"get-memory", func(t *testing.T, me *tenant) {
			sealed, err := w.vault.Seal(me.id, mask.Purpose, "PVX 752197308")
			if err != nil {
				t.Fatal(err)
			}
			f := finding("memory.policy_number", "[POLICY]")
			f.Sealed = base64.StdEncoding.EncodeToString(sealed)
			me.summarized("CA7mine", bob, spokenAt, "Gave a number.", f)
			got := c.call(me, 200, "list-user-memories", args{"user_id": bob})
			id := got.text("memories", 0, "id")
			if got.at("memories", 0, "sealed") != true || strings.Contains(got.body, "752197308") {
				t.Error(got.body)
			}
			if got := c.call(me, 200, "get-memory", args{"id": id}); got.text("value") != "[POLICY]" || strings.Contains(got.body, "752197308") {
				t.Error(got.body)
			}
			if got := c.call(me, 200, "get-memory", args{"id": id, "reveal": true}); got.text("value") != "PVX 752197308" {
				t.Error(got.body)
			}
			if here, no := c.call(other, 404, "get-memory", args{"id": id, "reveal": true}), c.call(other, 404, "get-memory", args{"id": "none", "reveal": true}); here.body != no.body {
				t.Errorf("%s and %s", here.body, no.body)
			}
		}},
	}
	steps = append(steps, privacySteps(c, other)...)
	for _, s := range steps {
		ok := t.Run(s.op, func(t *testing.T) {
			as := *me
			as.t = t
			s.run(t, &as)
		})
		if !ok && s.op == "store-memory" {
			return
		}
	}
	for id := range c.ops {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.op == id }) {
			t.Errorf("%s has no case", id)
		} else if !c.answered[id] {
			t.Errorf("%s has not answered", id)
		}
	}
}

func enrichedContext(t *testing.T, c *client, me *tenant) {
	got := c.call(me, 200, "enriched-context", args{body: map[string]any{"user_id": ann, "num_summaries": 3}})
	if got.at("known") != true || got.text("recent_summaries", 0, "call_id") != "CA1mine" || got.at("personality", "communication_style", "formality") != 61.5 ||
		got.text("profile", "context", "policies.auto_1.make") != "Kia" || got.at("customer_id") != float64(me.id) || got.text("user_id") != ann {
		t.Error(got.body)
	}
	text := got.text("context")
	for _, want := range []string{
		"=== CALLER PROFILE ===\nName: Ann mine (caller said on 2026-05-06)\nTotal Calls: 1\n", "Context: policies.auto_1.make: Kia (caller said on 2026-05-06)\n",
		"Memory: dog: Rex mine (caller said on 2026-05-06)\n", "=== RECENT CALL SUMMARIES ===\nCall 1 (2026-05-06):\nSummary: Asked for a quote, mine.\n", "Sentiment: positive\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	got = c.call(me, 200, "enriched-context", args{body: map[string]any{"user_id": "+12065550199"}})
	if got.at("known") != false || got.text("recent_summaries") != "[]" || got.text("context") != "" {
		t.Error(got.body)
	}
}

// Every route of the document asks for a key, a customer, and the key's own
// customer; a body or query that is otherwise good does not help.
func testEveryRouteIsGuarded(t *testing.T, w *world) {
	c := newClient(t, w.url)
	me, other := w.known(t, "mine"), w.known(t, "theirs")
	before := other.told()
	for id, op := range c.ops {
		path := strings.NewReplacer("{user_id}", url.PathEscape(ann), "{phone}", url.PathEscape(ann), "{call_id}", "CA1theirs", "{id}", "x", "{erasure_id}", "x", "{field}", "personal.name").Replace(op.path)
		in := func(customer string) (string, []byte) {
			if op.method != http.MethodPost {
				return path + "?" + strings.TrimSuffix("customer_id="+customer, "customer_id="), nil
			}
			return path, []byte(`{` + strings.TrimSuffix(`"customer_id":`+customer+`,`, `"customer_id":,`) + `"user_id":"` + ann +
				`","type":"fact","key":"k","value":1,"role":"user","content":"x","query":"x","field":"personal.name","stage":"Lost","conversation_history":[["user","x"]]}`)
		}
		key := map[string]string{"Authorization": "Bearer " + me.key}
		for name, tc := range map[string]struct {
			customer string
			headers  map[string]string
			status   int
			body     string
		}{
			"no key":             {me.id.String(), nil, 401, ""},
			"another's key":      {me.id.String(), map[string]string{"Authorization": "Bearer " + other.key}, 403, ""},
			"no customer":        {"", key, 400, missing},
			"another's customer": {other.id.String(), key, 403, ""},
		} {
			at, body := in(tc.customer)
			got := me.send(op.method, at, body, tc.headers)
			if got.status != tc.status || got.at("code") != float64(tc.status) || tc.body != "" && got.body != tc.body || strings.Contains(got.body, "theirs") {
				t.Errorf("%s, %s: %d %s", id, name, got.status, got.body)
			}
		}
		at, body := in(me.id.String())
		if got := me.send(op.method, at, body, key); got.status == 400 || got.status == 401 || got.status == 403 || got.status >= 500 {
			t.Errorf("%s, as it should be: %d %s", id, got.status, got.body)
		}
	}
	if after := other.told(); after != before {
		t.Errorf("%d facts of the other customer's", after-before)
	}
}
