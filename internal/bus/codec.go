package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"reflect"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
)

const (
	headerMsgID       = "Nats-Msg-Id"
	headerContentType = "Content-Type"
	contentJSON       = "application/json"
	contentStructured = "application/cloudevents+json"
	schemaBase        = "https://neurosphere.ai/schemas/"

	extTenant = "tenantid"
	extCall   = "callid"
	extSeq    = "callseq"
	extCause  = "causationid"
	extTrace  = "traceparent"
	extPast   = "history"
)

// codec turns facts into messages and back: CloudEvents 1.0, binary mode of
// the NATS binding. It lets nothing through, in either direction, that does
// not fit its type's schema.
type codec struct {
	source  string
	facts   map[string]reflect.Type // by name
	schemas *schemaSet
}

// newCodec compiles the schema of every fact in the catalogue.
func newCodec(files fs.FS, worker string) (*codec, error) {
	c := &codec{source: "/neurosphere/" + worker, facts: map[string]reflect.Type{}}
	names := make([]string, 0, len(events.Catalog))
	for _, f := range events.Catalog {
		c.facts[f.Name()] = reflect.TypeOf(f)
		names = append(names, f.Name())
	}
	var err error
	if c.schemas, err = compileSchemas(files, names); err != nil {
		return nil, err
	}
	return c, nil
}

// encode is the message that carries e. Bytes that are not UTF-8 in e's words
// travel as U+FFFD.
func (c *codec) encode(e events.Event) (*nats.Msg, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	name := e.Fact.Name()
	if c.facts[name] != reflect.TypeOf(e.Fact) {
		return nil, fmt.Errorf("%s: %T is not in the catalogue", name, e.Fact)
	}
	data, err := json.Marshal(e.Fact)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	if err := c.schemas.checkWritten(name, data); err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	ce, err := c.cloudEvent(e, data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	h, err := toHeader(ce)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	h[headerMsgID] = []string{e.Tenant.String() + ":" + e.ID}
	m := &nats.Msg{Subject: e.Subject(), Header: h, Data: data}
	if size := m.Size(); size > MaxEventSize {
		return nil, fmt.Errorf("encode %s: %d bytes exceed %d", name, size, MaxEventSize)
	}
	return m, nil
}

func (c *codec) cloudEvent(e events.Event, data []byte) (*event.Event, error) {
	ce := event.New()
	ce.SetID(e.ID)
	ce.SetSource(c.source)
	ce.SetType(events.Type(e.Fact.Name()))
	ce.SetSubject(subjectOf(e))
	ce.SetTime(e.Time)
	ce.SetDataContentType(contentJSON)
	ce.SetDataSchema(schemaBase + schemaFile(e.Fact.Name()))
	ce.SetExtension(extTenant, e.Tenant.String())
	for name, v := range map[string]string{extCall: e.Call, extCause: e.Cause, extTrace: e.Trace} {
		if v == "" {
			continue
		}
		if hasControl(v) || len(v) > 255 {
			return nil, fmt.Errorf("%s cannot be an attribute", name)
		}
		ce.SetExtension(name, v)
	}
	if e.CallSeq != 0 {
		ce.SetExtension(extSeq, e.CallSeq)
	}
	if e.History {
		ce.SetExtension(extPast, "true")
	}
	ce.DataEncoded = data
	if err := ce.Validate(); err != nil {
		return nil, err
	}
	return &ce, nil
}

// subjectOf names what e is about: its call, else the thing, never a person.
func subjectOf(e events.Event) string {
	if e.Call != "" {
		return e.Call
	}
	switch f := e.Fact.(type) {
	case events.MemoryStored:
		return f.Memory
	case events.MemoryForgotten:
		return f.Memory
	case events.SMSRequested:
		return f.Message
	case events.SMSSent:
		return f.Message
	case events.SMSDelivered:
		return f.Message
	case events.SMSFailed:
		return f.Message
	case events.SMSReceived:
		return f.SID
	case events.ErasureRequested:
		return f.Erasure
	case events.SettingsChanged:
		return f.Settings.Tenant.String()
	}
	return e.ID
}

// decode reads what encode wrote, and structured mode besides. A NUL in e's
// words comes as U+FFFD. Its errors name what is wrong and quote nothing of the
// body.
func (c *codec) decode(subject string, h nats.Header, data []byte) (events.Event, error) {
	t, name, err := splitSubject(subject)
	if err != nil {
		return events.Event{}, err
	}
	head, ok := c.quickHead(name, h)
	if !ok {
		if head, data, err = c.anyHead(name, h, data); err != nil {
			return events.Event{}, err
		}
	}
	if c.facts[name] == nil {
		return events.Event{}, errors.New("unknown type")
	}
	if head.Tenant != t {
		return events.Event{}, fmt.Errorf("tenantid %s on subject of tenant %s", head.Tenant, t)
	}
	data = withoutNUL(data)
	if !c.schemas.quick[name].fits(data) {
		if err := c.schemas.checkRead(name, data); err != nil {
			return events.Event{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	v := reflect.New(c.facts[name])
	if err := json.Unmarshal(data, v.Interface()); err != nil {
		if err := c.schemas.checkRead(name, data); err != nil {
			return events.Event{}, fmt.Errorf("%s: %w", name, err)
		}
		return events.Event{}, fmt.Errorf("%s: body does not fit its type", name)
	}
	return events.Event{Head: head, Fact: v.Elem().Interface().(events.Fact)}, nil
}

// anyHead reads a header, and the body, in any form there is.
func (c *codec) anyHead(name string, h nats.Header, data []byte) (events.Head, []byte, error) {
	ce, err := fromMessage(h, data)
	if err != nil {
		return events.Head{}, nil, err
	}
	typed, ok := events.NameOfType(ce.Type())
	switch {
	case !ok || c.facts[typed] == nil:
		return events.Head{}, nil, errors.New("unknown type")
	case typed != name:
		return events.Head{}, nil, fmt.Errorf("type %s on subject of %s", typed, name)
	}
	head, err := headOf(ce)
	return head, ce.Data(), err
}

// withoutNUL is data with U+FFFD for each NUL its strings hold. Models write
// some, and one in a single row would keep every row after it from being
// written: PostgreSQL has no such character.
func withoutNUL(data []byte) []byte {
	nul := []byte(`\u0000`)
	if !bytes.Contains(data, nul) {
		return data
	}
	out := make([]byte, 0, len(data))
	for len(data) > 0 {
		switch {
		case bytes.HasPrefix(data, nul):
			out, data = append(out, `\ufffd`...), data[len(nul):]
		case data[0] == '\\' && len(data) > 1: // an escaped backslash begins nothing else
			out, data = append(out, data[:2]...), data[2:]
		default:
			out, data = append(out, data[0]), data[1:]
		}
	}
	return out
}

// splitSubject reads tenant.<id>.<noun>.<past participle>.
func splitSubject(subject string) (events.Tenant, string, error) {
	t, err := events.TenantOfSubject(subject)
	if err != nil {
		return 0, "", err
	}
	tok := strings.Split(subject, ".")
	if len(tok) != 4 {
		return 0, "", errors.New("subject is not of four tokens")
	}
	return t, tok[2] + "." + tok[3], nil
}

func headOf(ce *event.Event) (events.Head, error) {
	ext := ce.Extensions()
	text := func(name string) string { s, _ := ext[name].(string); return s }
	t, err := events.ParseTenant(text(extTenant))
	if err != nil {
		return events.Head{}, errors.New("tenantid is missing or malformed")
	}
	if ce.Time().IsZero() {
		return events.Head{}, errors.New("time is missing")
	}
	head := events.Head{
		ID: ce.ID(), Tenant: t, Time: ce.Time().UTC(),
		Call: text(extCall), Cause: text(extCause), Trace: text(extTrace), History: text(extPast) == "true",
	}
	if v, ok := ext[extSeq]; ok {
		n, err := types.ToInteger(v)
		if err != nil || n < 0 {
			return events.Head{}, errors.New("callseq is malformed")
		}
		head.CallSeq = int(n)
	}
	return head, nil
}

// toHeader writes the attributes in binary mode: exact lower-case names,
// because NATS headers are case-sensitive, and percent-encoded values.
func toHeader(ce *event.Event) (nats.Header, error) {
	h := nats.Header{}
	set := func(name, v string) {
		if v != "" {
			h["ce-"+name] = []string{percentEncode(v)}
		}
	}
	set("specversion", ce.SpecVersion())
	set("id", ce.ID())
	set("source", ce.Source())
	set("type", ce.Type())
	set("subject", ce.Subject())
	set("datacontenttype", ce.DataContentType())
	set("dataschema", ce.DataSchema())
	set("time", types.FormatTime(ce.Time()))
	for name, v := range ce.Extensions() {
		s, err := types.Format(v)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		set(name, s)
	}
	return h, nil
}

func fromMessage(h nats.Header, data []byte) (*event.Event, error) {
	ce := event.New()
	if typ := contentType(h); strings.HasPrefix(typ, "application/cloudevents") {
		if media, _, err := mime.ParseMediaType(typ); err != nil || media != contentStructured {
			return nil, errors.New("unknown event format")
		}
		if err := ce.UnmarshalJSON(data); err != nil {
			return nil, errors.New("not a structured event")
		}
	} else if err := fromHeader(&ce, h); err != nil {
		return nil, err
	} else {
		ce.DataEncoded = data
	}
	if ce.SpecVersion() != event.CloudEventsVersionV1 {
		return nil, errors.New("unknown specversion")
	}
	if err := ce.Validate(); err != nil {
		return nil, errors.New("attributes are missing or malformed")
	}
	if media, _, err := mime.ParseMediaType(ce.DataContentType()); err != nil || media != contentJSON {
		return nil, errors.New("datacontenttype is not " + contentJSON)
	}
	return &ce, nil
}

func contentType(h nats.Header) string {
	for name, v := range h {
		if strings.EqualFold(name, headerContentType) && len(v) > 0 {
			return strings.ToLower(v[0])
		}
	}
	return ""
}

func fromHeader(ce *event.Event, h nats.Header) error {
	for name, vs := range h {
		attr, ok := strings.CutPrefix(name, "ce-")
		if !ok {
			continue
		}
		if len(vs) != 1 {
			return errors.New("an attribute is given more than once")
		}
		v, err := percentDecode(vs[0])
		if err != nil {
			return errors.New("an attribute is wrongly encoded")
		}
		switch attr {
		case "specversion":
			// Another version would need other rules; event.New has set ours.
			if v != event.CloudEventsVersionV1 {
				return errors.New("unknown specversion")
			}
		case "id":
			ce.SetID(v)
		case "source":
			ce.SetSource(v)
		case "type":
			ce.SetType(v)
		case "subject":
			ce.SetSubject(v)
		case "datacontenttype":
			ce.SetDataContentType(v)
		case "dataschema":
			ce.SetDataSchema(v)
		case "time":
			t, err := types.ParseTime(v)
			if err != nil {
				return errors.New("time is malformed")
			}
			ce.SetTime(t)
		default:
			ce.SetExtension(attr, v)
		}
	}
	if _, ok := h["ce-specversion"]; !ok {
		return errors.New("not an event: ce-specversion is missing")
	}
	return nil
}
