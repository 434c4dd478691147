package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Claim says whether a piece of work is ours to do.
type Claim struct {
	Ours     bool
	Attempts int       // ours included
	Result   []byte    // what an earlier attempt left; nil: nothing
	First    time.Time // when it was first claimed
	State    string    // of a text: claimed, sent, failed
	SID      string
}

// claim runs a claiming statement. A row that another made while it ran is
// neither ours nor visible to it: then the claim is not ours.
func claim(ctx context.Context, t *Tenant, fn pgx.RowToFunc[Claim], sql string, args ...any) (Claim, error) {
	c, err := one(ctx, t, fn, sql, args...)
	if errors.Is(err, ErrNotFound) {
		return Claim{State: "claimed"}, nil
	}
	return c, err
}

// ClaimExtraction takes the one paid-for derivation of a call under key, for
// lease, unless it is done or somebody else's lease runs.
func (t *Tenant) ClaimExtraction(ctx context.Context, call, key, by string, lease time.Duration) (Claim, error) {
	return claim(ctx, t, func(r pgx.CollectableRow) (c Claim, err error) {
		err = r.Scan(&c.Ours, &c.Attempts, &c.Result)
		return c, err
	}, `
		WITH mine AS (
			INSERT INTO extractions AS x (customer_id, call_id, key, claimed_by, lease_until, attempts)
			VALUES ($1, $2, $3, $4, now() + $5, 1)
			ON CONFLICT (customer_id, call_id, key) DO UPDATE
				SET claimed_by = excluded.claimed_by, lease_until = excluded.lease_until, attempts = x.attempts + 1
				WHERE x.result IS NULL AND (x.lease_until < now() OR x.claimed_by = excluded.claimed_by)
			RETURNING attempts)
		SELECT true, attempts, NULL::jsonb FROM mine
		UNION ALL
		SELECT false, attempts, result FROM extractions
		WHERE customer_id = $1 AND call_id = $2 AND key = $3 AND NOT EXISTS (SELECT FROM mine)`,
		call, key, by, lease)
}

// ClaimCall takes a call's id for what has a digest, for good, and returns the
// digest of whoever had it first.
func (t *Tenant) ClaimCall(ctx context.Context, call, digest string) (first string, err error) {
	return one(ctx, t, pgx.RowTo[string], `
		INSERT INTO call_claims AS x (customer_id, call_id, digest, claimed_at) VALUES ($1, $2, $3, now())
		ON CONFLICT (customer_id, call_id) DO UPDATE SET digest = x.digest RETURNING digest`, call, digest)
}

// SaveExtraction keeps the result of a claimed derivation, a JSON document. The
// first one stays, so that everybody tells the same: ErrNotFound when there is
// no claim without a result.
func (t *Tenant) SaveExtraction(ctx context.Context, call, key string, result []byte) error {
	return t.begin(ctx, func(q tx) error {
		n, err := q.exec(ctx, `UPDATE extractions SET result = $4 WHERE customer_id = $1 AND call_id = $2 AND key = $3 AND result IS NULL`, call, key, result)
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
}

// ReleaseExtraction ends a claim that came to nothing.
func (t *Tenant) ReleaseExtraction(ctx context.Context, call, key, by string) error {
	return t.begin(ctx, func(q tx) error {
		_, err := q.exec(ctx, `UPDATE extractions SET lease_until = now() WHERE customer_id = $1 AND call_id = $2 AND key = $3 AND claimed_by = $4`, call, key, by)
		return err
	})
}

// ClaimText takes the sending of one text. Ours is true for whoever may send it
// now: the first to ask, or the first to ask after again has passed since the
// last claim. In the latter case (Attempts > 1) it may have been sent before.
func (t *Tenant) ClaimText(ctx context.Context, message, recipient, by string, again time.Duration) (Claim, error) {
	return claim(ctx, t, func(r pgx.CollectableRow) (c Claim, err error) {
		err = r.Scan(&c.Ours, &c.Attempts, &c.First, &c.State, &c.SID)
		return c, err
	}, `
		WITH mine AS (
			INSERT INTO sms_outbox AS x (customer_id, message_id, recipient, state, claimed_by, claimed_at, first_claimed_at, attempts)
			VALUES ($1, $2, $3, 'claimed', $4, now(), now(), 1)
			ON CONFLICT (customer_id, message_id) DO UPDATE
				SET claimed_by = excluded.claimed_by, claimed_at = now(), attempts = x.attempts + 1
				WHERE x.state = 'claimed' AND x.claimed_at < now() - $5::interval
			RETURNING attempts, first_claimed_at, state, sid)
		SELECT true, * FROM mine
		UNION ALL
		SELECT false, attempts, first_claimed_at, state, sid FROM sms_outbox
		WHERE customer_id = $1 AND message_id = $2 AND NOT EXISTS (SELECT FROM mine)`,
		message, recipient, by, again)
}

// UnclaimText gives by's claim back, by which nothing was sent: the next
// attempt may begin at once. What earlier attempts may have sent is not
// forgotten. A claim that somebody else has taken over stays theirs.
func (t *Tenant) UnclaimText(ctx context.Context, message, by string) error {
	return t.begin(ctx, func(q tx) error {
		_, err := q.exec(ctx, `DELETE FROM sms_outbox WHERE customer_id = $1 AND message_id = $2 AND state = 'claimed' AND claimed_by = $3 AND attempts = 1`, message, by)
		if err != nil {
			return err
		}
		_, err = q.exec(ctx, `UPDATE sms_outbox SET claimed_at = '-infinity' WHERE customer_id = $1 AND message_id = $2 AND state = 'claimed' AND claimed_by = $3`, message, by)
		return err
	})
}

// TextSent records that Twilio has the text; ErrNotFound when it was never
// claimed.
func (t *Tenant) TextSent(ctx context.Context, message, sid string) error {
	return t.settleText(ctx, `UPDATE sms_outbox SET state = 'sent', sid = $3, error_code = '' WHERE customer_id = $1 AND message_id = $2`, message, sid)
}

// TextFailed records that the text will not be sent, unless another attempt has
// sent it; ErrNotFound when it was never claimed.
func (t *Tenant) TextFailed(ctx context.Context, message, code string) error {
	return t.settleText(ctx, `
		UPDATE sms_outbox SET state = CASE state WHEN 'sent' THEN state ELSE 'failed' END, error_code = CASE state WHEN 'sent' THEN '' ELSE $3 END
		WHERE customer_id = $1 AND message_id = $2`, message, code)
}

// OtherTexts are Twilio's ids of the texts recipient was sent that are not
// message.
func (t *Tenant) OtherTexts(ctx context.Context, message, recipient string) (sids []string, err error) {
	return many(ctx, t, pgx.RowTo[string], `SELECT sid FROM sms_outbox WHERE customer_id = $1 AND message_id <> $2 AND recipient = $3 AND sid <> ''`, message, recipient)
}

func (t *Tenant) settleText(ctx context.Context, sql, message, word string) error {
	return t.begin(ctx, func(q tx) error {
		n, err := q.exec(ctx, sql, message, word)
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
}

// OptedOut reports whether number wants no texts from this tenant.
func (t *Tenant) OptedOut(ctx context.Context, number string) (bool, error) {
	return one(ctx, t, pgx.RowTo[bool], `SELECT EXISTS (SELECT FROM sms_opt_outs WHERE customer_id = $1 AND number = $2 AND out)`, number)
}
