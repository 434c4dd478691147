package bus

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
)

var codecTime = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// testSchemas demand of turn.heard what its type cannot.
func testSchemas() fs.FS {
	files := fstest.MapFS{}
	for _, f := range events.Catalog {
		files[schemaFile(f.Name())] = &fstest.MapFile{Data: []byte(`{"type":"object"}`)}
	}
	files[schemaFile("turn.heard")] = &fstest.MapFile{Data: []byte(`{
		"$id": "https://neurosphere.ai/schemas/turn.heard.v1.json", "type": "object", "additionalProperties": false,
		"required": ["turn", "text"],
		"properties": {"turn": {"type": "integer", "minimum": 1}, "text": {"type": "string"}, "lang": {"pattern": "^[a-z]{2}$"}, "keys": {"type": "boolean"}}}`)}
	return files
}

func testCodec(t testing.TB) *codec {
	t.Helper()
	c, err := newCodec(testSchemas(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func aTurn() events.Event {
	e := events.New(1, "CA1", codecTime, events.TurnHeard{Turn: 1, Text: "Grüße, 100 %"})
	e.CallSeq, e.Cause, e.Trace = 3, "c0ffee", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	return e
}

func TestCodecRoundTrip(t *testing.T) {
	c := testCodec(t)
	odd := events.New(2, `Zoë "q" 100%`, codecTime, events.TurnHeard{Turn: 2, Text: "x"})
	for name, e := range map[string]events.Event{
		"of a call":       aTurn(),
		"of no call":      events.New(7, "", codecTime, events.MemoryForgotten{Memory: "m1", By: "staff:1"}),
		"with odd id":     odd,
		"every attribute": aTurn(),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := c.encode(e)
			if err != nil {
				t.Fatal(err)
			}
			for h, v := range m.Header {
				if h != headerMsgID && h != strings.ToLower(h) {
					t.Errorf("header %s is not lower-case", h)
				}
				if strings.ContainsFunc(v[0], func(r rune) bool { return r <= ' ' || r > '~' }) {
					t.Errorf("header %s is not plain: %q", h, v[0])
				}
			}
			got, err := c.decode(m.Subject, m.Header, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(e, got); diff != "" {
				t.Error(diff)
			}
			if reflect.TypeOf(got.Fact).Kind() == reflect.Pointer {
				t.Error("the fact is a pointer")
			}
		})
	}
}

func TestNULComesAsAReplacement(t *testing.T) {
	c := testCodec(t)
	for said, want := range map[string]string{
		"caf\x00e9": "caf\ufffde9", "\x00\x00": "\ufffd\ufffd", `\u0000`: `\u0000`, `\` + "\x00": `\` + "\ufffd", `\\u0000"`: `\\u0000"`,
	} {
		m, err := c.encode(events.New(1, "CA1", codecTime, events.TurnHeard{Turn: 1, Text: said}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.decode(m.Subject, m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if f := got.Fact.(events.TurnHeard); f.Text != want {
			t.Errorf("%q is %q, want %q", said, f.Text, want)
		}
	}
}

// What an acceptance check would look at, spelled out.
func TestCodecWritesContract(t *testing.T) {
	e := aTurn()
	m, err := testCodec(t).encode(e)
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{
		"Nats-Msg-Id": {"1:" + e.ID}, "ce-specversion": {"1.0"}, "ce-id": {e.ID}, "ce-source": {"/neurosphere/tester"},
		"ce-type": {"ai.neurosphere.turn.heard.v1"}, "ce-subject": {"CA1"}, "ce-time": {"2026-01-02T03:04:05.000006Z"},
		"ce-datacontenttype": {"application/json"}, "ce-dataschema": {"https://neurosphere.ai/schemas/turn.heard.v1.json"},
		"ce-tenantid": {"1"}, "ce-callid": {"CA1"}, "ce-callseq": {"3"}, "ce-causationid": {"c0ffee"}, "ce-traceparent": {e.Trace},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Error(diff)
	}
	if m.Subject != "tenant.1.turn.heard" {
		t.Errorf("subject %s", m.Subject)
	}
}

func TestCodecReadsStructured(t *testing.T) {
	c := testCodec(t)
	e := aTurn()
	data, err := json.Marshal(e.Fact)
	if err != nil {
		t.Fatal(err)
	}
	ce, err := c.cloudEvent(e, data)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(ce)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.decode(e.Subject(), nats.Header{"content-type": {"application/cloudevents+json; charset=utf-8"}}, body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Error(diff)
	}
}

func TestCodecRefusesToWrite(t *testing.T) {
	c := testCodec(t)
	bad := func(change func(*events.Event)) events.Event {
		e := aTurn()
		change(&e)
		return e
	}
	for name, e := range map[string]events.Event{
		"no tenant":            bad(func(e *events.Event) { e.Tenant = 0 }),
		"an id of other words": bad(func(e *events.Event) { e.Fact = events.TurnHeard{Turn: 1, Text: "other"} }),
		"a body off schema":    events.New(1, "CA1", codecTime, events.TurnHeard{Turn: 0, Text: "x"}),
		"a pointer":            events.New(1, "CA1", codecTime, &events.TurnHeard{Turn: 1, Text: "x"}),
		"a control character":  events.New(1, "CA\n1", codecTime, events.TurnHeard{Turn: 1, Text: "x"}),
		"too large":            events.New(1, "CA1", codecTime, events.TurnHeard{Turn: 1, Text: strings.Repeat("x", MaxEventSize)}),
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := c.encode(e); err == nil {
				t.Errorf("wrote %v", m.Header)
			}
		})
	}
}

func TestCodecRefusesToRead(t *testing.T) {
	c := testCodec(t)
	for name, tc := range map[string]struct {
		change func(m *nats.Msg)
		want   string
	}{
		"another tenant's subject": {func(m *nats.Msg) { m.Subject = "tenant.2.turn.heard" }, "tenantid 1 on subject of tenant 2"},
		"another fact's subject":   {func(m *nats.Msg) { m.Subject = "tenant.1.turn.spoken" }, "type turn.heard on subject of turn.spoken"},
		"a longer subject":         {func(m *nats.Msg) { m.Subject += ".x" }, "four tokens"},
		"no tenantid":              {func(m *nats.Msg) { m.Header.Del("ce-tenantid") }, "tenantid is missing"},
		"a padded tenantid":        {func(m *nats.Msg) { m.Header.Set("ce-tenantid", "01") }, "tenantid is missing"},
		"an unknown type":          {func(m *nats.Msg) { m.Header.Set("ce-type", "ai.neurosphere.turn.dreamt.v1") }, "unknown type"},
		"a later version":          {func(m *nats.Msg) { m.Header.Set("ce-type", "ai.neurosphere.turn.heard.v2") }, "unknown type"},
		"no time":                  {func(m *nats.Msg) { m.Header.Del("ce-time") }, "time is missing"},
		"no id":                    {func(m *nats.Msg) { m.Header.Del("ce-id") }, "attributes are missing"},
		"no specversion":           {func(m *nats.Msg) { m.Header.Del("ce-specversion") }, "specversion is missing"},
		"specversion 0.3":          {func(m *nats.Msg) { m.Header.Set("ce-specversion", "0.3") }, "unknown specversion"},
		"an attribute twice":       {func(m *nats.Msg) { m.Header.Add("ce-id", "x") }, "more than once"},
		"a negative callseq":       {func(m *nats.Msg) { m.Header.Set("ce-callseq", "-1") }, "callseq"},
		"a bad escape":             {func(m *nats.Msg) { m.Header.Set("ce-callid", "%zz") }, "wrongly encoded"},
		"a body that is no JSON":   {func(m *nats.Msg) { m.Data = []byte("{") }, "not JSON"},
		"a body off schema":        {func(m *nats.Msg) { m.Data = []byte(`{"turn":1,"text":5}`) }, "/text type"},
		"a missing field":          {func(m *nats.Msg) { m.Data = []byte(`{"turn":1}`) }, "required"},
		"headers in capitals":      {func(m *nats.Msg) { m.Header = nats.Header{"Ce-Id": {"x"}} }, "specversion is missing"},
		"a batch":                  {func(m *nats.Msg) { m.Header.Set("Content-Type", "application/cloudevents-batch+json") }, "unknown event format"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := c.encode(aTurn())
			if err != nil {
				t.Fatal(err)
			}
			tc.change(m)
			if _, err := c.decode(m.Subject, m.Header, m.Data); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// v1 of a fact grows by optional fields; an older reader must not mind.
func TestCodecReadsUnknownFields(t *testing.T) {
	c := testCodec(t)
	m, err := c.encode(aTurn())
	if err != nil {
		t.Fatal(err)
	}
	m.Data = []byte(`{"turn":1,"text":"hi","mood":"good"}`)
	e, err := c.decode(m.Subject, m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if f := e.Fact.(events.TurnHeard); f.Text != "hi" {
		t.Errorf("read %+v", f)
	}
}

// What the validator would quote may be somebody's number.
func TestSchemaErrorsQuoteNothing(t *testing.T) {
	err := testCodec(t).schemas.checkRead("turn.heard", []byte(`{"turn":1,"text":"x","lang":"+15550001111"}`))
	if err == nil || strings.Contains(err.Error(), "5550001111") {
		t.Errorf("error %v", err)
	}
}

func TestCodecNeedsEverySchema(t *testing.T) {
	files := testSchemas().(fstest.MapFS)
	delete(files, schemaFile("call.ended"))
	if _, err := newCodec(files, "x"); err == nil {
		t.Error("opened without a schema")
	}
}

func FuzzCodec(f *testing.F) {
	c := testCodec(f)
	f.Add("CA1", "hello", "cause", "trace", 1, int64(0), "ce-id", "x", []byte(`{"turn":1}`))
	f.Add(`Zoë %"`, "100 % \xff", "", "", 0, int64(1<<40), "Content-Type", "application/cloudevents+json",
		[]byte(`{"specversion":"1.0","id":"a","source":"/s","type":"ai.neurosphere.turn.heard.v1","tenantid":"1","time":"2026-01-02T03:04:05Z","data":{"turn":1,"text":"x"}}`))
	f.Fuzz(func(t *testing.T, call, text, cause, trace string, callSeq int, micros int64, header, value string, body []byte) {
		// Anything may come from the wire; nothing of it may panic.
		raw := nats.Header{header: {value}}
		_, _ = c.decode("tenant.1.turn.heard", raw, body)

		e := events.New(1, call, time.UnixMicro(micros), events.TurnHeard{Turn: 1, Text: strings.ToValidUTF8(text, "?")})
		e.CallSeq, e.Cause, e.Trace = callSeq&0x7fffffff, cause, trace
		m, err := c.encode(e)
		if err != nil {
			return
		}
		got, err := c.decode(m.Subject, m.Header, m.Data)
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%v", err, m.Header)
		}
		if !got.Time.Equal(e.Time) {
			t.Fatalf("time %v, want %v", got.Time, e.Time)
		}
		got.Time = e.Time
		// Rows cannot hold NUL, so whoever reads never sees one.
		e.Fact = events.TurnHeard{Turn: 1, Text: strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "\x00", "\uFFFD")}
		if !reflect.DeepEqual(got, e) {
			t.Fatalf("got %+v, want %+v", got, e)
		}
		m.Header.Set(header, value)
		_, _ = c.decode(m.Subject, m.Header, body)
	})
}

func BenchmarkCodec(b *testing.B) {
	c := testCodec(b)
	e := aTurn()
	m, err := c.encode(e)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.encode(e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.decode(m.Subject, m.Header, m.Data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("limit: the SDK reading structured JSON", func(b *testing.B) {
		ce, err := c.cloudEvent(e, m.Data)
		if err != nil {
			b.Fatal(err)
		}
		body, err := json.Marshal(ce)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			var out event.Event
			if err := out.UnmarshalJSON(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
