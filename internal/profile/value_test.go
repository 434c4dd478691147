package profile

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Wednesday, 6 May 2026, late in the evening in Chicago: already Thursday in UTC.
var asked = gate{GateInput: GateInput{
	StartedAt: time.Date(2026, 5, 7, 3, 30, 0, 0, time.UTC),
	Zone:      time.FixedZone("CDT", -5*3600),
}}

func TestNumbersAreReadAsSaid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"4,312":                          {"4312"},
		"about 250k":                     {"250000"},
		"a 250 K budget":                 {"250000"},
		"twelve":                         {"12"},
		"twenty-five":                    {"25"},
		"two hundred and fifty thousand": {"250000"},
		"a hundred and twenty":           {"120"},
		"two and a half":                 {"2.5"},
		"1.5 million":                    {"1500000"},
		"twenty nineteen":                {"2019"},
		"nineteen ninety eight":          {"1998"},
		"twenty and nineteen":            {"20", "19"},
		"a 2019 Civic with 3 doors":      {"2019", "3"},
		"three four":                     {"3", "4"},
		"20 15":                          {"20", "15"}, // in digits, years are written whole
		"20 fifteen":                     {"2015"},
		"nineteen":                       {"19"},
		"one hundred two":                {"102"},
		"no number":                      nil,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, n := range numbersIn(text) {
				got = append(got, decimal(n))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestDatesAreMeantOnTheDayOfTheCall(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"2026-05-06":                           {"2026-05-06"},
		"on 3/14/2027":                         {"2027-03-14"},
		"on 3/14/98":                           {"1998-03-14"},
		"March 3rd":                            {"2026-03-03"},
		"the third of March, 2025":             {"2025-03-03"},
		"January 2":                            {"2026-01-02"},
		"December 30":                          {"2025-12-30"}, // the nearest
		"today":                                {"2026-05-06"},
		"tomorrow":                             {"2026-05-07"},
		"the day after tomorrow":               {"2026-05-08"},
		"next Wednesday":                       {"2026-05-13"}, // never today
		"last Wednesday":                       {"2026-04-29"},
		"on Thursday":                          {"2026-05-07"},
		"in two weeks":                         {"2026-05-20"},
		"three days ago":                       {"2026-05-03"},
		"a month ago":                          {"2026-04-06"},
		"between June 1st and June twentieth":  {"2026-06-01", "2026-06-20"},
		"February 30th":                        nil,
		"March 3rd, 1850":                      nil,
		"3/14/2400":                            nil,
		"13/45":                                nil,
		"some day":                             nil,
		"the twenty-first of August, you know": {"2026-08-21"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, d := range asked.datesIn(text) {
				got = append(got, d.value("policies.auto_1.renewal_date"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestValuesHaveOneForm(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		typ, path, value string
		want             string // empty: refused
	}{
		"whole number":                   {"int", "home.beds", "three", "3"},
		"half a whole number":            {"int", "home.beds", "two and a half", ""},
		"fraction":                       {"number", "home.baths", "two and a half", "2.5"},
		"two numbers":                    {"int", "home.beds", "3 or 4", ""},
		"less than nothing":              {"number", "x", "-5", ""},
		"beyond reason":                  {"number", "x", "9999999999999", ""},
		"year":                           {"int", "policies.auto_1.year", "twenty nineteen", "2019"},
		"year by two digits":             {"int", "policies.auto_1.year", "09", "2009"},
		"year of the last century":       {"int", "policies.auto_1.year", "98", "1998"},
		"next year's model":              {"int", "policies.auto_1.year", "2027", "2027"},
		"year to come":                   {"int", "policies.auto_1.year", "2028", ""},
		"phone":                          {"phone", "p", "(206) 555-0142", "+12065550142"},
		"phone in words":                 {"phone", "p", "two oh six five five five oh one four two", "+12065550142"},
		"phone abroad":                   {"phone", "p", "+44 20 7946 0958", "+442079460958"},
		"phone without area":             {"phone", "p", "555 0142", ""},
		"phone too long":                 {"phone", "p", "+1234567890123456", ""},
		"e-mail spelled":                 {"email", "e", "Ann dot Lee at example dot com", "ann.lee@example.com"},
		"e-mail without domain":          {"email", "e", "ann at home", ""},
		"yes":                            {"boolean", "b", "Yes", "true"},
		"perhaps":                        {"boolean", "b", "perhaps", ""},
		"enum in other case":             {"enum[Buyer,Seller]", "s", "buyer", "Buyer"},
		"enum of none":                   {"enum[Buyer,Seller]", "s", "renter", ""},
		"date":                           {"date", "d", "tomorrow", "2026-05-07"},
		"birthday without year":          {"date", "personal.birth_date", "May 3rd", "--05-03"},
		"birthday with year":             {"date", "personal.birth_date", "May 3rd, 1980", "1980-05-03"},
		"text":                           {"text", "t", "Cedar Street", "Cedar Street"},
		"text of nothing but signs":      {"text", "t", "—!", ""},
		"negative amounts spelled ahead": {"number", "x", "about -$5", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := asked.normalise(events.Field{Path: tc.path, Type: tc.typ}, tc.value)
			switch {
			case tc.want == "" && ok && len(got) > 0:
				t.Errorf("%q is let through as %q", tc.value, got)
			case tc.want != "" && (!ok || len(got) != 1 || got[0] != tc.want):
				t.Errorf("%q is %q (%v), want %q", tc.value, got, ok, tc.want)
			}
		})
	}
}

func TestDatesAreTheDaysMeant(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		value, quote string
		want         bool
	}{
		"date meant":                    {"2026-05-07", "tomorrow", true},
		"date not meant":                {"2026-06-07", "tomorrow", false},
		"the weekday of another week":   {"2026-05-15", "on Friday", true},
		"the weekday of another month":  {"2026-06-26", "on Friday", false},
		"another weekday":               {"2026-05-14", "on Friday", false},
		"next year, which was not said": {"2027-03-03", "March 3rd", true},
		"years ago, which was not said": {"1980-03-03", "March 3rd", false},
		"another year than said":        {"2025-03-03", "March 3rd, 2026", false},
		"birthday":                      {"--03-03", "March 3rd", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := asked.dateBacked(tc.value, tc.quote); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestListsBecomeOneFindingEach(t *testing.T) {
	t.Parallel()
	in := GateInput{
		Turns:  []Turn{{Turn: 1, Role: events.RoleCaller, Text: "We looked at Oak Park, Elm Grove and Cedar."}},
		Fields: []events.Field{{Path: "search.areas", Type: "array[text]"}},
	}
	ok, no := Gate(in, []events.Finding{
		{Turn: 1, Field: "search.areas", Value: "Oak Park, Elm Grove and Cedar", Evidence: "Oak Park, Elm Grove and Cedar"},
		{Turn: 1, Field: "search.areas", Value: "cedar", Evidence: "Cedar"},
		{Turn: 1, Field: "search.areas", Value: "Cedar, Birch", Evidence: "Cedar"},
	})
	var got []string
	for _, f := range ok {
		got = append(got, f.Value)
	}
	if strings.Join(got, "|") != "Oak Park|Elm Grove|Cedar" || len(no) != 1 || no[0].Reason != NotSupported {
		t.Errorf("%q, refused %+v", got, no)
	}
}

// Whatever a model claims, the gate ends with each claim let through or refused
// for a reason, the same each time, and quotes words of the caller.
func FuzzGate(f *testing.F) {
	for i, c := range []claimed{
		{turn: "my name is Ann Lee, 206 555 0123, born May 3rd", value: "Ann Lee", quote: "my name is Ann Lee"},
		{asked: "What's your number?", turn: "double oh 206, no, sorry, +1 206 555 0123", value: "206 555 0123", quote: "206"},
		{turn: "it's a n n at b dot com at work", value: "ann@b.com", quote: "at b"},
		{turn: "I don't live at 12B Birch Road. Is it?", value: "12 Birch", quote: "12B Birch"},
		{turn: "tomorrow, in 999 years, 31/31, the thirty first of february", value: "tomorrow", quote: "tomorrow"},
		{turn: "I have, he told me I have, a twenty nineteen point five and a half hundred", value: "2019", quote: "twenty nineteen"},
	} {
		f.Add(c.asked, c.turn, c.value, c.quote, uint8(i))
	}
	fields := append(templateFields[:len(templateFields):len(templateFields)], events.Field{Path: "memory.policy_number"}, events.Field{Path: "memory.note"})
	f.Fuzz(func(t *testing.T, question, text, value, quote string, field uint8) {
		in := GateInput{
			Turns:  []Turn{{Turn: 0, Role: events.RoleAgent, Text: question}, {Turn: 1, Role: events.RoleCaller, Text: text}},
			Fields: templateFields, StartedAt: asked.StartedAt,
		}
		path := fields[int(field)%len(fields)].Path
		claim := []events.Finding{{Turn: 1, Field: path, Subject: subjectFor(path), Value: value, Evidence: quote}}
		ok, no := Gate(in, claim)
		if len(ok) == 0 && len(no) != 1 || len(ok) > 0 && len(no) != 0 {
			t.Errorf("%d let through, %d refused", len(ok), len(no))
		}
		for _, f := range ok {
			if places, _ := newGate(in).quoted(f.Evidence, 1); f.Turn != 1 || f.Value == "" || len(places) == 0 {
				t.Errorf("let through %+v", f)
			}
		}
		if ok2, no2 := Gate(in, claim); !reflect.DeepEqual(ok2, ok) || !reflect.DeepEqual(no2, no) {
			t.Error("not the same twice")
		}
		for _, stage := range events.Stages {
			if _, missing := newGate(in).quoted(quote, 0); Staged(in.Turns, stage, quote) && missing != "" {
				t.Errorf("%s by %q, which the caller did not say", stage, quote)
			}
		}
	})
}

// Numbers and dates are read out of anything, and reading again what was read
// changes nothing.
func FuzzNumbersAndDates(f *testing.F) {
	for _, s := range []string{
		"two hundred and fifty thousand five", "nineteen ninety eight and a half", "hundred hundred k m", "4,312.50 and 1,2,3", "0.1 half 00012",
		"in 999 years, 999 days ago, last monday", "the thirty first of february 2024, 2/29/2023, 13/13/13", "may 3 may", "٣ 4 ４",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range numbersIn(text) {
			s := decimal(n)
			again := numbersIn(s)
			if n.Sign() < 0 || len(s) <= 20 && (len(again) != 1 || again[0].Cmp(n) != 0) {
				t.Errorf("%q is %s, which is %v", text, s, again)
			}
		}
		for _, d := range asked.datesIn(text) {
			s := d.value("x")
			again := asked.datesIn(s)
			if d.day.Year() >= 1900 && d.day.Year() <= 2200 && (len(again) != 1 || again[0].value("x") != s) {
				t.Errorf("%q is %s, which is %v", text, s, again)
			}
		}
	})
}
