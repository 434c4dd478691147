package store

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// gathered is what a projection is about to write.
type gathered struct {
	calls      map[string]*callRow
	transfers  map[transferKey]*transferRow
	texts      map[string]*TextChange
	optOuts    map[string]optOutRow
	summaries  map[string]summaryRow
	recordings []recordingRow
	messages   []messageRow
	facts      []factRow
	template   *templateRow
	callers    []CallerRows
	dropped    []string
	refolded   bool
	refold     *string
	applied    uint64
	event      string // that lies there
}

type (
	callRow struct {
		Call                            string
		Received                        bool // of call.received
		User, Called                    *string
		ReceivedAt, AnsweredAt, EndedAt *time.Time
		Seconds                         *int
		Reason                          *string
		Turns                           *int
		Transferred                     *string
		Seq                             int64
	}
	transferKey struct {
		call string
		nth  int
	}
	transferRow struct {
		Call                          string
		Nth                           int
		Rule, Number, Reason, Outcome string
		Began                         *time.Time
		Seq                           int64
	}
	optOutRow struct {
		Number string
		Out    bool
		Since  time.Time
		Seq    int64
	}
	summaryRow struct {
		Call, User                 string
		Date                       time.Time
		Seconds                    int
		Summary                    string
		Topics, Variables, Metrics string // JSON
		Sentiment, Resolution      string
		Revision                   int
		Seq                        int64
	}
	recordingRow struct {
		Call, Recording, URL string
		Seconds              int
		At                   time.Time
		Seq                  int64
	}
	messageRow struct {
		Call, Event, For, Text, Callback string
		At                               time.Time
		Seq                              int64
	}
	factRow struct {
		User, Event, Name, Call, Fact string
		At                            time.Time
		Seq                           int64
	}
	templateRow struct {
		Version  int64
		Template string
		Seq      int64
	}
)

// call merges what two events say of one call, as the statement below does
// with the row there is.
func (g *gathered) call(n callRow) {
	if g.calls == nil {
		g.calls = map[string]*callRow{}
	}
	c := g.calls[n.Call]
	if c == nil {
		g.calls[n.Call] = &n
		return
	}
	changed := false
	if n.Received && !c.Received {
		c.Received, c.User, c.Called, c.ReceivedAt, changed = true, n.User, n.Called, n.ReceivedAt, true
	}
	changed = first(&c.User, n.User) || changed
	changed = first(&c.Called, n.Called) || changed
	changed = first(&c.ReceivedAt, n.ReceivedAt) || changed
	changed = first(&c.AnsweredAt, n.AnsweredAt) || changed
	changed = first(&c.EndedAt, n.EndedAt) || changed
	changed = first(&c.Seconds, n.Seconds) || changed
	changed = first(&c.Reason, n.Reason) || changed
	changed = first(&c.Turns, n.Turns) || changed
	changed = first(&c.Transferred, n.Transferred) || changed
	if changed {
		c.Seq = max(c.Seq, n.Seq)
	}
}

// first keeps what was said first; it reports whether it was said just now.
func first[T any](have **T, said *T) bool {
	if *have != nil || said == nil {
		return false
	}
	*have = said
	return true
}

func (g *gathered) transfer(n transferRow) {
	if g.transfers == nil {
		g.transfers = map[transferKey]*transferRow{}
	}
	key := transferKey{n.Call, n.Nth}
	t := g.transfers[key]
	if t == nil {
		g.transfers[key] = &n
		return
	}
	changed := false
	for have, said := range map[*string]string{&t.Rule: n.Rule, &t.Number: n.Number, &t.Reason: n.Reason, &t.Outcome: n.Outcome} {
		if *have == "" && said != "" {
			*have, changed = said, true
		}
	}
	if first(&t.Began, n.Began) || changed {
		t.Seq = max(t.Seq, n.Seq)
	}
}

func (g *gathered) text(n TextChange) {
	if g.texts == nil {
		g.texts = map[string]*TextChange{}
	}
	t := g.texts[n.Message]
	if t == nil {
		g.texts[n.Message] = &n
		return
	}
	changed := false
	for have, said := range map[*string]string{
		&t.Call: n.Call, &t.Recipient: n.Recipient, &t.Purpose: n.Purpose, &t.Body: n.Body, &t.SID: n.SID, &t.Code: n.Code,
	} {
		if *have == "" && said != "" {
			*have, changed = said, true
		}
	}
	for have, said := range map[**time.Time]*time.Time{&t.Requested: n.Requested, &t.Sent: n.Sent, &t.Delivered: n.Delivered, &t.Failed: n.Failed} {
		if said != nil && (*have == nil || said.Before(**have)) {
			*have, changed = said, true
		}
	}
	if changed {
		t.Seq = max(t.Seq, n.Seq)
	}
}

func (g *gathered) optOut(n optOutRow) {
	if g.optOuts == nil {
		g.optOuts = map[string]optOutRow{}
	}
	if o, ok := g.optOuts[n.Number]; !ok || o.Since.Before(n.Since) {
		g.optOuts[n.Number] = n
	}
}

func (g *gathered) summary(n summaryRow) {
	if g.summaries == nil {
		g.summaries = map[string]summaryRow{}
	}
	if s, ok := g.summaries[n.Call]; !ok || s.Revision < n.Revision {
		g.summaries[n.Call] = n
	}
}

// flush writes what was gathered, each table in one statement and its rows in
// one order, so that two transactions never wait for each other.
func (p *Projection) flush() error {
	if p.err != nil {
		return p.err
	}
	var b pgx.Batch
	do := func(n int, sql string, args ...any) {
		if n > 0 {
			b.Queue(sql, append([]any{int32(p.q.id)}, args...)...)
		}
	}
	g := p.rows
	p.rows = gathered{}
	g.writeCalls(do)
	g.writeTexts(do)
	g.writeSummaries(do)
	if err := g.writeCallers(do); err != nil {
		return err
	}
	if t := g.template; t != nil {
		do(1, `INSERT INTO tenant_templates AS t (customer_id, version, template, seq, refold_after) VALUES ($1, $2, $3, $4, '')
			ON CONFLICT (customer_id) DO UPDATE SET version = excluded.version, template = excluded.template, seq = excluded.seq,
				refold_after = CASE WHEN t.template = excluded.template THEN t.refold_after ELSE '' END
			WHERE t.version < excluded.version`, t.Version, t.Template, t.Seq)
	}
	if g.refolded {
		do(1, `UPDATE tenant_templates SET refold_after = $2 WHERE customer_id = $1`, g.refold)
	}
	if g.applied > 0 {
		do(1, `UPDATE projection_offsets SET seq = $3, event_id = $4 WHERE customer_id = $1 AND projection = $2`, p.name, int64(g.applied), g.event)
	}
	if b.Len() == 0 {
		return nil
	}
	return p.q.tx.SendBatch(p.ctx, &b).Close()
}

type queue = func(rows int, sql string, args ...any)

// column is one value of each row, as a parameter for unnest.
func column[R, T any](rows []R, f func(R) T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}

func sorted[K ~string, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func (g *gathered) writeCalls(do queue) {
	c := sorted(g.calls)
	do(len(c), `
		INSERT INTO calls AS c (customer_id, call_id, received, user_id, called, received_at, answered_at, ended_at, seconds, reason, turns, transferred_to, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::bool[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::int[], $10::text[], $11::int[], $12::text[], $13::bigint[])
		ON CONFLICT (customer_id, call_id) DO UPDATE SET received = c.received OR excluded.received,
			user_id = CASE WHEN excluded.received AND NOT c.received THEN excluded.user_id ELSE coalesce(c.user_id, excluded.user_id) END,
			called = CASE WHEN excluded.received AND NOT c.received THEN excluded.called ELSE coalesce(c.called, excluded.called) END,
			received_at = CASE WHEN excluded.received AND NOT c.received THEN excluded.received_at ELSE coalesce(c.received_at, excluded.received_at) END,
			answered_at = coalesce(c.answered_at, excluded.answered_at), ended_at = coalesce(c.ended_at, excluded.ended_at),
			seconds = coalesce(c.seconds, excluded.seconds), reason = coalesce(c.reason, excluded.reason), turns = coalesce(c.turns, excluded.turns),
			transferred_to = coalesce(c.transferred_to, excluded.transferred_to), seq = greatest(c.seq, excluded.seq)
		WHERE excluded.received AND NOT c.received OR c.answered_at IS NULL AND excluded.answered_at IS NOT NULL
			OR c.ended_at IS NULL AND excluded.ended_at IS NOT NULL`,
		column(c, func(r *callRow) string { return r.Call }), column(c, func(r *callRow) bool { return r.Received }),
		column(c, func(r *callRow) *string { return r.User }), column(c, func(r *callRow) *string { return r.Called }),
		column(c, func(r *callRow) *time.Time { return r.ReceivedAt }), column(c, func(r *callRow) *time.Time { return r.AnsweredAt }),
		column(c, func(r *callRow) *time.Time { return r.EndedAt }), column(c, func(r *callRow) *int { return r.Seconds }),
		column(c, func(r *callRow) *string { return r.Reason }), column(c, func(r *callRow) *int { return r.Turns }),
		column(c, func(r *callRow) *string { return r.Transferred }), column(c, func(r *callRow) int64 { return r.Seq }))

	t := slices.Collect(maps.Values(g.transfers))
	slices.SortFunc(t, func(a, b *transferRow) int { return cmp.Or(strings.Compare(a.Call, b.Call), a.Nth-b.Nth) })
	do(len(t), `
		INSERT INTO transfers AS t (customer_id, call_id, nth, rule, number, reason, outcome, began_at, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::bigint[])
		ON CONFLICT (customer_id, call_id, nth) DO UPDATE SET rule = coalesce(nullif(t.rule, ''), excluded.rule),
			number = coalesce(nullif(t.number, ''), excluded.number), reason = coalesce(nullif(t.reason, ''), excluded.reason),
			outcome = coalesce(nullif(t.outcome, ''), excluded.outcome), began_at = coalesce(t.began_at, excluded.began_at),
			seq = greatest(t.seq, excluded.seq)
		WHERE t.began_at IS NULL AND excluded.began_at IS NOT NULL OR t.outcome = '' AND excluded.outcome <> ''`,
		column(t, func(r *transferRow) string { return r.Call }), column(t, func(r *transferRow) int { return r.Nth }),
		column(t, func(r *transferRow) string { return r.Rule }), column(t, func(r *transferRow) string { return r.Number }),
		column(t, func(r *transferRow) string { return r.Reason }), column(t, func(r *transferRow) string { return r.Outcome }),
		column(t, func(r *transferRow) *time.Time { return r.Began }), column(t, func(r *transferRow) int64 { return r.Seq }))

	do(len(g.recordings), `
		INSERT INTO recordings (customer_id, call_id, recording, url, seconds, recorded_at, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[], $7::bigint[]) ON CONFLICT DO NOTHING`,
		column(g.recordings, func(r recordingRow) string { return r.Call }), column(g.recordings, func(r recordingRow) string { return r.Recording }),
		column(g.recordings, func(r recordingRow) string { return r.URL }), column(g.recordings, func(r recordingRow) int { return r.Seconds }),
		column(g.recordings, func(r recordingRow) time.Time { return r.At }), column(g.recordings, func(r recordingRow) int64 { return r.Seq }))

	m := g.messages
	do(len(m), `
		INSERT INTO messages_taken (customer_id, call_id, event_id, for_whom, text, callback, taken_at, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::bigint[]) ON CONFLICT DO NOTHING`,
		column(m, func(r messageRow) string { return r.Call }), column(m, func(r messageRow) string { return r.Event }),
		column(m, func(r messageRow) string { return r.For }), column(m, func(r messageRow) string { return r.Text }),
		column(m, func(r messageRow) string { return r.Callback }), column(m, func(r messageRow) time.Time { return r.At }),
		column(m, func(r messageRow) int64 { return r.Seq }))
}

func (g *gathered) writeTexts(do queue) {
	t := sorted(g.texts)
	do(len(t), `
		INSERT INTO texts AS t (customer_id, message_id, call_id, recipient, purpose, body, sid, error_code, requested_at, sent_at, delivered_at, failed_at, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::bigint[])
		ON CONFLICT (customer_id, message_id) DO UPDATE SET
			call_id = coalesce(nullif(t.call_id, ''), excluded.call_id), recipient = coalesce(nullif(t.recipient, ''), excluded.recipient),
			purpose = coalesce(nullif(t.purpose, ''), excluded.purpose), body = coalesce(nullif(t.body, ''), excluded.body),
			sid = coalesce(nullif(t.sid, ''), excluded.sid), error_code = coalesce(nullif(t.error_code, ''), excluded.error_code),
			requested_at = least(t.requested_at, excluded.requested_at), sent_at = least(t.sent_at, excluded.sent_at),
			delivered_at = least(t.delivered_at, excluded.delivered_at), failed_at = least(t.failed_at, excluded.failed_at),
			seq = greatest(t.seq, excluded.seq)
		WHERE least(t.requested_at, excluded.requested_at) IS DISTINCT FROM t.requested_at OR least(t.sent_at, excluded.sent_at) IS DISTINCT FROM t.sent_at
			OR least(t.delivered_at, excluded.delivered_at) IS DISTINCT FROM t.delivered_at OR least(t.failed_at, excluded.failed_at) IS DISTINCT FROM t.failed_at
			OR t.body = '' AND excluded.body <> '' OR t.sid = '' AND excluded.sid <> '' OR t.error_code = '' AND excluded.error_code <> ''`,
		column(t, func(r *TextChange) string { return r.Message }), column(t, func(r *TextChange) string { return r.Call }),
		column(t, func(r *TextChange) string { return r.Recipient }), column(t, func(r *TextChange) string { return r.Purpose }),
		column(t, func(r *TextChange) string { return r.Body }), column(t, func(r *TextChange) string { return r.SID }),
		column(t, func(r *TextChange) string { return r.Code }), column(t, func(r *TextChange) *time.Time { return r.Requested }),
		column(t, func(r *TextChange) *time.Time { return r.Sent }), column(t, func(r *TextChange) *time.Time { return r.Delivered }),
		column(t, func(r *TextChange) *time.Time { return r.Failed }), column(t, func(r *TextChange) int64 { return int64(r.Seq) }))

	o := sorted(g.optOuts)
	do(len(o), `
		INSERT INTO sms_opt_outs AS o (customer_id, number, out, since, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::bool[], $4::timestamptz[], $5::bigint[])
		ON CONFLICT (customer_id, number) DO UPDATE SET out = excluded.out, since = excluded.since, seq = excluded.seq WHERE o.since < excluded.since`,
		column(o, func(r optOutRow) string { return r.Number }), column(o, func(r optOutRow) bool { return r.Out }),
		column(o, func(r optOutRow) time.Time { return r.Since }), column(o, func(r optOutRow) int64 { return r.Seq }))
}

func (g *gathered) writeSummaries(do queue) {
	s := sorted(g.summaries)
	do(len(s), `
		INSERT INTO call_summaries AS s (customer_id, call_id, user_id, call_date, duration_seconds, summary, key_topics, key_variables, sentiment, resolution_status, revision, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::int[], $6::text[], $7::jsonb[], $8::jsonb[], $9::text[], $10::text[], $11::int[], $12::bigint[])
		ON CONFLICT (customer_id, call_id) DO UPDATE SET user_id = excluded.user_id, call_date = excluded.call_date,
			duration_seconds = excluded.duration_seconds, summary = excluded.summary, key_topics = excluded.key_topics,
			key_variables = excluded.key_variables, sentiment = excluded.sentiment, resolution_status = excluded.resolution_status,
			revision = excluded.revision, seq = excluded.seq
		WHERE s.revision < excluded.revision`,
		column(s, func(r summaryRow) string { return r.Call }), column(s, func(r summaryRow) string { return r.User }),
		column(s, func(r summaryRow) time.Time { return r.Date }), column(s, func(r summaryRow) int { return r.Seconds }),
		column(s, func(r summaryRow) string { return r.Summary }), column(s, func(r summaryRow) string { return r.Topics }),
		column(s, func(r summaryRow) string { return r.Variables }), column(s, func(r summaryRow) string { return r.Sentiment }),
		column(s, func(r summaryRow) string { return r.Resolution }), column(s, func(r summaryRow) int { return r.Revision }),
		column(s, func(r summaryRow) int64 { return r.Seq }))

	// A call too short to show any trait has none.
	m := slices.DeleteFunc(slices.Clone(s), func(r summaryRow) bool { return r.Metrics == "{}" && r.Revision == 0 })
	do(len(m), `
		INSERT INTO personality_metrics AS m (customer_id, call_id, user_id, metrics, revision, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::jsonb[], $5::int[], $6::bigint[])
		ON CONFLICT (customer_id, call_id) DO UPDATE SET user_id = excluded.user_id, metrics = excluded.metrics, revision = excluded.revision, seq = excluded.seq
		WHERE m.revision < excluded.revision`,
		column(m, func(r summaryRow) string { return r.Call }), column(m, func(r summaryRow) string { return r.User }),
		column(m, func(r summaryRow) string { return r.Metrics }), column(m, func(r summaryRow) int { return r.Revision }),
		column(m, func(r summaryRow) int64 { return r.Seq }))

	f := g.facts
	do(len(f), `
		INSERT INTO caller_facts (customer_id, user_id, event_id, name, call_id, fact, stated_at, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::bigint[]) ON CONFLICT DO NOTHING`,
		column(f, func(r factRow) string { return r.User }), column(f, func(r factRow) string { return r.Event }),
		column(f, func(r factRow) string { return r.Name }), column(f, func(r factRow) string { return r.Call }),
		column(f, func(r factRow) string { return r.Fact }), column(f, func(r factRow) time.Time { return r.At }),
		column(f, func(r factRow) int64 { return r.Seq }))
}

func (g *gathered) writeCallers(do queue) error {
	c := g.callers
	users := append(column(c, func(r CallerRows) string { return r.Profile.User }), g.dropped...)
	do(len(users), `DELETE FROM memories WHERE customer_id = $1 AND user_id = ANY ($2)`, users)
	remembered := c
	c = slices.DeleteFunc(slices.Clone(c), func(r CallerRows) bool { return r.Profile.User == events.Shared })
	for _, table := range []string{"caller_profiles", "personality_averages", "leads"} {
		do(len(g.dropped), `DELETE FROM `+table+` WHERE customer_id = $1 AND user_id = ANY ($2)`, g.dropped)
	}
	do(len(c), `
		INSERT INTO caller_profiles (customer_id, user_id, name, template, profile, former, quick_bio, first_call_at, last_call_at, total_calls, profile_sha256, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::jsonb[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::int[], $11::text[], $12::bigint[])
		ON CONFLICT (customer_id, user_id) DO UPDATE SET name = excluded.name, template = excluded.template, profile = excluded.profile, former = excluded.former,
			quick_bio = excluded.quick_bio, first_call_at = excluded.first_call_at, last_call_at = excluded.last_call_at,
			total_calls = excluded.total_calls, profile_sha256 = excluded.profile_sha256, seq = excluded.seq`,
		column(c, func(r CallerRows) string { return r.Profile.User }), column(c, func(r CallerRows) string { return r.Profile.Name }),
		column(c, func(r CallerRows) string { return r.Profile.Template }), column(c, func(r CallerRows) string { return string(r.Profile.Profile) }),
		column(c, func(r CallerRows) string { return cmp.Or(string(r.Profile.Former), "{}") }),
		column(c, func(r CallerRows) string { return r.Profile.QuickBio }), column(c, func(r CallerRows) *time.Time { return r.Profile.First }),
		column(c, func(r CallerRows) *time.Time { return r.Profile.Last }), column(c, func(r CallerRows) int { return r.Profile.Calls }),
		column(c, func(r CallerRows) string { return r.Profile.SHA }), column(c, func(r CallerRows) int64 { return int64(r.Profile.Seq) }))

	var owners []string
	var m []MemoryRow
	var leads []CallerRows
	var nowhere, averages []string
	for _, r := range remembered {
		for _, one := range r.Memories {
			owners, m = append(owners, r.Profile.User), append(m, one)
		}
	}
	for _, r := range c {
		if r.Lead.Stage != "" {
			leads = append(leads, r)
		} else {
			nowhere = append(nowhere, r.Profile.User)
		}
		if r.Averages == nil {
			r.Averages = map[string]Average{}
		}
		raw, err := json.Marshal(r.Averages)
		if err != nil {
			return err
		}
		averages = append(averages, string(raw))
	}
	do(len(m), `
		INSERT INTO memories (customer_id, user_id, id, type, key, value, content, call_id, turn, evidence, subject, origin, created_at, seq, stated_by, last_said_at, times, expires_at, sealed)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::bigint[],
			$15::text[], $16::timestamptz[], $17::int[], $18::timestamptz[], $19::text[])
		ON CONFLICT DO NOTHING`, owners,
		column(m, func(r MemoryRow) string { return r.ID }), column(m, func(r MemoryRow) string { return r.Type }),
		column(m, func(r MemoryRow) string { return r.Key }), column(m, func(r MemoryRow) string { return r.Value }),
		column(m, func(r MemoryRow) string { return r.Content }), column(m, func(r MemoryRow) string { return r.Call }),
		column(m, func(r MemoryRow) int { return r.Turn }), column(m, func(r MemoryRow) string { return r.Evidence }),
		column(m, func(r MemoryRow) string { return r.Subject }), column(m, func(r MemoryRow) string { return r.Origin }),
		column(m, func(r MemoryRow) time.Time { return r.At }), column(m, func(r MemoryRow) int64 { return int64(r.Seq) }),
		column(m, func(r MemoryRow) string { return r.By }), column(m, func(r MemoryRow) time.Time { return r.Last }),
		column(m, func(r MemoryRow) int { return r.Times }), column(m, func(r MemoryRow) *time.Time { return r.Expires }),
		column(m, func(r MemoryRow) string { return r.Sealed }))
	do(len(c), `
		INSERT INTO personality_averages (customer_id, user_id, averages, seq) SELECT $1::int, * FROM unnest($2::text[], $3::jsonb[], $4::bigint[])
		ON CONFLICT (customer_id, user_id) DO UPDATE SET averages = excluded.averages, seq = excluded.seq`,
		column(c, func(r CallerRows) string { return r.Profile.User }), averages, column(c, func(r CallerRows) int64 { return int64(r.Profile.Seq) }))
	do(len(nowhere), `DELETE FROM leads WHERE customer_id = $1 AND user_id = ANY ($2)`, nowhere)
	do(len(leads), `
		INSERT INTO leads (customer_id, user_id, stage, since, first_at, history, seq)
		SELECT $1::int, * FROM unnest($2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::jsonb[], $7::bigint[])
		ON CONFLICT (customer_id, user_id) DO UPDATE SET stage = excluded.stage, since = excluded.since, first_at = excluded.first_at,
			history = excluded.history, seq = excluded.seq`,
		column(leads, func(r CallerRows) string { return r.Profile.User }), column(leads, func(r CallerRows) string { return r.Lead.Stage }),
		column(leads, func(r CallerRows) time.Time { return r.Lead.Since }), column(leads, func(r CallerRows) time.Time { return r.Lead.First }),
		column(leads, func(r CallerRows) string { return string(r.Lead.History) }), column(leads, func(r CallerRows) int64 { return int64(r.Lead.Seq) }))
	return nil
}
