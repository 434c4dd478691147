// Package profile says what calls tell about a caller: it checks a model's
// claims against the caller's own words, and folds what was accepted into a
// profile. It is pure: same input, same bytes, in any order of arrival.
package profile

import (
	"regexp"
	"slices"
	"strconv"
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
	NotSupported  = "not_supported" // the quote does not say the value
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
	Agent     string // the receptionist's name, never a caller's
	StartedAt time.Time
	Zone      *time.Location
}

var memoryField = regexp.MustCompile(`^memory\.[a-z_]{1,40}$`)

// Gate lets claims through that quote the caller, about someone the field can
// hold, with a value the quote supports, and gives a reason for the others.
func Gate(in GateInput, claims []events.Finding) (accepted []events.Finding, rejected []events.Reject) {
	accepted, rejected = []events.Finding{}, []events.Reject{}
	seen := map[string]bool{}
	for _, c := range claims {
		f, reason := in.check(c)
		if reason != "" {
			rejected = append(rejected, events.Reject{Finding: c, Reason: reason})
			continue
		}
		if key := f.Field + "\x00" + f.Subject + "\x00" + strings.ToLower(f.Value); !seen[key] {
			seen[key] = true
			accepted = append(accepted, f)
		}
	}
	return accepted, rejected
}

func (in GateInput) check(c events.Finding) (events.Finding, string) {
	turn, reason := in.quoted(c)
	if reason != "" {
		return c, reason
	}
	c.Turn = turn
	if c.Subject == "" {
		c.Subject = "caller"
	}
	if c.Confidence != "implied" {
		c.Confidence = "stated"
	}
	field := events.Field{Path: c.Field, Type: "text"}
	if i := slices.IndexFunc(in.Fields, func(f events.Field) bool { return f.Path == c.Field }); i >= 0 {
		field = in.Fields[i]
	} else if !memoryField.MatchString(c.Field) {
		return c, UnknownField
	}
	if !strings.HasPrefix(c.Field, "memory.") && c.Subject != "caller" && !strings.HasPrefix(c.Field, "family.") {
		return c, WrongSubject
	}
	if c.Field == "personal.name" && strings.EqualFold(strings.TrimSpace(c.Value), in.Agent) && in.Agent != "" {
		return c, WrongSubject
	}
	if field.Type != "boolean" && field.Type != "enum" && !supported(c.Value, c.Evidence) {
		return c, NotSupported
	}
	v, ok := normalise(field, c.Value, in.StartedAt, in.Zone)
	if !ok {
		return c, BadValue
	}
	c.Value = v
	return c, ""
}

// quoted is the caller's turn that holds the quote.
func (in GateInput) quoted(c events.Finding) (int, string) {
	quote := fold(c.Evidence)
	if quote == "" {
		return 0, QuoteNotFound
	}
	found, by := 0, ""
	for _, t := range in.Turns {
		if !strings.Contains(" "+fold(t.Text)+" ", " "+quote+" ") {
			continue
		}
		switch {
		case t.Role == events.RoleCaller && (found == 0 || t.Turn == c.Turn):
			found = t.Turn
		case t.Role == events.RoleAgent:
			by = events.RoleAgent
		}
	}
	switch {
	case found > 0:
		return found, ""
	case by != "":
		return 0, WrongSpeaker
	}
	return 0, QuoteNotFound
}

// fold keeps letters and digits, one space apart, so that punctuation and case
// do not decide whether words are the same.
func fold(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), " ")
}

// supported reports whether most words of value occur in the quote; numbers
// may be written with other separators.
func supported(value, quote string) bool {
	q := " " + fold(quote) + " "
	squeezed := strings.ReplaceAll(q, " ", "")
	words := strings.Fields(fold(value))
	hits := 0
	for _, w := range words {
		if strings.Contains(q, " "+w+" ") || len(w) > 3 && strings.Contains(squeezed, w) {
			hits++
		}
	}
	if digits := onlyDigits(value); len(digits) >= 3 && strings.Contains(onlyDigits(quote), strings.TrimRight(digits, "0")) {
		return true
	}
	return len(words) > 0 && hits*3 >= len(words)*2
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// normalise brings a value into the one form its field's type has.
func normalise(f events.Field, v string, at time.Time, zone *time.Location) (string, bool) {
	v = strings.Join(strings.Fields(v), " ")
	if v == "" || len(v) > 500 {
		return "", false
	}
	switch f.Type {
	case "int":
		n, ok := number(v)
		if !ok || n != float64(int64(n)) {
			return "", false
		}
		if strings.HasSuffix(f.Path, ".year") && (n < 1900 || n > float64(at.Year()+1)) {
			return "", false
		}
		return strconv.FormatInt(int64(n), 10), true
	case "number", "float":
		n, ok := number(v)
		return strconv.FormatFloat(n, 'f', -1, 64), ok
	case "boolean":
		switch strings.ToLower(v) {
		case "true", "yes":
			return "true", true
		case "false", "no":
			return "false", true
		}
		return "", false
	case "enum":
		i := slices.IndexFunc(f.Values, func(w string) bool { return strings.EqualFold(w, v) })
		if i < 0 {
			return "", false
		}
		return f.Values[i], true
	case "phone":
		return phone(v)
	case "email":
		at := strings.IndexByte(v, '@')
		return strings.ToLower(v), at > 0 && strings.Contains(v[at:], ".") && !strings.Contains(v, " ")
	case "date", "array[date]":
		return date(v, at, zone)
	}
	return v, true
}

var numberForm = regexp.MustCompile(`^\$?([0-9][0-9,]*(?:\.[0-9]+)?)\s*(k|thousand|m|million)?\b`)

func number(v string) (float64, bool) {
	m := numberForm.FindStringSubmatch(strings.ToLower(v))
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
	switch m[2] {
	case "k", "thousand":
		n *= 1e3
	case "m", "million":
		n *= 1e6
	}
	return n, err == nil
}

func phone(v string) (string, bool) {
	d := onlyDigits(v)
	switch {
	case strings.HasPrefix(v, "+") && len(d) >= 8 && len(d) <= 15:
		return "+" + d, true
	case len(d) == 10:
		return "+1" + d, true
	case len(d) == 11 && d[0] == '1':
		return "+" + d, true
	case len(d) == 7:
		return d, true // local: said without an area code
	}
	return "", false
}

var dateForms = []string{"2006-01-02", "01/02/2006", "1/2/2006", "January 2, 2006", "January 2 2006", "2 January 2006"}

func date(v string, at time.Time, zone *time.Location) (string, bool) {
	for _, form := range dateForms {
		if t, err := time.Parse(form, v); err == nil {
			return t.Format(time.DateOnly), true
		}
	}
	if zone == nil {
		zone = time.UTC
	}
	day := at.In(zone)
	switch strings.ToLower(v) {
	case "today":
	case "tomorrow":
		day = day.AddDate(0, 0, 1)
	case "yesterday":
		day = day.AddDate(0, 0, -1)
	default:
		return "", false
	}
	return day.Format(time.DateOnly), true
}

// Quoted reports whether the caller said these words.
func Quoted(turns []Turn, quote string) bool {
	_, reason := GateInput{Turns: turns}.quoted(events.Finding{Evidence: quote})
	return reason == ""
}
