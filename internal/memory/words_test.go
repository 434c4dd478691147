package memory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// notOurs is what errors of Go and its packages say.
var notOurs = regexp.MustCompile(`(?i)json: |\bGo\b|unmarshal|strconv|parsing|unexpected (end|eof)|\bEOF\b|invalid character|reflect|\bu?int(8|16|32|64)?\b|float|struct|interface|slice|\bnil\b|map\[|\[\]|2006-01-02|time\.|url\.|net/|%!|syntax|SQLSTATE|postgres|nats`)

// Whatever is wrong with a request, it is said in words of ours that name the
// part that is wrong.
func testErrorsAreInPlainWords(t *testing.T, w *world) {
	c := newClient(t, w.url)
	me := w.known(t, "mine")
	refused := 0
	for _, id := range slices.Sorted(maps.Keys(c.ops)) {
		op := c.ops[id]
		for _, m := range mangled(op, me) {
			req, err := http.NewRequestWithContext(t.Context(), op.method, w.url+m.path, strings.NewReader(m.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = m.header
			req.Header.Set("Authorization", "Bearer "+me.key)
			got := c.do(t, req)
			if got.status < 400 {
				continue
			}
			refused++
			says := []string{got.text("error")}
			where := ""
			details, _ := got.at("details").([]any)
			for i := range details {
				says = append(says, got.text("details", i, "what"))
				where += " " + got.text("details", i, "where")
			}
			for _, s := range says {
				if notOurs.MatchString(s) {
					t.Errorf("%s, %s: %d %s", id, m.what, got.status, got.body)
				}
			}
			if !regexp.MustCompile(m.names).MatchString(where+" "+says[0]) && (got.status == 400 || got.status == 422) {
				t.Errorf("%s, %s: nothing about %s: %d %s", id, m.what, m.names, got.status, got.body)
			}
		}
	}
	if refused < 500 {
		t.Errorf("%d requests were refused only", refused)
	}
}

// mangling is a request with one thing wrong.
type mangling struct {
	what, names string // what was done, and which part an error is to name, as an expression
	path, body  string
	header      http.Header
}

var (
	oddParams = []string{"x", "1.5", "-1", "0", "99999999999999999999", "0x10", "yes", "\x00", "[1]", "2026-02-30", strings.Repeat("x", 1200)}
	oddJSON   = []string{
		`null`, `true`, `0`, `-1`, `1.5`, `1e400`, `-1e400`, `99999999999999999999`, `4294967298`, `""`, `"x"`, `"5"`, `"\u0000"`, `"\ud800"`, `[]`, `[1]`, `["x","y","z"]`, `{}`, `{"a":[{"b":1e400}]}`, `[[1e999]]`,
		`[["user"]]`, `[["user","a","b"]]`, `[["user",5]]`, `[{"role":5}]`, `[{"role":"user","text":"x","at":"2026-01-01T1:00:00Z"}]`, `[{"role":"user","text":"x","at":"2026-01-01T00:00:00,5Z"}]`, `[{"role":"user","text":"x","at":5}]`,
		`"2026-02-30T00:00:00Z"`, `"2026-01-01T1:00:00Z"`, `"2026-01-01T00:00:00,5Z"`, `"2026-01-01"`, `"10000-01-01T00:00:00Z"`, `"2026-01-01T00:00:00+25:00"`, `"` + strings.Repeat("x", 9000) + `"`,
	}
	oddBodies = []string{"", " ", "{", "[]", "5", `"x"`, "nul", "null", `{"customer_id":ID,}`, `{"customer_id":ID}{}`, `{"customer_id":ID,"a":"` + "\xff" + `"`, `{"customer_id":ID,"customer_id":ID}`, `{"customer_id":ID,"a":` + strings.Repeat("[", 11_000)}
	oddTypes  = []string{"", "text/plain", "application/xml", "application/json; charset=", "application", ";", "multipart/form-data"}
)

// mangled are requests to an operation.
func mangled(op operation, me *tenant) (all []mangling) {
	path := strings.NewReplacer("{user_id}", url.PathEscape(ann), "{phone}", url.PathEscape(ann), "{field}", "personal.name", "{call_id}", "CA1mine", "{id}", "x", "{erasure_id}", "x").Replace(op.path)
	good := map[string]json.RawMessage{"customer_id": json.RawMessage(me.id.String())}
	query := url.Values{}
	header := func(name, v string) http.Header {
		h := http.Header{}
		if op.RequestBody != nil {
			h.Set("Content-Type", "application/json")
		}
		if name != "" {
			h.Set(name, v)
		}
		return h
	}
	if op.RequestBody == nil {
		query.Set("customer_id", me.id.String())
	}
	var schema *openapi3.Schema
	if op.RequestBody != nil {
		schema = op.RequestBody.Value.Content["application/json"].Schema.Value
		for name, v := range map[string]string{
			"user_id": `"` + ann + `"`, "type": `"fact"`, "key": `"k"`, "value": `"x"`, "role": `"user"`, "content": `"x"`, "query": `"x"`, "field": `"personal.name"`, "stage": `"Lost"`, "conversation_history": `[["user","x"]]`,
		} {
			if schema.Properties[name] != nil {
				good[name] = json.RawMessage(v)
			}
		}
	}
	body := func(name, v string) string {
		if op.RequestBody == nil {
			return ""
		}
		with := maps.Clone(good)
		if name == "turns" {
			delete(with, "conversation_history")
		}
		var b bytes.Buffer
		for n, v := range with {
			if n != name {
				fmt.Fprintf(&b, `%q:%s,`, n, v)
			}
		}
		if name == "" {
			return "{" + strings.TrimSuffix(b.String(), ",") + "}"
		}
		return fmt.Sprintf(`{%s%q:%s}`, b.String(), name, v)
	}
	for _, p := range op.Parameters {
		if p.Value.Name == "follow" {
			continue // and never ends
		}
		for _, v := range oddParams {
			m := mangling{what: fmt.Sprintf("%s %s=%.30q", p.Value.In, p.Value.Name, v), names: p.Value.Name, header: header("", ""), body: body("", "")}
			q, at := maps.Clone(query), path
			switch p.Value.In {
			case "query":
				q.Set(p.Value.Name, v)
			case "path":
				at = strings.Replace(op.path, "{"+p.Value.Name+"}", url.PathEscape(v), 1)
				at = strings.NewReplacer("{user_id}", url.PathEscape(ann), "{phone}", url.PathEscape(ann), "{field}", "personal.name").Replace(at)
			case "header":
				m.header = header(p.Value.Name, strings.ReplaceAll(v, "\x00", "\xff"))
			}
			m.path = at + "?" + q.Encode()
			all = append(all, m)
		}
	}
	at := path + "?" + query.Encode()
	all = append(all, mangling{what: "no query", path: path, names: "customer_id", header: header("", "")})
	all = append(all, mangling{what: "query of no form", path: path + "?" + query.Encode() + "&%zz;=1", header: header("", ""), body: body("", "")})
	if schema == nil {
		return all
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		for _, v := range oddJSON {
			names := name
			if name == "conversation_history" || name == "turns" { // one is for the other, and both are for when the call ended
				names = "conversation_history|turns|ended_at"
			}
			all = append(all, mangling{what: fmt.Sprintf("%s: %.80s", name, v), names: names, path: at, header: header("", ""), body: body(name, v)})
		}
	}
	for _, b := range oddBodies {
		all = append(all, mangling{what: fmt.Sprintf("body %.40s", b), path: at, header: header("", ""), body: strings.ReplaceAll(b, "ID", me.id.String())})
	}
	for _, kind := range oddTypes {
		all = append(all, mangling{what: "Content-Type " + kind, path: at, header: header("Content-Type", kind), body: body("", "")})
	}
	return all
}
