package ingress

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/mask"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/twilio"
	"neurosphere.ai/neurosphere/internal/vault"
)

// asks lets the agent say something, which the caller has heard.
func asks(c *call, text string) {
	c.ans = newAnswer(c.turn)
	c.ans.said.WriteString(text)
	c.ans.complete = true
}

func TestNumbersAreMaskedBeforeAnybodyGetsThem(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	reg := prometheus.NewRegistry()
	w.metrics = newMetrics(reg)
	var err error
	if w.vault, err = vault.New(strings.Repeat("ab", 32)); err != nil {
		t.Fatal(err)
	}
	c := resumed(w)
	c.heard("I am calling about my claim, ipl 752198306.", "")
	asks(c, "And what is your card number?")
	c.heard("Sure, four one one one", "")
	asks(c, "Go ahead.")
	c.heard("1111 1111 1111", "")
	asks(c, "Now key in your PIN.")
	for _, digit := range "4821#" {
		c.frame(twilio.DTMF{Digit: string(digit)})
	}
	want := []string{"I am calling about my claim, ipl 752198306.", "Sure, [CARD]", "[CARD]", "(pressed on the phone) [PIN]"}
	var heard []string
	for _, l := range c.history {
		if l.Role == events.RoleCaller {
			heard = append(heard, l.Text)
		}
	}
	if !slices.Equal(heard, want) {
		t.Errorf("the model is shown %q, want %q", heard, want)
	}
	for _, e := range stated(t, w, 7) {
		raw, err := json.Marshal(e.Fact)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"four one", "1111", "4821"} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("%s holds %q", raw, secret)
			}
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "neurosphere_numbers_masked_total" {
				counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if len(counted) != 2 || counted["card"] != 2 || counted["pin"] != 1 {
		t.Errorf("counted %v", counted)
	}
}

func TestWhatMayBeKeptIsSealed(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	say := func() events.TurnHeard {
		c := resumed(w)
		c.heard("What about my claim?", "")
		f := events.TurnHeard{Text: "ipl 752198306"}
		c.hide(&f)
		return f
	}
	if f := say(); f.Text != "[POLICY]" || len(f.Sealed) != 0 {
		t.Errorf("without a key: %+v", f)
	}
	v, err := vault.New(strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	w.vault = v
	f := say()
	if f.Text != "[POLICY]" || len(f.Sealed) != 1 || f.Sealed[0].Mark != "[POLICY]" || f.Sealed[0].Kind != "policy" {
		t.Fatalf("%+v", f)
	}
	raw, err := base64.StdEncoding.DecodeString(f.Sealed[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Open(tenant, mask.Purpose, raw); err != nil || got != "ipl 752198306" {
		t.Errorf("opened %q, %v", got, err)
	}
}

// Whoever takes a call over knows from the log what the agent asked for and
// what came of it.
func TestANewOwnerGoesOnMasking(t *testing.T) {
	t.Parallel()
	w := ingress(t, testenv.Bus(t), "one")
	past := []events.Fact{
		events.CallAnswered{Greeting: "Hello."},
		events.TurnHeard{Turn: 1, Text: "I want to pay."},
		events.TurnSpoken{Turn: 1, Text: "What is your card number?"},
		events.TurnHeard{Turn: 2, Text: "It's [CARD]"},
	}
	rebuilt := func(n int) *call {
		c := resumed(w)
		for _, f := range past[:n] {
			c.replay(events.Event{Fact: f})
		}
		return c
	}
	last := func(c *call) string { return c.history[len(c.history)-1].Text }
	c := rebuilt(3)
	c.heard("411", "")
	if last(c) != "[CARD]" {
		t.Errorf("an answer to the former owner's question is written down as %q", last(c))
	}
	c = rebuilt(4)
	c.heard("20 18", "")
	if last(c) != "[CARD]" {
		t.Errorf("the rest of a number is written down as %q", last(c))
	}
	c = rebuilt(4)
	c.fresh = true
	c.heard("It's 4111 1111", "")
	if c.turn != 2 {
		t.Errorf("replayed words became turn %d", c.turn)
	}
}
