package privacy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// lateFor is how long facts are looked for that came after their call was
// erased: a worker that was stopped may be started again that late.
const lateFor = 30 * 24 * time.Hour

// Again erases once more what the ledger says was erased and the database does
// not know of, as after either was restored from a backup, and goes on with
// what was stopped. What became true after it was erased stays. It returns how
// many erasures that were. base says how: its Progress, Wait, Files.
func (s *Service) Again(ctx context.Context, base Request) (n int, err error) {
	entries, err := s.Ledger.Entries()
	if err != nil {
		return 0, err
	}
	first, order := map[string]Entry{}, []string(nil)
	for _, e := range entries {
		if old, ok := first[e.ID]; !ok {
			order = append(order, e.ID)
			first[e.ID] = e
		} else if old.State != StateDone {
			first[e.ID] = e
		}
	}
	done, err := s.done(ctx, entries)
	if err != nil {
		return 0, err
	}
	for _, id := range order {
		e, record := first[id], done[id]
		if record.State == StateDone || e.State != StateDone && asked(record) {
			continue // or somebody is at it: see CarryOut
		}
		if err := s.again(ctx, base, e, record); err != nil {
			return n, fmt.Errorf("erase %s again: %w", id, err)
		}
		n++
	}
	return n, nil
}

// done are the records there are of a ledger's entries, by id.
func (s *Service) done(ctx context.Context, entries []Entry) (map[string]store.Erasure, error) {
	out, seen := map[string]store.Erasure{}, map[events.Tenant]bool{}
	for _, e := range entries {
		if seen[e.Tenant] {
			continue
		}
		seen[e.Tenant] = true
		t, err := s.Store.For(e.Tenant)
		if err != nil {
			return nil, err
		}
		all, err := t.Erasures(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			out[r.ID] = r
		}
	}
	return out, nil
}

func (s *Service) again(ctx context.Context, base Request, e Entry, record store.Erasure) error {
	r := base
	r.Tenant, r.By, r.entry = e.Tenant, e.By, &e
	switch e.Kind {
	case KindTenant:
		since, err := s.Store.CustomerSince(ctx, e.Tenant)
		if err == nil && since.After(e.At) {
			return s.note(ctx, e, record) // another business has the id since
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		r.All = true
	case KindCall:
		if len(e.Calls) == 0 {
			return s.note(ctx, e, record)
		}
		r.Call = e.Calls[0]
	default:
		number, err := s.numberOf(ctx, e, record)
		if err != nil {
			return err
		}
		if number == "" {
			return s.note(ctx, e, record) // nobody we have a number of
		}
		r.Caller = number
	}
	_, err := s.Erase(ctx, r)
	return err
}

// note lets the database know of an erasure that left nothing to do. What was
// counted before it was stopped stands in its certificate.
func (s *Service) note(ctx context.Context, entry Entry, record store.Erasure) error {
	if record.ID == "" {
		record = store.Erasure{ID: entry.ID, Kind: entry.Kind, Ref: entry.Ref, Calls: entry.Calls, By: entry.By, State: stateBegun, Requested: entry.At}
	}
	e, err := s.of(entry.Tenant, record)
	if err != nil {
		return err
	}
	e.entry = &entry
	did, left, err := s.Clean(ctx, false, nil)
	if err == nil {
		_, err = e.certify(ctx, did, left)
	}
	return err
}

// numberOf finds the caller an entry is about among all whose numbers the
// tenant has; empty when it is none of them.
func (s *Service) numberOf(ctx context.Context, e Entry, record store.Erasure) (string, error) {
	if s.Vault == nil {
		return "", errors.New("MASTER_KEY is needed")
	}
	if err := s.sameKey(e); err != nil {
		return "", err
	}
	if record.Sealed != "" {
		raw, err := base64.StdEncoding.DecodeString(record.Sealed)
		if err != nil {
			return "", err
		}
		return s.Vault.Open(e.Tenant, sealPurpose, raw)
	}
	tried := map[string]bool{}
	is := func(number string) (bool, error) {
		if !events.Identified(number) || tried[number] {
			return false, nil
		}
		tried[number] = true
		ref, err := s.Vault.Ref(e.Tenant, vault.Caller, number)
		return ref == e.Ref, err
	}
	rows, err := s.Store.For(e.Tenant)
	if err != nil {
		return "", err
	}
	for after := ""; ; {
		all, err := rows.Callers(ctx, after, callersAtOnce)
		if err != nil {
			return "", err
		}
		for _, number := range all {
			if ok, err := is(number); err != nil || ok {
				return number, err
			}
		}
		if len(all) < callersAtOnce {
			break
		}
		after = all[len(all)-1]
	}
	found := ""
	_, err = s.Bus.Search(ctx, e.Tenant, 1, aboutCallers(), func(st bus.Stored) error {
		for _, name := range []string{"from", "caller", "to", "number"} {
			number := field(st.Data, name)
			if ok, err := is(number); err != nil || ok {
				found = number
				return errors.Join(err, errFound)
			}
		}
		return nil
	})
	if found != "" {
		err = nil
	}
	return found, err
}

const callersAtOnce = 1000

// sameKey refuses an entry whose Ref was made with another key. Former versions
// did not write down which it was.
func (s *Service) sameKey(e Entry) error {
	key, err := s.Vault.Ref(e.Tenant, keyPurpose, "")
	if err == nil && e.Key != "" && e.Key != key {
		err = ErrOtherKey
	}
	return err
}

// Late removes facts that arrived after the call or the caller they are of was
// erased, and were true before, and returns how many.
func (s *Service) Late(ctx context.Context, t events.Tenant) (n int, err error) {
	rows, err := s.Store.For(t)
	if err != nil {
		return 0, err
	}
	all, err := rows.Erasures(ctx, StateErased, StateDone)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(r store.Erasure) bool { return r.Kind == KindTenant || time.Since(r.Requested) > lateFor })
	numbers, err := s.lateCallers(ctx, t, all)
	if err != nil {
		return 0, err
	}
	for _, r := range all {
		removed, err := s.late(ctx, t, r, numbers[r.ID])
		if n += removed; err != nil {
			return n, err
		}
	}
	return n, nil
}

// lateCallers are the numbers of erased callers of whom the log holds, again,
// what was true before, by erasure.
func (s *Service) lateCallers(ctx context.Context, t events.Tenant, all []store.Erasure) (map[string]string, error) {
	out, of, from := map[string]string{}, map[string][]store.Erasure{}, uint64(math.MaxUint64)
	for _, r := range all {
		if r.Ref != "" {
			of[r.Ref] = append(of[r.Ref], r)
			from = min(from, r.Scanned+1)
		}
	}
	if len(of) == 0 {
		return out, nil
	}
	ref, err := s.Vault.Callers(t)
	if err != nil {
		return nil, err
	}
	_, err = s.Bus.Search(ctx, t, from, aboutCallers(), func(st bus.Stored) error {
		e, err := st.Event()
		if err != nil {
			return nil //nolint:nilerr // whose it is cannot be read
		}
		who := events.CallerOf(e.Fact)
		if !events.Identified(who) {
			return nil
		}
		for _, r := range of[ref(who)] {
			if st.Seq > r.Scanned && !events.TrueSince(e).After(r.Requested) {
				out[r.ID] = who
			}
		}
		return nil
	})
	return out, err
}

// late removes what has come of an erasure since; of its caller too, whose
// number is known again then.
func (s *Service) late(ctx context.Context, t events.Tenant, r store.Erasure, number string) (n int, err error) {
	req := Request{Tenant: t, Caller: number, By: r.By}
	if number == "" {
		if req.Call = "none"; len(r.Calls) > 0 {
			req.Call = r.Calls[0]
		}
	}
	e, err := s.begin(ctx, req)
	if err != nil {
		return 0, err
	}
	if err := e.recall(r); err != nil {
		return 0, err
	}
	if number == "" {
		e.found = gather(t, "", r.Calls, time.Time{})
		e.found.read = r.Scanned
	} else { // what stays is looked for in the whole log
		e.found = gather(t, number, r.Calls, r.Requested)
	}
	if err := e.search(ctx); err != nil {
		return 0, err
	}
	if len(e.found.facts) > 0 {
		e.record.Calls = sorted(e.found.calls)
		for _, call := range e.record.Calls {
			if slices.Contains(r.Calls, call) {
				continue
			}
			ev := events.New(t, call, r.Requested, events.CallErased{By: r.By})
			if ev.Seq, err = s.Bus.Publish(ctx, ev); err != nil {
				return 0, fmt.Errorf("state it: %w", err)
			}
			e.stated = append(e.stated, ev)
		}
		if err := e.stateTexts(ctx, r.Requested); err != nil {
			return 0, err
		}
		if err := e.removeFound(ctx); err != nil {
			return 0, err
		}
	}
	e.record.Scanned = e.found.read
	return len(e.found.facts), e.rows.SaveErasure(ctx, e.record)
}

// CertificateOf reads the certificate of a record.
func CertificateOf(e store.Erasure) (c Certificate, err error) {
	err = json.Unmarshal(e.Certificate, &c)
	return c, err
}

// Erased tells callers of a tenant who were erased from others, for whoever is
// about to bring back what another system knew about them.
func (s *Service) Erased(t events.Tenant) (func(caller string) bool, error) {
	all, err := s.Ledger.Entries()
	if err != nil {
		return nil, err
	}
	refs := map[string]bool{}
	for _, e := range all {
		if e.Tenant != t || e.Kind != KindCaller {
			continue
		}
		if refs[e.Ref] = true; s.Vault == nil {
			continue // said below
		}
		if err := s.sameKey(e); err != nil {
			return nil, err
		}
	}
	switch {
	case len(refs) == 0:
		return func(string) bool { return false }, nil
	case s.Vault == nil:
		return nil, errors.New("callers were erased, and without MASTER_KEY they cannot be told from others")
	}
	return func(caller string) bool {
		ref, err := s.Vault.Ref(t, vault.Caller, caller)
		return err != nil || refs[ref]
	}, nil
}
