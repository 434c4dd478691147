package moving

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/readmodel"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// Options say what is moved, and by what means.
type Options struct {
	File       string
	Passphrase string       // seals, or opens, what only an instance's key opens otherwise; may be empty
	Vault      *vault.Vault // of this instance; nil: none
	Projection string       // name of the read models in use

	// Fold makes a tenant's rows anew from the log. An import always does; an
	// export does when no profiler brings them up to date.
	Fold func(ctx context.Context, t events.Tenant) error

	Suspend     bool          // export: answer no more calls, and wait for what is under way
	Wait        time.Duration // export: for that, at most; and for a moment at which rows and log agree. Default 2 min
	Patience    time.Duration // export: with a profiler that does nothing; default 10 s
	LeaveSealed bool          // import: go on without what the archive's passphrase opens

	Progress func(stage string, done int) // may be nil
}

func (o Options) tell(stage string, done int) {
	if o.Progress != nil {
		o.Progress(stage, done)
	}
}

const look = 200 * time.Millisecond // between two looks at what one waits for

// quietLooks is how often in a row no call must be live: one may have begun
// before its ingress knew that the tenant was suspended.
const quietLooks = 10

// Export writes everything of one tenant into a new file, and nothing of any
// other. Without Suspend the tenant goes on meanwhile, and what happens after
// the end of the log is in a later archive.
func Export(ctx context.Context, b *bus.Bus, s *store.Store, t events.Tenant, o Options) (Manifest, error) {
	if o.Wait <= 0 {
		o.Wait = 2 * time.Minute
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	dir, err := beside(o.File)
	if err != nil {
		return Manifest{}, err
	}
	rows, err := s.For(t)
	if err != nil {
		return Manifest{}, err
	}
	if _, err := s.Settings(ctx, t); err != nil {
		return Manifest{}, err
	}
	x := &export{Options: o, bus: b, store: s, rows: rows, tenant: t, pack: &packer{dir: dir}, digest: newDigest(), leads: readmodel.FiltersOf(t), pending: newPending()}
	defer x.pack.discard()
	x.man = Manifest{Format: format, Version: version, Tenant: t, Tables: map[string]int64{}}
	return x.man, x.run(ctx)
}

type export struct {
	Options
	bus     *bus.Bus
	store   *store.Store
	rows    *store.Tenant
	tenant  events.Tenant
	pack    *packer
	facts   *packed
	digest  *digest
	seal    *vault.Vault // nil: sealed values stay here
	leads   []string     // subjects that lead to rows
	pending pending
	man     Manifest

	last     uint64 // sequence of the newest fact that leads to rows
	settings int64  // newest version the facts tell of
}

func (x *export) run(ctx context.Context) (err error) {
	if x.Passphrase != "" {
		salt := make([]byte, saltBytes)
		_, _ = rand.Read(salt) // never fails
		if x.seal, err = passVault(x.Passphrase, salt); err != nil {
			return err
		}
		x.man.Sealed.Salt = hex.EncodeToString(salt)
	}
	if x.Suspend {
		_, _, err := x.store.UpdateSettings(ctx, x.tenant, func(s *events.Settings) error { s.Status = "suspended"; return nil })
		if err != nil {
			return fmt.Errorf("suspend: %w", err)
		}
	}
	if err := settings.Publish(ctx, x.store, x.bus); err != nil {
		return err
	}
	if x.facts, err = x.pack.member(memberFacts); err != nil {
		return err
	}
	if x.Suspend {
		if err := x.quiet(ctx); err != nil {
			return err
		}
	}
	resident, snap, err := x.moment(ctx)
	if err != nil {
		return err
	}
	if err := x.rest(ctx, resident, snap); err != nil {
		return err
	}
	x.man.MadeAt, x.man.Name, x.man.Facts = time.Now().UTC().Truncate(time.Second), resident.Settings.Name, x.digest.total()
	x.man.Profiles, x.man.Rows = profilesSum(snap.Profiles), snap.Rows
	x.man.Open.Calls, x.man.Open.Texts = len(x.pending.calls), len(x.pending.texts)
	return x.pack.write(x.File, &x.man)
}

// read takes the facts that have come since.
func (x *export) read(ctx context.Context) (err error) {
	to, err := x.bus.ReadTenant(ctx, x.tenant, x.man.Through+1, x.take)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	x.man.Through = to
	return nil
}

func (x *export) take(m bus.Moved) error {
	if m.Fact == nil {
		x.man.LeftOut++
		return nil
	}
	if slices.Contains(x.leads, m.Subject()) {
		x.last = m.Seq
	}
	if f, ok := m.Fact.(events.SettingsChanged); ok {
		x.settings = max(x.settings, f.Settings.Version)
	}
	x.pending.note(m.Event)
	if added, err := x.digest.add(m); err != nil || !added {
		return err
	}
	var err error
	m.Fact, err = withSealed(m.Fact, func(v events.Sealed) (events.Sealed, bool, error) {
		if x.seal != nil && x.Vault != nil {
			moved, err := reseal(x.tenant, v, x.Vault, x.seal)
			if err == nil {
				x.man.Sealed.Carried++
				return moved, true, nil
			}
		}
		x.man.Sealed.LeftOut++
		return v, false, nil
	})
	if err != nil {
		return err
	}
	line, err := x.bus.Line(m)
	if err != nil {
		return err
	}
	if x.facts.Lines%10_000 == 0 {
		x.tell("facts", x.facts.Lines)
	}
	return x.facts.line(line)
}

// quiet waits until no call is live, and what calls lead to is done, as far as
// that takes no longer than Wait.
func (x *export) quiet(ctx context.Context) error {
	for end, quiet := time.Now().Add(x.Wait), 0; quiet < quietLooks; {
		live, err := x.live(ctx)
		if err != nil {
			return err
		}
		if quiet++; live > 0 {
			quiet = 0
		}
		if err := x.read(ctx); err != nil {
			return err
		}
		if x.pending.any() {
			quiet = 0
		}
		if time.Now().After(end) {
			return nil
		}
		x.tell("waiting for calls, texts and erasures under way", live+x.pending.count())
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

func (x *export) live(ctx context.Context) (n int, err error) {
	all, err := x.bus.ListCalls(ctx)
	for _, c := range all {
		if c.Tenant == x.tenant {
			n++
		}
	}
	return n, err
}

// moment reads on until the rows are those of what has been read, no more and
// no less. Rows may be ahead of their position when somebody wrote them at
// once; the fact is in the log by then, so that looking once more tells.
func (x *export) moment(ctx context.Context) (r store.Resident, s store.Snapshot, err error) {
	folded, moved, at := false, time.Now(), uint64(0)
	for end := time.Now().Add(x.Wait); ; {
		if err := x.read(ctx); err != nil {
			return r, s, err
		}
		last := x.last
		if r, err = x.store.Resident(ctx, x.tenant); err != nil {
			return r, s, err
		}
		if s, err = x.rows.Snapshot(ctx, x.Projection); err != nil {
			return r, s, err
		}
		if err := x.read(ctx); err != nil {
			return r, s, err
		}
		if s.Applied != at {
			at, moved = s.Applied, time.Now()
		}
		switch {
		case x.last != last:
			continue
		case s.Applied == last && r.Settings.Version <= x.settings:
			return r, s, nil
		case !folded && x.Fold != nil && time.Since(moved) > x.Patience:
			x.tell("making rows anew", 0)
			if err := fold(ctx, x.bus, x.rows, x.tenant, x.Options); err != nil {
				return r, s, err
			}
			folded = true
			continue
		case time.Now().After(end):
			return r, s, errors.New("there was no moment at which the rows were those of the log: does a profiler run? -suspend ends what comes meanwhile")
		}
		if err := pause(ctx, look); err != nil {
			return r, s, err
		}
	}
}

// fold makes a tenant's rows anew. That they have come so far is noted also
// where no profiler has ever been.
func fold(ctx context.Context, b *bus.Bus, rows *store.Tenant, t events.Tenant, o Options) error {
	created, err := b.StreamCreated(ctx)
	if err == nil {
		err = rows.Project(ctx, o.Projection, created, func(*store.Projection) error { return nil })
	}
	if err == nil {
		err = o.Fold(ctx, t)
	}
	if err != nil {
		return fmt.Errorf("make rows: %w", err)
	}
	return nil
}

// rest packs what is not facts.
func (x *export) rest(ctx context.Context, r store.Resident, s store.Snapshot) error {
	customer, err := x.pack.member(memberCustomer)
	if err != nil {
		return err
	}
	if err := customer.json(r); err != nil {
		return err
	}
	profiles, err := x.pack.member(memberProfiles)
	if err != nil {
		return err
	}
	for _, p := range s.Profiles {
		if err := profiles.json(p); err != nil {
			return err
		}
	}
	x.tell("facts and profiles", x.facts.Lines+len(s.Profiles))
	var table *packed
	return x.rows.Kept(ctx, func(name string, row []byte) error {
		member := memberTables + name + ".jsonl"
		if table == nil || table.Name != member {
			if table, err = x.pack.member(member); err != nil {
				return err
			}
		}
		x.man.Tables[name]++
		return table.line(row)
	})
}

// pending is what was begun and has no outcome yet.
type pending struct {
	erasures map[string]bool // of callers: elsewhere nobody can open whose
	calls    map[string]bool
	texts    map[string]bool
}

func newPending() pending {
	return pending{erasures: map[string]bool{}, calls: map[string]bool{}, texts: map[string]bool{}}
}

func (p pending) count() int { return len(p.erasures) + len(p.calls) + len(p.texts) }

func (p pending) any() bool { return p.count() > 0 }

func (p pending) note(e events.Event) {
	if e.History {
		return // nobody acts on it
	}
	switch f := e.Fact.(type) {
	case events.CallReceived:
		p.calls[e.Call] = true
	case events.CallSummarized:
		delete(p.calls, e.Call)
	case events.CallErased:
		delete(p.calls, e.Call)
	case events.ErasureRequested:
		if f.Kind == "caller" {
			p.erasures[f.Erasure] = true
		}
	case events.CallerErased:
		delete(p.erasures, f.Erasure)
		for _, call := range f.Calls {
			delete(p.calls, call)
		}
	case events.SMSRequested:
		p.texts[f.Message] = true
	case events.SMSSent:
		delete(p.texts, f.Message)
	case events.SMSFailed:
		delete(p.texts, f.Message)
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tableOf is the table a member holds rows of.
func tableOf(member string) (string, bool) {
	name, ok := strings.CutPrefix(member, memberTables)
	return strings.TrimSuffix(name, ".jsonl"), ok
}
