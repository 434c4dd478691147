package profile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Move is a lead moved by someone.
type Move struct {
	Event, Stage, By, Reason string
	At                       time.Time
}

// Stage is one step in a lead's history.
type Stage struct {
	Stage  string    `json:"stage"`
	At     time.Time `json:"at"`
	By     string    `json:"by"` // "calls", or who moved it
	Call   string    `json:"call_id,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// lead is where a caller stands and how it got there. Calls move it forward
// only, or to Lost; people move it where they like.
func lead(calls []Call, moves []Move) []Stage {
	type step struct {
		at    time.Time
		id    string
		stage string
		by    string
		call  string
		why   string
		nth   int
	}
	var steps []step
	for i, c := range calls {
		steps = append(steps, step{at: c.Fact.StartedAt, id: c.ID, stage: c.Fact.Stage, by: "calls", call: c.ID, why: c.Fact.StageQuote, nth: i})
	}
	for _, m := range moves {
		steps = append(steps, step{at: m.At, id: m.Event, stage: m.Stage, by: m.By, why: m.Reason, nth: -1})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	steps = slices.CompactFunc(steps, func(a, b step) bool { return a.id == b.id })
	var out []Stage
	rank := func(s string) int { return slices.Index(events.Stages, s) }
	now := func() string {
		if len(out) == 0 {
			return ""
		}
		return out[len(out)-1].Stage
	}
	lost := len(events.Stages) - 1
	for _, s := range steps {
		next := s.stage
		if s.by == "calls" {
			if least := min(s.nth, 1); rank(next) < least {
				next = events.Stages[least] // a second call is a follow-up at least
			}
			if r, have := rank(next), rank(now()); r <= have && !(have == lost && rank(s.stage) > 0) {
				continue
			}
		}
		if rank(next) < 0 || next == now() {
			continue
		}
		out = append(out, Stage{Stage: next, At: s.at, By: s.by, Call: s.call, Reason: s.why})
	}
	return out
}
