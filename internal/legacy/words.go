package legacy

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/settings"
)

// Bounds of what a fact's schema takes, in characters, and of all that is taken
// from one row's JSON, in bytes.
const (
	maxShort = 2000
	maxLong  = 16000
	maxJSON  = 100_000
	maxPath  = 200
	maxUser  = 200
)

var numberLike = regexp.MustCompile(`^[-+0-9 ().]{7,}$`)

// CallerOf is who a user_id of the old service is: a number in E.164, where ten
// digits are of the region, or what is said instead of one, which is kept under
// a form of its own.
func CallerOf(user, region string) string {
	if numberLike.MatchString(user) {
		if n, err := settings.NumberIn(user, region); err == nil {
			return n
		}
	}
	if len(user) > maxUser || masked(user) != user {
		return events.Legacy + events.Derive("legacy", user)
	}
	return events.Legacy + user
}

// maskAtOnce bounds what is masked at a time, in bytes: more than a turn that is
// spoken would be cut.
const maskAtOnce = 2000

// masked is text without numbers that are not to be kept.
func masked(text string) string {
	c := mask.New()
	var b strings.Builder
	for len(text) > maskAtOnce {
		end := 1 + strings.LastIndexAny(text[:maskAtOnce], " \t\n")
		if end == 0 { // one word; numbers are no longer than a few
			for end = maskAtOnce; end > 1 && (!utf8.RuneStart(text[end]) || unicode.IsDigit(rune(text[end-1]))); end-- {
			}
		}
		b.WriteString(c.Caller(text[:end], false).Text)
		text = text[end:]
	}
	b.WriteString(c.Caller(text, false).Text)
	return b.String()
}

// words is text as a fact can carry it: valid, masked, and cut where it is too
// long for its field.
func words(text string, limit int) (out string, cut bool) {
	out = masked(strings.ToValidUTF8(text, "\uFFFD"))
	if len(out) <= limit {
		return out, false
	}
	if r := []rune(out); len(r) > limit {
		return string(r[:limit]), true
	}
	return out, false
}

// value is what the old service kept as text or JSON, as JSON text; content is
// the words where it was words.
func value(text string) (raw, content string, cut bool) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if v, ok := parse(text); ok {
		if s, plain := v.(string); plain {
			text = s
		} else if raw := jsonText(maskedJSON(v)); len(raw) <= maxLong {
			return raw, "", false
		}
	}
	content, cut = words(text, maxLong-2)
	for raw = jsonText(content); len([]rune(raw)) > maxLong; raw = jsonText(content) { // escapes take room
		r := []rune(content)
		content, cut = string(r[:len(r)*9/10]), true
	}
	return raw, content, cut
}

func parse(text string) (v any, ok bool) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber() // digits stay what they are
	if dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	return v, true
}

func jsonText(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // what came from JSON goes back
	return strings.TrimSpace(b.String())
}

// maskedJSON is v with its words, and numbers that must not be kept, masked.
func maskedJSON(v any) any {
	switch v := v.(type) {
	case string:
		return masked(v)
	case json.Number:
		if m := masked(v.String()); m != v.String() {
			return m
		}
	case []any:
		for i := range v {
			v[i] = maskedJSON(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[masked(k)] = maskedJSON(x)
		}
		return out
	}
	return v
}

// plain is a JSON value as text: words as they are, all else as JSON.
func plain(v any) string {
	if s, ok := v.(string); ok {
		s, _ = words(s, maxLong)
		return s
	}
	s := jsonText(maskedJSON(v))
	if r := []rune(s); len(r) > maxLong {
		s = string(r[:maxLong])
	}
	return s
}

// named are the values of a JSON object by name, or what else there is under
// the name of the whole; cut tells that not all of it fitted.
func named(whole, text string, into map[string]string) (cut bool) {
	v, ok := parse(text)
	if !ok || v == nil {
		return false
	}
	object, ok := v.(map[string]any)
	if !ok {
		if list, ok := v.([]any); !ok || len(list) > 0 {
			into[whole] = plain(v)
		}
		return false
	}
	size := 0
	for _, k := range slices.Sorted(maps.Keys(object)) {
		if object[k] == nil {
			continue
		}
		name, long := words(k, maxPath-len(whole)-1)
		s := plain(object[k])
		if size += len(name) + len(s); size > maxJSON {
			return true
		}
		cut = cut || long
		into[whole+"."+name] = s
	}
	return cut
}

// topics are the old service's list of them.
func topics(text string) (out []string, cut bool) {
	v, ok := parse(text)
	if !ok || v == nil {
		return []string{}, false
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out = []string{}
	for i, x := range list {
		if i == 50 {
			return out, true
		}
		s, long := words(plain(x), maxShort)
		out, cut = append(out, s), cut || long
	}
	return out, cut
}
