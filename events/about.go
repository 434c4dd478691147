package events

import "time"

// CallerOf is the number of whom a fact is about, as far as it names one itself;
// what was said in a call is of the caller of that.
func CallerOf(f Fact) string {
	switch f := f.(type) {
	case CallReceived:
		return f.From
	case CallEnded:
		return f.From
	case CallSummarized:
		return f.Caller
	case CallRederived:
		return f.Summarized.Caller
	case MemoryStored:
		return f.Caller
	case MemoryForgotten:
		return f.Caller
	case CallerCorrected:
		return f.Caller
	case CallerImported:
		return f.Caller
	case LeadStaged:
		return f.Caller
	case SMSRequested:
		return f.To
	case SMSSent:
		return f.To
	case SMSReceived:
		return f.From
	case SMSOptedOut:
		return f.Number
	case SMSOptedIn:
		return f.Number
	}
	return ""
}

// TextOf is our id of the text whose way a fact tells of; empty for others.
func TextOf(f Fact) string {
	switch f := f.(type) {
	case SMSRequested:
		return f.Message
	case SMSSent:
		return f.Message
	case SMSDelivered:
		return f.Message
	case SMSFailed:
		return f.Message
	}
	return ""
}

// MakesCall reports whether a fact about a caller makes its call one of theirs.
func MakesCall(f Fact) bool {
	switch f.(type) {
	case CallReceived, CallEnded, CallSummarized, CallRederived:
		return true
	}
	return false
}

// TrueSince is when what an event says became true. Of a call that is when it
// began, however late it is summed up.
func TrueSince(e Event) time.Time {
	switch f := e.Fact.(type) {
	case CallEnded:
		return f.StartedAt
	case CallSummarized:
		return f.StartedAt
	case CallRederived:
		return f.Summarized.StartedAt
	}
	return e.Time
}
