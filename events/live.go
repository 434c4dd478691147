package events

import "time"

// What ingress and conversation say to each other while a call is live. It
// travels on core subjects tenant.<id>.live.<call>.<verb>; nothing is stored
// and nothing here is a fact.

// Verbs of a live call.
const (
	VerbAsk     = "ask"     // owner → one conversation worker: answer this turn
	VerbGreet   = "greet"   // owner → one conversation worker, request: words to greet with
	VerbAnswer  = "answer"  // worker → owner: beats, words, actions
	VerbCancel  = "cancel"  // owner → all workers: stop answering this turn
	VerbControl = "control" // any ingress → owner, request: the call is over, or owned elsewhere
)

// LiveSubject of one verb of one call.
func LiveSubject(t Tenant, call, verb string) string {
	return "tenant." + t.String() + ".live." + call + "." + verb
}

// LiveWorker is the subject on which a conversation worker can be found for as
// long as it is connected. It is of no tenant and says nothing of any.
func LiveWorker(id string) string { return "worker.conversation." + id }

// LiveFilter matches a verb of every call of every tenant.
func LiveFilter(verb string) string { return "tenant.*.live.*." + verb }

// Ask is everything a worker needs to answer one turn; workers keep nothing
// between turns that they could not do without.
type Ask struct {
	Call      string    `json:"call"`
	Turn      int       `json:"turn"`
	Attempt   int       `json:"attempt"` // 1,2,3…; the owner listens to the newest only
	Caller    string    `json:"caller"`  // as call.received says
	StartedAt time.Time `json:"started_at"`
	History   []Line    `json:"history"`        // oldest first; the last line is the turn to answer
	Said      string    `json:"said,omitempty"` // words of this answer the caller already got from earlier attempts
}

// Roles of a line.
const (
	RoleCaller = "caller"
	RoleAgent  = "agent"
)

// Line is one utterance.
type Line struct {
	Role string `json:"role"`
	Text string `json:"text"`
	Cut  bool   `json:"cut,omitempty"` // the caller interrupted here
}

// Answer is one step of an answer. Steps of one attempt arrive in order.
type Answer struct {
	Turn    int     `json:"turn"`
	Attempt int     `json:"attempt"`
	Kind    string  `json:"kind"`
	Worker  string  `json:"worker,omitempty"` // who says so; names nobody once it is gone
	Text    string  `json:"text,omitempty"`   // of AnswerText: words to speak, spaces kept
	Action  *Action `json:"action,omitempty"` // of AnswerDone
	Reason  string  `json:"reason,omitempty"` // of AnswerFailed: a class, never words of the call
}

// Kinds of an answer step.
const (
	AnswerBeat   = "beat"   // the worker is alive and thinking
	AnswerText   = "text"   // words
	AnswerDone   = "done"   // the answer is complete; do Action once it is spoken
	AnswerFailed = "failed" // this worker has no answer; ask another or give up
	AnswerNobody = "nobody" // the bus's word: no worker is there to ask; of no turn
)

// Why a worker has no answer, where the owner makes a difference.
const (
	ReasonBusy    = "busy"    // it has more than it can take: ask again a little later
	ReasonLeaving = "leaving" // it is shutting down: ask another at once
)

// Action is what the owner does once the answer is spoken.
type Action struct {
	Kind   string `json:"kind"`         // ActionEnd, ActionTransfer
	To     string `json:"to,omitempty"` // name of a transfer rule
	Reason string `json:"reason,omitempty"`
}

// Kinds of action.
const (
	ActionEnd      = "end"
	ActionTransfer = "transfer"
)

// Cancel stops the answer to a turn.
type Cancel struct {
	Turn int `json:"turn"`
}

// Greet asks for the words to greet a caller with; the reply is Greeting.
type Greet struct {
	Call   string `json:"call"`
	Caller string `json:"caller"`
}

// Greeting is empty where the plain greeting will do.
type Greeting struct {
	Text string `json:"text"`
}

// Control tells the owner of a call something another ingress was told.
type Control struct {
	Kind   string    `json:"kind"` // one of the Control… constants
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	Epoch  int64     `json:"epoch,omitempty"` // of the new owner, for ControlTaken
}

// Kinds of control.
const (
	ControlEnded   = "ended"   // Twilio says the call is over
	ControlTaken   = "taken"   // a socket for the call opened elsewhere
	ControlDialled = "dialled" // a transfer has an outcome, in Reason
)
