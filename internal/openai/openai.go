// Package openai is what we need of OpenAI, or of any server that speaks its
// API: a streamed answer with tools, and one strict JSON document.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	sdk "github.com/sashabaranov/go-openai"
	"github.com/sony/gobreaker/v2"
)

// Kind is why a request came to nothing.
type Kind string

// Kinds of failure.
const (
	Busy         Kind = "busy"         // 429: rate limit
	Quota        Kind = "quota"        // 429: nothing left to spend
	Unauthorised Kind = "unauthorised" // 401, 403
	Bad          Kind = "bad"          // 400, 404: the same request fails again
	Down         Kind = "down"         // 5xx, no connection, rubbish
	Cut          Kind = "cut"          // the answer ended without saying so
	Stalled      Kind = "stalled"      // nothing came in time
	Unusable     Kind = "unusable"     // refused, filtered, too long or empty
)

// Error is a failed request. Its text holds no content.
type Error struct {
	Kind   Kind
	Status int // HTTP; 0 when there was none
}

// Error names the kind and the status.
func (e *Error) Error() string {
	if e.Status == 0 {
		return "openai: " + string(e.Kind)
	}
	return fmt.Sprintf("openai: %s (status %d)", e.Kind, e.Status)
}

// Retryable reports whether the same request may succeed later.
func (e *Error) Retryable() bool {
	switch e.Kind {
	case Busy, Down, Cut, Stalled, Unusable:
		return true
	}
	return false
}

// KindOf is the kind of err, empty when it is not of a request.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// Options of a client. Zero times take the defaults beside them.
type Options struct {
	APIKey, BaseURL, Model string
	FirstByte              time.Duration // 4 s, until an answer begins
	Between                time.Duration // 5 s, between two pieces of it
	Document               time.Duration // 60 s, for a whole JSON document
	Tries                  uint          // 3, before any word has come
}

// Client speaks to one server. Safe for concurrent use.
type Client struct {
	o       Options
	api     *sdk.Client
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// Open prepares a client; nothing is sent yet.
func Open(o Options) *Client {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.FirstByte, 4*time.Second)
	def(&o.Between, 5*time.Second)
	def(&o.Document, 60*time.Second)
	if o.Tries == 0 {
		o.Tries = 3
	}
	cfg := sdk.DefaultConfig(o.APIKey)
	if o.BaseURL != "" {
		cfg.BaseURL = o.BaseURL
	}
	cfg.HTTPClient = &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   3 * time.Second,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   512, // every live call talks to the one host
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		ResponseHeaderTimeout: o.Document,
	}}
	return &Client{o: o, api: sdk.NewClientWithConfig(cfg), breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "openai", Timeout: 2 * time.Second, MaxRequests: 4,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= 20 },
		IsSuccessful: func(err error) bool {
			k := KindOf(err)
			return k != Down && k != Stalled
		},
	})}
}

// Message is one line of a chat. Role is system, user, assistant or tool.
type Message struct {
	Role, Text string
	ToolCalls  []ToolCall // of an assistant line
	ToolCallID string     // of a tool line
}

// Tool is a function the model may call; Parameters is its JSON Schema.
type Tool struct {
	Name, Description string
	Parameters        json.RawMessage
}

// ToolCall is the model's wish to call a tool. Arguments that are not JSON are
// marked invalid and replaced by {}.
type ToolCall struct {
	ID, Name, Arguments string
	Invalid             bool
}

// Usage counts tokens.
type Usage struct{ In, Out int }

// Result is an answer, or as much of it as came.
type Result struct {
	Text      string
	ToolCalls []ToolCall
	Model     string
	Usage     Usage
}

// Stream asks for an answer and hands its words to onText as they come. It is
// complete only when the server said so; otherwise the error is Cut or Stalled
// and the result holds what came. Retries happen before the first word only.
func (c *Client) Stream(ctx context.Context, messages []Message, tools []Tool, onText func(string) error) (Result, error) {
	req := sdk.ChatCompletionRequest{Model: c.o.Model, Messages: lines(messages), Stream: true}
	for _, t := range tools {
		req.Tools = append(req.Tools, sdk.Tool{Type: sdk.ToolTypeFunction, Function: &sdk.FunctionDefinition{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters,
		}})
	}
	var last Result
	_, err := c.retry(ctx, func() (bool, error) {
		var err error
		last, err = c.stream(ctx, req, onText)
		return last.Text == "" && len(last.ToolCalls) == 0, err
	})
	return last, err
}

// retry runs f until it succeeds, fails for good, or has shown words.
func (c *Client) retry(ctx context.Context, f func() (again bool, err error)) (struct{}, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, time.Second
	return backoff.Retry(ctx, func() (struct{}, error) {
		var again bool
		_, err := c.breaker.Execute(func() (struct{}, error) {
			var err error
			again, err = f()
			return struct{}{}, err
		})
		if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
			err = &Error{Kind: Down}
		}
		var e *Error
		if err != nil && (!again || ctx.Err() != nil || errors.As(err, &e) && !e.Retryable()) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(c.o.Tries))
}

func (c *Client) stream(ctx context.Context, req sdk.ChatCompletionRequest, onText func(string) error) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := &Error{Kind: Stalled}
	watch := time.AfterFunc(c.o.FirstByte, func() { cancel(stalled) })
	defer watch.Stop()
	fail := func(err error) error {
		if errors.Is(context.Cause(ctx), stalled) {
			return stalled
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return classify(err)
	}
	s, err := c.api.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return Result{}, fail(err)
	}
	defer s.Close()
	var (
		r        Result
		text     strings.Builder
		calls    []ToolCall
		finished string
	)
	for {
		chunk, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.Text = text.String()
			return r, fail(err)
		}
		watch.Reset(c.o.Between)
		if r.Model == "" {
			r.Model = chunk.Model
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		choice := chunk.Choices[0]
		if choice.FinishReason != "" {
			finished = string(choice.FinishReason)
		}
		calls = collect(calls, choice.Delta.ToolCalls)
		if d := choice.Delta.Content; d != "" {
			text.WriteString(d)
			r.Text = text.String()
			if err := onText(d); err != nil {
				return r, err
			}
		}
	}
	r.Text = text.String()
	switch finished {
	case "":
		return r, &Error{Kind: Cut}
	case "content_filter":
		return r, &Error{Kind: Unusable}
	}
	r.ToolCalls = valid(calls)
	if r.Text == "" && len(r.ToolCalls) == 0 {
		return r, &Error{Kind: Unusable}
	}
	return r, nil
}

// collect joins the fragments of tool calls, which come by index.
func collect(calls []ToolCall, deltas []sdk.ToolCall) []ToolCall {
	for _, d := range deltas {
		i := len(calls)
		if d.Index != nil {
			i = *d.Index
		}
		if i < 0 || i > 16 {
			continue
		}
		for len(calls) <= i {
			calls = append(calls, ToolCall{})
		}
		if d.ID != "" {
			calls[i].ID = d.ID
		}
		if d.Function.Name != "" {
			calls[i].Name = d.Function.Name
		}
		calls[i].Arguments += d.Function.Arguments
	}
	return calls
}

func valid(calls []ToolCall) (out []ToolCall) {
	for _, c := range calls {
		if c.Name == "" {
			continue
		}
		if !json.Valid([]byte(c.Arguments)) {
			c.Arguments, c.Invalid = "{}", true
		}
		out = append(out, c)
	}
	return out
}

func lines(messages []Message) (out []sdk.ChatCompletionMessage) {
	for _, m := range messages {
		l := sdk.ChatCompletionMessage{Role: m.Role, Content: m.Text, ToolCallID: m.ToolCallID}
		if m.Role == "tool" && m.Text == "" {
			l.Content = " " // an empty one would be left out, which the server refuses
		}
		for _, c := range m.ToolCalls {
			l.ToolCalls = append(l.ToolCalls, sdk.ToolCall{
				ID: c.ID, Type: sdk.ToolTypeFunction,
				Function: sdk.FunctionCall{Name: c.Name, Arguments: c.Arguments},
			})
		}
		out = append(out, l)
	}
	return out
}

// JSON asks for one document that satisfies schema, and returns it unread.
func (c *Client) JSON(ctx context.Context, system, user, name string, schema json.RawMessage) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Document)
	defer cancel()
	req := sdk.ChatCompletionRequest{
		Model:    c.o.Model,
		Messages: []sdk.ChatCompletionMessage{{Role: "system", Content: system}, {Role: "user", Content: user}},
		ResponseFormat: &sdk.ChatCompletionResponseFormat{
			Type:       sdk.ChatCompletionResponseFormatTypeJSONSchema,
			JSONSchema: &sdk.ChatCompletionResponseFormatJSONSchema{Name: name, Schema: schema, Strict: true},
		},
	}
	var r Result
	_, err := c.retry(ctx, func() (bool, error) {
		resp, err := c.api.CreateChatCompletion(ctx, req)
		if err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, &Error{Kind: Stalled}
			}
			return true, classify(err)
		}
		r = Result{Model: resp.Model, Usage: Usage{In: resp.Usage.PromptTokens, Out: resp.Usage.CompletionTokens}}
		if len(resp.Choices) == 0 {
			return true, &Error{Kind: Unusable}
		}
		choice := resp.Choices[0]
		r.Text = choice.Message.Content
		if choice.FinishReason != sdk.FinishReasonStop || choice.Message.Refusal != "" || !json.Valid([]byte(r.Text)) {
			return true, &Error{Kind: Unusable}
		}
		return false, nil
	})
	return r, err
}

func classify(err error) error {
	var api *sdk.APIError
	var req *sdk.RequestError
	status, code := 0, ""
	switch {
	case errors.As(err, &api):
		status, code = api.HTTPStatusCode, fmt.Sprint(api.Code)
	case errors.As(err, &req):
		status = req.HTTPStatusCode
	}
	e := &Error{Kind: Down, Status: status}
	switch {
	case status == 429 && (strings.Contains(code, "quota") || strings.Contains(code, "credit")):
		e.Kind = Quota
	case status == 429:
		e.Kind = Busy
	case status == 401 || status == 403:
		e.Kind = Unauthorised
	case status >= 400 && status < 500:
		e.Kind = Bad
	}
	return e
}
