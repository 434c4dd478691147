package profile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
)

// cars are a template with room for two, and one house.
func cars(string) (events.Template, bool) {
	t := events.Template{ID: "t", BioFormat: "{policy_count} policies"}
	for _, f := range strings.Fields("policies.auto_1.year policies.auto_1.make policies.auto_1.model policies.auto_1.vin policies.auto_2.year " +
		"policies.auto_2.make policies.auto_2.model policies.auto_2.vin properties.property_1.address properties.property_1.bedrooms family.spouse_name") {
		t.Fields = append(t.Fields, events.Field{Path: f, Type: "text"})
	}
	return t, true
}

// on is a time on a day of a month.
func on(day int) time.Time { return time.Date(2026, 1, day, 12, 0, 0, 0, time.UTC) }

// said is a call on a day in which the caller says "field=value", "-" before it
// for what is gone, and "~" for what another's is.
func saidOn(day int, words ...string) profile.Call {
	c := profile.Call{ID: fmt.Sprint("CA", day), Fact: events.CallSummarized{StartedAt: on(day), Template: "t"}}
	for i, w := range words {
		field, value, _ := strings.Cut(w, "=")
		f := events.Finding{Turn: i + 1, Evidence: "the " + strings.Join(words, " "), Subject: "caller", Value: value, Confidence: "stated"}
		if rest, ok := strings.CutPrefix(field, "-"); ok {
			field, f.Gone = rest, true
		}
		if rest, ok := strings.CutPrefix(field, "~"); ok {
			field, f.Subject = rest, "spouse"
		}
		if strings.HasPrefix(field, "auto_") {
			field = "policies." + field
		}
		f.Field = field
		c.Fact.Findings = append(c.Fact.Findings, f)
	}
	return c
}

func shown(c profile.Caller) string {
	var out []string
	for path, k := range c.Fields {
		out = append(out, strings.TrimPrefix(path, "policies.")+"="+k.Value)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Two things are two and one is one, whatever number a model gave them.
func TestThingsAreToldApart(t *testing.T) {
	t.Parallel()
	const camry = "auto_1.make=Toyota auto_1.model=Camry"
	for what, tc := range map[string]struct {
		calls []string
		want  string
	}{
		"the same one in two calls":       {[]string{camry, camry}, camry},
		"in other letters":                {[]string{camry, "auto_1.make=TOYOTA auto_1.model=camry"}, camry},
		"under another number":            {[]string{camry, "auto_2.make=Toyota auto_2.model=Camry"}, camry},
		"twice in one call":               {[]string{camry + " auto_2.make=Toyota auto_2.model=Camry"}, camry},
		"two cars under one number":       {[]string{camry, "auto_1.make=Honda auto_1.model=Civic"}, camry + " auto_2.make=Honda auto_2.model=Civic"},
		"a year heard later":              {[]string{camry, camry + " auto_1.year=2015"}, camry + " auto_1.year=2015"},
		"a year alone, asked for":         {[]string{camry, "auto_1.year=2015"}, camry + " auto_1.year=2015"},
		"a year first":                    {[]string{"auto_1.year=2015", camry}, camry + " auto_1.year=2015"},
		"two of different years":          {[]string{camry + " auto_1.year=2015", camry + " auto_1.year=2019"}, camry + " auto_1.year=2015 auto_2.make=Toyota auto_2.model=Camry auto_2.year=2019"},
		"two of different years at once":  {[]string{camry + " auto_1.year=2015 auto_1.year=2019"}, camry + " auto_1.year=2015 auto_2.make=Toyota auto_2.model=Camry auto_2.year=2019"},
		"the second of them again":        {[]string{camry + " auto_1.year=2015", camry + " auto_1.year=2019", camry + " auto_1.year=2019 auto_1.vin=X1"}, camry + " auto_1.year=2015 auto_2.make=Toyota auto_2.model=Camry auto_2.vin=X1 auto_2.year=2019"},
		"the same number of a chassis":    {[]string{camry + " auto_1.vin=1HG-CM", "auto_2.vin=1HGCM auto_2.model=Accord"}, "auto_1.make=Toyota auto_1.model=Accord auto_1.vin=1HG-CM"},
		"another number of a chassis":     {[]string{camry + " auto_1.vin=A1", camry + " auto_1.vin=B2"}, camry + " auto_1.vin=A1 auto_2.make=Toyota auto_2.model=Camry auto_2.vin=B2"},
		"a make alone is a car we know":   {[]string{camry, "auto_2.make=Toyota"}, camry},
		"a make by its short name":        {[]string{"auto_1.make=Chevrolet", "auto_1.make=Chevy auto_1.model=Bolt"}, "auto_1.make=Chevrolet auto_1.model=Bolt"},
		"more than there is room for":     {[]string{"auto_1.make=Kia", "auto_1.make=Audi", "auto_1.make=Ford"}, "auto_1.make=Kia auto_2.make=Audi auto_3.make=Ford"},
		"another's":                       {[]string{camry, "~auto_1.make=Honda ~auto_1.model=Civic"}, camry},
		"sold":                            {[]string{camry, "-auto_1.model=Camry"}, ""},
		"sold, and another bought":        {[]string{camry, "-auto_1.make=Toyota auto_1.make=Honda"}, "auto_2.make=Honda"},
		"the second is sold":              {[]string{camry, "auto_1.make=Kia", "-auto_1.make=Kia"}, camry},
		"one nobody knows of is sold":     {[]string{camry, "-auto_1.make=Kia"}, camry},
		"an address, written in short":    {[]string{"properties.property_1.address=12_Oak_Street", "properties.property_1.address=12_Oak"}, "properties.property_1.address=12_Oak"},
		"another address is another home": {[]string{"properties.property_1.address=12_Oak", "properties.property_1.address=9_Elm"}, "properties.property_1.address=12_Oak properties.property_2.address=9_Elm"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: cars}
			for i, words := range tc.calls {
				in.Calls = append([]profile.Call{saidOn(i+1, strings.Fields(words)...)}, in.Calls...) // the last arrives first
			}
			if got := shown(profile.Fold(in)); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

// Staff corrects the car that is shown under a number. What calls say of it,
// before and after, is of that car.
func TestCorrectionsAreOfTheThingShown(t *testing.T) {
	t.Parallel()
	fix := func(day int, field, value string) profile.Correction {
		return profile.Correction{Event: fmt.Sprint(day, field, value), Field: "policies." + field, Value: value, By: "staff:1", At: on(day).Add(time.Hour)}
	}
	kia, camry := "auto_1.make=Kia", "auto_1.make=Toyota auto_1.model=Camry"
	for what, tc := range map[string]struct {
		calls []string
		fixes []profile.Correction
		want  string
	}{
		"set right":                      {[]string{camry}, []profile.Correction{fix(1, "auto_1.model", "Corolla")}, "auto_1.make=Toyota auto_1.model=Corolla"},
		"and named right afterwards":     {[]string{camry, "auto_1.make=Toyota auto_1.model=Corolla auto_1.year=2015"}, []profile.Correction{fix(1, "auto_1.model", "Corolla")}, "auto_1.make=Toyota auto_1.model=Corolla auto_1.year=2015"},
		"and named wrong again":          {[]string{camry, camry + " auto_1.year=2015"}, []profile.Correction{fix(1, "auto_1.model", "Corolla")}, "auto_1.make=Toyota auto_1.model=Corolla auto_1.year=2015"},
		"the second":                     {[]string{kia, camry}, []profile.Correction{fix(2, "auto_2.model", "Corolla")}, "auto_1.make=Kia auto_2.make=Toyota auto_2.model=Corolla"},
		"emptied, and said again":        {[]string{camry, camry}, []profile.Correction{fix(1, "auto_1.model", "")}, "auto_1.make=Toyota"},
		"added by staff, named in calls": {[]string{kia, "auto_1.make=Toyota auto_1.model=Camry"}, []profile.Correction{fix(1, "auto_2.make", "Toyota")}, "auto_1.make=Kia auto_2.make=Toyota auto_2.model=Camry"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: cars, Corrections: tc.fixes}
			for i, words := range tc.calls {
				in.Calls = append(in.Calls, saidOn(i+1, strings.Fields(words)...))
			}
			if got := shown(profile.Fold(in)); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

// anything that may be said of a caller, with the same thing said often.
func anything(t *rapid.T) profile.Input {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	day := func() int { return rapid.IntRange(1, 9).Draw(t, "day") }
	in := profile.Input{Caller: "+1", Template: cars}
	field := func() string {
		return pick("field", "auto_1.make", "auto_1.model", "auto_1.year", "auto_2.make", "auto_2.model", "auto_2.vin", "-auto_1.make", "memory.pet", "~family.spouse_name", "personal.name")
	}
	value := func() string { return pick("value", "Kia", "kia", "Audi", "2015", "2019", "Ann Lee", "Ann") }
	for i := range rapid.IntRange(0, 6).Draw(t, "calls") {
		c := saidOn(day())
		c.ID = fmt.Sprint("CA", i)
		for range rapid.IntRange(0, 6).Draw(t, "findings") {
			c.Fact.Findings = append(c.Fact.Findings, saidOn(1, field()+"="+value()).Fact.Findings...)
		}
		for i := range c.Fact.Findings { // one sentence may name several
			c.Fact.Findings[i].Evidence = "the Kia, the Audi and the 2015 one"
		}
		in.Calls = append(in.Calls, c)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "others") {
		at := on(day())
		memory := pick("memory", "m1", "m2")
		in.Corrections = append(in.Corrections, profile.Correction{Event: fmt.Sprint("c", i), Field: pick("corrected", "policies.auto_1.make", "policies.auto_3.model", "personal.name"), Value: pick("right", "", "Ford", "Kia"), By: "staff:1", At: at})
		in.Imports = append(in.Imports, profile.Import{Event: fmt.Sprint("i", i), At: at, Fact: events.CallerImported{
			Source: pick("source", "a", "b"), First: at, Last: at, Calls: i, KnownAs: value(), Fields: map[string]string{"policies.auto_1.make": value(), "imported.x": value()},
			Averages: []events.ImportedAverage{{Metric: "patience", N: 2, Sum: int64(i)}},
		}})
		in.Stored = append(in.Stored, profile.Stored{Event: fmt.Sprint("s", i), At: at, Fact: events.MemoryStored{Memory: memory, Key: "pet", Value: value(), Origin: "api"}})
		if rapid.Bool().Draw(t, "forgotten") {
			in.Forgotten = append(in.Forgotten, memory)
		}
	}
	return in
}

func again[T any](t *rapid.T, s []T) []T {
	return rapid.Permutation(append(slices.Clone(s), s...)).Draw(t, "order")
}

// In any order and any repetition, the same bytes.
func TestSameCallerFromAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := anything(t)
		want := profile.Fold(in)
		got := profile.Fold(profile.Input{
			Caller: in.Caller, Template: in.Template, Calls: again(t, in.Calls), Corrections: again(t, in.Corrections),
			Imports: again(t, in.Imports), Stored: again(t, in.Stored), Forgotten: again(t, in.Forgotten),
		})
		a, b := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)
		if _, _, sum := want.JSON(); a != b {
			t.Fatalf("\n got %s\nwant %s", b, a)
		} else if _, _, other := got.JSON(); sum != other {
			t.Fatalf("hash %s, want %s", other, sum)
		}
		makes := map[string]bool{}
		for path, k := range want.Fields {
			for _, p := range k.History {
				if p.Value == "" || p.Because == "" || p.Until.IsZero() || p.At.IsZero() || p.Origin == "" || p.Origin == "call" && (p.Call == "" || p.Turn == 0 || p.Evidence == "") {
					t.Fatalf("%s held, from nowhere: %+v", path, p)
				}
			}
			if k.Changes < len(k.History) || k.Value == "" || k.From.IsZero() || k.Origin == "" {
				t.Fatalf("%s: %+v", path, k)
			}
			if strings.HasSuffix(path, ".make") && k.Origin == "call" && want.Fields[strings.TrimSuffix(path, "make")+"model"].Value == "" &&
				want.Fields[strings.TrimSuffix(path, "make")+"year"].Value == "" && want.Fields[strings.TrimSuffix(path, "make")+"vin"].Value == "" {
				if makes[strings.ToLower(k.Value)] {
					t.Fatalf("the same car twice: %s", shown(want))
				}
				makes[strings.ToLower(k.Value)] = true
			}
		}
	})
}
