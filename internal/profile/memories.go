package profile

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// Memory is something worth remembering that no field of the template holds.
type Memory struct {
	ID, Type, Key, Value, Content, Call, Evidence, Subject string
	Origin, By                                             string // call, api, staff or import; and who
	Turn                                                   int
	At, Last                                               time.Time // first and last said
	Times                                                  int       // calls it was said in
	Expires                                                *time.Time
	Sealed                                                 string // what a Value that is a mark stands for, base64
}

// Stored is a memory stated other than in a call.
type Stored struct {
	Event string
	At    time.Time
	Fact  events.MemoryStored
}

// remember are the memories that nobody had forgotten, oldest first.
func remember(in Input, calls []Call) []Memory {
	byID := map[string]*Memory{}
	order := []*Memory{}
	add := func(m Memory) *Memory {
		byID[m.ID] = &m
		order = append(order, &m)
		return &m
	}
	stored := slices.Clone(in.Stored)
	slices.SortFunc(stored, func(a, b Stored) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Event, b.Event)) })
	for _, s := range stored {
		f := s.Fact
		if byID[f.Memory] == nil {
			add(Memory{
				ID: f.Memory, Type: f.Type, Key: f.Key, Value: f.Value, Content: f.Content, Call: f.Call, Evidence: f.Evidence,
				Origin: f.Origin, By: f.By, At: s.At.UTC(), Last: s.At.UTC(), Times: 1, Expires: f.Expires,
			})
		}
	}
	for _, call := range calls {
		at := call.Fact.StartedAt.UTC()
		inThis := map[string]bool{}
		for _, f := range call.Fact.Findings {
			key, ok := strings.CutPrefix(f.Field, "memory.")
			if !ok {
				continue
			}
			id := memoryID(in.Caller, key, f)
			if isMark(f.Value) { // it stands for many numbers, and not everybody can tell which
				id = events.Derive(id, call.ID, strconv.Itoa(f.Turn))
				for inThis[id] {
					id = events.Derive(id)
				}
			}
			m := byID[id]
			if m == nil {
				m = add(Memory{
					ID: id, Type: "fact", Key: key, Value: f.Value, Content: f.Value, Call: call.ID, Turn: f.Turn,
					Evidence: f.Evidence, Subject: f.Subject, Origin: fromCall, At: at, Sealed: f.Sealed,
				})
			}
			if !inThis[id] {
				inThis[id], m.Last = true, at
				m.Times++
			}
		}
	}
	for _, id := range in.Forgotten {
		delete(byID, id)
	}
	var out []Memory
	for _, m := range order {
		if byID[m.ID] != nil {
			out = append(out, *m)
		}
	}
	slices.SortFunc(out, func(a, b Memory) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	return out
}

// isMark reports whether a value is what stands for a number left out.
func isMark(v string) bool { return strings.HasPrefix(v, "[") && strings.HasSuffix(v, "]") }

// memoryID is the same for what a caller says again, in any call, so that it
// is kept once, and stays forgotten once it is.
func memoryID(caller, key string, f events.Finding) string {
	value := fold(f.Value)
	if value == "" {
		value = strings.ToLower(f.Value)
	}
	return events.Derive("memory", caller, key, f.Subject, value)
}
