package profile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
)

// What a model claims of several calls, right or wrong, ends in a profile of
// the caller's own things.
func TestFromWordsToProfile(t *testing.T) {
	t.Parallel()
	claim := func(field, value, evidence string) events.Finding {
		return events.Finding{Turn: 1, Evidence: evidence, Subject: "caller", Field: field, Value: value, Confidence: "stated"}
	}
	tpl, _ := cars("")
	for i, f := range tpl.Fields {
		if strings.HasSuffix(f.Path, "year") {
			tpl.Fields[i].Type = "int"
		}
	}
	tpl.Extra = []events.Field{{Path: "boat.length", Type: "number", Mode: "max"}}
	car := func(n int, year, model, evidence string) (out []events.Finding) {
		group := fmt.Sprint("policies.auto_", n, ".")
		if year != "" {
			out = append(out, claim(group+"year", year, evidence))
		}
		return append(out, claim(group+"make", "Toyota", evidence), claim(group+"model", model, evidence))
	}
	type said struct {
		words  string
		claims []events.Finding
	}
	const camry = "I drive a 2015 Toyota Camry."
	for what, tc := range map[string]struct {
		calls []said
		want  string
	}{
		"one's own car": {[]said{{camry, car(1, "2015", "Camry", camry)}}, "auto_1.make=Toyota auto_1.model=Camry auto_1.year=2015"},
		"a wife's": {[]said{
			{"My wife drives the Toyota Camry.", car(1, "", "Camry", "My wife drives the Toyota Camry.")},
		}, ""},
		"one's own and a wife's": {[]said{
			{camry, car(1, "2015", "Camry", camry)},
			{"My wife drives the 2019 Toyota Corolla.", car(1, "2019", "Corolla", "My wife drives the 2019 Toyota Corolla.")},
		}, "auto_1.make=Toyota auto_1.model=Camry auto_1.year=2015"},
		"the same one twice, under two numbers": {[]said{
			{camry, car(1, "2015", "Camry", camry)},
			{"It is about my Toyota Camry.", car(2, "", "Camry", "my Toyota Camry")},
		}, "auto_1.make=Toyota auto_1.model=Camry auto_1.year=2015"},
		"two of different years, under one number": {[]said{
			{camry, car(1, "2015", "Camry", camry)},
			{"I also have a 2019 Toyota Camry.", car(1, "2019", "Camry", "I also have a 2019 Toyota Camry.")},
		}, "auto_1.make=Toyota auto_1.model=Camry auto_1.year=2015 auto_2.make=Toyota auto_2.model=Camry auto_2.year=2019"},
		"sold": {[]said{
			{camry, car(1, "2015", "Camry", camry)},
			{"I sold the Toyota Camry.", car(1, "", "Camry", "I sold the Toyota Camry.")},
		}, ""},
		"a field of the tenant's own": {[]said{
			{"My boat has a length of 30 feet.", []events.Finding{claim("boat.length", "30", "a length of 30 feet")}},
			{"The length of my boat is 25 feet.", []events.Finding{claim("boat.length", "25", "length of my boat is 25")}},
		}, "boat.length=30"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: func(string) (events.Template, bool) { return tpl, true }}
			for i, c := range tc.calls {
				call := saidOn(i + 1)
				call.Fact.Findings, call.Fact.Rejected = profile.Gate(profile.GateInput{
					Turns: []profile.Turn{{Turn: 1, Role: "caller", Text: c.words}}, Fields: tpl.All(), StartedAt: on(i + 1),
				}, c.claims)
				in.Calls = append(in.Calls, call)
			}
			slices.Reverse(in.Calls)
			if got := shown(profile.Fold(in)); got != tc.want {
				t.Errorf("\n got %s\nwant %s\nfrom %+v", got, tc.want, in.Calls)
			}
		})
	}
}
