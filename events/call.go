package events

import (
	"strconv"
	"strings"
	"time"
)

// CallReceived: Twilio asked what to do with an inbound call and the tenant it
// belongs to is known. Published once per call by ingress, CallSeq 1.
type CallReceived struct {
	From          string `json:"from"` // E.164; "anonymous" when withheld; else an address, such as sip:…
	To            string `json:"to"`   // E.164, the tenant's number
	ForwardedFrom string `json:"forwarded_from,omitempty"`
	Verification  string `json:"verification,omitempty"` // StirVerstat as received
	Via           string `json:"via,omitempty"`          // see the Via… constants
}

// Identified reports whether a caller can be known again: by a phone number, or
// by the name another system had for someone without one. Others share what
// takes the place of a number, and nothing is kept under that.
func Identified(caller string) bool {
	return strings.HasPrefix(caller, "+") || strings.HasPrefix(caller, Legacy)
}

// Legacy begins what stands for a caller whom the old service knew by something
// else than a number.
const Legacy = "legacy:"

// Shared stands in the place of a caller for what is remembered of the business
// as a whole. It is nobody: it has no profile, and is in no list of callers.
const Shared = "shared"

// CallAnswered: the call's first socket is open and the greeting is being
// spoken. Published once per call by ingress; reconnecting does not repeat it.
type CallAnswered struct {
	Session  string `json:"session"`  // ConversationRelay session
	Greeting string `json:"greeting"` // the words the caller is greeted with
}

// TurnHeard is one utterance of the caller, complete.
type TurnHeard struct {
	Turn   int      `json:"turn"` // 1,2,3… among the caller's utterances of this call
	Text   string   `json:"text"`
	Lang   string   `json:"lang,omitempty"`
	Keys   bool     `json:"keys,omitempty"` // keyed on the phone, not spoken
	Sealed []Sealed `json:"sealed,omitempty"`
}

// Sealed is a number that was left out of what was said. Only whoever holds the
// tenant's key can read it.
type Sealed struct {
	Mark  string `json:"mark"`  // what stands for it in the text
	Kind  string `json:"kind"`  // policy, claim, other
	Value string `json:"value"` // base64
}

// TurnSpoken is what the caller really heard of the answer to one turn.
type TurnSpoken struct {
	Turn     int    `json:"turn"` // the turn it answers; 0 is said unasked
	Text     string `json:"text"`
	Cut      bool   `json:"cut,omitempty"`           // the caller interrupted; Text ends there
	Way      string `json:"way,omitempty"`           // "fallback" when no model answered; empty: the model's words
	Attempts int    `json:"attempts,omitempty"`      // workers asked, when more than one
	FirstMS  int    `json:"first_word_ms,omitempty"` // caller's last word to first word sent, milliseconds
}

// CallTransferred: the call is being handed to a person of the tenant, or the
// outcome of that is known.
type CallTransferred struct {
	To      string `json:"to"`                // name of the tenant's transfer rule
	Number  string `json:"number"`            // E.164 dialled
	Reason  string `json:"reason,omitempty"`  // why, in the agent's words
	Outcome string `json:"outcome,omitempty"` // empty: dialling; else completed, busy, no-answer, failed, canceled
	Nth     int    `json:"nth"`               // 1,2,3… among this call's transfers
}

// CallRecorded: Twilio holds a recording of the call.
type CallRecorded struct {
	Recording string `json:"recording"` // RE…
	URL       string `json:"url"`
	Seconds   int    `json:"seconds"`
}

// CallEnded: nobody is on the line any more. Published once per call, after
// every other fact of its owner is stored, so that all of the call's turns lie
// in the stream between FirstSeq and this event's own sequence. FirstSeq is 0
// when the bus was away for the whole call; then StartedAt bounds the search.
// Sequences are a shortcut, good only in the stream the event was written to.
type CallEnded struct {
	From        string    `json:"from"`
	To          string    `json:"to"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at"`
	Seconds     int       `json:"seconds"` // EndedAt - StartedAt, whole seconds
	Reason      string    `json:"reason"`  // see the End… constants
	Turns       int       `json:"turns"`   // caller's utterances
	FirstSeq    uint64    `json:"first_seq"`
	Facts       []uint64  `json:"facts,omitempty"` // sequences of the owner's facts, as far as they were stored by then
	Answered    bool      `json:"answered"`
	Transferred string    `json:"transferred_to,omitempty"` // name of the last transfer rule used
	Via         string    `json:"via,omitempty"`            // see the Via… constants
}

// How a call came to us, where not by phone. Nobody is texted about such a call.
const (
	ViaAPI    = "api"    // its words were handed to us
	ViaImport = "import" // another system had summarized it
)

// Why a call ended.
const (
	EndCaller   = "caller_hung_up"
	EndAgent    = "agent_hung_up"
	EndTransfer = "transferred"
	EndFailed   = "failed"     // Twilio gave up on the connection
	EndLost     = "lost"       // nobody told us; found by the sweeper
	EndRejected = "unanswered" // hung up before the socket opened
)

// MessageTaken: the caller left a message for someone of the tenant.
type MessageTaken struct {
	Turn     int      `json:"turn"`
	For      string   `json:"for,omitempty"`
	Text     string   `json:"text"`
	Callback string   `json:"callback,omitempty"` // number to call back, as stated
	Sealed   []Sealed `json:"sealed,omitempty"`
}

// CallErased: everything about one call was erased. What else comes of it is
// left out.
type CallErased struct {
	By string `json:"by"`
}

// Name is "call.received".
func (CallReceived) Name() string { return "call.received" }

// Name is "call.answered".
func (CallAnswered) Name() string { return "call.answered" }

// Name is "turn.heard".
func (TurnHeard) Name() string { return "turn.heard" }

// Name is "turn.spoken".
func (TurnSpoken) Name() string { return "turn.spoken" }

// Name is "call.transferred".
func (CallTransferred) Name() string { return "call.transferred" }

// Name is "call.recorded".
func (CallRecorded) Name() string { return "call.recorded" }

// Name is "call.ended".
func (CallEnded) Name() string { return "call.ended" }

// Name is "call.erased".
func (CallErased) Name() string { return "call.erased" }

// Name is "message.taken".
func (MessageTaken) Name() string { return "message.taken" }

func (CallReceived) identity() []string { return nil }
func (CallAnswered) identity() []string { return nil }
func (f TurnHeard) identity() []string  { return []string{strconv.Itoa(f.Turn), f.Text} }
func (f TurnSpoken) identity() []string { return []string{strconv.Itoa(f.Turn), f.Text} }
func (f CallTransferred) identity() []string {
	return []string{strconv.Itoa(f.Nth), f.To, f.Outcome}
}
func (f CallRecorded) identity() []string { return []string{f.Recording} }
func (CallEnded) identity() []string      { return nil }
func (CallErased) identity() []string     { return nil }
func (f MessageTaken) identity() []string { return []string{strconv.Itoa(f.Turn), f.For, f.Text} }
