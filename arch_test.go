package neurosphere_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "neurosphere.ai/neurosphere"

// allowed says which of our packages each package may import. A package that
// has no row fails the test, so the table is complete; a row may wait for its
// package. Workers meet on the bus: none has another's name in its row.
var allowed = map[string]string{
	"events":  "",
	"schemas": "",

	// One vendor each; they know nothing of ours.
	"internal/twilio": "",
	"internal/openai": "",

	// What the facts of a call say about its caller. Pure.
	"internal/profile": "events",

	"internal/vault": "events",
	"internal/mask":  "events",

	"internal/bus":          "events schemas",
	"internal/bus/embedded": "internal/bus",
	"internal/store":        "events internal/profile",
	"internal/settings":     "events internal/bus internal/store",
	"internal/readmodel":    "events internal/profile internal/store",
	"internal/replay":       "events internal/bus internal/readmodel internal/store",
	"internal/simulated":    "events internal/twilio internal/openai",
	"internal/app":          "events schemas internal/bus internal/store internal/settings internal/simulated internal/twilio internal/openai internal/vault",

	"internal/ingress":      workerMay + " internal/mask internal/twilio internal/vault",
	"internal/conversation": workerMay + " internal/mask internal/openai internal/profile internal/vault",
	"internal/summarizer":   workerMay + " internal/mask internal/openai internal/profile internal/vault",
	"internal/profiler":     workerMay + " internal/privacy internal/readmodel internal/replay", // privacy: what has expired goes where rows are written; replay: its tests
	"internal/notifier":     workerMay + " internal/twilio",
	"internal/memory":       workerMay + " schemas internal/mask internal/privacy internal/profile internal/readmodel internal/vault",

	// What operators do to whole callers and tenants.
	"internal/privacy": "events internal/bus internal/profile internal/readmodel internal/settings internal/store internal/vault",
	"internal/legacy":  "events internal/bus internal/mask internal/settings internal/store",
	"internal/moving":  "events internal/bus internal/readmodel internal/settings internal/store internal/vault", // readmodel: which facts lead to rows

	"cmd/ingress":      "internal/app internal/ingress",
	"cmd/conversation": "internal/app internal/conversation",
	"cmd/summarizer":   "internal/app internal/summarizer",
	"cmd/profiler":     "internal/app internal/profiler",
	"cmd/notifier":     "internal/app internal/notifier",
	"cmd/memory":       "internal/app internal/memory",
	"cmd/neurosphere": "events internal/app internal/bus internal/bus/embedded internal/store internal/settings internal/simulated internal/twilio internal/replay internal/privacy internal/legacy internal/moving internal/vault " +
		"internal/readmodel " + // whose rows an import folds
		strings.Join(workers, " "),

	"internal/testenv": "events internal/bus internal/bus/embedded internal/store internal/settings internal/simulated",

	// Tests only: it calls every worker's routes as everybody.
	proof: strings.Join(workers, " "),
}

const workerMay = "events internal/app internal/bus internal/store internal/settings"

var workers = []string{"internal/ingress", "internal/conversation", "internal/summarizer", "internal/profiler", "internal/notifier", "internal/memory"}

// proof is the package of tests that a whole instance is tried in.
const proof = "internal/isolation"

// testsOnly may be imported by _test.go files and by nothing else.
const testsOnly = "internal/testenv"

// owners says which packages may import a third party; anyone is everybody.
// The longest prefix decides. A third party without a row fails the test.
var owners = map[string]string{
	"github.com/nats-io/nats.go":            "internal/bus",
	"github.com/nats-io/nats-server":        "internal/bus/embedded cmd/neurosphere internal/testenv",
	"github.com/cloudevents/sdk-go":         "internal/bus",
	"github.com/santhosh-tekuri/jsonschema": "internal/bus schemas",
	"github.com/jackc/pgx":                  "internal/store internal/testenv internal/legacy", // legacy: a database that is not ours
	"github.com/pressly/goose":              "internal/store",
	"github.com/twilio/twilio-go/client":    "internal/twilio",
	"github.com/twilio/twilio-go/rest/api":  "internal/twilio",
	"github.com/twilio/twilio-go/twiml":     "internal/twilio",
	"github.com/twilio/twilio-go":           nobody, // compiles every product Twilio has, for 40 s
	"github.com/sashabaranov/go-openai":     "internal/openai",
	"github.com/caarlos0/env":               "internal/app",
	"github.com/coder/websocket":            "internal/ingress internal/simulated",
	"github.com/nyaruka/phonenumbers":       "internal/settings internal/profile",
	"github.com/danielgtaylor/huma":         "internal/memory",
	"github.com/prometheus/client_golang":   anyone,
	"github.com/cenkalti/backoff":           anyone,
	"github.com/sony/gobreaker":             anyone,
	"github.com/google/uuid":                anyone,
	"go.uber.org/zap":                       anyone,
	"golang.org/x/sync":                     anyone,
	"golang.org/x/time":                     anyone,
}

// testOwners may import a third party from their tests, beside its owners.
var testOwners = map[string]string{
	"github.com/nats-io/nats-server":        "internal/bus",
	"github.com/nats-io/nats.go":            "internal/bus/embedded internal/replay internal/isolation", // replay: the bare consumer its benchmark compares with; isolation: it listens to everything
	"github.com/jackc/pgx":                  "internal/isolation",                                       // it reads all rows as the administrator
	"github.com/santhosh-tekuri/jsonschema": "events",
	"github.com/coder/websocket":            anyone,
	"github.com/getkin/kin-openapi":         "internal/memory",
	"github.com/google/go-cmp":              anyone,
	"go.uber.org/goleak":                    anyone,
	"pgregory.net/rapid":                    anyone,
}

const (
	anyone = "*"
	nobody = ""
)

// unlinked names what must not even arrive in a program through others.
var unlinked = map[string]string{"github.com/nats-io/nats-server": "cmd/neurosphere"}

type pkg struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// packages lists ours, without this one.
func packages(t *testing.T) (ps []pkg) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,Deps,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if p.ImportPath != module {
			ps = append(ps, p)
		}
	}
	if len(ps) == 0 {
		t.Fatal("go list knows no package of ours")
	}
	return ps
}

func in(list, name string) bool {
	return list == anyone || slices.Contains(strings.Fields(list), name)
}

// owner is the row of a third party: the longest prefix of path that has one.
func owner(rows map[string]string, path string) (prefix, who string, ok bool) {
	for at, w := range rows {
		if (path == at || strings.HasPrefix(path, at+"/")) && len(at) > len(prefix) {
			prefix, who, ok = at, w, true
		}
	}
	return prefix, who, ok
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	ps := packages(t)
	for name, test := range map[string]func(*testing.T, []pkg){
		"each package imports what it may": eachPackageImportsWhatItMay,
		"each test imports what it may":    eachTestImportsWhatItMay,
		"programs link what they may":      programsLinkWhatTheyMay,
		"code is documented and short":     codeIsDocumentedAndShort,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, ps)
		})
	}
}

func eachPackageImportsWhatItMay(t *testing.T, ps []pkg) {
	for _, p := range ps {
		row, ok := allowed[p.name()]
		if !ok {
			t.Errorf("%s is a new package: say in allowed what it may import", p.name())
			continue
		}
		for _, imp := range p.Imports {
			if dep, ours := strings.CutPrefix(imp, module+"/"); ours {
				if !in(row, dep) {
					t.Errorf("%s must not import %s", p.name(), dep)
				}
			} else if thirdParty(imp) {
				if prefix, who, ok := owner(owners, imp); !ok {
					t.Errorf("%s imports %s: say in owners who may", p.name(), imp)
				} else if !in(who, p.name()) {
					t.Errorf("%s imports %s; who may import %s: %q", p.name(), imp, prefix, who)
				}
			}
		}
	}
}

// eachTestImportsWhatItMay lets tests use any part of the house, but a
// worker's tests no other worker: they too meet it on the bus.
func eachTestImportsWhatItMay(t *testing.T, ps []pkg) {
	for _, p := range ps {
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if dep, ours := strings.CutPrefix(imp, module+"/"); ours {
				if dep != p.name() && (slices.Contains(workers, dep) || strings.HasPrefix(dep, "cmd/")) && !in(allowed[p.name()], dep) {
					t.Errorf("a test of %s must not import %s", p.name(), dep)
				}
			} else if thirdParty(imp) {
				_, who, ok := owner(owners, imp)
				_, testWho, testOK := owner(testOwners, imp)
				if (!ok || !in(who, p.name())) && (!testOK || !in(testWho, p.name())) {
					t.Errorf("a test of %s imports %s: say in testOwners that it may", p.name(), imp)
				}
			}
		}
	}
}

func TestTheTableItselfKeepsTheRules(t *testing.T) {
	t.Parallel()
	for name, row := range allowed {
		for _, dep := range strings.Fields(row) {
			if _, ok := allowed[dep]; !ok {
				t.Errorf("%s may import %s, which has no row", name, dep)
			}
			if dep == testsOnly {
				t.Errorf("%s may import %s, which is for tests only", name, dep)
			}
			if slices.Contains(workers, dep) && name != "cmd/neurosphere" && name != proof && name != "cmd/"+filepath.Base(dep) {
				t.Errorf("%s may import the worker %s", name, dep)
			}
		}
	}
	for _, w := range workers {
		if _, ok := allowed["cmd/"+filepath.Base(w)]; !ok {
			t.Errorf("%s has no program", w)
		}
	}
}

func programsLinkWhatTheyMay(t *testing.T, ps []pkg) {
	for _, p := range ps {
		for _, dep := range p.Deps {
			for what, who := range unlinked {
				if strings.HasPrefix(p.name(), "cmd/") && strings.HasPrefix(dep, what+"/") && !in(who, p.name()) {
					t.Errorf("%s links %s; only %s may", p.name(), dep, who)
				}
			}
		}
	}
}

// thirdParty tells a module's package from the standard library's: its first
// element is a host name.
func thirdParty(path string) bool {
	host, _, _ := strings.Cut(path, "/")
	return strings.Contains(host, ".")
}

const maxLines = 100

func codeIsDocumentedAndShort(t *testing.T, ps []pkg) {
	for _, p := range ps {
		fset := token.NewFileSet()
		parse := func(name string) *ast.File {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		opening := "Package " + filepath.Base(p.Dir) + " "
		if strings.HasPrefix(p.name(), "cmd/") {
			opening = "Command " + filepath.Base(p.Dir) + " "
		}
		introduced := len(p.GoFiles) == 0
		for _, name := range p.GoFiles {
			f := parse(name)
			introduced = introduced || strings.HasPrefix(f.Doc.Text(), opening)
			checkFile(t, fset, f)
		}
		if !introduced {
			t.Errorf("%s has no comment that begins %q", p.name(), opening)
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			for _, d := range parse(name).Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && isInit(fn) {
					t.Errorf("%s: init()", place(fset, fn.Pos()))
				}
			}
		}
	}
}

func checkFile(t *testing.T, fset *token.FileSet, f *ast.File) {
	t.Helper()
	undocumented := func(n ast.Node, name string) {
		t.Errorf("%s: %s is exported and has no comment", place(fset, n.Pos()), name)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if isInit(d) {
				t.Errorf("%s: init()", place(fset, d.Pos()))
			}
			if n := lines(fset, d); n > maxLines {
				t.Errorf("%s: %s has %d lines, %d at most", place(fset, d.Pos()), d.Name.Name, n, maxLines)
			}
			if exportedFunc(d) && d.Doc == nil {
				undocumented(d, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
						undocumented(s, s.Name.Name)
					}
				case *ast.ValueSpec:
					// A group may be explained by one comment above it.
					for _, name := range s.Names {
						if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							undocumented(s, name.Name)
						}
					}
				}
			}
		}
	}
}

func isInit(fn *ast.FuncDecl) bool { return fn.Recv == nil && fn.Name.Name == "init" }

func lines(fset *token.FileSet, fn *ast.FuncDecl) int {
	return fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
}

// exportedFunc reports whether others can call fn: a method of a type they
// cannot name is there for an interface, which says what it does.
func exportedFunc(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.IsExported()
	}
	recv := fn.Recv.List[0].Type
	for {
		switch r := recv.(type) {
		case *ast.StarExpr:
			recv = r.X
		case *ast.IndexExpr:
			recv = r.X
		case *ast.IndexListExpr:
			recv = r.X
		case *ast.Ident:
			return fn.Name.IsExported() && r.IsExported()
		default:
			return fn.Name.IsExported()
		}
	}
}

// unfinished finds notes to oneself.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

func TestNothingIsLeftToDo(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("not a git work tree: %v", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(name)
		if err != nil || strings.HasSuffix(name, ".sum") {
			continue // deleted and not yet committed; or hashes, which may spell anything
		}
		if at := unfinished.FindIndex(text); at != nil {
			t.Errorf("%s:%d: %s", name, 1+strings.Count(string(text[:at[0]]), "\n"), text[at[0]:at[1]])
		}
	}
}

func place(fset *token.FileSet, pos token.Pos) string {
	p := fset.Position(pos)
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, p.Filename); err == nil {
			p.Filename = rel
		}
	}
	p.Column = 0
	return p.String()
}
