// Package mask leaves the numbers out of what callers say that must not be
// written down: cards, socials, accounts, PINs. It follows one conversation,
// because what a number is depends on what was asked. It is pure, and errs
// towards leaving out.
//
// A number is masked when, in this order,
//
//   - its shape leaves no doubt: 13 to 19 digits of a card, 123-45-6789;
//   - the caller names it: "my social is …", "… and the card number …";
//   - the agent asked for it, however many turns it takes to say;
//   - nothing says what it is, and it is as long as such numbers are.
//
// What the caller names as something else, or was asked for as something else,
// stays: phones, dates, amounts, years, addresses, policies and claims.
package mask

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"neurosphere.ai/neurosphere/events"
)

// Withheld stands for a turn that could not be looked at.
const Withheld = "[WITHHELD]"

// Purpose is what values are sealed for (see vault.Seal).
const Purpose = "turn"

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

// Sealed are the numbers that may be kept, for whoever can open what seal has
// sealed; without seal, none is. One that cannot be sealed is dropped, and err
// says so.
func (m Masked) Sealed(seal func(text string) ([]byte, error)) (out []events.Sealed, err error) {
	for _, f := range m.Found {
		if f.Value == "" || seal == nil {
			continue
		}
		raw, failed := seal(f.Value)
		if failed != nil {
			err = fmt.Errorf("seal number: %w", failed)
			continue
		}
		out = append(out, events.Sealed{Mark: f.Mark, Kind: f.Kind, Value: base64.StdEncoding.EncodeToString(raw)})
	}
	return out, err
}

// OnlyMarks reports whether a text says nothing but that something was left
// out: "[POLICY]".
func OnlyMarks(text string) bool {
	found := false
	for _, w := range split(text) {
		found = found || w.what == marked
		if w.what != marked {
			return false
		}
	}
	return found
}

// Conversation masks one conversation, turn by turn, in order. The zero value
// is one nothing was said in yet; a copy goes its own way. It is not safe for
// concurrent use.
type Conversation struct {
	asked   kinds // what the next numbers are, by the agent's question or the caller's announcement
	life    int   // caller turns for which that holds
	own     bool  // announced or begun by the caller, not asked for
	begun   bool  // some of it has been said
	digits  int   // how many
	money   bool  // there was talk of cards or accounts
	insured bool  // of policies or claims
	loose   int   // digits said bit by bit, in turns of nothing else
}

// kinds are several things asked for at once.
type kinds uint16

func (s kinds) has(k kind) bool { return s&(1<<k) != 0 }

func (s *kinds) add(k kind) { *s |= 1 << k }

// secrets reports whether any of them is to be left out.
func (s kinds) secrets() bool { return s>>secret != 0 }

// turnsWaited is how many turns of the caller's an answer is waited for.
const turnsWaited = 3

// New is a conversation nothing was said in yet.
func New() *Conversation { return &Conversation{} }

// Agent takes what the agent said last: what it asks for is what the next
// numbers are.
func (c *Conversation) Agent(text string) {
	defer func() {
		if recover() != nil {
			c.ask(1<<secret, false) // not understood: whatever comes is left out
		}
	}()
	for _, w := range split(text) {
		c.money = c.money || banking[w.low]
		c.insured = c.insured || insurance[w.low]
	}
	switch asks, asked := questions(text); {
	case asks == 1<<secret && c.asked.secrets(): // the last digits once more
	case asks != 0:
		c.ask(asks, false)
	case asked:
		c.ask(0, false)
	}
}

// Caller masks what the caller said, or with keys pressed on the phone. What
// cannot be looked at is withheld.
func (c *Conversation) Caller(text string, keys bool) (m Masked) {
	defer func() {
		if recover() != nil {
			m = Masked{Text: Withheld}
		}
	}()
	if len(text) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = strings.TrimRight(text[:end], "0123456789")
	}
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	t := newTurn(c, text, keys)
	t.judge()
	t.note()
	return t.masked()
}

// ask makes these what the next numbers are.
func (c *Conversation) ask(asked kinds, own bool) {
	c.asked, c.own, c.begun, c.life, c.digits, c.loose = asked, own, false, turnsWaited, 0, 0
}
