package bus

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/schemas"
)

func realCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec(schemas.FS, "tester")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// golden is an example of each fact, as JSON.
func goldenFacts(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, f := range events.Catalog {
		raw, err := os.ReadFile(filepath.Join("..", "..", "events", "testdata", f.Name()+".v1.json"))
		if err != nil {
			t.Fatal(err)
		}
		out[f.Name()] = raw
	}
	return out
}

// bend changes one thing in some JSON: a value, what it is called, or whether
// it is there.
func bend(r *rand.Rand, v any) any {
	odd := []any{nil, true, "", "x", "positive", "é", strings.Repeat("y", 2001), -1, 0, 1.5, 1e30, 1 << 40, []any{}, []any{nil}, map[string]any{}, map[string]any{"a": 1}}
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if len(keys) == 0 || r.IntN(8) == 0 {
			v["unknown"] = odd[r.IntN(len(odd))]
			return v
		}
		k := keys[r.IntN(len(keys))]
		switch r.IntN(6) {
		case 0:
			delete(v, k)
		case 1:
			v[strings.ToUpper(k)] = v[k]
			delete(v, k)
		default:
			v[k] = bend(r, v[k])
		}
		return v
	case []any:
		if len(v) > 0 && r.IntN(3) > 0 {
			i := r.IntN(len(v))
			v[i] = bend(r, v[i])
			return v
		}
	}
	return odd[r.IntN(len(odd))]
}

// What the quick way lets through its schema lets through, and what there
// usually is goes the quick way.
func TestQuickCheckLetsNothingElseThrough(t *testing.T) {
	t.Parallel()
	c, r := realCodec(t), rand.New(rand.NewPCG(3, 4))
	quick, fit, unfit := 0, 0, 0
	for name, raw := range goldenFacts(t) {
		if !c.schemas.quick[name].fits(raw) {
			t.Errorf("%s does not go the quick way", name)
		}
		for range 2000 {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			for range 1 + r.IntN(2) {
				v = bend(r, v)
			}
			bent, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			err = c.schemas.checkRead(name, bent)
			ok := c.schemas.quick[name].fits(bent)
			if ok && err != nil {
				t.Errorf("%s: let through what does not fit: %v", name, err)
			}
			switch {
			case ok:
				quick++
			case err == nil:
				fit++
			default:
				unfit++
			}
		}
	}
	if quick < 1000 || unfit < 1000 || fit > quick {
		t.Errorf("%d went the quick way, %d fit and did not, %d do not fit", quick, fit, unfit)
	}
}

// Bytes that are no JSON, or JSON more than once, are refused either way.
func TestCodecRefusesWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	c := realCodec(t)
	for name, raw := range goldenFacts(t) {
		var f any
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		compact, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{string(compact) + "{}", string(compact[:len(compact)-1]), strings.Replace(string(compact), ":", " ", 1), strings.Replace(string(compact), `"`, "\"\x01", 1), "", "nul"} {
			_, err := c.decode("tenant.1."+name, ownHeader(name), []byte(bad))
			if err == nil {
				t.Errorf("%s: %.20q… is read", name, bad)
			}
		}
		if _, err := c.decode("tenant.1."+name, ownHeader(name), raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ownHeader(name string) nats.Header {
	return nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"e1"}, "ce-source": {"/neurosphere/tester"}, "ce-type": {events.Type(name)}, "ce-subject": {"CA1"},
		"ce-datacontenttype": {contentJSON}, "ce-dataschema": {schemaBase + schemaFile(name)}, "ce-time": {"2026-01-02T03:04:05.000006Z"},
		"ce-tenantid": {"1"}, "ce-callid": {"CA1"}, "ce-callseq": {"3"}, "ce-causationid": {"c0ffee"}, "ce-traceparent": {"00-0a-b7-01"},
		"ce-history": {"true"}, headerMsgID: {"1:e1"},
	}
}

// A header read the quick way says what it says the other way, and what is
// refused there does not go the quick way.
func TestQuickHeadSaysTheSame(t *testing.T) {
	t.Parallel()
	c, r := realCodec(t), rand.New(rand.NewPCG(5, 6))
	const name = "turn.heard"
	odd := []string{
		"", " ", "x", "1", "01", "-1", "+2", "0", "99999999999", "2.0", "é", "%C3%A9", "%", "a%20b", "true", "2026-01-02T03:04:05+02:00", "0001-01-01T00:00:00Z",
		"application/json; charset=utf-8", "http://[::1", events.Type("call.ended"), schemaBase, "/neurosphere/Other", "\x01",
	}
	names := []string{"ce-unknown", "ce-bad_name", "CE-ID", headerContentType, "Nats-Expected-Stream"}
	quick := 0
	for range 20000 {
		h := ownHeader(name)
		for range r.IntN(3) {
			keys := make([]string, 0, len(h))
			for k := range h {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			k := keys[r.IntN(len(keys))]
			switch r.IntN(5) {
			case 0:
				delete(h, k)
			case 1:
				h[k] = append(h[k], "again")
			case 2:
				h[names[r.IntN(len(names))]] = []string{odd[r.IntN(len(odd))]}
			default:
				h[k] = []string{odd[r.IntN(len(odd))]}
			}
		}
		got, ok := c.quickHead(name, h)
		if !ok {
			continue
		}
		quick++
		want, _, err := c.anyHead(name, h, nil)
		if err != nil {
			t.Fatalf("%v goes the quick way: %v", h, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%v: %s", h, diff)
		}
	}
	if quick < 5000 {
		t.Errorf("only %d went the quick way", quick)
	}
	if _, ok := c.quickHead(name, ownHeader(name)); !ok {
		t.Error("our own does not go the quick way")
	}
}
