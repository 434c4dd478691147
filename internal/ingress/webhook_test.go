package ingress

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	token   = "0123456789abcdef0123456789abcdef"
	account = "AC00000000000000000000000000000001"
	caller  = "+12065550142"
	called  = "+12065550110"
	claims  = "+12065550111"
	desk    = "+12065550112"
)

// edge is an ingress with its webhooks, for one business.
func edge(t *testing.T, b *bus.Bus, set func(*events.Settings)) (*worker, http.Handler) {
	t.Helper()
	w := ingress(t, b, "one")
	w.verifier, w.pass, w.publicURL = twilio.NewVerifier(token), newPasses(token), "https://phone.example"
	s := events.Settings{
		Tenant: tenant, Name: "Fig & Sons", Status: "active", Agent: "Sam", Language: "en-US", Greeting: "Hello.",
		Numbers: []string{called}, Transfers: []events.Transfer{{Name: "claims", Number: claims}},
	}
	if set != nil {
		set(&s)
	}
	err := w.settings.Watch(t.Context(), snapshots{s})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.routes(mux)
	return w, mux
}

// snapshots are settings as the bus would show them.
type snapshots []events.Settings

func (s snapshots) WatchSettings(_ context.Context, changed func(events.Settings, bool), ready func()) error {
	for _, one := range s {
		changed(one, false)
	}
	ready()
	return nil
}

// post is a webhook as Twilio sends it; the form is a query with what differs
// from an ordinary call.
func post(t *testing.T, h http.Handler, path, form string) *httptest.ResponseRecorder {
	t.Helper()
	all, err := url.ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"CallSid": sid, "AccountSid": account, "From": caller, "To": called} {
		if !all.Has(k) {
			all.Set(k, v)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(all.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Twilio-Signature", twilio.Sign(token, "https://phone.example"+path, all))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// stated are all facts of the stream, once n of them are there and the outbox
// holds no more.
func stated(t *testing.T, w *worker, n int) (all []events.Event) {
	t.Helper()
	var last uint64
	until(t, "facts are stored", func() (done bool) {
		var err error
		last, err = w.bus.LastSeq(t.Context())
		return err == nil && last >= uint64(n) && w.outbox.Depth() == 0
	})
	if last != uint64(n) {
		t.Fatalf("%d facts, want %d", last, n)
	}
	enough := errors.New("read to the end")
	err := w.bus.Follow(t.Context(), 1, []string{"tenant.*.>"}, func(_ context.Context, batch []events.Event) error {
		all = append(all, batch...)
		if len(all) >= n {
			return enough
		}
		return nil
	})
	if n > 0 && !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return all
}

// What the caller meets next, for everything Twilio can say a relay, a
// transfer or a recording ended with.
func TestActionSaysHowTheCallGoesOn(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	_, agent := edge(t, b, nil)
	_, person := edge(t, b, func(s *events.Settings) { s.FallbackNumber = desk })
	_, spanish := edge(t, b, func(s *events.Settings) { s.Language = "es-MX" })
	handoff := func(kind, to string) string {
		return "CallStatus=in-progress&SessionStatus=ended&HandoffData=" + url.QueryEscape(`{"kind":"`+kind+`","to":"`+to+`"}`)
	}
	for name, tc := range map[string]struct {
		h          http.Handler
		path, form string
		has        []string
		hasNot     []string
	}{
		"the agent transfers":                  {agent, "", handoff("transfer", "claims"), []string{"<Dial", claims, called, "action?customer_id=7&amp;n=0"}, []string{"<Connect", "<Hangup"}},
		"to somebody there is not":             {agent, "", handoff("transfer", "+19995550000"), []string{"<Hangup"}, []string{"<Dial"}},
		"the agent says goodbye":               {agent, "", handoff("end", ""), []string{"<Hangup"}, []string{"<Connect"}},
		"what the agent said cannot be read":   {agent, "", "CallStatus=in-progress&SessionStatus=ended&HandoffData={", []string{"<Hangup"}, []string{"<Connect"}},
		"the caller hung up":                   {agent, "", "CallStatus=completed&SessionStatus=completed", []string{"<Response"}, []string{"<Connect", "<Dial"}},
		"the socket broke":                     {agent, "", "CallStatus=in-progress&SessionStatus=failed", []string{"<Connect", "action?customer_id=7&amp;n=1"}, []string{"<Hangup", "sorry"}},
		"the socket broke again":               {agent, "?n=1", "CallStatus=in-progress&SessionStatus=failed", []string{"<Connect", "action?customer_id=7&amp;n=2"}, nil},
		"nobody picked up the transfer":        {agent, "?n=1", "CallStatus=in-progress&DialCallStatus=no-answer", []string{"<Connect", "nobody could take your call", "action?customer_id=7&amp;n=2"}, []string{"<Hangup"}},
		"nobody did, in another language":      {spanish, "", "CallStatus=in-progress&DialCallStatus=busy", []string{"<Connect", "nadie ha podido"}, nil},
		"the transfer is over":                 {agent, "", "CallStatus=in-progress&DialCallStatus=completed", []string{"<Hangup"}, []string{"<Connect"}},
		"too many sockets broke":               {agent, "?n=5", "CallStatus=in-progress&SessionStatus=failed", []string{"<Record", "after the tone", "recording?customer_id=7", "after=voicemail"}, []string{"<Connect"}},
		"too many, and there is a person":      {person, "?n=5", "CallStatus=in-progress&SessionStatus=failed", []string{"<Dial", desk, "after=person"}, []string{"<Connect", "<Record"}},
		"the person does not answer":           {person, "?after=person", "CallStatus=in-progress&DialCallStatus=no-answer", []string{"<Record"}, []string{"<Connect", "<Dial"}},
		"the person has hung up":               {person, "?after=person", "CallStatus=in-progress&DialCallStatus=completed", []string{"<Hangup"}, []string{"<Record", "<Connect"}},
		"a message was left":                   {agent, "?after=voicemail", "CallStatus=in-progress", []string{"has been recorded", "<Hangup"}, []string{"<Connect", "<Record"}},
		"the number is another's by now":       {agent, "?customer_id=7&n=0", "CallStatus=in-progress&SessionStatus=failed&To=%2B19995550000", []string{"<Connect", "customer_id=7&amp;n=1"}, []string{"<Hangup"}},
		"of a tenant there is not":             {agent, "?customer_id=8&n=0", "CallStatus=in-progress&SessionStatus=failed", []string{"<Hangup"}, []string{"<Connect"}},
		"a call to a number nobody has, ended": {agent, "", "CallStatus=in-progress&SessionStatus=failed&To=%2B19995550000", []string{"<Hangup"}, []string{"<Connect"}},
	} {
		t.Run(name, func(t *testing.T) {
			rec := post(t, tc.h, "/twilio/voice/action"+tc.path, tc.form)
			body, err := url.QueryUnescape(rec.Body.String())
			if err != nil {
				body = rec.Body.String()
			}
			if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != twilio.ContentType {
				t.Errorf("%d %s", rec.Code, rec.Header().Get("Content-Type"))
			}
			for _, want := range tc.has {
				if !strings.Contains(rec.Body.String(), want) && !strings.Contains(body, want) {
					t.Errorf("no %q in %s", want, body)
				}
			}
			for _, not := range tc.hasNot {
				if strings.Contains(body, not) {
					t.Errorf("%q in %s", not, body)
				}
			}
		})
	}
}

// Twilio may ask what to do with a call that is being answered already: what is
// known of it stays on the register.
func TestAWebhookThatComesAgainOvertakesNothing(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	w, h := edge(t, b, nil)
	for answered := range 2 {
		post(t, h, "/twilio/voice", "CallStatus=ringing")
		until(t, "all is written down", func() bool { return w.outbox.Depth() == 0 })
		e, err := b.GetCall(t.Context(), tenant, sid)
		if err != nil || e.Answered != (answered == 1) {
			t.Fatalf("%+v, %v", e, err)
		}
		c := resumed(w)
		c.answered = true
		if err := w.takeOver(t.Context(), c, false); err == nil {
			w.register(c)
		} else if answered == 0 {
			t.Fatal(err)
		}
	}
}

// Twilio tells of an end twice, by action and by status; in between it may
// reach two ingresses. There is one call.ended, for the first reason.
func TestAnEndToldTwiceIsOne(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	one, h := edge(t, b, nil)
	_, h2 := edge(t, b, nil)
	if rec := post(t, h, "/twilio/voice", "CallStatus=ringing"); !strings.Contains(rec.Body.String(), "<ConversationRelay") {
		t.Fatal(rec.Body.String())
	}
	stated(t, one, 1)
	for range 2 {
		post(t, h, "/twilio/voice/action", "CallStatus=completed")
		post(t, h2, "/twilio/status", "CallStatus=completed&CallDuration=7")
	}
	until(t, "the call is off the register", func() bool {
		left, err := b.ListCalls(t.Context())
		return err == nil && len(left) == 0
	})
	all := stated(t, one, 2)
	f, ok := all[1].Fact.(events.CallEnded)
	if !ok || f.From != caller || f.To != called || f.Answered || f.Turns != 0 || f.Reason != events.EndRejected {
		t.Errorf("ended as %+v", all[1].Fact)
	}
}

// The way on needs neither bus nor settings beyond those held.
func TestFallbackNeedsNothing(t *testing.T) {
	t.Parallel()
	b := testenv.Bus(t)
	w, h := edge(t, b, nil)
	_, person := edge(t, b, func(s *events.Settings) { s.FallbackNumber = desk })
	_, suspended := edge(t, b, func(s *events.Settings) { s.Status = "suspended"; s.FallbackNumber = desk })
	b.Close()
	form := "CallStatus=in-progress&ErrorCode=11200"
	for want, h := range map[string]http.Handler{"<Record": h, desk: person, "try again later": suspended} {
		if rec := post(t, h, "/twilio/voice/fallback", form); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%d %s, want %s", rec.Code, rec.Body, want)
		}
	}
	if rec := post(t, h, "/twilio/voice/fallback", form+"&To=%2B19995550000"); !strings.Contains(rec.Body.String(), "try again later") || strings.Contains(rec.Body.String(), "Fig") {
		t.Error(rec.Body.String())
	}
	// Without a bus a call is taken as well: the facts wait on the disk.
	if rec := post(t, h, "/twilio/voice", "CallStatus=ringing"); !strings.Contains(rec.Body.String(), "<ConversationRelay") || w.outbox.Depth() == 0 {
		t.Errorf("%s, %d in the outbox", rec.Body, w.outbox.Depth())
	}
}

func TestRecordingsAndTextsAreStated(t *testing.T) {
	t.Parallel()
	w, h := edge(t, testenv.Bus(t), nil)
	message := strings.Repeat("0a", 16)
	text := "MessageSid=SM00000000000000000000000000000001&"
	recording := "RecordingSid=RE00000000000000000000000000000001&RecordingUrl=https%3A%2F%2Fapi.twilio.com%2FRE1&RecordingDuration=9&RecordingStatus="
	mine, status := "/twilio/sms/status?customer_id=7&p=summary&call="+sid+"&m="+message, "From="+url.QueryEscape(called)+"&To="+url.QueryEscape(desk)+"&MessageStatus="
	for _, tc := range []struct {
		path, form string
		code       int
	}{
		{"/twilio/recording?customer_id=7", recording + "in-progress", 204},
		{"/twilio/recording?customer_id=7", recording + "completed", 204},
		{"/twilio/recording", recording + "completed", 400},
		{"/twilio/recording?customer_id=0", recording + "completed", 400},
		{"/twilio/recording?customer_id=7", "RecordingStatus=completed", 400},
		{"/twilio/sms", text + "Body=Charge+4111+1111+1111+1111", 200},
		{"/twilio/sms", strings.Replace(text, "1&", "2&", 1) + "Body=+stop+", 200},
		{"/twilio/sms", strings.Replace(text, "1&", "3&", 1) + "Body=START&OptOutType=START", 200},
		{"/twilio/sms", text + "Body=Hello&To=%2B19995550000", 200},
		{mine, text + status + "sent", 204},
		{mine, text + status + "delivered", 204},
		{mine, text + status + "undelivered&ErrorCode=30005", 204},
		{mine, text + status + "teleported", 204},
		{mine, text + "From=%2B19995550000&MessageStatus=delivered", 400},
		{strings.Replace(mine, "=7", "=8", 1), text + status + "delivered", 400},
		{strings.Replace(mine, message, "x", 1), text + status + "delivered", 400},
	} {
		if rec := post(t, h, tc.path, tc.form); rec.Code != tc.code {
			t.Errorf("%s %s: %d %s, want %d", tc.path, tc.form, rec.Code, rec.Body, tc.code)
		}
	}
	var got []string
	for _, e := range stated(t, w, 9) {
		line := e.Fact.Name() + " " + e.Call
		switch f := e.Fact.(type) {
		case events.CallRecorded:
			line += f.Recording + " " + f.URL
		case events.SMSReceived:
			line += f.From + " " + f.Body
		case events.SMSOptedOut:
			line += f.Number
		case events.SMSOptedIn:
			line += f.Number
		case events.SMSSent:
			line += f.Message + " " + f.To + " " + f.Purpose
		case events.SMSDelivered:
			line += f.Message
		case events.SMSFailed:
			line += f.Message + " " + f.Code
		}
		if e.Tenant != tenant {
			t.Errorf("of tenant %s", e.Tenant)
		}
		got = append(got, line)
	}
	want := []string{
		"call.recorded " + sid + "RE00000000000000000000000000000001 https://api.twilio.com/RE1",
		"sms.received " + caller + " Charge [CARD]",
		"sms.received " + caller + "  stop ",
		"sms.opted_out " + caller,
		"sms.received " + caller + " START",
		"sms.opted_in " + caller,
		"sms.sent " + sid + message + " " + desk + " summary",
		"sms.delivered " + sid + message,
		"sms.failed " + sid + message + " 30005",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Between the webhook and the socket nobody runs the call yet: a process that
// is asked to stop waits for it to connect.
func TestACallAboutToConnectIsWaitedFor(t *testing.T) {
	t.Parallel()
	w, h := edge(t, testenv.Bus(t), nil)
	post(t, h, "/twilio/voice", "CallStatus=ringing")
	about := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.expected)
	}
	if about() != 1 {
		t.Fatal("nobody waits")
	}
	c, err := w.start(resumed(w))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the call is no longer about to connect", func() bool { return about() == 0 })
	if !c.post(stopping{}) {
		t.Fatal("the call is not run")
	}
	w.busy.Wait()
}
