package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// SummaryOf is one past call of a caller.
type SummaryOf struct {
	Call      string    `json:"call_id"`
	Date      time.Time `json:"call_date"`
	Summary   string    `json:"summary"`
	Topics    []string  `json:"key_topics"`
	Sentiment string    `json:"sentiment"`
	Status    string    `json:"resolution_status"`
}

// CallerContext is what a conversation knows about its caller when it begins.
type CallerContext struct {
	Known     bool              `json:"known"`
	Name      string            `json:"name"`
	QuickBio  string            `json:"quick_bio"`
	Profile   json.RawMessage   `json:"profile"`
	Calls     int               `json:"total_calls"`
	Last      time.Time         `json:"last_call_at"` // zero: never called
	Stage     string            `json:"lead_stage"`
	Summaries []SummaryOf       `json:"recent_summaries"`
	Style     map[string]int    `json:"personality"` // averages, 0 to 100
	Memories  map[string]string `json:"memories"`
}

// CallerContext reads it in one round trip. A caller we know nothing about is
// no error.
func (t *Tenant) CallerContext(ctx context.Context, user string, summaries int) (CallerContext, error) {
	c, err := one(ctx, t, func(r pgx.CollectableRow) (c CallerContext, err error) {
		var stage *string
		var last *time.Time
		var sums, style, memories []byte
		if err := r.Scan(&c.Name, &c.QuickBio, &c.Profile, &c.Calls, &last, &stage, &sums, &style, &memories); err != nil {
			return c, err
		}
		c.Known = true
		if stage != nil {
			c.Stage = *stage
		}
		if last != nil {
			c.Last = *last
		}
		averages := map[string]Average{}
		if style != nil {
			err = json.Unmarshal(style, &averages)
		}
		c.Style = map[string]int{}
		for metric, a := range averages {
			c.Style[metric] = int(a.Sum / max(a.N, 1) / 1_000_000)
		}
		return c, errors.Join(err, json.Unmarshal(sums, &c.Summaries), json.Unmarshal(memories, &c.Memories))
	}, `
		SELECT p.name, p.quick_bio,
			(SELECT coalesce(jsonb_object_agg(f.key, f.value - 'history' - 'each'), '{}') FROM jsonb_each(p.profile) f), p.total_calls, p.last_call_at,
			(SELECT stage FROM leads l WHERE l.customer_id = $1 AND l.user_id = $2),
			(SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.call_date DESC, s.call_id), '[]') FROM (
				SELECT call_id, call_date, summary, key_topics, sentiment, resolution_status FROM call_summaries
				WHERE customer_id = $1 AND user_id = $2 ORDER BY call_date DESC, call_id LIMIT $3) s),
			(SELECT averages FROM personality_averages a WHERE a.customer_id = $1 AND a.user_id = $2),
			(SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM (
				SELECT DISTINCT ON (key) key, coalesce(nullif(content, ''), value) AS value FROM memories m
				WHERE m.customer_id = $1 AND m.user_id = $2 AND (m.expires_at IS NULL OR m.expires_at > now())
				ORDER BY key, last_said_at DESC, id LIMIT 50) m)
		FROM caller_profiles p WHERE p.customer_id = $1 AND p.user_id = $2`, user, summaries)
	if errors.Is(err, ErrNotFound) {
		return CallerContext{}, nil
	}
	return c, err
}

// CallOf is one call, as shown to people.
type CallOf struct {
	ID       string     `json:"call_id"`
	Caller   *string    `json:"user_id"`
	Received *time.Time `json:"received_at"`
	Ended    *time.Time `json:"ended_at"`
	Seconds  *int       `json:"seconds"`
	Reason   *string    `json:"reason"`
	Turns    *int       `json:"turns"`
	Summary  *string    `json:"summary"`
}

// Calls are the tenant's latest calls, newest first.
func (t *Tenant) Calls(ctx context.Context, limit int) ([]CallOf, error) {
	return many(ctx, t, pgx.RowToStructByPos[CallOf], `
		SELECT c.call_id, c.user_id, c.received_at, c.ended_at, c.seconds, c.reason, c.turns, s.summary
		FROM calls c LEFT JOIN call_summaries s ON s.customer_id = $1 AND s.call_id = c.call_id
		WHERE c.customer_id = $1 ORDER BY c.received_at DESC NULLS LAST, c.call_id LIMIT $2`, limit)
}

// Call is one call; ErrNotFound without it.
func (t *Tenant) Call(ctx context.Context, id string) (CallOf, error) {
	return one(ctx, t, pgx.RowToStructByPos[CallOf], `
		SELECT c.call_id, c.user_id, c.received_at, c.ended_at, c.seconds, c.reason, c.turns, s.summary
		FROM calls c LEFT JOIN call_summaries s ON s.customer_id = $1 AND s.call_id = c.call_id
		WHERE c.customer_id = $1 AND c.call_id = $2`, id)
}

// TextOf is one text, as shown to people.
type TextOf struct {
	Message   string     `json:"message_id"`
	Recipient string     `json:"to"`
	Purpose   string     `json:"purpose"`
	Body      string     `json:"body"`
	Sent      *time.Time `json:"sent_at"`
	Delivered *time.Time `json:"delivered_at"`
	Failed    *time.Time `json:"failed_at"`
}

// Texts are those one call led to.
func (t *Tenant) Texts(ctx context.Context, call string) ([]TextOf, error) {
	return many(ctx, t, pgx.RowToStructByPos[TextOf], `
		SELECT message_id, recipient, purpose, body, sent_at, delivered_at, failed_at FROM texts
		WHERE customer_id = $1 AND call_id = $2 ORDER BY purpose, recipient`, call)
}
