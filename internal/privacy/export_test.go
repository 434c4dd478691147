package privacy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/privacy"
)

// A caller's document holds everything that was said, found, refused and sent,
// under the ids it has everywhere, and nothing of anybody else.
func TestExport(t *testing.T) {
	t.Parallel()
	i := quick(t)
	i.customers(2)
	i.publish(woven(canary, ann, elsa)...)
	nobody := who{"anonymous", "Nemo Nullman", "nameless", 1, 1}
	i.publish(nobody.factsOf(0, began)...)
	i.project()
	i.claims(canary, ann, elsa)
	d, err := i.service.Export(t.Context(), 1, canary.number)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for name, out := range map[string]string{"json": string(raw), "html": page.String()} {
		for _, want := range append(canary.words(), canary.call(0), canary.call(2), "quote_not_found", "gpt-test", "Underwriting", canary.name+" Jr", "call "+canary.name, "STOP "+canary.word, "SM"+canary.call(1), "https://example.com/"+canary.word, "what the model said") {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not there", name, want)
			}
		}
		for _, other := range []string{ann.name, ann.number, elsa.name, elsa.word, nobody.word, `"seq"`, `"customer_id":2`} {
			if strings.Contains(out, other) {
				t.Errorf("%s: %q is there", name, other)
			}
		}
	}
	if len(d.Calls) != 3 || len(d.Calls[0].Transcript) != 3 || d.Calls[0].Transcript[1].Role != "caller" || len(d.Calls[1].Derivations) != 1 || len(d.Calls[1].Texts) != 1 ||
		len(d.Statements) != 3 || len(d.Received) != 1 || len(d.OptOuts) != 1 || len(d.Memories) == 0 || d.Profile == nil || d.Lead == nil || d.Averages == nil || len(d.Other) > 0 {
		t.Errorf("document %+v", d)
	}
	for _, outside := range []string{"<script", "src=", "<link", "url("} {
		if strings.Contains(page.String(), outside) {
			t.Errorf("the page needs %s", outside)
		}
	}
	var all []privacy.Document
	if err := i.service.ExportAll(t.Context(), 1, func(d privacy.Document) error { all = append(all, d); return nil }); err != nil {
		t.Fatal(err)
	}
	last := all[len(all)-1]
	if len(all) != 3 || last.Caller != "" || len(last.Calls) != 1 || last.Calls[0].Derivations[0].Findings[0].Value != nobody.name {
		t.Errorf("%d documents, the last %+v", len(all), last)
	}
	if err := last.HTML(&page); err != nil {
		t.Error(err)
	}
	if _, err := i.service.Export(t.Context(), 2, ann.number); !errors.Is(err, privacy.ErrNothing) {
		t.Errorf("another's caller: %v", err)
	}
	if _, err := i.service.Export(t.Context(), 1, "anonymous"); err == nil {
		t.Error("nobody is exported as somebody")
	}
	if _, err := i.service.Export(t.Context(), 77, ann.number); err == nil {
		t.Error("a business that is not there")
	}
}

// What somebody said shows as what they said: it cannot be markup of the page.
func TestPagesQuoteWhatWasSaid(t *testing.T) {
	t.Parallel()
	d := privacy.Document{Business: "<b>Fig & Sons</b>", Caller: "+12065550142", Calls: []privacy.CallDocument{{
		Transcript: []privacy.Line{{Role: events.RoleCaller, Text: `<script>alert("hi")</script>`}},
	}}}
	var page bytes.Buffer
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "<script>") || strings.Contains(page.String(), "<b>Fig") || !strings.Contains(page.String(), "&lt;script&gt;") {
		t.Error("what was said is markup")
	}
}

// What somebody said cannot turn around or hide what stands beside it: such
// characters are written out, wherever they come from, and letters stay.
func TestPagesShowWhatWouldReorderThem(t *testing.T) {
	t.Parallel()
	const said = "a\u202eb\u2066c\x00d\x1be\u009bf\x7fg\r\nh\ti – שלום\u200f 🙂"
	d := privacy.Document{
		Business: said, Caller: events.Legacy + said, Profile: privacy.Row{"quick_bio": said, "profile": map[string]any{"personal.name": map[string]any{"value": said, "evidence": said, "by": said}}},
		Memories: []privacy.Row{{said: said}}, Statements: []privacy.Statement{{Name: said, Fact: json.RawMessage(`"` + "\u202e" + `"`)}}, Received: []privacy.Received{{Body: said}}, Notes: []string{said},
		Calls: []privacy.CallDocument{{
			ID: said, Summary: privacy.Row{"summary": said, "call_date": said}, Transcript: []privacy.Line{{Role: events.RoleCaller, Text: said, Sealed: []privacy.SealedLine{{Mark: said, Value: said}}}},
			Derivations: []privacy.Derivation{{Producer: events.Producer{Model: said}, Findings: []events.Finding{{Field: said, Value: said, Evidence: said}}}}, Answers: []privacy.Row{{"raw": said}},
		}},
	}
	var page bytes.Buffer
	if err := d.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, r := range page.String() {
		if !strings.ContainsRune("\r\n\t\u200f", r) && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Fatalf("%U is in the page", r)
		}
	}
	const shown = "a[U+202E]b[U+2066]c\ufffdd[U+001B]e[U+009B]f[U+007F]g\r\nh\ti – שלום\u200f 🙂"
	for _, want := range []string{"<bdi>" + shown + "</bdi>", "<td>" + shown + "</td>", "<q>" + shown + "</q>"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%s is not there", want)
		}
	}
	if !strings.Contains(page.String(), "unicode-bidi: isolate") {
		t.Error("quotes are not isolated")
	}
}

// The form of the documents is documented field by field.
func TestExportIsDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "export.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[privacy.Document](), reflect.TypeFor[privacy.CallDocument](), reflect.TypeFor[privacy.Line](), reflect.TypeFor[privacy.Statement](),
		reflect.TypeFor[privacy.Derivation](), reflect.TypeFor[privacy.Received](), reflect.TypeFor[privacy.Certificate](), reflect.TypeFor[privacy.Entry](),
	} {
		for n := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(n).Tag.Get("json"), ",")
			if !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("%s: `%s` is not in docs/export.md", typ.Name(), name)
			}
		}
	}
	if !strings.Contains(string(doc), privacy.ExportSchema) || !strings.Contains(string(doc), privacy.CertificateSchema) {
		t.Error("the names of the forms are not in docs/export.md")
	}
}
