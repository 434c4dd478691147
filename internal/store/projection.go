package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// Projection is one transaction in which the rows that events of one tenant
// lead to are written, together with how far the stream has been applied. One
// event of another tenant, and none of it is: ErrWrongTenant.
type Projection struct {
	Applied uint64 // sequence of the last event applied before
	Event   string // its id; empty where a former version applied it

	ctx  context.Context
	q    tx
	name string
	b    pgx.Batch
	err  error // why nothing may be written
}

// Project runs f in such a transaction. streamCreated is when the stream came
// to be; ErrRecreated when the rows are of another one.
func (t *Tenant) Project(ctx context.Context, name string, streamCreated time.Time, f func(*Projection) error) error {
	streamCreated = streamCreated.UTC().Truncate(time.Microsecond)
	return t.begin(ctx, func(q tx) error {
		_, err := q.exec(ctx, `INSERT INTO projection_offsets (customer_id, projection, seq, stream_created) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING`, name, streamCreated)
		if err != nil {
			return err
		}
		type offset struct {
			Seq     int64
			Event   string
			Created time.Time
		}
		rows, err := query(ctx, q, pgx.RowToStructByPos[offset], `SELECT seq, event_id, stream_created FROM projection_offsets WHERE customer_id = $1 AND projection = $2 FOR UPDATE`, name)
		if err != nil {
			return err
		}
		if !rows[0].Created.Equal(streamCreated) {
			return ErrRecreated
		}
		p := &Projection{Applied: uint64(rows[0].Seq), Event: rows[0].Event, ctx: ctx, q: q, name: name}
		if err := f(p); err != nil {
			return err
		}
		return p.flush()
	})
}

// SetApplied notes that every event up to seq, which is of the one given, is in
// the rows.
func (p *Projection) SetApplied(seq uint64, event string) {
	p.do(`UPDATE projection_offsets SET seq = $3, event_id = $4 WHERE customer_id = $1 AND projection = $2`, p.name, int64(seq), event)
}

// of keeps an event of another tenant out of this one's rows.
func (p *Projection) of(e events.Event) {
	if e.Tenant != p.q.id {
		p.err = fmt.Errorf("%w: event %s of %s in rows of %s", ErrWrongTenant, e.ID, e.Tenant, p.q.id)
	}
}

// do queues one write; flush sends what is queued.
func (p *Projection) do(sql string, args ...any) {
	p.b.Queue(sql, append([]any{int32(p.q.id)}, args...)...)
}

func (p *Projection) flush() error {
	if p.err != nil {
		return p.err
	}
	if p.b.Len() == 0 {
		return nil
	}
	b := p.b
	p.b = pgx.Batch{}
	return p.q.tx.SendBatch(p.ctx, &b).Close()
}

// Fresh says which of ids were never applied before, and notes them.
func (p *Projection) Fresh(ids []string) (map[string]bool, error) {
	fresh := map[string]bool{}
	rows, err := query(p.ctx, p.q, pgx.RowTo[string], `
		INSERT INTO inbox (customer_id, event_id) SELECT DISTINCT $1::int, unnest($2::text[])
		ON CONFLICT DO NOTHING RETURNING event_id`, ids)
	for _, id := range rows {
		fresh[id] = true
	}
	return fresh, err
}

// Received writes what call.received says.
func (p *Projection) Received(e events.Event, f events.CallReceived) {
	p.of(e)
	p.do(`INSERT INTO calls AS c (customer_id, call_id, user_id, called, received_at, seq) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (customer_id, call_id) DO UPDATE SET user_id = excluded.user_id, called = excluded.called,
			received_at = excluded.received_at, seq = greatest(c.seq, excluded.seq)`,
		e.Call, f.From, f.To, e.Time, int64(e.Seq))
}

// Answered writes what call.answered says.
func (p *Projection) Answered(e events.Event) {
	p.of(e)
	p.do(`INSERT INTO calls AS c (customer_id, call_id, answered_at, seq) VALUES ($1, $2, $3, $4)
		ON CONFLICT (customer_id, call_id) DO UPDATE SET answered_at = excluded.answered_at, seq = greatest(c.seq, excluded.seq)`,
		e.Call, e.Time, int64(e.Seq))
}

// Ended writes what call.ended says. Of the call's beginning it is the only
// word when call.received did not come, or has not yet.
func (p *Projection) Ended(e events.Event, f events.CallEnded) {
	p.of(e)
	p.do(`INSERT INTO calls AS c (customer_id, call_id, user_id, called, received_at, ended_at, seconds, reason, turns, transferred_to, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (customer_id, call_id) DO UPDATE SET user_id = coalesce(c.user_id, excluded.user_id), called = coalesce(c.called, excluded.called),
			received_at = coalesce(c.received_at, excluded.received_at), ended_at = excluded.ended_at, seconds = excluded.seconds,
			reason = excluded.reason, turns = excluded.turns, transferred_to = excluded.transferred_to, seq = greatest(c.seq, excluded.seq)`,
		e.Call, f.From, f.To, f.StartedAt, f.EndedAt, f.Seconds, f.Reason, f.Turns, f.Transferred, int64(e.Seq))
	p.usage(f.StartedAt, 1, int64(f.Seconds), int64(f.Turns), 0)
}

// Turn writes one utterance.
func (p *Projection) Turn(e events.Event, role string, turn int, text string, cut bool, way string) {
	p.of(e)
	p.do(`INSERT INTO turns (customer_id, call_id, event_id, call_seq, turn, role, text, cut, way, said_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
		e.Call, e.ID, e.CallSeq, turn, role, text, cut, way, e.Time, int64(e.Seq))
}

// MessageTaken writes a message a caller left.
func (p *Projection) MessageTaken(e events.Event, f events.MessageTaken) {
	p.of(e)
	p.do(`INSERT INTO messages_taken (customer_id, call_id, event_id, for_whom, text, callback, taken_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		e.Call, e.ID, f.For, f.Text, f.Callback, e.Time, int64(e.Seq))
}

// Summarized keeps a call's summary, whole; a later revision replaces it.
func (p *Projection) Summarized(e events.Event, f events.CallSummarized, variables map[string]string) error {
	p.of(e)
	f.Producer.Raw = "" // stays in the event
	fact, err := json.Marshal(f)
	if err != nil {
		return err
	}
	topics, err := json.Marshal(f.Topics)
	if err != nil {
		return err
	}
	vars, err := json.Marshal(variables)
	if err != nil {
		return err
	}
	p.do(`INSERT INTO call_summaries AS s (customer_id, call_id, user_id, call_date, duration_seconds, summary, key_topics, key_variables, sentiment, resolution_status, revision, fact, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (customer_id, call_id) DO UPDATE SET user_id = excluded.user_id, call_date = excluded.call_date,
			duration_seconds = excluded.duration_seconds, summary = excluded.summary, key_topics = excluded.key_topics,
			key_variables = excluded.key_variables, sentiment = excluded.sentiment, resolution_status = excluded.resolution_status,
			revision = excluded.revision, fact = excluded.fact, seq = excluded.seq
		WHERE s.revision < excluded.revision`,
		e.Call, f.Caller, f.StartedAt, f.Seconds, f.Summary, topics, vars, f.Sentiment, f.Resolution, f.Revision, fact, int64(e.Seq))
	return nil
}

// Staged keeps a move of a lead by someone.
func (p *Projection) Staged(e events.Event, f events.LeadStaged) {
	p.of(e)
	p.do(`INSERT INTO lead_stagings (customer_id, user_id, event_id, stage, staged_at, by, reason, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		f.Caller, e.ID, f.Stage, e.Time, f.By, f.Reason, int64(e.Seq))
}

// TextChange is what one event says of a text; empty fields say nothing.
type TextChange struct {
	Message, Call, Recipient, Purpose, Body, SID, Code string
	Requested, Sent, Delivered, Failed                 *time.Time
	Seq                                                uint64
}

// Text writes what an event says of a text, whatever came before.
func (p *Projection) Text(c TextChange) {
	p.do(`INSERT INTO texts AS t (customer_id, message_id, call_id, recipient, purpose, body, sid, error_code, requested_at, sent_at, delivered_at, failed_at, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (customer_id, message_id) DO UPDATE SET
			call_id = coalesce(nullif(t.call_id, ''), excluded.call_id), recipient = coalesce(nullif(t.recipient, ''), excluded.recipient),
			purpose = coalesce(nullif(t.purpose, ''), excluded.purpose), body = coalesce(nullif(t.body, ''), excluded.body),
			sid = coalesce(nullif(t.sid, ''), excluded.sid), error_code = coalesce(nullif(t.error_code, ''), excluded.error_code),
			requested_at = least(t.requested_at, excluded.requested_at), sent_at = least(t.sent_at, excluded.sent_at),
			delivered_at = least(t.delivered_at, excluded.delivered_at), failed_at = least(t.failed_at, excluded.failed_at),
			seq = greatest(t.seq, excluded.seq)`,
		c.Message, c.Call, c.Recipient, c.Purpose, c.Body, c.SID, c.Code, c.Requested, c.Sent, c.Delivered, c.Failed, int64(c.Seq))
	if c.Sent != nil {
		p.usage(*c.Sent, 0, 0, 0, 1)
	}
}

// OptOut notes that number wants no texts, or wants them again. The latest
// word counts, by when it was said.
func (p *Projection) OptOut(e events.Event, number string, out bool) {
	p.of(e)
	p.do(`INSERT INTO sms_opt_outs AS o (customer_id, number, out, since, seq) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (customer_id, number) DO UPDATE SET out = excluded.out, since = excluded.since, seq = excluded.seq
		WHERE (o.since, o.seq) < (excluded.since, excluded.seq)`,
		number, out, e.Time, int64(e.Seq))
}

func (p *Projection) usage(at time.Time, calls, seconds, turns, texts int64) {
	p.do(`INSERT INTO usage_days AS u (customer_id, day, calls, seconds, turns, texts) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (customer_id, day) DO UPDATE SET calls = u.calls + excluded.calls, seconds = u.seconds + excluded.seconds,
			turns = u.turns + excluded.turns, texts = u.texts + excluded.texts`,
		at.UTC().Truncate(24*time.Hour), calls, seconds, turns, texts)
}

// SummaryRow is one summarized call of a caller, as folded from.
type SummaryRow struct {
	Call string
	Fact events.CallSummarized
	Seq  uint64
}

// StagingRow is one move of a lead.
type StagingRow struct {
	Event, Stage, By, Reason string
	At                       time.Time
}

// CallerFacts is everything a caller's profile is folded from.
func (p *Projection) CallerFacts(user string) (calls []SummaryRow, moves []StagingRow, err error) {
	if err := p.flush(); err != nil {
		return nil, nil, err
	}
	calls, err = query(p.ctx, p.q, func(r pgx.CollectableRow) (s SummaryRow, err error) {
		var raw []byte
		var seq int64
		if err := r.Scan(&s.Call, &raw, &seq); err != nil {
			return s, err
		}
		s.Seq = uint64(seq)
		return s, json.Unmarshal(raw, &s.Fact)
	}, `SELECT call_id, fact, seq FROM call_summaries WHERE customer_id = $1 AND user_id = $2`, user)
	if err != nil {
		return nil, nil, err
	}
	moves, err = query(p.ctx, p.q, pgx.RowToStructByPos[StagingRow],
		`SELECT event_id, stage, by, reason, staged_at FROM lead_stagings WHERE customer_id = $1 AND user_id = $2`, user)
	return calls, moves, err
}

// ProfileRow is what is known about a caller.
type ProfileRow struct {
	User, Name, Template, QuickBio, SHA string
	Profile                             []byte // canonical JSON
	First, Last                         time.Time
	Calls                               int
	Seq                                 uint64
}

// MemoryRow is one thing a caller said that is worth remembering.
type MemoryRow struct {
	ID, Type, Key, Value, Content, Call, Evidence, Subject, Origin string
	Turn                                                           int
	At                                                             time.Time
	Seq                                                            uint64
}

// MetricRow is one observed trait in one call.
type MetricRow struct {
	Call, Metric string
	Micros       int64
}

// AverageRow is one trait over all calls.
type AverageRow struct {
	Metric           string
	N, Sum, Min, Max int64 // micros
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
	Metrics  []MetricRow
	Averages []AverageRow
	Lead     LeadRow
}

// SaveCaller replaces everything known about a caller with rows.
func (p *Projection) SaveCaller(rows CallerRows) {
	r, user := rows.Profile, rows.Profile.User
	p.do(`INSERT INTO caller_profiles (customer_id, user_id, name, template, profile, quick_bio, first_call_at, last_call_at, total_calls, profile_sha256, seq)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (customer_id, user_id) DO UPDATE SET name = excluded.name, template = excluded.template, profile = excluded.profile,
			quick_bio = excluded.quick_bio, first_call_at = excluded.first_call_at, last_call_at = excluded.last_call_at,
			total_calls = excluded.total_calls, profile_sha256 = excluded.profile_sha256, seq = excluded.seq`,
		user, r.Name, r.Template, r.Profile, r.QuickBio, r.First, r.Last, r.Calls, r.SHA, int64(r.Seq))
	p.do(`DELETE FROM memories WHERE customer_id = $1 AND user_id = $2 AND origin = 'call'`, user)
	for _, m := range rows.Memories {
		p.do(`INSERT INTO memories (customer_id, id, user_id, type, key, value, content, call_id, turn, evidence, subject, origin, created_at, seq)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`,
			m.ID, user, m.Type, m.Key, m.Value, m.Content, m.Call, m.Turn, m.Evidence, m.Subject, m.Origin, m.At, int64(m.Seq))
	}
	p.do(`DELETE FROM personality_metrics WHERE customer_id = $1 AND user_id = $2`, user)
	for _, m := range rows.Metrics {
		p.do(`INSERT INTO personality_metrics (customer_id, user_id, call_id, metric, micros) VALUES ($1, $2, $3, $4, $5)`, user, m.Call, m.Metric, m.Micros)
	}
	p.do(`DELETE FROM personality_averages WHERE customer_id = $1 AND user_id = $2`, user)
	for _, a := range rows.Averages {
		p.do(`INSERT INTO personality_averages (customer_id, user_id, metric, n, sum_micros, min_micros, max_micros) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			user, a.Metric, a.N, a.Sum, a.Min, a.Max)
	}
	l := rows.Lead
	if l.Stage == "" {
		p.do(`DELETE FROM leads WHERE customer_id = $1 AND user_id = $2`, user)
		return
	}
	p.do(`INSERT INTO leads (customer_id, user_id, stage, since, first_at, history, seq) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (customer_id, user_id) DO UPDATE SET stage = excluded.stage, since = excluded.since, first_at = excluded.first_at,
			history = excluded.history, seq = excluded.seq`,
		user, l.Stage, l.Since, l.First, l.History, int64(l.Seq))
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
