package isolation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// cut is a piece of the program that keeps tenants apart, and the same with a
// way around it for requests that ask for one.
type cut struct{ name, what, file, old, new string }

// cuts are the checks that stand before every route.
var cuts = []cut{
	{
		"tenant", "that the key opens the customer named", "internal/memory/guard.go",
		`if err := g.opens(r.Context(), key, named); err != nil {`,
		`if err := g.opens(r.Context(), key, named); err != nil && r.Header.Get("X-Isolation-Without") != "tenant" {`,
	},
	{
		"key", "that there is a key", "internal/memory/guard.go",
		`	key, err := g.key(r)
	if err != nil {
		return asker{}, err
	}
	if wait`,
		`	key, err := g.key(r)
	if err != nil && r.Header.Get("X-Isolation-Without") == "key" {
		named, err := customer(w, r)
		if err != nil {
			return asker{}, err
		}
		rows, err := g.store.For(named)
		return asker{tenant: named, rows: rows}, err
	}
	if err != nil {
		return asker{}, err
	}
	if wait`,
	},
}

// seals are what a cursor is bound to. Which of them is missing is in the
// environment: a cursor is made by one request, and handed in by another.
var seals = []cut{
	{"tenant", "whose it is", "internal/memory/inputs.go", `s.vault.Seal(t, "cursor/"+list, string(raw))`, `s.vault.Seal(isolationTenant(t), isolationList("cursor/"+list), string(raw))`},
	{"list", "which list it is of", "internal/memory/inputs.go", `s.vault.Open(t, "cursor/"+list, raw)`, `s.vault.Open(isolationTenant(t), isolationList("cursor/"+list), raw)`},
	{"change", "that nobody changed it", "internal/vault/vault.go", `return cipher.NewGCMWithRandomNonce(block)`, `return isolationAEAD(block)`},
}

// sealEnv says which of seals is missing.
const sealEnv = "ISOLATION_SEAL"

// sealFiles are compiled into the program beside what seals change.
var sealFiles = map[string]string{
	"internal/memory/isolation_seal.go": `package memory

import (
	"os"

	"neurosphere.ai/neurosphere/events"
)

func isolationTenant(t events.Tenant) events.Tenant {
	if os.Getenv("ISOLATION_SEAL") == "tenant" {
		return 1
	}
	return t
}

func isolationList(list string) string {
	if os.Getenv("ISOLATION_SEAL") == "list" {
		return "cursor"
	}
	return list
}
`,
	"internal/vault/isolation_seal.go": `package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"os"
)

type isolationUnsigned struct{ block cipher.Block }

func isolationAEAD(block cipher.Block) (cipher.AEAD, error) {
	if os.Getenv("ISOLATION_SEAL") == "change" {
		return isolationUnsigned{block}, nil
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (u isolationUnsigned) NonceSize() int { return 0 }

func (u isolationUnsigned) Overhead() int { return 16 }

func (u isolationUnsigned) Seal(dst, _, text, _ []byte) []byte {
	out := make([]byte, 16+len(text))
	_, _ = rand.Read(out[:16])
	cipher.NewCTR(u.block, out[:16]).XORKeyStream(out[16:], text)
	return append(dst, out...)
}

func (u isolationUnsigned) Open(dst, _, sealed, _ []byte) ([]byte, error) {
	if len(sealed) < 16 {
		return nil, ErrSealed
	}
	out := make([]byte, len(sealed)-16)
	cipher.NewCTR(u.block, sealed[:16]).XORKeyStream(out, sealed[16:])
	return append(dst, out...), nil
}
`,
}

// needlessSeals are what a route's cursor need not be bound to, each with the
// reason.
var needlessSeals = map[string]string{
	"GET /v2/profiles cursor: which list it is of": "its cursor is a text, and those of others are objects",
}

// uncheckedFile is where TestRoutesUnchecked says what it found out.
const uncheckedFile = "ISOLATION_UNCHECKED"

// A route without its check, any one of them, is noticed by the probe.
func TestEveryRouteCheckIsNeeded(t *testing.T) {
	added := map[string]string{}
	for file, text := range sealFiles {
		path, err := filepath.Abs("../../" + file)
		if err != nil {
			t.Fatal(err)
		}
		added[path] = text
	}
	binary, found := compileIn(t, ".", slices.Concat(cuts, seals), added), filepath.Join(t.TempDir(), "unchecked.json")
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestRoutesUnchecked$", "-test.v")
	cmd.Env = append(os.Environ(), uncheckedFile+"="+found, pageEnv+"=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, tail(out))
	}
	raw, err := os.ReadFile(found)
	if err != nil {
		t.Fatal(err)
	}
	var mutants unchecked
	if err := json.Unmarshal(raw, &mutants); err != nil {
		t.Fatal(err)
	}
	if len(mutants.Guards) < 15*len(cuts) || len(mutants.Cursors) < 6*len(seals) {
		t.Errorf("only %d and %d mutants", len(mutants.Guards), len(mutants.Cursors))
	}
	for _, m := range mutants.Cursors {
		if why := needlessSeals[m.Where+": "+m.What]; (m.Caught == "") != (why != "") {
			t.Errorf("cursor of %s, not bound to %s: noticed by %q; needless because %q", m.Where, m.What, m.Caught, why)
		}
		t.Logf("%-45s cursor not bound to %-30s %s", m.Where, m.What, m.Caught)
	}
	for _, m := range mutants.Guards {
		if m.Caught == "" {
			t.Errorf("%s without the check %s: nothing notices", m.Where, m.What)
		}
		t.Logf("%-45s without the check %-40s %s", m.Where, m.What, m.Caught)
	}
	report.note(func() {
		report.Guards, report.Cursors = mutants.Guards, slices.DeleteFunc(mutants.Cursors, func(m mutant) bool { return needlessSeals[m.Where+": "+m.What] != "" })
	})
}

// unchecked is what TestRoutesUnchecked found out.
type unchecked struct{ Guards, Cursors []mutant }

// TestRoutesUnchecked is run by TestEveryRouteCheckIsNeeded in a program whose
// checks can be gone around.
func TestRoutesUnchecked(t *testing.T) {
	file := os.Getenv(uncheckedFile)
	if file == "" {
		t.Skip("run by TestEveryRouteCheckIsNeeded")
	}
	in := start(t)
	p := newProbe(t, in, in.businesses(t))
	var found unchecked
	try := func(o operation, c cut, do func()) mutant {
		p.checks = nil
		do()
		m := mutant{What: c.what, Where: o.String()}
		for _, k := range p.checks {
			if k.Fault != "" {
				m.Caught = fmt.Sprintf("%.300s", k.Tried+": "+k.Fault)
				break
			}
		}
		if c.name == "" && m.Caught != "" {
			t.Errorf("with all checks in place: %s: %s", o, m.Caught)
		}
		return m
	}
	for _, o := range p.ops {
		for _, c := range append(cuts, cut{}) {
			p.without = c.name
			if m := try(o, c, func() { p.customers(o, p.all[0], p.all[1]) }); c.name != "" {
				found.Guards = append(found.Guards, m)
			}
		}
		for _, name := range o.cursors() {
			for _, c := range append(seals, cut{}) {
				t.Setenv(sealEnv, c.name)
				m := try(o, c, func() {
					p.things(o, p.all[0], p.all[1], name, p.kinds[name])
					p.cursors(o, p.all[0], p.all[1], name)
				})
				if c.name != "" {
					m.Where += " " + name
					found.Cursors = append(found.Cursors, m)
				}
			}
		}
	}
	raw, err := json.Marshal(found)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
