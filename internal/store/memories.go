package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// conditions are what a query asks beside the tenant; ? stands for a value.
type conditions struct {
	sql  strings.Builder
	args []any
}

func (c *conditions) add(sql string, args ...any) {
	for _, a := range args {
		c.args = append(c.args, a)
		sql = strings.Replace(sql, "?", "$"+strconv.Itoa(1+len(c.args)), 1) // $1 is the tenant
	}
	c.sql.WriteString(sql)
}

// MemoryOf is one thing remembered about a caller, as it is shown.
type MemoryOf struct {
	ID       string
	User     string
	Type     string
	Key      string
	Value    string // JSON text, but for what a call led to: text
	Content  string
	Call     string
	Turn     int
	Evidence string
	Subject  string
	Origin   string
	By       string // who of the tenant's people, or which key
	Created  time.Time
	LastSaid time.Time
	Times    int // calls it was said in
	Expires  *time.Time
	Sealed   string // what a Value that is a mark stands for, base64
}

const memoryColumns = `id, user_id, type, key, value, content, call_id, turn, evidence, subject, origin, stated_by, created_at, last_said_at, times, expires_at, sealed`

// inUse is the condition that a memory has not expired.
const inUse = ` AND (expires_at IS NULL OR expires_at > now())`

// Place is where a page of a list begins: after the row of that time and id.
type Place struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// MemoriesAsked says which memories are wanted; empty fields ask nothing.
type MemoriesAsked struct {
	User, Type, Key string
	Shared          bool // beside the User's, those of the business as a whole
	After           *Place
	Limit           int
}

// Memories are a tenant's memories, newest first.
func (t *Tenant) Memories(ctx context.Context, ask MemoriesAsked) ([]MemoryOf, error) {
	var c conditions
	c.add(`SELECT ` + memoryColumns + ` FROM memories WHERE customer_id = $1` + inUse)
	ask.where(&c)
	if ask.After != nil {
		c.add(` AND (created_at, id) < (?, ?)`, ask.After.At, ask.After.ID)
	}
	c.add(` ORDER BY created_at DESC, id DESC LIMIT ?`, ask.Limit)
	return many(ctx, t, pgx.RowToStructByPos[MemoryOf], c.sql.String(), c.args...)
}

func (ask MemoriesAsked) where(c *conditions) {
	if ask.User != "" && ask.Shared {
		c.add(` AND user_id IN (?, ?)`, ask.User, events.Shared)
	} else if ask.User != "" {
		c.add(` AND user_id = ?`, ask.User)
	}
	for _, x := range [][2]string{{` AND type = ?`, ask.Type}, {` AND key = ?`, ask.Key}} {
		if x[1] != "" {
			c.add(x[0], x[1])
		}
	}
}

// Memory is one of a tenant's memories; ErrNotFound without it.
func (t *Tenant) Memory(ctx context.Context, id string) (MemoryOf, error) {
	return one(ctx, t, pgx.RowToStructByPos[MemoryOf], `SELECT `+memoryColumns+` FROM memories WHERE customer_id = $1 AND id = $2`, id)
}

// searched is how many rows a search looks at: the newest.
const searched = 2000

// ranked puts rows in the order of BM25 (k1 1.2, b 0.75) over the rows there
// are: any word of the question counts, and the more the rarer it is. docs
// are rows of id, at and search, a tsvector; %s is where they stand. Without a
// word that says anything, the newest come first. Ties are the newer's, then
// the higher id's.
const ranked = `WITH docs AS MATERIALIZED (%s),
	terms AS (SELECT DISTINCT lexeme FROM unnest(to_tsvector('english', ?)) AS u (lexeme, positions, weights)),
	sized AS (SELECT d.id, d.at, d.search, (SELECT coalesce(sum(cardinality(u.positions)), 0) FROM unnest(d.search) AS u (lexeme, positions, weights)) AS len FROM docs d),
	whole AS (SELECT count(*)::float8 AS n, greatest(avg(len), 1)::float8 AS mean FROM sized),
	hits AS (
		SELECT s.id, s.len::float8 AS len, u.lexeme, cardinality(u.positions)::float8 AS tf
		FROM sized s CROSS JOIN unnest(s.search) AS u (lexeme, positions, weights) JOIN terms ON terms.lexeme = u.lexeme),
	rarity AS (SELECT lexeme, ln(1 + (n - count(*) + 0.5) / (count(*) + 0.5)) AS idf FROM hits CROSS JOIN whole GROUP BY lexeme, n),
	scored AS (
		SELECT h.id, sum(r.idf * h.tf * 2.2 / (h.tf + 1.2 * (0.25 + 0.75 * h.len / w.mean)) ORDER BY h.lexeme) AS score
		FROM hits h JOIN rarity r ON r.lexeme = h.lexeme CROSS JOIN whole w GROUP BY h.id),
	best AS (
		SELECT d.id, d.at, coalesce(round(s.score::numeric, 9), 0) AS score FROM docs d LEFT JOIN scored s ON s.id = d.id
		WHERE s.id IS NOT NULL OR NOT EXISTS (SELECT FROM terms)
		ORDER BY 3 DESC, 2 DESC, 1 DESC LIMIT ?)
	`

// SearchMemories are the memories that say most about a question, best first,
// among the newest.
func (t *Tenant) SearchMemories(ctx context.Context, ask MemoriesAsked, question string) ([]MemoryOf, error) {
	var docs, c conditions
	docs.add(`SELECT id, created_at AS at, search FROM memories WHERE customer_id = $1` + inUse)
	ask.where(&docs)
	docs.add(` ORDER BY created_at DESC, id DESC LIMIT ?`, searched)
	c.args = docs.args
	c.add(fmt.Sprintf(ranked, docs.sql.String()), question, ask.Limit)
	c.add(`SELECT m.` + strings.ReplaceAll(memoryColumns, ", ", ", m.") + ` FROM best b JOIN memories m ON m.customer_id = $1 AND m.id = b.id
		ORDER BY b.score DESC, b.at DESC, b.id DESC`)
	return many(ctx, t, pgx.RowToStructByPos[MemoryOf], c.sql.String(), c.args...)
}

// SummaryRow is one call of a caller, summarized.
type SummaryRow struct {
	Call       string            `json:"call_id"`
	Date       time.Time         `json:"call_date"`
	Seconds    int               `json:"duration_seconds"`
	Summary    string            `json:"summary"`
	Topics     []string          `json:"key_topics"`
	Variables  map[string]string `json:"key_variables"`
	Sentiment  string            `json:"sentiment"`
	Resolution string            `json:"resolution_status"`
}

const summaryColumns = `call_id, call_date, duration_seconds, summary, key_topics, key_variables, sentiment, resolution_status`

// Summaries are a caller's calls, newest first, and how many there are.
func (t *Tenant) Summaries(ctx context.Context, user string, after *Place, limit int) (page []SummaryRow, total int, err error) {
	var c conditions
	c.add(`SELECT `+summaryColumns+`, (SELECT count(*) FROM call_summaries n WHERE n.customer_id = $1 AND n.user_id = ?)
		FROM call_summaries s WHERE s.customer_id = $1 AND s.user_id = ?`, user, user)
	if after != nil {
		c.add(` AND (s.call_date, s.call_id) < (?, ?)`, after.At, after.ID)
	}
	c.add(` ORDER BY s.call_date DESC, s.call_id DESC LIMIT ?`, limit)
	page, err = many(ctx, t, func(r pgx.CollectableRow) (s SummaryRow, err error) {
		return s, r.Scan(append(s.columns(), &total)...)
	}, c.sql.String(), c.args...)
	return page, total, err
}

func (s *SummaryRow) columns() []any {
	return []any{&s.Call, &s.Date, &s.Seconds, &s.Summary, &s.Topics, &s.Variables, &s.Sentiment, &s.Resolution}
}

// SearchSummaries are a caller's calls that say most about a question, best
// first, among the newest.
func (t *Tenant) SearchSummaries(ctx context.Context, user, question string, limit int) ([]SummaryRow, error) {
	var docs, c conditions
	docs.add(`SELECT call_id AS id, call_date AS at, to_tsvector('english', summary || ' ' || key_topics::text || ' ' || key_variables::text) AS search
		FROM call_summaries WHERE customer_id = $1 AND user_id = ? ORDER BY call_date DESC, call_id DESC LIMIT ?`, user, searched)
	c.args = docs.args
	c.add(fmt.Sprintf(ranked, docs.sql.String()), question, limit)
	c.add(`SELECT s.` + strings.ReplaceAll(summaryColumns, ", ", ", s.") + ` FROM best b JOIN call_summaries s ON s.customer_id = $1 AND s.call_id = b.id
		ORDER BY b.score DESC, b.at DESC, b.id DESC`)
	return many(ctx, t, pgx.RowToStructByPos[SummaryRow], c.sql.String(), c.args...)
}

// ProfileOf is what is known about a caller, as it is shown.
type ProfileOf struct {
	User        string
	Name        string
	Template    string
	QuickBio    string
	Fields      json.RawMessage // by path, each with where it comes from
	Former      json.RawMessage // fields that hold nothing any more, and what they held
	First, Last *time.Time      // call; nil: none yet
	Calls       int
	Stage       *string // of the lead; nil: none
	Since       *time.Time
	Lead        json.RawMessage // its history; may be nil
	Averages    json.RawMessage // of traits, by name; may be nil
	Preferences json.RawMessage // memories of that type, by key
}

const (
	profileColumns = profileHead + `p.profile, p.former, ` + profileTail
	// What a conversation needs: the past of each field is left out.
	presentColumns = profileHead + `(SELECT coalesce(jsonb_object_agg(f.key, f.value - 'history' - 'each'), '{}') FROM jsonb_each(p.profile) f), '{}'::jsonb, ` + profileTail
)

const profileHead = `p.user_id, p.name, p.template, p.quick_bio, `

const profileTail = `p.first_call_at, p.last_call_at, p.total_calls, l.stage, l.since, l.history, a.averages,
	(SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM (
		SELECT DISTINCT ON (m.key) m.key, m.value FROM memories m WHERE m.customer_id = $1 AND m.user_id = p.user_id AND m.type = 'preference'` + inUse + `
		ORDER BY m.key, m.created_at DESC, m.id DESC LIMIT 50) m)`

const profileTables = ` FROM caller_profiles p LEFT JOIN leads l ON l.customer_id = $1 AND l.user_id = p.user_id
	LEFT JOIN personality_averages a ON a.customer_id = $1 AND a.user_id = p.user_id WHERE p.customer_id = $1`

func (p *ProfileOf) columns() []any {
	raw := func(to *json.RawMessage) *[]byte { return (*[]byte)(to) } // as it is: nothing is to be checked
	return []any{
		&p.User, &p.Name, &p.Template, &p.QuickBio, raw(&p.Fields), raw(&p.Former), &p.First, &p.Last, &p.Calls, &p.Stage, &p.Since, raw(&p.Lead), raw(&p.Averages), raw(&p.Preferences),
	}
}

// Profile is one caller's; ErrNotFound when nothing is known.
func (t *Tenant) Profile(ctx context.Context, user string) (ProfileOf, error) {
	return one(ctx, t, func(r pgx.CollectableRow) (p ProfileOf, err error) { return p, r.Scan(p.columns()...) },
		`SELECT `+profileColumns+profileTables+` AND p.user_id = $2`, user)
}

// Profiles are those of callers that come after one, in the order of their
// numbers, and how many there are in all.
func (t *Tenant) Profiles(ctx context.Context, after string, limit int) (page []ProfileOf, total int, err error) {
	page, err = many(ctx, t, func(r pgx.CollectableRow) (p ProfileOf, err error) {
		return p, r.Scan(append(p.columns(), &total)...)
	}, `SELECT `+profileColumns+`, (SELECT count(*) FROM caller_profiles n WHERE n.customer_id = $1)`+profileTables+`
		AND p.user_id > $2 ORDER BY p.user_id LIMIT $3`, after, limit)
	return page, total, err
}

// Sentiments are those of a caller's calls, oldest first; ErrNotFound for a
// caller nothing is known of.
func (t *Tenant) Sentiments(ctx context.Context, user string) ([]string, error) {
	return one(ctx, t, func(r pgx.CollectableRow) (all []string, err error) { return all, r.Scan(&all) }, `
		SELECT coalesce((SELECT array_agg(sentiment ORDER BY call_date, call_id) FROM call_summaries s WHERE s.customer_id = $1 AND s.user_id = $2), '{}')
		FROM caller_profiles p WHERE p.customer_id = $1 AND p.user_id = $2`, user)
}

// Enriched is everything a conversation may want to know when it begins.
type Enriched struct {
	Known bool
	ProfileOf
	Summaries []SummaryRow
	Memories  []RecalledMemory // newest first, the newest of each key
}

// RecalledMemory is a memory as a conversation is told of it.
type RecalledMemory struct {
	Type    string    `json:"type"`
	Key     string    `json:"key"`
	Value   string    `json:"value"`
	Subject string    `json:"subject"`
	Origin  string    `json:"origin"`
	At      time.Time `json:"at"`
}

const enriched = `SELECT ` + presentColumns + `,
	(SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.call_date DESC, s.call_id DESC), '[]') FROM (
		SELECT ` + summaryColumns + ` FROM call_summaries s WHERE s.customer_id = $1 AND s.user_id = $2
		ORDER BY s.call_date DESC, s.call_id DESC LIMIT $3) s),
	(SELECT coalesce(jsonb_agg(to_jsonb(m) ORDER BY m.at DESC, m.key), '[]') FROM (
		SELECT DISTINCT ON (m.key) m.type, m.key, coalesce(nullif(m.content, ''), m.value) AS value, m.subject, m.origin, m.last_said_at AS at FROM memories m
		WHERE m.customer_id = $1 AND m.user_id = $2` + inUse + ` ORDER BY m.key, m.last_said_at DESC, m.id DESC LIMIT 50) m)` +
	profileTables + ` AND p.user_id = $2`

// Enriched reads it in one round trip. A caller we know nothing about is no
// error.
func (t *Tenant) Enriched(ctx context.Context, user string, summaries int) (Enriched, error) {
	e, err := one(ctx, t, func(r pgx.CollectableRow) (e Enriched, err error) {
		var sums, memories []byte
		if err := r.Scan(append(e.columns(), &sums, &memories)...); err != nil {
			return e, err
		}
		e.Known = true
		return e, errors.Join(json.Unmarshal(sums, &e.Summaries), json.Unmarshal(memories, &e.Memories))
	}, enriched, user, summaries)
	if errors.Is(err, ErrNotFound) {
		return Enriched{}, nil
	}
	return e, err
}

// CallRow is a call and the sequence of the newest fact its row is made of.
type CallRow struct {
	CallOf
	Seq int64
}

// CallRow is one call; ErrNotFound without it.
func (t *Tenant) CallRow(ctx context.Context, id string) (CallRow, error) {
	return one(ctx, t, func(r pgx.CollectableRow) (c CallRow, err error) {
		return c, r.Scan(&c.ID, &c.Caller, &c.Received, &c.Ended, &c.Seconds, &c.Reason, &c.Turns, &c.Summary, &c.Seq)
	}, `
		SELECT c.call_id, c.user_id, c.received_at, c.ended_at, c.seconds, c.reason, c.turns, s.summary, c.seq
		FROM calls c LEFT JOIN call_summaries s ON s.customer_id = $1 AND s.call_id = c.call_id
		WHERE c.customer_id = $1 AND c.call_id = $2`, id)
}

// Erased reports whether everything about a call was erased.
func (t *Tenant) Erased(ctx context.Context, call string) (bool, error) {
	return one(ctx, t, pgx.RowTo[bool], `SELECT EXISTS (SELECT FROM erased_calls WHERE customer_id = $1 AND call_id = $2)`, call)
}

// Stated is a fact about a caller as it was stated first, by its event;
// ErrNotFound without it.
func (t *Tenant) Stated(ctx context.Context, user, event string) ([]byte, error) {
	return one(ctx, t, pgx.RowTo[[]byte], `SELECT convert_to(fact, 'UTF8') FROM caller_facts WHERE customer_id = $1 AND user_id = $2 AND event_id = $3`, user, event)
}
