package simulated

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ModelName is what the stand-in calls itself, whatever model is asked for.
const ModelName = "simulated-1"

// OpenAIOptions of a stand-in for OpenAI. Kinds of fault: delay stall cut reset
// error 429 500 html rubbish arguments empty length.
type OpenAIOptions struct {
	Addr       string        // default 127.0.0.1:0
	FirstDelay time.Duration // until the first chunk
	ChunkDelay time.Duration // between chunks
	Faults     []Fault
}

// OpenAI is a running stand-in.
type OpenAI struct {
	o        OpenAIOptions
	l        net.Listener
	srv      *http.Server
	faults   faults
	requests atomic.Int64
	waited   atomic.Int64 // nanoseconds before first chunks, all together
	streams  atomic.Int64
}

// StartOpenAI serves until Close.
func StartOpenAI(o OpenAIOptions) (*OpenAI, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	s := &OpenAI{o: o, l: l}
	s.faults.set(o.Faults)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	mux.HandleFunc("POST /_simulated/faults", s.faults.serve)
	s.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.srv.Serve(l) }()
	return s, nil
}

// URL is the base URL for clients.
func (s *OpenAI) URL() string { return "http://" + s.l.Addr().String() + "/v1" }

// Requests is how many completions were asked for.
func (s *OpenAI) Requests() int64 { return s.requests.Load() }

// Delay is what the stand-in itself really took, on average, from a request to
// the first chunk of its answer.
func (s *OpenAI) Delay() time.Duration {
	return time.Duration(s.waited.Load() / max(s.streams.Load(), 1))
}

// Close stops the server and cuts what it is sending.
func (s *OpenAI) Close() error { return s.srv.Close() }

type chatRequest struct {
	Model    string        `json:"model"`
	Messages []chatMessage `json:"messages"`
	Stream   bool          `json:"stream"`
	Tools    []struct {
		Function struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Parameters  json.RawMessage `json:"parameters"`
		} `json:"function"`
	} `json:"tools"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	ResponseFormat struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Name string `json:"name"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

type chatMessage struct {
	Role      string `json:"role"`
	Content   string `json:"content"`
	ToolCalls []struct {
		ID       string `json:"id"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	} `json:"tool_calls"`
}

func apiError(w http.ResponseWriter, status int, typ, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": typ, "param": nil, "code": code}})
}

func (s *OpenAI) chat(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	n := s.requests.Add(1)
	w.Header().Set("x-request-id", "req_"+strconv.FormatInt(n, 10))
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		apiError(w, 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")
		return
	}
	var req chatRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<20)).Decode(&req); err != nil || len(req.Messages) == 0 {
		apiError(w, 400, "invalid_request_error", "invalid_value", "We could not parse the JSON body of your request.")
		return
	}
	if f, ok := s.faults.next("429", "500", "html", "rubbish", "delay"); ok && s.fail(w, r, f) {
		return
	}
	pause(r, s.o.FirstDelay)
	if req.ResponseFormat.JSONSchema.Name == "call_findings" {
		s.document(w, req, n)
		return
	}
	a := answerTo(req)
	if !req.Stream {
		s.whole(w, a.text, n)
		return
	}
	s.waited.Add(int64(time.Since(began)))
	s.streams.Add(1)
	s.stream(w, r, req, a, n)
}

// fail is a fault before any answer; false: go on.
func (s *OpenAI) fail(w http.ResponseWriter, r *http.Request, f Fault) bool {
	pause(r, time.Duration(f.DelayMS)*time.Millisecond)
	switch f.Kind {
	case "429":
		w.Header().Set("Retry-After", "1")
		apiError(w, 429, "requests", "rate_limit_exceeded", "Rate limit reached.")
	case "500":
		apiError(w, 500, "server_error", "", "The server had an error while processing your request.")
	case "html":
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(502)
		fmt.Fprint(w, "<html><body>Bad Gateway</body></html>")
	case "rubbish":
		fmt.Fprint(w, "\x00\x01 not what you asked for")
	default:
		return false
	}
	return true
}

func (s *OpenAI) document(w http.ResponseWriter, req chatRequest, n int64) {
	text, err := extract(req.Messages[len(req.Messages)-1].Content)
	if err != nil {
		apiError(w, 400, "invalid_request_error", "invalid_value", "The user message is not the document expected.")
		return
	}
	s.whole(w, text, n)
}

func (s *OpenAI) whole(w http.ResponseWriter, text string, n int64) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": fmt.Sprintf("chatcmpl-%d", n), "object": "chat.completion", "created": 1, "model": ModelName,
		"choices": []any{map[string]any{
			"index": 0, "finish_reason": "stop", "logprobs": nil,
			"message": map[string]any{"role": "assistant", "content": text, "refusal": nil},
		}},
		"usage": usage(text),
	})
}

func usage(text string) map[string]int {
	out := len(text)/4 + 1
	return map[string]int{"prompt_tokens": 100, "completion_tokens": out, "total_tokens": 100 + out}
}

// stream sends the answer in chunks of a word.
func (s *OpenAI) stream(w http.ResponseWriter, r *http.Request, req chatRequest, a reply, n int64) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	chunk := func(delta any, finish any) {
		raw, err := json.Marshal(map[string]any{
			"id": fmt.Sprintf("chatcmpl-%d", n), "object": "chat.completion.chunk", "created": 1, "model": ModelName,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}}, "usage": nil,
		})
		if err == nil {
			fmt.Fprintf(w, "data: %s\n\n", raw)
			_ = flush.Flush()
		}
	}
	fault, faulty := s.faults.next("stall", "cut", "reset", "error", "arguments", "empty", "length")
	finish := "stop"
	switch {
	case faulty && fault.Kind == "empty":
		a = reply{}
	case faulty && fault.Kind == "length":
		finish = "length"
	}
	words := strings.SplitAfter(a.text, " ")
	for i, word := range words {
		if faulty && i >= fault.AfterChunks && s.breakOff(w, r, fault) {
			return
		}
		if i > 0 {
			pause(r, s.o.ChunkDelay)
		}
		if r.Context().Err() != nil {
			return
		}
		if i == 0 {
			chunk(map[string]any{"role": "assistant", "content": word}, nil)
		} else if word != "" {
			chunk(map[string]any{"content": word}, nil)
		}
	}
	for i, c := range a.calls {
		args := c.arguments
		if faulty && fault.Kind == "arguments" {
			args = `{"broken":`
		}
		id := fmt.Sprintf("call_%d_%d", n, i)
		chunk(map[string]any{"tool_calls": []any{map[string]any{
			"index": i, "id": id, "type": "function",
			"function": map[string]any{"name": c.name, "arguments": ""},
		}}}, nil)
		half := len(args) / 2
		for _, part := range []string{args[:half], args[half:]} {
			chunk(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": part}}}}, nil)
		}
		finish = "tool_calls"
	}
	chunk(map[string]any{}, finish)
	if req.StreamOptions.IncludeUsage {
		raw, _ := json.Marshal(map[string]any{"id": "chatcmpl", "object": "chat.completion.chunk", "created": 1, "model": ModelName, "choices": []any{}, "usage": usage(a.text)})
		fmt.Fprintf(w, "data: %s\n\n", raw)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// breakOff is a fault in the middle of an answer; false: it goes on.
func (s *OpenAI) breakOff(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f.Kind {
	case "stall":
		<-r.Context().Done()
	case "cut":
	case "reset":
		reset(w)
	case "error":
		fmt.Fprint(w, "data: {\"error\":{\"message\":\"The server had an error.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n")
	default:
		return false
	}
	return true
}
