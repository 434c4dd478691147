package profile

import (
	"cmp"
	"math/big"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Where a value comes from.
const (
	fromCall   = "call"
	fromStaff  = "staff"
	fromImport = "import"
)

// Why a value is one no longer, or never was.
const (
	isReplaced  = "replaced"  // by a later word
	isCorrected = "corrected" // by staff
	isOverruled = "overruled" // said after staff had set the field
	isRetracted = "retracted" // the caller says that it is gone
)

// Said is one value of a field, and who said so.
type Said struct {
	Value    string    `json:"value"`           // of a list: all items, with commas
	Items    []string  `json:"items,omitempty"` // of a list, in the order they were first said
	Call     string    `json:"call_id"`         // the first that said so; empty where it is of no call
	Turn     int       `json:"turn"`
	Evidence string    `json:"evidence"`
	At       time.Time `json:"said_at"`
	From     time.Time `json:"valid_from"` // since when it is held to be so
	Stated   bool      `json:"stated"`
	Subject  string    `json:"subject,omitempty"` // whom it is about: caller, spouse, child
	Origin   string    `json:"origin"`            // call, staff, import
	By       string    `json:"by,omitempty"`      // who corrected it
	Reason   string    `json:"reason,omitempty"`  // why
	Source   string    `json:"source,omitempty"`  // of an import
}

// Past is a value that a field does not hold, though it was said.
type Past struct {
	Said
	Until   time.Time `json:"ended_at"`
	Because string    `json:"ended_because"` // replaced, corrected, overruled, retracted
}

// Known is one field of a profile, where it comes from, and what it held before.
type Known struct {
	Said
	Previous string `json:"previous,omitempty"` // the value before
	Each     []Said `json:"each,omitempty"`     // where each item of a list comes from
	History  []Past `json:"history,omitempty"`  // oldest first; the newest of them
	Changes  int    `json:"changes,omitempty"`  // how many there were

	sealed bool
}

// What is kept of one field: the newest.
const (
	maxHistory = 50
	maxItems   = 200
)

// held is one field while the words on it are taken in, in order.
type held struct {
	field    events.Field
	now      Said
	each     []Said
	previous string
	past     []Past
	changes  int
	fixed    bool // staff has set it
}

func (h *held) list() bool {
	return strings.HasPrefix(h.field.Type, "array[") || h.field.Mode == "union" || h.field.Mode == "append"
}

// end notes that a value is held no longer, or was never.
func (h *held) end(s Said, at time.Time, because string) {
	h.changes++
	h.past = append(h.past, Past{s, at, because})
	if len(h.past) > maxHistory {
		h.past = slices.Clone(h.past[1:])
	}
}

// set puts a value in the place of the one held.
func (h *held) set(s Said, because string) {
	h.previous = h.now.Value
	if h.now.Value != "" {
		h.end(h.now, s.At, because)
	}
	h.now = s
}

// hear takes in what a call, or another system, says.
func (h *held) hear(s Said) {
	switch {
	case h.fixed && (h.now.Value == "" || !h.has(s.Value)):
		h.end(s, s.At, isOverruled)
	case h.fixed:
	case h.list():
		h.add(s)
	case h.now.Value == "":
		h.previous, h.now = "", s
	case h.same(s.Value):
		if s.Stated && !h.now.Stated { // what was implied is now stated
			s.From = h.now.From
			h.now = s
		}
	case h.takes(s):
		h.set(s, isReplaced)
	}
}

func (h *held) has(v string) bool {
	return h.same(v) || slices.ContainsFunc(h.now.Items, func(i string) bool { return strings.EqualFold(i, v) })
}

// same reports whether a value is the one held, written another way.
func (h *held) same(v string) bool {
	leaf := h.field.Path[strings.LastIndexByte(h.field.Path, '.')+1:]
	return strings.EqualFold(h.now.Value, v) || (leaf == "make" || unique[leaf]) && alike(leaf, h.now.Value, v)
}

// takes reports whether another value replaces the one held: what is only
// implied never what was stated; else by the field's mode.
func (h *held) takes(s Said) bool {
	if h.now.Stated != s.Stated {
		return s.Stated
	}
	switch h.field.Mode {
	case "first":
		return false
	case "min":
		return less(s.Value, h.now.Value)
	case "max":
		return less(h.now.Value, s.Value)
	}
	return h.field.Path != nameField || !within(s.Value, h.now.Value) // "Ann" does not replace "Ann Lee"
}

// less compares numbers by what they are, and dates as they are written.
func less(a, b string) bool {
	x, ok1 := new(big.Rat).SetString(a)
	y, ok2 := new(big.Rat).SetString(b)
	if ok1 && ok2 {
		return x.Cmp(y) < 0
	}
	return a < b
}

// add takes in one item of a list.
func (h *held) add(s Said) {
	later := len(h.each) > 0 && h.each[0].Call != s.Call
	switch {
	case h.field.Mode == "first" && later:
		return
	case h.field.Mode == "latest" && later:
		h.end(h.now, s.At, isReplaced)
		h.each = nil
	case h.field.Mode != "append" && slices.ContainsFunc(h.each, func(e Said) bool { return strings.EqualFold(e.Value, s.Value) }):
		return
	}
	h.each = append(slices.Clone(h.each), s)
	if len(h.each) > maxItems {
		h.each = h.each[1:]
	}
	h.previous = h.now.Value
	h.now = s
	h.join()
}

// join makes the list's own value of its items.
func (h *held) join() {
	h.now.Items = nil
	for _, e := range h.each {
		h.now.Items = append(h.now.Items, e.Value)
	}
	h.now.Value = strings.Join(h.now.Items, ", ")
}

// correct takes in what staff says: it holds whatever calls say, before and
// after.
func (h *held) correct(s Said) {
	h.fixed = true
	if h.list() {
		h.each = nil
		one := s
		for _, v := range items(s.Value) {
			one.Value = v
			h.each = append(h.each, one)
		}
		s.Items = items(s.Value)
		s.Value = strings.Join(s.Items, ", ")
	}
	h.set(s, isCorrected)
}

// retract empties a field whose value the caller says is gone.
func (h *held) retract(s Said) {
	if h.fixed || h.now.Value == "" {
		return
	}
	s.Value = ""
	h.set(s, isRetracted)
	h.each = nil
}

func (h *held) known() Known {
	k := Known{Said: h.now, Previous: h.previous, History: h.past, Changes: h.changes, sealed: h.field.Sensitive}
	if h.list() {
		k.Each = h.each
	}
	return k
}

// learn fills the fields with what other systems, calls and staff said, in the
// order in which they said it. What other systems knew is weaker than whatever
// was said, and so comes first.
func (c *Caller) learn(t events.Template, calls []Call, corrections []Correction, imports []Import) {
	l := learning{fields: map[string]*held{}, things: thingsOf(t)}
	l.template(t)
	for _, x := range imports {
		l.imported(x)
	}
	corrections = inOrder(corrections)
	for _, call := range calls {
		for len(corrections) > 0 && corrections[0].At.Before(call.Fact.StartedAt) {
			l.corrected(corrections[0])
			corrections = corrections[1:]
		}
		l.call(call)
	}
	for _, x := range corrections {
		l.corrected(x)
	}
	for path, h := range l.fields {
		switch {
		case h.now.Value != "":
			c.Fields[path] = h.known()
		case len(h.past) > 0:
			c.Former[path] = h.known()
		}
	}
}

func inOrder(all []Correction) []Correction {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Correction) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event)) })
	return slices.CompactFunc(all, func(a, b Correction) bool { return a.Event == b.Event })
}

// learning is a profile while it is made.
type learning struct {
	fields map[string]*held
	things things
	known  map[string]events.Field
}

func (l *learning) template(t events.Template) {
	l.known = map[string]events.Field{}
	for _, f := range t.All() {
		l.known[f.Path] = f
	}
}

func (l *learning) field(path string) *held {
	h := l.fields[path]
	if h == nil {
		f, ok := l.known[path]
		if !ok { // a third car has the fields of the first
			f = l.things.field(path)
		}
		f.Path = path
		h = &held{field: f}
		l.fields[path] = h
	}
	return h
}

func (l *learning) imported(x Import) {
	say := func(path, value string) {
		if value == "" {
			return
		}
		h := l.field(path)
		s := Said{Value: value, At: x.At.UTC(), From: x.At.UTC(), Origin: fromImport, Source: x.Fact.Source}
		if !h.list() {
			h.hear(s)
			return
		}
		for _, v := range items(value) {
			s.Value = v
			h.hear(s)
		}
	}
	for path, value := range x.Fact.Fields {
		l.things.given(path, value, false)
		say(path, value)
	}
	say(nameField, x.Fact.KnownAs)
}

func (l *learning) corrected(x Correction) {
	l.things.given(x.Field, x.Value, true)
	l.field(x.Field).correct(Said{
		Value: x.Value, At: x.At.UTC(), From: x.At.UTC(), Stated: true, Origin: fromStaff, By: x.By, Reason: x.Reason,
	})
}

// call takes in what one call says. A profile describes its caller; family
// fields hold those close to him.
func (l *learning) call(call Call) {
	findings := slices.Clone(call.Fact.Findings)
	findings = slices.DeleteFunc(findings, func(f events.Finding) bool {
		_, ok := subject(f.Field, f.Subject)
		return !ok || strings.HasPrefix(f.Field, "memory.")
	})
	findings = l.things.sort(findings)
	at := call.Fact.StartedAt.UTC()
	for _, f := range findings {
		s := Said{
			Value: f.Value, Call: call.ID, Turn: f.Turn, Evidence: f.Evidence, At: at, From: at,
			Stated: f.Confidence == "stated", Subject: f.Subject, Origin: fromCall,
		}
		if f.Gone {
			for _, path := range l.things.fieldsOf(f.Field, l.fields) {
				l.fields[path].retract(s)
			}
			continue
		}
		l.field(f.Field).hear(s)
	}
}
