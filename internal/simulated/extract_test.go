package simulated

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type document = map[string]any

func findingsOf(t *testing.T, turns []document) findingsDocument {
	t.Helper()
	fields := []document{}
	for _, f := range []string{"personal.name", "personal.phone", "personal.email", "personal.address", "policies.auto_1.year", "policies.auto_1.make", "policies.auto_1.model", "family.spouse_name"} {
		fields = append(fields, document{"path": f, "type": "text"})
	}
	raw, err := json.Marshal(document{"agent": "Mia", "fields": fields, "turns": turns})
	if err != nil {
		t.Fatal(err)
	}
	out, err := extract(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	var d findingsDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func lastValue(d findingsDocument, field string) string {
	v := ""
	for _, f := range d.Findings {
		if f.Field == field {
			v = f.Value
		}
	}
	return v
}

func TestExtractsWhatCallersStateOfThemselves(t *testing.T) {
	for name, tc := range map[string]struct{ asked, said, field, want string }{
		"introduction":       {"", "Hello, this is Nadia Farouk speaking.", "personal.name", "Nadia Farouk"},
		"my name":            {"", "Sure, my name is Tom Ellery, and I need help.", "personal.name", "Tom Ellery"},
		"asked":              {"May I have your full name?", "Grace O'Neill.", "personal.name", "Grace O'Neill"},
		"lower case":         {"", "my name is jorge luna", "personal.name", "Jorge Luna"},
		"nobody":             {"", "I'm Calling about my bill.", "personal.name", ""},
		"other driver":       {"", "His name is Walter Stone and he ran the light.", "personal.name", ""},
		"the agent":          {"", "Hi, is this Mia?", "personal.name", ""},
		"own car":            {"", "I drive a 2020 Honda Civic.", "policies.auto_1.model", "Civic"},
		"another's car":      {"", "I was hit by a red 2011 Ford Focus.", "policies.auto_1.make", ""},
		"spouse":             {"", "My husband Liam is on the policy too.", "family.spouse_name", "Liam"},
		"policy number":      {"", "My policy number is QX-55120.", "memory.policy_number", "QX-55120"},
		"number to call":     {"", "You can reach me at 303-555-0170.", "personal.phone", "303-555-0170"},
		"somebody's number":  {"", "The garage has 303-555-0171.", "personal.phone", ""},
		"address":            {"", "I live at 12 Birch Road with my son.", "personal.address", "12 Birch Road"},
		"place of the crash": {"", "It happened at 12 Birch Road.", "personal.address", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := findingsOf(t, []document{
				{"turn": 0, "role": "agent", "text": tc.asked}, {"turn": 1, "role": "caller", "text": tc.said},
			})
			if got := lastValue(d, tc.field); got != tc.want {
				t.Errorf("%s = %q, want %q (%v)", tc.field, got, tc.want, d.Findings)
			}
			for _, f := range d.Findings {
				if !strings.Contains(tc.said, f.Evidence) {
					t.Errorf("%q is not the caller's words", f.Evidence)
				}
			}
		})
	}
}

// On real claim calls the caller's own name is found, and nobody else's taken
// for it.
func TestNamesInRealClaims(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "insurance-claims.jsonl"))
	if err != nil {
		t.Skipf("no real conversations: %v", err)
	}
	right, all := 0, 0
	for line := range bytes.Lines(raw) {
		var call struct {
			CallID string              `json:"call_id"`
			Turns  []document          `json:"turns"`
			Gold   map[string][]string `json:"gold"`
		}
		if err := json.Unmarshal(line, &call); err != nil {
			t.Fatal(err)
		}
		all++
		n := 0
		for _, turn := range call.Turns {
			if turn["role"] == "caller" {
				n++
			}
			turn["turn"] = n
		}
		name := lastValue(findingsOf(t, call.Turns), "personal.name")
		first, last := call.Gold["ContactInfo.Caller-First Name"], call.Gold["ContactInfo.Caller-Last Name"]
		if len(first) > 0 && len(last) > 0 && name == first[0]+" "+last[0] || len(last) == 0 && strings.Contains(name, " ") {
			right++
		} else {
			t.Logf("%s: %q, gold %v %v", call.CallID, name, first, last)
		}
		for slot, values := range call.Gold {
			if strings.Contains(slot, "Other Driver-") && strings.Contains(slot, "Last Name") && len(values) > 0 && strings.HasSuffix(name, values[0]) {
				t.Errorf("%s: took %q for the caller", call.CallID, name)
			}
		}
	}
	if right < 15 {
		t.Errorf("%d of %d names right, want at least 15", right, all)
	}
	t.Logf("%d of %d names right", right, all)
}

// However an answer is cut, going on from there gives the same words.
func TestAnswersGoOnWhereTheyWereCut(t *testing.T) {
	msgs := []chatMessage{
		{Role: "system", Content: "You are Mia, the AI receptionist of Fig and Sons.\n"},
		{Role: "user", Content: "Hello, my name is Nadia Farouk and my roof leaks."},
	}
	whole := answerTo(chatRequest{Messages: msgs}).text
	for i := 1; i < len(whole); i++ {
		rest := answerTo(chatRequest{Messages: append(msgs[:2:2], chatMessage{Role: "assistant", Content: whole[:i]})}).text
		if whole[:i]+rest != whole {
			t.Fatalf("cut at %d: %q + %q", i, whole[:i], rest)
		}
	}
	if !strings.Contains(whole, "simulated") || !strings.Contains(whole, "roof") {
		t.Errorf("answer does not come from the conversation: %q", whole)
	}
}
