package twilio

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Lengths that are accepted, in bytes. Twilio's own limits are lower; these only
// keep a mistake from filling logs and events.
const (
	maxWord    = 64       // states, names of countries, verdicts
	maxAddress = 512      // a number, client: or sip: address
	maxText    = 2 << 10  // texts and URLs Twilio writes
	maxBody    = 16 << 10 // texts people and we write
)

// VoiceRequest asks what to do with a call: an inbound call, or the same call
// again at the fallback address.
type VoiceRequest struct {
	CallSID, AccountSID string
	From                string // E.164, or Withheld
	To                  string
	Status              string // "ringing" for an inbound call
	Direction           string
	ForwardedFrom       string
	CallerName          string
	Verification        string // StirVerstat as received
	ErrorCode           int    // at the fallback address: what went wrong before
	ErrorURL            string
}

// ParseVoiceRequest reads the form of a call. Like its siblings it fails when an
// identifier or an address that must be there is not, and on text that is not
// UTF-8 or far too long; numbers and times it cannot read are zero, since no
// call should be lost for them. Errors name the field and never its value.
func ParseVoiceRequest(form url.Values) (VoiceRequest, error) {
	f := fields{form: form}
	v := VoiceRequest{
		CallSID:       f.sid("CallSid", "CA"),
		AccountSID:    f.sid("AccountSid", "AC"),
		From:          caller(f.text("From", maxAddress)),
		To:            f.required("To", maxAddress),
		Status:        f.text("CallStatus", maxWord),
		Direction:     f.text("Direction", maxWord),
		ForwardedFrom: f.text("ForwardedFrom", maxAddress),
		CallerName:    f.text("CallerName", maxText),
		Verification:  f.text("StirVerstat", maxWord),
		ErrorCode:     f.number("ErrorCode"),
		ErrorURL:      f.text("ErrorUrl", maxText),
	}
	return v, f.failed("voice request")
}

// Withheld is the caller of every call whose number is not told.
const Withheld = "anonymous"

// withheld is what carriers and Twilio send in place of a number that is not
// told: a word, or what it is on a keypad.
var withheld = map[string]bool{
	"": true, "anonymous": true, "restricted": true, "blocked": true, "unknown": true, "unavailable": true, "private": true,
	"266696687": true, "7378742833": true, "2562533": true, "8656696": true, "86282452253": true, "7748283": true,
	"7378742883": true, "8566696": true, // Twilio's own spelling of restricted and unknown
}

// caller is who a call is from, in one way for all that do not tell.
func caller(from string) string {
	if withheld[strings.TrimPrefix(strings.ToLower(strings.TrimSpace(from)), "+")] {
		return Withheld
	}
	return from
}

// RelayAction asks what to do next with a call whose ConversationRelay session
// or Dial is over.
type RelayAction struct {
	CallSID, AccountSID string
	From, To            string
	Status              string // of the call: "completed" when the caller has gone

	SessionID      string // VX…
	SessionStatus  string // "ended" by us, "failed", or "completed" by the caller
	SessionSeconds int
	HandoffData    string // as given to End
	ErrorCode      int
	ErrorMessage   string

	DialStatus  string // "completed", "answered", "busy", "no-answer", "failed" or "canceled"
	DialCallSID string // of the other leg; empty when there was none
	DialSeconds int
}

// Reached reports whether a dialled person answered, or the caller has gone.
func (a RelayAction) Reached() bool {
	return a.DialStatus == "completed" || a.DialStatus == "answered" || a.Status == "completed"
}

// ParseRelayAction reads the form of a Connect or Dial action.
func ParseRelayAction(form url.Values) (RelayAction, error) {
	f := fields{form: form}
	a := RelayAction{
		CallSID:        f.sid("CallSid", "CA"),
		AccountSID:     f.sid("AccountSid", "AC"),
		From:           f.text("From", maxAddress),
		To:             f.text("To", maxAddress),
		Status:         f.text("CallStatus", maxWord),
		SessionID:      f.text("SessionId", maxWord),
		SessionStatus:  f.text("SessionStatus", maxWord),
		SessionSeconds: f.number("SessionDuration"),
		HandoffData:    f.text("HandoffData", maxBody),
		ErrorCode:      f.number("ErrorCode"),
		ErrorMessage:   f.text("ErrorMessage", maxText),
		DialStatus:     f.text("DialCallStatus", maxWord),
		DialCallSID:    f.optionalSID("DialCallSid", "CA"),
		DialSeconds:    f.number("DialCallDuration"),
	}
	return a, f.failed("relay action")
}

// CallStatus tells of the progress of a call. Callbacks come in any order, more
// than once, or not at all.
type CallStatus struct {
	CallSID, AccountSID string
	From, To            string
	Direction           string
	Status              string    // see Over
	Sequence            int       // order among the callbacks of the call
	Seconds             int       // duration, once completed
	At                  time.Time // zero when not told
	SIPResponse         int
}

// ParseCallStatus reads the form of a call's status callback.
func ParseCallStatus(form url.Values) (CallStatus, error) {
	f := fields{form: form}
	s := CallStatus{
		CallSID:     f.sid("CallSid", "CA"),
		AccountSID:  f.sid("AccountSid", "AC"),
		From:        f.text("From", maxAddress),
		To:          f.text("To", maxAddress),
		Direction:   f.text("Direction", maxWord),
		Status:      f.required("CallStatus", maxWord),
		Sequence:    f.number("SequenceNumber"),
		Seconds:     f.number("CallDuration"),
		At:          f.time("Timestamp"),
		SIPResponse: f.number("SipResponseCode"),
	}
	return s, f.failed("call status")
}

// Over reports whether the call has ended, one way or another.
func (s CallStatus) Over() bool {
	switch s.Status {
	case "completed", "busy", "failed", "no-answer", "canceled":
		return true
	}
	return false
}

// MessageStatus tells how a text of ours is getting on. Callbacks come in any
// order and more than once; apply only those of a higher Rank.
type MessageStatus struct {
	MessageSID, AccountSID string
	From, To               string
	Status                 string
	ErrorCode              int // of "failed" and "undelivered"
}

// ParseMessageStatus reads the form of a text's status callback.
func ParseMessageStatus(form url.Values) (MessageStatus, error) {
	f := fields{form: form}
	s := MessageStatus{
		MessageSID: f.messageSID(),
		AccountSID: f.sid("AccountSid", "AC"),
		From:       f.text("From", maxAddress),
		To:         f.text("To", maxAddress),
		Status:     f.required("MessageStatus", maxWord),
		ErrorCode:  f.number("ErrorCode"),
	}
	return s, f.failed("message status")
}

// Rank orders the states of a text: a state is never followed by one of a lower
// rank, and 4 and 5 are final. A state this package does not know is -1.
func (s MessageStatus) Rank() int {
	switch s.Status {
	case "accepted", "scheduled":
		return 0
	case "queued":
		return 1
	case "sending":
		return 2
	case "sent":
		return 3
	case "delivered", "undelivered", "failed", "canceled":
		return 4
	case "read":
		return 5
	}
	return -1
}

// Delivered reports whether the text has arrived.
func (s MessageStatus) Delivered() bool { return s.Status == "delivered" || s.Status == "read" }

// Failed reports whether the text will not arrive.
func (s MessageStatus) Failed() bool {
	return s.Status == "failed" || s.Status == "undelivered" || s.Status == "canceled"
}

// InboundMessage is a text someone sent to a number of ours.
type InboundMessage struct {
	MessageSID, AccountSID string
	From, To               string
	Body                   string
	Media                  int    // pictures and the like that came with it
	OptOut                 string // OptOutType: "STOP", "START" or "HELP" when Twilio has handled it
}

// ParseInboundMessage reads the form of an inbound text.
func ParseInboundMessage(form url.Values) (InboundMessage, error) {
	f := fields{form: form}
	m := InboundMessage{
		MessageSID: f.messageSID(),
		AccountSID: f.sid("AccountSid", "AC"),
		From:       f.required("From", maxAddress),
		To:         f.required("To", maxAddress),
		Body:       f.text("Body", maxBody),
		Media:      f.number("NumMedia"),
		OptOut:     f.text("OptOutType", maxWord),
	}
	return m, f.failed("inbound message")
}

// What a text of one word can ask for.
const (
	KeywordStop  = "STOP"
	KeywordStart = "START"
	KeywordHelp  = "HELP"
)

// Keyword is what the text asks for, KeywordStop, KeywordStart or KeywordHelp,
// by Twilio's word for it or by its only word; empty when it is an ordinary
// text.
func (m InboundMessage) Keyword() string {
	word := m.OptOut
	if word == "" {
		word = m.Body
	}
	switch strings.ToUpper(strings.TrimSpace(word)) {
	case "STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "REVOKE", "OPTOUT", "CANCEL":
		return KeywordStop
	case "START", "YES", "UNSTOP":
		return KeywordStart
	case "HELP", "INFO":
		return KeywordHelp
	}
	return ""
}

// RecordingStatus tells of a recording of a call.
type RecordingStatus struct {
	CallSID, AccountSID, RecordingSID string
	URL                               string // http or https
	Status                            string // "in-progress", "completed" or "absent"
	Seconds                           int
	Channels                          int
	Source                            string // "RecordVerb", "StartCallRecordingTwiML" …
}

// ParseRecordingStatus reads the form of a recording's status callback. The URL
// may be missing until the recording is completed.
func ParseRecordingStatus(form url.Values) (RecordingStatus, error) {
	f := fields{form: form}
	s := RecordingStatus{
		CallSID:      f.sid("CallSid", "CA"),
		AccountSID:   f.sid("AccountSid", "AC"),
		RecordingSID: f.sid("RecordingSid", "RE"),
		URL:          f.text("RecordingUrl", maxText),
		Status:       f.required("RecordingStatus", maxWord),
		Seconds:      f.number("RecordingDuration"),
		Channels:     f.number("RecordingChannels"),
		Source:       f.text("RecordingSource", maxWord),
	}
	if !webAddress(s.URL) && (s.URL != "" || s.Status == "completed") {
		f.fail("RecordingUrl", "is no web address")
	}
	return s, f.failed("recording status")
}

func webAddress(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// fields reads a form and remembers everything wrong with it.
type fields struct {
	form     url.Values
	problems []error
}

func (f *fields) fail(key, problem string) {
	f.problems = append(f.problems, errors.New(key+" "+problem))
}

func (f *fields) failed(what string) error {
	if len(f.problems) == 0 {
		return nil
	}
	return fmt.Errorf("read %s: %w", what, errors.Join(f.problems...))
}

func (f *fields) text(key string, limit int) string {
	s := f.form.Get(key)
	switch {
	case len(s) > limit:
		f.fail(key, "is too long")
		return ""
	case !utf8.ValidString(s):
		f.fail(key, "is not UTF-8")
		return ""
	}
	return withoutNUL(s)
}

func (f *fields) required(key string, limit int) string {
	before := len(f.problems)
	s := f.text(key, limit)
	if s == "" && len(f.problems) == before {
		f.fail(key, "is missing")
	}
	return s
}

func (f *fields) sid(key, prefix string) string {
	s := f.form.Get(key)
	if !ValidSID(prefix, s) {
		f.fail(key, "is no "+prefix+" identifier")
		return ""
	}
	return s
}

func (f *fields) optionalSID(key, prefix string) string {
	if f.form.Get(key) == "" {
		return ""
	}
	return f.sid(key, prefix)
}

func (f *fields) messageSID() string {
	s := f.form.Get("MessageSid")
	if !validMessageSID(s) {
		f.fail("MessageSid", "is no SM or MM identifier")
		return ""
	}
	return s
}

// number reads seconds, codes and counts, which all fit an int32.
func (f *fields) number(key string) int {
	const most = 1<<31 - 1
	return int(min(loose(f.form.Get(key)).number(), most))
}

// time reads an RFC 2822 date.
func (f *fields) time(key string) time.Time {
	at, err := mail.ParseDate(f.form.Get(key))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}
