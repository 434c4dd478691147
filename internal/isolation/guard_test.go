package isolation_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
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

// uncheckedFile is where TestRoutesUnchecked says what it found out.
const uncheckedFile = "ISOLATION_UNCHECKED"

// A route without its check, any one of them, is noticed by the probe.
func TestEveryRouteCheckIsNeeded(t *testing.T) {
	binary, found := compileIn(t, ".", cuts, nil), filepath.Join(t.TempDir(), "unchecked.json")
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestRoutesUnchecked$", "-test.v")
	cmd.Env = append(os.Environ(), uncheckedFile+"="+found, pageEnv+"=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, tail(out))
	}
	raw, err := os.ReadFile(found)
	if err != nil {
		t.Fatal(err)
	}
	var mutants []mutant
	if err := json.Unmarshal(raw, &mutants); err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 15*len(cuts) {
		t.Errorf("only %d mutants", len(mutants))
	}
	for _, m := range mutants {
		if m.Caught == "" {
			t.Errorf("%s without the check %s: nothing notices", m.Where, m.What)
		}
		t.Logf("%-45s without the check %-40s %s", m.Where, m.What, m.Caught)
	}
	report.note(func() { report.Guards = mutants })
}

// TestRoutesUnchecked is run by TestEveryRouteCheckIsNeeded in a program whose
// checks can be gone around.
func TestRoutesUnchecked(t *testing.T) {
	file := os.Getenv(uncheckedFile)
	if file == "" {
		t.Skip("run by TestEveryRouteCheckIsNeeded")
	}
	in := start(t)
	p := newProbe(t, in, in.businesses(t))
	var mutants []mutant
	for _, o := range p.ops {
		for _, c := range append(cuts, cut{name: ""}) {
			p.without, p.checks = c.name, nil
			p.customers(o, p.all[0], p.all[1])
			m := mutant{What: c.what, Where: o.String()}
			for _, k := range p.checks {
				if k.Fault != "" {
					m.Caught = k.Tried + ": " + k.Fault
					break
				}
			}
			if c.name != "" {
				mutants = append(mutants, m)
			} else if m.Caught != "" {
				t.Errorf("with all checks in place: %s: %s", o, m.Caught)
			}
		}
	}
	raw, err := json.Marshal(mutants)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
