// Package openai is what we need of OpenAI, or of any server that speaks its
// API: a streamed answer with tools, and one strict JSON document.
package openai

import (
	"encoding/json"
	"net"
	"net/http"
	"time"

	sdk "github.com/sashabaranov/go-openai"
	"github.com/sony/gobreaker/v2"
)

// Options of a client. Zero values take the defaults beside them.
type Options struct {
	APIKey, BaseURL, Model string
	Effort                 string        // of reasoning, as the vendor names it; default: the model's own
	FirstByte              time.Duration // 4 s, until an answer begins
	Between                time.Duration // 5 s, between two pieces of it
	Document               time.Duration // 60 s, for a whole JSON document
	Tries                  uint          // 3, before any word has come
}

// Client speaks to one server. Safe for concurrent use.
type Client struct {
	o       Options
	api     *sdk.Client
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
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

// Usage counts tokens; zero where the server did not say.
type Usage struct{ In, Out int }

// Result is an answer, or as much of it as came.
type Result struct {
	Text         string
	ToolCalls    []ToolCall
	Model        string // as the server names it
	FinishReason string // as the server names it; empty: it did not finish
	Usage        Usage
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
	// How long an answer may take is for each request to say, not the transport:
	// two clocks for the one thing would call it by two names.
	cfg.HTTPClient = &http.Client{Transport: noting{&http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 3 * time.Second,
		MaxIdleConns:        128,
		MaxIdleConnsPerHost: 128, // every live call talks to the one host; over HTTP/2 one connection is enough
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		// One dead connection would otherwise stall every call that shares it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
	}}}
	return &Client{o: o, api: sdk.NewClientWithConfig(cfg), breaker: gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "openai", Timeout: 2 * time.Second, MaxRequests: 4,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsSuccessful: func(err error) bool {
			k := KindOf(err)
			return k != Down && k != Stalled
		},
		// A caller who hung up says nothing about the server.
		IsExcluded: func(err error) bool { return err != nil && KindOf(err) == "" },
	})}
}

// tripAfter is how many requests in a row must find the server down.
const tripAfter = 20

// request is what every request has in common. No sampling parameter is sent:
// reasoning models refuse them, and a temperature of zero would not be sent at all.
func (c *Client) request(messages []Message, tools []Tool) sdk.ChatCompletionRequest {
	req := sdk.ChatCompletionRequest{Model: c.o.Model, Messages: lines(messages), ReasoningEffort: c.o.Effort}
	for _, t := range tools {
		req.Tools = append(req.Tools, sdk.Tool{Type: sdk.ToolTypeFunction, Function: &sdk.FunctionDefinition{
			Name: t.Name, Description: t.Description, Parameters: t.Parameters,
		}})
	}
	if len(tools) > 0 && req.ReasoningEffort == "" && (req.Model == sdk.GPT6Sol || req.Model == sdk.GPT6Luna) {
		req.ReasoningEffort = sdk.ReasoningEffortNone // with any other they have no tools in a chat
	}
	return req
}

func lines(messages []Message) []sdk.ChatCompletionMessage {
	out := make([]sdk.ChatCompletionMessage, 0, len(messages))
	for _, m := range messages {
		l := sdk.ChatCompletionMessage{Role: m.Role, Content: m.Text, ToolCallID: m.ToolCallID}
		if m.Text == "" && len(m.ToolCalls) == 0 {
			l.Content = " " // an empty one would be left out, which the server refuses
		}
		for _, c := range m.ToolCalls {
			if c.Arguments == "" {
				c.Arguments = "{}" // as above
			}
			l.ToolCalls = append(l.ToolCalls, sdk.ToolCall{
				ID: c.ID, Type: sdk.ToolTypeFunction,
				Function: sdk.FunctionCall{Name: c.Name, Arguments: c.Arguments},
			})
		}
		out = append(out, l)
	}
	return out
}
