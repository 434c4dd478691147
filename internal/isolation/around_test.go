package isolation_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/twilio"
)

// elsewhere are the routes that are not in the API's document, each with how it
// is tried below.
var elsewhere = map[string]string{
	"/twilio/voice": "signed", "/twilio/voice/action": "signed", "/twilio/voice/fallback": "signed", "/twilio/status": "signed",
	"/twilio/recording": "signed", "/twilio/sms": "signed", "/twilio/sms/status": "signed", "/twilio/relay": "socket",
	"/healthz": "public", "/readyz": "public", "/metrics": "public", "/schemas/": "public",
}

// A route that is registered anywhere is in the document or in the list above.
func TestEveryRouteIsTried(t *testing.T) {
	t.Parallel()
	registered := regexp.MustCompile(`(?:HandleFunc|Handle)\("(?:[A-Z]+ )?(/[^"]*)"`)
	found := map[string]bool{}
	for _, dir := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/simulated/") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range registered.FindAllSubmatch(text, -1) {
				found[string(m[1])] = true
				if elsewhere[string(m[1])] == "" {
					t.Errorf("%s registers %s: say in elsewhere how it is tried", path, m[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for route := range elsewhere {
		if !found[route] {
			t.Errorf("%s is registered nowhere", route)
		}
	}
}

// heard is all that crossed the bus.
type heard struct {
	mu       sync.Mutex
	messages []*nats.Msg
}

// listen notes every message on the bus, live or stored.
func (in *instance) listen(t testing.TB) *heard {
	t.Helper()
	nc, err := nats.Connect(in.busURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	h := &heard{}
	_, err = nc.Subscribe(">", func(m *nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.messages = append(h.messages, m)
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// webhook posts what Twilio would, signed or not.
func (in *instance) webhook(t testing.TB, path string, form url.Values, signed bool) answer {
	t.Helper()
	header := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	if signed {
		header["X-Twilio-Signature"] = twilio.Sign(in.Config.TwilioAuthToken, in.Config.PublicURL+path, form)
	}
	return in.send(t, query{method: http.MethodPost, path: path, raw: form.Encode(), header: header})
}

// unsigned: nobody but Twilio gets an answer from Twilio's routes.
func (p *probe) unsigned(t *testing.T) {
	for route, how := range elsewhere {
		form := url.Values{
			"CallSid": {p.all[0].call}, "From": {ann}, "To": {p.all[0].number}, "CallStatus": {"completed"}, "AccountSid": {p.in.Config.TwilioAccountSID},
			"MessageSid": {"SM" + strings.Repeat("0", 32)}, "Body": {"STOP"}, "SmsStatus": {"delivered"},
		}
		switch how {
		case "signed":
			if got := p.in.webhook(t, route, form, false); got.status != http.StatusForbidden || strings.TrimSpace(got.body) != "forbidden" {
				t.Errorf("%s unsigned: %d %s", route, got.status, got.body)
			}
			if got := p.in.webhook(t, route, form, true); got.status == http.StatusForbidden {
				t.Errorf("%s signed: %d %s", route, got.status, got.body)
			}
		case "socket":
			got := p.in.send(t, query{method: http.MethodGet, path: route, header: map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			}})
			if got.status != http.StatusForbidden {
				t.Errorf("%s unsigned: %d %s", route, got.status, got.body)
			}
		case "public":
			got := p.in.send(t, query{method: http.MethodGet, path: route})
			if got.status != http.StatusOK || len(personal(p.all, got.body)) > 0 {
				t.Errorf("%s: %d, with %q", route, got.status, personal(p.all, got.body))
			}
		}
	}
}

// crossed: what Twilio says of a call of one business does nothing to the call
// of the same id of another.
func (p *probe) crossed(t *testing.T) {
	b, a := p.all[1], p.all[0]
	const call = "CAfeedfacefeedfacefeedfacefeedface"
	reached, goOn := make(chan struct{}), make(chan struct{})
	result := make(chan simulated.CallResult, 1)
	turns := 0
	go func() {
		result <- simulated.Call(t.Context(), simulated.CallOptions{
			URL: p.in.url, PublicURL: p.in.Config.PublicURL, AccountSID: p.in.Config.TwilioAccountSID, AuthToken: p.in.Config.TwilioAuthToken,
			From: ann, To: b.number, CallSID: call, Turns: []string{"Hello there.", "Are you still there?"},
			Think: func(int) time.Duration {
				if turns++; turns == 2 {
					close(reached)
					<-goOn
				}
				return 0
			},
		}, nil)
	}()
	select {
	case <-reached:
	case r := <-result:
		t.Fatalf("the call did not come to its second turn: %+v, %v", r, r.Err)
	}
	form := url.Values{"CallSid": {call}, "From": {ann}, "To": {a.number}, "CallStatus": {"completed"}, "CallDuration": {"1"}, "AccountSid": {p.in.Config.TwilioAccountSID}, "Direction": {"inbound"}}
	ended := with(form, "SessionStatus", "ended")
	for path, form := range map[string]url.Values{
		"/twilio/status": form, "/twilio/voice/action": ended, "/twilio/voice/action?customer_id=" + a.id.String() + "&n=0": ended,
		"/twilio/voice": with(form, "CallStatus", "ringing"), "/twilio/recording": with(form, "RecordingSid", "RE"+strings.Repeat("1", 32)),
	} {
		if got := p.in.webhook(t, path, form, true); got.status == http.StatusForbidden || len(foreign(p.all, a, got.body)) > 0 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	close(goOn)
	r := <-result
	if r.Err != nil || len(r.Turns) != 2 || !r.Turns[1].Answered {
		t.Errorf("the call did not go on: %v, %+v", r.Err, r.Turns)
	}
	own := b.ask(t, "GET", "/v2/calls/"+call, nil)
	until(t, "the call is over for its business", func() bool {
		own = b.ask(t, "GET", "/v2/calls/"+call, nil)
		return own.status == http.StatusOK && strings.Contains(own.body, `"ended_at":"`)
	})
	if !strings.Contains(own.body, "Are you still there?") {
		t.Errorf("the business does not see its own call: %s", own.body)
	}
	if got := a.ask(t, "GET", "/v2/calls/"+call, nil); strings.Contains(got.body, "Hello there") || strings.Contains(got.body, "Are you still") {
		t.Errorf("another business sees it: %s", got.body)
	}
}

func with(form url.Values, name, value string) url.Values {
	out := url.Values{}
	for k, v := range form {
		out[k] = slices.Clone(v)
	}
	out.Set(name, value)
	return out
}

// live: a turn or a greeting that is asked for in one business's name, with
// the id of another's call and a caller both have, is answered from what the
// one knows.
func (p *probe) live(t *testing.T) {
	for i, me := range p.all {
		other := p.all[(i+1)%len(p.all)]
		owned, err := p.in.Bus.OwnCall(me.id, other.call)
		if err != nil {
			t.Fatal(err)
		}
		mark := fmt.Sprintf("What do you know about me, number %d?", i)
		err = p.in.Bus.Ask(me.id, events.Ask{Call: other.call, Turn: 1, Attempt: 1, Caller: ann, StartedAt: time.Now(), History: []events.Line{{Role: events.RoleCaller, Text: mark}}})
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for done := false; !done; {
			select {
			case m := <-owned.Messages():
				if a, ok := owned.Read(m).(events.Answer); ok {
					said += a.Text
					done = a.Kind == events.AnswerDone || a.Kind == events.AnswerFailed
				}
			case <-time.After(30 * time.Second):
				t.Fatal("no answer")
			}
		}
		owned.Release()
		g, err := p.in.Bus.Greet(t.Context(), me.id, events.Greet{Call: other.call, Caller: ann})
		if err != nil || !strings.Contains(g.Text, me.words[0]) {
			t.Errorf("greeted with %q, %v; want the name %s", g.Text, err, me.words[0])
		}
		p.in.mu.Lock()
		at := slices.IndexFunc(p.in.prompts, func(s string) bool { return strings.Contains(s, mark) })
		prompt := ""
		if at >= 0 {
			prompt = p.in.prompts[at]
		}
		p.in.mu.Unlock()
		if !strings.Contains(prompt, me.words[0]) {
			t.Errorf("the model is not told who calls: %.300s", prompt)
		}
		if leaked := foreign(p.all, me, said+g.Text+prompt); len(leaked) > 0 {
			t.Errorf("%s is told %q", me.words[2], leaked)
		}
	}
}

// followed: a feed that is followed shows a business its own, however much
// happens to others meanwhile.
func (p *probe) followed(t *testing.T) {
	me := p.all[2]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.in.url+"/v1/events?follow=true&customer_id="+me.id.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+me.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for i := range 20 {
		for _, b := range p.all {
			p.made(b.ask(t, "POST", "/v1/memories", map[string]any{"user_id": ann, "type": "fact", "key": fmt.Sprint("n", i), "value": b.words[1]}))
		}
	}
	p.made(me.ask(t, "POST", "/v1/memories", map[string]any{"user_id": ann, "type": "fact", "key": "last", "value": "the last of all"}))
	all, buffer := "", make([]byte, 32<<10)
	for !strings.Contains(all, "the last of all") {
		n, err := resp.Body.Read(buffer)
		if all += string(buffer[:n]); err != nil {
			t.Fatalf("the feed ended: %v", err)
		}
	}
	if leaked := foreign(p.all, me, all); len(leaked) > 0 || !strings.Contains(all, me.words[1]) {
		t.Errorf("the feed of %s has %q", me.words[2], leaked)
	}
	for _, b := range p.all {
		if b != me && strings.Contains(all, `"tenantid":"`+b.id.String()+`"`) {
			t.Errorf("the feed of %s has events of %s", me.id, b.id)
		}
	}
}

var anyNumber = regexp.MustCompile(`\+?1(?:206|312)555\d{4}`)

// personal are the words and numbers in a text that are anybody's.
func personal(all []*business, text string) []string {
	found := foreign(all, nil, text)
	if strings.Contains(text, "206555") || strings.Contains(text, "312555") {
		found = append(found, anyNumber.FindAllString(text, -1)...)
	}
	return found
}

// leftBehind looks through all that the probe and the calls have left: logs,
// metrics, the bus, what the model was asked, texts, rows.
func (p *probe) leftBehind(t *testing.T, h *heard) {
	for _, e := range p.in.logs.All() {
		raw, _ := json.Marshal(e.ContextMap())
		if found := personal(p.all, e.Message+string(raw)); len(found) > 0 {
			t.Errorf("the log has %q: %s %s", found, e.Message, raw)
		}
	}
	if p.in.logs.Len() == 0 {
		t.Error("nothing was logged at all")
	}
	if got := p.in.send(t, query{method: http.MethodGet, path: "/metrics"}); got.status != http.StatusOK || !strings.Contains(got.body, "neurosphere_") || len(personal(p.all, got.body)) > 0 {
		t.Errorf("metrics: %d, with %q", got.status, personal(p.all, got.body))
	}
	p.crossedBus(t, h)
	p.in.mu.Lock()
	for _, prompt := range p.in.prompts {
		if whose := p.whose(prompt); len(whose) > 1 {
			t.Errorf("the model is told words of %v at once: %.500s", whose, prompt)
		}
	}
	if len(p.in.prompts) == 0 {
		t.Error("the model was asked nothing")
	}
	p.in.mu.Unlock()
	p.texts(t)
	p.rows(t)
}

// whose are the businesses whose words are in a text.
func (p *probe) whose(text string) (all []string) {
	for _, b := range p.all {
		if slices.ContainsFunc(b.words, func(w string) bool { return strings.Contains(text, w) }) {
			all = append(all, b.id.String())
		}
	}
	return all
}

var ofTenant = regexp.MustCompile(`^tenant\.(\d+)\.`)

// crossedBus: nothing personal in subjects and headers; under a business's
// subjects no other's words.
func (p *probe) crossedBus(t *testing.T, h *heard) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := map[string]int{}
	for _, m := range h.messages {
		if found := personal(p.all, m.Subject+fmt.Sprint(m.Header)); len(found) > 0 {
			t.Errorf("a subject or header has %q: %s %v", found, m.Subject, m.Header)
		}
		if of := ofTenant.FindStringSubmatch(m.Subject); of != nil {
			for _, b := range p.whose(string(m.Data)) {
				seen[of[1]]++
				if b != of[1] {
					t.Errorf("%s carries words of %s", m.Subject, b)
				}
			}
		}
	}
	if len(seen) != len(p.all) {
		t.Errorf("words were carried for %v", seen)
	}
}

func (p *probe) texts(t *testing.T) {
	resp, err := http.Get(p.in.Config.TwilioAPIURL + "/_simulated/messages")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	var sent []simulated.SentText
	if err == nil {
		err = json.Unmarshal(raw, &sent)
	}
	if err != nil || len(sent) == 0 {
		t.Fatalf("%d texts, %v", len(sent), err)
	}
	for _, s := range sent {
		i := slices.IndexFunc(p.all, func(b *business) bool { return b.number == s.From })
		if i < 0 {
			t.Errorf("a text comes from %s", s.From)
			continue
		}
		if leaked := foreign(p.all, p.all[i], s.Body); len(leaked) > 0 || s.To != p.all[i].people && s.To != ann {
			t.Errorf("a text of %s to %s has %q", p.all[i].words[2], s.To, leaked)
		}
	}
}

// rows: no row of a business has another's words.
func (p *probe) rows(t *testing.T) {
	su, err := pgx.Connect(t.Context(), p.in.adm)
	if err != nil {
		t.Fatal(err)
	}
	defer su.Close(t.Context())
	tables := p.column(t, su, `SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' WHERE attname = 'customer_id'`)
	seen := map[string]int{}
	for _, table := range tables {
		for _, b := range p.all {
			for _, row := range p.column(t, su, `SELECT to_jsonb(x)::text FROM `+table+` x WHERE customer_id = `+b.id.String()) {
				if len(p.whose(row)) > 0 {
					seen[b.id.String()]++
				}
				if leaked := foreign(p.all, b, row); len(leaked) > 0 {
					t.Errorf("%s has a row of %s with %q", table, b.id, leaked)
				}
			}
		}
	}
	if len(tables) < 15 || len(seen) != len(p.all) {
		t.Errorf("%d tables, words in rows of %v", len(tables), seen)
	}
}

func (p *probe) column(t *testing.T, c *pgx.Conn, sql string) []string {
	t.Helper()
	rows, err := c.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}
