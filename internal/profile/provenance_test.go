package profile_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/profile"
)

const email = "personal.email"

// Each value of a field says where it comes from, until when it was held, and
// why no longer.
func TestFieldsTellTheirHistory(t *testing.T) {
	t.Parallel()
	in := profile.Input{
		Template:    cars,
		Calls:       []profile.Call{saidOn(4, email+"=d@x.org"), saidOn(1, email+"=a@x.org"), saidOn(2, email+"=b@x.org")},
		Imports:     []profile.Import{{Event: "i", At: on(9), Fact: events.CallerImported{Source: "old", Fields: map[string]string{email: "o@x.org"}}}},
		Corrections: []profile.Correction{{Event: "c", Field: email, Value: "c@x.org", By: "staff:7", Reason: "by mail", At: on(3)}},
	}
	k := profile.Fold(in).Fields[email]
	if k.Value != "c@x.org" || k.By != "staff:7" || k.Reason != "by mail" || k.Origin != "staff" || !k.From.Equal(on(3)) || k.Previous != "b@x.org" || k.Changes != 4 {
		t.Errorf("%+v", k)
	}
	var got []string
	for _, p := range k.History {
		got = append(got, fmt.Sprint(p.Value, " ", p.Origin, p.Source, " ", p.Call, " ", p.Turn, " ", p.Evidence != "", " ", p.Subject, " until ", p.Until.Day(), " ", p.Because))
	}
	want := []string{
		"o@x.org importold  0 false  until 1 replaced",
		"a@x.org call CA1 1 true caller until 2 replaced",
		"b@x.org call CA2 1 true caller until 3 corrected",
		"d@x.org call CA4 1 true caller until 4 overruled",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	raw, _, _ := profile.Fold(in).JSON()
	var shown map[string]map[string]any
	if err := json.Unmarshal(raw, &shown); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"value", "call_id", "turn", "evidence", "said_at", "stated", "previous", "by", "valid_from", "origin", "reason", "history", "changes"} {
		if _, ok := shown[email][key]; !ok {
			t.Errorf("no %s in %s", key, raw)
		}
	}
}

// What staff empties, and what the caller says is gone, is no field of the
// profile; what it held is known all the same.
func TestEmptiedFieldsAreKnownOf(t *testing.T) {
	t.Parallel()
	c := profile.Fold(profile.Input{
		Template:    cars,
		Calls:       []profile.Call{saidOn(1, email+"=a@x.org", "auto_1.make=Kia"), saidOn(3, email+"=b@x.org", "-auto_1.make=Kia")},
		Corrections: []profile.Correction{{Event: "c", Field: email, By: "staff:7", Reason: "not his", At: on(2)}},
	})
	if len(c.Fields) > 0 {
		t.Errorf("%+v", c.Fields)
	}
	k := c.Former[email]
	if len(k.History) != 2 || k.Value != "" || k.By != "staff:7" || k.Reason != "not his" || k.History[0].Because != "corrected" || k.History[1].Value != "b@x.org" || k.History[1].Because != "overruled" {
		t.Errorf("%+v", k)
	}
	if k := c.Former["policies.auto_1.make"]; len(k.History) != 1 || k.Call != "CA3" || k.Evidence == "" || k.History[0].Value != "Kia" || k.History[0].Because != "retracted" {
		t.Errorf("%+v", k)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	in := profile.Input{Template: cars}
	for i := range 80 {
		c := saidOn(1, fmt.Sprint(email, "=", i, "@x.org"))
		c.ID, c.Fact.StartedAt = fmt.Sprint("CA", i), on(1).Add(time.Duration(i)*time.Minute)
		in.Calls = append(in.Calls, c)
	}
	k := profile.Fold(in).Fields[email]
	if k.Value != "79@x.org" || k.Changes != 79 || len(k.History) != 50 || k.History[0].Value != "29@x.org" || k.History[49].Value != "78@x.org" {
		t.Errorf("%d changes, %d kept", k.Changes, len(k.History))
	}
}

// A field's mode says what a later word does to it.
func TestModes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ typ, mode, said, want string }{ // "?" before what is implied
		{"text", "", "b a c", "c"},
		{"text", "latest", "b a c", "c"},
		{"text", "first", "b a c", "b"},
		{"text", "first", "?b a c", "a"},
		{"number", "max", "9 100 20", "100"},
		{"number", "min", "100 9 20.5", "9"},
		{"number", "max", "?100 9 20", "20"},
		{"number", "max", "9 ?100", "9"},
		{"date", "min", "2025-03-01 2024-12-31 2026-01-01", "2024-12-31"},
		{"array[text]", "", "a b A", "a, b"},
		{"array[text]", "union", "a b A", "a, b"},
		{"array[text]", "append", "a b A", "a, b, A"},
		{"array[text]", "latest", "a+b c+d", "c, d"},
		{"array[text]", "first", "a+b c+d", "a, b"},
	} {
		t.Run(tc.typ+" "+tc.mode+" "+tc.said, func(t *testing.T) {
			t.Parallel()
			in := profile.Input{Template: func(string) (events.Template, bool) {
				return events.Template{ID: "t", Extra: []events.Field{{Path: "x.y", Type: tc.typ, Mode: tc.mode}}}, true
			}}
			for i, all := range strings.Fields(tc.said) {
				value, implied := strings.CutPrefix(all, "?")
				var words []string
				for v := range strings.SplitSeq(value, "+") {
					words = append(words, "x.y="+v)
				}
				c := saidOn(i+1, words...)
				if implied {
					c.Fact.Findings[0].Confidence = "implied"
				}
				in.Calls = append(in.Calls, c)
			}
			k := profile.Fold(in).Fields["x.y"]
			if k.Value != tc.want {
				t.Errorf("%q, want %q", k.Value, tc.want)
			}
			if strings.HasPrefix(tc.typ, "array") {
				for i, e := range k.Each {
					if e.Value != k.Items[i] || e.Call == "" || e.Evidence == "" {
						t.Errorf("item %d comes from %+v", i, e)
					}
				}
				if len(k.Each) != len(k.Items) {
					t.Errorf("%d of %d items come from somewhere", len(k.Each), len(k.Items))
				}
			}
		})
	}
}

// What is said in nine calls is one memory; what is forgotten stays so.
func TestMemoriesAreKeptOnce(t *testing.T) {
	t.Parallel()
	in := profile.Input{Caller: "+1", Template: cars}
	for i := range 9 {
		in.Calls = append(in.Calls, saidOn(i+1, "memory.pet=A dog.", "memory.pet=a dog"))
	}
	in.Calls = append(in.Calls, saidOn(20, "memory.pet=a cat", "~memory.pet=a dog"))
	c := profile.Fold(in)
	if len(c.Memories) != 3 {
		t.Fatalf("%+v", c.Memories)
	}
	m := c.Memories[0]
	if m.Value != "A dog." || m.Times != 9 || m.Call != "CA1" || m.Turn != 1 || !m.At.Equal(on(1)) || !m.Last.Equal(on(9)) || m.Origin != "call" || m.Subject != "caller" {
		t.Errorf("%+v", m)
	}
	in.Forgotten = []string{m.ID}
	in.Calls = append(in.Calls, saidOn(21, "memory.pet=a dog"))
	if c = profile.Fold(in); len(c.Memories) != 2 || slices.ContainsFunc(c.Memories, func(o profile.Memory) bool { return o.ID == m.ID }) {
		t.Errorf("%+v", c.Memories)
	}
	in.Caller = "+2"
	if c = profile.Fold(in); len(c.Memories) != 3 {
		t.Error("another caller's memory was forgotten")
	}
}

func TestStoredMemories(t *testing.T) {
	t.Parallel()
	expires := on(30)
	stored := func(day int, id, value string) profile.Stored {
		return profile.Stored{Event: fmt.Sprint(id, day), At: on(day), Fact: events.MemoryStored{
			Memory: id, Type: "preference", Key: "time", Value: value, Content: "c", Origin: "staff", By: "staff:7", Evidence: "w", Call: "CA1", Expires: &expires,
		}}
	}
	in := profile.Input{Template: cars, Stored: []profile.Stored{stored(2, "m1", "later"), stored(1, "m1", "first"), stored(3, "m2", "x")}, Forgotten: []string{"m2"}}
	c := profile.Fold(in)
	if c.Empty() || c.Calls != 0 || !c.First.IsZero() || len(c.Memories) != 1 {
		t.Fatalf("%+v", c)
	}
	want := profile.Memory{
		ID: "m1", Type: "preference", Key: "time", Value: "first", Content: "c", Origin: "staff", By: "staff:7", Evidence: "w", Call: "CA1",
		At: on(1), Last: on(1), Times: 1, Expires: &expires,
	}
	if c.Memories[0] != want {
		t.Errorf("%+v", c.Memories[0])
	}
	in.Forgotten = []string{"m1", "m2"}
	if c = profile.Fold(in); !c.Empty() {
		t.Errorf("%+v", c)
	}
}

// The newest word of each source counts, and is weaker than any of calls and
// staff.
func TestImports(t *testing.T) {
	t.Parallel()
	imported := func(day int, source string, calls int, fields map[string]string) profile.Import {
		return profile.Import{Event: fmt.Sprint(source, day), At: on(day), Fact: events.CallerImported{
			Source: source, First: on(day).AddDate(-1, 0, 0), Last: on(day), Calls: calls, KnownAs: "Anne", Fields: fields,
			Averages: []events.ImportedAverage{{Metric: "patience", N: int64(calls), Sum: 10}, {Metric: "openness", N: 2, Sum: 6}},
		}}
	}
	call := saidOn(3, "personal.name=Ann Lee")
	call.Fact.Style = []events.Measure{{Metric: "patience", Micros: 4}}
	c := profile.Fold(profile.Input{Template: cars, Calls: []profile.Call{call}, Imports: []profile.Import{
		imported(8, "a", 5, map[string]string{email: "a@x.org", "imported.color": "red"}), imported(7, "a", 50, map[string]string{email: "old@x.org", "imported.size": "L"}),
		imported(6, "b", 2, nil),
	}})
	if c.Calls != 8 || !c.First.Equal(on(6).AddDate(-1, 0, 0)) || !c.Last.Equal(on(8)) || c.Name != "Ann Lee" {
		t.Errorf("%d calls from %s to %s, %q", c.Calls, c.First, c.Last, c.Name)
	}
	if k := c.Fields[email]; k.Value != "a@x.org" || k.Origin != "import" || k.Source != "a" || k.Stated || k.Call != "" {
		t.Errorf("%+v", k)
	}
	if c.Fields["imported.color"].Value != "red" || c.Fields["imported.size"].Value != "" {
		t.Errorf("%+v", c.Fields)
	}
	if k := c.Fields["personal.name"]; k.Previous != "Anne" || len(k.History) != 1 || k.History[0].Origin != "import" {
		t.Errorf("%+v", k)
	}
	want := []profile.Average{{Metric: "openness", N: 4, Sum: 12}, {Metric: "patience", N: 8, Sum: 24, Min: 4, Max: 4, Measured: 1}}
	if !slices.Equal(c.Averages, want) {
		t.Errorf("%+v, want %+v", c.Averages, want)
	}
}

// Rows hold no more calls than that, whatever other systems say.
func TestImportedCallsHaveABound(t *testing.T) {
	t.Parallel()
	in := profile.Input{Template: cars, Calls: []profile.Call{saidOn(3, "personal.name=Ann Lee")}}
	for i, calls := range []int{4_000_000_000, math.MaxInt, math.MaxInt} {
		in.Imports = append(in.Imports, profile.Import{At: on(i + 1), Fact: events.CallerImported{Source: fmt.Sprint("s", i), Calls: calls}})
		if c := profile.Fold(in); c.Calls != math.MaxInt32 {
			t.Errorf("%d calls of %d systems", c.Calls, i+1)
		}
	}
}

// What is kept sealed does not get into the line that is shown everywhere.
func TestSealedFieldsAreNotInTheBio(t *testing.T) {
	t.Parallel()
	c := profile.Fold(profile.Input{Calls: []profile.Call{saidOn(1, "loan.number=77", "loan.rate=5")}, Template: func(string) (events.Template, bool) {
		return events.Template{ID: "t", BioFormat: "No {number} | {rate} %", Fields: []events.Field{{Path: "loan.number", Type: "text", Sensitive: true}, {Path: "loan.rate", Type: "float"}}}, true
	}})
	if c.QuickBio != "5 %" || c.Fields["loan.number"].Value != "77" {
		t.Errorf("%q, %+v", c.QuickBio, c.Fields)
	}
}

// A tenant's own fields say nothing in the place of the template's.
func TestOwnFieldsAreNoOthersName(t *testing.T) {
	t.Parallel()
	of := func(said ...string) string {
		return profile.Fold(profile.Input{Calls: []profile.Call{saidOn(1, said...)}, Template: func(string) (events.Template, bool) {
			return events.Template{
				ID: "t", BioFormat: "{name} | {color}", Fields: []events.Field{{Path: "personal.name", Type: "text"}},
				Extra: []events.Field{{Path: "family.dog.name", Type: "text"}, {Path: "family.dog.color", Type: "text"}},
			}, true
		}}).QuickBio
	}
	if got := of("family.dog.name=Rex", "personal.name=Ann"); got != "Ann" {
		t.Errorf("%q", got)
	}
	if got := of("family.dog.name=Rex", "family.dog.color=red"); got != "red" {
		t.Errorf("%q", got)
	}
}

// A mark stands for many numbers: each is a memory, also where what was left
// out stayed elsewhere.
func TestSealedNumbersAreToldApart(t *testing.T) {
	call := func(id string, day int, sealed ...string) profile.Call {
		f := events.CallSummarized{Caller: "+12065550142", StartedAt: time.Date(2026, 5, day, 9, 0, 0, 0, time.UTC)}
		for i, s := range sealed {
			f.Findings = append(f.Findings, events.Finding{
				Turn: 1 + i/3, Evidence: "it is [POLICY]", Subject: "caller", Field: "memory.policy_number", Value: "[POLICY]", Confidence: "stated", Sealed: s,
			})
		}
		return profile.Call{ID: id, Fact: f}
	}
	in := profile.Input{
		Caller: "+12065550142", Calls: []profile.Call{call("CA2", 2, "b25l", "dGhyZWU="), call("CA1", 1, "b25l", "dHdv")},
		Template: func(string) (events.Template, bool) { return events.Template{}, false },
	}
	var got, ids, bare []string
	for _, m := range profile.Fold(in).Memories {
		got, ids = append(got, m.Call+" "+m.Sealed), append(ids, m.ID)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"CA1 b25l", "CA1 dHdv", "CA2 b25l", "CA2 dGhyZWU="}) {
		t.Errorf("remembered %v", got)
	}
	in.Calls = []profile.Call{call("CA1", 1, "", ""), call("CA2", 2, "", "")}
	for _, m := range profile.Fold(in).Memories {
		bare = append(bare, m.ID)
	}
	slices.Sort(ids)
	if slices.Sort(bare); !slices.Equal(bare, ids) {
		t.Errorf("without what was left out there are %v, with it %v", bare, ids)
	}
}
