package isolation_test

import (
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// pageEnv is where the page of results is written; empty: nowhere.
const pageEnv = "ISOLATION_PAGE"

// report collects what the page shows.
var report findings

type findings struct {
	mu       sync.Mutex
	Began    time.Time
	Took     time.Duration
	Version  string
	Passed   bool
	Routes   []string
	Pairs    []string // "as A, for B's"
	Checks   []check
	Filters  []mutant
	Guards   []mutant
	Cursors  []mutant
	Readers  []mutant // of the bus
	Policies []policy
	Alone    []string // barriers that were tried with the others taken away
	Calls    int      // of the real conversations
	Tenants  int
	Callers  int
	Reads    int
}

// policy is one way to take away a table's policies, as the store's tests tell.
type policy struct {
	Table string `json:"table"`
	What  string `json:"what"`
	Check string `json:"check"`
	Probe string `json:"probe"`
}

// note changes the report.
func (f *findings) note(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *findings) checked(p *probe) {
	f.note(func() {
		f.Checks = p.checks
		for _, o := range p.ops {
			f.Routes = append(f.Routes, o.String())
		}
		for _, c := range p.checks {
			if pair := "as " + c.Me + ", for what " + c.Other + " has"; !slices.Contains(f.Pairs, pair) {
				f.Pairs = append(f.Pairs, pair)
			}
		}
	})
}

// cell is one route for one pair.
type cell struct {
	Tried, Denied, Controls int
	Faults                  []string
}

// Cell counts what was tried of a route for a pair.
func (f *findings) Cell(route, pair string) (c cell) {
	for _, k := range f.Checks {
		if k.Route != route || "as "+k.Me+", for what "+k.Other+" has" != pair {
			continue
		}
		c.Tried++
		if k.Fault != "" {
			c.Faults = append(c.Faults, k.Tried+" "+k.Fault)
		} else if k.Denied >= 400 {
			c.Denied++
		}
		if k.Control >= 200 && k.Control < 300 {
			c.Controls++
		}
	}
	return c
}

// Leaks is how many checks failed and how many mutants nothing noticed.
func (f *findings) Leaks() (n int) {
	for _, c := range f.Checks {
		if c.Fault != "" {
			n++
		}
	}
	for _, m := range slices.Concat(f.Filters, f.Guards, f.Cursors, f.Readers) {
		if m.Caught == "" {
			n++
		}
	}
	for _, p := range f.Policies {
		if p.Check == "" {
			n++
		}
	}
	return n
}

// Tables are those whose policies were taken away.
func (f *findings) Tables() (names []string) {
	for _, p := range f.Policies {
		names = append(names, p.Table)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// write makes the page.
func (f *findings) write(path string, code int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Took, f.Passed = time.Since(f.Began).Round(time.Second), code == 0
	f.Version = "unknown"
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		f.Version = strings.TrimSpace(string(out))
	}
	tpl, err := template.ParseFiles("page.html")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := tpl.Execute(out, f); err != nil {
		return err
	}
	text := fmt.Sprintf("%d routes, %d checks; without one of %d filters, %d readers' filters of the bus, %d route checks, %d seals of cursors, %d policies of %d tables; %d calls of %d tenants, %d answers read: %d leaks\n",
		len(f.Routes), len(f.Checks), len(f.Filters), len(f.Readers), len(f.Guards), len(f.Cursors), len(f.Policies), len(f.Tables()), f.Calls, f.Tenants, f.Reads, f.Leaks())
	return os.WriteFile(strings.TrimSuffix(path, ".html")+".txt", []byte(text), 0o600)
}

// The tests of the store notice whatever is taken from the policies of any one
// table; here they are run for the page.
func TestEveryPolicyIsNeeded(t *testing.T) {
	if !thorough() {
		t.Skip("is among the store's own tests")
	}
	file := filepath.Join(t.TempDir(), "policies.json")
	t.Setenv("STORE_TEST_POLICIES", file)
	if out, err := mutateStore(t).run(t, "", "", "^TestEveryPolicyIsNeeded$", ""); err != nil {
		t.Fatalf("%v\n%s", err, tail(out))
	}
	var found []policy
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &found)
	}
	if err != nil || len(found) == 0 {
		t.Fatalf("%d policies, %v", len(found), err)
	}
	report.note(func() { report.Policies = found })
}
