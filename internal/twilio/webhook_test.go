package twilio_test

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/internal/twilio"
)

const (
	messageSID   = "SM0123456789abcdef0123456789abcdef"
	recordingSID = "RE0123456789abcdef0123456789abcdef"
)

// form is made of pairs of a key and its value.
func form(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Add(pairs[i], pairs[i+1])
	}
	return f
}

// changed is f with some keys changed; an empty value removes the key.
func changed(f url.Values, pairs ...string) url.Values {
	other := url.Values{}
	for key, values := range f {
		other[key] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			other.Del(pairs[i])
			continue
		}
		other.Set(pairs[i], pairs[i+1])
	}
	return other
}

var (
	voiceForm = form("CallSid", callSID, "AccountSid", accountSID, "From", "+18005550100", "To", "+18005550101",
		"CallStatus", "ringing", "Direction", "inbound", "ApiVersion", "2010-04-01", "Caller", "+18005550100",
		"ForwardedFrom", "+18005550102", "CallerName", "ANNE É", "StirVerstat", "TN-Validation-Passed-A", "SomethingNew", "\xff")
	actionForm = form("CallSid", callSID, "AccountSid", accountSID, "From", "+18005550100", "To", "+18005550101",
		"CallStatus", "in-progress", "SessionId", sessionSID, "SessionStatus", "ended", "SessionDuration", "25", "HandoffData", `{"to":"sales"}`)
	statusForm = form("CallSid", callSID, "AccountSid", accountSID, "From", "+18005550100", "To", "+18005550101",
		"Direction", "inbound", "CallStatus", "completed", "SequenceNumber", "3", "CallDuration", "61", "Duration", "2",
		"Timestamp", "Mon, 23 Nov 2026 14:03:05 +0000", "CallbackSource", "call-progress-events")
	messageForm = form("MessageSid", messageSID, "SmsSid", messageSID, "AccountSid", accountSID, "From", "+18005550101",
		"To", "+18005550100", "MessageStatus", "undelivered", "ErrorCode", "30003", "ApiVersion", "2010-04-01")
	inboundForm = form("MessageSid", messageSID, "AccountSid", accountSID, "From", "+18005550100", "To", "+18005550101",
		"Body", "See you at 5 ☎", "NumMedia", "0")
	recordingForm = form("CallSid", callSID, "AccountSid", accountSID, "RecordingSid", recordingSID, "RecordingUrl",
		"https://api.twilio.com/2010-04-01/Recordings/"+recordingSID, "RecordingStatus", "completed", "RecordingDuration", "7",
		"RecordingChannels", "2", "RecordingSource", "RecordVerb")
)

// read is one parser with its result as any, to have all of them in one table.
func read[T any](parse func(url.Values) (T, error)) func(url.Values) (any, error) {
	return func(f url.Values) (any, error) { return parse(f) }
}

var (
	voice     = read(twilio.ParseVoiceRequest)
	action    = read(twilio.ParseRelayAction)
	status    = read(twilio.ParseCallStatus)
	message   = read(twilio.ParseMessageStatus)
	inbound   = read(twilio.ParseInboundMessage)
	recording = read(twilio.ParseRecordingStatus)
)

func TestFormsAreRead(t *testing.T) {
	t.Parallel()
	from, to := "+18005550100", "+18005550101"
	tests := map[string]struct {
		read func(url.Values) (any, error)
		form url.Values
		want any
	}{
		"call": {voice, voiceForm, twilio.VoiceRequest{
			CallSID: callSID, AccountSID: accountSID, From: from, To: to, Status: "ringing", Direction: "inbound",
			ForwardedFrom: "+18005550102", CallerName: "ANNE É", Verification: "TN-Validation-Passed-A",
		}},
		"call without a number": {voice, form("CallSid", callSID, "AccountSid", accountSID, "To", to), twilio.VoiceRequest{
			CallSID: callSID, AccountSID: accountSID, From: "anonymous", To: to,
		}},
		"call whose number is withheld": {voice, form("CallSid", callSID, "AccountSid", accountSID, "From", "Restricted", "To", to), twilio.VoiceRequest{
			CallSID: callSID, AccountSID: accountSID, From: twilio.Withheld, To: to,
		}},
		"call whose number is withheld, as on a keypad": {voice, form("CallSid", callSID, "AccountSid", accountSID, "From", "+7378742883", "To", to), twilio.VoiceRequest{
			CallSID: callSID, AccountSID: accountSID, From: twilio.Withheld, To: to,
		}},
		"call at the fallback address": {
			voice, form("CallSid", callSID, "AccountSid", accountSID, "From", "sip:a@b.example", "To", to, "ErrorCode", "11200", "ErrorUrl", "https://h.example/twilio/voice"),
			twilio.VoiceRequest{CallSID: callSID, AccountSID: accountSID, From: "sip:a@b.example", To: to, ErrorCode: 11200, ErrorURL: "https://h.example/twilio/voice"},
		},
		"session ended by us": {action, actionForm, twilio.RelayAction{
			CallSID: callSID, AccountSID: accountSID, From: from, To: to, Status: "in-progress", SessionID: sessionSID,
			SessionStatus: "ended", SessionSeconds: 25, HandoffData: `{"to":"sales"}`,
		}},
		"session failed": {
			action, changed(actionForm, "SessionStatus", "failed", "HandoffData", "", "ErrorCode", "39001", "ErrorMessage", "Network connection to WebSocket server failed."),
			twilio.RelayAction{
				CallSID: callSID, AccountSID: accountSID, From: from, To: to, Status: "in-progress", SessionID: sessionSID,
				SessionStatus: "failed", SessionSeconds: 25, ErrorCode: 39001, ErrorMessage: "Network connection to WebSocket server failed.",
			},
		},
		"dial over": {
			action, form("CallSid", callSID, "AccountSid", accountSID, "CallStatus", "in-progress", "DialCallStatus", "completed", "DialCallSid", callSID, "DialCallDuration", "9"),
			twilio.RelayAction{CallSID: callSID, AccountSID: accountSID, Status: "in-progress", DialStatus: "completed", DialCallSID: callSID, DialSeconds: 9},
		},
		"call completed": {status, statusForm, twilio.CallStatus{
			CallSID: callSID, AccountSID: accountSID, From: from, To: to, Direction: "inbound", Status: "completed",
			Sequence: 3, Seconds: 61, At: time.Date(2026, 11, 23, 14, 3, 5, 0, time.UTC),
		}},
		"call completed, details unreadable": {
			status, form("CallSid", callSID, "AccountSid", accountSID, "CallStatus", "completed", "SequenceNumber", "x", "CallDuration", "1e99", "Timestamp", "soon", "SipResponseCode", "-5"),
			twilio.CallStatus{CallSID: callSID, AccountSID: accountSID, Status: "completed", Seconds: 1<<31 - 1},
		},
		"text undelivered": {message, messageForm, twilio.MessageStatus{
			MessageSID: messageSID, AccountSID: accountSID, From: to, To: from, Status: "undelivered", ErrorCode: 30003,
		}},
		"text in": {inbound, inboundForm, twilio.InboundMessage{
			MessageSID: messageSID, AccountSID: accountSID, From: from, To: to, Body: "See you at 5 ☎",
		}},
		"text with a character no database holds": {
			inbound, changed(inboundForm, "Body", "See\x00 you"),
			twilio.InboundMessage{MessageSID: messageSID, AccountSID: accountSID, From: from, To: to, Body: "See you"},
		},
		"picture in": {
			inbound, changed(inboundForm, "MessageSid", "MM"+messageSID[2:], "Body", "", "NumMedia", "2"),
			twilio.InboundMessage{MessageSID: "MM" + messageSID[2:], AccountSID: accountSID, From: from, To: to, Media: 2},
		},
		"recording": {recording, recordingForm, twilio.RecordingStatus{
			CallSID: callSID, AccountSID: accountSID, RecordingSID: recordingSID, URL: "https://api.twilio.com/2010-04-01/Recordings/" + recordingSID,
			Status: "completed", Seconds: 7, Channels: 2, Source: "RecordVerb",
		}},
		"recording absent": {
			recording, form("CallSid", callSID, "AccountSid", accountSID, "RecordingSid", recordingSID, "RecordingStatus", "absent"),
			twilio.RecordingStatus{CallSID: callSID, AccountSID: accountSID, RecordingSID: recordingSID, Status: "absent"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.read(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestFormsAreRefused(t *testing.T) {
	t.Parallel()
	const secret = "+18005550199"
	tests := map[string]struct {
		read  func(url.Values) (any, error)
		form  url.Values
		wants string // what the error says
	}{
		"nothing at all":        {voice, nil, "CallSid is no CA identifier\nAccountSid is no AC identifier\nTo is missing"},
		"call sid with a dot":   {voice, changed(voiceForm, "CallSid", "CA0123456789abcdef.123456789ABCDEF"), "CallSid is no CA"},
		"call sid too short":    {voice, changed(voiceForm, "CallSid", callSID[:33]), "CallSid is no CA"},
		"call sid and newline":  {voice, changed(voiceForm, "CallSid", callSID+"\n"), "CallSid is no CA"},
		"account sid of a call": {voice, changed(voiceForm, "AccountSid", callSID), "AccountSid is no AC"},
		"nobody called":         {voice, changed(voiceForm, "To", ""), "To is missing"},
		"caller not utf-8":      {voice, changed(voiceForm, "From", secret+"\xff"), "From is not UTF-8"},
		"caller too long":       {voice, changed(voiceForm, "From", strings.Repeat(secret, 50)), "From is too long"},
		"called too long":       {voice, changed(voiceForm, "To", strings.Repeat(secret, 50)), "To is too long"},
		"action without call":   {action, changed(actionForm, "CallSid", ""), "CallSid is no CA"},
		"action, odd other leg": {action, changed(actionForm, "DialCallSid", secret), "DialCallSid is no CA"},
		"action, data too long": {action, changed(actionForm, "HandoffData", strings.Repeat("x", 16<<10+1)), "HandoffData is too long"},
		"status without call":   {status, changed(statusForm, "CallSid", ""), "CallSid is no CA"},
		"status without status": {status, changed(statusForm, "CallStatus", ""), "CallStatus is missing"},
		"message without sid":   {message, changed(messageForm, "MessageSid", ""), "MessageSid is no SM or MM"},
		"message, state absent": {message, changed(messageForm, "MessageStatus", ""), "MessageStatus is missing"},
		"text from nobody":      {inbound, changed(inboundForm, "From", ""), "From is missing"},
		"text to nobody":        {inbound, changed(inboundForm, "To", ""), "To is missing"},
		"text not utf-8":        {inbound, changed(inboundForm, "Body", secret+"\xc3("), "Body is not UTF-8"},
		"text of another kind":  {inbound, changed(inboundForm, "MessageSid", callSID), "MessageSid is no SM or MM"},
		"recording without sid": {recording, changed(recordingForm, "RecordingSid", ""), "RecordingSid is no RE"},
		"recording of no call":  {recording, changed(recordingForm, "CallSid", ""), "CallSid is no CA"},
		"recording nowhere":     {recording, changed(recordingForm, "RecordingUrl", ""), "RecordingUrl is no web address"},
		"recording in a file":   {recording, changed(recordingForm, "RecordingUrl", "file:///etc/passwd"), "RecordingUrl is no web address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tt.read(tt.form)
			if err == nil {
				t.Fatalf("read as %+v", got)
			}
			if !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("error %q does not say %q", err, tt.wants)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error tells the number: %v", err)
			}
		})
	}
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	tests := []struct{ body, optOut, want string }{
		{"STOP", "", twilio.KeywordStop},
		{" stop\n", "", twilio.KeywordStop},
		{"Unsubscribe", "", twilio.KeywordStop},
		{"stopall", "", twilio.KeywordStop},
		{"end", "", twilio.KeywordStop},
		{"quit", "", twilio.KeywordStop},
		{"revoke", "", twilio.KeywordStop},
		{"optout", "", twilio.KeywordStop},
		{"Cancel", "", twilio.KeywordStop},
		{"start", "", twilio.KeywordStart},
		{"yes", "", twilio.KeywordStart},
		{"unstop", "", twilio.KeywordStart},
		{"help", "", twilio.KeywordHelp},
		{"info", "", twilio.KeywordHelp},
		{"please stop", "", ""},
		{"stop calling my wife", "", ""},
		{"", "", ""},
		{"arrêt", "STOP", twilio.KeywordStop},
		{"arrêt", "", ""},
		{"oui", "START", twilio.KeywordStart},
		{"stop", "HELP", twilio.KeywordHelp},
	}
	for _, tt := range tests {
		if got := (twilio.InboundMessage{Body: tt.body, OptOut: tt.optOut}).Keyword(); got != tt.want {
			t.Errorf("%q with opt-out %q is %q, want %q", tt.body, tt.optOut, got, tt.want)
		}
	}
}

func TestStates(t *testing.T) {
	t.Parallel()
	t.Run("calls", func(t *testing.T) {
		t.Parallel()
		for state, over := range map[string]bool{
			"queued": false, "initiated": false, "ringing": false, "in-progress": false, "new": false,
			"completed": true, "busy": true, "failed": true, "no-answer": true, "canceled": true,
		} {
			if got := (twilio.CallStatus{Status: state}).Over(); got != over {
				t.Errorf("%s over: %v, want %v", state, got, over)
			}
		}
	})
	t.Run("texts", func(t *testing.T) {
		t.Parallel()
		rank := -2
		for _, same := range [][]string{{"new"}, {"accepted", "scheduled"}, {"queued"}, {"sending"}, {"sent"}, {"delivered", "undelivered", "failed", "canceled"}, {"read"}} {
			first := twilio.MessageStatus{Status: same[0]}.Rank()
			if first <= rank {
				t.Errorf("%s has rank %d, not above %d", same[0], first, rank)
			}
			rank = first
			for _, state := range same {
				s := twilio.MessageStatus{Status: state}
				if s.Rank() != rank {
					t.Errorf("%s has rank %d, %s %d", state, s.Rank(), same[0], rank)
				}
				if want := state == "delivered" || state == "read"; s.Delivered() != want {
					t.Errorf("%s delivered: %v", state, !want)
				}
				if want := state == "undelivered" || state == "failed" || state == "canceled"; s.Failed() != want {
					t.Errorf("%s failed: %v", state, !want)
				}
			}
		}
	})
}

// FuzzVoiceRequest reads arbitrary forms: what is accepted must be fit for a
// subject, an event and a log.
func FuzzVoiceRequest(f *testing.F) {
	f.Add(voiceForm.Encode())
	f.Add("CallSid=" + callSID + "&AccountSid=" + accountSID + "&To=%2B1&From=%ff&ErrorCode=1e999")
	f.Add("CallSid=CA&CallSid=" + callSID + "&To=;")
	f.Fuzz(func(t *testing.T, encoded string) {
		values, _ := url.ParseQuery(encoded)
		v, err := twilio.ParseVoiceRequest(values)
		if err != nil {
			return
		}
		if !twilio.ValidSID("CA", v.CallSID) || !twilio.ValidSID("AC", v.AccountSID) || v.From == "" || v.To == "" || v.ErrorCode < 0 {
			t.Fatalf("accepted %+v", v)
		}
		for _, s := range []string{v.From, v.To, v.Status, v.Direction, v.ForwardedFrom, v.CallerName, v.Verification, v.ErrorURL} {
			if !utf8.ValidString(s) || strings.Contains(s, "\x00") || len(s) > 2<<10 {
				t.Fatalf("accepted %q", s)
			}
		}
	})
}
