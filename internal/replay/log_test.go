package replay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
)

const (
	turnsOfCall = 18 // as many as the real service dialogues have on average
	factsOfCall = turnsOfCall + 7
	callsOfOne  = 4 // of one caller: there are the more callers the longer the log is
)

// fill states everything about calls from one number to another, of some tenants.
func fill(t testing.TB, stream *bus.Bus, tenants, from, to int) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(64)
	for i := from; i < to; i++ {
		g.Go(func() error { return state(ctx, stream, tenants, i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func callID(i int) string { return fmt.Sprintf("CA%032x", i) }

func callerOf(i, tenants int) string { return fmt.Sprintf("+1206%07d", i/tenants/callsOfOne) }

func callTime(i int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
}

func state(ctx context.Context, stream *bus.Bus, tenants, i int) error {
	tenant, call := events.Tenant(i%tenants+1), callID(i)
	from, to := callerOf(i, tenants), "+12065550100"
	start := callTime(i)
	at, n := start, 0
	say := func(f events.Fact, ofCall bool) error {
		e := events.New(tenant, call, at, f)
		if ofCall {
			n++
			e.CallSeq = n
		}
		at = at.Add(time.Second)
		_, err := stream.Publish(ctx, e)
		return err
	}
	message := events.Derive("bench", call)
	facts := []events.Fact{events.CallReceived{From: from, To: to}, events.CallAnswered{Session: "s", Greeting: "Hello, how can I help?"}}
	for turn := 1; turn <= turnsOfCall/2; turn++ {
		facts = append(facts, events.TurnHeard{Turn: turn, Text: fmt.Sprint("I would like to know what my ", turn, "th policy covers.")},
			events.TurnSpoken{Turn: turn, Text: fmt.Sprint("Let me have a look at number ", turn, " for you.")})
	}
	facts = append(facts, events.CallEnded{From: from, To: to, StartedAt: start, EndedAt: at, Seconds: 60, Reason: events.EndCaller, Turns: turnsOfCall / 2, Answered: true})
	for _, f := range facts {
		if err := say(f, true); err != nil {
			return err
		}
	}
	rest := []events.Fact{
		summary(i, from, start),
		events.SMSRequested{Message: message, To: "+12065550177", Purpose: events.PurposeSummary, Body: "Somebody called about a policy."},
		events.SMSSent{Message: message, To: "+12065550177", Purpose: events.PurposeSummary, SID: "SM" + call[2:], From: to},
		events.SMSDelivered{Message: message, SID: "SM" + call[2:]},
	}
	switch i % 40 { // what is rarer
	case 3, 23:
		rest = append(rest, events.MessageTaken{For: "Eve", Text: "Please call back."})
	case 11:
		rest = append(rest, events.MemoryStored{Memory: message, Caller: from, Type: "note", Key: "k", Value: `"v"`, Origin: "api"})
	case 17:
		rest = append(rest, events.CallerCorrected{Caller: from, Field: "personal.name", Value: "Bob", By: "staff:1", Nth: call})
	case 31:
		rest = append(rest, events.LeadStaged{Caller: from, Stage: "Quote Sent", By: "staff:1", Nth: call})
	}
	for _, f := range rest {
		if err := say(f, false); err != nil {
			return err
		}
	}
	return nil
}

func summary(i int, from string, start time.Time) events.CallSummarized {
	f := events.CallSummarized{
		Caller: from, StartedAt: start, EndedAt: start.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Summary: "Asked what the policy covers.",
		Sentiment: "neutral", Resolution: "resolved", Template: "insurance_v1", Topics: []string{"cover"}, Rejected: []events.Reject{}, Messages: []events.Message{},
	}
	for metric := range 13 {
		f.Style = append(f.Style, events.Measure{Metric: "metric_" + string(rune('a'+metric)), Micros: int64(i) % 100_000_000})
	}
	for field, v := range map[string]string{"personal.name": fmt.Sprint("Ann ", i), "policies.auto_1.make": "Kia", "memory.date": "May 3"} {
		f.Findings = append(f.Findings, events.Finding{Turn: 1, Evidence: v, Subject: "caller", Field: field, Value: v, Confidence: "stated"})
	}
	return f
}
