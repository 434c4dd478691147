package mask_test

import (
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
	all := conversations(t)
	masked, have := map[string]int{}, map[string]int{}
	plain, changed := 0, 0
	for _, turns := range all {
		c := mask.New()
		for _, l := range turns {
			text := strings.Join(l.tokens, " ")
			m := c.Caller(text, false)
			unlabelled := true
			left := " " + m.Text + " "
			for i, label := range l.labels {
				unlabelled = unlabelled && label == "O"
				if digitsIn(l.tokens[i]) < 4 {
					continue
				}
				have[label]++
				if !strings.Contains(left, " "+l.tokens[i]+" ") {
					masked[label]++
					if label != "ssn" && label != "card_number" && label != "account_number" {
						t.Logf("masked %s: %q => %q %+v", label, text, m.Text, m.Found)
					}
				} else if label == "ssn" || label == "card_number" || label == "account_number" {
					t.Logf("left %s: %q => %q", label, text, m.Text)
				}
			}
			if unlabelled {
				plain++
				if m.Text != text {
					changed++
					t.Logf("changed: %q => %q", text, m.Text)
				}
			}
		}
	}
	for label, n := range have {
		t.Logf("%s: %d of %d masked, %.4f", label, masked[label], n, float64(masked[label])/float64(n))
	}
	t.Logf("changed without a label: %d of %d, %.4f", changed, plain, float64(changed)/float64(plain))
}
