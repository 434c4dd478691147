package profile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
)

// caller is anything that may have been said by and about one caller.
func caller(r *rand.Rand) profile.Input {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	at := func() time.Time { return time.Date(2026, 1, 1+r.IntN(4), r.IntN(3), 0, 0, 0, time.UTC) }
	in := profile.Input{Template: func(id string) (events.Template, bool) {
		return events.Template{ID: id, BioFormat: "{name} | {make} | {first_call_year}", Fields: []events.Field{{Path: "search.areas", Type: "array[text]"}}}, id == "t"
	}}
	for i := range r.IntN(6) {
		id := fmt.Sprint("CA", i)
		began := at()
		for revision := range 1 + r.IntN(3) {
			f := events.CallSummarized{StartedAt: began, Revision: revision, Template: pick("t", "t", "", "u"), Stage: pick(append([]string{"", ""}, events.Stages...)...)}
			for range r.IntN(5) {
				field := pick("personal.name", "policies.auto_1.make", "search.areas", "memory.date")
				v := pick("Ann", "Ann Lee", "ann lee", "Bo", "Cy")
				f.Findings = append(f.Findings, events.Finding{Turn: 1, Evidence: v, Field: field, Value: v, Confidence: pick("stated", "implied")})
			}
			for _, m := range []string{"patience", "formality"}[r.IntN(2):] {
				f.Style = append(f.Style, events.Measure{Metric: m, Micros: r.Int64N(100_000_001)})
			}
			in.Calls = append(in.Calls, profile.Call{ID: id, Fact: f})
		}
	}
	for i := range r.IntN(4) {
		in.Moves = append(in.Moves, profile.Move{Event: fmt.Sprint("m", i), Stage: pick(append([]string{"Nowhere"}, events.Stages...)...), By: "staff:1", At: at()})
		in.Corrections = append(in.Corrections, profile.Correction{
			Event: fmt.Sprint("c", i), Field: pick("personal.name", "search.areas"), Value: pick("", "Dee", "Ann, Bo"), By: "staff:1", At: at(),
		})
	}
	return in
}

// mixed is s in another order, some of it more than once.
func mixed[T any](r *rand.Rand, s []T) []T {
	out := append([]T(nil), s...)
	for range len(s) {
		out = append(out, s[r.IntN(len(s))])
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// Whatever there is to know of a caller, in whatever order it arrives and
// however often, it makes the same caller, to the byte.
func TestAnyOrderAndAnyRepetitionMakeTheSameCaller(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		in := caller(r)
		want := profile.Fold(in)
		raw, _, sha := want.JSON()
		for range 5 {
			got := profile.Fold(profile.Input{Calls: mixed(r, in.Calls), Moves: mixed(r, in.Moves), Corrections: mixed(r, in.Corrections), Template: in.Template})
			if again, _, sum := got.JSON(); !reflect.DeepEqual(got, want) || !bytes.Equal(again, raw) || sum != sha {
				t.Fatalf("seed %d:\n got %+v\nwant %+v", seed, got, want)
			}
		}
		invariants(t, seed, in, want)
	}
}

// invariants hold for every caller there can be.
func invariants(t *testing.T, seed uint64, in profile.Input, c profile.Caller) {
	t.Helper()
	ids := map[string]int{}
	for _, call := range in.Calls {
		ids[call.ID] = max(ids[call.ID], call.Fact.Revision)
	}
	said := map[string]map[string]bool{} // by value: calls
	for _, call := range in.Calls {
		if call.Fact.Revision == ids[call.ID] {
			for _, f := range call.Fact.Findings {
				if f.Field == "memory.date" {
					if said[strings.ToLower(f.Value)] == nil {
						said[strings.ToLower(f.Value)] = map[string]bool{}
					}
					said[strings.ToLower(f.Value)][call.ID] = true
				}
			}
		}
	}
	for _, m := range c.Memories {
		if n := len(said[strings.ToLower(m.Value)]); n != m.Times {
			t.Errorf("seed %d: %q was said in %d calls, not %d", seed, m.Value, n, m.Times)
		}
		delete(said, strings.ToLower(m.Value))
	}
	if len(said) > 0 {
		t.Errorf("seed %d: not remembered: %v", seed, said)
	}
	if c.Calls != len(ids) {
		t.Errorf("seed %d: %d calls, want %d", seed, c.Calls, len(ids))
	}
	for _, a := range c.Averages {
		if a.N < 1 || a.Min > a.Max || a.Sum < a.N*a.Min || a.Sum > a.N*a.Max {
			t.Errorf("seed %d: %+v", seed, a)
		}
	}
	for i, s := range c.Lead {
		if i > 0 && (s.Stage == c.Lead[i-1].Stage || s.At.Before(c.Lead[i-1].At)) {
			t.Errorf("seed %d: step %d of %+v", seed, i, c.Lead)
		}
	}
	if len(c.Lead) == 0 && len(ids) > 0 {
		t.Errorf("seed %d: a caller who stands nowhere", seed)
	}
}

func TestWhatIsKnownBestStays(t *testing.T) {
	t.Parallel()
	const name, car = "personal.name", "policies.auto_1.make"
	type claim struct{ field, value, confidence string }
	for what, tc := range map[string]struct {
		said                         []claim // one call a day each
		field, value, previous, call string
		stated                       bool
	}{
		"the latest stated":               {[]claim{{car, "Kia", "stated"}, {car, "Audi", "stated"}}, car, "Audi", "Kia", "1", true},
		"stated over implied":             {[]claim{{car, "Kia", "implied"}, {car, "Audi", "stated"}}, car, "Audi", "Kia", "1", true},
		"implied not over stated":         {[]claim{{car, "Kia", "stated"}, {car, "Audi", "implied"}}, car, "Kia", "", "0", true},
		"the latest implied":              {[]claim{{car, "Kia", "implied"}, {car, "Audi", "implied"}}, car, "Audi", "Kia", "1", false},
		"implied, then stated":            {[]claim{{car, "Kia", "implied"}, {car, "kia", "stated"}}, car, "kia", "", "1", true},
		"said again":                      {[]claim{{car, "Kia", "stated"}, {car, "KIA", "stated"}}, car, "Kia", "", "0", true},
		"said, changed, and said again":   {[]claim{{car, "Kia", "stated"}, {car, "Audi", "stated"}, {car, "Kia", "stated"}}, car, "Kia", "Audi", "2", true},
		"a full name over a first one":    {[]claim{{name, "Ann", "stated"}, {name, "Ann Lee", "stated"}}, name, "Ann Lee", "Ann", "1", true},
		"a first name adds nothing":       {[]claim{{name, "Ann Lee", "stated"}, {name, "ann", "stated"}}, name, "Ann Lee", "", "0", true},
		"another name is another name":    {[]claim{{name, "Ann Lee", "stated"}, {name, "Ann Marsh", "stated"}}, name, "Ann Marsh", "Ann Lee", "1", true},
		"part of a value of other fields": {[]claim{{car, "Alfa Romeo", "stated"}, {car, "Alfa", "stated"}}, car, "Alfa", "Alfa Romeo", "1", true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: template}
			for i, c := range tc.said {
				in.Calls = append(in.Calls, profile.Call{ID: fmt.Sprint(i), Fact: events.CallSummarized{
					StartedAt: time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC),
					Findings:  []events.Finding{{Turn: 1, Evidence: c.value, Field: c.field, Value: c.value, Confidence: c.confidence}},
				}})
			}
			k := profile.Fold(in).Fields[tc.field]
			if k.Value != tc.value || k.Previous != tc.previous || k.Call != tc.call || k.Stated != tc.stated {
				t.Errorf("%+v", k)
			}
		})
	}
}

func TestLeadStages(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		steps []string // one a day: a call's stage, or "!" and where staff moves it
		want  string
	}{
		"a first call":                         {[]string{""}, "[First Contact]"},
		"a second call follows up":             {[]string{"", "", ""}, "[First Contact Follow-up]"},
		"a call says more":                     {[]string{"Application"}, "[Application]"},
		"calls do not move back":               {[]string{"Application", "Quote Sent", ""}, "[Application]"},
		"calls lose":                           {[]string{"Application", "Lost", ""}, "[Application Lost]"},
		"lost, and interested again":           {[]string{"Lost", "Quote Sent"}, "[Lost Quote Sent]"},
		"lost, and only called again":          {[]string{"Lost", "First Contact"}, "[Lost]"},
		"staff moves back, calls forward":      {[]string{"Application", "!Quote Sent", "", "Underwriting"}, "[Application Quote Sent Underwriting]"},
		"a stage that does not exist":          {[]string{"", "!Nowhere"}, "[First Contact]"},
		"staff before the first call":          {[]string{"!Quote Sent", ""}, "[Quote Sent]"},
		"staff moves to where it stands":       {[]string{"Quote Sent", "!Quote Sent"}, "[Quote Sent]"},
		"staff reopens what was closed":        {[]string{"Closed/Bound", "!Follow-up", ""}, "[Closed/Bound Follow-up]"},
		"staff loses it, a call says nothing":  {[]string{"", "!Lost", ""}, "[First Contact Lost]"},
		"staff loses it, a call brings it on":  {[]string{"", "!Lost", "Application"}, "[First Contact Lost Application]"},
		"a call of a stage that is none of it": {[]string{"Somewhere"}, "[First Contact]"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: template}
			for i, s := range tc.steps {
				at := time.Date(2026, 1, 1+i, 0, 0, 0, 0, time.UTC)
				if s != "" && s[0] == '!' {
					in.Moves = append(in.Moves, profile.Move{Event: fmt.Sprint("m", i), Stage: s[1:], By: "staff:1", At: at})
				} else {
					in.Calls = append(in.Calls, profile.Call{ID: fmt.Sprint(i), Fact: events.CallSummarized{StartedAt: at, Stage: s}})
				}
			}
			var got []string
			for _, s := range profile.Fold(in).Lead {
				got = append(got, s.Stage)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
}
