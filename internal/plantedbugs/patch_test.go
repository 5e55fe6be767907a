package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryPatchApplies: the table and the folder name the same bugs, and each
// patch still changes what it was written for.
func TestEveryPatchApplies(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, patchFolder, "*.patch"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d patches, %v", len(files), err)
	}
	for _, file := range files {
		p, err := readPatch(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := p.apply(root); err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(bugs, func(b bug) bool { return b.patch == p.name }) {
			t.Errorf("patch %s is not in the table", p.name)
		}
	}
	if len(files) != len(bugs) {
		t.Errorf("%d patches, %d bugs in the table", len(files), len(bugs))
	}
}

// TestPatchesAreExact: a patch changes one place, and none that only resembles it.
func TestPatchesAreExact(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("one\n\ttwo\nthree\none\nfour"+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ hunk, want string }{
		{"@@\n \ttwo\n-three\n+3\n", "one\n\ttwo\n3\none\nfour\n"},
		{"@@\n-one\n \ttwo\n", "\ttwo\nthree\none\nfour\n"},
		{"@@\n-four\n", "one\n\ttwo\nthree\none\n"},
		{"@@\n-\ttwo\n+2\n@@\n-four\n+4\n", "one\n2\nthree\none\n4\n"},
		{"@@\n-one\n+1\n", "2 places"},
		{"@@\n-two\n+2\n", "0 places"},
		{"@@\n-fou\n+4\n", "0 places"},
		{"@@\n+five\n", "0 places"},
	} {
		file := filepath.Join(root, "bug.patch")
		if err := os.WriteFile(file, []byte("A bug\n\nIt is - one.\n\n--- a.go\n"+c.hunk), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := readPatch(file)
		if err != nil || p.title != "A bug" {
			t.Fatalf("%q: %q, %v", c.hunk, p.title, err)
		}
		files, err := p.apply(root)
		if got := files["a.go"]; err == nil && got != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v", c.hunk, got, err)
		}
	}
}
