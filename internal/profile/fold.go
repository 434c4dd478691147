package profile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Call is one summarized call of a caller.
type Call struct {
	ID   string
	Fact events.CallSummarized
}

// Correction is a field set right by someone.
type Correction struct {
	Event, Field, Value, By, Reason string // Value empty: the field is to be empty
	At                              time.Time
}

// Import is what another system knew about a caller.
type Import struct {
	Event string
	At    time.Time
	Fact  events.CallerImported
}

// Average is one trait over all calls, in micros. Min and Max are of the calls
// measured here, and mean nothing where there was none.
type Average struct {
	Metric           string
	N, Sum, Min, Max int64
	Measured         int64 // calls of N that were measured here
}

// Metric is one trait in one call, in micros.
type Metric struct {
	Call, Metric string
	Micros       int64
}

// Caller is everything known about one caller.
type Caller struct {
	Name        string
	Template    string
	Fields      map[string]Known
	Former      map[string]Known // fields that hold nothing any more; Value is empty
	QuickBio    string
	First, Last time.Time // call; zero: none yet
	Calls       int
	Memories    []Memory
	Metrics     []Metric
	Averages    []Average
	Lead        []Stage // oldest first; the last is where it stands
}

// Empty reports whether nothing is known.
func (c Caller) Empty() bool {
	return c.Calls == 0 && c.First.IsZero() && len(c.Fields) == 0 && len(c.Former) == 0 && len(c.Memories) == 0 && len(c.Averages) == 0 && len(c.Lead) == 0
}

// Input is everything said about one caller, in any order and as often as it
// may have come.
type Input struct {
	Caller      string // who; part of the ids of memories
	Calls       []Call
	Moves       []Move
	Corrections []Correction
	Imports     []Import
	Stored      []Stored
	Forgotten   []string // ids of memories
	Template    func(id string) (events.Template, bool)
}

// Fold makes a caller out of what calls and people said, whatever order it
// arrived in and however often: calls count by when they began, then by id.
func Fold(in Input) Caller {
	calls, imports := counted(in.Calls), newest(in.Imports)
	c := Caller{Fields: map[string]Known{}, Former: map[string]Known{}, Calls: len(calls)}
	for _, call := range calls {
		if call.Fact.Template != "" {
			c.Template = call.Fact.Template
		}
		c.widen(call.Fact.StartedAt, call.Fact.StartedAt)
	}
	t, known := in.Template(c.Template)
	if known && t.ID != "" {
		c.Template = t.ID
	}
	for _, x := range imports {
		c.Calls = min(c.Calls+min(x.Fact.Calls, maxCalls), maxCalls)
		c.widen(x.Fact.First, x.Fact.Last)
	}
	c.learn(t, calls, in.Corrections, imports)
	c.Memories = remember(in, calls)
	c.measure(calls, imports)
	c.Name = c.Fields[nameField].Value
	if known {
		c.QuickBio = bio(t, c)
	}
	c.Lead = lead(calls, in.Moves)
	return c
}

const nameField = "personal.name"

// maxCalls is as many as rows can count.
const maxCalls = math.MaxInt32

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

// newest are the newest words of each source, in order.
func newest(all []Import) []Import {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Import) int {
		return cmp.Or(strings.Compare(a.Fact.Source, b.Fact.Source), b.At.Compare(a.At), strings.Compare(a.Event, b.Event))
	})
	all = slices.CompactFunc(all, func(a, b Import) bool { return a.Fact.Source == b.Fact.Source })
	slices.SortFunc(all, func(a, b Import) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Fact.Source, b.Fact.Source))
	})
	return all
}

// widen makes room for calls from one time to another; a zero time says
// nothing.
func (c *Caller) widen(first, last time.Time) {
	for _, at := range []time.Time{first.UTC(), last.UTC()} {
		if at.IsZero() {
			continue
		}
		if c.First.IsZero() || at.Before(c.First) {
			c.First = at
		}
		if at.After(c.Last) {
			c.Last = at
		}
	}
}

// measure adds up traits, those of calls that another system had measured too.
func (c *Caller) measure(calls []Call, imports []Import) {
	sums := map[string]*Average{}
	of := func(metric string) *Average {
		if sums[metric] == nil {
			sums[metric] = &Average{Metric: metric}
		}
		return sums[metric]
	}
	for _, call := range calls {
		for _, m := range call.Fact.Style {
			c.Metrics = append(c.Metrics, Metric{call.ID, m.Metric, m.Micros})
			a := of(m.Metric)
			if a.Measured == 0 {
				a.Min, a.Max = m.Micros, m.Micros
			}
			a.N++
			a.Measured++
			a.Sum += m.Micros
			a.Min, a.Max = min(a.Min, m.Micros), max(a.Max, m.Micros)
		}
	}
	for _, x := range imports {
		for _, m := range x.Fact.Averages {
			a := of(m.Metric)
			a.N += m.N
			a.Sum += m.Sum
		}
	}
	for _, a := range sums {
		c.Averages = append(c.Averages, *a)
	}
	slices.SortFunc(c.Averages, func(a, b Average) int { return strings.Compare(a.Metric, b.Metric) })
}

// JSON are the fields of the profile, and those that hold nothing any more, in
// their one canonical form, and the hash of both.
func (c Caller) JSON() (fields, former []byte, sha string) {
	fields, former = canonical(c.Fields), canonical(c.Former)
	sum := sha256.Sum256(slices.Concat(fields, []byte("\n"), former))
	return fields, former, hex.EncodeToString(sum[:])
}

func canonical(fields map[string]Known) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A map of strings to plain structs always encodes, keys sorted.
	_ = enc.Encode(fields)
	return bytes.TrimSpace(b.Bytes())
}
