package isolation_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notForOne are exported functions of the bus that are in no reader's cut,
// though they take a tenant or hand something out, each with the reason.
var notForOne = map[string]string{
	"Ask": asks, "Cancel": asks, "Control": asks, "Greet": asks,
	"ServeAsks": workers, "ServeGreets": workers, "Consume": workers, "Follow": workers, "Replay": workers,
	"WatchSettings": workers, "SettingsVersions": workers, "ListCalls": workers,
	"DeadLetters": "for operators: those of all, without anybody's words",
	"AliveOwners": "processes, which are no tenant's",
	"FollowFeed":  "reads where feedOf says, as Feed does; alone_test.go has both",
	"Stored.Call": handed, "Stored.Event": handed, "Told.JSON": handed, "Line": handed, "FromLine": handed, "Owned.Messages": handed, "Owned.Read": handed,
	"Open": writes, "Bulk": writes, "OpenOutbox": writes, "Outbox.PutCall": writes, "Outbox.DeleteCall": writes, "DeleteSettings": writes,
	"PublishTenant": "writes, what is there already by the id; refuses another tenant's fact, which tenant_test.go tries",
}

// Why some are no readers for one tenant.
const (
	asks    = "sends under the tenant's subject; a reply comes to who asked alone"
	workers = "for workers, which act on what concerns all tenants, each under its own"
	handed  = "of what a reader has handed out"
	writes  = "writes, and hands out nothing that was there"
)

// notRead are places that name a tenant's subject or key, or a filter, and are in no
// reader's cut, by file and function, each with the reason.
var notRead = map[string]string{
	"asks.go take":         "tells a cancel from an ask",
	"asks.go decline":      "tells a cancel from an ask",
	"live.go Ask":          "is where answers are sent",
	"live.go liveMessage":  "is sent",
	"buckets.go lookUp":    "one key of a bucket, which GetCall and ClaimCall name",
	"buckets.go list":      "all keys of a bucket: see ListCalls, SettingsVersions",
	"settings.go run":      "all keys of a bucket: see WatchSettings",
	"consume.go ensure":    "all tenants': see Consume",
	"follow.go run":        "all tenants': see Follow",
	"replay.go replaySome": "as it is told: see Replay",
	"replay.go newPick":    "as it is told: see Replay",
	"replay.go cutTenant":  "takes a subject apart",
	"streams.go streams":   "what a stream takes in",
	"erase.go searchSome":  "takes a subject apart",
	"tenant.go FromLine":   "reads a line, no stream",
}

// Whoever adds a reader of the bus says here where it says whose facts it
// wants, so that this is taken away; or why it is no reader for one tenant.
func TestEveryReaderOfTheBusIsCovered(t *testing.T) {
	files := busFiles(t)
	readers, used := map[string]bool{}, map[string]bool{}
	for _, c := range readerCuts {
		reader, _, _ := strings.Cut(c.name, ", ")
		readers[reader] = true
	}
	for _, f := range files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if name := callable(fn); name != "" && reads(fn) {
				switch used[name] = true; {
				case !readers[name] && notForOne[name] == "":
					t.Errorf("%s: %s takes a tenant or hands something out: it needs a cut in readerCuts, or a reason in notForOne", f.name, name)
				case readers[name] && notForOne[name] != "":
					t.Errorf("%s has a cut, and a reason to have none", name)
				}
			}
			for _, at := range f.places(fn) {
				where := f.name + " " + fn.Name.Name
				switch used[where] = true; {
				case !f.cut(at) && notRead[where] == "":
					t.Errorf("%s: %s says whose or which messages, and no cut is there: %s", f.name, fn.Name.Name, f.text[at.from:at.to])
				case f.cut(at) && notRead[where] != "":
					t.Errorf("%s has a cut, and a reason to have none", where)
				}
			}
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(notForOne)), slices.Collect(maps.Keys(notRead)), slices.Collect(maps.Keys(readers))) {
		if name != "" && !used[name] {
			t.Errorf("%s: there is no such reader or place any more", name)
		}
	}
	t.Logf("%d readers, %d others", len(readers)-1, len(notForOne))
}

type busFile struct {
	name string
	text string
	fset *token.FileSet
	ast  *ast.File
}

func busFiles(t *testing.T) (all []busFile) {
	t.Helper()
	paths, err := filepath.Glob("../bus/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := busFile{name: filepath.Base(path), text: string(raw), fset: token.NewFileSet()}
		if f.ast, err = parser.ParseFile(f.fset, path, raw, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	if len(all) < 10 {
		t.Fatalf("the bus has %d files", len(all))
	}
	return all
}

// callable is the name of a function that other packages can call; of those of
// the Bus without its type. Empty where they cannot.
func callable(fn *ast.FuncDecl) string {
	if !fn.Name.IsExported() {
		return ""
	}
	if fn.Recv == nil {
		return fn.Name.Name
	}
	of := fn.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	switch id, ok := of.(*ast.Ident); {
	case !ok || !id.IsExported():
		return ""
	case id.Name == "Bus":
		return fn.Name.Name
	default:
		return id.Name + "." + fn.Name.Name
	}
}

// reads reports whether a function takes a tenant, or returns anything, to a
// function it is given too, but what tells nothing of facts.
func reads(fn *ast.FuncDecl) bool {
	for _, p := range fn.Type.Params.List {
		if said(p.Type) == "events.Tenant" {
			return true
		}
		given := false
		ast.Inspect(p.Type, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncType); ok {
				given = given || tells(f.Params)
			}
			return true
		})
		if id, ok := p.Type.(*ast.Ident); given || ok && id.IsExported() { // which may be a function, or have one
			return true
		}
	}
	return tells(fn.Type.Results)
}

func tells(all *ast.FieldList) bool {
	plain := []string{"error", "bool", "int", "int64", "uint64", "time.Time", "time.Duration", "context.Context"}
	return all != nil && slices.ContainsFunc(all.List, func(f *ast.Field) bool { return !slices.Contains(plain, said(f.Type)) })
}

// said is a type as it is written, where that is a name.
func said(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return said(e.X) + "." + e.Sel.Name
	}
	return ""
}

type span struct{ from, to int }

// places are those of a function at which it says of whom, or what, messages
// are.
func (f busFile) places(fn *ast.FuncDecl) (all []span) {
	add := func(n ast.Node) {
		all = append(all, span{f.fset.Position(n.Pos()).Offset, f.fset.Position(n.End()).Offset})
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch said(n.Fun) {
			case "events.Subject", "events.LiveSubject", "jetstream.WithGetMsgSubject":
				add(n)
			}
			if s, ok := n.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "GetLastMsgForSubject" {
				add(n)
			}
		case *ast.KeyValueExpr:
			if name := said(n.Key); name == "FilterSubject" || name == "FilterSubjects" {
				add(n)
			}
		case *ast.AssignStmt:
			for _, to := range n.Lhs {
				if s, ok := to.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "FilterSubject") {
					add(n)
				}
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING && strings.HasPrefix(n.Value, `"tenant.`) {
				add(n)
			}
		}
		return true
	})
	return all
}

// cut reports whether a place is in what a mutant changes.
func (f busFile) cut(at span) bool {
	return slices.ContainsFunc(readerCuts, func(c cut) bool {
		from := strings.Index(f.text, c.old)
		return filepath.Base(c.file) == f.name && from >= 0 && from < at.to && at.from < from+len(c.old)
	})
}
