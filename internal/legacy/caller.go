package legacy

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Trait is one trait over N calls, in millionths.
type Trait struct {
	N   int64 `json:"n"`
	Sum int64 `json:"sum_micros"`
}

// Profile is what there is about one caller, however it is kept.
type Profile struct {
	Caller    string            `json:"caller"`
	Name      string            `json:"name"`
	First     time.Time         `json:"first_call_at"` // zero: not known
	Last      time.Time         `json:"last_call_at"`
	Calls     int               `json:"total_calls"`
	Summaries int               `json:"summaries"`
	Memories  int               `json:"memories"`
	Fields    map[string]string `json:"fields"` // by path
	Traits    map[string]Trait  `json:"traits"`
}

// spelling is what the old service kept under one user_id.
type spelling struct {
	user     string
	profiles []profileRow // oldest word first
	averages []averageRow
	metrics  int // rows
	measured map[string]sum
}

type sum struct {
	n int64
	v float64
}

// person is everything about one caller while it is gathered.
type person struct {
	Profile
	spellings map[string]*spelling
	measured  map[string]Trait // of all metrics
	extra     map[string]Trait // of metrics that came with no summary
	cut       int
	capped    bool // there were more calls than can be counted
}

func newPerson(caller string) *person {
	return &person{
		Profile:   Profile{Caller: caller, Fields: map[string]string{}, Traits: map[string]Trait{}},
		spellings: map[string]*spelling{}, measured: map[string]Trait{}, extra: map[string]Trait{},
	}
}

func (p *person) as(user string) *spelling {
	if p.spellings[user] == nil {
		p.spellings[user] = &spelling{user: user, measured: map[string]sum{}}
	}
	return p.spellings[user]
}

func (p *person) widen(at *time.Time) {
	if at == nil {
		return
	}
	t := at.UTC()
	if p.First.IsZero() || t.Before(p.First) {
		p.First = t
	}
	if t.After(p.Last) {
		p.Last = t
	}
}

// micros is a trait as facts carry it; ok is false for what is no measure.
func micros(v *float64) (n int64, ok bool) {
	if v == nil || math.IsNaN(*v) {
		return 0, false
	}
	return int64(math.Round(min(max(*v, 0), 100) * 1e6)), true
}

// measure counts one row of metrics.
func (p *person) measure(m metricRow, withSummary bool) {
	s := p.as(m.User)
	s.metrics++
	for i, name := range traits() {
		v, ok := micros(m.Values[i])
		if !ok {
			continue
		}
		s.measured[name] = sum{s.measured[name].n + 1, s.measured[name].v + *m.Values[i]}
		add(p.measured, name, Trait{1, v})
		if !withSummary {
			add(p.extra, name, Trait{1, v})
		}
	}
}

func add(to map[string]Trait, name string, t Trait) {
	to[name] = Trait{to[name].N + t.N, to[name].Sum + t.Sum}
}

// merge makes one of all that was kept under the caller's spellings, first each
// spelling by itself, as a migration does, then all of them: the newest word
// counts, calls add up. It yields the traits that no metrics were kept for.
func (p *person) merge() (beyond map[string]Trait) {
	all := slices.Collect(maps.Values(p.spellings))
	slices.SortFunc(all, func(a, b *spelling) int {
		return cmp.Or(a.updated().Compare(b.updated()), strings.Compare(a.user, b.user))
	})
	total := int64(0)
	claimed := map[string]sum{}
	for _, s := range all {
		for _, r := range s.profiles {
			if r.Calls != nil {
				total += int64(*r.Calls)
			}
			p.widen(r.First)
			p.widen(r.Last)
			if r.Name != nil && *r.Name != "" {
				name, _ := words(*r.Name, maxShort)
				p.Name = name
			}
		}
		p.say("imported.preferences", s.profiles, func(r profileRow) *string { return r.Preferences })
		p.say("imported.context", s.profiles, func(r profileRow) *string { return r.Context })
		s.claim(claimed)
		if n := len(s.averages); n > 0 {
			p.trend("satisfaction", s.averages[n-1].Satisfaction)
			p.trend("frustration", s.averages[n-1].Frustration)
		}
	}
	p.capped = total > math.MaxInt32
	p.Calls = max(int(min(total, math.MaxInt32)), p.Summaries)
	beyond = map[string]Trait{}
	for _, name := range traits() {
		have := p.measured[name]
		if left := claimed[name].n - have.N; left > 0 {
			rest := int64(math.Round(claimed[name].v*1e6)) - have.Sum
			beyond[name] = Trait{left, min(max(rest, 0), left*100e6)}
		}
		if t := (Trait{have.N + beyond[name].N, have.Sum + beyond[name].Sum}); t.N > 0 {
			p.Traits[name] = t
		}
	}
	p.late(all)
	return beyond
}

// late takes the times of metrics and averages, where nothing else has any.
func (p *person) late(all []*spelling) {
	if !p.First.IsZero() {
		return
	}
	for _, s := range all {
		for _, a := range s.averages {
			p.widen(a.Updated)
		}
	}
}

func (p *person) trend(of string, said *string) {
	if said != nil && *said != "" {
		p.Fields["imported."+of+"_trend"], _ = words(*said, maxShort)
	}
}

// updated is when the newest word of a spelling was said.
func (s *spelling) updated() (at time.Time) {
	for _, r := range s.profiles {
		if r.Updated != nil && r.Updated.After(at) {
			at = *r.Updated
		}
	}
	return at
}

// say takes what profiles of one spelling hold as JSON: objects are laid over
// each other; where there is none, the newest value is taken.
func (p *person) say(path string, rows []profileRow, of func(profileRow) *string) {
	object, other := map[string]string{}, map[string]string{}
	for _, r := range rows {
		text := of(r)
		if text == nil {
			continue
		}
		into := object
		if v, ok := parse(*text); !ok {
			continue
		} else if _, ok := v.(map[string]any); !ok {
			into, other = map[string]string{}, map[string]string{}
			other[path] = "" // the newest, whatever it is
			if named(path, *text, into); into[path] == "" {
				delete(other, path)
			} else {
				other[path] = into[path]
			}
			continue
		}
		if named(path, *text, into) {
			p.cut++
		}
	}
	if len(object) > 0 {
		other = object
	}
	maps.Copy(p.Fields, other)
}

// claim adds what the averages of a spelling say of how many calls. Of several
// rows one is made as a migration does: of the metrics where there are as many
// as calls, else each by its calls.
func (s *spelling) claim(to map[string]sum) {
	calls := 0
	for _, a := range s.averages {
		if a.Calls != nil {
			calls += max(*a.Calls, 0)
		}
	}
	for i, name := range averaged {
		var n int
		var v float64
		known := false
		for _, a := range s.averages {
			if _, ok := micros(a.Values[i]); ok {
				known = true
				if a.Calls != nil {
					n += max(*a.Calls, 0)
					v += *a.Values[i] * float64(max(*a.Calls, 0))
				}
			}
		}
		m := s.measured[name]
		mean := v / float64(max(n, 1))
		if len(s.averages) > 1 && s.metrics > 0 && s.metrics >= calls && m.n > 0 {
			mean, known = m.v/float64(m.n), true
		} else if n == 0 { // nothing but rows of no call: the newest has the word
			if len(s.averages) == 0 {
				continue
			}
			newest := s.averages[len(s.averages)-1].Values[i]
			if _, known = micros(newest); known {
				mean = *newest
			}
		}
		if known && calls > 0 {
			to[name] = sum{to[name].n + int64(calls), to[name].v + mean*float64(calls)}
		}
	}
}

// call is one call of one caller with its first metrics; Metrics is empty
// without.
type call struct {
	person *person
	id     string
	row    summaryRow
	style  *metricRow
}

// group reads the callers of one key: calls are handed over one by one, then
// each caller.
func (w walk) group(ctx context.Context, key, region string, s *source, each func(call) error) (map[string]*person, error) {
	people := map[string]*person{}
	of := func(user string) *person {
		c := CallerOf(user, region)
		if people[c] == nil {
			people[c] = newPerson(c)
		}
		return people[c]
	}
	if err := w.calls(ctx, key, s, of, each); err != nil {
		return nil, err
	}
	profiles, err := w.profiles.while(ctx, func(r profileRow) bool { return r.Near == key })
	if err != nil {
		return nil, err
	}
	for _, r := range profiles {
		sp := of(r.User).as(r.User)
		sp.profiles = append(sp.profiles, r)
	}
	averages, err := w.averages.while(ctx, func(r averageRow) bool { return r.Near == key })
	if err != nil {
		return nil, err
	}
	for _, r := range averages {
		sp := of(r.User).as(r.User)
		sp.averages = append(sp.averages, r)
	}
	counts, err := w.counts.while(ctx, func(r countRow) bool { return r.Near == key })
	if err != nil {
		return nil, err
	}
	for _, r := range counts {
		of(r.User).Memories += r.N
	}
	return people, nil
}

// calls merges summaries and metrics of one key by call.
func (w walk) calls(ctx context.Context, key string, s *source, of func(user string) *person, each func(call) error) error {
	for {
		a, err := w.summaries.peek(ctx)
		if err != nil {
			return err
		}
		b, err := w.metrics.peek(ctx)
		if err != nil {
			return err
		}
		var ids []string
		if a != nil && a.Near == key {
			ids = append(ids, a.Call)
		}
		if b != nil && b.Near == key {
			ids = append(ids, b.Call)
		}
		if len(ids) == 0 {
			return nil
		}
		id := slices.Min(ids)
		rows, err := w.summaries.while(ctx, func(r summaryRow) bool { return r.Near == key && r.Call == id })
		if err != nil {
			return err
		}
		metrics, err := w.metrics.while(ctx, func(r metricRow) bool { return r.Near == key && r.Call == id })
		if err != nil {
			return err
		}
		if err := oneCall(id, rows, metrics, s.shared[id], of, each); err != nil {
			return err
		}
	}
}

// oneCall hands over the summaries of one call_id, newest first in rows: one of
// each caller, or all where the id names no call.
func oneCall(id string, rows []summaryRow, metrics []metricRow, shared bool, of func(string) *person, each func(call) error) error {
	callers := map[string]bool{}
	for _, r := range rows {
		callers[of(r.User).Caller] = true
	}
	shared = shared || len(callers) > 1
	styled, seen := map[string]bool{}, map[string]bool{}
	for _, r := range rows {
		p := of(r.User)
		if seen[p.Caller] && !shared {
			continue
		}
		seen[p.Caller] = true
		c := call{person: p, id: id, row: r}
		if shared {
			c.id = ownCall(r.ID)
		}
		for i, m := range metrics {
			if of(m.User) == p && id != "" && !styled[p.Caller] {
				c.style, styled[p.Caller] = &metrics[i], true
				p.measure(m, true)
				metrics = slices.Delete(slices.Clone(metrics), i, i+1)
				break
			}
		}
		p.Summaries++
		p.widen(r.Date)
		if err := each(c); err != nil {
			return err
		}
	}
	for _, m := range metrics {
		of(m.User).measure(m, false)
	}
	return nil
}
