package events_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/schemas"
)

var update = flag.Bool("update", false, "write golden files that are not there")

func golden(name string) string { return filepath.Join("testdata", name+".v1.json") }

// Each fact has a schema and a golden example, and the three agree.
func TestFactsSchemasAndExamplesAgree(t *testing.T) {
	for _, f := range events.Catalog {
		t.Run(f.Name(), func(t *testing.T) {
			schema := compile(t, f.Name())
			if *update {
				write(t, f)
			}
			raw, err := os.ReadFile(golden(f.Name()))
			if err != nil {
				t.Fatalf("%v (go test ./events -update writes it)", err)
			}
			v := reflect.New(reflect.TypeOf(f))
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(v.Interface()); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, raw); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, want.Bytes()) {
				t.Errorf("golden file is not what Go writes\n got %s\nwant %s", again, want.Bytes())
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err != nil {
				t.Errorf("golden file does not fit the schema: %v", err)
			}
			for key := range doc.(map[string]any) {
				less := map[string]any{}
				for k, v := range doc.(map[string]any) {
					if k != key {
						less[k] = v
					}
				}
				required := !strings.Contains(tagOf(f, key), "omitempty")
				if err := schema.Validate(less); (err != nil) != required {
					t.Errorf("without %q: required by Go %v, schema says %v", key, required, err)
				}
			}
		})
	}
}

// The schema names the fields Go has, and no others.
func TestSchemasNameTheFieldsOfTheFacts(t *testing.T) {
	for _, f := range events.Catalog {
		raw, err := fs.ReadFile(schemas.FS, f.Name()+".v1.json")
		if err != nil {
			t.Errorf("%s has no schema: %v", f.Name(), err)
			continue
		}
		var s object
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		if s.Title != events.Type(f.Name()) {
			t.Errorf("%s: title is %q", f.Name(), s.Title)
		}
		sameFields(t, f.Name(), reflect.TypeOf(f), s)
	}
}

// object is what these tests read of a schema.
type object struct {
	Title      string            `json:"title"`
	Required   []string          `json:"required"`
	Properties map[string]object `json:"properties"`
	Items      *object           `json:"items"`
}

// sameFields compares a struct, and those in it, with the schema of an object.
func sameFields(t *testing.T, at string, typ reflect.Type, s object) {
	t.Helper()
	names := map[string]bool{}
	for i := range typ.NumField() {
		name, opts, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		names[name] = true
		inner, ok := s.Properties[name]
		if !ok {
			t.Errorf("%s: schema has no %q", at, name)
			continue
		}
		if got, want := slices.Contains(s.Required, name), opts != "omitempty"; got != want {
			t.Errorf("%s.%s: required by Go %v, by the schema %v", at, name, want, got)
		}
		of := typ.Field(i).Type
		if of.Kind() == reflect.Slice && inner.Items != nil {
			of, inner = of.Elem(), *inner.Items
		}
		if of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]() {
			sameFields(t, at+"."+name, of, inner)
		}
	}
	for name := range s.Properties {
		if !names[name] {
			t.Errorf("%s: schema has %q and Go has not", at, name)
		}
	}
}

// No schema without a fact, no noun the stream does not take.
func TestCatalogIsComplete(t *testing.T) {
	known := map[string]bool{}
	for _, f := range events.Catalog {
		known[f.Name()+".v1.json"] = true
		noun, participle, ok := strings.Cut(f.Name(), ".")
		if !ok || strings.Contains(participle, ".") || !slices.Contains(events.Nouns, noun) {
			t.Errorf("%s: want <noun>.<past participle> with a noun of the stream", f.Name())
		}
	}
	files, err := fs.Glob(schemas.FS, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !known[file] {
			t.Errorf("schemas/%s belongs to no fact of the catalogue", file)
		}
	}
}

// Ids are data: a change of what makes a fact that fact shows here.
func TestIDsStayWhatTheyAre(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	const call = "CA0123456789abcdef0123456789abcdef"
	e := events.New(7, call, at, events.TurnHeard{Turn: 2, Text: "hello"})
	if got, want := e.ID, "341d0e39431d37dc94c8a5a238c19bf0"; got != want {
		t.Errorf("id = %s, want %s", got, want)
	}
	if again := events.New(7, call, at.Add(time.Hour), events.TurnHeard{Turn: 2, Text: "hello", Lang: "en"}); again.ID != e.ID {
		t.Error("the same fact at another time has another id")
	}
	for name, other := range map[string]events.Event{
		"tenant": events.New(8, call, at, events.TurnHeard{Turn: 2, Text: "hello"}),
		"call":   events.New(7, call[:33]+"0", at, events.TurnHeard{Turn: 2, Text: "hello"}),
		"turn":   events.New(7, call, at, events.TurnHeard{Turn: 3, Text: "hello"}),
		"words":  events.New(7, call, at, events.TurnHeard{Turn: 2, Text: "hello!"}),
		"fact":   events.New(7, call, at, events.TurnSpoken{Turn: 2, Text: "hello"}),
	} {
		if other.ID == e.ID {
			t.Errorf("another %s has the same id", name)
		}
	}
	if err := e.Check(); err != nil {
		t.Error(err)
	}
	e.Tenant = 0
	if e.Check() == nil {
		t.Error("no tenant passes")
	}
}

// The id of every example stays what it is: were one derived otherwise, facts
// of the past would be published again as new ones.
func TestIDsOfAllFactsStayWhatTheyAre(t *testing.T) {
	file := filepath.Join("testdata", "ids.json")
	want := map[string]string{}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &want)
	}
	if err != nil && !*update {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	added := false
	for _, f := range events.Catalog {
		v := reflect.New(reflect.TypeOf(f))
		raw, err := os.ReadFile(golden(f.Name()))
		if err == nil {
			err = json.Unmarshal(raw, v.Interface())
		}
		if err != nil {
			t.Fatal(err)
		}
		e := events.New(7, "CA0123456789abcdef0123456789abcdef", at, v.Elem().Interface().(events.Fact))
		if _, ok := want[f.Name()]; !ok && *update {
			want[f.Name()], added = e.ID, true
		}
		if want[f.Name()] != e.ID {
			t.Errorf("%s: id = %s, want %q", f.Name(), e.ID, want[f.Name()])
		}
	}
	if added {
		raw, err := json.MarshalIndent(want, "", "  ")
		if err == nil {
			err = os.WriteFile(file, append(raw, '\n'), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTenantsAreWrittenOneWay(t *testing.T) {
	for in, want := range map[string]events.Tenant{"1": 1, "2147483647": 2147483647, "0": 0, "-1": 0, "01": 0, "+1": 0, "1 ": 0, "": 0, "2147483648": 0, "x": 0, "*": 0, ">": 0} {
		got, err := events.ParseTenant(in)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	if _, err := events.TenantOfSubject("tenant.10.call.ended"); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"tenant.*.call.ended", "tenant", "other.1.call.ended", "tenant..call.ended"} {
		if _, err := events.TenantOfSubject(s); err == nil {
			t.Errorf("%q has a tenant", s)
		}
	}
}

func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	raw, err := fs.ReadFile(schemas.FS, name+".v1.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tagOf(f events.Fact, key string) string {
	for i := range reflect.TypeOf(f).NumField() {
		tag := reflect.TypeOf(f).Field(i).Tag.Get("json")
		if name, _, _ := strings.Cut(tag, ","); name == key {
			return tag
		}
	}
	return ""
}

// write makes an example with every field filled, to be read and edited.
func write(t *testing.T, f events.Fact) {
	t.Helper()
	if _, err := os.Stat(golden(f.Name())); err == nil {
		return
	}
	v := reflect.New(reflect.TypeOf(f)).Elem()
	fill(v, "")
	raw, err := json.MarshalIndent(v.Interface(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden(f.Name()), append(raw, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

func fill(v reflect.Value, name string) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)))
	case v.Kind() == reflect.String:
		v.SetString(example(name))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(3)
	case v.CanUint():
		v.SetUint(3)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e, name)
		v.SetMapIndex(reflect.ValueOf("warmth"), e)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			fill(v.Field(i), tag)
		}
	}
}

func example(name string) string {
	switch name {
	case "from", "to", "caller", "number", "numbers", "sms_to", "fallback_number", "forwarded_from", "callback":
		return "+12065550142"
	case "message":
		return strings.Repeat("0a", 16)
	case "sentiment":
		return "positive"
	case "resolution":
		return "resolved"
	case "stage":
		return "Quote Sent"
	case "status":
		return "active"
	}
	return "some " + strings.ReplaceAll(name, "_", " ")
}

// The schemas are all that readers of other languages have.
func TestEverySchemaExplainsItsFields(t *testing.T) {
	for _, f := range events.Catalog {
		raw, err := fs.ReadFile(schemas.FS, f.Name()+".v1.json")
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		explained(t, f.Name(), doc)
	}
}

func explained(t *testing.T, path string, node map[string]any) {
	t.Helper()
	if text, _ := node["description"].(string); !strings.Contains(path, "[]") && len(text) < 3 && node["$ref"] == nil {
		t.Errorf("%s has no description", path)
	}
	under := func(v any, path string) {
		if n, ok := v.(map[string]any); ok && (n["properties"] != nil || n["items"] != nil) {
			explained(t, path, n)
		}
	}
	if all, ok := node["properties"].(map[string]any); ok {
		for name, v := range all {
			explained(t, path+"."+name, v.(map[string]any))
		}
	}
	under(node["items"], path+"[]")
	if defs, ok := node["$defs"].(map[string]any); ok {
		for name, v := range defs {
			under(v, name+"[]")
		}
	}
}
