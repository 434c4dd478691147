package memory

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/vault"
)

func history(pairs ...string) (out [][2]string) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, [2]string{pairs[i], pairs[i+1]})
	}
	return out
}

// facts are those of one call.
func (c *tenant) facts(call string) []events.Event {
	c.t.Helper()
	all, err := c.w.bus.ReadCall(c.t.Context(), c.id, call, bus.Span{})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// A call that was held elsewhere becomes the facts an ingress would have stated.
func testProcessCallStatesWhatAnIngressWould(t *testing.T, w *world) {
	a := w.tenant(t)
	start := time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC)
	turns := []map[string]any{}
	for i, l := range history("assistant", "Hello, this is Mia.", "system", "be nice", "user", "Hi, I am Ann.", "user", "I want a quote.", "assistant", "Sure.", "user", "Bye.") {
		turns = append(turns, map[string]any{"role": l[0], "text": l[1], "at": start.Add(time.Duration(i) * time.Second)})
	}
	got := a.want(202, "POST", "/v2/process-call", map[string]any{"user_id": "+1 206 555 0142", "call_id": "their-1", "turns": turns, "started_at": start, "ended_at": start.Add(time.Minute)})
	if got.text("call_id") != "their-1" {
		t.Fatal(got.body)
	}
	all := a.facts("their-1")
	var said []string
	for i, e := range all {
		if e.CallSeq != i+1 {
			t.Errorf("%s has number %d", e.Fact.Name(), e.CallSeq)
		}
		switch f := e.Fact.(type) {
		case events.CallReceived:
			if f.From != ann || f.Via != events.ViaAPI || !e.Time.Equal(start) {
				t.Errorf("%+v", f)
			}
		case events.CallAnswered:
			said = append(said, "greeting "+f.Greeting)
		case events.TurnHeard:
			said = append(said, fmt.Sprint("heard ", f.Turn, " ", f.Text, " ", e.Time.Sub(start)))
		case events.TurnSpoken:
			said = append(said, fmt.Sprint("spoken ", f.Turn, " ", f.Text))
		}
	}
	want := []string{"greeting Hello, this is Mia.", "heard 1 Hi, I am Ann. 2s", "heard 2 I want a quote. 3s", "spoken 2 Sure.", "heard 3 Bye. 5s"}
	if !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
	end, ok := all[len(all)-1].Fact.(events.CallEnded)
	if !ok || end.Via != events.ViaAPI || end.Turns != 3 || end.Seconds != 60 || end.FirstSeq != all[0].Seq || len(end.Facts) != len(all)-1 || end.Reason != events.EndCaller || !end.StartedAt.Equal(start) {
		t.Errorf("%+v", end)
	}
	call := a.want(200, "GET", "/v2/calls/their-1", nil)
	if call.text("transcript", 0, "text") != "Hello, this is Mia." || call.text("transcript", 2, "turn") != "2" || call.at("seconds") != 60.0 || call.text("user_id") != ann {
		t.Error(call.body)
	}
	if got := a.want(200, "GET", "/v1/callers/%2B12065550142/export", nil); got.text("calls", 0, "call_id") != "their-1" || got.text("calls", 0, "transcript", 1, "text") != "Hi, I am Ann." {
		t.Error(got.body)
	}
}

// Numbers that must not be written down are not, whoever says them; those that
// may be kept are kept sealed.
func testNumbersOfCallsTakenInAreMasked(t *testing.T, w *world) {
	a := w.tenant(t)
	got := a.want(202, "POST", "/v2/process-call", map[string]any{"user_id": ann, "conversation_history": history(
		"user", "I want to know about my claim.", "user", "sure, it's pvx 752198306", "assistant", "What is your card number?", "user", "It is 4111 1111 1111 1111.",
		"assistant", "So that is 4111 1111 1111 1111.",
	)})
	shown := a.want(200, "GET", "/v2/calls/"+got.text("call_id"), nil)
	if strings.Contains(shown.body, "1111") || strings.Count(shown.body, "[CARD]") != 2 {
		t.Error(shown.body)
	}
	var sealed []events.Sealed
	for _, e := range a.facts(got.text("call_id")) {
		if f, ok := e.Fact.(events.TurnHeard); ok {
			sealed = append(sealed, f.Sealed...)
		}
	}
	if len(sealed) != 1 || sealed[0].Kind != "policy" {
		t.Fatalf("%+v", sealed)
	}
	raw, err := base64.StdEncoding.DecodeString(sealed[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := w.vault.Open(a.id, mask.Purpose, raw); err != nil || v != "pvx 752198306" {
		t.Errorf("%q, %v", v, err)
	}
	if feed := a.want(200, "GET", "/v1/events", nil); strings.Contains(feed.body, "1111") || strings.Contains(feed.body, "752198306") {
		t.Error(feed.body)
	}
	stored := a.want(200, "POST", "/memory/store", map[string]any{"user_id": ann, "role": "user", "content": "my card is 4111 1111 1111 1111"})
	if feed := a.want(200, "GET", "/v1/events?limit=200", nil); strings.Contains(feed.body, "1111") || !strings.Contains(feed.body, stored.text("id")) {
		t.Error(feed.body)
	}
}

// However often a call is handed in, at once or later, it is taken in once.
func testSameCallIsTakenInOnce(t *testing.T, w *world) {
	a, b := w.tenant(t), w.tenant(t)
	body := map[string]any{"user_id": ann, "thread_id": "t", "conversation_history": history("user", "Hi", "assistant", "Hello")}
	ids := make([]string, 6)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() { ids[i] = a.ask("POST", "/v2/process-call", body).text("call_id") })
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || !strings.HasPrefix(id, "api-") {
			t.Fatalf("%q", ids)
		}
	}
	before := a.told()
	if before != 5 { // received, answered, heard, spoken, ended
		t.Errorf("%d facts", before)
	}
	if again := a.want(202, "POST", "/v2/process-call", body); again.text("call_id") != ids[0] {
		t.Error(again.body)
	}
	if after := a.told(); after != before {
		t.Errorf("%d facts more", after-before)
	}
	if theirs := b.want(202, "POST", "/v2/process-call", body); theirs.text("call_id") == ids[0] {
		t.Error("another customer's call has the same name")
	}
	// Erased, it is not taken in again.
	a.state("", spokenAt, events.CallerErased{Ref: "x", By: "staff:1", Calls: []string{ids[0]}})
	a.want(410, "POST", "/v2/process-call", body)
	// A call from before its caller was erased is not taken in, a later one is.
	ref, err := w.vault.Ref(b.id, vault.Caller, ann)
	if err != nil {
		t.Fatal(err)
	}
	b.state("", spokenAt, events.CallerErased{Ref: ref, By: "staff:1", Erasure: "e"})
	held := map[string]any{"user_id": ann, "conversation_history": history("user", "Hi"), "started_at": spokenAt.Add(-time.Hour)}
	b.want(410, "POST", "/v2/process-call", held)
	b.want(404, "GET", "/v2/profile/%2B12065550142", nil)
	held["started_at"] = spokenAt.Add(time.Hour)
	b.want(202, "POST", "/v2/process-call", held)
	// Cut short after its first fact, it is taken in when it comes again.
	c := w.tenant(t)
	c.state("cut", spokenAt, events.CallReceived{From: ann, To: "+12065550100", Via: events.ViaAPI})
	c.want(202, "POST", "/v2/process-call", map[string]any{"user_id": ann, "call_id": "cut", "conversation_history": history("user", "Hi")})
	if all := c.facts("cut"); len(all) != 4 {
		t.Errorf("%d facts", len(all))
	}
}

// Of calls with other words that are handed in under one id, in several
// processes at one moment, one is taken in whole; who handed in that one is told
// so however often, the others that there is another.
func testOneOfManyIsTakenIn(t *testing.T, w *world) {
	a := w.tenant(t)
	services := []*service{w.service}
	for range 2 {
		s, err := newService(&app.Platform{Log: zap.NewNop(), Store: w.store, Bus: w.bus, Vault: w.vault})
		if err != nil {
			t.Fatal(err)
		}
		services = append(services, s)
	}
	rows, err := w.store.For(a.id)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		id := fmt.Sprint("raced-", n)
		body := func(i int) *processCallIn {
			in := &processCallIn{}
			in.Body.UserID, in.Body.CallID = ann, id
			in.Body.History = history("user", fmt.Sprint("I am number ", i%4), "assistant", "Hello", "user", fmt.Sprint("Still ", i%4))
			return in
		}
		errs := make([]error, 12) // four calls, each in every process
		var wg sync.WaitGroup
		begin := make(chan struct{})
		for i := range errs {
			wg.Go(func() {
				<-begin
				_, errs[i] = services[i%3].processCall(t.Context(), asker{tenant: a.id, rows: rows}, body(i))
			})
		}
		close(begin)
		wg.Wait()
		won := -1
		for i, err := range errs {
			var f failure
			switch {
			case err == nil && (won < 0 || won == i%4):
				won = i % 4
			case err == nil:
				t.Errorf("%s: %d and %d have been taken in", id, won, i%4)
			case !errors.As(err, &f) || f.Code != 409 || won == i%4:
				t.Errorf("%s: %d: %v", id, i%4, err)
			}
		}
		if all := a.facts(id); len(all) != 6 {
			t.Errorf("%s: %d facts", id, len(all))
		}
		for _, e := range a.facts(id) {
			if f, ok := e.Fact.(events.TurnHeard); ok && !strings.HasSuffix(f.Text, fmt.Sprint(won)) {
				t.Errorf("%s: %d won, and %q was said", id, won, f.Text)
			}
		}
		if _, err := services[1].processCall(t.Context(), asker{tenant: a.id, rows: rows}, body((won+1)%4)); err == nil {
			t.Errorf("%s: another is taken in afterwards", id)
		}
		if _, err := services[2].processCall(t.Context(), asker{tenant: a.id, rows: rows}, body(won)); err != nil {
			t.Errorf("%s: the same is not: %v", id, err)
		}
	}
}

// A call on the phone is not spoken in by others.
func testCallOnThePhoneIsLetBe(t *testing.T, w *world) {
	a := w.tenant(t)
	a.state("CA1", spokenAt, events.CallReceived{From: ann, To: "+12065550100"})
	a.want(409, "POST", "/v2/process-call", map[string]any{"user_id": ann, "call_id": "CA1", "conversation_history": history("user", "Hi")})
	if all := a.facts("CA1"); len(all) != 1 {
		t.Errorf("%d facts", len(all))
	}
	a.state("CA1", spokenAt, events.CallEnded{From: ann, To: "+12065550100", StartedAt: spokenAt, EndedAt: spokenAt, Reason: events.EndCaller})
	a.want(409, "POST", "/v2/process-call", map[string]any{"user_id": ann, "call_id": "CA1", "conversation_history": history("user", "Hi")})
}

func testProcessCallRefusesWhatIsNoCall(t *testing.T, w *world) {
	a := w.tenant(t)
	long := strings.Repeat("x", 8001)
	for name, body := range map[string]map[string]any{
		"nothing said":          {"user_id": ann},
		"no caller":             {"user_id": ann, "conversation_history": history("assistant", "Hello")},
		"blank":                 {"user_id": ann, "conversation_history": history("user", "  ")},
		"a line of one":         {"user_id": ann, "conversation_history": [][]string{{"user"}}},
		"a line of three":       {"user_id": ann, "conversation_history": [][]string{{"user", "x", "y"}}},
		"too long":              {"user_id": ann, "conversation_history": history("user", long)},
		"both forms":            {"user_id": ann, "conversation_history": history("user", "x"), "turns": []map[string]any{{"role": "user", "text": "x"}}},
		"no number":             {"user_id": "Ann", "conversation_history": history("user", "x")},
		"a bad call_id":         {"user_id": ann, "call_id": "a b", "conversation_history": history("user", "x")},
		"an id that is no path": {"user_id": ann, "call_id": "..", "conversation_history": history("user", "x")},
		"of the future":         {"user_id": ann, "started_at": "2190-01-01T00:00:00Z", "conversation_history": history("user", "x")},
		"before there were":     {"user_id": ann, "started_at": "0001-01-01T00:00:00Z", "conversation_history": history("user", "x")},
		"ends before begins":    {"user_id": ann, "started_at": "2026-01-02T00:00:00Z", "ended_at": "2026-01-01T00:00:00Z", "conversation_history": history("user", "x")},
	} {
		got := a.ask("POST", "/v2/process-call", body)
		if got.status != 422 || got.at("code") != 422.0 || got.at("error") == "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		if strings.Contains(got.body, long[:100]) {
			t.Errorf("%s: the words come back", name)
		}
	}
	if n := a.told(); n != 0 {
		t.Errorf("%d facts", n)
	}
}

// Neither what is logged nor what is measured holds anything of a caller's.
func TestNothingPersonalIsLoggedOrMeasured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.tenant(t)
	canary := "xyzzyplugh"
	a.want(202, "POST", "/v2/process-call", map[string]any{"user_id": ann, "thread_id": canary, "conversation_history": history("user", canary)})
	a.ask("POST", "/v1/memories", map[string]any{"user_id": ann, "type": "fact", "key": canary, "value": canary})
	a.ask("POST", "/v1/memories", map[string]any{"user_id": canary, "type": "fact", "key": canary, "value": canary})
	a.ask("GET", "/v2/profile/%2B12065550142?x="+canary, nil)
	a.ask("GET", "/v1/memories/"+canary, nil)
	var said strings.Builder
	for _, l := range w.logs.All() {
		raw, _ := json.Marshal(l.ContextMap())
		said.WriteString(l.Message + string(raw) + "\n")
	}
	families, err := w.metrics.Gather()
	if err != nil || len(families) < 2 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	for _, f := range families {
		said.WriteString(f.String())
	}
	for _, of := range []string{canary, "2065550142", a.key, a.key[len("ns_1_"):]} {
		if strings.Contains(said.String(), of) {
			t.Errorf("%q is in\n%s", of, said.String())
		}
	}
	if !strings.Contains(said.String(), "POST /v2/process-call") {
		t.Error("routes are not measured")
	}
}

// What is as long as may be is taken, and what is longer is refused.
func testLongestIsTaken(t *testing.T, w *world) {
	c := w.tenant(t)
	for n, want := range map[int]int{maxValue - 2: 201, maxValue - 1: 422, 40_000: 422} {
		c.want(want, "POST", "/v1/memories", map[string]any{"user_id": "+12065550142", "type": "fact", "key": "k", "value": strings.Repeat("x", n)})
	}
	long := []string{strings.Repeat("Welcome. ", 200), strings.Repeat("We record. ", 300), "How can I help?"}
	c.want(202, "POST", "/v2/process-call", map[string]any{"user_id": "+12065550142", "call_id": "long", "conversation_history": [][2]string{
		{"assistant", long[0]}, {"assistant", long[1]}, {"assistant", long[2]}, {"user", "hello"},
	}})
	got := c.want(200, "GET", "/v2/calls/long", nil)
	for i, want := range append(long, "hello") {
		if got.text("transcript", i, "text") != strings.TrimSpace(want) {
			t.Errorf("line %d: %.40s", i, got.text("transcript", i, "text"))
		}
	}
}
