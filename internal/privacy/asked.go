package privacy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

// States of an erasure. One that a command begins is carried out by it; one that
// was asked for over the API by whoever leads the profilers, which has the
// ledger.
const (
	StateAsked   = "asked"   // nothing has been done yet
	StateErasing = "erasing" // it is under way
	StateErased  = "erased"  // nothing is left but bytes in files, which go with those of others
	StateDone    = "done"    // there is a certificate

	stateBegun    = "begun"    // by a command
	stateCleaning = "cleaning" // likewise: erased
)

// Public is a state as those who ask are told it: whoever is at it.
func Public(state string) string {
	switch state {
	case stateBegun:
		return StateErasing
	case stateCleaning:
		return StateErased
	}
	return state
}

// asked reports whether an erasure is one that CarryOut and Certify are at.
func asked(r store.Erasure) bool {
	return r.State == StateAsked || r.State == StateErasing || r.State == StateErased
}

// Ask has a caller or a call erased by CarryOut, soon, wherever that runs, and
// says what there is to erase. Asked again, it is the same request, until it has
// been carried out; ErrNothing where nothing is kept.
func (s *Service) Ask(ctx context.Context, r Request) (record store.Erasure, p Plan, err error) {
	e, err := s.begin(ctx, r)
	if err != nil {
		return record, p, err
	}
	if err := e.held(ctx); err != nil {
		return record, p, err
	}
	if p, err = s.Plan(ctx, r); err != nil {
		return record, p, err
	}
	if record, err = e.asked(ctx, p); err != nil || record.State != StateAsked {
		return record, p, err
	}
	f := events.ErasureRequested{Erasure: record.ID, Kind: record.Kind, Ref: record.Ref, By: record.By}
	_, err = s.Bus.Publish(ctx, events.New(r.Tenant, "", record.Requested, f))
	return record, p, err
}

// asked finds the request there is already, or writes it down.
func (e *erasing) asked(ctx context.Context, p Plan) (record store.Erasure, err error) {
	ref, err := e.ref()
	if err != nil {
		return record, err
	}
	all, err := e.rows.Erasures(ctx)
	if err != nil {
		return record, err
	}
	before := 0
	for _, old := range all {
		if !e.same(old, ref) {
			continue
		}
		before++
		under := old.State == StateAsked || old.State == StateErasing || old.State == stateBegun
		if under || old.State != StateDone && p.Empty() {
			record = old
		}
	}
	if record.ID != "" {
		return record, nil
	}
	if p.Empty() {
		return record, ErrNothing
	}
	// Two who ask at once for the same come to the same id.
	record = store.Erasure{
		ID:   events.Derive("erasure", e.Tenant.String(), e.kind(), ref, e.Call, "asked", strconv.Itoa(before)),
		Kind: e.kind(), Ref: ref, By: e.By, State: StateAsked, Requested: time.Now().UTC().Truncate(time.Microsecond),
	}
	if e.Call != "" {
		record.Calls = []string{e.Call}
	}
	if record.Sealed, err = e.sealed(); err != nil {
		return record, err
	}
	if err := e.rows.AskErasure(ctx, record); err != nil {
		return record, err
	}
	return e.rows.Erasure(ctx, record.ID)
}

// CarryOut erases what was asked for of a tenant. open says whether some of it
// has to wait: for a call under way, for a hold to end, or after an error. base
// says how: its Progress, Wait.
func (s *Service) CarryOut(ctx context.Context, t events.Tenant, base Request) (open bool, err error) {
	rows, err := s.Store.For(t)
	if err != nil {
		return false, err
	}
	all, err := rows.Erasures(ctx, StateAsked, StateErasing)
	if err != nil || len(all) == 0 {
		return err != nil, err
	}
	lines, err := s.Ledger.Entries()
	if err != nil {
		return true, err
	}
	done := map[string]bool{}
	for _, l := range lines {
		done[l.ID] = done[l.ID] || l.State == StateDone
	}
	var errs []error
	for _, record := range all {
		if done[record.ID] {
			continue // it was, before the database was restored: see Again
		}
		err := s.carryOut(ctx, t, base, record)
		open = open || err != nil
		if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrHeld) {
			errs = append(errs, fmt.Errorf("erasure %s: %w", record.ID, err))
		}
	}
	return open, errors.Join(errs...)
}

func (s *Service) carryOut(ctx context.Context, t events.Tenant, base Request, record store.Erasure) error {
	r := base
	r.Tenant, r.By = t, record.By
	if record.Kind == KindCall {
		if len(record.Calls) == 0 {
			return errors.New("it names no call")
		}
		r.Call = record.Calls[0]
	} else {
		raw, err := base64.StdEncoding.DecodeString(record.Sealed)
		if err != nil {
			return err
		}
		if s.Vault == nil {
			return errors.New("MASTER_KEY is needed")
		}
		if r.Caller, err = s.Vault.Open(t, sealPurpose, raw); err != nil {
			return err
		}
	}
	e, err := s.begin(ctx, r)
	if err != nil {
		return err
	}
	if err := e.held(ctx); err != nil {
		return err
	}
	if err := e.resume(ctx, record, StateErasing); err != nil {
		return err
	}
	if err := e.eraseSome(ctx); err != nil {
		return err
	}
	return e.gone(ctx, StateErased)
}

// of is an erasure that was stopped, with what it had counted.
func (s *Service) of(t events.Tenant, record store.Erasure) (*erasing, error) {
	rows, err := s.Store.For(t)
	if err != nil {
		return nil, err
	}
	e := &erasing{Service: s, Request: Request{Tenant: t}, rows: rows, erased: map[string]int64{}, facts: map[string]int64{}}
	return e, e.recall(record)
}

// Certify makes the bytes go of what CarryOut has erased of some tenants, all at
// once since every table is written anew for it, and writes the certificates. It
// returns how many.
func (s *Service) Certify(ctx context.Context, tenants []events.Tenant, told func(step string)) (n int, err error) {
	var all []*erasing
	for _, t := range tenants {
		rows, err := s.Store.For(t)
		if err != nil {
			return 0, err
		}
		records, err := rows.Erasures(ctx, StateErased)
		if err != nil {
			return 0, err
		}
		for _, record := range records {
			e, err := s.of(t, record)
			if err != nil {
				return 0, err
			}
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return 0, nil
	}
	did, left, err := s.Clean(ctx, true, told)
	if err != nil {
		return 0, fmt.Errorf("make the bytes go: %w", err)
	}
	for _, e := range all {
		if _, err := e.certify(ctx, did, left); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
