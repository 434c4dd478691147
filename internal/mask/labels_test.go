package mask_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
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

func TestLabelledNumbersAreMasked(t *testing.T) {
	masked, have := map[string]int{}, map[string]int{}
	plain, changed := 0, 0
	for _, turns := range conversations(t) {
		c := mask.New()
		for _, l := range turns {
			text := strings.Join(l.tokens, " ")
			m := c.Caller(text, false)
			left, kept := " "+m.Text+" ", false
			for _, f := range m.Found {
				kept = kept || f.Value != ""
			}
			unlabelled := true
			for i, label := range l.labels {
				unlabelled = unlabelled && label == "O"
				if digitsIn(l.tokens[i]) < 4 {
					continue
				}
				have[label]++
				if !strings.Contains(left, " "+l.tokens[i]+" ") {
					masked[label]++
					if (label == "policyid" || label == "claimid") && !kept {
						masked["lost "+label]++
					}
				}
			}
			if unlabelled {
				plain++
				if m.Text != text {
					changed++
				}
			}
		}
	}
	share := func(label string) float64 { return float64(masked[label]) / float64(have[label]) }
	for label, least := range map[string]float64{"ssn": .98, "card_number": .99, "account_number": .97} {
		t.Logf("%s: %d of %d masked", label, masked[label], have[label])
		if share(label) < least {
			t.Errorf("%.4f of %s masked, want %.2f", share(label), label, least)
		}
	}
	for label, most := range map[string]float64{"car_year": .03, "address": 0, "email_address": 0, "phone_number": .2, "lost policyid": .02, "lost claimid": .02} {
		of := have[strings.TrimPrefix(label, "lost ")]
		t.Logf("%s: %d of %d masked", label, masked[label], of)
		if float64(masked[label]) > most*float64(of) {
			t.Errorf("%d of %d %s masked", masked[label], of, label)
		}
	}
	t.Logf("turns without a label changed: %d of %d", changed, plain)
	if float64(changed) > .005*float64(plain) {
		t.Errorf("%d of %d turns without a label changed", changed, plain)
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
