package openai

import (
	"context"
	"encoding/json"
	"errors"

	sdk "github.com/sashabaranov/go-openai"
)

// JSON asks for one document that satisfies schema, and returns it unread. A
// refusal, a document too long for the model and one that is no JSON are
// errors; the result then holds what was paid for.
func (c *Client) JSON(ctx context.Context, system, user, name string, schema json.RawMessage) (Result, error) {
	late := &Error{Kind: Stalled}
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Document, late)
	defer cancel()
	req := c.request([]Message{{Role: "system", Text: system}, {Role: "user", Text: user}}, nil)
	req.ResponseFormat = &sdk.ChatCompletionResponseFormat{
		Type:       sdk.ChatCompletionResponseFormatTypeJSONSchema,
		JSONSchema: &sdk.ChatCompletionResponseFormatJSONSchema{Name: name, Schema: schema, Strict: true},
	}
	var r Result
	err := c.retry(ctx, c.o.Document, func(func(error)) (bool, error) {
		ctx, n := withNote(ctx)
		resp, err := c.api.CreateChatCompletion(ctx, req)
		switch {
		case err == nil:
			r, err = document(resp)
			return true, err
		case errors.Is(context.Cause(ctx), late):
			return false, late
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		return true, classify(err, n)
	})
	return r, err
}

// document is the one a response holds.
func document(resp sdk.ChatCompletionResponse) (Result, error) {
	r := Result{Model: resp.Model, Usage: Usage{In: resp.Usage.PromptTokens, Out: resp.Usage.CompletionTokens}}
	if len(resp.Choices) == 0 {
		return r, &Error{Kind: Unusable}
	}
	choice := resp.Choices[0]
	r.Text, r.FinishReason = choice.Message.Content, string(choice.FinishReason)
	switch {
	case choice.Message.Refusal != "" || choice.FinishReason == sdk.FinishReasonContentFilter:
		return r, &Error{Kind: Refused}
	case choice.FinishReason == sdk.FinishReasonLength:
		return r, &Error{Kind: TooLong}
	case choice.FinishReason != sdk.FinishReasonStop || !json.Valid([]byte(r.Text)):
		return r, &Error{Kind: Unusable}
	}
	return r, nil
}
