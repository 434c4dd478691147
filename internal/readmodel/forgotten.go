package readmodel

import (
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// Refs names a tenant's callers the way facts that erase them do; by the empty
// text, or where it is nil, it names nobody. Late facts about callers who were
// erased bring those back, then.
type Refs func(t events.Tenant) (ref func(caller string) string, err error)

// forgotten tells facts about callers who were erased since from others, while a
// tenant's events are applied.
type forgotten struct {
	p       *store.Projection
	ref     func(string) string
	refs    map[string]string    // by caller
	until   map[string]time.Time // by ref
	numbers map[string]string    // by ref; nil: not asked for yet
}

// forgotten is nil where nobody was erased.
func (m Models) forgotten(p *store.Projection, all []events.Event) (*forgotten, error) {
	erases := p.CallersErased() && len(all) > 0
	for _, e := range all {
		_, now := e.Fact.(events.CallerErased)
		erases = erases || now
	}
	if !erases {
		return nil, nil //nolint:nilnil // said above
	}
	f := &forgotten{p: p, refs: map[string]string{}, ref: func(string) string { return "" }}
	var err error
	if m.refs != nil {
		if f.ref, err = m.refs(all[0].Tenant); err != nil {
			return nil, err
		}
	}
	var refs []string
	for _, e := range all {
		if who := events.CallerOf(e.Fact); events.Identified(who) {
			refs = append(refs, f.named(who))
		}
	}
	f.until, err = p.ErasedUntil(refs)
	return f, err
}

func (f *forgotten) named(who string) string {
	ref, ok := f.refs[who]
	if !ok {
		ref = f.ref(who)
		f.refs[who] = ref
	}
	return ref
}

// late reports whether an event says what was true of somebody before they were
// erased.
func (f *forgotten) late(e events.Event) bool {
	if f == nil {
		return false
	}
	who := events.CallerOf(e.Fact)
	if !events.Identified(who) {
		return false
	}
	ref := f.named(who)
	until, ok := f.until[ref]
	return ok && ref != "" && !events.TrueSince(e).After(until)
}

// erase removes what came before an event that erases a caller, and names those
// who are to be folded anew.
func (f *forgotten) erase(e events.Event, ref string) (users []string, err error) {
	if err := f.p.EraseCaller(e, ref); err != nil {
		return nil, err
	}
	if e.Time.After(f.until[ref]) {
		f.until[ref] = e.Time
	}
	if f.numbers == nil {
		all, err := f.p.Numbers()
		if err != nil {
			return nil, err
		}
		f.numbers = map[string]string{}
		for _, number := range all {
			f.numbers[f.named(number)] = number
		}
		for number, ref := range f.refs { // those this batch is yet to bring
			f.numbers[ref] = number
		}
	}
	number, ok := f.numbers[ref]
	if !ok || ref == "" {
		return nil, nil
	}
	users, err = f.p.Forget(e, number, e.Time)
	return append(users, number), err
}
