package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers the nth request with the nth handler, and later ones with the
// last.
func serve(t testing.TB, handlers ...http.HandlerFunc) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body) // only then does the server notice that the client has gone
		if err != nil {
			return // and it never would: who waits for that waits for ever
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		handlers[min(int(requests.Add(1)), len(handlers))-1](w, r)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(srv.CloseClientConnections) // first: Close waits for handlers
	return srv.URL + "/v1", requests
}

// lineup writes lines of a stream, flushed one by one.
func lineup(lines ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, l := range lines {
			_, _ = io.WriteString(w, l+"\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func word(s string) string {
	raw, _ := json.Marshal(s)
	return `data: {"model":"m-1","choices":[{"index":0,"delta":{"content":` + string(raw) + `},"finish_reason":null}],"usage":null}`
}

func tool(fragment string) string {
	return `data: {"model":"m-1","choices":[{"index":0,"delta":{"tool_calls":[` + fragment + `]},"finish_reason":null}]}`
}

func end(reason string) string {
	return `data: {"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}],"usage":null}`
}

const (
	begin = `data: {"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}`
	count = `data: {"model":"m-1","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}}`
	over  = `data: [DONE]`
)

func status(code int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func apiError(typ, code string) string {
	return fmt.Sprintf(`{"error":{"message":"the secret words","type":%q,"param":null,"code":%q}}`, typ, code)
}

// client has time enough on a slow machine.
func client(url string) *Client {
	return Open(Options{APIKey: "k", BaseURL: url, Model: "m", FirstByte: 10 * time.Second, Between: 10 * time.Second, Document: 10 * time.Second})
}

// hasty does not wait for what does not come.
func hasty(url string) *Client {
	return Open(Options{APIKey: "k", BaseURL: url, Model: "m", FirstByte: 300 * time.Millisecond, Between: 300 * time.Millisecond, Document: 300 * time.Millisecond})
}

func ask(t testing.TB, c *Client) (Result, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // nothing here may hang
	defer cancel()
	var heard strings.Builder
	r, err := c.Stream(ctx, []Message{{Role: "user", Text: "hi"}}, nil, func(s string) error {
		heard.WriteString(s)
		return nil
	})
	return r, heard.String(), err
}

func TestStreamedWordsToolsAndTokensArrive(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, lineup(
		begin, word("One "), ": a comment", word("moment."),
		tool(`{"index":0,"id":"a","type":"function","function":{"name":"transfer","arguments":""}}`),
		tool(`{"index":0,"function":{"arguments":"{\"to\":"}}`),
		tool(`{"index":1,"id":"b","type":"function","function":{"name":"note","arguments":"{\"x\":"}}`),
		tool(`{"index":0,"function":{"arguments":"\"sales\"}"}}`),
		end("tool_calls"), count, over,
	))
	r, heard, err := ask(t, client(url))
	if err != nil || heard != "One moment." || r.Text != heard || r.Model != "m-1" || r.FinishReason != "tool_calls" || r.Usage != (Usage{In: 19, Out: 10}) {
		t.Fatalf("%+v, heard %q: %v", r, heard, err)
	}
	want := []ToolCall{{ID: "a", Name: "transfer", Arguments: `{"to":"sales"}`}, {ID: "b", Name: "note", Arguments: "{}", Invalid: true}}
	if fmt.Sprint(r.ToolCalls) != fmt.Sprint(want) {
		t.Errorf("tools %+v, want %+v", r.ToolCalls, want)
	}
}

func TestToolCallsOfLessExactServersAreKeptApart(t *testing.T) {
	t.Parallel()
	url, _ := serve(t, lineup(
		tool(`{"index":0,"id":"a","function":{"name":"one","arguments":"{}"}}`),
		tool(`{"index":0,"id":"b","function":{"name":"two","arguments":"{\"n\""}}`),
		tool(`{"index":0,"function":{"arguments":":2}"}}`),
		tool(`{"index":7,"function":{"name":"three","arguments":""}}`),
		end("tool_calls"), over,
	))
	r, _, err := ask(t, client(url))
	if err != nil || len(r.ToolCalls) != 3 || r.ToolCalls[1].Arguments != `{"n":2}` || r.ToolCalls[2].Arguments != "{}" || r.ToolCalls[2].Invalid || r.ToolCalls[2].ID == "" {
		t.Errorf("%+v: %v", r.ToolCalls, err)
	}
}

func TestToolCallsWithoutEndAreBounded(t *testing.T) {
	t.Parallel()
	lines := []string{begin}
	for i := range 3 * maxCalls {
		lines = append(lines, tool(fmt.Sprintf(`{"index":%d,"id":"c%d","function":{"name":"x","arguments":"{}"}}`, i, i)))
	}
	url, _ := serve(t, lineup(append(lines, end("tool_calls"), over)...))
	if r, _, err := ask(t, client(url)); err != nil || len(r.ToolCalls) != maxCalls || r.ToolCalls[maxCalls-1].ID != fmt.Sprint("c", maxCalls-1) {
		t.Errorf("%d calls: %v", len(r.ToolCalls), err)
	}
}

func TestAnswerThatDoesNotFinishIsAnErrorWithWhatCame(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	stall := func(w http.ResponseWriter, r *http.Request) {
		lineup(begin, word("So "))(w, r)
		<-r.Context().Done()
	}
	reset := func(w http.ResponseWriter, r *http.Request) {
		lineup(begin, word("So "))(w, r)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		text   string
		kind   Kind
	}{
		"no end":            {lineup(begin, word("So ")), "So ", Cut},
		"done but no end":   {lineup(begin, word("So "), over), "So ", Cut},
		"nothing":           {lineup(), "", Cut},
		"stalled at once":   {hang, "", Stalled},
		"stalled later":     {stall, "So ", Stalled},
		"reset":             {reset, "So ", Down},
		"error in it":       {lineup(begin, word("So "), "data: "+apiError("server_error", "")), "So ", Down},
		"busy in it":        {lineup(begin, word("So "), "data: "+apiError("requests", "rate_limit_exceeded")), "So ", Busy},
		"rubbish in it":     {lineup(begin, word("So "), "data: {not json"), "So ", Down},
		"filtered":          {lineup(begin, word("So "), end("content_filter"), over), "So ", Refused},
		"refused":           {lineup(begin, `data: {"choices":[{"index":0,"delta":{"refusal":"I will not"},"finish_reason":null}]}`, end("stop"), over), "", Refused},
		"call begun":        {lineup(begin, word("So "), tool(`{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}`)), "So ", Cut},
		"empty":             {lineup(begin, end("stop"), over), "", Unusable},
		"rubbish all of it": {status(200, nil, "\x00\x01"), "", Cut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, tc.answer)
			c := client(url)
			if tc.kind == Stalled {
				c = hasty(url)
			}
			r, heard, err := ask(t, c)
			if KindOf(err) != tc.kind || heard != tc.text || r.Text != tc.text || len(r.ToolCalls) != 0 {
				t.Errorf("%v, heard %q, result %+v; want %s after %q", err, heard, r, tc.kind, tc.text)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds what the server said: %v", err)
			}
		})
	}
}

func TestWhatFollowsTheEndCannotSpoilAnAnswer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"held open": func(w http.ResponseWriter, r *http.Request) {
			lineup(word("Done."), end("stop"))(w, r)
			<-r.Context().Done()
		},
		"cut":     lineup(word("Done."), end("stop")),
		"rubbish": lineup(word("Done."), end("stop"), "data: {"),
		"more": func(w http.ResponseWriter, r *http.Request) {
			lineup(word("Done."), end("stop"))(w, r)
			for r.Context().Err() == nil {
				lineup(word(" And more."))(w, r)
			}
		},
		"length": lineup(word("Done."), end("length"), over),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := serve(t, answer)
			began := time.Now()
			c := Open(Options{APIKey: "k", BaseURL: url, Model: "m"})
			if r, _, err := ask(t, c); err != nil || r.Text != "Done." || r.FinishReason == "" {
				t.Errorf("%+v: %v", r, err)
			}
			if took := time.Since(began); took > 4500*time.Millisecond {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestNothingMoreToSayIsAnAnswerOnlyWhenGoingOn(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, lineup(begin, end("stop"), over))
	r, err := client(url).Stream(t.Context(), []Message{{Role: "user", Text: "hi"}, {Role: "assistant", Text: "Hello."}}, nil, func(string) error { return nil })
	if err != nil || r.Text != "" || requests.Load() != 1 {
		t.Errorf("%+v after %d requests: %v", r, requests.Load(), err)
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer   http.HandlerFunc
		kind     Kind
		requests int64
	}{
		"busy":            {status(429, nil, apiError("requests", "rate_limit_exceeded")), Busy, 3},
		"quota":           {status(429, nil, apiError("insufficient_quota", "insufficient_quota")), Quota, 1},
		"no credit":       {status(429, nil, apiError("billing", "credit_balance_exhausted")), Quota, 1},
		"wrong key":       {status(401, nil, apiError("invalid_request_error", "invalid_api_key")), Unauthorised, 1},
		"forbidden":       {status(403, nil, "{}"), Unauthorised, 1},
		"too long":        {status(400, nil, apiError("invalid_request_error", "context_length_exceeded")), TooLong, 1},
		"filtered":        {status(400, nil, apiError("invalid_request_error", "content_filter")), Refused, 1},
		"bad":             {status(400, nil, apiError("invalid_request_error", "invalid_value")), Bad, 1},
		"no such model":   {status(404, nil, apiError("invalid_request_error", "model_not_found")), Bad, 1},
		"server":          {status(500, nil, apiError("server_error", "")), Down, 3},
		"overloaded":      {status(503, nil, apiError("overloaded", "slow_down")), Busy, 3},
		"html":            {status(502, map[string]string{"Content-Type": "text/html"}, "<html>secret</html>"), Down, 3},
		"timeout":         {status(408, nil, ""), Down, 3},
		"too long a wait": {status(429, map[string]string{"Retry-After": "11"}, apiError("requests", "rate_limit_exceeded")), Busy, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, requests := serve(t, tc.answer)
			c := client(url)
			_, _, err := ask(t, c)
			if KindOf(err) != tc.kind || requests.Load() != tc.requests {
				t.Errorf("stream: %v after %d requests, want %s after %d", err, requests.Load(), tc.kind, tc.requests)
			}
			var e *Error
			if !errors.As(err, &e) || e.Retryable() != (tc.kind == Busy || tc.kind == Down) || strings.Contains(err.Error(), "secret") {
				t.Errorf("stream: %v", err)
			}
			if _, err := c.JSON(t.Context(), "s", "u", "n", json.RawMessage(`{}`)); tc.requests == 1 && name != "too long a wait" && KindOf(err) != tc.kind {
				t.Errorf("document: %v, want %s", err, tc.kind)
			}
		})
	}
}

func TestServerIsLeftAloneAsLongAsItAsks(t *testing.T) {
	t.Parallel()
	var first time.Time
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		first = time.Now()
		status(429, map[string]string{"Retry-After-Ms": "250"}, apiError("requests", "rate_limit_exceeded"))(w, r)
	}, lineup(word("Yes."), end("stop"), over))
	r, _, err := ask(t, client(url))
	if waited := time.Since(first); err != nil || r.Text != "Yes." || waited < 250*time.Millisecond {
		t.Errorf("%+v after %v: %v", r, waited, err)
	}
	now := time.Now().Truncate(time.Second) // a date has no more
	for v, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "0.5": 500 * time.Millisecond, "-1": 0, "soon": 0,
		now.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("Retry-After %q is %v, want %v", v, got, want)
		}
	}
}

func TestNoTimeLeftIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, status(429, map[string]string{"Retry-After": "60"}, apiError("requests", "rate_limit_exceeded")))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	c := Open(Options{APIKey: "k", BaseURL: url, Model: "m"})
	_, err := c.Stream(ctx, []Message{{Role: "user", Text: "hi"}}, nil, func(string) error { return nil })
	if KindOf(err) != Busy || requests.Load() != 1 || time.Since(began) > 25*time.Second {
		t.Errorf("%v after %v and %d requests", err, time.Since(began), requests.Load())
	}
}

// Who stops waiting is told what there was to wait for.
func TestErrorOfTheLastTryIsToldWhenWaitingEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status(429, map[string]string{"Retry-After": "5"}, apiError("requests", "rate_limit_exceeded"))(w, r)
		time.AfterFunc(300*time.Millisecond, cancel)
	})
	_, err := client(url).Stream(ctx, []Message{{Role: "user", Text: "hi"}}, nil, func(string) error { return nil })
	if KindOf(err) != Busy || requests.Load() != 1 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
}

func TestRetriesEndWithTheFirstWord(t *testing.T) {
	t.Parallel()
	good := lineup(word("Right."), end("stop"), over)
	url, requests := serve(t, status(500, nil, ""), lineup(begin), good)
	if r, heard, err := ask(t, client(url)); err != nil || heard != "Right." || r.Text != heard || requests.Load() != 3 {
		t.Errorf("%+v, heard %q after %d requests: %v", r, heard, requests.Load(), err)
	}
	url, requests = serve(t, lineup(begin, word("So ")), good)
	if r, heard, err := ask(t, client(url)); KindOf(err) != Cut || heard != "So " || r.Text != "So " || requests.Load() != 1 {
		t.Errorf("%+v, heard %q after %d requests: %v", r, heard, requests.Load(), err)
	}
	// Of an attempt that nobody saw nothing is left.
	url, _ = serve(t, lineup(tool(`{"index":0,"id":"a","function":{"name":"x","arguments":"{}"}}`)), good)
	if r, _, err := ask(t, client(url)); err != nil || len(r.ToolCalls) != 0 {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestListenerCanStopAnAnswer(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	gone := make(chan struct{})
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		lineup(word("a "), word("b "))(w, r)
		<-r.Context().Done()
		close(gone)
	})
	r, err := client(url).Stream(t.Context(), []Message{{Role: "user", Text: "hi"}}, nil, func(string) error { return enough })
	if !errors.Is(err, enough) || r.Text != "a " || requests.Load() != 1 {
		t.Errorf("%+v after %d requests: %v", r, requests.Load(), err)
	}
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Error("the request goes on")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client(url).Stream(ctx, []Message{{Role: "user", Text: "hi"}}, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// How long the listener takes is not held against the server.
func TestSlowListenerIsNotAStall(t *testing.T) {
	t.Parallel()
	heard := make(chan struct{})
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		lineup(word("a "))(w, r)
		<-heard
		lineup(word("b "), end("stop"), over)(w, r)
	})
	slow := func(s string) error {
		if s == "a " {
			<-time.After(600 * time.Millisecond)
			close(heard)
		}
		return nil
	}
	if r, err := hasty(url).Stream(t.Context(), []Message{{Role: "user", Text: "hi"}}, nil, slow); err != nil || r.Text != "a b " {
		t.Errorf("%+v: %v", r, err)
	}
}

func TestServerThatIsDownIsNotAskedAgainAndAgain(t *testing.T) {
	t.Parallel()
	up := atomic.Bool{}
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if up.Load() {
			lineup(word("Yes."), end("stop"), over)(w, r)
			return
		}
		w.WriteHeader(500)
	})
	c := Open(Options{APIKey: "k", BaseURL: url, Model: "m", Tries: 1})
	for range tripAfter + 10 {
		if _, _, err := ask(t, c); KindOf(err) != Down {
			t.Fatal(err)
		}
	}
	if n := requests.Load(); n != tripAfter {
		t.Errorf("asked %d times, want %d", n, tripAfter)
	}
	up.Store(true)
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if _, _, err := ask(t, c); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never asked again")
		}
	}
}

// What one caller gets wrong, or who hangs up, does not stop the others.
func TestOnlyTheServersOwnTroubleCounts(t *testing.T) {
	t.Parallel()
	url, requests := serve(t, status(400, nil, apiError("invalid_request_error", "invalid_value")))
	c := Open(Options{APIKey: "k", BaseURL: url, Model: "m", Tries: 1})
	for range tripAfter + 10 {
		if _, _, err := ask(t, c); KindOf(err) != Bad {
			t.Fatal(err)
		}
	}
	if n := requests.Load(); n != tripAfter+10 {
		t.Errorf("asked %d times", n)
	}
}

func TestCallersWhoHangUpSayNothingOfTheServer(t *testing.T) {
	t.Parallel()
	hangUp := atomic.Bool{}
	asked := make(chan struct{}, 1)
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if hangUp.Load() {
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		w.WriteHeader(500)
	})
	c := Open(Options{APIKey: "k", BaseURL: url, Model: "m", Tries: 1})
	for i := range tripAfter + 10 {
		hangUp.Store(i == tripAfter-1)
		if !hangUp.Load() {
			if _, _, err := ask(t, c); KindOf(err) != Down {
				t.Fatal(err)
			}
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if _, err := c.Stream(ctx, []Message{{Role: "user", Text: "hi"}}, nil, func(string) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if n := requests.Load(); n != tripAfter+1 {
		t.Errorf("asked %d times, want %d", n, tripAfter+1)
	}
}

func TestRequestsAreOnesTheServerAccepts(t *testing.T) {
	t.Parallel()
	var got map[string]any
	url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = nil
		_ = json.NewDecoder(r.Body).Decode(&got)
		lineup(word("Yes."), end("stop"), over)(w, r)
	})
	c := client(url)
	msgs := []Message{
		{Role: "system", Text: "s"},
		{Role: "user"},
		{Role: "assistant", ToolCalls: []ToolCall{{ID: "a", Name: "x"}}},
		{Role: "tool", ToolCallID: "a"},
	}
	tools := []Tool{{Name: "x", Description: "d", Parameters: json.RawMessage(`{"type":"object"}`)}}
	if _, err := c.Stream(t.Context(), msgs, tools, func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(got)
	for _, want := range []string{
		`{"content":" ","role":"user"}`, `"arguments":"{}"`, `{"content":" ","role":"tool","tool_call_id":"a"}`,
		`"include_usage":true`, `"stream":true`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	for _, not := range []string{"temperature", "max_tokens", "top_p", "reasoning_effort"} {
		if _, ok := got[not]; ok {
			t.Errorf("%s is sent", not)
		}
	}
	// Names the client library has rules of its own for.
	for model, kind := range map[string]Kind{"o1-mini": "", "gpt-5-mini": "", "gpt-6-luna": "", "gpt-6-astra": Bad} {
		before := requests.Load()
		c := Open(Options{APIKey: "k", BaseURL: url, Model: model})
		if _, err := c.Stream(t.Context(), msgs, tools, func(string) error { return nil }); KindOf(err) != kind {
			t.Errorf("%s: %v", model, err)
		}
		if kind == Bad && requests.Load() != before {
			t.Errorf("%s: asked the server", model)
		}
	}
}

func TestDocumentIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	doc := func(message, finish string) http.HandlerFunc {
		return status(200, nil, `{"model":"m-1","choices":[{"index":0,"message":`+message+`,"finish_reason":"`+finish+`"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, tc := range map[string]struct {
		answer   http.HandlerFunc
		kind     Kind
		requests int64
	}{
		"good":       {doc(`{"role":"assistant","content":"{\"a\":1}"}`, "stop"), "", 1},
		"refused":    {doc(`{"role":"assistant","content":null,"refusal":"no"}`, "stop"), Refused, 1},
		"filtered":   {doc(`{"role":"assistant","content":"{}"}`, "content_filter"), Refused, 1},
		"too long":   {doc(`{"role":"assistant","content":"{\"a\":"}`, "length"), TooLong, 1},
		"empty":      {doc(`{"role":"assistant","content":null}`, "stop"), Unusable, 3},
		"not JSON":   {doc(`{"role":"assistant","content":"Sure! Here"}`, "stop"), Unusable, 3},
		"no choices": {status(200, nil, `{"choices":[]}`), Unusable, 3},
		"rubbish":    {status(200, nil, "\x00"), Down, 3},
		"hanging":    {hang, Stalled, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bodies := make(chan []byte, 3)
			url, requests := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies <- body
				tc.answer(w, r)
			})
			c := client(url)
			if tc.kind == Stalled {
				c = hasty(url)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r, err := c.JSON(ctx, "s", "u", "shape", json.RawMessage(`{"type":"object"}`))
			if KindOf(err) != tc.kind || requests.Load() != tc.requests {
				t.Errorf("%+v after %d requests: %v", r, requests.Load(), err)
			}
			if tc.kind == "" && (r.Text != `{"a":1}` || r.Usage != (Usage{5, 2}) || r.Model != "m-1") {
				t.Errorf("%+v", r)
			}
			var got map[string]any
			_ = json.Unmarshal(<-bodies, &got)
			if raw, _ := json.Marshal(got["response_format"]); string(raw) != `{"json_schema":{"name":"shape","schema":{"type":"object"},"strict":true},"type":"json_schema"}` {
				t.Errorf("asked for %s", raw)
			}
		})
	}
}

// A connection that has carried one answer carries the next: a new one costs a
// caller a handshake's time.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	conns := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lineup(begin, word("Yes."), end("stop"), count, over)(w, r)
		<-time.After(20 * time.Millisecond) // the end of the body comes after the end of the answer
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if s == http.StateNew {
			conns++
		}
	}
	srv.Start()
	defer srv.Close()
	c := client(srv.URL + "/v1")
	for range 20 {
		if _, _, err := ask(t, c); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if conns > 2 {
		t.Errorf("%d connections for 20 answers", conns)
	}
}

// BenchmarkStream is what the client adds to the server's own time, for an
// answer of 30 words; the raw limit reads the same bytes without looking.
func BenchmarkStream(b *testing.B) {
	lines := []string{begin}
	for range 30 {
		lines = append(lines, word("word "))
	}
	lines = append(lines, end("stop"), count, over)
	whole := strings.Join(lines, "\n\n") + "\n\n"
	url, _ := serve(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, whole)
	})
	c := Open(Options{APIKey: "k", BaseURL: url, Model: "m"})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := ask(b, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			resp, err := http.Post(url+"/chat/completions", "application/json", strings.NewReader("{}"))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
