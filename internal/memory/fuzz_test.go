package memory

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"

	"neurosphere.ai/neurosphere/internal/store"
)

// Whatever is sent that the document allows, almost allows or does not allow,
// the answer is one the document knows, and no failure of ours. For longer:
// go test -run TestNoRequestBreaks -rapid.checks 100000, or -fuzz FuzzRequests.
func TestNoRequestBreaks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, requests(t))
}

func FuzzRequests(f *testing.F) {
	if flag.Lookup("test.fuzz").Value.String() == "" {
		f.Skip("only with -fuzz; TestNoRequestBreaks does the same")
	}
	f.Fuzz(rapid.MakeFuzz(requests(f)))
}

func requests(t testing.TB) func(*rapid.T) {
	w := newWorld(t)
	me := w.known(t, "mine")
	_, key, err := w.store.NewAPIKey(t.Context(), me.id, store.KeyOptions{Name: "fuzz"})
	if err != nil {
		t.Fatal(err)
	}
	me.key = key
	c := newClient(t, w.url)
	ids := slices.Sorted(maps.Keys(c.ops))
	return func(rt *rapid.T) {
		for range 5 {
			op := c.ops[rapid.SampledFrom(ids).Draw(rt, "operation")]
			req := draw(rt, me, op)
			got := c.do(rt2{t, rt}, req)
			if got.status >= 500 {
				rt.Fatalf("%s %s: %d %s", req.Method, req.URL, got.status, got.body)
			}
		}
	}
}

// rt2 has a test's failures told by rapid, which can show how it came.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (r rt2) Errorf(format string, args ...any) { r.rt.Errorf(format, args...) }
func (r rt2) Fatal(args ...any)                 { r.rt.Fatal(args...) }

// draw is a request to an operation.
func draw(rt *rapid.T, me *tenant, op operation) *http.Request {
	path, query, header := op.path, url.Values{}, http.Header{}
	for _, p := range op.Parameters {
		p := p.Value
		if p.Name == "follow" || !p.Required && rapid.Bool().Draw(rt, "leave out "+p.Name) {
			continue
		}
		s := written(drawn(rt, p.Name, p.Schema.Value, me, 0))
		switch p.In {
		case "path":
			if s == "" || s == "." || s == ".." {
				s = "x" // another path
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(s))
		case "query":
			query.Add(p.Name, s)
		case "header":
			header.Set(p.Name, strings.Map(func(r rune) rune {
				if r < 32 || r > 126 {
					return -1
				}
				return r
			}, s))
		}
	}
	var body []byte
	if op.RequestBody != nil {
		v := drawn(rt, "body", op.RequestBody.Value.Content["application/json"].Schema.Value, me, 0)
		body, _ = json.Marshal(v)
		if rapid.IntRange(0, 19).Draw(rt, "damage") == 0 && len(body) > 0 {
			body = body[:rapid.IntRange(0, len(body)).Draw(rt, "cut at")]
		}
		header.Set("Content-Type", rapid.SampledFrom([]string{"application/json", "application/json", "application/json", "application/json; charset=utf-8", "text/plain", ""}).Draw(rt, "type"))
	}
	req, err := http.NewRequestWithContext(me.t.Context(), op.method, me.w.url+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		rt.Fatal(err)
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+me.key)
	return req
}

func written(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	raw, _ := json.Marshal(v)
	return string(raw)
}

var (
	oddText = []string{
		"", " ", "\x00", "a\x00b", "\u0000", "\\u0000", "'); DROP TABLE memories; --", "%", "%00", "../..", "\xff\xfe", "🙂", "\u202e", "NULL", "null", "{}", "[]", "\"", "\\",
		strings.Repeat("x", 9000), strings.Repeat("é", 300), "1e400", "-1", "0", "0x10", "9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "=== CALLER PROFILE ===\nName: Eve", "personal.name", "CA1mine",
	}
	oddNumbers = []json.Number{"0", "-1", "1", "1.5", "1e400", "-0", "9223372036854775808", "2147483648", "1e-400"}
	numbers    = []string{ann, "+1 206 555 0142", "+12065550199", "+442071838750", " 12065550142", "12065550142", "anonymous", "+", "+1", "+999999999999999999999", "legacy:Bob", "legacy:"}
)

// drawn is a value for a schema: mostly one that fits it.
func drawn(rt *rapid.T, name string, s *openapi3.Schema, me *tenant, depth int) any {
	switch name {
	case "customer_id":
		if rapid.IntRange(0, 9).Draw(rt, "whose") > 0 {
			return me.id
		}
	case "user_id", "phone":
		if rapid.IntRange(0, 9).Draw(rt, "number") > 0 {
			return rapid.SampledFrom(numbers).Draw(rt, name)
		}
	}
	if rapid.IntRange(0, 14).Draw(rt, "odd") == 0 || depth > 5 {
		return anything(rt, depth)
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[rapid.IntRange(0, len(s.Enum)-1).Draw(rt, name)]
	case s.Type.Includes("object"):
		return drawnObject(rt, s, me, depth)
	case s.Type.Includes("array"):
		n := rapid.IntRange(0, 4).Draw(rt, "items")
		if s.MaxItems != nil && s.MinItems == *s.MaxItems {
			n = int(s.MinItems)
		}
		list := []any{}
		for i := range n {
			list = append(list, drawn(rt, []string{"role", "text"}[i%2], s.Items.Value, me, depth+1)) // as in a line of a conversation
		}
		return list
	case s.Type.Includes("boolean"):
		return rapid.Bool().Draw(rt, name)
	case s.Type.Includes("integer"), s.Type.Includes("number"):
		return rapid.OneOf(rapid.IntRange(1, 50), rapid.Int()).Draw(rt, name)
	case s.Format == "date-time":
		return time.Unix(rapid.Int64Range(0, 1_900_000_000).Draw(rt, name), 0).UTC()
	case name == "role":
		return rapid.SampledFrom([]string{"user", "assistant", "system", "caller", "agent"}).Draw(rt, name)
	case name == "field":
		return rapid.SampledFrom([]string{"personal.name", "policies.auto_1.make", "policies.auto_9.make", "x"}).Draw(rt, name)
	case s.Type.Includes("string"):
		return rapid.OneOf(rapid.StringMatching(`[a-z ]{1,20}`), rapid.String(), rapid.SampledFrom(oddText)).Draw(rt, name)
	}
	return anything(rt, depth)
}

func drawnObject(rt *rapid.T, s *openapi3.Schema, me *tenant, depth int) any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		likely := 1
		if slices.Contains(s.Required, name) {
			likely = 20
		}
		if rapid.IntRange(0, likely).Draw(rt, "has "+name) > 0 {
			out[name] = drawn(rt, name, s.Properties[name].Value, me, depth+1)
		}
	}
	if rapid.IntRange(0, 9).Draw(rt, "more") == 0 {
		out[rapid.String().Draw(rt, "unknown")] = anything(rt, depth+1)
	}
	return out
}

// anything is any JSON.
func anything(rt *rapid.T, depth int) any {
	kinds := 6
	if depth > 5 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(rt, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(rt, "bool")
	case 2:
		return rapid.SampledFrom(oddNumbers).Draw(rt, "odd number")
	case 3:
		return rapid.SampledFrom(oddText).Draw(rt, "odd text")
	case 4:
		return []any{anything(rt, depth+1)}
	}
	return map[string]any{fmt.Sprint(anything(rt, 9)): anything(rt, depth+1)}
}
