package events

import (
	"strconv"
	"time"
)

// CallSummarized carries everything derived from one call by the summarizer,
// so that rebuilding what is known about a caller never calls a model.
type CallSummarized struct {
	Caller     string            `json:"caller"` // From of the call
	StartedAt  time.Time         `json:"started_at"`
	EndedAt    time.Time         `json:"ended_at"`
	Seconds    int               `json:"seconds"`
	Reason     string            `json:"reason"` // as in call.ended
	Summary    string            `json:"summary"`
	Topics     []string          `json:"topics"`
	Sentiment  string            `json:"sentiment"`                // positive neutral negative frustrated satisfied
	Resolution string            `json:"resolution"`               // resolved pending escalated unknown
	Stage      string            `json:"stage,omitempty"`          // lead stage the caller's words support; one of Stages
	StageQuote string            `json:"stage_evidence,omitempty"` // the words
	Findings   []Finding         `json:"findings"`
	Rejected   []Reject          `json:"rejected"`
	Messages   []Message         `json:"messages"`
	Style      []Measure         `json:"style"`
	Template   string            `json:"template"` // id of the template the findings' fields belong to
	Producer   Producer          `json:"producer"`
	Revision   int               `json:"revision"`            // 0; a later derivation of the same call counts up
	Via        string            `json:"via,omitempty"`       // see the Via… constants
	Variables  map[string]string `json:"variables,omitempty"` // key facts of a call whose findings are not known
}

// CallRederived: a call was derived once more, by another prompt or model.
// Nothing is made of it until it is adopted, as a CallSummarized of a later
// revision.
type CallRederived struct {
	Run        string         `json:"run"`
	Summarized CallSummarized `json:"summarized"`
	CostMicros int64          `json:"cost_micros,omitempty"` // what the vendor charges, in millionths of a dollar; 0: not known
}

// Finding is one claim about someone, backed by words of the caller that code
// found in the transcript.
type Finding struct {
	Turn       int    `json:"turn"`             // the caller's turn quoted
	Evidence   string `json:"evidence"`         // verbatim words of that turn
	Subject    string `json:"subject"`          // caller, spouse, child, other
	Field      string `json:"field"`            // "personal.name", "policies.auto_1.make", or "memory.<key>"
	Value      string `json:"value"`            // normalised by the field's type
	Confidence string `json:"confidence"`       // stated, implied
	Sealed     string `json:"sealed,omitempty"` // of a Value that is a mark: what it stands for, as in turn.heard
	Gone       bool   `json:"gone,omitempty"`   // it was so, and is no longer: the car was sold
}

// Reject is a claim of the model that code did not accept.
type Reject struct {
	Finding Finding `json:"finding"`
	Reason  string  `json:"reason"` // quote_not_found, wrong_speaker, wrong_subject, unknown_field, bad_value, not_supported, sensitive
}

// Message is a message the caller left (see message.taken).
type Message struct {
	For      string `json:"for,omitempty"`
	Text     string `json:"text"`
	Callback string `json:"callback,omitempty"`
}

// Measure is one observed trait of how the caller talked in this call, from
// the text alone. Micros is the value times a million, so sums are exact.
type Measure struct {
	Metric string `json:"metric"`
	Micros int64  `json:"micros"` // 0 to 100_000_000
}

// Producer says who made a derived fact, and of what.
type Producer struct {
	Model     string `json:"model"` // as the vendor named it; empty: made by rules, no model asked
	Simulated bool   `json:"simulated,omitempty"`
	PromptSHA string `json:"prompt_sha256,omitempty"`
	SchemaSHA string `json:"schema_sha256,omitempty"`
	InputSHA  string `json:"input_sha256,omitempty"`
	Raw       string `json:"raw,omitempty"` // the model's own output, unedited
	TokensIn  int    `json:"tokens_in,omitempty"`
	TokensOut int    `json:"tokens_out,omitempty"`
}

// Stages of a lead, in order; Lost may follow any of them.
var Stages = []string{"First Contact", "Follow-up", "Quote Sent", "Application", "Underwriting", "Closed/Bound", "Lost"}

// LeadStaged: someone moved a caller's lead to a stage.
type LeadStaged struct {
	Caller string `json:"caller"`
	Stage  string `json:"stage"`
	By     string `json:"by"` // "staff:<id>", "api:<key>"
	Reason string `json:"reason,omitempty"`
	Nth    string `json:"nth"` // made by whoever states it; tells two moves to the same stage apart
}

// MemoryStored: something worth remembering about a caller was stated to us
// other than in a call we summarized (by staff, by API, by import).
type MemoryStored struct {
	Memory   string     `json:"memory"` // id
	Caller   string     `json:"caller"` // or Shared
	Type     string     `json:"type"`
	Key      string     `json:"key"`
	Value    string     `json:"value"` // JSON text
	Content  string     `json:"content,omitempty"`
	Origin   string     `json:"origin"` // api, staff, import
	By       string     `json:"by,omitempty"`
	Evidence string     `json:"evidence,omitempty"` // the words it rests on
	Call     string     `json:"call,omitempty"`     // it is of, if any
	Expires  *time.Time `json:"expires_at,omitempty"`
}

// MemoryForgotten: the memory is no longer to be used or shown.
type MemoryForgotten struct {
	Memory string `json:"memory"`
	Caller string `json:"caller"`
	By     string `json:"by"`
}

// CallerCorrected: staff stated the right value of a profile field. It
// outranks what calls say about it, before and after.
type CallerCorrected struct {
	Caller string `json:"caller"`
	Field  string `json:"field"`
	Value  string `json:"value"` // empty: the field is to be empty
	By     string `json:"by"`
	Nth    string `json:"nth"`
	Reason string `json:"reason,omitempty"`
}

// CallerImported: what another system knew about a caller, apart from its calls
// and memories. The newest word of a source counts.
type CallerImported struct {
	Caller   string            `json:"caller"`
	Source   string            `json:"source"` // names the import
	Digest   string            `json:"digest"` // of what is stated
	First    time.Time         `json:"first_call_at"`
	Last     time.Time         `json:"last_call_at"`
	Calls    int               `json:"calls"` // beyond those imported one by one
	KnownAs  string            `json:"name,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"` // by path
	Averages []ImportedAverage `json:"averages,omitempty"`
}

// ImportedAverage is one trait over calls that were not imported one by one.
type ImportedAverage struct {
	Metric string `json:"metric"`
	N      int64  `json:"n"`
	Sum    int64  `json:"sum_micros"`
}

// CallerErased: everything known about a caller was erased. Ref is a keyed
// hash; the number itself is gone.
type CallerErased struct {
	Ref   string   `json:"ref"`
	By    string   `json:"by"`
	Calls []string `json:"calls,omitempty"` // that went with it; what else comes of them is left out
	// Erasure tells one erasure of the same caller from another. What was true of
	// them until the event's time is left out, whenever it is stored.
	Erasure string `json:"erasure,omitempty"`
}

// Name is "call.summarized".
func (CallSummarized) Name() string { return "call.summarized" }

// Name is "call.rederived".
func (CallRederived) Name() string { return "call.rederived" }

// Name is "caller.imported".
func (CallerImported) Name() string { return "caller.imported" }

// Name is "lead.staged".
func (LeadStaged) Name() string { return "lead.staged" }

// Name is "memory.stored".
func (MemoryStored) Name() string { return "memory.stored" }

// Name is "memory.forgotten".
func (MemoryForgotten) Name() string { return "memory.forgotten" }

// Name is "caller.corrected".
func (CallerCorrected) Name() string { return "caller.corrected" }

// Name is "caller.erased".
func (CallerErased) Name() string { return "caller.erased" }

func (f CallSummarized) identity() []string { return []string{strconv.Itoa(f.Revision)} }
func (f CallRederived) identity() []string {
	return []string{f.Run, strconv.Itoa(f.Summarized.Revision)}
}
func (f CallerImported) identity() []string  { return []string{f.Caller, f.Source, f.Digest} }
func (f LeadStaged) identity() []string      { return []string{f.Caller, f.Stage, f.Nth} }
func (f MemoryStored) identity() []string    { return []string{f.Memory} }
func (f MemoryForgotten) identity() []string { return []string{f.Memory} }
func (f CallerCorrected) identity() []string { return []string{f.Caller, f.Field, f.Nth} }
func (f CallerErased) identity() []string {
	if f.Erasure == "" { // as it was before there was one
		return []string{f.Ref}
	}
	return []string{f.Ref, f.Erasure}
}
