// Package readmodel says which rows events lead to. The profiler writes them as
// things happen, a replay writes all of them again, and whoever states a fact
// and wants to read it at once writes that one: the same code, the same rows.
// It asks no model, reads no clock and draws no random number.
package readmodel

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
			events.CallErased, events.MessageTaken, events.MemoryStored, events.MemoryForgotten, events.CallerCorrected, events.CallerImported,
			events.CallerErased, events.LeadStaged,
			events.SMSRequested, events.SMSSent, events.SMSDelivered, events.SMSFailed, events.SMSErased, events.SMSOptedOut, events.SMSOptedIn, events.SettingsChanged:
			out = append(out, subject(f.Name()))
		}
	}
	return out
}

// Models write the read models.
type Models struct {
	templates map[string]events.Template // the program's own, for calls older than the tenant's first settings
	refs      Refs
}

// New is Models with the templates the program ships.
func New(refs Refs) (Models, error) {
	m := Models{templates: map[string]events.Template{}, refs: refs}
	all, err := store.Templates()
	for _, t := range all {
		m.templates[t.ID] = t
	}
	return m, err
}

// Apply writes what a tenant's events say and names the callers whose profiles
// that changes, sorted; they are to be folded. What comes of a call that was
// erased, before or after, leads to no rows, and neither does what was true of a
// caller before they were erased, nor what becomes of a text to them since.
func (m Models) Apply(p *store.Projection, all []events.Event) (touched []string, err error) {
	calls := map[string]bool{}
	for _, e := range all {
		for _, call := range ofCalls(e) {
			calls[call] = true
		}
	}
	erased, err := p.Erased(slices.Sorted(maps.Keys(calls)))
	if err != nil {
		return nil, err
	}
	forgotten, err := m.forgotten(p, all)
	if err != nil {
		return nil, err
	}
	callers := map[string]bool{}
	for _, e := range all {
		late := forgotten.late(e)
		now := erases(e)
		if late && events.MakesCall(e.Fact) {
			now = append(now, e.Call)
		}
		users, err := p.EraseCalls(e, now)
		if err == nil {
			var more []string
			more, err = forgotten.apply(e, late)
			users = append(users, more...)
		}
		if err != nil {
			return nil, fmt.Errorf("apply event %s: %w", e.ID, err)
		}
		for _, u := range users {
			callers[u] = true
		}
		for _, call := range now {
			erased[call] = true
		}
		if late {
			continue
		}
		if slices.ContainsFunc(ofCalls(e), func(call string) bool { return erased[call] }) {
			continue
		}
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

// erases are the calls of which an event says that they were erased.
func erases(e events.Event) []string {
	switch f := e.Fact.(type) {
	case events.CallErased:
		return []string{e.Call}
	case events.CallerErased:
		return slices.Sorted(slices.Values(f.Calls))
	}
	return nil
}

// ofCalls are the calls an event comes of.
func ofCalls(e events.Event) (out []string) {
	if e.Call != "" {
		out = append(out, e.Call)
	}
	if f, ok := e.Fact.(events.MemoryStored); ok && f.Call != "" && f.Call != e.Call {
		out = append(out, f.Call)
	}
	return out
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
		e.Call = cmp.Or(e.Call, f.Call) // goes when the call is erased
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.MemoryForgotten:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.CallerCorrected:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.CallerImported:
		return f.Caller, p.Stated(e, f.Caller, f)
	case events.SMSRequested:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, Body: f.Body, Requested: &at})
	case events.SMSSent:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, Recipient: f.To, Purpose: f.Purpose, SID: f.SID, Sent: &at})
	case events.SMSDelivered:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, SID: f.SID, Delivered: &at})
	case events.SMSFailed:
		p.Text(e, store.TextChange{Message: f.Message, Call: e.Call, SID: f.SID, Code: f.Code, Failed: &at})
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
		in, seq, err := input(user, all[user])
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
		if c.Empty() {
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

// FoldSlice is of how many facts callers are folded in one transaction when all
// of a tenant's are: others' events do not wait long for them, and memory holds
// that much whether few say a lot or many a little.
const FoldSlice = 1000

// FoldNext has callers of up to so many facts folded, or of fewer and fewer where
// the database refuses the rows of one of them: who is to blame is passed over,
// not folded, so that nobody else waits. Refused reports whether one was.
func FoldNext(facts int, next func(facts int, fold bool) error) (refused bool, err error) {
	for n := facts; n > 0; n /= 2 {
		if err := next(n, true); !errors.Is(err, store.ErrRefused) {
			return false, err
		}
	}
	return true, next(1, false)
}

// Refold folds the next callers of a tenant whose template has changed, each
// time in a transaction of in; more is false when all are done. A caller whose
// rows are refused keeps those there are.
func (m Models) Refold(in func(func(*store.Projection) error) error) (more, refused bool, err error) {
	refused, err = FoldNext(FoldSlice, func(facts int, fold bool) error {
		return in(func(p *store.Projection) (err error) {
			more, err = m.refold(p, facts, fold)
			return err
		})
	})
	return more, refused, err
}

func (m Models) refold(p *store.Projection, facts int, fold bool) (more bool, err error) {
	after, pending, err := p.Refold()
	if err != nil || !pending {
		return false, err
	}
	users, err := p.CallersAfter(after, facts)
	if err != nil {
		return false, err
	}
	if len(users) == 0 {
		p.Refolded(nil)
		return false, nil
	}
	p.Refolded(&users[len(users)-1])
	if !fold {
		return true, nil
	}
	return true, m.Fold(p, users)
}

// input is what a profile is folded from, and the newest sequence of it.
func input(user string, facts []store.CallerFact) (in profile.Input, seq uint64, err error) {
	in.Caller = user
	for _, f := range facts {
		seq = max(seq, f.Seq)
		if err := add(&in, f); err != nil {
			return in, 0, err
		}
	}
	return in, seq, nil
}

func add(in *profile.Input, f store.CallerFact) (err error) {
	at := f.At.UTC()
	switch f.Name {
	case events.CallSummarized{}.Name():
		var s events.CallSummarized
		err = json.Unmarshal(f.Fact, &s)
		in.Calls = append(in.Calls, profile.Call{ID: f.Call, Fact: s})
	case events.LeadStaged{}.Name():
		var s events.LeadStaged
		err = json.Unmarshal(f.Fact, &s)
		in.Moves = append(in.Moves, profile.Move{Event: f.Event, Stage: s.Stage, By: s.By, Reason: s.Reason, At: at})
	case events.CallerCorrected{}.Name():
		var s events.CallerCorrected
		err = json.Unmarshal(f.Fact, &s)
		in.Corrections = append(in.Corrections, profile.Correction{Event: f.Event, Field: s.Field, Value: s.Value, By: s.By, Reason: s.Reason, At: at})
	case events.CallerImported{}.Name():
		var s events.CallerImported
		err = json.Unmarshal(f.Fact, &s)
		in.Imports = append(in.Imports, profile.Import{Event: f.Event, At: at, Fact: s})
	case events.MemoryStored{}.Name():
		var s events.MemoryStored
		err = json.Unmarshal(f.Fact, &s)
		in.Stored = append(in.Stored, profile.Stored{Event: f.Event, At: at, Fact: s})
	case events.MemoryForgotten{}.Name():
		var s events.MemoryForgotten
		err = json.Unmarshal(f.Fact, &s)
		in.Forgotten = append(in.Forgotten, s.Memory)
	}
	return err
}

func callerRows(user string, c profile.Caller, seq uint64) (out store.CallerRows, err error) {
	fields, former, sha := c.JSON()
	out.Profile = store.ProfileRow{
		User: user, Name: c.Name, Template: c.Template, QuickBio: c.QuickBio, SHA: sha, Profile: fields, Former: former,
		First: known(c.First), Last: known(c.Last), Calls: c.Calls, Seq: seq,
	}
	for _, m := range c.Memories {
		out.Memories = append(out.Memories, store.MemoryRow{
			ID: m.ID, Type: m.Type, Key: m.Key, Value: m.Value, Content: m.Content, Call: m.Call, Evidence: m.Evidence, Subject: m.Subject,
			Origin: m.Origin, By: m.By, Turn: m.Turn, At: m.At, Last: m.Last, Times: m.Times, Expires: m.Expires, Seq: seq, Sealed: m.Sealed,
		})
	}
	out.Averages = map[string]store.Average{}
	for _, a := range c.Averages {
		of := store.Average{N: a.N, Sum: a.Sum}
		if a.Measured > 0 {
			of.Min, of.Max = &a.Min, &a.Max
		}
		out.Averages[a.Metric] = of
	}
	history, err := json.Marshal(c.Lead)
	if err != nil {
		return out, err
	}
	if len(c.Lead) > 0 {
		last := c.Lead[len(c.Lead)-1]
		first := c.First
		if first.IsZero() {
			first = c.Lead[0].At
		}
		out.Lead = store.LeadRow{Stage: last.Stage, Since: last.At, First: first, History: history, Seq: seq}
	}
	return out, nil
}

// known is nil for a time that is not.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}
