package legacy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/internal/store"
)

// Profiles hands over what an old database says of each caller, in an order of
// its own. It reads one that was migrated as well as one that was not, and says
// the same of both.
func Profiles(ctx context.Context, o ImportOptions, each func(Profile) error) (err error) {
	if o.Region == "" {
		o.Region = "US"
	}
	s, err := open(ctx, o.DSN, o.Tenant)
	if err != nil {
		return err
	}
	defer s.close()
	defer func() { err = lost(ctx, s.conn, err) }()
	w, err := s.walk(ctx)
	if err != nil {
		return err
	}
	for {
		key, more, err := w.next(ctx)
		if err != nil || !more {
			return err
		}
		people, err := w.group(ctx, key, o.Region, s, func(call) error { return nil })
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(people)) {
			p := people[name]
			p.merge()
			if err := each(p.Profile); err != nil {
				return err
			}
		}
	}
}

// Compared says whether what the old service knew is in the rows.
type Compared struct {
	Callers int      `json:"callers"`
	Same    int      `json:"same"`
	More    int      `json:"more"`              // everything is there, and something since
	Less    int      `json:"less"`              // something is missing
	Missing []string `json:"missing,omitempty"` // what it is, by kind of thing; no words and no numbers of callers
	Rows    Totals   `json:"rows"`
	Old     Totals   `json:"old"`
}

// compareAtOnce callers are looked up at a time.
const compareAtOnce = 500

// Compare looks each caller of an old database up in a tenant's rows.
func Compare(ctx context.Context, s *store.Store, o ImportOptions) (c Compared, err error) {
	t, err := s.For(o.Tenant)
	if err != nil {
		return c, err
	}
	c.Rows.Traits, c.Old.Traits = map[string]Trait{}, map[string]Trait{}
	missing := map[string]int{}
	var batch []Profile
	look := func() error {
		users := make([]string, 0, len(batch))
		for _, p := range batch {
			users = append(users, p.Caller)
		}
		rows, err := t.CallersKnown(ctx, users)
		if err != nil {
			return err
		}
		for _, p := range batch {
			c.one(p, rows[p.Caller], missing)
		}
		batch = batch[:0]
		return nil
	}
	err = Profiles(ctx, o, func(p Profile) error {
		if o.Erased != nil && o.Erased(p.Caller) {
			return nil
		}
		if batch = append(batch, p); len(batch) < compareAtOnce {
			return nil
		}
		return look()
	})
	if err == nil {
		err = look()
	}
	for _, what := range slices.Sorted(maps.Keys(missing)) {
		c.Missing = append(c.Missing, fmt.Sprintf("%s of %d", what, missing[what]))
	}
	return c, err
}

func (c *Compared) one(p Profile, k store.CallerKnown, missing map[string]int) {
	c.Callers++
	c.Old.add(p)
	have, err := profileOf(p.Caller, k)
	if err != nil {
		missing["a readable profile"]++
	}
	c.Rows.add(have)
	less, more := Difference(p, have)
	for _, what := range less {
		missing[what]++
	}
	switch {
	case len(less) > 0:
		c.Less++
	case more:
		c.More++
	default:
		c.Same++
	}
}

// profileOf is a caller as our rows have it.
func profileOf(caller string, k store.CallerKnown) (Profile, error) {
	p := Profile{Caller: caller, Name: k.Name, Calls: k.Calls, Summaries: k.Summaries, Memories: k.Memories, Fields: map[string]string{}, Traits: map[string]Trait{}}
	for at, v := range map[*time.Time]*time.Time{&p.First: k.First, &p.Last: k.Last} {
		if v != nil {
			*at = v.UTC()
		}
	}
	var fields map[string]struct {
		Value string `json:"value"`
	}
	if len(k.Profile) > 0 {
		if err := json.Unmarshal(k.Profile, &fields); err != nil {
			return p, err
		}
	}
	for path, f := range fields {
		if strings.HasPrefix(path, "imported.") {
			p.Fields[path] = f.Value
		}
	}
	for name, a := range k.Averages {
		p.Traits[name] = Trait{a.N, a.Sum}
	}
	return p, nil
}

// Difference names what of a profile is missing in another, and whether the
// other has more. Sums of traits count as the same within a millionth a call.
func Difference(old, have Profile) (less []string, more bool) {
	count := func(what string, was, is int) {
		if is < was {
			less = append(less, what)
		}
		more = more || is > was
	}
	count("calls", old.Calls, have.Calls)
	count("summaries", old.Summaries, have.Summaries)
	count("memories", old.Memories, have.Memories)
	if old.Name != "" && have.Name == "" {
		less = append(less, "name")
	}
	more = more || old.Name != have.Name
	if !old.First.IsZero() && (have.First.IsZero() || have.First.After(old.First)) {
		less = append(less, "first call")
	}
	if have.Last.Before(old.Last) {
		less = append(less, "last call")
	}
	more = more || !old.First.Equal(have.First) || !old.Last.Equal(have.Last)
	for path, v := range old.Fields {
		if _, ok := have.Fields[path]; !ok {
			less = append(less, "fields")
			break
		}
		more = more || have.Fields[path] != v
	}
	more = more || len(have.Fields) > len(old.Fields)
	for name, t := range old.Traits {
		is := have.Traits[name]
		if off := is.Sum - t.Sum; is.N < t.N || is.N == t.N && max(off, -off) > t.N {
			less = append(less, "traits")
			break
		}
		more = more || is.N > t.N
	}
	more = more || len(have.Traits) > len(old.Traits)
	return less, more
}

// Wait compares until nothing is missing, or until that makes no headway for
// some time: somebody has to write the rows.
func Wait(ctx context.Context, s *store.Store, o ImportOptions, idle time.Duration, progress func(Compared)) (Compared, error) {
	best, since := -1, time.Now()
	for {
		c, err := Compare(ctx, s, o)
		if err != nil || c.Less == 0 {
			return c, err
		}
		if progress != nil {
			progress(c)
		}
		if best < 0 || c.Less < best {
			best, since = c.Less, time.Now()
		}
		if time.Since(since) > idle {
			return c, nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return c, err
		}
	}
}
