// Package archtest holds the arrows between packages: who may import whom. The
// table is the one of ARCHITECTURE.md; a package that is not in it fails the
// test, so that nobody adds a folder without saying where it stands.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/docket-orders/docket"

// arrows: package -> what of ours it may import, besides packages below
// itself. "domain/..." means domain and all below. Code of tests is free.
var arrows = map[string][]string{
	"domain":                    {},
	"domain/domaintest":         {"domain"},
	"domain/money":              {},
	"domain/order":              {"domain", "domain/money"},
	"domain/order/ordertest":    {"domain", "domain/money", "domain/order"},
	"eventstore":                {},
	"eventstore/eventstoretest": {"eventstore"},
	"eventstore/sqlite":         {"eventstore", "internal/disk", "internal/disk/dirsync"},
	"eventstore/codec":          {"eventstore", "domain/..."},
	"eventstore/transfer":       {"eventstore"},
	"eventstore/esdb":           {"eventstore"},
	"eventstore/esdbserver":     {"eventstore"},

	"eventstore/esdbserver/esdbservertest":            {"eventstore", "eventstore/esdbserver"},
	"eventstore/esdbserver/internal/wire":             {"eventstore"},
	"eventstore/esdbserver/internal/access":           {"eventstore", "eventstore/esdbserver/internal/wire"},
	"eventstore/esdbserver/internal/filter":           {"eventstore", "eventstore/esdbserver/internal/wire"},
	"eventstore/esdbserver/internal/reading":          {"eventstore", "eventstore/esdbserver/internal/access", "eventstore/esdbserver/internal/filter", "eventstore/esdbserver/internal/wire"},
	"eventstore/esdbserver/internal/groups":           {"eventstore", "eventstore/esdbserver/internal/access", "eventstore/esdbserver/internal/filter", "eventstore/esdbserver/internal/wire"},
	"eventstore/esdbserver/internal/groups/competing": {},
	"eventstore/esdbserver/internal/linking":          {"eventstore", "eventstore/esdbserver/internal/access", "eventstore/esdbserver/internal/wire"},

	"command":                     {"domain/...", "eventstore", "eventstore/codec"},
	"view":                        {"domain/money"},
	"view/fields":                 {"view"},
	"projections":                 {"view", "view/fields", "eventstore", "eventstore/codec", "domain/...", "internal/disk", "internal/spill"},
	"projections/projectionstest": {"projections", "query", "view", "eventstore", "eventstore/codec", "domain/..."},
	"projections/sqlite":          {"internal/disk", "internal/disk/dirsync", "projections", "query", "view", "eventstore", "domain/money"},
	"projections/elastic":         {"internal/guard", "projections", "query", "view", "eventstore", "domain/money"},
	"projections/redis":           {"internal/guard", "projections", "query", "view", "eventstore", "domain/money"},
	"query":                       {"view", "view/fields", "projections", "eventstore", "eventstore/codec", "domain/..."},
	"readmodel":                   {"view", "projections", "query", "eventstore/codec", "domain", "domain/money"},
	"audit":                       {"view", "command", "projections", "query", "eventstore", "eventstore/codec", "domain/..."},
	"audit/audittest":             {"audit", "query", "view", "projections", "domain", "eventstore", "eventstore/codec"},
	"reconcile":                   {"view", "projections", "query", "eventstore", "eventstore/codec", "domain/...", "internal/disk", "internal/spill"},
	"reconcile/reconciletest":     {"command", "importer", "eventstore", "eventstore/codec", "eventstore/sqlite", "domain/..."},
	"reconcile/expected":          {"view", "eventstore", "eventstore/codec", "domain", "domain/money", "domain/order"},
	"importer":                    {"command", "domain/..."},
	"httpapi":                     {"domain/...", "eventstore", "eventstore/codec", "command", "view", "projections", "query", "audit", "readmodel", "reconcile", "internal/guard"},
	"docs/examples/waiting":       {"domain/...", "readmodel"},
	"cmd/docket":                  {"..."},
	"bench":                       {"..."},
	"deploy":                      {}, // tests only
	"importer/excerpt":            {}, // the program that makes it
	"internal/facts":              {"view", "domain/money", "query", "audit", "audit/audittest", "eventstore", "eventstore/codec", "eventstore/sqlite", "internal/testservers"},
	"internal/spill":              {"eventstore", "internal/disk"},
	"internal/archtest":           {},
	"internal/crash":              {}, // tests only
	"internal/disk":               {},
	"internal/disk/dirsync":       {"internal/disk"},
	"internal/disk/disktest":      {"internal/disk"},
	"internal/embedded":           {"..."},
	"internal/esdbclient":         {}, // it runs docket and the client's own tests
	"internal/guard":              {},
	"internal/testservers":        {}, // tests only
	"internal/logtest":            {"command", "eventstore", "eventstore/esdb", "eventstore/esdbserver", "eventstore/esdbserver/esdbservertest", "eventstore/sqlite"},
	"internal/plantedbugs":        {}, // it runs go test
}

// pure: packages that use the standard library and what arrows says, and
// nothing else.
var pure = []string{"domain", "domain/money", "domain/order", "domain/domaintest", "view", "eventstore/esdbserver/internal/groups/competing"}

func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	walkGo(t, root, func(pkg, file string, imports []string) {
		seen[pkg] = true
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("%s: package %s is not in the table of arrows", file, pkg)
			return
		}
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, imp := range imports {
			ours, isOurs := strings.CutPrefix(imp, module+"/")
			switch {
			case isOurs && !permits(allowed, ours) && !strings.HasPrefix(ours, pkg+"/"):
				t.Errorf("%s: %s must not import %s", file, pkg, ours)
			case !isOurs && isPure(pkg) && strings.Contains(strings.Split(imp, "/")[0], "."):
				t.Errorf("%s: %s uses the standard library only, not %s", file, pkg, imp)
			}
		}
	})
	for pkg := range arrows {
		if !seen[pkg] {
			t.Errorf("package %s is in the table but not in the tree", pkg)
		}
	}
}

func permits(allowed []string, pkg string) bool {
	for _, a := range allowed {
		prefix, all := strings.CutSuffix(a, "...")
		if a == pkg || all && strings.HasPrefix(pkg+"/", prefix) {
			return true
		}
	}
	return false
}

func isPure(pkg string) bool {
	for _, p := range pure {
		if p == pkg {
			return true
		}
	}
	return false
}

// TestPureCodeReadsNoClock: time and chance arrive inside commands and events.
func TestPureCodeReadsNoClock(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, dir := range []string{"domain", "domain/money", "domain/order", "view", "eventstore/esdbserver/internal/groups/competing"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"time.Now(", "math/rand", "float64", "float32", "os.Getenv"} {
				if strings.Contains(string(src), word) {
					t.Errorf("%s contains %s", f, word)
				}
			}
		}
	}
}

// TestSecondFoldDerivesOnItsOwn: the expected side of reconciliation takes from
// the rules what events are called and hold, and nothing that decides or derives.
func TestSecondFoldDerivesOnItsOwn(t *testing.T) {
	root := filepath.Join("..", "..")
	words := map[string]bool{}
	for _, f := range sources(t, filepath.Join(root, "domain/order")) {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.GenDecl); ok && (d.Tok == token.TYPE || d.Tok == token.CONST) {
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						words[s.Name.Name] = true
					case *ast.ValueSpec:
						for _, name := range s.Names {
							words[name.Name] = true
						}
					}
				}
			}
		}
	}
	delete(words, "State")
	for _, f := range sources(t, filepath.Join(root, "reconcile/expected")) {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "order" && !words[s.Sel.Name] {
					t.Errorf("reconcile/expected uses order.%s", s.Sel.Name)
				}
			}
			return true
		})
	}
}

// sources parses the files of a package without its tests.
func sources(t *testing.T, dir string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// walkGo visits every Go file of the root module.
// isModule tells a module of its own: what only tests need is kept out of the
// product's.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func walkGo(t *testing.T, root string, visit func(pkg, file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(p)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		for _, c := range f.Comments {
			if c.Pos() < f.Package && strings.Contains(c.Text(), "go:build ignore") {
				return nil
			}
		}
		var imports []string
		for _, s := range f.Imports {
			imp, _ := strconv.Unquote(s.Path.Value)
			imports = append(imports, imp)
		}
		visit(path.Dir(rel), rel, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
