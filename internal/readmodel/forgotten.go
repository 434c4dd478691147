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
	texts   map[string]string    // likewise
}

// forgotten is nil where nobody was erased.
func (m Models) forgotten(p *store.Projection, all []events.Event) (*forgotten, error) {
	erases := p.CallersErased() && len(all) > 0
	for _, e := range all {
		switch e.Fact.(type) {
		case events.CallerErased, events.SMSErased:
			erases = true
		}
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
		if text := events.TextOf(e.Fact); text != "" {
			refs = append(refs, f.named(text))
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
// erased, or tells of a text that was erased with them, whenever.
func (f *forgotten) late(e events.Event) bool {
	if f == nil {
		return false
	}
	if text := events.TextOf(e.Fact); text != "" {
		if ref := f.named(text); ref != "" {
			if _, erased := f.until[ref]; erased {
				return true
			}
		}
	}
	who := events.CallerOf(e.Fact)
	if !events.Identified(who) {
		return false
	}
	ref := f.named(who)
	until, ok := f.until[ref]
	return ok && ref != "" && !events.TrueSince(e).After(until)
}

// apply writes what an event says of who was erased, and names those who are to
// be folded anew.
func (f *forgotten) apply(e events.Event, late bool) (users []string, err error) {
	switch fact := e.Fact.(type) {
	case events.CallerErased:
		return f.erase(e, fact.Ref)
	case events.SMSErased:
		if f.texts == nil {
			if f.texts, err = f.byRef(f.p.Texts); err != nil {
				return nil, err
			}
		}
		return nil, f.eraseText(e, fact.Ref, f.texts[fact.Ref])
	}
	if text := events.TextOf(e.Fact); late && text != "" {
		return nil, f.eraseText(e, f.named(text), text)
	}
	return nil, nil
}

// eraseText removes a text, and remembers it.
func (f *forgotten) eraseText(e events.Event, ref, text string) error {
	if ref != "" {
		f.until[ref] = time.Time{}
	}
	return f.p.EraseText(e, ref, text)
}

// byRef are names that rows have, and those this batch is yet to bring.
func (f *forgotten) byRef(names func() ([]string, error)) (map[string]string, error) {
	all, err := names()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, name := range all {
		out[f.named(name)] = name
	}
	for name, ref := range f.refs {
		out[ref] = name
	}
	return out, nil
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
		if f.numbers, err = f.byRef(f.p.Numbers); err != nil {
			return nil, err
		}
	}
	number, ok := f.numbers[ref]
	if !ok || ref == "" {
		return nil, nil
	}
	users, texts, err := f.p.Forget(e, number, e.Time)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if err := f.eraseText(e, f.named(text), text); err != nil {
			return nil, err
		}
	}
	return append(users, number), nil
}
