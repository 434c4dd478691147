package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"neurosphere.ai/neurosphere/events"
)

// CallersErased reports whether any caller of the tenant was erased.
func (p *Projection) CallersErased() bool { return p.forgets }

// EraseCaller remembers, for an event that says so, that a caller was erased,
// by ref: what became true until the event's time is nobody's any more.
func (p *Projection) EraseCaller(e events.Event, ref string) error {
	p.of(e)
	if err := p.flush(); err != nil {
		return err
	}
	p.forgets = true
	_, err := p.q.exec(p.ctx, `INSERT INTO erased_callers AS x (customer_id, ref, until, seq) VALUES ($1, $2, $3, $4)
		ON CONFLICT (customer_id, ref) DO UPDATE SET until = excluded.until, seq = excluded.seq WHERE x.until < excluded.until`, ref, e.Time, int64(e.Seq))
	return err
}

// EraseText remembers, for an event that says so, that a text was erased, by
// ref, beside the callers, and removes what is known of it, if it is known.
func (p *Projection) EraseText(e events.Event, ref, message string) error {
	p.of(e)
	if err := p.flush(); err != nil {
		return err
	}
	p.forgets = true
	if ref != "" {
		_, err := p.q.exec(p.ctx, `INSERT INTO erased_callers (customer_id, ref, until, seq) VALUES ($1, $2, 'epoch', $3) ON CONFLICT DO NOTHING`, ref, int64(e.Seq))
		if err != nil {
			return err
		}
	}
	_, err := p.q.exec(p.ctx, `DELETE FROM texts WHERE customer_id = $1 AND message_id = $2`, message)
	return err
}

// Texts are the ids of all texts that the tenant's rows tell of.
func (p *Projection) Texts() ([]string, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	return query(p.ctx, p.q, pgx.RowTo[string], `SELECT message_id FROM texts WHERE customer_id = $1`)
}

// Unerase forgets that some calls, and some texts, by ref, were erased, for what
// says so to be written anew: the fact it was read from is gone.
func (p *Projection) Unerase(calls, refs []string) error {
	if err := p.flush(); err != nil {
		return err
	}
	if _, err := p.q.exec(p.ctx, `DELETE FROM erased_calls WHERE customer_id = $1 AND call_id = ANY ($2)`, append([]string{}, calls...)); err != nil {
		return err
	}
	_, err := p.q.exec(p.ctx, `DELETE FROM erased_callers WHERE customer_id = $1 AND ref = ANY ($2)`, append([]string{}, refs...))
	return err
}

// ErasedUntil tells of some refs, those of callers who were erased, until when.
func (p *Projection) ErasedUntil(refs []string) (map[string]time.Time, error) {
	out := map[string]time.Time{}
	if !p.forgets || len(refs) == 0 {
		return out, p.err
	}
	if err := p.flush(); err != nil {
		return nil, err
	}
	_, err := query(p.ctx, p.q, func(r pgx.CollectableRow) (none struct{}, err error) {
		var ref string
		var until time.Time
		err = r.Scan(&ref, &until)
		out[ref] = until
		return none, err
	}, `SELECT ref, until FROM erased_callers WHERE customer_id = $1 AND ref = ANY ($2)`, refs)
	return out, err
}

// Numbers are all that the tenant's rows name, callers and those who get texts.
func (p *Projection) Numbers() ([]string, error) {
	if err := p.flush(); err != nil {
		return nil, err
	}
	return query(p.ctx, p.q, pgx.RowTo[string], `
		SELECT user_id FROM calls WHERE customer_id = $1 AND user_id IS NOT NULL
		UNION SELECT user_id FROM call_summaries WHERE customer_id = $1
		UNION SELECT user_id FROM caller_facts WHERE customer_id = $1
		UNION SELECT recipient FROM texts WHERE customer_id = $1 AND recipient IS NOT NULL
		UNION SELECT number FROM sms_opt_outs WHERE customer_id = $1`)
}

// Forget removes what became true about a caller until a time, for an event that
// says they were erased, and remembers the calls. It names those who are to be
// folded anew, beside the caller, and the texts that were to them, for
// EraseText.
func (p *Projection) Forget(e events.Event, number string, until time.Time) (users, texts []string, err error) {
	p.of(e)
	if err := p.flush(); err != nil {
		return nil, nil, err
	}
	texts, err = query(p.ctx, p.q, pgx.RowTo[string], `SELECT message_id FROM texts WHERE customer_id = $1 AND recipient = $2 AND least(requested_at, sent_at) <= $3`, number, until)
	if err != nil {
		return nil, nil, err
	}
	calls, err := query(p.ctx, p.q, pgx.RowTo[string], `
		SELECT call_id FROM calls WHERE customer_id = $1 AND user_id = $2 AND received_at <= $3
		UNION SELECT call_id FROM call_summaries WHERE customer_id = $1 AND user_id = $2 AND call_date <= $3 ORDER BY 1`, number, until)
	if err != nil {
		return nil, nil, err
	}
	if users, err = p.EraseCalls(e, calls); err != nil {
		return nil, nil, err
	}
	for _, sql := range []string{
		`DELETE FROM caller_facts WHERE customer_id = $1 AND user_id = $2 AND stated_at <= $3 AND name <> 'call.summarized'`,
		`DELETE FROM sms_opt_outs WHERE customer_id = $1 AND number = $2 AND since <= $3`,
	} {
		if _, err := p.q.exec(p.ctx, sql, number, until); err != nil {
			return nil, nil, err
		}
	}
	return users, texts, nil
}

// ErasedUntil tells until when what became true about a caller, by ref, was
// erased; zero: never.
func (t *Tenant) ErasedUntil(ctx context.Context, ref string) (time.Time, error) {
	until, err := one(ctx, t, pgx.RowTo[time.Time], `SELECT until FROM erased_callers WHERE customer_id = $1 AND ref = $2`, ref)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	return until, err
}
