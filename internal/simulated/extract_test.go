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
	for _, f := range strings.Fields(`personal.name personal.phone personal.email personal.address policies.auto_1.year policies.auto_1.make
		policies.auto_1.model family.spouse_name status.buyer_or_seller financing.pre_approved financing.max_budget policies.auto_2.model properties.property_1.bedrooms`) {
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

// None of these says the caller's name.
func TestTakesNoOtherNameForTheCallers(t *testing.T) {
	const yourName = "May I have your full name?"
	for rule, cases := range map[string][]struct{ asked, said string }{
		"another person is spoken of": {
			{"", "His full name is Walter Stone and he ran the light."},
			{"", "The other driver, whose name is Walter Stone, ran the light."},
			{"", "Her first name is Anna, she hit me."},
			{"", "The name of the other driver? I think his last name is Stone, and the first name is Walter."},
			{"", "The witness's name was Ann Poe, and the driver's wife? Name is Joan Stone."},
			{"", "The witness name is Bob Ross."},
			{"", "My childhood pet's name is Charlie."},
			{"", "It's Zachary Walker who hit me."},
		},
		"another's own words are repeated": {
			{"", "He told me: I'm Walter Stone, call my insurer."},
			{"", "The guy said I'm Zachary Walker and drove away."},
			{"", "The other driver says my name is Walter Stone, but I'm not him."},
		},
		"the name is somebody's whose the caller is": {
			{"", "I'm Walter's wife."},
			{"", "This is Walter Stone's phone, I am his daughter."},
		},
		"it is denied": {
			{"", "my name is not walter"},
		},
		"it is asked": {
			{"", "This is State Farm, right?"},
			{"", "Hi, this is Mia Carter I'm speaking with?"},
			{"", "You said it's Mia, right? It's Mia Carter?"},
			{yourName, "Why? Hold on."},
		},
		"it is no name": {
			{"", "my name is spelled wrong on the policy"},
			{"", "my name is on the policy"},
			{"", "I'm Canadian."},
			{"", "This is about... this is Ridiculous."},
			{"", "I'm Monday to Friday at work."},
			{"", "This is Bank of America."},
			{yourName, "Honda Civic."},
			{yourName, "Oh My God."},
			{"", "As to the place, it's North Bay."}, // "it" may be anything
		},
	} {
		t.Run(rule, func(t *testing.T) {
			for _, c := range cases {
				d := findingsOf(t, []document{{"turn": 0, "role": "agent", "text": "Hi. " + c.asked}, {"turn": 1, "role": "caller", "text": c.said}})
				if v := lastValue(d, "personal.name"); v != "" {
					t.Errorf("%q (asked %q): the caller is %q", c.said, c.asked, v)
				}
			}
		})
	}
}

func TestTheSameCarIsNoSecondOne(t *testing.T) {
	d := findingsOf(t, []document{
		{"turn": 1, "role": "caller", "text": "I drive a 2020 Honda Civic."},
		{"turn": 2, "role": "caller", "text": "My Honda Civic is scratched."},
		{"turn": 3, "role": "caller", "text": "I have a Honda Accord too."},
	})
	if first, second := lastValue(d, "policies.auto_1.model"), lastValue(d, "policies.auto_2.model"); first != "Civic" || second != "Accord" {
		t.Errorf("cars are %q and %q", first, second)
	}
}

// What is said of others or denied is no fact of the caller's; the same said
// of himself is.
func TestFactsOfOthersAreNotTheCallers(t *testing.T) {
	for _, c := range []struct{ field, others, own string }{
		{"memory.policy_number", "The other driver's policy number is QX-55120.", "She said my policy number is QX-55120."},
		{"personal.phone", "My number is wrong there; the other driver has 303-555-0171.", "The other driver has it; my number is 303-555-0171."},
		{"personal.phone", "Please don't call me at 303-555-0171 any more.", "I don't mind, call me at 303-555-0171."},
		{"personal.email", "The other driver said write to walter@example.com.", "The other driver said so, I am at walter@example.com."},
		{"personal.email", "You can email my lawyer at bob@lawyers.com.", "You can email me at bob@lawyers.com."},
		{"personal.address", "I live next to him, he is at 12 Birch Road.", "He is next door, I live at 12 Birch Road."},
		{"policies.auto_1.make", "I was hit, the guy has a 2011 Ford Focus.", "The guy hit me, I have a 2011 Ford Focus."},
		{"policies.auto_1.make", "My friend Toyota Bob saw it.", "My old Toyota is gone."},
		{"status.buyer_or_seller", "I am not looking to buy.", "I am looking to buy."},
		{"financing.pre_approved", "My sister is pre-approved.", "I'm not sure about the garden, but I am pre-approved."},
		{"financing.max_budget", "Her budget is 300 thousand.", "I do not want a garden and my budget is 300 thousand."},
		{"properties.property_1.bedrooms", "My neighbor has three bedrooms.", "My neighbor has three bedrooms. I need three bedrooms."},
	} {
		t.Run(c.others, func(t *testing.T) {
			for said, want := range map[string]bool{c.others: false, c.own: true} {
				d := findingsOf(t, []document{{"turn": 1, "role": "caller", "text": said}})
				if v := lastValue(d, c.field); (v != "") != want {
					t.Errorf("%q: %s is %q", said, c.field, v)
				}
			}
		})
	}
}

func TestStagesOfTheCallersOwn(t *testing.T) {
	for said, want := range map[string]string{
		"I got the quote.":                                        "Quote Sent",
		"My neighbour got the quote.":                             "",
		"I have not received your quote.":                         "",
		"I would like to apply.":                                  "Application",
		"I am not ready to apply.":                                "",
		"I have signed the contract.":                             "Closed/Bound",
		"I never signed the policy. I have signed the contract.":  "Closed/Bound",
		"My neighbor is not interested anymore but I am.":         "",
		"I'm not interested anymore.":                             "Lost",
		"We are no longer interested, we are going with another.": "Lost",
	} {
		if got := findingsOf(t, []document{{"turn": 1, "role": "caller", "text": said}}).Stage; got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

func TestTheFullestOrLastNameCounts(t *testing.T) {
	for _, c := range []struct{ first, then, want string }{
		{"This is Ann.", "My name is Ann Lee.", "Ann Lee"},
		{"My name is Ann Lee.", "This is Ann.", "Ann Lee"},
		{"My name is Ann Lee.", "Sorry, I meant my name is Ann Marie Lee-Jones.", "Ann Marie Lee-Jones"},
		{"My name is Ann Lee.", "Actually my name is Beth Cohen, I was joking.", "Beth Cohen"},
		{"My name is Ann Lee.", "It's Beth Cohen.", "Ann Lee"},
	} {
		d := findingsOf(t, []document{{"turn": 1, "role": "caller", "text": c.first}, {"turn": 2, "role": "caller", "text": c.then}})
		if got := lastValue(d, "personal.name"); got != c.want {
			t.Errorf("%q, then %q: %q, want %q", c.first, c.then, got, c.want)
		}
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
	if right < 17 {
		t.Errorf("%d of %d names right, want at least 17", right, all)
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
