package moving_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/moving"
	"neurosphere.ai/neurosphere/internal/replay"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/vault"
)

const (
	projection = "profiler"
	phrase     = "correct horse battery staple"
)

var began = time.Date(2026, 5, 6, 15, 0, 0, 0, time.UTC)

// place is one instance: a bus, a database and a key.
type place struct {
	t     testing.TB
	bus   *bus.Bus
	db    *testenv.Database
	vault *vault.Vault
}

func newPlace(t testing.TB, key string) *place {
	t.Helper()
	v, err := vault.New(strings.Repeat(key, 32))
	if err != nil {
		t.Fatal(err)
	}
	return &place{t: t, bus: testenv.Bus(t), db: testenv.Postgres(t), vault: v}
}

// fold makes a tenant's rows of the log.
func (p *place) fold(ctx context.Context, t events.Tenant) error {
	_, err := replay.Run(ctx, p.bus, p.db.Store, replay.Options{Live: projection, Tenant: t, Swap: true, Build: "test"})
	return err
}

func (p *place) options(file string) moving.Options {
	return moving.Options{File: file, Passphrase: phrase, Vault: p.vault, Projection: projection, Fold: p.fold, Patience: time.Millisecond, Wait: 20 * time.Second}
}

func (p *place) rows(t events.Tenant) *store.Tenant {
	p.t.Helper()
	r, err := p.db.Store.For(t)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// tenant is a business with a name of its own in all that it has.
func (p *place) tenant(name string) events.Settings {
	p.t.Helper()
	templates, err := store.Templates()
	if err != nil {
		p.t.Fatal(err)
	}
	set := settings.Default(name, templates[0])
	set.Tenant, set.Agent = 0, "Agent"+name
	set = p.db.Customer(p.t, set)
	if err := settings.Publish(p.t.Context(), p.db.Store, p.bus); err != nil {
		p.t.Fatal(err)
	}
	return set
}

func (p *place) publish(e events.Event) uint64 {
	p.t.Helper()
	seq, err := p.bus.Publish(p.t.Context(), e)
	if err != nil {
		p.t.Fatal(err)
	}
	return seq
}

// call states the facts of one call, among which all carry the word, and what
// came of it; other is told after each, so that two tenants' facts mix.
func (p *place) call(t events.Tenant, id, from, word string, other func(i int)) {
	p.t.Helper()
	sealed, err := p.vault.Seal(t, "turn", "POL"+word)
	if err != nil {
		p.t.Fatal(err)
	}
	mark := events.Sealed{Mark: "[POLICY]", Kind: "policy", Value: base64.StdEncoding.EncodeToString(sealed)}
	text := "My name is " + word + " and my policy is [POLICY]."
	facts := []events.Fact{
		events.CallReceived{From: from, To: "+12065559990"},
		events.CallAnswered{Session: "s", Greeting: "Hello."},
		events.TurnHeard{Turn: 1, Text: text, Sealed: []events.Sealed{mark}},
		events.TurnSpoken{Turn: 1, Text: "Thank you, " + word + "."},
	}
	var seqs []uint64
	state := func(n int, f events.Fact) uint64 {
		e := events.New(t, id, began.Add(time.Duration(n)*time.Second), f)
		e.CallSeq, e.Trace = n, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		return p.publish(e)
	}
	for i, f := range facts {
		seqs = append(seqs, state(i+1, f))
		if other != nil {
			other(i)
		}
	}
	state(0, events.MessageTaken{Turn: 1, Text: "call " + word})
	state(5, events.CallEnded{
		From: from, To: "+12065559990", StartedAt: began, EndedAt: began.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Turns: 1,
		FirstSeq: seqs[0], Facts: seqs, Answered: true,
	})
	sum := summary(from, word)
	sum.Findings = append(sum.Findings, events.Finding{Turn: 1, Evidence: text, Subject: "caller", Field: "memory.policy_number", Value: mark.Mark, Confidence: "stated", Sealed: mark.Value})
	state(0, sum)
	msg := events.MessageID(t, id, events.PurposeSummary, "+12065559991", "")
	state(0, events.SMSRequested{Message: msg, To: "+12065559991", Body: word, Purpose: events.PurposeSummary})
	state(0, events.SMSSent{Message: msg, To: "+12065559991", From: "+12065559990", SID: "SM" + id, Purpose: events.PurposeSummary})
	r := p.rows(t)
	_, err1 := r.ClaimText(p.t.Context(), msg, "+12065559991", "w", time.Hour)
	_, err2 := r.ClaimExtraction(p.t.Context(), id, "key", "w", time.Hour)
	if err := errors.Join(err1, err2, r.SaveExtraction(p.t.Context(), id, "key", []byte(`{"raw":"`+word+`"}`)), r.TextSent(p.t.Context(), msg, "SM"+id)); err != nil {
		p.t.Fatal(err)
	}
}

// summary is of a call in which somebody told a name.
func summary(from, name string) events.CallSummarized {
	return events.CallSummarized{
		Caller: from, StartedAt: began, EndedAt: began.Add(time.Minute), Seconds: 60, Reason: events.EndCaller, Summary: name + " called.",
		Topics: []string{}, Sentiment: "positive", Resolution: "resolved", Rejected: []events.Reject{}, Messages: []events.Message{}, Style: []events.Measure{{Metric: "warmth", Micros: 7}},
		Findings: []events.Finding{{Turn: 1, Evidence: "My name is " + name, Subject: "caller", Field: "personal.name", Value: name, Confidence: "stated"}},
		Template: "insurance_v1", Producer: events.Producer{Model: "m"},
	}
}

// town is a place with two businesses whose callers and calls bear the same
// numbers and ids.
func town(t *testing.T) (p *place, moves, stays events.Settings) {
	t.Helper()
	p = newPlace(t, "ab")
	stays, moves = p.tenant("Stays"), p.tenant("Moves")
	for i := range 5 {
		id, from := fmt.Sprintf("CA%032d", i), fmt.Sprintf("+1206555010%d", i%3)
		p.call(moves.Tenant, id, from, fmt.Sprint("Ann", i), func(n int) {
			e := events.New(stays.Tenant, id, began, events.TurnHeard{Turn: n + 1, Text: "CanaryBen"})
			p.publish(e)
		})
	}
	p.call(stays.Tenant, "CAother", "+12065550100", "CanaryBen", nil)
	return p, moves, stays
}

func export(t *testing.T, p *place, tenant events.Tenant, change func(*moving.Options)) (moving.Manifest, string) {
	t.Helper()
	o := p.options(filepath.Join(t.TempDir(), "tenant.tar.gz"))
	if change != nil {
		change(&o)
	}
	man, err := moving.Export(t.Context(), p.bus, p.db.Store, tenant, o)
	if err != nil {
		t.Fatal(err)
	}
	return man, o.File
}

// unpacked is what members an archive has, and what is in them.
func unpacked(t *testing.T, path string) (names []string, all map[string][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all = map[string][]byte{}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, all
		}
		if err == nil {
			all[h.Name], err = io.ReadAll(tr)
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// packed is an archive of members.
func packed(t *testing.T, names []string, all map[string][]byte) string {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	tw := tar.NewWriter(gz)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(all[name])), Typeflag: tar.TypeReg}
		if all[name] == nil {
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(all[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "made.tar.gz")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *place) read(t events.Tenant, call string) (words []string) {
	p.t.Helper()
	var end events.CallEnded
	_, err := p.bus.ReadTenant(p.t.Context(), t, 0, func(m bus.Moved) error {
		if f, ok := m.Fact.(events.CallEnded); ok && m.Call == call {
			end = f
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	all, err := p.bus.ReadCall(p.t.Context(), t, call, bus.Span{First: end.FirstSeq, Since: end.StartedAt.Add(-time.Minute), Facts: end.Facts})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range all {
		switch f := e.Fact.(type) {
		case events.TurnHeard:
			words = append(words, f.Text)
		case events.TurnSpoken:
			words = append(words, f.Text)
		default:
			words = append(words, f.Name())
		}
	}
	return words
}

// Those that leave the place a tenant comes from as it is share one.
func TestMoving(t *testing.T) {
	t.Parallel()
	from, moves, stays := town(t)
	for name, test := range map[string]func(t *testing.T, from *place, moves, stays events.Settings){
		"a tenant moves":                       aTenantMoves,
		"sealed values need a passphrase":      sealedValuesNeedAPassphrase,
		"bad archives are refused":             badArchivesAreRefused,
		"a tenant that has no place stays out": aTenantThatHasNoPlaceStaysOut,
		"what arrives otherwise is noticed":    whatArrivesOtherwiseIsNoticed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := *from
			own.t = t
			test(t, &own, moves, stays)
		})
	}
}

// A tenant that moves is the same in the other place: its facts, its profiles,
// its transcripts, what it has paid for and sent, what is sealed. Nothing of
// anybody else goes along, and nobody acts on what came.
func aTenantMoves(t *testing.T, from *place, moves, stays events.Settings) {
	man, file := export(t, from, moves.Tenant, nil)
	if man.Facts.Count != 5*9+1 || man.Profiles.Count != 3 || man.Sealed.Carried != 10 || man.Tables["extractions"] != 5 || man.Tables["sms_outbox"] != 5 || man.LeftOut != 0 || man.Open != (moving.Open{}) {
		t.Errorf("manifest %+v", man)
	}
	names, all := unpacked(t, file)
	for _, name := range names {
		for _, foreign := range []string{"Canary", stays.Name, stays.Agent, stays.Numbers[0], "CAother", `"customer_id":` + stays.Tenant.String() + ",", `"tenantid":"` + stays.Tenant.String() + `"`} {
			if bytes.Contains(all[name], []byte(foreign)) {
				t.Errorf("%s holds %s", name, foreign)
			}
		}
	}
	for _, own := range []string{"Ann4", moves.Name, moves.Numbers[0]} {
		if !bytes.Contains(slices.Concat(all["facts.jsonl"], all["customer.json"]), []byte(own)) {
			t.Errorf("%s is missing", own)
		}
	}

	to := newPlace(t, "cd")
	at := to.tenant("Lives there")
	to.call(at.Tenant, "CA"+strings.Repeat("0", 32), "+12065550100", "Zoe", nil)
	report, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file))
	if err != nil {
		t.Fatal(err)
	}
	if report.Stored != man.Facts.Count || report.Profiles != man.Profiles || report.Sealed != 10 || report.Status != "active" || report.Tables["extractions"] != 5 {
		t.Errorf("report %+v", report)
	}
	for i := range 5 {
		id := fmt.Sprintf("CA%032d", i)
		if diff := cmp.Diff(from.read(moves.Tenant, id), to.read(moves.Tenant, id)); diff != "" || len(to.read(moves.Tenant, id)) < 6 {
			t.Errorf("transcript of call %d: %s", i, diff)
		}
	}
	got, err := to.db.Store.Settings(t.Context(), moves.Tenant)
	if diff := cmp.Diff(moves, got); err != nil || diff != "" {
		t.Errorf("settings: %v %s", err, diff)
	}
	versions, err := to.bus.SettingsVersions(t.Context())
	if err != nil || versions[moves.Tenant] != moves.Version {
		t.Errorf("on the bus: %v, %v", versions, err)
	}
	same(t, from, to, moves.Tenant)
	opened := 0
	_, err = to.bus.ReadTenant(t.Context(), moves.Tenant, 0, func(m bus.Moved) error {
		if !m.History {
			t.Errorf("%s would be acted on", m.Fact.Name())
		}
		var sealed string
		switch f := m.Fact.(type) {
		case events.TurnHeard:
			sealed = f.Sealed[0].Value
		case events.CallSummarized:
			sealed = f.Findings[1].Sealed
		}
		if sealed != "" {
			raw, _ := base64.StdEncoding.DecodeString(sealed)
			if text, err := to.vault.Open(moves.Tenant, "turn", raw); err == nil && strings.HasPrefix(text, "POLAnn") {
				opened++
			}
		}
		return nil
	})
	if err != nil || opened != 10 {
		t.Errorf("%d values can be opened, %v", opened, err)
	}
	if r, err := replay.Run(t.Context(), to.bus, to.db.Store, replay.Options{Live: projection, Tenant: moves.Tenant, Build: "test"}); err != nil || r.Different > 0 || r.Rows < 30 {
		t.Errorf("replayed: %+v, %v", r, err)
	}
	again, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file))
	if err != nil || again.Stored != 0 || again.There != man.Facts.Count {
		t.Errorf("again: %+v, %v", again, err)
	}
	same(t, from, to, moves.Tenant)
}

// cipher is a sealed value, in a row that quotes a fact.
var cipher = regexp.MustCompile(`(sealed\\*": ?\\*")[A-Za-z0-9+/=]+`)

// same compares all rows of a tenant in two places; where events lie is not
// part of it, nor is what each seals with its own key.
func same(t *testing.T, a, b *place, tenant events.Tenant) {
	t.Helper()
	rows := func(p *place) map[string][]string {
		out := p.db.Rows(t, tenant)
		delete(out, "projection_offsets")
		for name := range out {
			for i, row := range out[name] {
				head, rest, _ := strings.Cut(row, `"seq": `)
				out[name][i] = cipher.ReplaceAllString(head+strings.TrimLeft(rest, "0123456789"), "$1")
			}
			slices.Sort(out[name])
		}
		return out
	}
	if diff := cmp.Diff(rows(a), rows(b)); diff != "" {
		t.Errorf("rows differ:\n%s", diff)
	}
	if len(rows(b)["calls"]) == 0 || len(rows(b)["caller_profiles"]) == 0 {
		t.Error("there are no rows to compare")
	}
}

// What comes after an archive is in a later one, which goes on where the first
// ended; an archive that was not wholly taken over is taken over by the next try.
func TestArchivesContinue(t *testing.T) {
	t.Parallel()
	from, moves, _ := town(t)
	_, first := export(t, from, moves.Tenant, nil)
	to := newPlace(t, "cd")
	o := to.options(first)
	o.Fold = func(context.Context, events.Tenant) error { return errors.New("killed") }
	if _, err := moving.Import(t.Context(), to.bus, to.db.Store, o); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatal(err)
	}
	if s, err := to.db.Store.Settings(t.Context(), moves.Tenant); err != nil || s.Status != "suspended" {
		t.Errorf("half a tenant is %s, %v", s.Status, err)
	}
	if _, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(first)); err != nil {
		t.Fatal(err)
	}
	from.call(moves.Tenant, "CAlater", "+12065550100", "Eve", nil)
	man, second := export(t, from, moves.Tenant, func(o *moving.Options) { o.Suspend = true })
	report, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(second))
	if err != nil || report.Stored != 10 || report.Others != 0 || report.Profiles != man.Profiles || report.Status != "suspended" {
		t.Errorf("later: %+v, %v", report, err)
	}
	same(t, from, to, moves.Tenant)
	report, err = moving.Import(t.Context(), to.bus, to.db.Store, to.options(first))
	if err != nil || report.Stored != 0 || report.Others != 10 || report.Status != "suspended" {
		t.Errorf("the earlier one again: %+v, %v", report, err)
	}
	same(t, from, to, moves.Tenant)
}

// While calls or texts are under way an export that suspends waits for them,
// and says so when that takes too long.
func TestSuspendingWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	from, moves, _ := town(t)
	e := events.New(moves.Tenant, "CAlive", began, events.CallReceived{From: "+12065550100", To: moves.Numbers[0]})
	from.publish(e)
	man, _ := export(t, from, moves.Tenant, func(o *moving.Options) { o.Suspend, o.Wait = true, 50*time.Millisecond })
	if man.Open.Calls != 1 {
		t.Errorf("open: %+v, want one call", man.Open)
	}
	if s, err := from.db.Store.Settings(t.Context(), moves.Tenant); err != nil || s.Status != "suspended" {
		t.Errorf("tenant is %s, %v", s.Status, err)
	}
	o := from.options(filepath.Join(t.TempDir(), "a"))
	o.Suspend = true
	done := make(chan moving.Manifest, 1)
	looks, looked := 0, make(chan struct{})
	o.Progress = func(stage string, n int) {
		if strings.Contains(stage, "under way") && n > 0 {
			if looks++; looks == 12 { // more than it would look at a tenant that is quiet
				close(looked)
			}
		}
	}
	go func() {
		man, err := moving.Export(context.WithoutCancel(t.Context()), from.bus, from.db.Store, moves.Tenant, o)
		if err != nil {
			t.Error(err)
		}
		done <- man
	}()
	<-looked
	from.publish(events.New(moves.Tenant, "CAlive", began, events.CallSummarized{
		Caller: "+12065550100", Summary: "x", Topics: []string{}, Sentiment: "neutral", Resolution: "unknown", Findings: []events.Finding{}, Rejected: []events.Reject{},
		Messages: []events.Message{}, Style: []events.Measure{}, StartedAt: began, EndedAt: began, Reason: events.EndCaller, Template: "t",
	}))
	if man := <-done; man.Open.Calls != 0 {
		t.Errorf("open: %+v", man.Open)
	}
}

// An erasure that was asked for is waited for: whose it is cannot be opened
// elsewhere.
func TestSuspendingWaitsForErasures(t *testing.T) {
	t.Parallel()
	from, moves, _ := town(t)
	from.publish(events.New(moves.Tenant, "", began, events.ErasureRequested{Erasure: "e1", Kind: "caller", Ref: "r", By: "api:key"}))
	o := from.options(filepath.Join(t.TempDir(), "a"))
	o.Suspend = true
	waited, erased := 0, events.New(moves.Tenant, "", began, events.CallerErased{Ref: "r", By: "api:key", Erasure: "e1"})
	o.Progress = func(stage string, n int) {
		if strings.Contains(stage, "under way") && n > 0 {
			if waited++; waited == 12 {
				from.publish(erased)
			}
		}
	}
	if _, err := moving.Export(t.Context(), from.bus, from.db.Store, moves.Tenant, o); err != nil || waited < 12 {
		t.Errorf("waited %d times, %v", waited, err)
	}
}

// Sealed values stay where they are without a passphrase, which is told; with
// another one nothing is changed.
func sealedValuesNeedAPassphrase(t *testing.T, from *place, moves, _ events.Settings) {
	without, plain := export(t, from, moves.Tenant, func(o *moving.Options) { o.Passphrase = "" })
	_, sealed := export(t, from, moves.Tenant, nil)
	if without.Sealed.LeftOut != 10 || without.Sealed.Carried != 0 {
		t.Errorf("%+v", without.Sealed)
	}
	_, all := unpacked(t, sealed)
	if bytes.Contains(all["facts.jsonl"], []byte("POLAnn")) || !bytes.Contains(all["facts.jsonl"], []byte(`"sealed"`)) {
		t.Error("values are not sealed")
	}
	to := newPlace(t, "cd")
	for name, change := range map[string]func(*moving.Options){
		"no passphrase":      func(o *moving.Options) { o.Passphrase = "" },
		"another passphrase": func(o *moving.Options) { o.Passphrase = "another passphrase" },
		"a short passphrase": func(o *moving.Options) { o.Passphrase = "short" },
		"no key of its own":  func(o *moving.Options) { o.Vault = nil },
	} {
		o := to.options(sealed)
		change(&o)
		if _, err := moving.Import(t.Context(), to.bus, to.db.Store, o); err == nil {
			t.Errorf("%s: taken", name)
		}
		to.untouched(moves.Tenant, name)
	}
	report, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(plain))
	if err != nil || report.NotSealed != 10 || report.Sealed != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	o := to.options(sealed)
	o.Passphrase, o.LeaveSealed = "", true
	if report, err := moving.Import(t.Context(), to.bus, to.db.Store, o); err != nil || report.NotSealed != 10 {
		t.Errorf("%+v, %v", report, err)
	}
}

// untouched fails when anything of a tenant is in the place.
func (p *place) untouched(t events.Tenant, why string) {
	p.t.Helper()
	if _, err := p.db.Store.Resident(p.t.Context(), t); !errors.Is(err, store.ErrNotFound) {
		p.t.Errorf("%s: there is a tenant: %v", why, err)
	}
	n := 0
	if _, err := p.bus.ReadTenant(p.t.Context(), t, 0, func(bus.Moved) error { n++; return nil }); err != nil || n > 0 || len(p.db.Rows(p.t, t)) > 0 {
		p.t.Errorf("%s: %d facts and rows %v, %v", why, n, p.db.Rows(p.t, t), err)
	}
}

// Whatever is wrong with an archive, it is refused whole.
func badArchivesAreRefused(t *testing.T, from *place, moves, stays events.Settings) {
	_, file := export(t, from, moves.Tenant, nil)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	names, all := unpacked(t, file)
	written := func(raw []byte) string {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	with := func(name string, old, now string) string {
		changed := map[string][]byte{}
		for n, raw := range all {
			changed[n] = raw
		}
		changed[name] = bytes.Replace(all[name], []byte(old), []byte(now), 1)
		if bytes.Equal(changed[name], all[name]) {
			t.Fatalf("%s holds no %s", name, old)
		}
		return packed(t, names, changed)
	}
	plus := func(name string, raw []byte) string {
		more := map[string][]byte{name: raw}
		for n, raw := range all {
			if n != name {
				more[n] = raw
			}
		}
		return packed(t, append([]string{name}, names...), more)
	}
	flipped := func(at int) string {
		raw := bytes.Clone(whole)
		raw[at] ^= 0x10
		return written(raw)
	}
	tenant := moves.Tenant.String()
	bad := map[string]string{
		"empty":                   written(nil),
		"no archive":              written([]byte("hello")),
		"truncated":               written(whole[:len(whole)*2/3]),
		"truncated at its end":    written(whole[:len(whole)-3]),
		"something behind it":     written(append(bytes.Clone(whole), "more"...)),
		"a byte changed":          flipped(len(whole) / 2),
		"a byte changed at front": flipped(12),
		"another version":         with("manifest.json", `"version": 1`, `"version": 2`),
		"another format":          with("manifest.json", "neurosphere tenant", "something else"),
		"a word changed":          with("facts.jsonl", "Thank you", "Thank him"),
		"a row changed":           with("tables/extractions.jsonl", "Ann0", "Bob0"),
		"another count of facts":  with("manifest.json", `"count": 46`, `"count": 47`),
		"more rows than there":    with("manifest.json", `"extractions": 5`, `"extractions": 6`),
		"other profiles":          with("manifest.json", `"count": 3`, `"count": 4`),
		"a profile changed":       with("profiles.jsonl", `"sha256":"`, `"sha256":"0`),
		"another tenant":          with("manifest.json", `"customer_id": `+tenant, `"customer_id": 99`),
		"a row of another":        with("tables/extractions.jsonl", `"customer_id": `+tenant, `"customer_id": `+stays.Tenant.String()),
		"without its manifest":    packed(t, names[:len(names)-1], all),
		"without facts":           packed(t, names[1:], all),
		"a member twice":          packed(t, append([]string{"facts.jsonl"}, names...), all),
		"its manifest first":      packed(t, append([]string{"manifest.json"}, names[:len(names)-1]...), all),
		"a path":                  plus("../../etc/passwd", []byte("x\n")),
		"a path as a table":       plus("tables/../../x.jsonl", []byte("{}\n")),
		"an unknown member":       plus("more.jsonl", []byte("{}\n")),
		"a link":                  plus("tables/x.jsonl", nil),
		"a huge line":             plus("tables/x.jsonl", bytes.Repeat([]byte("x"), 5<<20)),
		"a huge manifest":         packed(t, []string{"manifest.json"}, map[string][]byte{"manifest.json": bytes.Repeat([]byte(" "), 2<<20)}),
	}
	to := newPlace(t, "cd")
	for name, path := range bad {
		_, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(path))
		if !errors.Is(err, moving.ErrArchive) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "Ann") || strings.Contains(err.Error(), "+1206") {
			t.Errorf("%s: %v tells of a caller", name, err)
		}
		if _, err := to.db.Store.Resident(t.Context(), moves.Tenant); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: there is a tenant: %v", name, err)
		}
	}
	to.untouched(moves.Tenant, "after all of them")
	if _, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file)); err != nil {
		t.Errorf("the archive as it was: %v", err)
	}
}

// An id or number that is another's here keeps the tenant out, whole.
func aTenantThatHasNoPlaceStaysOut(t *testing.T, from *place, moves, _ events.Settings) {
	_, file := export(t, from, moves.Tenant, nil)
	to := newPlace(t, "cd")
	set := settings.Default("One", events.Template{})
	set.Numbers = moves.Numbers
	if _, _, err := to.db.Store.CreateCustomer(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if _, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file)); !errors.Is(err, store.ErrNumberTaken) {
		t.Errorf("number of another: %v", err)
	}
	to.untouched(moves.Tenant, "number of another")
	two := to.tenant("Two")
	if two.Tenant != moves.Tenant {
		t.Fatalf("the other is %s, want %s", two.Tenant, moves.Tenant)
	}
	if _, err := moving.Import(t.Context(), to.bus, to.db.Store, to.options(file)); !errors.Is(err, store.ErrIDTaken) {
		t.Errorf("id of another: %v", err)
	}
	if now, err := to.db.Store.Settings(t.Context(), two.Tenant); err != nil || now.Name != "Two" {
		t.Errorf("the other is %q, %v", now.Name, err)
	}
}

// What is not in the other place as it was keeps the tenant suspended there.
func whatArrivesOtherwiseIsNoticed(t *testing.T, from *place, moves, _ events.Settings) {
	_, file := export(t, from, moves.Tenant, nil)
	to := newPlace(t, "cd")
	o := to.options(file)
	o.Fold = func(context.Context, events.Tenant) error { return nil }
	_, err := moving.Import(t.Context(), to.bus, to.db.Store, o)
	if err == nil || !strings.Contains(err.Error(), "of 3 profiles 3 are not") {
		t.Errorf("without rows: %v", err)
	}
	other := newPlace(t, "cd")
	e := events.New(moves.Tenant, fmt.Sprintf("CA%032d", 0), began, events.CallAnswered{Session: "s", Greeting: "Another greeting."})
	other.publish(e)
	_, err = moving.Import(t.Context(), other.bus, other.db.Store, other.options(file))
	if err == nil || !strings.Contains(err.Error(), "not as the archive has them") {
		t.Errorf("with another word: %v", err)
	}
	for _, p := range []*place{to, other} {
		if s, err := p.db.Store.Settings(t.Context(), moves.Tenant); err != nil || s.Status != "suspended" {
			t.Errorf("the tenant is %s, %v", s.Status, err)
		}
	}
}
