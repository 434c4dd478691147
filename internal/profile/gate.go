// Package profile says what calls tell about a caller: it checks a model's
// claims against the caller's own words, and folds what was accepted into a
// profile. It is pure: same input, same bytes, in any order of arrival.
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
)

// Turn is one utterance with the number of the caller's turn it is, or answers.
type Turn struct {
	Turn int    `json:"turn"`
	Role string `json:"role"`
	Text string `json:"text"`
}

// GateInput is what claims are checked against.
type GateInput struct {
	Turns     []Turn
	Fields    []events.Field
	Agent     string         // the receptionist's name, never a caller's
	StartedAt time.Time      // of the call; what "tomorrow" counts from
	Zone      *time.Location // the business's; nil is UTC
}

var memoryField = regexp.MustCompile(`^memory\.[a-z_]{1,40}$`)

// Gate lets claims through that quote the caller, about someone the field can
// hold, with a value the quote supports, and gives a reason for the others.
// A claim of several items for a field that is a list becomes one finding for
// each. Neither result is nil.
func Gate(in GateInput, claims []events.Finding) (accepted []events.Finding, rejected []events.Reject) {
	accepted, rejected = []events.Finding{}, []events.Reject{}
	if in.Zone == nil {
		in.Zone = time.UTC
	}
	g := gate{GateInput: in}
	for _, t := range in.Turns {
		g.folded = append(g.folded, fold(t.Text))
	}
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

type gate struct {
	GateInput
	folded []string // the words of each turn
}

func (g gate) check(c events.Finding) ([]events.Finding, string) {
	at, reason := g.quoted(c.Evidence, c.Turn)
	if reason != "" {
		return nil, reason
	}
	c.Turn = g.Turns[at].Turn
	if c.Confidence != "implied" {
		c.Confidence = "stated"
	}
	field := events.Field{Path: c.Field, Type: "text"}
	if i := slices.IndexFunc(g.Fields, func(f events.Field) bool { return f.Path == c.Field }); i >= 0 {
		field = g.Fields[i]
	} else if !memoryField.MatchString(c.Field) {
		return nil, UnknownField
	}
	var ok bool
	if c.Subject, ok = subject(c.Field, c.Subject); !ok {
		return nil, WrongSubject
	}
	if c.Field == "personal.name" && within(c.Value, g.Agent) {
		return nil, WrongSubject
	}
	values, reason := g.values(field, c, g.Turns[at].Text)
	out := make([]events.Finding, 0, len(values))
	for _, v := range values {
		c.Value = v
		out = append(out, c)
	}
	return out, reason
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

// quoted is the index of the caller's turn that holds the quote: the one
// numbered turn when it does, else the first.
func (g gate) quoted(evidence string, turn int) (int, string) {
	quote := fold(evidence)
	if quote == "" {
		return 0, QuoteNotFound
	}
	found, byAgent := -1, false
	for i, t := range g.Turns {
		if !strings.Contains(" "+g.folded[i]+" ", " "+quote+" ") {
			continue
		}
		switch {
		case t.Role != events.RoleCaller:
			byAgent = true
		case found < 0 || t.Turn == turn:
			found = i
		}
	}
	switch {
	case found >= 0:
		return found, ""
	case byAgent:
		return 0, WrongSpeaker
	}
	return 0, QuoteNotFound
}

// values are what the claim says, in the one form its field's type has, as far
// as the words back it. text is the whole turn quoted.
func (g gate) values(f events.Field, c events.Finding, text string) (out []string, reason string) {
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
			if !g.backed(f, v, c.Evidence, text) {
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

// Quoted reports whether the caller said these words.
func Quoted(turns []Turn, quote string) bool {
	g := gate{GateInput: GateInput{Turns: turns}}
	for _, t := range turns {
		g.folded = append(g.folded, fold(t.Text))
	}
	_, reason := g.quoted(quote, 0)
	return reason == ""
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
