package privacy

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
)

// ExportSchema names the form of a Document. Within v1 it only grows.
const ExportSchema = "neurosphere.ai/export/caller/v1"

// Row is one row as the API shows it, by column.
type Row map[string]any

// Document is everything kept about one caller of one business. Without a
// Caller it is about calls of people whose number was withheld, and what is
// remembered of the business as a whole.
type Document struct {
	Schema     string           `json:"schema"`
	Exported   time.Time        `json:"exported_at"`
	Tenant     events.Tenant    `json:"customer_id"`
	Business   string           `json:"business"`
	Caller     string           `json:"user_id,omitempty"`
	Profile    Row              `json:"profile"` // with what was said, when, in which words, for each field
	Memories   []Row            `json:"memories"`
	Averages   Row              `json:"personality"` // over all calls, in millionths
	Lead       Row              `json:"lead"`
	Statements []Statement      `json:"statements"` // about the caller, made outside of calls
	Calls      []CallDocument   `json:"calls"`
	Texts      []Row            `json:"texts"`          // that belong to no call
	Received   []Received       `json:"texts_received"` // from the caller
	OptOuts    []Row            `json:"opt_outs"`
	Other      map[string][]Row `json:"other,omitempty"` // rows of tables that have no place above
	Retention  events.Retention `json:"retention"`       // how long what is kept, in days
	Notes      []string         `json:"notes"`
}

// Statement is a fact about a caller as it was stated.
type Statement struct {
	Event string          `json:"event_id"`
	Name  string          `json:"name"`
	At    time.Time       `json:"stated_at"`
	Fact  json.RawMessage `json:"fact"`
}

// CallDocument is one call.
type CallDocument struct {
	ID          string       `json:"call_id"`
	Call        Row          `json:"call"` // null where there is none, as of a call that was imported
	Summary     Row          `json:"summary"`
	Metrics     Row          `json:"metrics"`
	Transcript  []Line       `json:"transcript"` // empty once it has expired
	Derivations []Derivation `json:"derivations"`
	Messages    []Row        `json:"messages"`
	Texts       []Row        `json:"texts"`
	Recordings  []Row        `json:"recordings"`
	Transfers   []Row        `json:"transfers"`
	Answers     []Row        `json:"raw_answers"` // of models, unedited, until they expire
}

// Line is one utterance.
type Line struct {
	At     time.Time    `json:"at"`
	Turn   int          `json:"turn"`
	Role   string       `json:"role"` // caller, agent
	Text   string       `json:"text"`
	Cut    bool         `json:"cut,omitempty"`
	Sealed []SealedLine `json:"sealed,omitempty"`
}

// SealedLine is a number that was kept out of a text, opened.
type SealedLine struct {
	Mark  string `json:"mark"`
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

// Derivation is what was made of a call: by which model, what of it was
// accepted, and what was not and why.
type Derivation struct {
	At       time.Time        `json:"at"`
	Revision int              `json:"revision"`
	Producer events.Producer  `json:"producer"`
	Findings []events.Finding `json:"findings"`
	Rejected []events.Reject  `json:"rejected"`
}

// Received is a text from the caller.
type Received struct {
	At   time.Time `json:"at"`
	SID  string    `json:"sid"`
	To   string    `json:"to"`
	Body string    `json:"body"`
}

// Export is everything kept about one caller; ErrNothing where that is nothing.
func (s *Service) Export(ctx context.Context, t events.Tenant, caller string) (Document, error) {
	if !events.Identified(caller) {
		return Document{}, errors.New("export: a caller is a number, as in +12065550142, or legacy:… where the old service had none")
	}
	all, err := s.documents(ctx, t, []string{caller}, nil)
	if err != nil {
		return Document{}, fmt.Errorf("export: %w", err)
	}
	if d := all[0]; d.Profile == nil && len(d.Calls) == 0 && len(d.Memories) == 0 && len(d.Statements) == 0 && len(d.Texts) == 0 && len(d.Received) == 0 && len(d.OptOuts) == 0 {
		return Document{}, ErrNothing
	}
	return all[0], nil
}

// exportSlice is how many callers are written from one reading of the log.
const exportSlice = 500

// ExportAll hands over everything kept about each caller of a business, and
// last about what is nobody's known.
func (s *Service) ExportAll(ctx context.Context, t events.Tenant, each func(Document) error) error {
	rows, err := s.Store.For(t)
	if err != nil {
		return err
	}
	for after, more := "", true; more; {
		callers, err := rows.Callers(ctx, after, exportSlice)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if more = len(callers) == exportSlice; more {
			after = callers[len(callers)-1]
		}
		all, err := s.documents(ctx, t, callers, nil)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		for _, d := range all {
			if err := each(d); err != nil {
				return err
			}
		}
	}
	calls, err := rows.CallsOfNobody(ctx)
	if err != nil {
		return err
	}
	all, err := s.documents(ctx, t, []string{""}, calls)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if len(calls)+len(all[0].Memories)+len(all[0].Statements) == 0 {
		return nil
	}
	return each(all[0])
}

// documents are those of some callers; or, for a caller without a number, of
// calls.
func (s *Service) documents(ctx context.Context, t events.Tenant, callers, calls []string) ([]Document, error) {
	set, err := s.Store.Settings(ctx, t)
	if err != nil {
		return nil, err
	}
	out := make([]Document, len(callers))
	of := map[string]*CallDocument{}
	by := map[string]*Document{}
	for i, caller := range callers {
		d := &out[i]
		*d = Document{Schema: ExportSchema, Exported: time.Now().UTC(), Tenant: t, Business: set.Name, Caller: caller, Retention: LimitsOf(set), Notes: []string{
			"recordings are kept by Twilio; the addresses are given with each call",
			"numbers are in millionths where a column ends in micros, and in personality",
		}}
		if err := s.fill(ctx, t, d, calls); err != nil {
			return nil, err
		}
		for n := range d.Calls {
			of[d.Calls[n].ID] = &d.Calls[n]
		}
		by[caller] = d
	}
	return out, s.fromLog(ctx, t, of, by)
}

// fill puts a caller's rows where they belong.
func (s *Service) fill(ctx context.Context, t events.Tenant, d *Document, calls []string) error {
	rows, err := s.Store.For(t)
	if err != nil {
		return err
	}
	about := store.Subject{Caller: d.Caller, Calls: calls}
	if d.Caller == "" {
		about.Caller = events.Shared
	} else {
		first, err := rows.RowsAbout(ctx, about)
		if err != nil {
			return err
		}
		for _, table := range []string{"calls", "call_summaries", "personality_metrics"} { // one that was imported is in the latter alone
			for _, raw := range first[table] {
				about.Calls = append(about.Calls, field(raw, "call_id"))
			}
		}
	}
	raw, err := rows.RowsAbout(ctx, about)
	if err != nil {
		return err
	}
	tables := map[string][]Row{}
	for name, list := range raw {
		for _, r := range list {
			var row Row
			if err := json.Unmarshal(r, &row); err != nil {
				return err
			}
			delete(row, "seq")
			tables[name] = append(tables[name], row)
		}
	}
	d.place(tables)
	return nil
}

// place sorts rows, by table, into the document.
func (d *Document) place(tables map[string][]Row) {
	take := func(name string) []Row {
		rows := tables[name]
		delete(tables, name)
		return append([]Row{}, rows...)
	}
	first := func(rows []Row) Row {
		if len(rows) == 0 {
			return nil
		}
		return rows[0]
	}
	d.Profile, d.Averages, d.Lead = first(take("caller_profiles")), first(take("personality_averages")), first(take("leads"))
	d.Memories, d.OptOuts = take("memories"), take("sms_opt_outs")
	d.Statements, d.Received, d.Texts, d.Calls = []Statement{}, []Received{}, []Row{}, []CallDocument{}
	for _, f := range take("caller_facts") {
		if name := text(f["name"]); name != (events.CallSummarized{}).Name() {
			at, _ := time.Parse(time.RFC3339Nano, text(f["stated_at"]))
			d.Statements = append(d.Statements, Statement{Event: text(f["event_id"]), Name: name, At: at, Fact: json.RawMessage(text(f["fact"]))})
		}
	}
	slices.SortFunc(d.Statements, func(a, b Statement) int { return a.At.Compare(b.At) })
	of := map[string]*CallDocument{}
	each := func(name string, put func(c *CallDocument, r Row)) {
		for _, r := range take(name) {
			id := text(r["call_id"])
			if of[id] == nil { // one that was imported has no row in calls
				of[id] = &CallDocument{ID: id, Transcript: []Line{}, Derivations: []Derivation{}, Messages: []Row{}, Texts: []Row{}, Recordings: []Row{}, Transfers: []Row{}, Answers: []Row{}}
			}
			put(of[id], r)
		}
	}
	each("calls", func(c *CallDocument, r Row) { c.Call = r })
	each("call_summaries", func(c *CallDocument, r Row) { c.Summary = r })
	each("personality_metrics", func(c *CallDocument, r Row) { c.Metrics = r })
	each("messages_taken", func(c *CallDocument, r Row) { c.Messages = append(c.Messages, r) })
	each("recordings", func(c *CallDocument, r Row) { c.Recordings = append(c.Recordings, r) })
	each("transfers", func(c *CallDocument, r Row) { c.Transfers = append(c.Transfers, r) })
	each("extractions", func(c *CallDocument, r Row) { c.Answers = append(c.Answers, r) })
	for _, m := range take("texts") {
		if c := of[text(m["call_id"])]; c != nil {
			c.Texts = append(c.Texts, m)
		} else {
			d.Texts = append(d.Texts, m)
		}
	}
	for _, c := range of {
		d.Calls = append(d.Calls, *c)
	}
	slices.SortFunc(d.Calls, func(a, b CallDocument) int {
		return cmp.Or(strings.Compare(a.began(), b.began()), strings.Compare(a.ID, b.ID))
	})
	delete(tables, "sms_outbox")  // what texts say already
	delete(tables, "call_claims") // what calls do
	if len(tables) > 0 {
		d.Other = tables
	}
}

func text(v any) string { s, _ := v.(string); return s }

// began is when a call came in, as far as its rows tell.
func (c CallDocument) began() string {
	return cmp.Or(text(c.Call["received_at"]), text(c.Summary["call_date"]))
}

// fromLog adds what only the log has.
func (s *Service) fromLog(ctx context.Context, t events.Tenant, of map[string]*CallDocument, by map[string]*Document) error {
	names := []string{events.CallAnswered{}.Name(), events.TurnHeard{}.Name(), events.TurnSpoken{}.Name(), events.CallSummarized{}.Name(), events.SMSReceived{}.Name()}
	seen := map[string]bool{}
	_, err := s.Bus.Search(ctx, t, 1, names, func(st bus.Stored) error {
		call := of[st.Call()]
		if call == nil && st.Name != (events.SMSReceived{}).Name() {
			return nil
		}
		e, err := st.Event()
		if err != nil || seen[e.ID] {
			return nil //nolint:nilerr // what cannot be read is nobody's to show
		}
		seen[e.ID] = true
		switch f := e.Fact.(type) {
		case events.CallAnswered:
			call.Transcript = append(call.Transcript, Line{At: e.Time, Role: events.RoleAgent, Text: f.Greeting})
		case events.TurnHeard:
			call.Transcript = append(call.Transcript, Line{At: e.Time, Turn: f.Turn, Role: events.RoleCaller, Text: f.Text, Sealed: s.opened(t, f.Sealed)})
		case events.TurnSpoken:
			call.Transcript = append(call.Transcript, Line{At: e.Time, Turn: f.Turn, Role: events.RoleAgent, Text: f.Text, Cut: f.Cut})
		case events.CallSummarized:
			call.Derivations = append(call.Derivations, Derivation{At: e.Time, Revision: f.Revision, Producer: f.Producer, Findings: f.Findings, Rejected: f.Rejected})
		case events.SMSReceived:
			if d := by[f.From]; d != nil {
				d.Received = append(d.Received, Received{At: e.Time, SID: f.SID, To: f.To, Body: f.Body})
			}
		}
		return nil
	})
	for _, c := range of {
		slices.SortStableFunc(c.Transcript, func(a, b Line) int { return a.At.Compare(b.At) })
	}
	return err
}

// opened are sealed numbers that this installation can open.
func (s *Service) opened(t events.Tenant, all []events.Sealed) (out []SealedLine) {
	for _, x := range all {
		raw, err := base64.StdEncoding.DecodeString(x.Value)
		if err != nil || s.Vault == nil {
			continue
		}
		if v, err := s.Vault.Open(t, "turn", raw); err == nil {
			out = append(out, SealedLine{Mark: x.Mark, Kind: x.Kind, Value: v})
		}
	}
	return out
}

//go:embed export.html
var page string

// HTML is the document as a page to read, which needs nothing beside it.
func (d Document) HTML(w io.Writer) error {
	t, err := template.New("export").Funcs(template.FuncMap{
		"json": func(v any) (string, error) {
			raw, err := json.MarshalIndent(v, "", "  ")
			return string(raw), err
		},
		"plain": plain,
		"began": func(c CallDocument) string { return cmp.Or(c.began(), plain(nil)) },
		"when": func(at time.Time) string {
			if at.IsZero() {
				return ""
			}
			return at.UTC().Format("2 Jan 2006 15:04 UTC")
		},
		"fields": fields,
	}).Parse(page)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := t.Execute(&text, d); err != nil {
		return err
	}
	_, err = io.WriteString(w, Legible(text.String()))
	return err
}

// Legible is text or a page of it with the characters written out that would
// hide what stands beside them or turn it around; marks of one letter's
// direction stay, which text from right to left needs.
func Legible(text string) string {
	odd := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069'
	}
	if !strings.ContainsFunc(text, odd) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if odd(r) {
			fmt.Fprintf(&b, "[%U]", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Field is one value of a profile, for people.
type Field struct {
	Path  string
	Value any
	From  Row // where it comes from
}

// fields are those of a profile row, by path.
func fields(profile Row) (out []Field) {
	inner, _ := profile["profile"].(map[string]any)
	all, ok := inner["fields"].(map[string]any)
	if !ok {
		all = inner
	}
	for path, v := range all {
		f := Field{Path: path, Value: v}
		if from, ok := v.(map[string]any); ok {
			f.Value, f.From = from["value"], from
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// plain is a value as people read it.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case string:
		return v
	case float64:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.6f", v), "0"), ".")
	case bool:
		return fmt.Sprint(v)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
