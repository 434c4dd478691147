package isolation_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// operation is one route of the document, and what it can be told.
type operation struct {
	id, method, path string
	in               map[string]string // name of a parameter → where it is: path, query, header or body
}

// operations are those of the document that a running instance serves.
func (in *instance) operations(t testing.TB) (all []operation) {
	t.Helper()
	got := in.send(t, query{method: http.MethodGet, path: "/openapi.json"})
	type schema struct {
		Ref        string              `json:"$ref"`
		Properties map[string]struct{} `json:"properties"`
	}
	var doc struct {
		Paths map[string]map[string]struct {
			ID         string                      `json:"operationId"`
			Parameters []struct{ Name, In string } `json:"parameters"`
			Body       struct {
				Content map[string]struct {
					Schema schema `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			o := operation{id: op.ID, method: strings.ToUpper(method), path: path, in: map[string]string{}}
			for _, p := range op.Parameters {
				o.in[p.Name] = p.In
			}
			for _, c := range op.Body.Content {
				s := c.Schema
				if s.Ref != "" {
					s = doc.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
				}
				for name := range s.Properties {
					if _, there := o.in[name]; !there {
						o.in[name] = "body"
					}
				}
			}
			all = append(all, o)
		}
	}
	if len(all) < 15 {
		t.Fatalf("the document has %d routes", len(all))
	}
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

func (o operation) String() string { return o.method + " " + o.path }

// plain are parameters that name nothing of anybody's, with a value that is
// good; nil: best left out.
func plainValues() map[string]any {
	return map[string]any{
		"limit": 50, "num_summaries": 5, "memory_type": nil, "by": nil, "reason": nil, "ttl_days": nil, "follow": nil, "Accept": nil, "metadata": nil, "reveal": true,
		"started_at": nil, "ended_at": nil, "turns": nil, "type": "fact", "key": "note", "content": "something to keep", "role": "user", "stage": "Follow-up",
		"conversation_history": [][]string{{"user", "Hello, I have a question."}}, "expires_at": nil, "subject": nil, "format": nil, "include_shared": true,
	}
}

// kind is a way to name something that may be another's.
type kind struct {
	own      func(p *probe, b *business, o operation) string // that a business has
	nobodys  func(p *probe) string                           // of the same form, which nobody has
	optional bool                                            // left out where it is not what is tried
}

func kinds() map[string]kind {
	user := kind{(*probe).user, (*probe).number, false}
	feed := kind{func(p *probe, b *business, _ operation) string { return p.feedCursor(b) }, func(*probe) string { return noise(120) }, true}
	said := kind{func(p *probe, b *business, o operation) string { return p.said(b, o) }, func(*probe) string { return "n" + noise(12) }, true}
	return map[string]kind{
		"user_id": user, "phone": user,
		"id":              {(*probe).memory, func(*probe) string { return "7f0c1a52-0d3e-4a4e-9d53-" + fmt.Sprintf("%012d", 1) }, false},
		"call_id":         {(*probe).call, (*probe).callID, false},
		"erasure_id":      {(*probe).erasure, func(*probe) string { return strings.Repeat("0", 32) }, false},
		"cursor":          {(*probe).cursor, func(*probe) string { return noise(90) }, true},
		"after":           feed,
		"Last-Event-ID":   feed,
		"field":           {(*probe).field, func(*probe) string { return "family.spouse_name" }, false},
		"query":           {func(_ *probe, b *business, _ operation) string { return b.words[1] }, func(*probe) string { return "Xyzzyplugh" }, true},
		"Idempotency-Key": said, "thread_id": said,
	}
}

func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// probe asks an instance for everything in everybody's name.
type probe struct {
	t       testing.TB
	in      *instance
	all     []*business
	ops     []operation
	plain   map[string]any
	kinds   map[string]kind
	without string // which check is missing in a mutant, for requests that should be denied

	serial int
	checks []check
}

// check is one thing that was tried, and whether it was denied as it should be.
type check struct {
	Route   string `json:"route"`
	Me      string `json:"me"`
	Other   string `json:"other"`
	Tried   string `json:"tried"`
	Denied  int    `json:"denied"`  // status for what is another's
	Nothing int    `json:"nothing"` // and for what is nobody's
	Control int    `json:"control"` // and for the owner
	Fault   string `json:"fault"`   // empty: as it should be
}

func newProbe(t testing.TB, in *instance, all []*business) *probe {
	t.Helper()
	p := &probe{t: t, in: in, all: all, ops: in.operations(t), plain: plainValues(), kinds: kinds()}
	for _, o := range p.ops {
		if o.in["customer_id"] == "" {
			t.Errorf("%s: names no customer", o)
		}
		for name := range o.in {
			_, isPlain := p.plain[name]
			if _, isKind := p.kinds[name]; name != "customer_id" && name != "value" && !isPlain && !isKind {
				t.Errorf("%s: the probe knows no value for %q: say in plainValues or kinds what it is", o, name)
			}
		}
	}
	return p
}

// request asks for one thing, named by the values given, as its owner would.
func (p *probe) request(o operation, b *business, values map[string]any) query {
	q := query{method: o.method, path: o.path, key: b.key, query: url.Values{}, header: map[string]string{}}
	if slices.Contains([]string{"POST", "PUT", "PATCH"}, o.method) {
		q.body = map[string]any{}
	}
	for name, where := range o.in {
		v, given := values[name]
		if k, ok := p.kinds[name]; ok && !given && (!k.optional || where == "body" && name == "query") {
			v = p.standard(name, b, o)
		} else if !given {
			v = p.plain[name]
		}
		if name == "value" && v == nil {
			if v = b.words[2]; o.in["field"] != "" { // it is an email that is corrected
				v = b.words[2] + "@example.com"
			}
		}
		if v == nil || name == "customer_id" {
			continue
		}
		switch where {
		case "path":
			q.path = strings.ReplaceAll(q.path, "{"+name+"}", url.PathEscape(fmt.Sprint(v)))
		case "query":
			q.query.Set(name, fmt.Sprint(v))
		case "header":
			q.header[name] = fmt.Sprint(v)
		default:
			q.body[name] = v
		}
	}
	q.name(b.id.String())
	return q
}

// standard is what a business would name of its own.
func (p *probe) standard(name string, b *business, o operation) any {
	switch {
	case name == "call_id" && o.in[name] == "body":
		return nil
	case (name == "user_id" || name == "phone") && o.method == http.MethodDelete && o.path == "/v1/callers/{phone}":
		return p.user(b, o) // who is gone then
	case name == "user_id" || name == "phone":
		return ann
	case name == "field":
		return p.correct(b, "personal.email")
	}
	return p.kinds[name].own(p, b, o)
}

// number is one that nobody has called from.
func (p *probe) number() string {
	p.serial++
	return fmt.Sprintf("+1312555%04d", p.serial)
}

// user is a caller that only one business knows, another one each time.
func (p *probe) user(b *business, _ operation) string {
	if len(b.users) == 0 {
		p.acquaint(b)
	}
	user := b.users[0]
	b.users = b.users[1:]
	return user
}

// acquaint has callers become known to a business, as by calls.
func (p *probe) acquaint(b *business) {
	p.t.Helper()
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for range 40 {
		user := p.number()
		b.users = append(b.users, user)
		call := knownCall(user)
		found := func(field, value string) events.Finding {
			return events.Finding{Turn: 1, Evidence: value, Subject: "caller", Field: field, Value: value, Confidence: "stated"}
		}
		// Without the end of the call: that would have the summarizer sum it up.
		f := events.CallSummarized{
			Caller: user, StartedAt: at, EndedAt: at.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Via: events.ViaAPI, Summary: b.words[1] + " was asked for.", Topics: []string{"auto"},
			Sentiment: "positive", Resolution: "resolved", Rejected: []events.Reject{}, Messages: []events.Message{}, Template: "insurance_v1",
			Findings: []events.Finding{found("personal.name", b.words[0]), found("personal.email", b.words[0]+"@example.com"), found("memory.dog", b.words[1])},
			Style:    []events.Measure{{Metric: "formality", Micros: 61_500_000}},
		}
		if _, err := p.in.Bus.Publish(p.t.Context(), events.New(b.id, call, at.Add(time.Minute), f)); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, user := range b.users {
		until(p.t, "a caller is known", func() bool {
			return strings.Contains(b.ask(p.t, "GET", "/v2/profile/"+url.PathEscape(user), nil).body, b.words[0]) &&
				strings.Contains(b.ask(p.t, "GET", "/v1/memories/user/"+url.PathEscape(user), nil).body, b.words[1])
		})
	}
}

// knownCall is the call by which somebody became known.
func knownCall(user string) string {
	sum := sha256.Sum256([]byte(user))
	return fmt.Sprintf("known-%x", sum[:8]) // no number
}

// call is one that only this business knows, another one each time where it is
// gone afterwards or has to be handed in.
func (p *probe) call(b *business, o operation) string {
	switch {
	case o.method == http.MethodDelete:
		return knownCall(p.user(b, o))
	case o.in["call_id"] == "body": // who says the same again is answered the same
		id := p.callID()
		p.made(p.in.send(p.t, p.request(o, b, map[string]any{"call_id": id})))
		return id
	}
	return b.call
}

// callID is that of no call.
func (p *probe) callID() string {
	p.serial++
	return fmt.Sprintf("CA%032d", p.serial)
}

// erasure is one that this business has asked for.
func (p *probe) erasure(b *business, o operation) string {
	if b.erasure == "" {
		var got struct {
			Erasure struct {
				ID string `json:"erasure_id"`
			} `json:"erasure"`
		}
		a := p.made(b.ask(p.t, "DELETE", "/v1/callers/"+url.PathEscape(p.user(b, o)), nil))
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Erasure.ID == "" {
			p.t.Errorf("no erasure: %v %s", err, a.body)
		}
		b.erasure = got.Erasure.ID
	}
	return b.erasure
}

func (p *probe) made(a answer) answer {
	p.t.Helper()
	if a.status >= 300 {
		p.t.Errorf("the probe cannot make what it needs: %d %s", a.status, a.body)
	}
	return a
}

// memory is one of a caller that only this business knows.
func (p *probe) memory(b *business, o operation) string {
	var got struct {
		Memories []struct {
			ID string `json:"id"`
		} `json:"memories"`
	}
	a := p.made(b.ask(p.t, "GET", "/v1/memories/user/"+url.PathEscape(p.user(b, o)), nil))
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Memories) == 0 {
		p.t.Errorf("no memory: %v %s", err, a.body)
		return ""
	}
	return got.Memories[0].ID
}

// cursor is where the second page of a list begins.
func (p *probe) cursor(b *business, o operation) string {
	next := func() string {
		var got struct {
			Next string `json:"next_cursor"`
		}
		a := p.in.send(p.t, p.request(o, b, map[string]any{"limit": 1}))
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			p.t.Errorf("%s: no cursor: %v %s", o, err, a.body)
		}
		return got.Next
	}
	cursor := next()
	if cursor == "" { // ann has called once
		at := time.Now().Add(-time.Hour).UTC()
		f := events.CallSummarized{
			Caller: ann, StartedAt: at, EndedAt: at, Reason: events.EndCaller, Via: events.ViaAPI, Summary: b.words[1], Topics: []string{}, Sentiment: "positive", Resolution: "resolved",
			Rejected: []events.Reject{}, Messages: []events.Message{}, Findings: []events.Finding{}, Style: []events.Measure{}, Template: "insurance_v1",
		}
		if _, err := p.in.Bus.Publish(p.t.Context(), events.New(b.id, p.callID(), at, f)); err != nil {
			p.t.Fatal(err)
		}
		until(p.t, o.String()+" has a second page", func() bool { cursor = next(); return cursor != "" })
	}
	return cursor
}

func (p *probe) feedCursor(b *business) string {
	var got struct {
		Cursor string `json:"cursor"`
	}
	a := p.in.send(p.t, query{method: "GET", path: "/v1/events", key: b.key, query: url.Values{"customer_id": {b.id.String()}, "limit": {"1"}}})
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Cursor == "" {
		p.t.Errorf("no cursor: %v %s", err, a.body)
	}
	return got.Cursor
}

// field is one of ann's that only this business knows.
func (p *probe) field(b *business, _ operation) string {
	return p.correct(b, []string{"policies.auto_2.make", "policies.auto_2.model", "policies.auto_2.vin"}[slices.Index(p.all, b)])
}

func (p *probe) correct(b *business, field string) string {
	p.made(b.ask(p.t, "POST", "/v2/profile/"+url.PathEscape(ann)+"/corrections", map[string]any{"field": field, "value": b.words[0] + "@example.com"}))
	return field
}

// said is a name that this business has given something it stated.
func (p *probe) said(b *business, o operation) string {
	p.serial++
	word := fmt.Sprintf("word-%d-%s", p.serial, b.id)
	for name := range o.in {
		if name == "Idempotency-Key" || name == "thread_id" {
			p.made(p.in.send(p.t, p.request(o, b, map[string]any{name: word})))
		}
	}
	return word
}

// run tries one route as each business with what the others have.
func (p *probe) run(o operation) {
	for i, me := range p.all {
		for _, other := range p.all {
			if me == other || !thorough() && other != p.all[(i+1)%len(p.all)] {
				continue
			}
			p.customers(o, me, other)
			for name := range o.in {
				// Which fields there are to correct, all tenants of an industry know.
				if k, ok := p.kinds[name]; ok && (name != "field" || o.method == http.MethodDelete) {
					p.things(o, me, other, name, k)
				}
			}
			for _, name := range o.cursors() {
				p.cursors(o, me, other, name)
			}
		}
	}
}

// things names in my name, under my own customer_id, a thing that is another's.
func (p *probe) things(o operation, me, other *business, name string, k kind) {
	theirs, nobodys := k.own(p, other, o), k.nobodys(p)
	mine := func(named string) (answer, string) {
		values := map[string]any{name: named}
		user := ann
		if o.method != http.MethodGet && name != "user_id" && name != "field" && o.in["user_id"] != "" {
			user = p.user(me, o) // of whom nothing has been written yet
			values["user_id"] = user
		}
		a := p.attack(p.request(o, me, values))
		return a, same(a, named, user)
	}
	denied, a := mine(theirs)
	nothing, b := mine(nobodys)
	control := p.in.send(p.t, p.request(o, other, map[string]any{name: theirs}))
	c := check{o.String(), me.words[2], other.words[2], name + " of theirs", denied.status, nothing.status, control.status, ""}
	switch leaked := foreign(p.all, me, strings.ReplaceAll(denied.body, theirs, "")); {
	case len(leaked) > 0:
		c.Fault = fmt.Sprintf("shows %q", leaked)
	case a != b:
		c.Fault = fmt.Sprintf("is answered %s, what is nobody's %s", a, b)
	case control.status >= 300:
		c.Fault = "its owner gets " + control.body
	}
	p.checks = append(p.checks, c)
}

// cursors are the parameters that say where to go on.
func (o operation) cursors() (names []string) {
	for _, name := range []string{"cursor", "after", "Last-Event-ID"} {
		if o.in[name] != "" {
			names = append(names, name)
		}
	}
	return names
}

// cursors hands in cursors of my own that are of other lists, and one of this
// list with one bit changed, whichever that is.
func (p *probe) cursors(o operation, me, other *business, name string) {
	k := p.kinds[name]
	own, nobodys := k.own(p, me, o), k.nobodys(p)
	ask := func(cursor string) query { return p.request(o, me, map[string]any{name: cursor}) }
	control, nothing := p.in.send(p.t, ask(own)), p.attack(ask(nobodys))
	try := func(what string, cursors ...string) {
		c := check{o.String(), me.words[2], other.words[2], what, nothing.status, nothing.status, control.status, ""}
		for _, cursor := range cursors {
			denied := p.attack(ask(cursor))
			if a, b := same(denied, cursor), same(nothing, nobodys); a != b {
				c.Denied, c.Fault = denied.status, fmt.Sprintf("is answered %s, what is nobody's %s", a, b)
			}
		}
		if control.status >= 300 {
			c.Fault = "its owner gets " + control.body
		}
		p.checks = append(p.checks, c)
	}
	for _, from := range p.ops {
		if names := from.cursors(); len(names) > 0 && from.id != o.id {
			try(name+" of mine, of "+from.String(), p.kinds[names[0]].own(p, me, from))
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(own)
	if err != nil {
		p.t.Fatal(err)
	}
	var changed []string
	for i := range raw {
		one := slices.Clone(raw)
		one[i] ^= 1
		changed = append(changed, base64.RawURLEncoding.EncodeToString(one))
	}
	try(name+" of mine, one bit changed", changed...)
}

var (
	anID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}`)
	aTime  = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)
	aCall  = regexp.MustCompile(`known-[0-9a-f]+`)
	sealed = regexp.MustCompile(`[A-Za-z0-9_-]{60,}`)
)

// same is an answer without what differs each time, and without the names that
// were asked for.
func same(a answer, names ...string) string {
	body := a.body
	for _, name := range names {
		body = strings.ReplaceAll(strings.ReplaceAll(body, name, "…"), url.PathEscape(name), "…")
	}
	body = sealed.ReplaceAllString(aTime.ReplaceAllString(anID.ReplaceAllString(body, "id"), "time"), "cursor")
	body = aCall.ReplaceAllString(body, "call")
	return fmt.Sprintf("%d %s %s", a.status, a.header.Get("Content-Type"), body)
}

// attack sends what should not get at anything of others'.
func (p *probe) attack(q query) answer {
	if p.without != "" {
		q.header["X-Isolation-Without"] = p.without
	}
	return p.in.send(p.t, q)
}

const nobody = "880001"

// customers names another customer, in every place and in every way.
func (p *probe) customers(o operation, me, other *business) {
	ask := func(as, whose *business, id string) query {
		q := p.request(o, whose, nil)
		q.key = as.key
		q.name(id)
		return q
	}
	control := p.in.send(p.t, ask(other, other, other.id.String()))
	add := func(what string, want int, denied, nothing answer) {
		c := check{o.String(), me.words[2], other.words[2], what, denied.status, nothing.status, control.status, ""}
		switch leaked := foreign(p.all, me, denied.body); {
		case len(leaked) > 0:
			c.Fault = fmt.Sprintf("shows %q", leaked)
		case denied.status != want:
			c.Fault = fmt.Sprintf("is answered %d, want %d", denied.status, want)
		case same(denied) != same(nothing):
			c.Fault = fmt.Sprintf("is answered %s, nobody's %s", same(denied), same(nothing))
		case control.status >= 300:
			c.Fault = "its owner gets " + control.body
		}
		p.checks = append(p.checks, c)
	}
	// What is theirs is asked for by their names, with my key; and by mine.
	add("customer_id of theirs, things of theirs", http.StatusForbidden, p.attack(ask(me, other, other.id.String())), p.attack(ask(me, other, nobody)))
	add("customer_id of theirs, things of mine", http.StatusForbidden, p.attack(ask(me, me, other.id.String())), p.attack(ask(me, me, nobody)))
	for what, key := range map[string]string{
		"no key": "", "a key that is none": "ns_" + other.id.String() + "_" + noise(24),
		"my key in their words": strings.Replace(me.key, "ns_"+me.id.String()+"_", "ns_"+other.id.String()+"_", 1), "their number as key": other.number,
	} {
		theirs, nobodys := ask(me, other, other.id.String()), ask(me, other, nobody)
		theirs.key, nobodys.key = key, key
		add("customer_id of theirs, "+what, http.StatusUnauthorized, p.attack(theirs), p.attack(nobodys))
	}
	p.smuggled(o, me, other)
}

// smuggled names my own customer and another beside it. Whatever the answer is,
// nothing of another's is in it.
func (p *probe) smuggled(o operation, me, other *business) {
	mine, theirs := me.id.String(), other.id.String()
	own := p.request(o, me, nil)
	beside := map[string]query{}
	for _, h := range []string{"X-Customer-ID", "X-Tenant-ID", "Customer-Id", "X-Forwarded-User"} {
		q := p.request(o, me, nil)
		q.header[h] = theirs
		beside["header "+h] = q
	}
	q := p.request(o, me, nil)
	q.header["Authorization"] = "Bearer " + me.key + ", Bearer ns_" + theirs + "_x"
	beside["two keys"] = q
	if own.body == nil {
		for what, values := range map[string][]string{"theirs after mine": {mine, theirs}, "theirs before mine": {theirs, mine}} {
			q := p.request(o, me, nil)
			q.query["customer_id"] = values
			beside["query, "+what] = q
		}
		q := p.request(o, me, nil)
		q.raw = `{"customer_id":` + theirs + `}`
		beside["body beside the query"] = q
		for _, name := range []string{"Customer_ID", "customerId", "tenant", "customer_id[]"} {
			q := p.request(o, me, nil)
			q.query.Set(name, theirs)
			beside["query "+name] = q
		}
	} else {
		raw, err := json.Marshal(own.body)
		if err != nil {
			p.t.Fatal(err)
		}
		rest := strings.TrimPrefix(string(raw), "{")
		for what, text := range map[string]string{
			"theirs before mine": `{"customer_id":` + theirs + `,` + rest, "theirs after mine": strings.TrimSuffix(string(raw), "}") + `,"customer_id":` + theirs + `}`,
			"theirs in capitals": `{"CUSTOMER_ID":` + theirs + `,` + rest, "theirs in capitals after mine": strings.TrimSuffix(string(raw), "}") + `,"Customer_Id":` + theirs + `}`,
		} {
			q := p.request(o, me, nil)
			q.raw = text
			beside["body, "+what] = q
		}
		q := p.request(o, me, nil)
		q.query.Set("customer_id", theirs)
		beside["query beside the body"] = q
	}
	for what, q := range beside {
		got := p.attack(q)
		c := check{Route: o.String(), Me: me.words[2], Other: other.words[2], Tried: "customer_id of mine and theirs: " + what, Denied: got.status}
		if leaked := foreign(p.all, me, got.body); len(leaked) > 0 {
			c.Fault = fmt.Sprintf("shows %q", leaked)
		}
		p.checks = append(p.checks, c)
	}
}

// An instance with three businesses, each of which asks for all that the
// others have, in every way there is; and what that leaves behind.
func TestInstance(t *testing.T) {
	in := start(t)
	h := in.listen(t)
	p := newProbe(t, in, in.businesses(t))
	// Every route, asked as each business for what the others have, answers as
	// for what does not exist; and its owner gets it.
	t.Run("routes", func(t *testing.T) {
		p.t = t
		for _, o := range p.ops {
			p.run(o)
		}
		faults := 0
		for _, c := range p.checks {
			if c.Fault != "" {
				if faults++; faults < 40 {
					t.Errorf("%s as %s: %s (of %s): %s", c.Route, c.Me, c.Tried, c.Other, c.Fault)
				}
			}
		}
		t.Logf("%d routes, %d checks, %d faults", len(p.ops), len(p.checks), faults)
		report.checked(p)
	})
	t.Run("feed that is followed", p.followed)
	t.Run("webhooks", p.unsigned)
	t.Run("calls of the same id", p.crossed)
	t.Run("live words", p.live)
	t.Run("exports", p.exports)
	t.Run("what is left behind", func(t *testing.T) { p.leftBehind(t, h) })
	t.Run("what is erased by one", p.erased)
}
