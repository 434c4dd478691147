package mask_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"neurosphere.ai/neurosphere/internal/mask"
)

func FuzzCaller(f *testing.F) {
	for _, s := range []string{
		"my social is 123-45-6789", "four one one one", "card 4111 1111 1111 1111, exp 08/27", "oh double", "twenty", "[CARD]", "pvx 752198306",
		"$4,500.00 on 12/25/2018 at 3:30", "१२३४ ५६७८", "last 4 digits 1234 and 5678 instead of 9", "\xff12345678", "triple double one", "my pin is", "a1b2c3d4e5f6g7",
	} {
		f.Add("What is your card number?", s, false)
		f.Add("", s, true)
	}
	f.Fuzz(func(t *testing.T, agent, caller string, keys bool) {
		c := mask.New()
		c.Agent(agent)
		m := c.Caller(caller, keys)
		if m.Text == mask.Withheld {
			t.Fatalf("%q cannot be looked at", caller)
		}
		if !utf8.ValidString(m.Text) || len(m.Text) > 8*len(caller)+16 {
			t.Fatalf("%q becomes %q", caller, m.Text)
		}
		marks := 0
		for _, found := range m.Found {
			if !strings.Contains(m.Text, found.Mark) {
				t.Fatalf("%s is not in %q", found.Mark, m.Text)
			}
			if found.Value != "" && found.Kind != "policy" && found.Kind != "claim" {
				t.Fatalf("a value of kind %s is kept", found.Kind)
			}
			marks++
		}
		if marks > 0 && digitsIn(m.Text) > digitsIn(caller) {
			t.Fatalf("%q becomes %q", caller, m.Text)
		}
		if again := mask.New().Caller(m.Text, false); marks > 0 && agent == "" && !keys && again.Text != m.Text {
			t.Fatalf("%q becomes %q and then %q", caller, m.Text, again.Text)
		}
	})
}

func BenchmarkCaller(b *testing.B) {
	for name, text := range map[string]string{
		"no number": "Hi there, I would like to know when somebody can have a look at the roof, please.",
		"a card":    "Sure, it is four one one one, 1111, double one double one, 1111, and the social is 123-45-6789.",
	} {
		b.Run(name, func(b *testing.B) {
			c := mask.New()
			b.ReportAllocs()
			for b.Loop() {
				c.Agent("Could you read me the number on the front of your card?")
				c.Caller(text, false)
			}
		})
	}
}
