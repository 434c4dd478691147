package moving

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/vault"
)

// Report is what came of an import.
type Report struct {
	Tenant    events.Tenant    `json:"customer_id"`
	Name      string           `json:"name"`
	Facts     int              `json:"facts"`      // in the archive
	Stored    int              `json:"stored"`     // of them, now
	There     int              `json:"there"`      // of them, before
	Others    int              `json:"others"`     // the tenant has here besides
	Profiles  Sum              `json:"profiles"`   // compared with the archive's, unless there are others
	Tables    map[string]int64 `json:"tables"`     // rows restored
	Sealed    int              `json:"sealed"`     // values this instance's key opens
	NotSealed int              `json:"not_sealed"` // values left out
	Status    string           `json:"status"`     // of the tenant, here
	Open      Open             `json:"open"`       // where it comes from, when the archive was made
}

// Import reads a whole archive first, and changes nothing when there is anything
// wrong with it. Then it states the facts as history, so that nobody acts on
// them, makes the rows, and compares: the tenant's calls are answered when all
// is as it was. Interrupted, it goes on when it is run again; run once more, or
// with a later archive, it adds what is new.
func Import(ctx context.Context, b *bus.Bus, s *store.Store, o Options) (Report, error) {
	m := &imported{Options: o, bus: b, store: s, digest: newDigest(), tables: map[string]int64{}}
	f, err := os.Open(o.File)
	if err != nil {
		return m.report, err
	}
	defer f.Close()
	m.file = f
	if err := m.check(); err != nil {
		return m.report, err
	}
	err = m.run(ctx)
	return m.report, err
}

type imported struct {
	Options
	bus    *bus.Bus
	store  *store.Store
	rows   *store.Tenant
	file   *os.File
	man    Manifest
	opens  *vault.Vault // the archive's sealed values; nil: they are left out
	digest *digest
	report Report

	resident store.Resident
	profiles []store.ProfileHash
	tables   map[string]int64
	sealed   [][]byte // of the first fact that has some, to try the passphrase on
	tenant   events.Tenant
}

// check reads all of the archive and believes none of it before.
func (m *imported) check() (err error) {
	if m.man, err = walk(m.file, m.look); err != nil {
		return err
	}
	switch {
	case m.tenant != 0 && m.tenant != m.man.Tenant || m.resident.Settings.Tenant != m.man.Tenant:
		return badf("it holds something of another tenant than its manifest says")
	case m.digest.total() != m.man.Facts:
		return badf("its facts are not those its manifest tells of")
	case profilesSum(m.profiles) != m.man.Profiles:
		return badf("its profiles are not those its manifest tells of")
	}
	for name, n := range m.man.Tables {
		if m.tables[name] != n {
			return badf("rows of %s are missing", name)
		}
	}
	m.report = Report{
		Tenant: m.man.Tenant, Name: m.man.Name, Facts: m.man.Facts.Count, NotSealed: m.man.Sealed.LeftOut,
		Profiles: m.man.Profiles, Tables: map[string]int64{}, Open: m.man.Open,
	}
	return m.key()
}

// key finds out whether the archive's sealed values can be opened.
func (m *imported) key() error {
	switch {
	case m.man.Sealed.Carried == 0:
		return nil
	case m.LeaveSealed:
		m.report.NotSealed += m.man.Sealed.Carried
		return nil
	case m.Vault == nil:
		return errors.New("the archive holds sealed values, and there is no MASTER_KEY here to seal them with; they can be left out")
	case m.Passphrase == "":
		return errors.New("the archive holds values sealed with a passphrase: give it, or leave them out")
	}
	salt, err := hex.DecodeString(m.man.Sealed.Salt)
	if err != nil || len(salt) != saltBytes {
		return badf("its manifest holds no salt")
	}
	if m.opens, err = passVault(m.Passphrase, salt); err != nil {
		return err
	}
	for _, raw := range m.sealed {
		if _, err := m.opens.Open(m.man.Tenant, purpose, raw); err != nil {
			return fmt.Errorf("the passphrase is another: sealed values %w", err)
		}
	}
	m.report.Sealed = m.man.Sealed.Carried
	return nil
}

// look takes one line of the archive for what it must be.
func (m *imported) look(member string, line []byte) error {
	table, isTable := tableOf(member)
	switch {
	case member == memberFacts:
		e, err := m.bus.FromLine(line)
		if err != nil {
			return badf("a fact cannot be read: %w", err)
		}
		if err := m.ofOne(e.Tenant); err != nil {
			return err
		}
		if _, err := m.digest.add(e); err != nil {
			return err
		}
		return m.tryOn(e)
	case member == memberCustomer:
		if m.resident.Settings.Tenant != 0 {
			return badf("it holds two customers")
		}
		if err := strict(line, &m.resident); err != nil {
			return badf("its customer cannot be read")
		}
		return m.ofOne(m.resident.Settings.Tenant)
	case member == memberProfiles:
		var p store.ProfileHash
		if err := strict(line, &p); err != nil {
			return badf("a profile cannot be read")
		}
		m.profiles = append(m.profiles, p)
	case isTable:
		var row struct {
			Tenant events.Tenant `json:"customer_id"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return badf("a row of %s cannot be read", table)
		}
		m.tables[table]++
		return m.ofOne(row.Tenant)
	}
	return nil
}

func strict(line []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	return dec.Decode(to)
}

func (m *imported) ofOne(t events.Tenant) error {
	if m.tenant == 0 {
		m.tenant = t
	}
	if t != m.tenant || !t.Valid() {
		return badf("it holds something of more than one tenant")
	}
	return nil
}

// tryOn keeps one sealed value to try the passphrase on.
func (m *imported) tryOn(e bus.Moved) error {
	if len(m.sealed) > 0 {
		return nil
	}
	_, err := withSealed(e.Fact, func(v events.Sealed) (events.Sealed, bool, error) {
		raw, err := unbase(v)
		m.sealed = append(m.sealed, raw)
		return v, true, err
	})
	if err != nil {
		return badf("%w", err)
	}
	return nil
}

func (m *imported) run(ctx context.Context) (err error) {
	if m.rows, err = m.store.For(m.man.Tenant); err != nil {
		return err
	}
	mine, err := m.rows.KeptTables(ctx)
	if err != nil {
		return err
	}
	for name := range m.tables {
		if !slices.Contains(mine, name) {
			return badf("it holds rows of %s, which this program does not know", name)
		}
	}
	if err := m.store.Admit(ctx, m.resident); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	arrived, err := m.bus.PublishTenant(ctx, m.man.Tenant, m.facts, func(n int) { m.tell("facts", n) })
	m.report.Stored, m.report.There = arrived.Stored, arrived.There
	if err != nil {
		return fmt.Errorf("state facts: %w", err)
	}
	if err := m.compareFacts(ctx); err != nil {
		return err
	}
	if err := m.restore(ctx); err != nil {
		return err
	}
	m.tell("making rows", m.man.Profiles.Count)
	if err := fold(ctx, m.bus, m.rows, m.man.Tenant, m.Options); err != nil {
		return err
	}
	if err := m.compareRows(ctx); err != nil {
		return err
	}
	now, err := m.store.Settle(ctx, m.resident.Settings)
	if err != nil {
		return err
	}
	m.report.Status = now.Status
	return m.bus.PutSettings(ctx, now)
}

// errEnough ends a walk that has no need to go on.
var errEnough = errors.New("enough")

// facts are those of the archive, sealed for this instance.
func (m *imported) facts(yield func(bus.Moved, error) bool) {
	_, err := walk(m.file, func(member string, line []byte) error {
		if member != memberFacts {
			return nil
		}
		e, err := m.bus.FromLine(line)
		if err != nil {
			return badf("a fact cannot be read: %w", err)
		}
		e.Fact, err = withSealed(e.Fact, func(v events.Sealed) (events.Sealed, bool, error) {
			if m.opens == nil {
				return v, false, nil
			}
			v, err := reseal(m.man.Tenant, v, m.opens, m.Vault)
			return v, true, err
		})
		if err != nil {
			return err
		}
		if !yield(e, nil) {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		yield(bus.Moved{}, err)
	}
}

// compareFacts reads what the stream holds of the tenant now.
func (m *imported) compareFacts(ctx context.Context) error {
	m.tell("comparing facts", m.man.Facts.Count)
	have, others := newDigest(), map[string]bool{}
	_, err := m.bus.ReadTenant(ctx, m.man.Tenant, 0, func(e bus.Moved) error {
		if e.Fact == nil {
			return nil
		}
		if !m.digest.seen[e.ID] {
			others[e.ID] = true
			return nil
		}
		_, err := have.add(e)
		return err
	})
	if err != nil {
		return err
	}
	m.report.Others = len(others)
	if have.total() != m.man.Facts {
		return fmt.Errorf("%d of %d facts are here, or some are not as the archive has them: the tenant stays suspended", have.total().Count, m.man.Facts.Count)
	}
	return nil
}

const restoreSlice = 200

// restore writes the rows no fact leads to. Where the tenant has lived on, those
// it has are newer.
func (m *imported) restore(ctx context.Context) error {
	table, rows := "", [][]byte(nil)
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := m.rows.Restore(ctx, table, rows, m.report.Others == 0)
		m.report.Tables[table] += int64(len(rows))
		rows = nil
		return err
	}
	_, err := walk(m.file, func(member string, line []byte) error {
		name, ok := tableOf(member)
		if !ok {
			return nil
		}
		if name != table || len(rows) == restoreSlice {
			if err := flush(); err != nil {
				return err
			}
		}
		table, rows = name, append(rows, slices.Clone(line))
		return nil
	})
	if err != nil {
		return fmt.Errorf("restore rows: %w", err)
	}
	if err := flush(); err != nil {
		return fmt.Errorf("restore rows of %s: %w", table, err)
	}
	return nil
}

// compareRows compares what the facts led to here and there. Where the tenant
// has lived on they are not the same, and need not be.
func (m *imported) compareRows(ctx context.Context) error {
	s, err := m.rows.Snapshot(ctx, m.Projection)
	if err != nil {
		return err
	}
	m.report.Profiles = profilesSum(s.Profiles)
	if m.report.Others > 0 {
		return nil
	}
	if m.report.Profiles != m.man.Profiles {
		return fmt.Errorf("of %d profiles %d are not as the archive has them: the tenant stays suspended", m.man.Profiles.Count, differing(m.profiles, s.Profiles))
	}
	for table, n := range m.man.Rows {
		if s.Rows[table] != n {
			return fmt.Errorf("%s has %d rows, the archive tells of %d: the tenant stays suspended", table, s.Rows[table], n)
		}
	}
	return nil
}

func differing(a, b []store.ProfileHash) (n int) {
	of := map[string]string{}
	for _, p := range b {
		of[p.User] = p.SHA
	}
	for _, p := range a {
		if of[p.User] != p.SHA {
			n++
		}
		delete(of, p.User)
	}
	return n + len(of)
}
