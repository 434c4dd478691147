package events

// Stream holds every fact of every tenant.
const Stream = "EVENTS"

// Nouns of the facts; the stream captures tenant.*.<noun>.* for each.
var Nouns = []string{"call", "turn", "message", "memory", "caller", "sms", "lead", "erasure", "settings"}

// Catalog lists one empty value of every fact there is. The schema, golden and
// README checks are drawn from it, and the bus decodes nothing else.
var Catalog = []Fact{
	CallReceived{},
	CallAnswered{},
	TurnHeard{},
	TurnSpoken{},
	MessageTaken{},
	CallTransferred{},
	CallRecorded{},
	CallEnded{},
	CallSummarized{},
	CallRederived{},
	CallErased{},
	MemoryStored{},
	MemoryForgotten{},
	CallerCorrected{},
	CallerImported{},
	CallerErased{},
	SMSRequested{},
	SMSSent{},
	SMSDelivered{},
	SMSFailed{},
	SMSReceived{},
	SMSOptedOut{},
	SMSOptedIn{},
	SMSErased{},
	LeadStaged{},
	ErasureRequested{},
	SettingsChanged{},
}
