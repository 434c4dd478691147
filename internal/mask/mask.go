// Package mask leaves the numbers out of what callers say that must not be
// written down: cards, socials, accounts, PINs. It follows one conversation,
// for what a number is depends on what was asked. Pure.
package mask

// Withheld stands for a turn that could not be looked at.
const Withheld = "[WITHHELD]"

// Masked is what may be written down of what was said.
type Masked struct {
	Text  string
	Found []Found
}

// Found is one number that was left out.
type Found struct {
	Mark  string // what stands for it in the text, such as [CARD]
	Kind  string // card ssn cvv account pin expiry policy claim number
	Value string // of a kind that may be kept, sealed: policy and claim; empty for the others
}

// Conversation masks one conversation, turn by turn, in order. It is not safe
// for concurrent use.
type Conversation struct{}

// New is a conversation nothing was said in yet.
func New() *Conversation { return &Conversation{} }

// Agent takes what the agent said last: what it asks for is what the next
// numbers are.
func (c *Conversation) Agent(text string) {}

// Caller masks what the caller said, or with keys pressed on the phone.
func (c *Conversation) Caller(text string, keys bool) Masked {
	return Masked{Text: text}
}
