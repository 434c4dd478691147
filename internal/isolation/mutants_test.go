package isolation_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mutantsEnv says how many of the mutants to try: a number, or "all". What was
// tried before is kept in the file of resultsEnv, until the code changes.
const (
	mutantsEnv = "ISOLATION_MUTANTS"
	resultsEnv = "ISOLATION_RESULTS"
	sample     = 10
)

// mutant is the program with one thing missing that keeps tenants apart.
type mutant struct {
	What   string `json:"what"`   // is missing
	Where  string `json:"where"`  // it was
	Caught string `json:"caught"` // by which test; empty: by none
	Took   string `json:"took"`
}

// filter is a tenant's filter in a statement; it may be inside a longer string.
var filter = regexp.MustCompile(`\b(?:\w+\.)?customer_id = (\$\d)\b`)

// platformsOwn are tables that no policy guards: there the filter is alone.
var platformsOwn = regexp.MustCompile(`\b(customers|phone_numbers|api_keys)\b`)

// pick is compiled into the store. It takes out the filter whose number is in
// the environment; or "all", those of tables that have a policy too.
const pick = `package store

import (
	"fmt"
	"os"
	"regexp"
)

var isolationFilter = regexp.MustCompile(%q)

var isolationPlatform = regexp.MustCompile(%q)

func isolationPick(sql string, first int) string {
	wanted, n := os.Getenv("ISOLATION_MUTANT"), first-1
	if wanted == "" || wanted == "all" && isolationPlatform.MatchString(sql) {
		return sql
	}
	return isolationFilter.ReplaceAllStringFunc(sql, func(filter string) string {
		n++
		if wanted != "all" && wanted != fmt.Sprint(n) {
			return filter
		}
		return fmt.Sprintf("%%s::int IS NOT NULL /*mutant %%d*/", filter[len(filter)-2:], n)
	})
}
`

// A statement without its filter, any one of them, is noticed by the tests of
// the store where that filter is all there is.
func TestEveryFilterIsNeeded(t *testing.T) {
	m := mutateStore(t)
	wanted := chosen(t, len(m.mutants))
	kept := resume(t, m.sum)
	// What fails with all filters in place would catch anything.
	if out, err := m.run(t, "", "filters", storeTests, ""); err != nil {
		t.Fatalf("with nothing missing: %v\n%s", err, tail(out))
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	turns := make(chan struct{}, 2)
	for _, i := range wanted {
		turns <- struct{}{}
		group.Go(func() {
			defer func() { <-turns }()
			got, ok := kept.get(m.mutants[i].Where)
			if !ok {
				got = m.try(t, i)
				kept.put(t, got)
			}
			mu.Lock()
			defer mu.Unlock()
			m.mutants[i] = got
			t.Logf("%-70s %-60s %s", got.What, got.Where, got.Caught)
			if why := needless[got.Where]; (got.Caught == "") != (why != "") {
				t.Errorf("%s: %s: caught by %q; needless because %q", got.Where, got.What, got.Caught, why)
			}
		})
	}
	group.Wait()
	t.Logf("%d of %d filters tried", len(wanted), len(m.mutants))
	report.note(func() {
		for _, i := range wanted {
			report.Filters = append(report.Filters, m.mutants[i])
		}
		report.Alone = append(report.Alone, "Filters: every deed of the store, on a database without row security")
	})
}

const (
	interference = `^TestTenantsDoNotInterfere$`
	storeTests   = `^(TestTenantsDoNotInterfere|TestPlatformActsOnTheTenantNamed|TestHandlesReachTheirOwnTenantOnly|TestNumbersGivenUpCanBeClaimed)$`
)

// needless are filters without which nothing changes, each with the reason.
var needless = map[string]string{}

// With the policies in place and every filter of the statements missing,
// tenants are kept apart all the same.
func TestPoliciesHoldAlone(t *testing.T) {
	m := mutateStore(t)
	out, err := m.run(t, "all", "policies", interference, "")
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestTenantsDoNotInterfere ")) {
		t.Errorf("%v\n%s", err, tail(out))
		return
	}
	report.note(func() {
		report.Alone = append(report.Alone, "Policies: every deed of the store, with all filters missing from its statements")
	})
}

// mutated is the tests of the store with every mutant in them.
type mutated struct {
	binary, dir string
	sum         string // of the code
	mutants     []mutant
}

// compiled is made once for all tests.
var compiled = sync.OnceValues(compileStore)

func mutateStore(t *testing.T) *mutated {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return &mutated{m.binary, m.dir, m.sum, slices.Clone(m.mutants)}
}

func compileStore() (*mutated, error) {
	dir, err := filepath.Abs("../store")
	if err != nil {
		return nil, err
	}
	m := &mutated{dir: dir, binary: filepath.Join(work, "store.test")}
	overlay := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	sources := map[string][]byte{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum.Write(text)
		if !strings.HasSuffix(name, "_test.go") {
			sources[name] = text
		}
	}
	m.sum = hex.EncodeToString(sum.Sum(nil))
	rewritten, err := m.rewrite(sources)
	if err != nil {
		return nil, err
	}
	rewritten[filepath.Join(dir, "isolation_pick.go")] = fmt.Appendf(nil, pick, filter.String(), platformsOwn.String())
	for name, text := range rewritten {
		to := filepath.Join(work, filepath.Base(name)+".mutated")
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return nil, err
		}
		overlay[name] = to
	}
	raw, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "test", "-c", "-overlay", file, "-o", m.binary, ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile the mutants: %w\n%s", err, out)
	}
	return m, nil
}

// rewrite puts every string that has a filter through isolationPick, and makes
// variables of the constants that then are none any more.
func (m *mutated) rewrite(sources map[string][]byte) (map[string][]byte, error) {
	fset, files := token.NewFileSet(), map[string]*ast.File{}
	for name, text := range sources {
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files[name] = f
	}
	variables := map[string]bool{} // that were constants
	for changed := true; changed; {
		changed = false
		for _, f := range files {
			eachConstant(f, func(d *ast.GenDecl) {
				for _, s := range d.Specs {
					s := s.(*ast.ValueSpec)
					if !variables[s.Names[0].Name] && slices.ContainsFunc(s.Values, func(e ast.Expr) bool { return mutable(e, variables) }) {
						for _, s := range d.Specs {
							for _, n := range s.(*ast.ValueSpec).Names {
								variables[n.Name] = true
							}
						}
						changed = true
					}
				}
			})
		}
	}
	out := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var edits []edit
		eachConstant(files[name], func(d *ast.GenDecl) {
			if variables[d.Specs[0].(*ast.ValueSpec).Names[0].Name] {
				edits = append(edits, edit{fset.Position(d.TokPos).Offset, len("const"), "var"})
			}
		})
		for _, d := range files[name].Decls {
			within := "package"
			if fn, ok := d.(*ast.FuncDecl); ok {
				within = fn.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				first := len(m.mutants) + 1
				for i, at := range filter.FindAllStringIndex(lit.Value, -1) {
					around := strings.Join(strings.Fields(lit.Value[max(0, at[0]-60):min(len(lit.Value), at[1]+30)]), " ")
					m.mutants = append(m.mutants, mutant{
						What:  "… " + strings.Trim(around, "`") + " …",
						Where: fmt.Sprintf("%s %s #%d %s", filepath.Base(name), within, i+1, digest(lit.Value)),
					})
				}
				if len(m.mutants) >= first {
					edits = append(edits, edit{fset.Position(lit.Pos()).Offset, len(lit.Value), fmt.Sprintf("isolationPick(%s, %d)", lit.Value, first)})
				}
				return true
			})
		}
		if len(edits) > 0 {
			out[name] = apply(sources[name], edits)
		}
	}
	if len(m.mutants) < 20 {
		return nil, fmt.Errorf("only %d filters found", len(m.mutants))
	}
	return out, nil
}

func eachConstant(f *ast.File, do func(*ast.GenDecl)) {
	ast.Inspect(f, func(n ast.Node) bool {
		if d, ok := n.(*ast.GenDecl); ok && d.Tok == token.CONST {
			do(d)
		}
		return true
	})
}

// mutable reports whether an expression is no constant any more.
func mutable(e ast.Expr, variables map[string]bool) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			found = found || n.Kind == token.STRING && filter.MatchString(n.Value)
		case *ast.Ident:
			found = found || variables[n.Name]
		}
		return true
	})
	return found
}

type edit struct {
	at, length int
	text       string
}

func apply(text []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return b.at - a.at })
	for _, e := range edits {
		text = slices.Concat(text[:e.at], []byte(e.text), text[e.at+e.length:])
	}
	return text
}

// try runs the tests of the store with one filter missing, first those that
// come to the statement it is of.
func (m *mutated) try(t *testing.T, i int) mutant {
	t.Helper()
	began, got := time.Now(), m.mutants[i]
	for _, tests := range []string{interference, storeTests} {
		out, err := m.run(t, strconv.Itoa(i+1), "filters", tests, fmt.Sprintf("/*mutant %d*/", i+1))
		var exit *exec.ExitError
		if errors.As(err, &exit) && bytes.Contains(out, []byte("--- FAIL: ")) {
			got.Caught = caughtBy(out)
			break
		} else if err != nil {
			t.Errorf("%s: the tests did not run: %v\n%s", got.Where, err, tail(out))
		}
	}
	got.Took = time.Since(began).Round(100 * time.Millisecond).String()
	return got
}

func (m *mutated) run(t *testing.T, mutant, barrier, tests, statement string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.binary, "-test.run", tests, "-test.v", "-test.failfast")
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "ISOLATION_MUTANT="+mutant, "STORE_TEST_BARRIER="+barrier, "STORE_TEST_STATEMENT="+statement)
	return cmd.CombinedOutput()
}

var failed = regexp.MustCompile(`--- FAIL: (\S+)`)

// caughtBy is the test that failed, the innermost.
func caughtBy(out []byte) (name string) {
	for _, m := range failed.FindAllSubmatch(out, -1) {
		if len(m[1]) > len(name) {
			name = string(m[1])
		}
	}
	return name
}

func tail(out []byte) []byte { return out[max(0, len(out)-3000):] }

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:3])
}
