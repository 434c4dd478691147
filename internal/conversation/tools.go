package conversation

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/openai"
	"neurosphere.ai/neurosphere/internal/settings"
)

// Names of the tools.
const (
	toolMessage  = "take_message"
	toolText     = "send_text"
	toolEnd      = "end_call"
	toolTransfer = "transfer_call"
)

const (
	// done is a tool's result when there is nothing to add.
	done = "done"
	// stateWithin is how long the caller may wait for a fact to be stored.
	stateWithin = 3 * time.Second
)

// useAll does what the model asks for: facts first, so that none is lost
// because the call ends. settled means that the model need not be told.
func (t *turn) useAll(ctx context.Context, calls []openai.ToolCall) (action *events.Action, results []openai.Message, settled bool) {
	settled = true
	for _, call := range calls {
		a, result := t.use(ctx, call)
		if action == nil {
			action = a
		}
		settled = settled && result == done
		results = append(results, openai.Message{Role: "tool", ToolCallID: call.ID, Text: result})
	}
	if settled || action == nil {
		return action, results, settled
	}
	// The call goes on: what was promised has to be put right first.
	for i, call := range calls {
		if (call.Name == toolEnd || call.Name == toolTransfer) && results[i].Text == done {
			results[i].Text = "not done, because of the other tool's result; call it again when that is settled"
		}
	}
	return nil, results, false
}

// use does what a tool call asks, or says why not. Facts a retry states again
// are the same facts.
func (t *turn) use(ctx context.Context, call openai.ToolCall) (*events.Action, string) {
	var in struct {
		For, Message, Callback, Body, To, Reason string
	}
	if call.Invalid || json.Unmarshal([]byte(call.Arguments), &in) != nil {
		return nil, "the arguments could not be read; call the tool again or go on without it"
	}
	switch call.Name {
	case toolEnd:
		return &events.Action{Kind: events.ActionEnd, Reason: clip(in.Reason, 500)}, done
	case toolTransfer:
		for _, rule := range t.s.Transfers {
			if strings.EqualFold(rule.Name, strings.TrimSpace(in.To)) {
				return &events.Action{Kind: events.ActionTransfer, To: rule.Name, Reason: clip(in.Reason, 500)}, done
			}
		}
		return nil, "there is nobody of that name to transfer to; offer to take a message"
	case toolMessage:
		if strings.TrimSpace(in.Message) == "" {
			return nil, "there is no message; ask the caller for it"
		}
		text, sealed := t.hide(in.Message, "")
		callback, _ := t.hide(in.Callback, "What is your phone number?")
		return nil, t.state(ctx, events.MessageTaken{Turn: t.ask.Turn, For: clip(in.For, 200), Text: clip(text, 2000), Callback: clip(callback, 60), Sealed: sealed})
	case toolText:
		return nil, t.promise(ctx, in.Body)
	}
	return nil, "there is no such tool"
}

// promise asks for a text to the caller's own number, and to no other.
func (t *turn) promise(ctx context.Context, body string) string {
	to, err := settings.Number(t.ask.Caller)
	if err != nil {
		return "the caller's number is withheld; offer to take a message"
	}
	if strings.TrimSpace(body) == "" {
		return "there is nothing to send"
	}
	// Numbered among the turn's texts: another worker's model may call its
	// tools in another order.
	body, _ = t.hide(body, "")
	nth := strconv.Itoa(t.ask.Turn) + "/" + strconv.Itoa(t.texts)
	t.texts++
	return t.state(ctx, events.SMSRequested{
		Message: events.MessageID(t.tenant, t.ask.Call, events.PurposeCaller, to, nth),
		To:      to, Body: clip(t.s.Name+": "+body, 1000), Purpose: events.PurposeCaller,
	})
}

// hide leaves out what must not be written down, in case the model was told a
// number in words nobody had recognised. asked is what the text answers, if
// anything.
func (t *turn) hide(text, asked string) (string, []events.Sealed) {
	var c mask.Conversation
	c.Agent(asked)
	m := c.Caller(text, false)
	sealed, err := m.Sealed(t.w.seal(t.tenant))
	if err != nil {
		t.log.Error("number not kept", zap.Error(err))
	}
	return m.Text, sealed
}

func (t *turn) state(ctx context.Context, f events.Fact) string {
	ctx, cancel := context.WithTimeout(ctx, stateWithin)
	defer cancel()
	if _, err := t.w.publish(ctx, events.New(t.tenant, t.ask.Call, t.w.now(), f)); err != nil {
		t.log.Error("fact not stored", zap.String("event", f.Name()), zap.Error(err))
		return "it could not be saved; apologise and ask the caller to try again later"
	}
	return done
}

// tools are what the agent can do in this tenant's calls.
func tools(s events.Settings) []openai.Tool {
	text := func(about string) map[string]any { return map[string]any{"type": "string", "description": about} }
	tool := func(name, about string, props map[string]any, required ...string) openai.Tool {
		raw, err := json.Marshal(map[string]any{"type": "object", "properties": props, "required": required, "additionalProperties": false})
		if err != nil {
			raw = []byte(`{"type":"object"}`)
		}
		return openai.Tool{Name: name, Description: about, Parameters: raw}
	}
	out := []openai.Tool{
		tool(toolMessage, "Take a message for someone at the business.", map[string]any{
			"for": text("whom it is for; empty: anybody"), "message": text("the message"), "callback": text("number to call back, if said"),
		}, "message"),
		tool(toolText, "Send the caller a text message to the number they are calling from.", map[string]any{"body": text("the text")}, "body"),
		tool(toolEnd, "Hang up, after saying goodbye.", map[string]any{"reason": text("why")}),
	}
	if len(s.Transfers) > 0 {
		names := make([]string, 0, len(s.Transfers))
		for _, t := range s.Transfers {
			names = append(names, t.Name)
		}
		out = append(out, tool(toolTransfer, "Put the caller through to someone.", map[string]any{
			"to": map[string]any{"type": "string", "enum": names}, "reason": text("why, in a few words"),
		}, "to"))
	}
	return out
}
