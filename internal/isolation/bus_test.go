package isolation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// busPick is compiled into the bus. It takes the tenant out of the subject that
// a reader asks for, or leaves out the check of what comes, of the reader named
// in the environment.
const busPick = `package bus

import (
	"os"
	"strings"
)

func isolationWithout(reader string) bool { return os.Getenv("ISOLATION_READER") == reader }

func isolationAsk(reader, subject string) string {
	if !isolationWithout(reader) {
		return subject
	}
	parts := strings.SplitN(subject, ".", 3)
	return parts[0] + ".*." + parts[2]
}

func isolationAll(reader, subject, all string) string {
	if !isolationWithout(reader) {
		return subject
	}
	return all
}

func isolationKey(reader, key string) string {
	tenant, call, _ := strings.Cut(key, ".")
	if !isolationWithout(reader) {
		return key
	}
	return map[string]string{"1": "2", "2": "1"}[tenant] + "." + call
}

func isolationName(reader, subject, name string, ours bool) (string, bool) {
	if ours || !isolationWithout(reader) && !strings.HasPrefix(os.Getenv("ISOLATION_READER"), reader+", ") {
		return name, ours
	}
	return strings.SplitN(subject, ".", 3)[2], true
}
`

// readerCuts are where those who read the bus for one tenant say so. A reader
// that looks at what comes, too, loses both.
var readerCuts = []cut{
	{"Feed", "", "internal/bus/feed.go", `FilterSubject: events.Subject(t, ">"),`, `FilterSubject: isolationAsk("Feed", events.Subject(t, ">")),`},
	{"", "", "internal/bus/feed.go", `if err != nil || e.Tenant != t {`, `if err != nil || e.Tenant != t && !isolationWithout("Feed") {`},
	{
		"ReadCall", "", "internal/bus/readcall.go", `name, ours := strings.CutPrefix(subject, events.Subject(t, ""))`,
		`name, ours := strings.CutPrefix(subject, events.Subject(t, "")); name, ours = isolationName("ReadCall", subject, name, ours)`,
	},
	{
		"ReadCall, one by one", "", "internal/bus/readcall.go", `jetstream.WithGetMsgSubject(events.Subject(r.tenant, what))`,
		`jetstream.WithGetMsgSubject(isolationAsk("ReadCall, one by one", events.Subject(r.tenant, what)))`,
	},
	{
		"ReadCall, all at once", "", "internal/bus/readcall.go", `FilterSubject: events.Subject(r.tenant, what),`,
		`FilterSubject: isolationAsk("ReadCall, all at once", events.Subject(r.tenant, what)),`,
	},
	{"Search", "", "internal/bus/erase.go", `cfg.FilterSubject = events.Subject(t, ">")`, `cfg.FilterSubject = isolationAsk("Search", events.Subject(t, ">"))`},
	{
		"Search, by names", "", "internal/bus/erase.go", `append(cfg.FilterSubjects, events.Subject(t, name))`,
		`append(cfg.FilterSubjects, isolationAsk("Search, by names", events.Subject(t, name)))`,
	},
	{
		"StoredAt", "", "internal/bus/streams.go", `if err != nil || e.Tenant != t {`,
		`if err != nil || e.Tenant != t && !isolationWithout("StoredAt") {`,
	},
	{"Erase", "", "internal/bus/erase.go", `err != nil || of != t {`, `err != nil || of != t && !isolationWithout("Erase") {`},
	{
		"Erase, dead letters", "", "internal/bus/erase.go", `FilterSubject: "dead.*." + t.String()}`,
		`FilterSubject: isolationAll("Erase, dead letters", "dead.*."+t.String(), "dead.>")}`,
	},
	{
		"Erase, retries", "", "internal/bus/erase.go", `jetstream.WithGetMsgSubject(retrySubject("*", events.Subject(t, ">")))`,
		`jetstream.WithGetMsgSubject(retrySubject("*", isolationAsk("Erase, retries", events.Subject(t, ">"))))`,
	},
	{
		"GetCall", "", "internal/bus/registry.go", `k, err := b.lookUp(ctx, bucketCalls, callKey(t, call))`,
		`k, err := b.lookUp(ctx, bucketCalls, isolationKey("GetCall", callKey(t, call)))`,
	},
	{"", "", "internal/bus/registry.go", `err != nil || e.Tenant != t || e.Call != call {`, `err != nil || e.Tenant != t && !isolationWithout("GetCall") || e.Call != call {`},
	{"ClaimCall", "", "internal/bus/registry.go", `key := callKey(t, call)`, `key := isolationKey("ClaimCall", callKey(t, call))`},
	{
		"OwnCall", "", "internal/bus/live.go", `events.LiveSubject(t, call, events.VerbAnswer), events.LiveSubject(t, call, events.VerbControl))`,
		`isolationAsk("OwnCall", events.LiveSubject(t, call, events.VerbAnswer)), isolationAsk("OwnCall", events.LiveSubject(t, call, events.VerbControl)))`,
	},
	{
		"ReadTenant", "", "internal/bus/tenant.go", `OptStartSeq: *next, FilterSubject: events.Subject(t, ">"),`,
		`OptStartSeq: *next, FilterSubject: isolationAsk("ReadTenant", events.Subject(t, ">")),`,
	},
}

// A reader of the bus that does not say whose facts it wants, any one of them,
// is noticed by the test of the bus that reads as two tenants.
func TestEveryFilterOfTheBusIsNeeded(t *testing.T) {
	const test = "^TestReadersReachTheirOwnTenantOnly$"
	dir, err := filepath.Abs("../bus")
	if err != nil {
		t.Fatal(err)
	}
	binary := compileIn(t, dir, readerCuts, map[string]string{filepath.Join(dir, "isolation_pick.go"): busPick})
	run := func(reader string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, binary, "-test.run", test, "-test.v")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "ISOLATION_READER="+reader)
		return cmd.CombinedOutput()
	}
	if out, err := run(""); err != nil || !bytes.Contains(out, []byte("--- PASS: TestReadersReachTheirOwnTenantOnly ")) {
		t.Fatalf("with nothing missing: %v\n%s", err, tail(out))
	}
	named := slices.DeleteFunc(slices.Clone(readerCuts), func(c cut) bool { return c.name == "" })
	mutants := make([]mutant, len(named))
	var all errgroup.Group
	all.SetLimit(4) // each waits more than it computes
	for i, c := range named {
		all.Go(func() error {
			began := time.Now()
			out, err := run(c.name)
			m := mutant{What: "whose facts " + c.name + " reads", Where: filepath.Base(c.file)}
			if err != nil && bytes.Contains(out, []byte("--- FAIL: ")) {
				m.Caught = caughtBy(out)
			}
			if m.Took = time.Since(began).Round(100 * time.Millisecond).String(); m.Caught == "" {
				t.Errorf("%s: nothing notices: %v", m.What, err)
			}
			mutants[i] = m
			t.Logf("%-40s %-15s %s", m.What, m.Where, m.Caught)
			return nil
		})
	}
	_ = all.Wait()
	report.note(func() { report.Readers = mutants })
}

// compileIn makes the tests of a package with pieces of the program replaced
// and files added.
func compileIn(t *testing.T, pkg string, cuts []cut, added map[string]string) (binary string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, sources := t.TempDir(), map[string]string{}
	for path, text := range added {
		sources[path] = text
	}
	for _, c := range cuts {
		path := filepath.Join(root, c.file)
		if sources[path] == "" {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sources[path] = string(raw)
		}
		if strings.Count(sources[path], c.old) != 1 {
			t.Fatalf("%s has changed: what checks %s is not where it was; say here where it is", c.file, c.what+c.name)
		}
		sources[path] = strings.Replace(sources[path], c.old, c.new, 1)
	}
	overlay := map[string]string{}
	for path, text := range sources {
		overlay[path] = filepath.Join(dir, fmt.Sprintf("%d.go", len(overlay)))
		if err := os.WriteFile(overlay[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "mutated.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", file, "-o", binary, ".")
	cmd.Dir = pkg
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return binary
}
