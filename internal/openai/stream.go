package openai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	sdk "github.com/sashabaranov/go-openai"
)

// tail is how long the end of a stream may follow its last word: the answer is
// complete, and only the count of its tokens can still come.
const tail = 300 * time.Millisecond

// Stream asks for an answer and hands its words to onText as they come. It is
// complete only when the server said so; otherwise the error is Cut or Stalled
// and the result holds what came. Retries happen before the first word only. A
// last message of the assistant's is to be gone on from; then, and only then,
// nothing is an answer too. An error of onText ends the stream and is returned.
func (c *Client) Stream(ctx context.Context, messages []Message, tools []Tool, onText func(string) error) (Result, error) {
	req := c.request(messages, tools)
	req.StreamOptions = &sdk.StreamOptions{IncludeUsage: true}
	a := &answer{onText: onText, mayBeEmpty: len(messages) > 0 && messages[len(messages)-1].Role == "assistant"}
	err := c.retry(ctx, c.o.FirstByte, func(done func(error)) (bool, error) {
		err := c.stream(ctx, req, a, done)
		return a.text.Len() == 0, err
	})
	return a.result(), err
}

// answer is what has come of an answer.
type answer struct {
	onText     func(string) error
	mayBeEmpty bool

	text     strings.Builder
	calls    []ToolCall
	at       map[int]int // index of the stream → place in calls
	model    string
	finished string
	usage    Usage
}

func (a *answer) result() Result {
	r := Result{Text: a.text.String(), Model: a.model, FinishReason: a.finished, Usage: a.usage}
	if a.finished != "" {
		r.ToolCalls = valid(a.calls)
	}
	return r
}

// stream makes one attempt. It tells answered as soon as the server is seen to
// work, or not to.
func (c *Client) stream(ctx context.Context, req sdk.ChatCompletionRequest, a *answer, answered func(error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, n := withNote(ctx)
	stalled := &Error{Kind: Stalled}
	watch := time.AfterFunc(c.o.FirstByte, func() { cancel(stalled) })
	defer watch.Stop()
	fail := func(err error) error {
		switch {
		case errors.Is(context.Cause(ctx), stalled):
			return stalled
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.ErrUnexpectedEOF):
			return &Error{Kind: Cut}
		}
		return classify(err, n)
	}
	s, err := c.api.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	a.calls, a.at, a.finished = nil, map[int]int{}, "" // of an attempt nobody saw
	for {
		chunk, err := s.Recv()
		if err != nil {
			if a.finished == "" && !errors.Is(err, io.EOF) {
				return fail(err)
			}
			break // what comes after the end can no longer fail
		}
		if a.finished != "" {
			a.count(&chunk)
			continue // on the time that is left: a server may go on for ever
		}
		watch.Stop() // how long the caller's own side takes is not the server's fault
		if err := a.take(&chunk, answered); err != nil {
			return err
		}
		if a.finished == "" {
			watch.Reset(c.o.Between)
		} else {
			watch.Reset(min(tail, c.o.Between))
		}
	}
	if a.finished != "" {
		n.drain()
	}
	return a.verdict()
}

// take adds one chunk.
func (a *answer) take(chunk *sdk.ChatCompletionStreamResponse, answered func(error)) error {
	if a.model == "" {
		a.model = chunk.Model
	}
	a.count(chunk)
	if len(chunk.Choices) == 0 {
		return nil // the count of tokens comes by itself
	}
	choice := &chunk.Choices[0]
	if choice.FinishReason != "" {
		a.finished = string(choice.FinishReason)
	}
	if choice.Delta.Refusal != "" {
		return &Error{Kind: Refused}
	}
	a.collect(choice.Delta.ToolCalls)
	d := choice.Delta.Content
	if d == "" {
		return nil
	}
	answered(nil)
	a.text.WriteString(d)
	return a.onText(d)
}

func (a *answer) count(chunk *sdk.ChatCompletionStreamResponse) {
	if u := chunk.Usage; u != nil {
		a.usage = Usage{In: u.PromptTokens, Out: u.CompletionTokens}
	}
}

// verdict is whether what has come is an answer.
func (a *answer) verdict() error {
	switch {
	case a.finished == "":
		return &Error{Kind: Cut}
	case a.finished == string(sdk.FinishReasonContentFilter):
		return &Error{Kind: Refused}
	case a.text.Len() == 0 && len(valid(a.calls)) == 0 && !a.mayBeEmpty:
		return &Error{Kind: Unusable}
	}
	return nil
}

// collect joins the fragments of tool calls, which come by index. Some servers
// give calls made at once the same index, and tell them apart by id.
func (a *answer) collect(deltas []sdk.ToolCall) {
	for _, d := range deltas {
		index := len(a.calls)
		if d.Index != nil {
			index = *d.Index
		}
		i, ok := a.at[index]
		if !ok || d.ID != "" && a.calls[i].ID != "" && d.ID != a.calls[i].ID {
			if len(a.calls) == maxCalls {
				continue
			}
			i = len(a.calls)
			a.at[index] = i
			a.calls = append(a.calls, ToolCall{})
		}
		c := &a.calls[i]
		if d.ID != "" {
			c.ID = d.ID
		}
		if d.Function.Name != "" {
			c.Name = d.Function.Name
		}
		c.Arguments += d.Function.Arguments
	}
}

// maxCalls is more than one answer can have use for.
const maxCalls = 16

func valid(calls []ToolCall) (out []ToolCall) {
	for i, c := range calls {
		if c.Name == "" {
			continue
		}
		if c.ID == "" {
			c.ID = "call_" + strconv.Itoa(i) // its result must name one
		}
		switch {
		case strings.TrimSpace(c.Arguments) == "":
			c.Arguments = "{}"
		case !json.Valid([]byte(c.Arguments)):
			c.Arguments, c.Invalid = "{}", true
		}
		out = append(out, c)
	}
	return out
}
