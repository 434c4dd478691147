package profile_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
)

var fields = []events.Field{
	{Path: "personal.name", Type: "text"},
	{Path: "personal.phone", Type: "phone"},
	{Path: "personal.email", Type: "email"},
	{Path: "policies.auto_1.year", Type: "int"},
	{Path: "policies.auto_1.make", Type: "text"},
	{Path: "family.spouse_name", Type: "text"},
	{Path: "status.kind", Type: "enum", Values: []string{"buyer", "seller"}},
	{Path: "financing.max_budget", Type: "number"},
	{Path: "financing.pre_approved", Type: "boolean"},
}

var said = []profile.Turn{
	{Turn: 0, Role: "agent", Text: "Hello, this is Mia."},
	{Turn: 1, Role: "caller", Text: "Hi Mia, my name is Omar Reyes."},
	{Turn: 1, Role: "agent", Text: "So you drive a 2015 Mazda?"},
	{Turn: 2, Role: "caller", Text: "No, my wife Lena drives the Camry. I drive a 2019 Honda, and my budget is 250k."},
	{Turn: 3, Role: "caller", Text: "Call me at 206 555 0142. The other driver was Sam Lund."},
}

func TestGate(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for name, tc := range map[string]struct {
		claim         events.Finding
		value, reason string
		turn          int
	}{
		"own name":                      {events.Finding{Turn: 1, Evidence: "my name is Omar Reyes", Subject: "caller", Field: "personal.name", Value: "Omar Reyes"}, "Omar Reyes", "", 1},
		"punctuation and case differ":   {events.Finding{Turn: 1, Evidence: "MY NAME IS omar reyes", Field: "personal.name", Value: "Omar Reyes"}, "Omar Reyes", "", 1},
		"turn corrected":                {events.Finding{Turn: 3, Evidence: "I drive a 2019 Honda", Field: "policies.auto_1.year", Value: "2019"}, "2019", "", 2},
		"number with a letter":          {events.Finding{Turn: 2, Evidence: "my budget is 250k", Field: "financing.max_budget", Value: "250k"}, "250000", "", 2},
		"phone":                         {events.Finding{Turn: 3, Evidence: "206 555 0142", Field: "personal.phone", Value: "206 555 0142"}, "+12065550142", "", 3},
		"spouse":                        {events.Finding{Turn: 2, Evidence: "my wife Lena", Subject: "spouse", Field: "family.spouse_name", Value: "Lena"}, "Lena", "", 2},
		"somebody else's family":        {events.Finding{Turn: 3, Evidence: "The other driver was Sam Lund", Subject: "neighbour", Field: "family.spouse_name", Value: "Sam"}, "", profile.WrongSubject, 0},
		"more than a value":             {events.Finding{Turn: 3, Evidence: "The other driver was Sam Lund", Subject: "other", Field: "memory.person", Value: strings.Repeat("Sam Lund ", 60)}, "", profile.BadValue, 0},
		"free memory":                   {events.Finding{Turn: 3, Evidence: "The other driver was Sam Lund", Subject: "other", Field: "memory.person", Value: "Sam Lund"}, "Sam Lund", "", 3},
		"never said":                    {events.Finding{Turn: 1, Evidence: "my name is Omar Sharif", Field: "personal.name", Value: "Omar Sharif"}, "", profile.QuoteNotFound, 0},
		"half a word":                   {events.Finding{Turn: 1, Evidence: "name is Omar Rey", Field: "personal.name", Value: "Omar Rey"}, "", profile.QuoteNotFound, 0},
		"no quote":                      {events.Finding{Turn: 1, Field: "personal.name", Value: "Omar"}, "", profile.QuoteNotFound, 0},
		"the agent said it":             {events.Finding{Turn: 1, Evidence: "you drive a 2015 Mazda", Field: "policies.auto_1.make", Value: "Mazda"}, "", profile.WrongSpeaker, 0},
		"somebody else's car":           {events.Finding{Turn: 2, Evidence: "my wife Lena drives the Camry", Subject: "spouse", Field: "policies.auto_1.make", Value: "Camry"}, "", profile.WrongSubject, 0},
		"the agent's name":              {events.Finding{Turn: 1, Evidence: "Hi Mia", Field: "personal.name", Value: "Mia"}, "", profile.WrongSubject, 0},
		"field of no template":          {events.Finding{Turn: 1, Evidence: "my name is Omar Reyes", Field: "personal.religion", Value: "Omar"}, "", profile.UnknownField, 0},
		"value not in the quote":        {events.Finding{Turn: 2, Evidence: "I drive a 2019 Honda", Field: "policies.auto_1.make", Value: "Ferrari"}, "", profile.NotSupported, 0},
		"year that cannot be":           {events.Finding{Turn: 3, Evidence: "206 555 0142", Field: "policies.auto_1.year", Value: "555"}, "", profile.BadValue, 0},
		"value outside the enum":        {events.Finding{Turn: 2, Evidence: "my budget is 250k", Field: "status.kind", Value: "tenant"}, "", profile.BadValue, 0},
		"boolean that is not":           {events.Finding{Turn: 2, Evidence: "my budget is 250k", Field: "financing.pre_approved", Value: "perhaps"}, "", profile.BadValue, 0},
		"memory field with odd letters": {events.Finding{Turn: 2, Evidence: "my budget is 250k", Field: "memory.Bad Key", Value: "250k"}, "", profile.UnknownField, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := profile.GateInput{Turns: said, Fields: fields, Agent: "Mia", StartedAt: at, Zone: time.UTC}
			got, rejected := profile.Gate(in, []events.Finding{tc.claim, tc.claim})
			if tc.reason != "" {
				if len(got) != 0 || len(rejected) != 2 || rejected[0].Reason != tc.reason {
					t.Fatalf("accepted %v, rejected %v, want reason %s", got, rejected, tc.reason)
				}
				return
			}
			if len(got) != 1 || got[0].Value != tc.value || got[0].Turn != tc.turn {
				t.Fatalf("accepted %v, rejected %v, want one %q of turn %d", got, rejected, tc.value, tc.turn)
			}
		})
	}
}

func calls() []profile.Call {
	day := func(d int) time.Time { return time.Date(2026, 1, d, 12, 0, 0, 0, time.UTC) }
	f := func(field, value, confidence string) events.Finding {
		return events.Finding{Turn: 1, Evidence: value, Subject: "caller", Field: field, Value: value, Confidence: confidence}
	}
	c := func(id string, d int, stage string, fs ...events.Finding) profile.Call {
		return profile.Call{ID: id, Fact: events.CallSummarized{
			StartedAt: day(d), Template: "t", Stage: stage, Findings: fs,
			Style: []events.Measure{{Metric: "patience", Micros: int64(d) * 1_000_003}, {Metric: "formality", Micros: int64(d) * 7}},
		}}
	}
	return []profile.Call{
		c("A", 1, "", f("personal.name", "Omar", "stated"), f("policies.auto_1.make", "Honda", "stated"), f("memory.date", "May 3", "stated")),
		c("B", 2, "Quote Sent", f("personal.name", "Omar Reyes", "stated"), f("policies.auto_1.make", "Mazda", "implied")),
		c("C", 3, "First Contact", f("personal.name", "Omar", "stated"), f("policies.auto_1.make", "Volvo", "stated")),
		c("D", 4, "Lost"), c("E", 4, ""), c("F", 5, "Application"),
	}
}

func template(string) (events.Template, bool) {
	return events.Template{ID: "t", BioFormat: "{name} | {address} | Client since {first_call_year} | {policy_count} policies"}, true
}

// Whatever order calls arrive in, and however often, the profile is the same.
func TestFoldDoesNotDependOnArrival(t *testing.T) {
	moves := []profile.Move{{Event: "m1", Stage: "Underwriting", By: "staff:1", At: time.Date(2026, 1, 3, 13, 0, 0, 0, time.UTC)}}
	want := profile.Fold(profile.Input{Calls: calls(), Moves: moves, Template: template})
	for i := range 200 {
		in := append(calls(), calls()[i%3])
		rand.New(rand.NewPCG(uint64(i), 1)).Shuffle(len(in), func(a, b int) { in[a], in[b] = in[b], in[a] })
		if got := profile.Fold(profile.Input{Calls: in, Moves: append(moves, moves...), Template: template}); !reflect.DeepEqual(got, want) {
			t.Fatalf("shuffle %d:\n got %+v\nwant %+v", i, got, want)
		}
	}
}

func TestFoldKeepsWhatWasStated(t *testing.T) {
	c := profile.Fold(profile.Input{Calls: calls(), Template: template})
	if c.Name != "Omar Reyes" {
		t.Errorf("name = %q: a first name replaced the full one", c.Name)
	}
	if k := c.Fields["policies.auto_1.make"]; k.Value != "Volvo" || k.Previous != "Honda" || k.Call != "C" {
		t.Errorf("make = %+v: want Volvo stated in C, before it Honda, never the implied Mazda", k)
	}
	if want := "Omar Reyes | Client since 2026 | 1 policies"; c.QuickBio != want {
		t.Errorf("bio = %q, want %q", c.QuickBio, want)
	}
	if c.Calls != 6 || len(c.Memories) != 1 {
		t.Errorf("%d calls, %d memories", c.Calls, len(c.Memories))
	}
	i := slices.IndexFunc(c.Averages, func(a profile.Average) bool { return a.Metric == "patience" })
	if a := c.Averages[i]; a.N != 6 || a.Sum != 19*1_000_003 || a.Min != 1_000_003 || a.Max != 5*1_000_003 {
		t.Errorf("average = %+v", a)
	}
	one, _, sha1 := c.JSON()
	two, _, sha2 := profile.Fold(profile.Input{Calls: calls(), Template: template}).JSON()
	if string(one) != string(two) || sha1 != sha2 {
		t.Error("the same profile has other bytes")
	}
}

func TestLeadMovesForwardByCallsAndAnywhereByPeople(t *testing.T) {
	stages := func(moves ...profile.Move) (out []string) {
		for _, s := range profile.Fold(profile.Input{Calls: calls(), Moves: moves, Template: template}).Lead {
			out = append(out, s.Stage)
		}
		return out
	}
	if got, want := fmt.Sprint(stages()), "[First Contact Quote Sent Lost Application]"; got != want {
		t.Errorf("by calls: %s, want %s", got, want)
	}
	back := profile.Move{Event: "m", Stage: "First Contact", By: "staff:1", At: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)}
	if got := stages(back); got[len(got)-1] != "First Contact" {
		t.Errorf("staff could not move it back: %v", got)
	}
}

func TestMeasuresNeedThreeTurns(t *testing.T) {
	if m := profile.Measures(said[:2]); len(m) != 0 {
		t.Errorf("measured %v from one turn", m)
	}
	m := profile.Measures(said)
	if len(m) == 0 {
		t.Fatal("nothing measured")
	}
	for _, v := range m {
		if v.Micros < 0 || v.Micros > 100_000_000 {
			t.Errorf("%s = %d", v.Metric, v.Micros)
		}
	}
}

func TestFoldTakesTheLatestRevisionOfACall(t *testing.T) {
	first, second := calls()[0], calls()[0]
	second.Fact.Revision = 1
	second.Fact.Findings = []events.Finding{{Turn: 1, Evidence: "Tesla", Subject: "caller", Field: "policies.auto_1.make", Value: "Tesla", Confidence: "stated"}}
	for name, in := range map[string][]profile.Call{"in order": {first, second}, "the other way round": {second, first}} {
		c := profile.Fold(profile.Input{Calls: in, Template: template})
		if c.Calls != 1 || c.Fields["policies.auto_1.make"].Value != "Tesla" || c.Name != "" || len(c.Memories) != 0 {
			t.Errorf("%s: %d calls, %+v, %d memories", name, c.Calls, c.Fields, len(c.Memories))
		}
	}
}

func TestFoldLetsListsGrow(t *testing.T) {
	lists := func(string) (events.Template, bool) {
		return events.Template{ID: "t", Fields: []events.Field{{Path: "search.areas", Type: "array[text]"}}}, true
	}
	call := func(id string, day int, areas ...string) profile.Call {
		c := profile.Call{ID: id, Fact: events.CallSummarized{Template: "t", StartedAt: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)}}
		for _, a := range areas {
			c.Fact.Findings = append(c.Fact.Findings, events.Finding{Field: "search.areas", Value: a, Subject: "caller", Confidence: "stated", Turn: 1, Evidence: a})
		}
		return c
	}
	k := profile.Fold(profile.Input{Calls: []profile.Call{call("B", 2, "Elm Grove", "oak park"), call("A", 1, "Oak Park")}, Template: lists}).Fields["search.areas"]
	if !slices.Equal(k.Items, []string{"Oak Park", "Elm Grove"}) || k.Value != "Oak Park, Elm Grove" || k.Previous != "Oak Park" || k.Call != "B" {
		t.Errorf("%+v", k)
	}
}

func TestCorrectionsOutrankWhatCallsSay(t *testing.T) {
	at := func(d int) time.Time { return time.Date(2026, 1, d, 18, 0, 0, 0, time.UTC) }
	const field = "policies.auto_1.make"
	right := profile.Correction{Event: "e1", Field: field, Value: "Subaru", By: "staff:1", At: at(2)} // and call C says Volvo on the 3rd
	for name, tc := range map[string]struct {
		corrections     []profile.Correction
		value, previous string
	}{
		"before and after":         {[]profile.Correction{right}, "Subaru", "Honda"},
		"the same one twice":       {[]profile.Correction{right, right}, "Subaru", "Honda"},
		"by the latest of several": {[]profile.Correction{{Event: "e2", Field: field, Value: "Kia", By: "staff:2", At: at(3)}, right}, "Kia", "Subaru"},
		"empty is empty":           {[]profile.Correction{right, {Event: "e3", Field: field, By: "staff:1", At: at(4)}}, "", ""},
		"empty, then right":        {[]profile.Correction{{Event: "e3", Field: field, By: "staff:1", At: at(1)}, right}, "Subaru", ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, ok := profile.Fold(profile.Input{Calls: calls(), Corrections: tc.corrections, Template: template}).Fields[field]
			if k.Value != tc.value || k.Previous != tc.previous || ok != (tc.value != "") || ok && (k.By == "" || k.Call != "" || !k.Stated) {
				t.Errorf("%+v (%v)", k, ok)
			}
		})
	}
}
