package legacy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/settings"
)

// importSource names this import in caller.imported, and in By.
const importSource = "legacy"

// ImportOptions say whose the old service's rows become. DSN and Tenant are
// needed.
type ImportOptions struct {
	DSN      string
	Tenant   events.Tenant
	Region   string                   // where numbers of ten digits are of; default US
	Dry      bool                     // say what would be done
	Erased   func(caller string) bool // callers that must not come back; may be nil
	Progress func(what string, n int) // told from time to time; may be nil
	Now      func() time.Time         // for tests; default time.Now
	Stated   func(events.Event)       // for tests: told of what is stated
}

// ImportReport is what was done.
type ImportReport struct {
	Dry      bool           `json:"dry_run,omitempty"`
	Tables   []TableReport  `json:"tables"`
	Callers  int            `json:"callers"`
	Others   int            `json:"not_numbers"` // callers known by something else than a number
	Stated   int            `json:"stated"`      // facts, new
	Changed  int            `json:"changed"`     // of those: another word than before
	Same     int            `json:"same"`        // stated before
	LeftOut  map[string]int `json:"left_out"`    // by reason
	Notes    map[string]int `json:"notes"`       // what was changed on the way, by reason
	Expected Totals         `json:"expected"`    // what the rows say
	Took     time.Duration  `json:"took_ns"`
}

// TableReport counts one table's rows.
type TableReport struct {
	Table  string `json:"table"`
	Read   int    `json:"read"`
	Merged int    `json:"merged"` // said of what another row said something of, too
}

// Totals are sums over callers.
type Totals struct {
	Callers   int              `json:"callers"`
	Calls     int              `json:"total_calls"`
	Summaries int              `json:"summaries"`
	Memories  int              `json:"memories"`
	Traits    map[string]Trait `json:"traits"`
}

func (t *Totals) add(p Profile) {
	t.Callers++
	t.Calls += p.Calls
	t.Summaries += p.Summaries
	t.Memories += p.Memories
	for name, v := range p.Traits {
		add(t.Traits, name, v)
	}
}

// errPublishing ends the reading when publishing has failed; why is said there.
var errPublishing = errors.New("facts are not taken")

type importer struct {
	ImportOptions
	yield   func(events.Event, error) bool // publishes
	before  *ledger
	report  ImportReport
	callers map[string]string // by user_id, as far as room was
	said    time.Time
	done    int
}

// Import states what the old service knew as facts of a tenant, of which rows
// are made and which no worker acts on. It reads a little at a time. It can be
// stopped and run again: what was stated before is not stated again, and rows
// that have changed since are stated anew.
func Import(ctx context.Context, b *bus.Bus, o ImportOptions) (ImportReport, error) {
	if o.Region == "" {
		o.Region = "US"
	}
	if !settings.Region(o.Region) {
		return ImportReport{}, errors.New("there is no region " + o.Region)
	}
	if !o.Tenant.Valid() {
		return ImportReport{}, events.ErrNoTenant
	}
	if o.Progress == nil {
		o.Progress = func(string, int) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	began := time.Now()
	im := &importer{ImportOptions: o, callers: map[string]string{}, said: began, report: ImportReport{
		Dry: o.Dry, Tables: []TableReport{}, LeftOut: map[string]int{}, Notes: map[string]int{}, Expected: Totals{Traits: map[string]Trait{}},
	}}
	s, err := open(ctx, o.DSN, o.Tenant)
	if err != nil {
		return im.report, err
	}
	defer s.close()
	if im.before, err = readLedger(ctx, b, o.Tenant, o.Progress); err != nil {
		return im.report, err
	}
	err = b.PublishAll(ctx, func(yield func(events.Event, error) bool) {
		im.yield = yield
		if err := im.run(ctx, s); err != nil && !errors.Is(err, errPublishing) {
			yield(events.Event{}, err)
		}
	}, nil)
	im.report.Took = time.Since(began)
	return im.report, lost(ctx, s.conn, err)
}

func (im *importer) run(ctx context.Context, s *source) error {
	w, err := s.walk(ctx)
	if err != nil {
		return err
	}
	for {
		key, more, err := w.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		people, err := w.group(ctx, key, im.Region, s, func(c call) error { return im.call(c) })
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(people)) {
			if err := im.person(people[name]); err != nil {
				return err
			}
		}
	}
	read := map[string]int{tableSummaries: w.summaries.read, tableProfiles: w.profiles.read, tableMetrics: w.metrics.read, tableAverages: w.averages.read}
	if read[tableMemories], err = im.memories(ctx, s); err != nil {
		return err
	}
	all := 0
	for _, name := range tables {
		t := TableReport{Table: name, Read: read[name]}
		switch name {
		case tableSummaries:
			t.Merged = t.Read - im.report.Expected.Summaries
		case tableProfiles:
			t.Merged = t.Read - im.report.Notes[profilesKept]
		case tableAverages:
			t.Merged = t.Read - im.report.Notes[averagesKept]
		}
		all += t.Read
		im.report.Tables = append(im.report.Tables, t)
	}
	delete(im.report.Notes, profilesKept)
	delete(im.report.Notes, averagesKept)
	if all == 0 {
		return s.others(ctx)
	}
	return nil
}

// Counted beside what is noted for people.
const (
	profilesKept = "callers with a profile"
	averagesKept = "callers with averages"
)

func (im *importer) note(what string, cut bool) {
	if cut {
		im.report.Notes[what]++
	}
}

// state publishes a fact unless it was stated before.
func (im *importer) state(all ...events.Event) error {
	for _, e := range all {
		e.History = true
		if im.Stated != nil {
			im.Stated(e)
		}
		if im.Dry {
			continue
		}
		if !im.yield(e, nil) {
			return errPublishing
		}
	}
	im.report.Stated++
	return nil
}

// tell reports progress.
func (im *importer) tell(what string) {
	im.done++
	if time.Since(im.said) > progressEvery {
		im.said = time.Now()
		im.Progress(what, im.done)
	}
}

// leave reports whether a caller's things are left out.
func (im *importer) leave(caller, what string) bool {
	if im.Erased == nil || !im.Erased(caller) {
		return false
	}
	im.report.LeftOut[what+" of an erased caller"]++
	return true
}

// again decides what becomes of something: stated the first time, stated anew
// as the nth word on it, or not at all.
func (im *importer) again(kind, id string, digest uint64) (nth int, do bool) {
	had, ok := im.before.have[thing(kind, id)]
	switch {
	case im.before.closed[thing(kind, id)]:
		im.report.LeftOut[kind+" known otherwise by now, or erased or forgotten"]++
		return 0, false
	case ok && had.digest == digest:
		im.report.Same++
		return 0, false
	case ok:
		im.report.Changed++
		return int(had.nth) + 1, true
	}
	return 0, true
}

// epoch is when things were that have no time; latest is as late as can be
// written down.
var (
	epoch  = time.Unix(0, 0).UTC()
	latest = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)
)

// call states one summary.
func (im *importer) call(c call) error {
	im.tell("calls and callers")
	if im.leave(c.person.Caller, "a call") {
		return nil
	}
	id := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(c.id, "_"))
	if len(id) > 255 {
		id = importSource + ":" + events.Derive("call", id)
		im.note("call ids too long to keep", true)
	}
	f, at := im.summary(c)
	nth, do := im.again("a call", id, digestOf(f, at))
	if !do {
		return nil
	}
	f.Revision = nth
	return im.state(events.New(im.Tenant, id, at, f))
}

func (im *importer) summary(c call) (events.CallSummarized, time.Time) {
	r := c.row
	at := epoch
	if r.Date != nil {
		at = r.Date.UTC()
	} else {
		im.note("calls without a time", true)
	}
	f := events.CallSummarized{
		Caller: c.person.Caller, StartedAt: at, EndedAt: at, Topics: []string{}, Findings: []events.Finding{}, Rejected: []events.Reject{},
		Messages: []events.Message{}, Style: []events.Measure{}, Producer: events.Producer{Model: "legacy"}, Via: events.ViaImport, Variables: map[string]string{},
	}
	if r.Seconds != nil && *r.Seconds > 0 {
		f.Seconds = *r.Seconds
		if f.EndedAt = at.Add(time.Duration(f.Seconds) * time.Second); f.EndedAt.After(latest) {
			f.EndedAt = latest
		}
	}
	var cut bool
	f.Summary, cut = words(r.Summary, maxLong)
	im.note("summaries cut", cut)
	if r.Topics != nil {
		f.Topics, cut = topics(*r.Topics)
		im.note("lists of topics cut", cut)
	}
	if r.Variables != nil {
		f.Variables, cut = variables(*r.Variables)
		im.note("key variables cut", cut)
	}
	f.Sentiment = im.allowed(r.Sentiment, "neutral", "sentiments", "positive", "neutral", "negative", "frustrated", "satisfied")
	f.Resolution = im.allowed(r.Resolution, "unknown", "resolutions", "resolved", "pending", "escalated", "unknown")
	if c.style != nil {
		for i, name := range traits() {
			if v, ok := micros(c.style.Values[i]); ok {
				f.Style = append(f.Style, events.Measure{Metric: name, Micros: v})
			}
		}
	}
	return f, at
}

func variables(text string) (map[string]string, bool) {
	const whole = "v"
	all, out := map[string]string{}, map[string]string{}
	cut := named(whole, text, all)
	for k, v := range all {
		if name, ok := strings.CutPrefix(k, whole+"."); ok {
			out[name] = v
		} else {
			out["key_variables"] = v
		}
	}
	return out, cut
}

// allowed is one of the words a fact may hold.
func (im *importer) allowed(said *string, other, what string, words ...string) string {
	if said == nil || strings.TrimSpace(*said) == "" {
		return other
	}
	if w := strings.ToLower(strings.TrimSpace(*said)); slices.Contains(words, w) {
		return w
	}
	im.note(what+" of no known name", true)
	return other
}

// person states what is known about a caller beside calls and memories.
func (im *importer) person(p *person) error {
	im.tell("calls and callers")
	calls := Profile{First: p.First, Last: p.Last}
	beyond := p.merge()
	im.report.Callers++
	if strings.HasPrefix(p.Caller, events.Legacy) {
		im.report.Others++
	}
	profiles, averages := 0, 0
	for _, s := range p.spellings {
		profiles += len(s.profiles)
		averages += len(s.averages)
	}
	im.note(profilesKept, profiles > 0)
	im.note(averagesKept, averages > 0)
	im.note("profiles cut", p.cut > 0)
	im.note("numbers of calls too large to keep", p.capped)
	if im.leave(p.Caller, "a caller") {
		return nil
	}
	im.report.Expected.add(p.Profile)
	for name, t := range p.extra {
		add(beyond, name, t)
	}
	f := events.CallerImported{
		Caller: p.Caller, Source: importSource, First: p.First, Last: p.Last, Calls: p.Calls - p.Summaries, KnownAs: p.Name, Fields: p.Fields,
	}
	for _, name := range slices.Sorted(maps.Keys(beyond)) {
		f.Averages = append(f.Averages, events.ImportedAverage{Metric: name, N: beyond[name].N, Sum: beyond[name].Sum})
	}
	if f.Calls == 0 && f.KnownAs == "" && len(f.Fields) == 0 && len(f.Averages) == 0 && f.First.Equal(calls.First) && f.Last.Equal(calls.Last) {
		if _, before := im.before.have[thing("a caller", p.Caller)]; !before {
			return nil // calls and memories say it all
		}
	}
	digest := digestOf(f, time.Time{})
	nth, do := im.again("a caller", p.Caller, digest)
	if !do {
		return nil
	}
	f.Digest = fmt.Sprintf("%d-%016x", nth, digest)
	return im.state(events.New(im.Tenant, "", im.Now(), f))
}

// memories states each. A changed one takes the place of the former, under the
// same id with a number after it.
func (im *importer) memories(ctx context.Context, s *source) (read int, err error) {
	c, err := s.memories(ctx)
	if err != nil {
		return 0, err
	}
	for {
		r, err := c.peek(ctx)
		if err != nil || r == nil {
			return c.read, err
		}
		if err := im.memory(c.take()); err != nil {
			return c.read, err
		}
	}
}

func (im *importer) memory(r memoryRow) error {
	im.tell("memories")
	caller, known := im.callers[r.User]
	if !known {
		if caller = CallerOf(r.User, im.Region); len(im.callers) < 100_000 {
			im.callers[r.User] = caller
		}
	}
	if im.leave(caller, "a memory") {
		return nil
	}
	if r.ID == "" {
		r.ID = events.Derive("legacy", r.User, text(r.Type), text(r.Key), text(r.Value))
		im.note("memories without an id", true)
	}
	at := epoch
	if r.Created != nil {
		at = r.Created.UTC()
	} else {
		im.note("memories without a time", true)
	}
	id := memoryID(r.ID)
	f := events.MemoryStored{Memory: id, Caller: caller, Type: text(r.Type), Origin: "import", By: importSource}
	if f.Type == "" {
		f.Type = "fact"
	}
	var cut, long bool
	f.Key, long = words(text(r.Key), maxShort)
	f.Value, f.Content, cut = value(text(r.Value))
	im.note("memories cut", cut || long)
	nth, do := im.again("a memory", id, digestOf(f, at))
	if !do {
		return nil
	}
	if nth == 0 {
		return im.state(events.New(im.Tenant, "", at, f))
	}
	former := id
	if nth > 1 {
		former = fmt.Sprintf("%s.%d", id, nth-1)
	} else if im.before.have[thing("a memory", id)].own {
		former = r.ID
	}
	f.Memory = fmt.Sprintf("%s.%d", id, nth)
	return im.state(events.New(im.Tenant, "", im.Now(), events.MemoryForgotten{Memory: former, Caller: caller, By: importSource}), events.New(im.Tenant, "", at, f))
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
