package profile

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"neurosphere.ai/neurosphere/events"
)

// A template has room for several things of a kind, such as policies.auto_1
// and policies.auto_2. A model numbers them anew in each call. What is said of
// them tells which is which: the things a caller has are numbered in the order
// in which they were first spoken of.

// slotForm is a path to a field of a numbered thing: its kind, its number, and
// which field of it.
var slotForm = regexp.MustCompile(`^([a-z0-9_.]*[a-z])_([1-9][0-9]?)\.(.+)$`)

func slot(path string) (kind string, n int, leaf string, ok bool) {
	m := slotForm.FindStringSubmatch(path)
	if m == nil {
		return "", 0, "", false
	}
	n, err := strconv.Atoi(m[2])
	return m[1], n, m[3], err == nil
}

func slotPath(kind string, n int, leaf string) string {
	return kind + "_" + strconv.Itoa(n) + "." + leaf
}

// Fields by which things are told apart, by the name they have in templates.
var (
	unique   = setOf("vin serial_number license_plate policy_number loan_number member_number") // one thing alone has it
	kindly   = setOf("make model address name")                                                 // the same thing has the same
	telling  = setOf("year")                                                                    // another one is another thing's, the same may be
	sameMake = map[string]string{"chevy": "chevrolet", "vw": "volkswagen", "mercedes benz": "mercedes", "land rover": "landrover"}
)

func identifies(leaf string) bool { return unique[leaf] || kindly[leaf] }

// things are those a caller has, by kind.
type things map[string]*kind

type kind struct {
	fields map[string]events.Field // by the end of their paths, of any number
	all    []*thing                // by number, from 1; nil: none yet
}

// thing is what is known of one, as far as it is told apart by it.
type thing struct {
	said  map[string]string // by calls, the latest
	fixed map[string]string // by staff
}

// thingsOf are the kinds of things a template has room for. A kind without a
// field to tell its things apart is none: there the numbers are the model's.
func thingsOf(t events.Template) things {
	out := things{}
	for _, f := range t.All() {
		name, _, leaf, ok := slot(f.Path)
		if !ok {
			continue
		}
		if out[name] == nil {
			out[name] = &kind{fields: map[string]events.Field{}}
		}
		if _, have := out[name].fields[leaf]; !have {
			out[name].fields[leaf] = f
		}
	}
	maps.DeleteFunc(out, func(_ string, k *kind) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(k.fields)), identifies)
	})
	return out
}

// field is what the template says of a field of a thing, whatever its number.
func (t things) field(path string) events.Field {
	if name, _, leaf, ok := slot(path); ok && t[name] != nil {
		return t[name].fields[leaf]
	}
	return events.Field{}
}

// given takes in what is said of the thing with that number, by staff or by
// another system: not what a caller calls it, but what is shown as it.
func (t things) given(path, value string, byStaff bool) {
	name, n, leaf, ok := slot(path)
	k := t[name]
	if !ok || k == nil {
		return
	}
	for len(k.all) < n {
		k.all = append(k.all, nil)
	}
	if k.all[n-1] == nil {
		if value == "" {
			return
		}
		k.all[n-1] = newThing()
	}
	to := k.all[n-1].said
	if byStaff {
		to = k.all[n-1].fixed
	}
	to[leaf] = value
}

func newThing() *thing { return &thing{said: map[string]string{}, fixed: map[string]string{}} }

// spokenOf is what one call says of one thing.
type spokenOf struct {
	kind string
	n    int // as the model had it
	said map[string]string
	of   []int // which findings
	gone bool
}

// sort gives the findings of a call the numbers of the things they are about.
func (t things) sort(findings []events.Finding) []events.Finding {
	var mentions []*spokenOf
	open := map[string]*spokenOf{} // the latest of each number of the model's
	for i, f := range findings {   // not those that are inherited
		name, n, leaf, ok := slot(f.Field)
		if !ok || t[name] == nil {
			continue
		}
		key := slotPath(name, n, "")
		m := open[key]
		if m == nil || m.contradicts(leaf, f) {
			next := &spokenOf{kind: name, n: n, said: map[string]string{}, gone: f.Gone}
			if m != nil {
				findings = next.inherit(m, findings, i)
			}
			m, open[key] = next, next
			mentions = append(mentions, m)
		}
		m.said[leaf] = f.Value
		m.of = append(m.of, i)
	}
	for _, m := range mentions {
		n := t[m.kind].number(m)
		for _, i := range m.of {
			_, _, leaf, _ := slot(findings[i].Field)
			findings[i].Field = slotPath(m.kind, n, leaf)
		}
	}
	return findings
}

// contradicts reports whether a finding is of another thing than the one
// spoken of so far under the same number.
func (m *spokenOf) contradicts(leaf string, f events.Finding) bool {
	have, ok := m.said[leaf]
	return m.gone != f.Gone || ok && (identifies(leaf) || telling[leaf]) && !alike(leaf, have, f.Value)
}

// inherit adds to a thing what its words repeat of the one before: of "the
// 2015 Camry and the 2019 Camry" the gate keeps one Camry.
func (m *spokenOf) inherit(before *spokenOf, findings []events.Finding, at int) []events.Finding {
	f := findings[at]
	_, _, own, _ := slot(f.Field)
	for _, leaf := range slices.Sorted(maps.Keys(before.said)) {
		if v := before.said[leaf]; leaf != own && kindly[leaf] && within(v, f.Evidence) {
			g := f
			g.Field, g.Value = slotPath(m.kind, m.n, leaf), v
			findings = append(findings, g)
			m.said[leaf] = v
			m.of = append(m.of, len(findings)-1)
		}
	}
	return findings
}

// number is that of the thing a mention is about, which may be a new one.
func (k *kind) number(m *spokenOf) int {
	at, most := -1, 0
	for i, t := range k.all {
		if t == nil {
			continue
		}
		if n := max(likeness(t.said, m.said), likeness(t.meant(), m.said)); n > most {
			at, most = i, n
		}
	}
	if at < 0 && m.gone {
		return 0 // nothing known is gone
	}
	if at < 0 {
		at = k.unnamed(m)
	}
	if at < 0 {
		if at = slices.Index(k.all, nil); at < 0 {
			at = len(k.all)
			k.all = append(k.all, nil)
		}
		k.all[at] = newThing()
	}
	if !m.gone {
		maps.Copy(k.all[at].said, m.said)
	}
	return at + 1
}

// unnamed is where a mention belongs that names no thing, or the first to name
// one: to the thing with that number, if one of the two has no name; or to the
// only one there is.
func (k *kind) unnamed(m *spokenOf) int {
	nameless := !named(m.said)
	if i := m.n - 1; i < len(k.all) && k.all[i] != nil && (nameless || k.all[i].nameless(m.said)) {
		return i
	}
	if !nameless {
		return -1
	}
	return slices.IndexFunc(k.all, func(t *thing) bool { return t != nil })
}

// nameless reports whether a thing may be the one that is named now: it has no
// name yet, and nothing that another one would have.
func (t *thing) nameless(said map[string]string) bool {
	have := t.meant()
	for leaf := range telling {
		if have[leaf] != "" && said[leaf] != "" && !alike(leaf, have[leaf], said[leaf]) {
			return false
		}
	}
	return !named(have)
}

func named(said map[string]string) bool {
	for leaf, v := range said {
		if identifies(leaf) && v != "" {
			return true
		}
	}
	return false
}

// meant is a thing as staff has it right.
func (t *thing) meant() map[string]string {
	out := maps.Clone(t.said)
	maps.Copy(out, t.fixed)
	return out
}

// likeness is how much of a thing a mention repeats; 0: it is another one.
func likeness(have, said map[string]string) (n int) {
	one, other, about := false, false, false
	for leaf, v := range said {
		w := have[leaf]
		if v == "" || w == "" {
			continue
		}
		same := alike(leaf, v, w)
		switch {
		case unique[leaf]:
			one, other = one || same, other || !same
		case kindly[leaf] || telling[leaf]:
			other = other || !same
			about = about || kindly[leaf]
			n++
		}
	}
	switch {
	case one:
		return 1000
	case other || !about:
		return 0
	}
	return n
}

// alike compares two values of a field that tells things apart.
func alike(leaf, a, b string) bool {
	a, b = fold(a), fold(b)
	switch {
	case unique[leaf]:
		return strings.ReplaceAll(a, " ", "") == strings.ReplaceAll(b, " ", "")
	case leaf == "make":
		for _, v := range []*string{&a, &b} {
			if other, ok := sameMake[*v]; ok {
				*v = other
			}
		}
	case leaf == "address":
		return within(a, b) || within(b, a)
	}
	return a == b
}

// fieldsOf are the paths of everything known of the thing a path is of.
func (t things) fieldsOf(path string, known map[string]*held) (out []string) {
	name, n, _, ok := slot(path)
	if !ok || t[name] == nil {
		if known[path] != nil {
			out = append(out, path)
		}
		return out
	}
	prefix := slotPath(name, n, "")
	for p := range known {
		if strings.HasPrefix(p, prefix) {
			out = append(out, p)
		}
	}
	return out
}
