package main

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/simulated"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const someCall = "CA00000000000000000000000000000001"

// signed is a webhook as Twilio sends it.
func (s *served) signed(path string, form url.Values, change func(*http.Request)) (int, string) {
	s.t.Helper()
	target := s.Config.PublicURL + path
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Twilio-Signature", twilio.Sign(s.Config.TwilioAuthToken, target, form))
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// What is not Twilio's, or not to be understood, gets a clear answer and leaves
// nothing behind.
func TestEdgeTurnsAwayWhatItMust(t *testing.T) {
	t.Parallel()
	s := serveAll(t, nil)
	live := s.tenant("Live", "+12065550110", nil)
	gone := s.tenant("Gone", "+12065550120", nil)
	if _, _, err := s.Store.UpdateSettings(t.Context(), gone.Tenant, func(set *events.Settings) error { set.Status = "suspended"; return nil }); err != nil {
		t.Fatal(err)
	}
	s.until("the suspension is live", func() bool {
		return s.play(simulated.CallOptions{From: "+12065550000", To: gone.Numbers[0]}).Refused != ""
	})
	s.until("calls so far are over", func() bool {
		open, err := s.Bus.ListCalls(t.Context())
		for _, facts := range byCall(s.log()) {
			if facts["call.received"] > facts["call.summarized"] {
				return false
			}
		}
		return err == nil && len(open) == 0
	})
	before, err := s.Bus.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := url.Values{"CallSid": {someCall}, "AccountSid": {s.Config.TwilioAccountSID}, "From": {"+12065550001"}, "To": {live.Numbers[0]}, "CallStatus": {"ringing"}}
	with := func(k, v string) url.Values {
		f := url.Values{}
		for key, values := range good {
			f[key] = values
		}
		f.Set(k, v)
		return f
	}
	for name, tc := range map[string]struct {
		path   string
		form   url.Values
		change func(*http.Request)
		status int
		says   string
	}{
		"unsigned":               {"/twilio/voice", good, func(r *http.Request) { r.Header.Del("X-Twilio-Signature") }, 403, "forbidden"},
		"wrongly signed":         {"/twilio/voice", good, func(r *http.Request) { r.Header.Set("X-Twilio-Signature", "AAAA") }, 403, "forbidden"},
		"signed for another URL": {"/twilio/voice", good, func(r *http.Request) { r.URL.Path = "/twilio/status" }, 403, "forbidden"},
		"signed for other words": {"/twilio/voice", good, func(r *http.Request) {
			f := with("To", gone.Numbers[0]).Encode()
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(f)), int64(len(f))
		}, 403, "forbidden"},
		"wrong method":        {"/twilio/voice", good, func(r *http.Request) { r.Method = http.MethodGet }, 405, "POST only"},
		"not a form":          {"/twilio/voice", good, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, 415, "want application"},
		"oversized":           {"/twilio/voice", with("Extra", strings.Repeat("x", 70<<10)), nil, 413, "64 KiB"},
		"no call":             {"/twilio/voice", with("CallSid", "nonsense"), nil, 400, "CallSid"},
		"call of a subject":   {"/twilio/voice", with("CallSid", "CA*>"), nil, 400, "CallSid"},
		"not UTF-8":           {"/twilio/voice", with("From", "\xff\xfe"), nil, 400, "From"},
		"unknown number":      {"/twilio/voice", with("To", "+19995550000"), nil, 200, "not in service"},
		"suspended tenant":    {"/twilio/voice", with("To", gone.Numbers[0]), nil, 200, "not in service"},
		"status of nobody":    {"/twilio/status", with("CallStatus", "completed"), nil, 204, ""},
		"text of nobody":      {"/twilio/sms/status?customer_id=1&m=" + strings.Repeat("0", 32), url.Values{"MessageSid": {"SM" + strings.Repeat("0", 32)}, "AccountSid": {s.Config.TwilioAccountSID}, "MessageStatus": {"delivered"}, "From": {"+19995550000"}, "To": {"+12065550001"}}, nil, 400, "no such text"},
		"text without tenant": {"/twilio/sms/status", url.Values{"MessageSid": {"SM" + strings.Repeat("0", 32)}, "AccountSid": {s.Config.TwilioAccountSID}, "MessageStatus": {"delivered"}, "From": {live.Numbers[0]}, "To": {"+12065550001"}}, nil, 400, "customer_id"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := s.signed(tc.path, tc.form, tc.change)
			if status != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("%d %q, want %d and %q", status, body, tc.status, tc.says)
			}
		})
	}
	t.Run("socket", func(t *testing.T) { s.refusedSockets(t) })
	after, err := s.Bus.LastSeq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after != before {
		t.Errorf("%d facts were stored", after-before)
	}
	// All the same the phone is answered.
	if status, body := s.signed("/twilio/voice", good, nil); status != 200 || !strings.Contains(body, "ConversationRelay") {
		t.Errorf("a good call: %d %q", status, body)
	}
}

// refusedSockets opens sockets that must not become calls.
func (s *served) refusedSockets(t *testing.T) {
	ws := "ws" + strings.TrimPrefix(s.Config.PublicURL, "http") + "/twilio/relay"
	dial := func(signature string) (*websocket.Conn, int) {
		conn, resp, err := websocket.Dial(t.Context(), ws, &websocket.DialOptions{HTTPHeader: http.Header{"X-Twilio-Signature": {signature}}})
		if resp != nil && resp.Body != nil && err != nil {
			defer resp.Body.Close()
		}
		if err != nil {
			if resp == nil {
				t.Fatal(err)
			}
			return nil, resp.StatusCode
		}
		return conn, resp.StatusCode
	}
	if _, status := dial("AAAA"); status != http.StatusForbidden {
		t.Errorf("wrongly signed: %d, want 403", status)
	}
	if _, status := dial(twilio.Sign(s.Config.TwilioAuthToken, s.Config.PublicURL+"/twilio/relay", nil)); status != http.StatusForbidden {
		t.Errorf("signed as a webhook: %d, want 403", status)
	}
	for name, first := range map[string]string{
		"no setup":         `{"type":"prompt","voicePrompt":"hello","last":true}`,
		"malformed":        `{"type":`,
		"not UTF-8":        "\xff",
		"without a pass":   `{"type":"setup","callSid":"` + someCall + `","from":"+1","to":"+1"}`,
		"with a false one": `{"type":"setup","callSid":"` + someCall + `","customParameters":{"call":"1.` + someCall + `.1.0.AAAA"}}`,
	} {
		conn, _ := dial(twilio.Sign(s.Config.TwilioAuthToken, ws, nil))
		if conn == nil {
			t.Fatalf("%s: the socket did not open", name)
		}
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(first)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation && websocket.CloseStatus(err) != websocket.StatusInvalidFramePayloadData {
			t.Errorf("%s: %v, want a policy violation", name, err)
		}
	}
}

// Interruptions, goodbyes, transfers and a lost socket, on one line.
func TestCallsGoAsCallersDo(t *testing.T) {
	t.Parallel()
	s := serveAll(t, nil)
	tenant := s.tenant("Live", "+12065550110", map[string]string{"transfers": `[{"name":"claims desk","number":"+12065550177"}]`})
	play := func(o simulated.CallOptions) simulated.CallResult {
		o.To = tenant.Numbers[0]
		if o.From == "" {
			o.From = "+12065550001"
		}
		return s.play(o)
	}
	facts := func(call, name string) (n int) {
		s.until(name+" of the call", func() bool {
			all := byCall(s.log())[call]
			n = all[name]
			return all["call.ended"] > 0
		})
		return n
	}
	t.Run("goodbye hangs up", func(t *testing.T) {
		r := play(simulated.CallOptions{Turns: []string{"My name is Ann Lee.", "Thank you, goodbye."}, Linger: 30 * time.Second})
		if r.Err != nil || !r.AgentEnded {
			t.Errorf("agent ended %v, err %v", r.AgentEnded, r.Err)
		}
	})
	t.Run("one more thing keeps the line", func(t *testing.T) {
		r := play(simulated.CallOptions{Turns: []string{"Goodbye.", "Oh wait, my roof leaks too.", "That was all."}})
		if r.Err != nil || r.AgentEnded || r.Unsaid > 0 || facts(r.CallSID, "turn.heard") != 3 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("interrupted answer is written down as heard", func(t *testing.T) {
		r := play(simulated.CallOptions{Turns: []string{"I would like to tell you about a long story of my car.", "No, listen."}, InterruptAt: map[int]int{1: 4}})
		if r.Err != nil || !r.Turns[0].Cut {
			t.Fatalf("%+v", r)
		}
		s.until("cut is stated", func() bool {
			facts, err := s.Bus.ReadCall(t.Context(), tenant.Tenant, r.CallSID, bus.Span{})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range facts {
				if f, ok := e.Fact.(events.TurnSpoken); ok && f.Cut && f.Text == strings.TrimSpace(r.Turns[0].Heard) {
					return true
				}
			}
			return false
		})
	})
	t.Run("transfer nobody takes comes back", func(t *testing.T) {
		r := play(simulated.CallOptions{Turns: []string{"Please connect me to the claims desk."}, Linger: 8 * time.Second, DialOutcome: "busy"})
		if r.Err != nil || r.Dialled != "+12065550177" || r.Refused != "" {
			t.Errorf("%+v", r)
		}
		if n := facts(r.CallSID, "call.transferred"); n != 2 {
			t.Errorf("%d × call.transferred, want one for the attempt and one for its outcome", n)
		}
	})
	t.Run("withheld number", func(t *testing.T) {
		if r := play(simulated.CallOptions{From: "anonymous", Turns: []string{"Please text me the address."}}); r.Err != nil || !r.Turns[0].Answered {
			t.Errorf("%+v", r)
		}
	})
}
