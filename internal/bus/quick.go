package bus

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
)

// What is nearly always read is what this codec wrote. It is recognised here at
// a tenth of the price; all else is left to the libraries, which decide. What
// this file lets through they would let through too, and read the same.

// quickHead reads the header of a fact as this codec writes it. ok is false for anything unusual, which
// may be well formed all the same.
func (c *codec) quickHead(name string, h nats.Header) (head events.Head, ok bool) {
	var version, typ, content, source bool
	for key, vs := range h {
		if len(vs) != 1 || !allPlain(vs[0]) {
			return head, false
		}
		v := vs[0]
		good := true
		switch key {
		case "ce-specversion":
			version = v == "1.0"
			good = version
		case "ce-type":
			n, known := events.NameOfType(v)
			typ = known && n == name
			good = typ
		case "ce-datacontenttype":
			content = v == contentJSON
			good = content
		case "ce-source":
			source = ownSource(v)
			good = source
		case "ce-dataschema":
			good = strings.HasPrefix(v, schemaBase) && v[len(schemaBase):] == schemaFile(name)
		case "ce-time":
			t, err := types.ParseTime(v)
			head.Time, good = t.UTC(), err == nil
		case "ce-" + extTenant:
			t, err := events.ParseTenant(v)
			head.Tenant, good = t, err == nil
		case "ce-" + extSeq:
			n, err := strconv.ParseUint(v, 10, 31)
			head.CallSeq, good = int(n), err == nil
		case "ce-id":
			head.ID = v
		case "ce-" + extCall:
			head.Call = v
		case "ce-" + extCause:
			head.Cause = v
		case "ce-" + extTrace:
			head.Trace = v
		case "ce-" + extPast:
			head.History = v == "true"
		case "ce-subject", headerMsgID:
		default:
			return head, false
		}
		if !good {
			return head, false
		}
	}
	return head, version && typ && content && source && head.ID != "" && head.Tenant.Valid() && !head.Time.IsZero()
}

// allPlain is true for text that stands for itself in a header, and is some.
func allPlain(s string) bool {
	for i := range len(s) {
		if !plain(s[i]) {
			return false
		}
	}
	return s != ""
}

func ownSource(s string) bool {
	worker, ok := strings.CutPrefix(s, "/neurosphere/")
	for i := range len(worker) {
		if c := worker[i]; (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return ok
}

// shape is the part of a JSON schema that can be checked in one pass over the
// text.
type shape struct {
	unsure   bool // the schema says more than this
	kinds    kind // 0: any
	required uint64
	props    map[string]prop
	more     *shape // of other properties; nil: any
	items    *shape // nil: any
	minLen   int
	maxLen   int
	min, max int64
	bounded  bool
	pattern  *regexp.Regexp
	enum     map[string]bool
}

type prop struct {
	*shape
	bit uint64 // where it is required
}

type kind uint8

const (
	kindObject kind = 1 << iota
	kindArray
	kindString
	kindInteger
	kindNumber
	kindBool
	kindNull
)

var kindNames = map[string]kind{
	"object": kindObject, "array": kindArray, "string": kindString, "integer": kindInteger,
	"number": kindNumber | kindInteger, "boolean": kindBool, "null": kindNull,
}

// newShape reads a schema of the 2020-12 draft, in which a format is a remark.
func newShape(doc any) *shape {
	s := &shape{maxLen: math.MaxInt, min: math.MinInt64, max: math.MaxInt64}
	d, ok := doc.(map[string]any)
	if !ok {
		s.unsure = doc != true
		return s
	}
	for key, v := range d {
		if !s.take(key, v, d) {
			s.unsure = true
		}
	}
	return s
}

// take is false for a word of a schema that is more than it knows.
func (s *shape) take(key string, v any, all map[string]any) (ok bool) {
	switch key {
	case "title", "description", "$comment", "$id", "format", "examples":
		return true
	case "$schema":
		text, _ := v.(string)
		return strings.Contains(text, "2020-12")
	case "type":
		s.kinds, ok = kindsOf(v)
	case "properties":
		return s.takeProperties(v, all["required"])
	case "required":
		_, ok = all["properties"].(map[string]any) // which takes it along
	case "additionalProperties":
		s.more, ok = newShape(v), true
	case "items":
		s.items, ok = newShape(v), true
	case "minLength":
		s.minLen, ok = whole[int](v)
	case "maxLength":
		s.maxLen, ok = whole[int](v)
	case "minimum":
		s.bounded = true
		s.min, ok = whole[int64](v)
	case "maximum":
		s.bounded = true
		s.max, ok = whole[int64](v)
	case "pattern":
		text, _ := v.(string)
		var err error
		s.pattern, err = regexp.Compile(text)
		ok = err == nil
	case "enum":
		s.enum, ok = texts(v)
	}
	return ok
}

func kindsOf(v any) (out kind, ok bool) {
	names, many := v.([]any)
	if !many {
		names = []any{v}
	}
	for _, n := range names {
		text, _ := n.(string)
		k := kindNames[text]
		if k == 0 {
			return 0, false
		}
		out |= k
	}
	return out, true
}

func (s *shape) takeProperties(v, required any) bool {
	props, ok := v.(map[string]any)
	if !ok {
		return false
	}
	s.props = map[string]prop{}
	for name, p := range props {
		s.props[name] = prop{shape: newShape(p)}
	}
	names, _ := required.([]any)
	for i, n := range names {
		name, _ := n.(string)
		p, ok := s.props[name]
		if !ok || i > 63 {
			return false
		}
		p.bit = 1 << i
		s.required |= p.bit
		s.props[name] = p
	}
	return true
}

func whole[T int | int64](v any) (T, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return T(i), err == nil
}

func texts(v any) (map[string]bool, bool) {
	all, _ := v.([]any)
	out := map[string]bool{}
	for _, one := range all {
		text, ok := one.(string)
		if !ok {
			return nil, false
		}
		out[text] = true
	}
	return out, len(out) > 0
}

// fits is true only for text that, should it be JSON, fits the schema.
func (s *shape) fits(data []byte) bool {
	if s == nil {
		return false
	}
	c := cursor{data: data}
	if !c.value(s, 0) {
		return false
	}
	c.space()
	return c.at == len(data)
}

// cursor is a place in some JSON. It need not notice what is none.
type cursor struct {
	data []byte
	at   int
}

const maxDepth = 64

func (c *cursor) space() {
	for c.at < len(c.data) && (c.data[c.at] == ' ' || c.data[c.at] == '\n' || c.data[c.at] == '\t' || c.data[c.at] == '\r') {
		c.at++
	}
}

// eat passes over b, if it comes next.
func (c *cursor) eat(b byte) bool {
	c.space()
	if c.at < len(c.data) && c.data[c.at] == b {
		c.at++
		return true
	}
	return false
}

// value passes over one value, of a shape or (nil) of any.
func (c *cursor) value(s *shape, depth int) bool {
	if c.space(); c.at >= len(c.data) || depth > maxDepth || s != nil && s.unsure {
		return false
	}
	is := func(k kind) bool {
		return s == nil || (s.kinds == 0 || s.kinds&k != 0) && (s.enum == nil || k == kindString)
	}
	switch b := c.data[c.at]; b {
	case '{':
		return is(kindObject) && c.object(s, depth)
	case '[':
		return is(kindArray) && c.array(s, depth)
	case '"':
		text, escaped, ok := c.text()
		return ok && is(kindString) && (s == nil || s.fitsText(text, escaped))
	case 't':
		return is(kindBool) && c.word("true")
	case 'f':
		return is(kindBool) && c.word("false")
	case 'n':
		return is(kindNull) && c.word("null")
	default:
		n, whole := c.number()
		switch {
		case s == nil:
			return true
		case !whole:
			return !s.bounded && is(kindNumber)
		}
		return is(kindInteger) && n >= s.min && n <= s.max
	}
}

func (c *cursor) word(w string) bool {
	ok := bytes.HasPrefix(c.data[c.at:], []byte(w))
	c.at += len(w)
	return ok
}

// number passes over one; whole is false where its value is not surely n.
func (c *cursor) number() (n int64, whole bool) {
	from := c.at
	for c.at < len(c.data) && strings.IndexByte("+-.0123456789eE", c.data[c.at]) >= 0 {
		c.at++
	}
	n, err := strconv.ParseInt(string(c.data[from:c.at]), 10, 64)
	return n, err == nil
}

// text passes over a string.
func (c *cursor) text() (raw []byte, escaped, ok bool) {
	c.at++
	from := c.at
	for ; c.at < len(c.data); c.at++ {
		switch c.data[c.at] {
		case '\\':
			escaped = true
			c.at++
		case '"':
			raw = c.data[from:c.at]
			c.at++
			return raw, escaped, true
		}
	}
	return nil, false, false
}

func (s *shape) fitsText(raw []byte, escaped bool) bool {
	if len(raw) > s.maxLen || s.minLen > 1 || s.minLen == 1 && len(raw) == 0 {
		return false // it may fit: characters are fewer than bytes
	}
	if s.pattern == nil && s.enum == nil {
		return true
	}
	return !escaped && allPlain(strings.ReplaceAll(string(raw), " ", "_")) && (s.pattern == nil || s.pattern.Match(raw)) && (s.enum == nil || s.enum[string(raw)])
}

func (c *cursor) object(s *shape, depth int) bool {
	c.at++
	var have uint64
	var required uint64
	if s != nil {
		required = s.required
	}
	if c.eat('}') {
		return required == 0
	}
	for {
		if c.space(); c.at >= len(c.data) || c.data[c.at] != '"' {
			return false
		}
		name, escaped, ok := c.text()
		if !ok || escaped || !c.eat(':') {
			return false
		}
		var of *shape
		if s != nil {
			p, known := s.props[string(name)]
			if of = p.shape; !known {
				of = s.more
			}
			have |= p.bit
		}
		if !c.value(of, depth+1) {
			return false
		}
		if c.eat('}') {
			return have&required == required
		}
		if !c.eat(',') {
			return false
		}
	}
}

func (c *cursor) array(s *shape, depth int) bool {
	c.at++
	if c.eat(']') {
		return true
	}
	var of *shape
	if s != nil {
		of = s.items
	}
	for c.value(of, depth+1) {
		if c.eat(']') {
			return true
		}
		if !c.eat(',') {
			return false
		}
	}
	return false
}
