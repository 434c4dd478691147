// Package readmodel says which rows events lead to. The profiler writes them as
// things happen, a replay writes all of them again, and whoever states a fact
// and wants to read it at once writes that one: the same code, the same rows.
// It asks no model, reads no clock and draws no random number.
package readmodel

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
	"neurosphere.ai/neurosphere/internal/store"
)

// Projection names the read models in use, and what is locked while they are
// written; a second version of them would have another name.
const Projection = "profiler"

// Filters are the subjects that lead to rows. What was said in a call is not
// among them: transcripts are read from the log.
func Filters() []string { return filters(events.Filter) }

// FiltersOf are those of one tenant.
func FiltersOf(t events.Tenant) []string {
	return filters(func(name string) string { return events.Subject(t, name) })
}

func filters(subject func(name string) string) (out []string) {
	for _, f := range events.Catalog {
		switch f.(type) {
		case events.CallReceived, events.CallAnswered, events.CallTransferred, events.CallRecorded, events.CallEnded, events.CallSummarized,
			events.MessageTaken, events.MemoryStored, events.MemoryForgotten, events.CallerCorrected, events.LeadStaged,
			events.SMSRequested, events.SMSSent, events.SMSDelivered, events.SMSFailed, events.SMSOptedOut, events.SMSOptedIn, events.SettingsChanged:
			out = append(out, subject(f.Name()))
		}
	}
	return out
}

// Models write the read models.
type Models struct {
	templates map[string]events.Template // the program's own, for calls older than the tenant's first settings
}

// New is Models with the templates the program ships.
func New() (Models, error) {
	m := Models{templates: map[string]events.Template{}}
	all, err := store.Templates()
	for _, t := range all {
		m.templates[t.ID] = t
	}
	return m, err
}

// Apply writes what a tenant's events say and names the callers whose profiles
// that changes, sorted; they are to be folded.
func (m Models) Apply(p *store.Projection, all []events.Event) (touched []string, err error) {
	callers := map[string]bool{}
	for _, e := range all {
		caller, err := one(p, e)
		if err != nil {
			return nil, fmt.Errorf("apply event %s: %w", e.ID, err)
		}
		if caller != "" {
			callers[caller] = true
		}
	}
	return slices.Sorted(maps.Keys(callers)), nil
}

// one writes what one event says, and names the caller whose profile it
// changes.
func one(p *store.Projection, e events.Event) (caller string, err error) {
	at := e.Time
	switch f := e.Fact.(type) {
	case events.CallReceived:
		p.Received(e, f)
	case events.CallAnswered:
		p.Answered(e)
	case events.CallTransferred:
		p.Transferred(e, f)
	case events.CallRecorded:
		p.Recorded(e, f)
	case events.CallEnded:
		p.Ended(e, f)
	case events.MessageTaken:
		p.MessageTaken(e, f)
	case events.CallSummarized:
		if events.Identified(f.Caller) {
			caller = f.Caller
		}
		return caller, p.Summarized(e, f)
	case events.LeadStaged:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.MemoryStored:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.MemoryForgotten:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.CallerCorrected:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.SMSRequested:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, Body: f.Body, Requested: &at})
	case events.SMSSent:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, SID: f.SID, Sent: &at})
	case events.SMSDelivered:
		p.Text(e, store.TextChange{Message: f.Message, SID: f.SID, Delivered: &at})
	case events.SMSFailed:
		p.Text(e, store.TextChange{Message: f.Message, SID: f.SID, Code: f.Code, Failed: &at})
	case events.SMSOptedOut:
		p.OptOut(e, f.Number, true)
	case events.SMSOptedIn:
		p.OptOut(e, f.Number, false)
	case events.SettingsChanged:
		return "", p.TemplateSet(e, f.Settings.Version, f.Settings.Template)
	}
	return "", nil
}

// Fold makes the rows of some callers anew from everything calls and people
// said about them.
func (m Models) Fold(p *store.Projection, users []string) error {
	if len(users) == 0 {
		return nil
	}
	own, ok, err := p.Template()
	if err != nil {
		return err
	}
	all, err := p.CallerFacts(users)
	if err != nil {
		return err
	}
	for _, user := range users {
		in, seq, err := input(all[user])
		if err != nil {
			return fmt.Errorf("fold: %w", err)
		}
		in.Template = func(id string) (events.Template, bool) {
			if ok {
				return own, true
			}
			t, known := m.templates[id]
			return t, known
		}
		c := profile.Fold(in)
		if c.Calls == 0 {
			p.DropCaller(user)
			continue
		}
		rows, err := callerRows(user, c, seq)
		if err != nil {
			return err
		}
		p.SaveCaller(rows)
	}
	return nil
}

// refoldSlice is how many callers are folded in one transaction when all of a
// tenant's are: others' events do not wait long for them.
const refoldSlice = 200

// Refold folds the next callers of a tenant whose template has changed; more is
// false when all are done.
func (m Models) Refold(p *store.Projection) (more bool, err error) {
	after, pending, err := p.Refold()
	if err != nil || !pending {
		return false, err
	}
	users, err := p.CallersAfter(after, refoldSlice)
	if err != nil {
		return false, err
	}
	if err := m.Fold(p, users); err != nil {
		return false, err
	}
	if len(users) < refoldSlice {
		p.Refolded(nil)
		return false, nil
	}
	p.Refolded(&users[len(users)-1])
	return true, nil
}

// input is what a profile is folded from, and the newest sequence of it.
func input(facts []store.CallerFact) (in profile.Input, seq uint64, err error) {
	for _, f := range facts {
		seq = max(seq, f.Seq)
		switch f.Name {
		case events.CallSummarized{}.Name():
			var s events.CallSummarized
			if err := json.Unmarshal(f.Fact, &s); err != nil {
				return in, 0, err
			}
			in.Calls = append(in.Calls, profile.Call{ID: f.Call, Fact: s})
		case events.LeadStaged{}.Name():
			var s events.LeadStaged
			if err := json.Unmarshal(f.Fact, &s); err != nil {
				return in, 0, err
			}
			in.Moves = append(in.Moves, profile.Move{Event: f.Event, Stage: s.Stage, By: s.By, Reason: s.Reason, At: f.At.UTC()})
		case events.CallerCorrected{}.Name():
			var s events.CallerCorrected
			if err := json.Unmarshal(f.Fact, &s); err != nil {
				return in, 0, err
			}
			in.Corrections = append(in.Corrections, profile.Correction{Event: f.Event, Field: s.Field, Value: s.Value, By: s.By, At: f.At.UTC()})
		}
	}
	return in, seq, nil
}

func callerRows(user string, c profile.Caller, seq uint64) (out store.CallerRows, err error) {
	raw, sha := c.JSON()
	out.Profile = store.ProfileRow{
		User: user, Name: c.Name, Template: c.Template, QuickBio: c.QuickBio, SHA: sha, Profile: raw,
		First: c.First, Last: c.Last, Calls: c.Calls, Seq: seq,
	}
	for _, m := range c.Memories {
		out.Memories = append(out.Memories, store.MemoryRow{
			ID: m.ID, Type: "fact", Key: m.Key, Value: m.Value, Content: m.Value, Call: m.Call, Evidence: m.Evidence,
			Subject: m.Subject, Origin: "call", Turn: m.Turn, At: m.At, Seq: seq,
		})
	}
	out.Averages = map[string]store.Average{}
	for _, a := range c.Averages {
		out.Averages[a.Metric] = store.Average{N: a.N, Sum: a.Sum, Min: a.Min, Max: a.Max}
	}
	history, err := json.Marshal(c.Lead)
	if err != nil {
		return out, err
	}
	if len(c.Lead) > 0 {
		last := c.Lead[len(c.Lead)-1]
		out.Lead = store.LeadRow{Stage: last.Stage, Since: last.At, First: c.First, History: history, Seq: seq}
	}
	return out, nil
}
