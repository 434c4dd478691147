package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// Projection is one transaction in which the rows that events of one tenant
// lead to are written, together with how far the stream has been applied. One
// event of another tenant, and none of it is: ErrWrongTenant.
//
// Rows are gathered and written table by table. Writing what an event says
// again changes nothing, and events may come in any order.
type Projection struct {
	Applied uint64 // sequence of the last event applied before
	Event   string // its id; empty where a former version applied it

	ctx     context.Context
	q       tx
	name    string
	rows    gathered
	erased  bool  // calls of the tenant were
	forgets bool  // callers of the tenant were erased
	err     error // why nothing may be written
}

// Project runs f in such a transaction. streamCreated is when the stream came
// to be; ErrRecreated when the rows are of another one.
func (t *Tenant) Project(ctx context.Context, name string, streamCreated time.Time, f func(*Projection) error) error {
	return t.project(ctx, live, name, streamCreated, f)
}

// The two sets of read models: those in use, and those being rebuilt.
const (
	live    = ""
	rebuilt = "SET LOCAL search_path = rebuild, app"
)

func (t *Tenant) project(ctx context.Context, into, name string, streamCreated time.Time, f func(*Projection) error) error {
	streamCreated = streamCreated.UTC().Truncate(time.Microsecond)
	return t.begin(ctx, func(q tx) error {
		if into != live {
			if _, err := q.tx.Exec(ctx, into); err != nil {
				return err
			}
		}
		_, err := q.exec(ctx, `INSERT INTO projection_offsets (customer_id, projection, seq, stream_created) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING`, name, streamCreated)
		if err != nil {
			return err
		}
		type offset struct {
			Seq     int64
			Event   string
			Created time.Time
			Erased  bool
			Forgets bool
		}
		rows, err := query(ctx, q, pgx.RowToStructByPos[offset], `
			SELECT seq, event_id, stream_created, EXISTS (SELECT FROM erased_calls WHERE customer_id = $1), EXISTS (SELECT FROM erased_callers WHERE customer_id = $1)
			FROM projection_offsets WHERE customer_id = $1 AND projection = $2 FOR UPDATE`, name)
		if err != nil {
			return err
		}
		if !rows[0].Created.Equal(streamCreated) {
			return ErrRecreated
		}
		p := &Projection{Applied: uint64(rows[0].Seq), Event: rows[0].Event, ctx: ctx, q: q, name: name, erased: rows[0].Erased, forgets: rows[0].Forgets}
		if err := f(p); err != nil {
			return err
		}
		return p.flush()
	})
}

// SetApplied notes that every event up to seq, which is of the one given, is in
// the rows.
func (p *Projection) SetApplied(seq uint64, event string) {
	p.rows.applied, p.rows.event = seq, event
}

// of keeps an event of another tenant out of this one's rows.
func (p *Projection) of(e events.Event) {
	if e.Tenant != p.q.id {
		p.err = fmt.Errorf("%w: event %s of %s in rows of %s", ErrWrongTenant, e.ID, e.Tenant, p.q.id)
	}
}

// Received writes what call.received says.
func (p *Projection) Received(e events.Event, f events.CallReceived) {
	p.of(e)
	p.rows.call(callRow{Call: e.Call, Received: true, User: &f.From, Called: &f.To, ReceivedAt: &e.Time, Seq: int64(e.Seq)})
}

// Answered writes what call.answered says.
func (p *Projection) Answered(e events.Event) {
	p.of(e)
	p.rows.call(callRow{Call: e.Call, AnsweredAt: &e.Time, Seq: int64(e.Seq)})
}

// Ended writes what call.ended says. Of the call's beginning it is the only
// word when call.received did not come, or has not yet.
func (p *Projection) Ended(e events.Event, f events.CallEnded) {
	p.of(e)
	p.rows.call(callRow{
		Call: e.Call, User: &f.From, Called: &f.To, ReceivedAt: &f.StartedAt, EndedAt: &f.EndedAt,
		Seconds: &f.Seconds, Reason: &f.Reason, Turns: &f.Turns, Transferred: &f.Transferred, Seq: int64(e.Seq),
	})
}

// Transferred writes what call.transferred says.
func (p *Projection) Transferred(e events.Event, f events.CallTransferred) {
	p.of(e)
	r := transferRow{Call: e.Call, Nth: f.Nth, Rule: f.To, Number: f.Number, Reason: f.Reason, Outcome: f.Outcome, Seq: int64(e.Seq)}
	if f.Outcome == "" {
		r.Began = &e.Time
	}
	p.rows.transfer(r)
}

// Recorded writes what call.recorded says.
func (p *Projection) Recorded(e events.Event, f events.CallRecorded) {
	p.of(e)
	p.rows.recordings = append(p.rows.recordings, recordingRow{e.Call, f.Recording, f.URL, f.Seconds, e.Time, int64(e.Seq)})
}

// MessageTaken writes a message a caller left.
func (p *Projection) MessageTaken(e events.Event, f events.MessageTaken) {
	p.of(e)
	p.rows.messages = append(p.rows.messages, messageRow{e.Call, e.ID, f.For, f.Text, f.Callback, e.Time, int64(e.Seq)})
}

// Stated keeps a fact about a caller, of which the profile is folded.
func (p *Projection) Stated(e events.Event, user string, f events.Fact) error {
	p.of(e)
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	p.rows.facts = append(p.rows.facts, factRow{user, e.ID, f.Name(), e.Call, string(raw), e.Time, int64(e.Seq)})
	return nil
}

// Summarized keeps a call's summary; a later revision replaces it.
func (p *Projection) Summarized(e events.Event, f events.CallSummarized) error {
	p.of(e)
	r := summaryRow{
		Call: e.Call, User: f.Caller, Date: f.StartedAt, Seconds: f.Seconds, Summary: f.Summary, Sentiment: f.Sentiment,
		Resolution: f.Resolution, Revision: f.Revision, Seq: int64(e.Seq),
	}
	variables, metrics := map[string]string{}, map[string]int64{}
	for _, v := range f.Findings {
		variables[v.Field] = v.Value
	}
	if len(f.Findings) == 0 {
		maps.Copy(variables, f.Variables)
	}
	for _, m := range f.Style {
		metrics[m.Metric] = m.Micros
	}
	for to, v := range map[*string]any{&r.Topics: f.Topics, &r.Variables: variables, &r.Metrics: metrics} {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		*to = string(raw)
	}
	p.rows.summary(r)
	if !events.Identified(f.Caller) {
		return nil // nobody's to remember
	}
	f.Producer.Raw = "" // stays in the event
	return p.Stated(e, f.Caller, f)
}

// TextChange is what one event says of a text; empty fields say nothing.
type TextChange struct {
	Message, Call, Recipient, Purpose, Body, SID, Code string
	Requested, Sent, Delivered, Failed                 *time.Time
	Seq                                                uint64
}

// Text writes what an event says of a text, whatever came before.
func (p *Projection) Text(e events.Event, c TextChange) {
	p.of(e)
	c.Seq = e.Seq
	p.rows.text(c)
}

// OptOut notes that number wants no texts, or wants them again. The latest
// word counts, by when it was said.
func (p *Projection) OptOut(e events.Event, number string, out bool) {
	p.of(e)
	p.rows.optOut(optOutRow{number, out, e.Time, int64(e.Seq)})
}

// TemplateSet notes which fields the tenant's profiles have; the latest version
// of the settings counts. Profiles are to be folded again: see Refold.
func (p *Projection) TemplateSet(e events.Event, version int64, t events.Template) error {
	p.of(e)
	raw, err := json.Marshal(t)
	if err == nil && (p.rows.template == nil || p.rows.template.Version < version) {
		p.rows.template = &templateRow{version, string(raw), int64(e.Seq)}
	}
	return err
}

// Template is what the tenant's profiles are folded by; ok is false as long as
// no settings have been read.
func (p *Projection) Template() (t events.Template, ok bool, err error) {
	if err := p.flush(); err != nil {
		return t, false, err
	}
	rows, err := query(p.ctx, p.q, pgx.RowTo[string], `SELECT template FROM tenant_templates WHERE customer_id = $1`)
	if err != nil || len(rows) == 0 {
		return t, false, err
	}
	return t, true, json.Unmarshal([]byte(rows[0]), &t)
}

// CallerFact is one fact about a caller, as it was stated.
type CallerFact struct {
	Event, Name, Call string
	Fact              []byte // JSON
	At                time.Time
	Seq               uint64
}

// CallerFacts is all that the profiles of some callers are folded from, by
// caller, in no order.
func (p *Projection) CallerFacts(users []string) (map[string][]CallerFact, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	out := map[string][]CallerFact{}
	_, err := query(p.ctx, p.q, func(r pgx.CollectableRow) (none struct{}, err error) {
		var user string
		var f CallerFact
		var seq int64
		err = r.Scan(&user, &f.Event, &f.Name, &f.Call, &f.Fact, &f.At, &seq)
		f.Seq = uint64(seq)
		out[user] = append(out[user], f)
		return none, err
	}, `SELECT user_id, event_id, name, call_id, fact, stated_at, seq FROM caller_facts WHERE customer_id = $1 AND user_id = ANY ($2)`, users)
	return out, err
}

// CallersAfter are those who come after one, in the order of their numbers, as
// many as some facts are about: at least one, none where there is nobody else.
func (p *Projection) CallersAfter(after string, facts int) ([]string, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	return query(p.ctx, p.q, pgx.RowTo[string], `
		SELECT DISTINCT user_id FROM (SELECT user_id FROM caller_facts WHERE customer_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3) AS f ORDER BY 1`, after, facts)
}

// Refold is the caller up to whom profiles have been folded since the template
// was set; pending is false when all are.
func (p *Projection) Refold() (after string, pending bool, err error) {
	if err := p.flush(); err != nil {
		return "", false, err
	}
	rows, err := query(p.ctx, p.q, pgx.RowTo[string], `SELECT refold_after FROM tenant_templates WHERE customer_id = $1 AND refold_after IS NOT NULL`)
	if err != nil || len(rows) == 0 {
		return "", false, err
	}
	return rows[0], true, nil
}

// Refolded notes how far that has come; nil: to the end.
func (p *Projection) Refolded(after *string) { p.rows.refolded, p.rows.refold = true, after }

// ProfileRow is what is known about a caller.
type ProfileRow struct {
	User, Name, Template, QuickBio, SHA string
	Profile, Former                     []byte     // canonical JSON
	First, Last                         *time.Time // call; nil before there is one
	Calls                               int
	Seq                                 uint64
}

// MemoryRow is one thing worth remembering about a caller.
type MemoryRow struct {
	Sealed                                                             string // what a Value that is a mark stands for, base64
	ID, Type, Key, Value, Content, Call, Evidence, Subject, Origin, By string
	Turn                                                               int
	At, Last                                                           time.Time // first and last said
	Times                                                              int       // calls it was said in
	Expires                                                            *time.Time
	Seq                                                                uint64
}

// Average is one trait over all calls, in millionths. Min and Max are of calls
// measured here; nil where all of N were imported.
type Average struct {
	N   int64  `json:"n"`
	Sum int64  `json:"sum"`
	Min *int64 `json:"min,omitempty"`
	Max *int64 `json:"max,omitempty"`
}

// LeadRow is where a caller stands; without a Stage, nowhere yet.
type LeadRow struct {
	Stage        string
	Since, First time.Time
	History      []byte // JSON
	Seq          uint64
}

// CallerRows is a caller, folded.
type CallerRows struct {
	Profile  ProfileRow
	Memories []MemoryRow
	Averages map[string]Average // by metric
	Lead     LeadRow
}

// SaveCaller replaces everything folded about a caller with rows; of
// events.Shared that is memories alone.
func (p *Projection) SaveCaller(rows CallerRows) { p.rows.callers = append(p.rows.callers, rows) }

// DropCaller removes everything folded about a caller nothing is known of any
// more.
func (p *Projection) DropCaller(user string) { p.rows.dropped = append(p.rows.dropped, user) }

// ofCalls are the tables with rows of single calls, beside the facts about
// callers.
var ofCalls = []string{"calls", "transfers", "recordings", "messages_taken", "texts", "call_summaries", "personality_metrics"}

// EraseCalls removes what there is of some calls, for an event that says they were
// erased, and remembers them. It names the callers who are to be folded anew.
func (p *Projection) EraseCalls(e events.Event, calls []string) (users []string, err error) {
	p.of(e)
	if len(calls) == 0 {
		return nil, p.err
	}
	if err := p.flush(); err != nil {
		return nil, err
	}
	p.erased = true
	if _, err := p.q.exec(p.ctx, `INSERT INTO erased_calls (customer_id, call_id, seq) SELECT $1::int, call, $3 FROM unnest($2::text[]) AS call ON CONFLICT DO NOTHING`, calls, int64(e.Seq)); err != nil {
		return nil, err
	}
	users, err = query(p.ctx, p.q, pgx.RowTo[string], `
		SELECT user_id FROM calls WHERE customer_id = $1 AND call_id = ANY ($2) AND user_id IS NOT NULL
		UNION SELECT user_id FROM call_summaries WHERE customer_id = $1 AND call_id = ANY ($2)
		UNION SELECT user_id FROM caller_facts WHERE customer_id = $1 AND call_id = ANY ($2) AND name <> 'call.summarized' AND call_id <> '' ORDER BY 1`, calls)
	if err != nil {
		return nil, err
	}
	if _, err := p.q.exec(p.ctx, `DELETE FROM caller_facts WHERE customer_id = $1 AND user_id = ANY ($3) AND call_id = ANY ($2)`, calls, users); err != nil {
		return nil, err
	}
	for _, table := range ofCalls {
		if _, err := p.q.exec(p.ctx, `DELETE FROM `+table+` WHERE customer_id = $1 AND call_id = ANY ($2)`, calls); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// Erased are those of some calls that were erased.
func (p *Projection) Erased(calls []string) (map[string]bool, error) {
	out := map[string]bool{}
	if !p.erased || len(calls) == 0 {
		return out, p.err
	}
	rows, err := query(p.ctx, p.q, pgx.RowTo[string], `SELECT call_id FROM erased_calls WHERE customer_id = $1 AND call_id = ANY ($2)`, calls)
	for _, call := range rows {
		out[call] = true
	}
	return out, err
}

// Floor is where to go on reading the stream after a start: everything up to
// seq is surely in the rows, and event is the one at seq. Zero and empty when
// nothing was read yet; event may be empty when a former version read it.
func (s *Store) Floor(ctx context.Context, projection string) (seq uint64, event string, err error) {
	err = s.platform(ctx, func(q pgx.Tx) error {
		var n int64
		err := q.QueryRow(ctx, `SELECT seq, event_id FROM projection_floor WHERE projection = $1`, projection).Scan(&n, &event)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		seq = uint64(n)
		return err
	})
	return seq, event, err
}

// SetFloor moves the floor. It may be lowered: no event counts twice.
func (s *Store) SetFloor(ctx context.Context, projection string, seq uint64, event string) error {
	return s.platform(ctx, func(q pgx.Tx) error {
		_, err := q.Exec(ctx, `INSERT INTO projection_floor AS f (projection, seq, event_id) VALUES ($1, $2, $3)
			ON CONFLICT (projection) DO UPDATE SET seq = excluded.seq, event_id = excluded.event_id`, projection, int64(seq), event)
		return err
	})
}

// LockProjection makes this process the one that writes a projection; ok is
// false while another one is. The lock is lost with its connection: then lost
// is closed. release gives it back.
func (s *Store) LockProjection(ctx context.Context, name string) (lost <-chan struct{}, release func(), ok bool, err error) {
	if err := s.check(ctx); err != nil {
		return nil, nil, false, err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, false, classify(err)
	}
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtext('neurosphere projection ' || $1))`, name).Scan(&ok); err != nil || !ok {
		conn.Release()
		return nil, nil, false, classify(err)
	}
	gone := make(chan struct{})
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(gone)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-watch.Done():
				return
			case <-tick.C:
				pctx, cancel := context.WithTimeout(watch, 5*time.Second)
				err := conn.Ping(pctx)
				cancel()
				if err != nil {
					return
				}
			}
		}
	}()
	return gone, func() {
		stop()
		<-done
		// Closing the connection is what surely ends the lock, but the server
		// sees it a moment later; whoever comes next need not wait for that.
		c := conn.Hijack()
		cctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = c.Exec(cctx, `SELECT pg_advisory_unlock_all()`)
		_ = c.Close(cctx)
	}, true, nil
}
