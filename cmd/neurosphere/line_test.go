package main

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/twilio"
)

// A line is one call, webhook by webhook and frame by frame: for all that
// Twilio may do and seldom does.
type line struct {
	s           *served
	sid         string
	from, to    string
	url, action string
	params      map[string]string // of the relay
	conn        *websocket.Conn
	silent      []*websocket.Conn // sockets nobody reads any more
	patience    time.Duration     // of the caller; 0: 20 s
}

func (s *served) ring(from, to string) *line {
	s.t.Helper()
	l := &line{s: s, sid: "CA" + strings.ReplaceAll(uuid.NewString(), "-", ""), from: from, to: to}
	s.t.Cleanup(func() {
		for _, c := range append(l.silent, l.conn) {
			if c != nil {
				_ = c.CloseNow()
			}
		}
	})
	return l.voice()
}

func (l *line) voice() *line {
	l.hook("/twilio/voice", "CallStatus", "ringing")
	return l
}

// hook is a webhook of the call, and what it says to do next.
func (l *line) hook(path string, with ...string) {
	l.s.t.Helper()
	form := url.Values{"CallSid": {l.sid}, "AccountSid": {l.s.Config.TwilioAccountSID}, "From": {l.from}, "To": {l.to}, "CallStatus": {"in-progress"}}
	for i := 0; i < len(with); i += 2 {
		form.Set(with[i], with[i+1])
	}
	status, body := l.s.signed(strings.TrimPrefix(path, l.s.Config.PublicURL), form, nil)
	if status >= http.StatusMultipleChoices {
		l.s.t.Fatalf("%s: %d %s", path, status, body)
	}
	var doc struct {
		Connect *struct {
			Action string `xml:"action,attr"`
			Relay  struct {
				URL        string `xml:"url,attr"`
				Parameters []struct {
					Name  string `xml:"name,attr"`
					Value string `xml:"value,attr"`
				} `xml:"Parameter"`
			} `xml:"ConversationRelay"`
		}
		Dial *struct {
			Action string `xml:"action,attr"`
		}
	}
	if body != "" && xml.Unmarshal([]byte(body), &doc) != nil {
		l.s.t.Fatalf("%s: %s", path, body)
	}
	if doc.Dial != nil {
		l.action = doc.Dial.Action
	}
	if doc.Connect != nil {
		l.url, l.action, l.params = doc.Connect.Relay.URL, doc.Connect.Action, map[string]string{}
		for _, p := range doc.Connect.Relay.Parameters {
			l.params[p.Name] = p.Value
		}
	}
}

// open opens the call's next socket.
func (l *line) open(session string) *line {
	l.s.t.Helper()
	conn, _, err := websocket.Dial(l.s.t.Context(), l.url, &websocket.DialOptions{HTTPHeader: http.Header{"X-Twilio-Signature": {twilio.Sign(l.s.Config.TwilioAuthToken, l.url, nil)}}}) //nolint:bodyclose // the socket has it
	if err != nil {
		l.s.t.Fatal(err)
	}
	l.conn = conn
	l.send(map[string]any{"type": "setup", "sessionId": session, "callSid": l.sid, "from": l.from, "to": l.to, "customParameters": l.params})
	return l
}

func (l *line) send(frame map[string]any) {
	l.s.t.Helper()
	raw, err := json.Marshal(frame)
	if err != nil {
		l.s.t.Fatal(err)
	}
	if err := l.conn.Write(l.s.t.Context(), websocket.MessageText, raw); err != nil {
		l.s.t.Fatal(err)
	}
}

// say is the caller's words, and hear what is answered until the utterance or
// the session ends, or nothing comes for as long as the caller has patience.
func (l *line) say(text string) (heard string, ended *twilio.End) {
	l.s.t.Helper()
	l.send(map[string]any{"type": "prompt", "voicePrompt": text, "lang": "en-US", "last": true})
	return l.hear()
}

func (l *line) hear() (heard string, ended *twilio.End) {
	l.s.t.Helper()
	ctx, cancel := context.WithTimeout(l.s.t.Context(), cmp.Or(l.patience, 20*time.Second))
	defer cancel()
	for {
		_, raw, err := l.conn.Read(ctx)
		if err != nil {
			return heard, nil
		}
		var f struct {
			Type, Token, HandoffData string
			Last                     bool
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			l.s.t.Fatal(err)
		}
		heard += f.Token
		switch {
		case f.Type == "end":
			return heard, &twilio.End{HandoffData: f.HandoffData}
		case f.Last:
			return heard, nil
		}
	}
}

func (l *line) press(keys string) {
	for _, k := range keys {
		l.send(map[string]any{"type": "dtmf", "digit": string(k)})
	}
}

func (l *line) hangUp() {
	l.s.t.Helper()
	_ = l.conn.Close(websocket.StatusNormalClosure, "")
	l.hook(l.action, "SessionStatus", "completed", "CallStatus", "completed")
	l.hook("/twilio/status", "CallStatus", "completed")
}

// facts of the call, once one of them has that name.
func (l *line) facts(t events.Tenant, until string) (all []events.Event) {
	l.s.t.Helper()
	l.s.until(until+" of the call", func() bool {
		all = slices.DeleteFunc(l.s.log(), func(e events.Event) bool { return e.Call != l.sid || e.Tenant != t })
		return slices.ContainsFunc(all, func(e events.Event) bool { return e.Fact.Name() == until })
	})
	return all
}

// heardOf are the caller's turns among facts.
func heardOf(all []events.Event) (out []events.TurnHeard) {
	for _, e := range all {
		if f, ok := e.Fact.(events.TurnHeard); ok {
			out = append(out, f)
		}
	}
	return out
}

func TestWhatTwilioSeldomDoes(t *testing.T) {
	t.Parallel()
	s := serveAll(t, nil)
	one := s.tenant("One", "+12065550110", map[string]string{"transfers": `[{"name":"claims desk","number":"+12065550177"}]`})
	two := s.tenant("Two", "+12065550120", map[string]string{"returning_greeting": "Hello {caller_name}, welcome back."})
	const caller = "+12065550001"
	ring := func() *line { return s.ring(caller, one.Numbers[0]) }

	t.Run("the old socket falls silent and stays open", func(t *testing.T) {
		l := ring().open("VX1")
		l.say("Hello.") // otherwise the second may be there before the first
		l.silent = append(l.silent, l.conn)
		l.open("VX2")
		l.patience = 4 * time.Second // whoever waits for the old one to say good-bye waits for five
		if heard, _ := l.say("Are you there?"); heard == "" {
			t.Error("silence")
		}
		l.hangUp()
	})
	t.Run("the same words after a transfer that failed", func(t *testing.T) {
		l := ring().open("VX1")
		transfer := func() (ended *twilio.End) {
			_, ended = l.say("Please connect me to the claims desk.")
			for range 5 {
				if ended == nil {
					_, ended = l.hear()
				}
			}
			return ended
		}
		ended := transfer()
		if ended == nil {
			t.Fatal("no transfer")
		}
		_ = l.conn.Close(websocket.StatusNormalClosure, "")
		l.hook(l.action, "SessionStatus", "ended", "HandoffData", ended.HandoffData)
		l.hook(l.action, "DialCallStatus", "no-answer")
		l.open("VX2")
		if transfer() == nil {
			t.Error("the second time there is no transfer")
		}
		_ = l.conn.Close(websocket.StatusNormalClosure, "")
		l.hook("/twilio/status", "CallStatus", "completed")
		if got := heardOf(l.facts(one.Tenant, "call.ended")); len(got) != 2 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("keys, then words, keys, and the end", func(t *testing.T) {
		l := ring().open("VX1")
		l.press("447")
		l.say("That is half of it.")
		l.press("1200")
		l.hangUp()
		want := []events.TurnHeard{{Turn: 1, Text: "447", Keys: true}, {Turn: 2, Text: "That is half of it.", Lang: "en-US"}, {Turn: 3, Text: "1200", Keys: true}}
		if got := heardOf(l.facts(one.Tenant, "call.ended")); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("a socket of a call that is over", func(t *testing.T) {
		for name, end := range map[string]func(*line){
			"answered":     func(l *line) { l.open("VX1"); l.say("Hello."); l.hangUp() },
			"not answered": func(l *line) { l.hook("/twilio/status", "CallStatus", "completed") },
		} {
			l := ring()
			end(l)
			l.facts(one.Tenant, "call.summarized")
			s.until("the call is off the register", func() bool {
				_, err := s.Bus.GetCall(t.Context(), one.Tenant, l.sid)
				return err != nil
			})
			if heard, _ := l.open("VX2").hear(); heard != "" {
				t.Errorf("%s: %q", name, heard)
			}
			for _, e := range l.facts(one.Tenant, "call.ended") {
				if f, ok := e.Fact.(events.CallAnswered); ok && f.Session == "VX2" {
					t.Errorf("%s: answered once more", name)
				}
			}
		}
	})
	t.Run("texts of Twilio's that are far too long", func(t *testing.T) {
		l := ring().open(strings.Repeat("x", 3000))
		l.send(map[string]any{"type": "prompt", "voicePrompt": "Hello.", "lang": strings.Repeat("e", 3000), "last": true})
		l.hear()
		l.send(map[string]any{"type": "interrupt", "utteranceUntilInterrupt": strings.Repeat("nonsense ", 300)})
		l.hangUp()
		names := map[string]bool{}
		for _, e := range l.facts(one.Tenant, "call.ended") {
			names[e.Fact.Name()] = true
		}
		if !names["call.answered"] || !names["turn.heard"] || !names["turn.spoken"] {
			t.Errorf("stored: %v", names)
		}
	})
	t.Run("one call id, two tenants", func(t *testing.T) {
		a := ring().open("VX1")
		b := (&line{s: s, sid: a.sid, from: caller, to: two.Numbers[0]}).voice().open("VX2")
		defer func() { _ = b.conn.CloseNow() }()
		heardA, _ := a.say("My secret is alpha.")
		heardB, _ := b.say("My secret is beta.")
		if heardA == "" || heardB == "" {
			t.Errorf("%q and %q", heardA, heardB)
		}
		a.hangUp()
		b.hangUp()
		for tenant, want := range map[events.Tenant]string{one.Tenant: "My secret is alpha.", two.Tenant: "My secret is beta."} {
			if got := heardOf(a.facts(tenant, "call.ended")); len(got) != 1 || got[0].Text != want {
				t.Errorf("tenant %s: %+v", tenant, got)
			}
		}
	})
	t.Run("callers who withhold their number are not one caller", func(t *testing.T) {
		rows, err := s.Store.For(two.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{"+266696687", "anonymous"} {
			r := s.play(simulated.CallOptions{From: from, To: two.Numbers[0], Turns: []string{"Hello, my name is Ann Lee."}})
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			l := &line{s: s, sid: r.CallSID}
			for _, e := range l.facts(two.Tenant, "call.summarized") {
				switch f := e.Fact.(type) {
				case events.CallReceived:
					if f.From != twilio.Withheld {
						t.Errorf("from %q", f.From)
					}
				case events.CallAnswered:
					if strings.Contains(f.Greeting, "Ann") {
						t.Errorf("greeted with %q", f.Greeting)
					}
				}
			}
			s.until("the summary is in the rows", func() bool {
				c, err := rows.Call(t.Context(), l.sid)
				return err == nil && c.Summary != nil
			})
		}
		if c, err := rows.CallerContext(t.Context(), twilio.Withheld, 5); err != nil || c.Known {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
