package privacy

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

const (
	keyPurpose  = "ledger"  // of vault.Ref of nothing
	sealPurpose = "erasure" // of vault.Seal
	lookEvery   = 200 * time.Millisecond
	behindWait  = 30 * time.Second // for whoever writes rows
	settleTime  = 30 * time.Second // within which a call that ended begins to be summarized
	passes      = 50
)

// erasing is one request under way.
type erasing struct {
	*Service
	Request
	rows    *store.Tenant
	models  readmodel.Models
	created time.Time // of the stream
	record  store.Erasure
	found   *gathered
	erased  map[string]int64 // rows
	facts   map[string]int64
	atLeast bool           // what was counted before it was stopped may be less than was removed
	doing   bool           // something is being removed that has not been counted
	stated  []events.Event // that texts were erased, and calls which had only come late
	key     string         // as the ledger tells it from others
}

// Plan says what Erase would remove, and changes nothing.
func (s *Service) Plan(ctx context.Context, r Request) (p Plan, err error) {
	e, err := s.begin(ctx, r)
	if err != nil {
		return p, err
	}
	p = Plan{Kind: r.kind(), Rows: map[string]int64{}, Calls: []string{}}
	if r.All {
		return e.planAll(ctx, p)
	}
	if err := e.gather(ctx); err != nil {
		return p, err
	}
	rows, err := e.rows.RowsAbout(ctx, e.found.subject())
	for table, all := range rows {
		p.Rows[table] = int64(len(all))
	}
	p.Facts, p.Calls = e.found.byName(), append(p.Calls, sorted(e.found.calls)...)
	return p, err
}

// planAll counts facts alone: rows of every caller follow from them.
func (e *erasing) planAll(ctx context.Context, p Plan) (Plan, error) {
	p.Facts = map[string]int64{}
	_, err := e.Bus.Search(ctx, e.Tenant, 1, nil, func(s bus.Stored) error {
		p.Facts[s.Name]++
		return nil
	})
	if _, sErr := e.Store.Settings(ctx, e.Tenant); sErr == nil {
		p.Rows["customers"] = 1
	}
	return p, err
}

func (s *Service) begin(ctx context.Context, r Request) (*erasing, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("erase: %w", err)
	}
	if s.Vault == nil {
		return nil, errors.New("erase: MASTER_KEY is needed")
	}
	e := &erasing{Service: s, Request: r, erased: map[string]int64{}, facts: map[string]int64{}}
	var err error
	if e.rows, err = s.Store.For(r.Tenant); err != nil {
		return nil, err
	}
	if e.models, err = readmodel.New(s.Vault.Callers); err != nil {
		return nil, err
	}
	if e.key, err = s.Vault.Ref(r.Tenant, keyPurpose, ""); err != nil {
		return nil, err
	}
	e.created, err = s.Bus.StreamCreated(ctx)
	return e, err
}

// Erase removes what the request says, for good, and says what that was. It can
// be stopped at any moment: the same request goes on where it was. Facts that
// arrive meanwhile, of calls under way, are removed with the rest.
func (s *Service) Erase(ctx context.Context, r Request) (c Certificate, err error) {
	e, err := s.begin(ctx, r)
	if err != nil {
		return c, err
	}
	if err := e.open(ctx); err != nil {
		return c, err
	}
	switch r.kind() {
	case KindTenant:
		err = e.eraseTenant(ctx)
	default:
		err = e.eraseSome(ctx)
	}
	if err != nil {
		return c, fmt.Errorf("erase: %w", err)
	}
	if err := e.gone(ctx, stateCleaning); err != nil {
		return c, err
	}
	did, left, err := e.Clean(ctx, e.Files, func(step string) { e.tell(step, 0, 0) })
	if err != nil {
		return c, fmt.Errorf("make the bytes go: %w", err)
	}
	return e.certify(ctx, did, left)
}

// open finds the record of a request that was stopped, or makes one.
func (e *erasing) open(ctx context.Context) error {
	ref, err := e.ref()
	if err != nil {
		return err
	}
	if err := e.held(ctx); err != nil {
		return err
	}
	calls := []string{}
	if e.entry != nil {
		calls = append(calls, e.entry.Calls...)
	} else if e.Call != "" {
		calls = append(calls, e.Call)
	}
	all, err := e.rows.Erasures(ctx)
	if err != nil {
		return err
	}
	for _, old := range all {
		if old.State != StateDone && e.same(old, ref) {
			return e.resume(ctx, old, stateBegun)
		}
	}
	if e.entry == nil {
		if err := e.known(ctx); err != nil {
			return err
		}
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	e.record = store.Erasure{Kind: e.kind(), Ref: ref, Calls: calls, By: e.By, State: stateBegun, Requested: now}
	if e.record.ID = events.Derive("erasure", e.Tenant.String(), e.kind(), ref, e.Call, now.String()); e.entry != nil {
		e.record.ID = e.entry.ID
	}
	if e.record.Sealed, err = e.sealed(); err != nil {
		return err
	}
	if err := e.save(ctx); err != nil || e.entry != nil {
		return err
	}
	_, err = e.Ledger.Add(e.line(stateBegun, now))
	return err
}

// ref names the caller, if there is one.
func (e *erasing) ref() (string, error) {
	if e.Caller == "" {
		return "", nil
	}
	return e.Vault.Ref(e.Tenant, vault.Caller, e.Caller)
}

// sealed is the caller's number for as long as it is needed, if there is one.
func (e *erasing) sealed() (string, error) {
	if e.Caller == "" {
		return "", nil
	}
	sealed, err := e.Vault.Seal(e.Tenant, sealPurpose, e.Caller)
	return base64.StdEncoding.EncodeToString(sealed), err
}

// same reports whether a record is of the same caller, call or business.
func (e *erasing) same(r store.Erasure, ref string) bool {
	return r.Kind == e.kind() && r.Ref == ref && (e.Call == "" || slices.Contains(r.Calls, e.Call))
}

// resume goes on with a record. One that was only asked for begins now.
func (e *erasing) resume(ctx context.Context, r store.Erasure, state string) error {
	if err := e.recall(r); err != nil || r.State != StateAsked {
		return err
	}
	if _, err := e.Ledger.Add(e.line(stateBegun, time.Now())); err != nil {
		return err
	}
	e.record.State = state
	return e.save(ctx)
}

// recall takes over a record with what had been counted.
func (e *erasing) recall(r store.Erasure) error {
	e.record = r
	if len(r.Certificate) == 0 {
		return nil
	}
	c, err := CertificateOf(r)
	add(e.erased, c.Rows)
	add(e.facts, c.Facts)
	e.atLeast = c.AtLeast
	return err
}

// remove has something removed and counted. Until that is written down the
// record says that there may be more: whoever is killed meanwhile, or told of an
// outage, does not know what went.
func (e *erasing) remove(ctx context.Context, do func() error) error {
	e.doing = true
	if err := e.save(ctx); err != nil {
		return err
	}
	err := do()
	e.doing = err != nil
	return errors.Join(err, e.save(context.WithoutCancel(ctx)))
}

// save writes down how far it has come, and in place of the certificate what
// has been counted so far. A certificate there is stands.
func (e *erasing) save(ctx context.Context) (err error) {
	if e.record.ID == "" || e.record.State == StateDone {
		return nil
	}
	if e.record.Certificate, err = json.Marshal(Certificate{Rows: e.erased, Facts: e.facts, AtLeast: e.atLeast || e.doing}); err != nil {
		return err
	}
	return e.rows.SaveErasure(ctx, e.record)
}

// held refuses what concerns a tenant whose data nobody may remove, unless it
// had been removed before.
func (e *erasing) held(ctx context.Context) error {
	set, err := e.Store.Settings(ctx, e.Tenant)
	switch {
	case errors.Is(err, store.ErrNotFound) || e.entry != nil:
		return nil
	case err == nil && LimitsOf(set).Hold:
		return ErrHeld
	}
	return err
}

// known refuses a request about whom nothing is kept.
func (e *erasing) known(ctx context.Context) error {
	p, err := e.Plan(ctx, e.Request)
	if err == nil && p.Empty() {
		err = ErrNothing
	}
	return err
}

func (e *erasing) line(state string, at time.Time) Entry {
	return Entry{ID: e.record.ID, Tenant: e.Tenant, Kind: e.record.Kind, Ref: e.record.Ref, Calls: e.record.Calls, Key: e.key, By: e.record.By, State: state, At: at}
}

// gather looks for what there is, in log, rows and register.
func (e *erasing) gather(ctx context.Context) error {
	if e.found == nil {
		var calls []string
		if e.Call != "" {
			calls = []string{e.Call}
		}
		e.found = gather(e.Tenant, e.Caller, append(calls, e.record.Calls...), e.until())
	}
	if e.Caller != "" && e.until().IsZero() {
		rows, err := e.rows.RowsAbout(ctx, store.Subject{Caller: e.Caller})
		if err != nil {
			return err
		}
		for _, row := range rows["calls"] { // their facts may be gone already
			if id := field(row, "call_id"); id != "" {
				e.found.calls[id] = true
			}
		}
		for _, row := range rows["texts"] { // likewise
			id := field(row, "message_id")
			e.found.texts[id], e.found.own[id] = true, true
		}
	}
	return e.search(ctx)
}

// search reads the log, having found out first which texts this erasure has
// erased already: of those nothing but late facts is left.
func (e *erasing) search(ctx context.Context) (err error) {
	if e.found.ref == nil {
		if e.found.ref, err = e.Vault.Callers(e.Tenant); err != nil {
			return err
		}
		_, err = e.Bus.Search(ctx, e.Tenant, 1, []string{events.SMSErased{}.Name()}, func(s bus.Stored) error {
			ev, err := s.Event()
			if f, ok := ev.Fact.(events.SMSErased); err == nil && ok && f.Erasure == e.record.ID && !e.found.gone[f.Ref] {
				e.found.gone[f.Ref] = true
				e.stated = append(e.stated, ev)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return e.found.search(ctx, e.Bus)
}

// eraseSome removes a caller or a call, again and again until nothing more of
// it is found.
func (e *erasing) eraseSome(ctx context.Context) error {
	for pass := range passes {
		e.tell("looking for what is there", 0, 0)
		if err := e.gather(ctx); err != nil {
			return err
		}
		if pass == 0 {
			if err := e.quiet(ctx); err != nil {
				return err
			}
			if err := e.gatherMore(ctx); err != nil {
				return err
			}
		}
		if e.record.Calls = sorted(e.found.calls); pass > 0 && len(e.found.facts) == 0 {
			return nil
		}
		if err := e.save(ctx); err != nil {
			return err
		}
		if err := e.state(ctx); err != nil {
			return err
		}
		if err := e.removeFound(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more comes as fast as it is removed", ErrBusy)
}

// gatherMore adds what came while calls were waited for.
func (e *erasing) gatherMore(ctx context.Context) error {
	before, ids, kept := e.found.facts, e.found.ids, e.found.kept
	if err := e.gather(ctx); err != nil {
		return err
	}
	maps.Copy(e.found.facts, before)
	maps.Copy(e.found.ids, ids)
	e.found.kept = append(kept, e.found.kept...)
	e.found.unkeep()
	return nil
}

// quiet waits until none of the calls is live or being summarized.
func (e *erasing) quiet(ctx context.Context) error {
	for end := time.Now().Add(e.Wait); ; {
		busy, err := e.busy(ctx)
		if err != nil || !busy {
			return err
		}
		if time.Now().After(end) {
			return ErrBusy
		}
		e.tell("waiting for a call that is under way", 0, 0)
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
		if err := e.gatherMore(ctx); err != nil {
			return err
		}
	}
}

func (e *erasing) busy(ctx context.Context) (bool, error) {
	live, err := e.Bus.ListCalls(ctx)
	if err != nil {
		return false, err
	}
	for _, c := range live {
		if c.Tenant == e.Tenant && (e.All || e.found.calls[c.Call] || e.Caller != "" && c.From == e.Caller && e.entry == nil) {
			return true, nil
		}
	}
	if e.All {
		return false, nil
	}
	now := time.Now()
	for _, ended := range e.found.pending {
		if now.Sub(ended) < settleTime && ended.Before(now) {
			return true, nil
		}
	}
	rows, err := e.rows.RowsAbout(ctx, store.Subject{Calls: sorted(e.found.calls)})
	for _, row := range rows["extractions"] {
		var x struct {
			Lease  time.Time        `json:"lease_until"`
			Result *json.RawMessage `json:"result"`
		}
		if json.Unmarshal(row, &x) == nil && x.Result == nil && x.Lease.After(now) {
			return true, err
		}
	}
	return false, err
}

// fit is how many calls one fact has room for; the others have one each.
func fit(calls []string) (n int) {
	for room := bus.MaxEventSize / 2; n < len(calls); n++ {
		if room -= len(calls[n]) + len(`"",`); room < 0 {
			break
		}
	}
	return n
}

// state publishes what is erased, so that whatever else comes of it is left
// out, wherever it arrives.
func (e *erasing) state(ctx context.Context) error {
	at := e.record.Requested
	if e.entry != nil {
		at = e.entry.At // what became true since stays
	}
	stated := map[string]bool{}
	if e.Caller != "" {
		calls := e.record.Calls[:fit(e.record.Calls)]
		ev := events.New(e.Tenant, "", at, events.CallerErased{Ref: e.record.Ref, By: e.record.By, Calls: calls, Erasure: e.record.ID})
		seq, err := e.Bus.Publish(ctx, ev)
		if err != nil {
			return fmt.Errorf("state it: %w", err)
		}
		// Stated a moment ago this is the same fact, with the calls there were then.
		first, there, err := e.Bus.StoredAt(ctx, e.Tenant, seq)
		if err != nil {
			return fmt.Errorf("state it: %w", err)
		}
		if f, ok := first.Fact.(events.CallerErased); ok && there {
			calls = f.Calls
		}
		for _, c := range calls {
			stated[c] = true
		}
	}
	for _, call := range e.record.Calls {
		if stated[call] {
			continue
		}
		if _, err := e.Bus.Publish(ctx, events.New(e.Tenant, call, at, events.CallErased{By: e.record.By})); err != nil {
			return fmt.Errorf("state it: %w", err)
		}
	}
	return e.stateTexts(ctx, at)
}

// stateTexts publishes which texts to the caller are erased: what becomes of
// one after they were does not tell that it began before.
func (e *erasing) stateTexts(ctx context.Context, at time.Time) (err error) {
	for _, text := range sorted(e.found.own) {
		ref := e.found.ref(text)
		if e.found.gone[ref] {
			continue
		}
		ev := events.New(e.Tenant, "", at, events.SMSErased{Ref: ref, Erasure: e.record.ID, By: e.record.By})
		if ev.Seq, err = e.Bus.Publish(ctx, ev); err != nil {
			return fmt.Errorf("state it: %w", err)
		}
		e.found.gone[ref] = true
		e.stated = append(e.stated, ev)
	}
	return nil
}

// removeFound removes what was gathered.
func (e *erasing) removeFound(ctx context.Context) error {
	if err := e.remove(ctx, func() error { return e.removeRows(ctx) }); err != nil {
		return err
	}
	return e.remove(ctx, func() error { return e.removeFacts(ctx, e.found.seqs()) })
}

var errFound = errors.New("found")

// removeRows removes rows once whoever writes them has come past what is
// erased, and makes those anew that the rest leads to.
func (e *erasing) removeRows(ctx context.Context) error {
	if err := e.caughtUp(ctx, e.found.models); err != nil {
		return err
	}
	e.tell("rows", 0, 0)
	var n map[string]int64
	err := e.rows.Project(ctx, e.Live, e.created, func(p *store.Projection) (err error) {
		if n, err = p.Erase(e.found.subject()); err != nil {
			return err
		}
		var calls, texts []string
		for _, ev := range e.stated {
			if f, ok := ev.Fact.(events.SMSErased); ok {
				texts = append(texts, f.Ref)
			} else {
				calls = append(calls, ev.Call)
			}
		}
		if err := p.Unerase(calls, texts); err != nil {
			return err
		}
		touched, err := e.models.Apply(p, append(e.stated, e.found.kept...))
		if err != nil {
			return err
		}
		if e.Call != "" {
			for who := range e.found.of {
				if events.Identified(who) {
					touched = append(touched, who)
				}
			}
		}
		return e.models.Fold(p, touched)
	})
	if err == nil {
		add(e.erased, n)
	}
	return err
}

// caughtUp waits until a sequence of the log has been applied, or nobody is at
// it.
func (e *erasing) caughtUp(ctx context.Context, seq uint64) error {
	for end := time.Now().Add(behindWait); ; {
		at, err := e.rows.Positions(ctx, e.Live, "")
		if err != nil || at.Live >= seq {
			return err
		}
		active, err := e.Store.ProjectionActive(ctx, e.Live)
		if err != nil || !active {
			return err
		}
		if time.Now().After(end) {
			return errors.New("rows are far behind the log: try again later")
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// countEvery is after how many facts their number is written down.
const countEvery = 100

func (e *erasing) removeFacts(ctx context.Context, seqs []uint64) error {
	if e.ForgetTexts != nil {
		if err := e.ForgetTexts(e.found.sids); err != nil {
			return err
		}
	}
	var saved error
	_, err := e.Bus.Erase(ctx, e.Tenant, seqs, func(done int) {
		e.facts[e.found.facts[seqs[done-1]]]++
		if done%countEvery == 0 {
			saved = errors.Join(saved, e.save(ctx))
		}
		e.tell("facts of the log", done, len(seqs))
	})
	return errors.Join(err, saved)
}

// eraseTenant removes a business with all it has.
func (e *erasing) eraseTenant(ctx context.Context) error {
	if err := e.suspend(ctx); err != nil {
		return err
	}
	if err := e.quiet(ctx); err != nil {
		return err
	}
	for range passes {
		var customer map[string]int64
		all := func() (err error) { customer, err = e.removeAll(ctx); return err }
		if err := e.remove(ctx, all); err != nil {
			return err
		}
		if err := e.Bus.DeleteSettings(ctx, e.Tenant); err != nil {
			return err
		}
		if e.found = gather(e.Tenant, "", nil, time.Time{}); e.gatherAll(ctx) != nil {
			return errors.New("read the log")
		}
		if len(e.found.facts) == 0 && len(customer) == 0 {
			return errors.Join(e.remove(ctx, all), e.closeAsked(ctx)) // a position somebody wrote meanwhile
		}
		if err := e.caughtUp(ctx, e.found.models); err != nil {
			return err
		}
		if err := e.remove(ctx, func() error { return e.removeFacts(ctx, e.found.seqs()) }); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more comes as fast as it is removed", ErrBusy)
}

// removeAll removes every row of a business, and says which were the platform's.
func (e *erasing) removeAll(ctx context.Context) (customer map[string]int64, err error) {
	n, err := e.rows.EraseAll(ctx)
	if err != nil {
		return nil, err
	}
	add(e.erased, n)
	customer, err = e.Store.DropCustomer(ctx, e.Tenant)
	if err == nil {
		add(e.erased, customer)
	}
	return customer, err
}

// closeAsked ends what was asked for of callers who went with their business.
func (e *erasing) closeAsked(ctx context.Context) error {
	all, err := e.rows.Erasures(ctx, StateAsked, StateErasing, StateErased)
	if err != nil {
		return err
	}
	for _, r := range all {
		of, err := e.of(e.Tenant, r)
		if err != nil {
			return err
		}
		if _, err := of.certify(ctx, nil, []string{"it went with the whole business: see erasure " + e.record.ID}); err != nil {
			return err
		}
	}
	return nil
}

// suspend has the tenant's calls not answered any more.
func (e *erasing) suspend(ctx context.Context) error {
	_, _, err := e.Store.UpdateSettings(ctx, e.Tenant, func(s *events.Settings) error { s.Status = "suspended"; return nil })
	if errors.Is(err, store.ErrNotFound) { // it is gone already
		return nil
	}
	if err == nil {
		err = settings.Publish(ctx, e.Store, e.Bus)
	}
	return err
}

func (e *erasing) gatherAll(ctx context.Context) error {
	_, err := e.Bus.Search(ctx, e.Tenant, 1, nil, func(s bus.Stored) error {
		e.found.take(s)
		return nil
	})
	return err
}

// gone notes that nothing is left but bytes in files. The number is not needed
// any more; its row is written anew with the others.
func (e *erasing) gone(ctx context.Context, state string) (err error) {
	if e.record.Scanned, err = e.Bus.LastSeq(ctx); err != nil {
		return err
	}
	e.record.Sealed, e.record.State = "", state
	return e.save(ctx)
}

// certify looks once more, and writes the ledger and the certificate. did is
// what was done for the bytes to go, left what has to be done yet.
func (e *erasing) certify(ctx context.Context, did, left []string) (c Certificate, err error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	c = Certificate{
		Schema: CertificateSchema, ID: e.record.ID, Tenant: e.Tenant, Kind: e.record.Kind, Ref: e.record.Ref, Calls: append([]string{}, e.record.Calls...), By: e.record.By,
		Requested: e.record.Requested, Rows: e.erased, Facts: e.facts, AtLeast: e.atLeast, Files: append([]string{}, did...), NotDone: append([]string{}, left...),
	}
	if n := e.facts["call.recorded"]; n > 0 {
		c.NotDone = append(c.NotDone, fmt.Sprintf("Twilio keeps the sound of %s%d recordings until they are deleted there", c.least(), n))
	}
	if n := e.facts["sms.sent"]; n > 0 {
		c.NotDone = append(c.NotDone, fmt.Sprintf("Twilio keeps the bodies of %s%d texts until they are deleted there", c.least(), n))
	}
	if damaged, err := filepath.Glob(filepath.Join(e.Dir, "outbox", "*.damaged")); err == nil && len(damaged) > 0 {
		c.NotDone = append(c.NotDone, fmt.Sprintf("%d files in DATA_DIR/outbox end in .damaged: nobody can read whose words they hold; delete them", len(damaged)))
	}
	if len(e.Verify) > 0 {
		e.tell("looking for the words in every file", 0, 0)
		s, err := Scan(ctx, e.Dir, e.Verify)
		if err != nil {
			return c, fmt.Errorf("look for the words: %w", err)
		}
		c.Verified = &s
	}
	line := e.line(StateDone, now)
	line.Rows, line.Facts, line.AtLeast = e.erased, e.facts, e.atLeast
	if e.entry != nil {
		line = *e.entry
	} else if line, err = e.Ledger.Add(line); err != nil {
		return c, err
	}
	c.Finished, c.Ledger = now, line.Hash
	if err := c.seal(); err != nil {
		return c, err
	}
	if e.record.Certificate, err = json.Marshal(c); err != nil {
		return c, err
	}
	e.record.State, e.record.Sealed, e.record.Finished = StateDone, "", &now
	return c, e.rows.SaveErasure(ctx, e.record)
}

// Clean makes what was erased, by whatever requests, go from the files of bus
// and database, and says what was done and what is left to do. Without files it
// only says.
func (s *Service) Clean(ctx context.Context, files bool, told func(step string)) (did, left []string, err error) {
	did, left = []string{"facts were overwritten in the files of the bus"}, []string{}
	if !files {
		return did, append(left, "files of database and register: run neurosphere erase -housekeeping"), nil
	}
	told("the register of calls is written anew")
	if err := s.Bus.TurnOver(ctx); err != nil {
		return did, left, err
	}
	did = append(did, "the register of calls and settings were written anew")
	if s.Housekeep == nil {
		return did, append(left, ByHand), nil
	}
	n := 0
	more, err := s.Housekeep(ctx, func(step string) {
		told(step)
		n++
	})
	if err == nil && n > 0 {
		did = append(did, fmt.Sprintf("%d steps: every table and its statistics were written anew, and the write-ahead log cut off", n))
	}
	return did, append(left, more...), err
}

// ByHand is what the administrator of a database that is not ours has to do.
const ByHand = "as the administrator of PostgreSQL: VACUUM (FULL, ANALYZE) the tables of app and rebuild and pg_statistic, CHECKPOINT, " +
	"and let archived segments of the write-ahead log and backups expire"

func add(to, n map[string]int64) {
	for k, v := range n {
		to[k] += v
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
