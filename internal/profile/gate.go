// Package profile says what calls tell about a caller: it checks a model's
// claims against the caller's own words, and folds what was accepted into a
// profile. It is pure: same input, same bytes, in any order of arrival.
//
// The gate reads English by rules, and when in doubt it refuses; in other
// languages it lets through what stands in the quote as it is (verbatim). A
// claim passes when all of this holds:
//
//   - Its quote stands word for word in one turn of the caller (Gate).
//   - Its field can hold facts about its subject (subject).
//   - Its value has its type's one form (value.go), and those words say it,
//     whole words and whole numbers, some of them in the quote (backed.go).
//   - They say it of the right person: the one named nearest before it, "my",
//     "the other driver", "he told me I'm", or asked about by the agent
//     (owner, answers).
//   - They do not deny it, ask for it, or take it back: "not", "is not",
//     "Do I have …", "no, sorry, it's …" (denied, asks, takenBack).
//   - Words that name what the field holds are near it, or in the agent's
//     question: "bedrooms" for a number of them (rules, meanings in cues.go).
//   - It is no memory of health, faith, origin, politics or love life.
package profile

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"neurosphere.ai/neurosphere/events"
)

// Why a claim is rejected.
const (
	QuoteNotFound = "quote_not_found"
	WrongSpeaker  = "wrong_speaker"
	WrongSubject  = "wrong_subject"
	UnknownField  = "unknown_field"
	BadValue      = "bad_value"
	NotSupported  = "not_supported" // the words quoted do not say the value
	Sensitive     = "sensitive"     // not to be remembered of anybody
)

// Turn is one utterance with the number of the caller's turn it is, or answers.
type Turn struct {
	Turn int    `json:"turn"`
	Role string `json:"role"`
	Text string `json:"text"`
	Lang string `json:"-"` // BCP 47, as recognised; empty: English
}

// GateInput is what claims are checked against.
type GateInput struct {
	Turns     []Turn
	Fields    []events.Field
	Agent     string         // the receptionist's name, never a caller's
	StartedAt time.Time      // of the call; what "tomorrow" counts from
	Zone      *time.Location // the business's; nil is UTC
}

// The time the gate takes is bounded: of longer turns it reads the beginning,
// and of a quote that stands in many places it looks at the first.
const (
	maxWords  = 1000 // of a turn
	maxRun    = 40   // letters or digits spelled one by one
	maxPlaces = 8
)

var memoryField = regexp.MustCompile(`^memory\.[a-z_]{1,40}$`)

// Gate lets claims through that quote the caller, about someone the field can
// hold, with a value the words say, and gives a reason for the others.
// A claim of several items for a field that is a list becomes one finding for
// each. Neither result is nil.
func Gate(in GateInput, claims []events.Finding) (accepted []events.Finding, rejected []events.Reject) {
	accepted, rejected = []events.Finding{}, []events.Reject{}
	g := newGate(in)
	seen := map[[3]string]bool{}
	for _, c := range claims {
		found, reason := g.check(c)
		if reason != "" {
			rejected = append(rejected, events.Reject{Finding: c, Reason: reason})
			continue
		}
		for _, f := range found {
			key := [3]string{f.Field, f.Subject, strings.ToLower(f.Value)}
			if !seen[key] {
				seen[key] = true
				accepted = append(accepted, f)
			}
		}
	}
	return accepted, rejected
}

// Staged reports whether the caller said these words, and they put a lead into
// that stage.
func Staged(turns []Turn, stage, quote string) bool {
	g := newGate(GateInput{Turns: turns})
	places, _ := g.quoted(quote, 0)
	return slices.ContainsFunc(places, func(p place) bool {
		if stage == events.Stages[0] {
			return p.telling()
		}
		said, ok := g.affirms(p, rule{cues: meaningOf(stage)})
		return ok && said
	})
}

type gate struct {
	GateInput
	heard []*utterance // each turn taken apart, when it is looked at
}

func newGate(in GateInput) *gate {
	if in.Zone == nil {
		in.Zone = time.UTC
	}
	return &gate{in, make([]*utterance, len(in.Turns))}
}

func (g *gate) hear(turn int) *utterance {
	if g.heard[turn] == nil {
		u := hear(g.Turns[turn].Text)
		g.heard[turn] = &u
	}
	return g.heard[turn]
}

// place is where a quote stands: words from one to another of a turn.
type place struct {
	*utterance
	turn     int // its index in GateInput.Turns
	from, to int
}

// telling reports whether the quote says anything at all.
func (p place) telling() bool {
	return !p.all(empty, p.from, p.to)
}

func (p place) quotes(from, to int) bool { return from < p.to && p.from < to }

func (g *gate) check(c events.Finding) ([]events.Finding, string) {
	places, reason := g.quoted(c.Evidence, c.Turn)
	if reason != "" {
		return nil, reason
	}
	if c.Confidence != "implied" {
		c.Confidence = "stated"
	}
	field := events.Field{Path: c.Field, Type: "text"}
	if i := slices.IndexFunc(g.Fields, func(f events.Field) bool { return f.Path == c.Field }); i >= 0 {
		field = g.Fields[i]
	} else if !memoryField.MatchString(c.Field) {
		return nil, UnknownField
	}
	if sensitive(c) {
		return nil, Sensitive
	}
	var ok bool
	if c.Subject, ok = subject(c.Field, c.Subject); !ok {
		return nil, WrongSubject
	}
	if c.Field == "personal.name" && within(c.Value, g.Agent) {
		return nil, WrongSubject
	}
	for i, p := range places {
		values, why := g.values(field, c, p)
		if why != "" {
			if i == 0 {
				reason = why
			}
			continue
		}
		out := make([]events.Finding, 0, len(values))
		c.Turn = g.Turns[p.turn].Turn
		for _, v := range values {
			c.Value, c.Gone = v, ruleOf(c.Field).whose == driven && p.given(v)
			out = append(out, c)
		}
		return out, ""
	}
	return nil, reason
}

// sensitive reports whether a memory would keep what is nobody's business.
func sensitive(c events.Finding) bool {
	key, ok := strings.CutPrefix(c.Field, "memory.")
	if !ok {
		return false
	}
	return slices.ContainsFunc(strings.Split(key, "_"), func(w string) bool { return privateKeys[w] }) ||
		slices.ContainsFunc(strings.Fields(fold(c.Value+" "+c.Evidence)), func(w string) bool { return private[w] })
}

// subject is whom a finding is about, and whether the field can hold it:
// profiles describe callers, their family fields those close to them.
func subject(field, who string) (string, bool) {
	switch who {
	case "":
		who = "caller"
	case "caller", "spouse", "child":
	default:
		who = "other"
	}
	group, _, _ := strings.Cut(field, ".")
	switch group {
	case "memory":
		return who, true
	case "family":
		return who, who != "other"
	}
	return who, who == "caller"
}

// quoted are the places where the quote stands in one of the caller's turns:
// the one numbered turn when it is there, else the first.
func (g *gate) quoted(evidence string, turn int) (places []place, reason string) {
	quote := hear(evidence).words
	byAgent := false
	look := func(i int) {
		u := g.hear(i)
		for at := u.find(quote, 0); at >= 0 && len(places) < maxPlaces; at = u.find(quote, at+1) {
			if g.Turns[i].Role != events.RoleCaller {
				byAgent = true
				return
			}
			places = append(places, place{u, i, at, at + len(quote)})
		}
	}
	for i, t := range g.Turns {
		if t.Turn == turn && t.Role == events.RoleCaller {
			look(i)
		}
	}
	for i, t := range g.Turns {
		if len(places) == 0 && (t.Turn != turn || t.Role != events.RoleCaller) {
			look(i)
		}
	}
	switch {
	case len(places) > 0:
		return places, ""
	case byAgent:
		return nil, WrongSpeaker
	}
	return nil, QuoteNotFound
}

// values are what the claim says, in the one form its field's type has, as far
// as the words back it.
func (g *gate) values(f events.Field, c events.Finding, p place) (out []string, reason string) {
	inner, list := strings.CutPrefix(f.Type, "array[")
	f.Type = strings.TrimSuffix(inner, "]")
	said := []string{strings.Join(strings.Fields(c.Value), " ")}
	if list && f.Type != "date" {
		said = items(said[0])
	}
	if len(c.Value) > maxValue {
		return nil, BadValue
	}
	for _, v := range said {
		all, ok := g.normalise(f, v)
		if !ok || len(all) == 0 || len(all) > 1 && !list {
			return nil, BadValue
		}
		for _, v := range all {
			if !g.backed(f, v, c.Subject, p) {
				return nil, NotSupported
			}
		}
		out = append(out, all...)
	}
	if len(out) == 0 {
		return nil, BadValue
	}
	return out, ""
}

const maxValue = 500 // bytes

var between = regexp.MustCompile(`(?i)\s*(?:,|;|&|\band\b)\s*`)

// items of a list as people say it: "Ann, Bo and Cy".
func items(s string) (out []string) {
	for _, v := range between.Split(s, -1) {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// fold keeps letters and digits, one space apart, so that punctuation and case
// do not decide whether words are the same.
func fold(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
	}), " ")
}

// within reports whether short has words, and each is a word of long.
func within(short, long string) bool {
	have, words := strings.Fields(fold(long)), strings.Fields(fold(short))
	for _, w := range words {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return len(words) > 0
}
