package events

// Why a text is sent.
const (
	PurposeSummary = "summary" // the tenant's people are told about a call
	PurposeCaller  = "caller"  // the agent promised the caller a text
)

// SMSRequested asks for one text to one number, sent at most once however
// often it is asked.
type SMSRequested struct {
	Message string `json:"message"` // our id; MessageID
	To      string `json:"to"`      // E.164
	Body    string `json:"body"`
	Purpose string `json:"purpose"`
}

// MessageID of the text for purpose and to that a call leads to. Texts of one
// call with the same purpose, recipient and nth are the same text.
func MessageID(t Tenant, call, purpose, to, nth string) string {
	return Derive("sms", t.String(), call, purpose, to, nth)
}

// SMSSent: Twilio accepted the text.
type SMSSent struct {
	Message string `json:"message"`
	To      string `json:"to"`
	From    string `json:"from"`
	SID     string `json:"sid"` // Twilio's MessageSid
	Purpose string `json:"purpose"`
}

// SMSDelivered: the carrier says the text arrived.
type SMSDelivered struct {
	Message string `json:"message"`
	SID     string `json:"sid"`
}

// SMSFailed: the text will not arrive.
type SMSFailed struct {
	Message string `json:"message"`
	SID     string `json:"sid,omitempty"`  // empty: refused before Twilio took it
	Code    string `json:"code,omitempty"` // Twilio's error code
	Reason  string `json:"reason"`
}

// SMSReceived is a text from someone to the tenant's number.
type SMSReceived struct {
	SID  string `json:"sid"`
	From string `json:"from"`
	To   string `json:"to"`
	Body string `json:"body"`
}

// SMSOptedOut: the number wants no texts from this tenant. Source is the
// MessageSid of the STOP, or our message id when Twilio refused a text for it.
type SMSOptedOut struct {
	Number string `json:"number"`
	Source string `json:"source"`
}

// SMSOptedIn takes an opt-out back.
type SMSOptedIn struct {
	Number string `json:"number"`
	Source string `json:"source"`
}

// SMSErased: what is known of one text went with whom it was to. What else comes
// of it, sent or delivered after they were erased, is left out. Ref is a keyed
// hash of our id of the text, from which the number could be guessed.
type SMSErased struct {
	Ref     string `json:"ref"`
	Erasure string `json:"erasure"` // which it is part of
	By      string `json:"by"`
}

// Name is "sms.requested".
func (SMSRequested) Name() string { return "sms.requested" }

// Name is "sms.sent".
func (SMSSent) Name() string { return "sms.sent" }

// Name is "sms.delivered".
func (SMSDelivered) Name() string { return "sms.delivered" }

// Name is "sms.failed".
func (SMSFailed) Name() string { return "sms.failed" }

// Name is "sms.received".
func (SMSReceived) Name() string { return "sms.received" }

// Name is "sms.opted_out".
func (SMSOptedOut) Name() string { return "sms.opted_out" }

// Name is "sms.opted_in".
func (SMSOptedIn) Name() string { return "sms.opted_in" }

// Name is "sms.erased".
func (SMSErased) Name() string { return "sms.erased" }

func (f SMSRequested) identity() []string { return []string{f.Message} }
func (f SMSSent) identity() []string      { return []string{f.Message} }
func (f SMSDelivered) identity() []string { return []string{f.Message} }
func (f SMSFailed) identity() []string    { return []string{f.Message} }
func (f SMSReceived) identity() []string  { return []string{f.SID} }
func (f SMSOptedOut) identity() []string  { return []string{f.Number, f.Source} }
func (f SMSOptedIn) identity() []string   { return []string{f.Number, f.Source} }
func (f SMSErased) identity() []string    { return []string{f.Ref, f.Erasure} }
