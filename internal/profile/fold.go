package profile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Call is one summarized call of a caller.
type Call struct {
	ID   string
	Fact events.CallSummarized
}

// Move is a lead moved by someone.
type Move struct {
	Event, Stage, By, Reason string
	At                       time.Time
}

// Correction is a field set right by someone.
type Correction struct {
	Event, Field, Value, By string // Value empty: the field is to be empty
	At                      time.Time
}

// Known is one field of a profile and where it comes from.
type Known struct {
	Value    string    `json:"value"`           // of a list: all items, with commas
	Items    []string  `json:"items,omitempty"` // of a list, in the order they were first said
	Call     string    `json:"call_id"`         // the first that said so; empty where By set it
	Turn     int       `json:"turn"`
	Evidence string    `json:"evidence"`
	At       time.Time `json:"said_at"`
	Stated   bool      `json:"stated"`
	Previous string    `json:"previous,omitempty"` // the value before
	By       string    `json:"by,omitempty"`       // who corrected it
}

// Memory is a finding that no field of the template holds.
type Memory struct {
	ID, Key, Value, Call, Evidence, Subject string
	Turn                                    int
	At                                      time.Time
}

// Average is one trait over all calls, in micros.
type Average struct {
	Metric           string
	N, Sum, Min, Max int64
}

// Metric is one trait in one call, in micros.
type Metric struct {
	Call, Metric string
	Micros       int64
}

// Stage is one step in a lead's history.
type Stage struct {
	Stage  string    `json:"stage"`
	At     time.Time `json:"at"`
	By     string    `json:"by"` // "calls", or who moved it
	Call   string    `json:"call_id,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Caller is everything calls tell about one caller.
type Caller struct {
	Name        string
	Template    string
	Fields      map[string]Known
	QuickBio    string
	First, Last time.Time
	Calls       int
	Memories    []Memory
	Metrics     []Metric
	Averages    []Average
	Lead        []Stage // oldest first; the last is where it stands
}

// Input is everything known about one caller, in any order and as often as it
// may have come.
type Input struct {
	Calls       []Call
	Moves       []Move
	Corrections []Correction
	Template    func(id string) (events.Template, bool)
}

// Fold makes a caller out of what calls and people said, whatever order it
// arrived in and however often: calls count by when they began, then by id.
// Without a call there is no caller yet.
func Fold(in Input) Caller {
	calls := counted(in.Calls)
	c := Caller{Fields: map[string]Known{}, Calls: len(calls)}
	if len(calls) == 0 {
		return c
	}
	c.First, c.Last = calls[0].Fact.StartedAt.UTC(), calls[len(calls)-1].Fact.StartedAt.UTC()
	for _, call := range calls {
		if call.Fact.Template != "" {
			c.Template = call.Fact.Template
		}
	}
	t, known := in.Template(c.Template)
	lists := map[string]bool{}
	for _, f := range t.Fields {
		lists[f.Path] = strings.HasPrefix(f.Type, "array[")
	}
	sums := map[string]*Average{}
	for _, call := range calls {
		for i, f := range call.Fact.Findings {
			c.learn(call, i, f, lists[f.Field])
		}
		for _, m := range call.Fact.Style {
			c.Metrics = append(c.Metrics, Metric{call.ID, m.Metric, m.Micros})
			measure(sums, m)
		}
	}
	for _, a := range sums {
		c.Averages = append(c.Averages, *a)
	}
	slices.SortFunc(c.Averages, func(a, b Average) int { return strings.Compare(a.Metric, b.Metric) })
	c.correct(in.Corrections, lists)
	c.Name = c.Fields["personal.name"].Value
	if known {
		c.QuickBio = bio(t.BioFormat, c)
	}
	c.Lead = lead(calls, in.Moves)
	return c
}

// counted are the calls in order, each once, in its latest revision.
func counted(calls []Call) []Call {
	calls = slices.Clone(calls)
	slices.SortFunc(calls, func(a, b Call) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), cmp.Compare(b.Fact.Revision, a.Fact.Revision))
	})
	calls = slices.CompactFunc(calls, func(a, b Call) bool { return a.ID == b.ID })
	slices.SortFunc(calls, func(a, b Call) int {
		return cmp.Or(a.Fact.StartedAt.Compare(b.Fact.StartedAt), strings.Compare(a.ID, b.ID))
	})
	return calls
}

// learn takes one finding: the latest stated value wins, what is only implied
// never replaces what was stated, and lists grow.
func (c *Caller) learn(call Call, i int, f events.Finding, list bool) {
	at := call.Fact.StartedAt.UTC()
	if key, ok := strings.CutPrefix(f.Field, "memory."); ok {
		c.Memories = append(c.Memories, Memory{
			ID:  events.Derive("memory", call.ID, strconv.Itoa(call.Fact.Revision), strconv.Itoa(i)),
			Key: key, Value: f.Value, Call: call.ID, Turn: f.Turn, Evidence: f.Evidence, Subject: f.Subject, At: at,
		})
		return
	}
	old, have := c.Fields[f.Field]
	k := Known{Value: f.Value, Call: call.ID, Turn: f.Turn, Evidence: f.Evidence, At: at, Stated: f.Confidence == "stated"}
	if list {
		if slices.ContainsFunc(old.Items, func(v string) bool { return strings.EqualFold(v, f.Value) }) {
			return
		}
		k.Items = append(slices.Clone(old.Items), f.Value)
		k.Value, k.Previous = strings.Join(k.Items, ", "), old.Value
		c.Fields[f.Field] = k
		return
	}
	switch {
	case have && old.Stated && !k.Stated:
		return
	case have && strings.EqualFold(old.Value, k.Value):
		if old.Stated || !k.Stated {
			return
		}
		k.Previous = old.Previous // what was implied is now stated
	case have && f.Field == "personal.name" && within(k.Value, old.Value):
		return // "Ann" does not replace "Ann Lee"
	case have:
		k.Previous = old.Value
	}
	c.Fields[f.Field] = k
}

// correct puts what people set right over what calls said, before and after.
func (c *Caller) correct(all []Correction, lists map[string]bool) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Correction) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event)) })
	all = slices.CompactFunc(all, func(a, b Correction) bool { return a.Event == b.Event })
	before := map[string]string{}
	for _, x := range all {
		if _, ok := before[x.Field]; !ok {
			before[x.Field] = c.Fields[x.Field].Value // the calls' word
		}
		k := Known{Value: x.Value, At: x.At.UTC(), Stated: true, By: x.By, Previous: before[x.Field]}
		if lists[x.Field] {
			k.Items = items(x.Value)
			k.Value = strings.Join(k.Items, ", ")
		}
		before[x.Field] = k.Value
		if k.Value == "" {
			delete(c.Fields, x.Field)
			continue
		}
		c.Fields[x.Field] = k
	}
}

func measure(sums map[string]*Average, m events.Measure) {
	a := sums[m.Metric]
	if a == nil {
		a = &Average{Metric: m.Metric, Min: m.Micros, Max: m.Micros}
		sums[m.Metric] = a
	}
	a.N++
	a.Sum += m.Micros
	a.Min, a.Max = min(a.Min, m.Micros), max(a.Max, m.Micros)
}

// JSON is the profile in its one canonical form, and its hash.
func (c Caller) JSON() (raw []byte, sha string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A map of strings to plain structs always encodes, keys sorted.
	_ = enc.Encode(c.Fields)
	raw = bytes.TrimSpace(b.Bytes())
	sum := sha256.Sum256(raw)
	return raw, hex.EncodeToString(sum[:])
}

// bio fills a template's one-line description. Parts between bars that have
// nothing to say are left out.
func bio(format string, c Caller) string {
	var parts []string
	for _, part := range strings.Split(format, "|") {
		missing := false
		text := strings.TrimSpace(placeholders(part, func(name string) string {
			v := c.field(name)
			missing = missing || v == ""
			return v
		}))
		if !missing && text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, " | ")
}

func placeholders(s string, value func(string) string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			b.WriteString("{" + rest)
			return b.String()
		}
		b.WriteString(value(name))
		s = after
	}
}

// field is a placeholder's value: a field by the end of its path, or a count.
func (c Caller) field(name string) string {
	switch name {
	case "first_call_year":
		return strconv.Itoa(c.First.Year())
	case "policy_count":
		groups := map[string]bool{}
		for path := range c.Fields {
			if p := strings.Split(path, "."); p[0] == "policies" && len(p) > 1 {
				groups[p[1]] = true
			}
		}
		if len(groups) == 0 {
			return ""
		}
		return strconv.Itoa(len(groups))
	}
	best := ""
	for path := range c.Fields {
		if strings.HasSuffix("."+path, "."+name) && (best == "" || path < best) {
			best = path
		}
	}
	return c.Fields[best].Value
}

// lead is where a caller stands and how it got there. Calls move it forward
// only, or to Lost; people move it where they like.
func lead(calls []Call, moves []Move) []Stage {
	type step struct {
		at    time.Time
		id    string
		stage string
		by    string
		call  string
		why   string
		nth   int
	}
	var steps []step
	for i, c := range calls {
		steps = append(steps, step{at: c.Fact.StartedAt, id: c.ID, stage: c.Fact.Stage, by: "calls", call: c.ID, why: c.Fact.StageQuote, nth: i})
	}
	for _, m := range moves {
		steps = append(steps, step{at: m.At, id: m.Event, stage: m.Stage, by: m.By, why: m.Reason, nth: -1})
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	steps = slices.CompactFunc(steps, func(a, b step) bool { return a.id == b.id })
	var out []Stage
	rank := func(s string) int { return slices.Index(events.Stages, s) }
	now := func() string {
		if len(out) == 0 {
			return ""
		}
		return out[len(out)-1].Stage
	}
	lost := len(events.Stages) - 1
	for _, s := range steps {
		next := s.stage
		if s.by == "calls" {
			if least := min(s.nth, 1); rank(next) < least {
				next = events.Stages[least] // a second call is a follow-up at least
			}
			if r, have := rank(next), rank(now()); r <= have && !(have == lost && rank(s.stage) > 0) {
				continue
			}
		}
		if rank(next) < 0 || next == now() {
			continue
		}
		out = append(out, Stage{Stage: next, At: s.at, By: s.by, Call: s.call, Reason: s.why})
	}
	return out
}
