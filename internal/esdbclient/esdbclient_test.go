package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTable: the table has the tests that the client has.
func TestTable(t *testing.T) {
	for _, c := range []struct {
		mode                       mode
		plain, seeded, certificate int
	}{{insecure, 56, 6, 0}, {secure, 67, 6, 3}} {
		v := judge(c.mode, nil)
		if v.plain.expected != c.plain || v.seeded.expected != c.seeded || v.certificate.expected != c.certificate {
			t.Errorf("%s: expects %s, %s of the seeded stream and %s with a certificate; want %d, %d and %d",
				c.mode, v.plain, v.seeded, v.certificate, c.plain, c.seeded, c.certificate)
		}
		if v.ok() {
			t.Errorf("%s: nothing ran, and that is found in order", c.mode)
		}
	}
}

// said is what go test says when every test is as the table wants it.
func said(m mode) results {
	r := results{"": {action: "pass"}, "TestStreams": {action: "pass"}, "TestStreams/AppendTests": {action: "pass"}}
	for _, g := range expected {
		for _, one := range g.tests {
			if action := one.in(m); action != "" {
				r[g.name+"/"+one.name] = &result{action: action}
			}
		}
	}
	return r
}

func TestVerdicts(t *testing.T) {
	const one = "TestStreams/AppendTests/metadataOperation"
	for _, m := range []mode{insecure, secure} {
		if v := judge(m, said(m)); !v.ok() || v.all().passed != v.all().expected {
			t.Errorf("%s: everything passed, but %v of it: %q", m, v.all(), v.wrong)
		}
		for name, change := range map[string]func(results){
			"is missing":       func(r results) { delete(r, one) },
			"failed":           func(r results) { r[one].action = "fail" },
			"skipped itself":   func(r results) { r[one].action = "skip" },
			"never ended":      func(r results) { r[one].action = "" },
			"is new":           func(r results) { r["TestStreams/AppendTests/appendTwice"] = &result{action: "pass"} },
			"cannot, but does": func(r results) { r["TestStreams/ClusterTests/"+expected[0].tests[0].name] = &result{action: "pass"} },
			"its group failed": func(r results) { r["TestNew"] = &result{action: "fail"} },
		} {
			r := said(m)
			change(r)
			if v := judge(m, r); v.ok() || len(v.wrong) != 1 {
				t.Errorf("%s: a test that %s leaves %q", m, name, v.wrong)
			}
		}
	}
	r := said(insecure)
	r["TestStreams/ReadStreamTests/readStreamWithCredentialsOverride"].action = "pass"
	if judge(insecure, r).ok() {
		t.Error("a test that has nothing to check without TLS passed, and that is found in order")
	}
}

// TestResults: what go test says is read, and what it does not say is missed.
func TestResults(t *testing.T) {
	found, err := readResults(strings.NewReader(`{"Action":"run","Test":"TestA/one"}
{"Action":"output","Test":"TestA/one","Output":"no way\n"}
{"Action":"fail","Test":"TestA/one","Elapsed":0.25}
{"Action":"run","Test":"TestA/two"}
{"Action":"fail","Test":"TestA"}
`))
	if err != nil {
		t.Fatal(err)
	}
	one, two := found["TestA/one"], found["TestA/two"]
	if one.action != "fail" || one.seconds != 0.25 || one.output.String() != "no way\n" || two.action != "" || found.isLeaf("TestA") || !found.isLeaf("TestA/two") {
		t.Errorf("%+v, %+v", one, two)
	}
	if _, err := readResults(strings.NewReader("panic: no JSON\n")); err == nil {
		t.Error("what is no JSON was read")
	}
}

// TestCopyFits: the client's module is the one that this program changes, and
// what comes out has no containers in it.
func TestCopyFits(t *testing.T) {
	dir := t.TempDir()
	if _, err := copyClient(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "esdb", "containers_test.go")
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range parsed.Imports {
		if strings.Contains(i.Path.Value, "docker") || strings.Contains(i.Path.Value, "testcontainers") {
			t.Errorf("%s is still imported", i.Path.Value)
		}
	}
	changed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := withoutContainers(string(changed)); err == nil {
		t.Error("the changes were made twice")
	}
	// The tests of the table are those of the module.
	var all strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "esdb", "*_test.go"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files of tests: %v", len(files), err)
	}
	for _, g := range expected {
		for _, one := range g.tests {
			if !strings.Contains(all.String(), fmt.Sprintf("t.Run(%q,", one.name)) {
				t.Errorf("%s/%s is not a test of the client", g.name, one.name)
			}
		}
	}
}
