package privacy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
)

// Defaults are how long data is kept where a tenant has not said, in days.
var Defaults = events.Retention{Transcripts: 90, Raw: 30, Texts: 180, Callers: 730}

// LimitsOf is how long a tenant's data is kept.
func LimitsOf(s events.Settings) events.Retention {
	out := Defaults
	if r := s.Retention; r != nil {
		for own, to := range map[*int]*int{&r.Transcripts: &out.Transcripts, &r.Raw: &out.Raw, &r.Texts: &out.Texts, &r.Callers: &out.Callers} {
			if *own > 0 {
				*to = *own
			}
		}
		out.Hold = r.Hold
	}
	return out
}

// Swept is what of one tenant's data was older than it may be.
type Swept struct {
	Tenant      events.Tenant    `json:"customer_id"`
	Limits      events.Retention `json:"limits"`
	Transcripts int              `json:"transcript_facts"`
	Raw         int64            `json:"raw_answers"`
	Rederived   int              `json:"rederivations"`
	Texts       int              `json:"text_bodies"`
	Callers     int              `json:"callers"`
	Calls       int              `json:"calls_of_nobody_known"`
	Late        int              `json:"late_facts"`
}

func (s Swept) removed() bool {
	return s.Transcripts > 0 || s.Raw > 0 || s.Rederived > 0 || s.Texts > 0 || s.Callers > 0 || s.Calls > 0 || s.Late > 0
}

// SweepOptions say what to look at.
type SweepOptions struct {
	Tenant   events.Tenant // 0: every one
	Now      time.Time
	Dry      bool // count, and remove nothing
	Files    bool // make the bytes go from the files, if anything was removed
	Progress func(step string, done, of int)
}

// expiring at most so many callers at a time.
const callersASweep = 500

// Sweep removes what is older than its tenant has it kept.
func (s *Service) Sweep(ctx context.Context, o SweepOptions) (out []Swept, err error) {
	all, err := s.Store.ListCustomers(ctx)
	if err != nil {
		return nil, err
	}
	removed := false
	for _, set := range all {
		if o.Tenant != 0 && o.Tenant != set.Tenant {
			continue
		}
		swept, err := s.sweep(ctx, o, set)
		if err != nil {
			return out, err
		}
		out = append(out, swept)
		removed = removed || swept.removed()
	}
	if o.Tenant != 0 && len(out) == 0 {
		return nil, fmt.Errorf("customer %s: %w", o.Tenant, store.ErrNotFound)
	}
	if removed && o.Files && !o.Dry {
		_, _, err = s.Clean(ctx, true, func(step string) { o.tell(step, 0, 0) })
	}
	return out, err
}

func (o SweepOptions) tell(step string, done, of int) {
	if o.Progress != nil {
		o.Progress(step, done, of)
	}
}

func (s *Service) sweep(ctx context.Context, o SweepOptions, set events.Settings) (w Swept, err error) {
	w = Swept{Tenant: set.Tenant, Limits: LimitsOf(set)}
	if w.Limits.Hold {
		return w, nil
	}
	before := func(days int) time.Time { return o.Now.AddDate(0, 0, -days) }
	rows, err := s.Store.For(set.Tenant)
	if err != nil {
		return w, err
	}
	if w.Transcripts, err = s.expire(ctx, o, set.Tenant, before(w.Limits.Transcripts), events.TurnHeard{}, events.TurnSpoken{}); err != nil {
		return w, err
	}
	if w.Rederived, err = s.expire(ctx, o, set.Tenant, before(w.Limits.Raw), events.CallRederived{}); err != nil {
		return w, err
	}
	if w.Raw, err = rows.ExpireRaw(ctx, before(w.Limits.Raw), o.Dry); err != nil {
		return w, err
	}
	if w.Texts, err = s.expireTexts(ctx, o, set.Tenant, before(w.Limits.Texts)); err != nil {
		return w, err
	}
	if err = s.expireCallers(ctx, o, rows, &w, before(w.Limits.Callers)); err != nil || o.Dry {
		return w, err
	}
	w.Late, err = s.Late(ctx, set.Tenant)
	return w, err
}

// expire removes facts of some names that became true before a time. No rows
// are made of them.
func (s *Service) expire(ctx context.Context, o SweepOptions, t events.Tenant, before time.Time, facts ...events.Fact) (int, error) {
	names := make([]string, 0, len(facts))
	for _, f := range facts {
		names = append(names, f.Name())
	}
	var seqs []uint64
	_, err := s.Bus.Search(ctx, t, 1, names, func(st bus.Stored) error {
		if at := st.Time(); !at.IsZero() && at.Before(before) {
			seqs = append(seqs, st.Seq)
		}
		return nil
	})
	if err != nil || o.Dry {
		return len(seqs), err
	}
	return s.Bus.Erase(ctx, t, seqs, func(done int) { o.tell("facts of customer "+t.String(), done, len(seqs)) })
}

// expireTexts removes what old texts said; that they were sent stays.
func (s *Service) expireTexts(ctx context.Context, o SweepOptions, t events.Tenant, before time.Time) (int, error) {
	var seqs []uint64
	messages := map[string]bool{}
	names := []string{events.SMSRequested{}.Name(), events.SMSReceived{}.Name()}
	_, err := s.Bus.Search(ctx, t, 1, names, func(st bus.Stored) error {
		if at := st.Time(); at.IsZero() || !at.Before(before) {
			return nil
		}
		seqs = append(seqs, st.Seq)
		if m := field(st.Data, "message"); m != "" {
			messages[m] = true
		}
		return nil
	})
	if err != nil || o.Dry || len(seqs) == 0 {
		return len(seqs), err
	}
	e, err := s.begin(ctx, Request{Tenant: t, Call: "x", By: "retention"})
	if err != nil {
		return 0, err
	}
	e.found = gather(t, "", nil, time.Time{})
	e.found.texts = messages
	names = []string{events.SMSSent{}.Name(), events.SMSDelivered{}.Name(), events.SMSFailed{}.Name()}
	_, err = s.Bus.Search(ctx, t, 1, names, func(st bus.Stored) error {
		if ev, err := st.Event(); err == nil && messages[field(st.Data, "message")] {
			e.found.kept = append(e.found.kept, ev)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := e.removeRows(ctx); err != nil {
		return 0, err
	}
	return s.Bus.Erase(ctx, t, seqs, func(done int) { o.tell("texts of customer "+t.String(), done, len(seqs)) })
}

// Expiring is how many callers sweeps would erase of a tenant as it is now; none
// on hold.
type Expiring struct {
	Callers int `json:"callers"`
	Days    int `json:"caller_days"` // for which callers are kept
}

// Expiring counts callers of whom nothing is newer than their tenant has
// callers kept. It needs the Store alone.
func (s *Service) Expiring(ctx context.Context, t events.Tenant, now time.Time) (e Expiring, err error) {
	set, err := s.Store.Settings(ctx, t)
	if err != nil {
		return e, err
	}
	limits := LimitsOf(set)
	e.Days = limits.Callers
	if limits.Hold {
		return e, nil
	}
	rows, err := s.Store.For(t)
	if err != nil {
		return e, err
	}
	callers, _, err := rows.Expired(ctx, now.AddDate(0, 0, -e.Days), math.MaxInt32)
	e.Callers = len(callers)
	return e, err
}

// expireCallers erases whole callers, and calls of nobody known.
func (s *Service) expireCallers(ctx context.Context, o SweepOptions, rows *store.Tenant, w *Swept, before time.Time) error {
	callers, calls, err := rows.Expired(ctx, before, callersASweep)
	if err != nil {
		return err
	}
	w.Callers, w.Calls = len(callers), len(calls)
	if o.Dry {
		return nil
	}
	for i, c := range callers {
		o.tell("callers of customer "+w.Tenant.String(), i, len(callers))
		if err := s.expireOne(ctx, Request{Tenant: w.Tenant, Caller: c, By: "retention"}); err != nil {
			return err
		}
	}
	for i, c := range calls {
		o.tell("calls of customer "+w.Tenant.String(), i, len(calls))
		if err := s.expireOne(ctx, Request{Tenant: w.Tenant, Call: c, By: "retention"}); err != nil {
			return err
		}
	}
	return nil
}

// expireOne leaves for the next time whoever is on the line again.
func (s *Service) expireOne(ctx context.Context, r Request) error {
	_, err := s.Erase(ctx, r)
	if errors.Is(err, ErrBusy) || errors.Is(err, ErrNothing) {
		return nil
	}
	return err
}
