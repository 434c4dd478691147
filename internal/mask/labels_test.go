package mask_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/mask"
)

// labelled is one caller's turn of the labelled conversations.
type labelled struct {
	tokens, labels []string
}

// conversations of callers with a label per word, in order; skips where they are not.
func conversations(tb testing.TB) [][]labelled {
	tb.Helper()
	raw, err := os.ReadFile(shared(tb, "pii-labels.tsv"))
	if err != nil {
		tb.Skipf("no labelled conversations: %v", err)
	}
	var out [][]labelled
	last := ""
	for i, line := range strings.Split(string(raw), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 || len(f) != 5 {
			continue
		}
		l := labelled{strings.Split(f[3], " "), strings.Split(f[4], " ")}
		if len(l.tokens) != len(l.labels) {
			continue
		}
		if id := f[0] + f[1]; id != last {
			out, last = append(out, nil), id
		}
		out[len(out)-1] = append(out[len(out)-1], l)
	}
	return out
}

// shared is a file of the data beside the repository.
func shared(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	for up := dir; ; up = filepath.Dir(up) {
		path := filepath.Join(up, "shared", "data", name)
		if _, err := os.Stat(path); err == nil || up == filepath.Dir(up) {
			return path
		}
	}
}

func digitsIn(s string) (n int) {
	for _, r := range s {
		if r >= '0' && r <= '9' {
			n++
		}
	}
	return n
}

// counts of labelled words of four digits or more, by label.
type counts struct {
	have, masked   map[string]int
	plain, changed int // turns without a label
}

func (n counts) share(label string) float64 { return float64(n.masked[label]) / float64(n.have[label]) }

// tally masks all conversations. Before a turn change may put other words in
// its place, after it answer says what the agent answers; nil: nothing.
func tally(all [][]labelled, change func(labelled) []string, answer func(masked string) string) counts {
	n := counts{have: map[string]int{}, masked: map[string]int{}}
	for _, turns := range all {
		c := mask.New()
		for _, l := range turns {
			tokens := l.tokens
			if change != nil {
				tokens = change(l)
			}
			text := strings.Join(tokens, " ")
			m := c.Caller(text, false)
			n.count(tokens, l.labels, m)
			if !slices.ContainsFunc(l.labels, func(label string) bool { return label != "O" }) {
				n.plain++
				if m.Text != text {
					n.changed++
				}
			}
			if answer != nil {
				c.Agent(answer(m.Text))
			}
		}
	}
	return n
}

func (n counts) count(tokens, labels []string, m mask.Masked) {
	left := " " + m.Text + " "
	kept := slices.ContainsFunc(m.Found, func(f mask.Found) bool { return f.Value != "" })
	for i, label := range labels {
		if digitsIn(tokens[i]) < 4 {
			continue
		}
		n.have[label]++
		if strings.Contains(left, " "+tokens[i]+" ") {
			continue
		}
		n.masked[label]++
		if (label == "policyid" || label == "claimid") && !kept {
			n.masked["lost "+label]++
		}
	}
}

func TestLabelledNumbersAreMasked(t *testing.T) {
	all := conversations(t)
	random := rand.New(rand.NewPCG(1, 2))
	nth := 0
	for name, n := range map[string]counts{
		"without the agent's words": tally(all, nil, nil),
		"by an agent who asks for something else": tally(all, nil, func(masked string) string {
			nth++
			return "I see. So " + masked + ". " + []string{
				"What else should we know?", "Is there a good number to reach you at?", "When did that come up?", "Anything else?",
			}[nth%4]
		}),
		"with other digits": tally(slices.Concat(all, all, all, all), func(l labelled) []string { return otherDigits(random, l) }, nil),
	} {
		t.Run(name, func(t *testing.T) { n.check(t) })
	}
}

// otherDigits are the words with the digits of what is to be masked replaced.
func otherDigits(random *rand.Rand, l labelled) []string {
	out := slices.Clone(l.tokens)
	for i, label := range l.labels {
		if label == "ssn" || label == "card_number" || label == "account_number" {
			out[i] = strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return '0' + random.Int32N(10)
				}
				return r
			}, out[i])
		}
	}
	return out
}

func (n counts) check(t *testing.T) {
	t.Helper()
	for label, least := range map[string]float64{"ssn": .98, "card_number": .99, "account_number": .97} {
		t.Logf("%s: %d of %d masked", label, n.masked[label], n.have[label])
		if n.share(label) < least {
			t.Errorf("%.4f of %s masked, want %.2f", n.share(label), label, least)
		}
	}
	for label, most := range map[string]float64{"car_year": .03, "address": .05, "email_address": 0, "phone_number": .2, "lost policyid": .02, "lost claimid": .02} {
		of := n.have[strings.TrimPrefix(label, "lost ")]
		t.Logf("%s: %d of %d masked", label, n.masked[label], of)
		if float64(n.masked[label]) > most*float64(of) {
			t.Errorf("%d of %d %s masked", n.masked[label], of, label)
		}
	}
	t.Logf("turns without a label changed: %d of %d", n.changed, n.plain)
	if float64(n.changed) > .005*float64(n.plain) {
		t.Errorf("%d of %d turns without a label changed", n.changed, n.plain)
	}
}

// TestCallsWithBothSides: an agent that asks for names, policies, phones and
// dates gets them.
func TestCallsWithBothSides(t *testing.T) {
	raw, err := os.ReadFile(shared(t, "insurance-claims.jsonl"))
	if err != nil {
		t.Skipf("no claims calls: %v", err)
	}
	turns, changed := 0, 0
	for dec := json.NewDecoder(bytes.NewReader(raw)); dec.More(); {
		var call struct {
			Turns []struct{ Role, Text string }
		}
		if err := dec.Decode(&call); err != nil {
			t.Fatal(err)
		}
		c := mask.New()
		for _, said := range call.Turns {
			if said.Role == "agent" {
				c.Agent(said.Text)
				continue
			}
			turns++
			if m := c.Caller(said.Text, false); m.Text != said.Text {
				changed++
			}
		}
	}
	if t.Logf("%d of %d changed", changed, turns); turns == 0 || float64(changed) > .005*float64(turns) {
		t.Errorf("%d of %d turns changed", changed, turns)
	}
}
