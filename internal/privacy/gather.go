package privacy

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/store"
)

// gathered is what the log holds about a caller or a call, as it is found.
type gathered struct {
	tenant events.Tenant
	caller string    // whose calls these are; empty: only calls are asked for
	until  time.Time // what became true later stays; zero: nothing does

	calls map[string]bool // of them
	later map[string]bool // of calls that stay
	texts map[string]bool // message ids
	own   map[string]bool // of them, those to the caller
	ref   func(text string) string
	gone  map[string]bool   // refs of texts that were erased before
	facts map[uint64]string // to erase: name by sequence
	ids   map[string]bool   // of those
	sids  []string          // of those texts that were sent, as their carrier names them
	kept  []events.Event    // of the caller: what stays, of which rows are made
	of    map[string]bool   // callers of the calls

	keptTexts map[string]bool

	pending map[string]time.Time // calls that ended when, and are not summarized yet
	read    uint64               // the log, up to here
	models  uint64               // the last fact that rows are made of
}

func gather(t events.Tenant, caller string, calls []string, until time.Time) *gathered {
	g := &gathered{
		tenant: t, caller: caller, until: until, calls: map[string]bool{}, later: map[string]bool{}, texts: map[string]bool{}, own: map[string]bool{}, gone: map[string]bool{},
		facts: map[uint64]string{}, ids: map[string]bool{}, of: map[string]bool{}, keptTexts: map[string]bool{}, pending: map[string]time.Time{},
	}
	for _, c := range calls {
		g.calls[c] = true
	}
	return g
}

// aboutCallers are the facts that name a caller themselves. What was said in a
// call is found by the call.
func aboutCallers() (names []string) {
	for _, f := range events.Catalog {
		switch f.(type) {
		case events.TurnHeard, events.TurnSpoken, events.MessageTaken, events.SettingsChanged, events.CallErased, events.CallerErased, events.ErasureRequested,
			events.SMSDelivered, events.SMSFailed, events.SMSErased:
		default:
			names = append(names, f.Name())
		}
	}
	return names
}

// search reads what the log has got since it was read last.
func (g *gathered) search(ctx context.Context, b *bus.Bus) error {
	g.facts, g.ids, g.kept = map[uint64]string{}, map[string]bool{}, nil
	from := g.read + 1
	if g.caller != "" {
		number := []byte(quoted(g.caller))
		_, err := b.Search(ctx, g.tenant, from, aboutCallers(), func(s bus.Stored) error {
			if bytes.Contains(s.Data, number) {
				g.named(s)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	models := map[string]bool{}
	for _, subject := range readmodel.FiltersOf(g.tenant) {
		models[strings.TrimPrefix(subject, events.Subject(g.tenant, ""))] = true
	}
	outcomes := map[string][]bus.Stored{} // of texts, which name neither call nor caller
	read, err := b.Search(ctx, g.tenant, from, nil, func(s bus.Stored) error {
		if models[s.Name] {
			g.models = s.Seq
		}
		g.ofGone(s)
		if s.Name == (events.SMSDelivered{}).Name() || s.Name == (events.SMSFailed{}).Name() {
			if message := field(s.Data, "message"); message != "" {
				outcomes[message] = append(outcomes[message], s)
			}
		}
		g.ofCalls(s, models[s.Name])
		return nil
	})
	if err != nil {
		return err
	}
	for message, all := range outcomes {
		for _, s := range all {
			if g.texts[message] {
				g.take(s)
			} else if e, err := s.Event(); err == nil && g.keptTexts[message] {
				g.kept = append(g.kept, e)
			}
		}
	}
	g.read = read
	g.unkeep()
	return nil
}

// ofGone takes a fact of a text that was erased before: it came late.
func (g *gathered) ofGone(s bus.Stored) {
	if len(g.gone) == 0 || !strings.HasPrefix(s.Name, "sms.") {
		return
	}
	message := field(s.Data, "message")
	if message == "" || !g.gone[g.ref(message)] {
		return
	}
	g.texts[message] = true
	g.take(s)
}

// unkeep has facts go that would stay, were the texts they tell of not to go.
func (g *gathered) unkeep() {
	g.kept = slices.DeleteFunc(g.kept, func(e events.Event) bool {
		text := events.TextOf(e.Fact)
		if text == "" || !g.texts[text] {
			return false
		}
		delete(g.keptTexts, text)
		g.takeEvent(e)
		return true
	})
}

// quoted is a text as it stands in JSON.
func quoted(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		return `"` + s + `"`
	}
	return string(raw)
}

// field is one text of a JSON object; empty where it is not there.
func field(data []byte, name string) string {
	var all map[string]any
	if json.Unmarshal(data, &all) != nil {
		return ""
	}
	v, _ := all[name].(string)
	return v
}

// take notes a fact that is to go.
func (g *gathered) take(s bus.Stored) {
	g.facts[s.Seq] = s.Name
	if e, err := s.Event(); err == nil {
		g.takeEvent(e)
	}
}

func (g *gathered) takeEvent(e events.Event) {
	g.facts[e.Seq] = e.Fact.Name()
	g.ids[e.ID] = true
	if f, ok := e.Fact.(events.SMSSent); ok {
		g.sids = append(g.sids, f.SID)
	}
}

// named looks at a fact that quotes the caller's number.
func (g *gathered) named(s bus.Stored) {
	e, err := s.Event()
	if err != nil { // nobody can read it, and the number is in it
		g.take(s)
		return
	}
	if events.CallerOf(e.Fact) != g.caller {
		return // in somebody else's words
	}
	call, text := events.MakesCall(e.Fact), events.TextOf(e.Fact)
	stays := !g.until.IsZero() && events.TrueSince(e).After(g.until)
	switch {
	case call && stays && !g.calls[e.Call]:
		g.later[e.Call] = true
	case call:
		g.calls[e.Call] = true
		delete(g.later, e.Call)
	case stays && e.Call == "": // else it comes with its call
		g.keep(e)
	case stays:
	default:
		g.take(s)
		if text != "" {
			g.texts[text], g.own[text] = true, true
		}
	}
}

// keep notes a fact that stays.
func (g *gathered) keep(e events.Event) {
	g.kept = append(g.kept, e)
	if text := events.TextOf(e.Fact); text != "" {
		g.keptTexts[text] = true
	}
}

// ofCalls takes a fact of the calls that are to go, and notes those of calls
// that stay, where rows are made of them.
func (g *gathered) ofCalls(s bus.Stored, model bool) {
	call := s.Call()
	stored := events.MemoryStored{}.Name()
	if call == "" && s.Name == stored {
		call = field(s.Data, "call")
	}
	switch {
	case g.later[call] && model && !(s.Name == stored && s.Call() == ""):
		if e, err := s.Event(); err == nil {
			g.keep(e)
		}
	case g.calls[call] && s.Name != (events.CallErased{}).Name():
		g.take(s)
		e, err := s.Event()
		if err != nil {
			return
		}
		switch f := e.Fact.(type) {
		case events.SMSRequested:
			g.texts[f.Message] = true
		case events.SMSSent:
			g.texts[f.Message] = true
		case events.CallReceived:
			g.of[f.From] = true
		case events.CallEnded:
			g.of[f.From] = true
			g.pending[call] = f.EndedAt
		case events.CallSummarized:
			g.of[f.Caller] = true
			delete(g.pending, call)
		}
	}
}

// subject is what was found, as the store asks for it.
func (g *gathered) subject() store.Subject {
	return store.Subject{Caller: g.caller, Calls: sorted(g.calls), Texts: sorted(g.texts), Events: sorted(g.ids)}
}

// byName counts the facts that are to go.
func (g *gathered) byName() map[string]int64 {
	out := map[string]int64{}
	for _, name := range g.facts {
		out[name]++
	}
	return out
}

func (g *gathered) seqs() []uint64 { return slices.Sorted(maps.Keys(g.facts)) }

func sorted(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
