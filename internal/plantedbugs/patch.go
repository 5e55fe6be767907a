package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// patch is a file of bugs/: a line that names the bug, sentences on what it is
// and who would suffer, and hunks as of a unified diff, without line numbers:
//
//	--- eventstore/sqlite/row.go
//	@@
//	 	var sum uint32
//	-	sum, a.scratch = r.sum(streamName, a.scratch)
//	+	sum = r.checksum
//
// The lines of a hunk that are not added must be there, one after the other, at
// exactly one place of the file: nothing is searched for, nothing is guessed.
type patch struct {
	name  string // of its file, without .patch
	title string
	hunks []hunk
}

type hunk struct {
	file     string // below the root of the tree, with slashes
	old, new []string
}

func readPatch(path string) (patch, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return patch{}, err
	}
	p := patch{name: strings.TrimSuffix(filepath.Base(path), ".patch")}
	file := ""
	for n, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		last := len(p.hunks) - 1
		name, isFile := strings.CutPrefix(line, "--- ")
		switch {
		case n == 0:
			p.title = line
		case isFile:
			file = name
		case line == "@@" && file != "":
			p.hunks = append(p.hunks, hunk{file: file})
		case last < 0:
			// still in words
		case line == "" || line[0] == ' ':
			same := strings.TrimPrefix(line, " ")
			p.hunks[last].old = append(p.hunks[last].old, same)
			p.hunks[last].new = append(p.hunks[last].new, same)
		case line[0] == '-':
			p.hunks[last].old = append(p.hunks[last].old, line[1:])
		case line[0] == '+':
			p.hunks[last].new = append(p.hunks[last].new, line[1:])
		default:
			return patch{}, fmt.Errorf("%s:%d: a line of a hunk begins with a space, - or +", path, n+1)
		}
	}
	if p.title == "" || len(p.hunks) == 0 {
		return patch{}, fmt.Errorf("%s: no title or no hunk", path)
	}
	return p, nil
}

// apply is the files below root as they are with the bug in them, by name.
func (p patch) apply(root string) (map[string]string, error) {
	files := map[string]string{}
	for n, h := range p.hunks {
		text, ok := files[h.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(h.file)))
			if err != nil {
				return nil, fmt.Errorf("patch %s: %w", p.name, err)
			}
			text = "\n" + string(read) // so that every line begins after a line's end
		}
		is, planted := whole(h.old), whole(h.new)
		places := 0
		if len(h.old) > 0 {
			places = strings.Count(text, is)
		}
		if places != 1 {
			return nil, fmt.Errorf("patch %s no longer applies: what hunk %d changes is at %d places of %s", p.name, n+1, places, h.file)
		}
		files[h.file] = strings.Replace(text, is, planted, 1)
	}
	for name := range files {
		files[name] = files[name][1:]
	}
	return files, nil
}

// whole is lines as they stand after the end of another.
func whole(lines []string) string {
	text := "\n"
	for _, line := range lines {
		text += line + "\n"
	}
	return text
}

// overlay writes the patched files into dir, with what go test -overlay wants to
// be told about them.
func (p patch) overlay(root, dir string) (string, error) {
	files, err := p.apply(root)
	if err != nil {
		return "", err
	}
	var replace []string
	for i, name := range slices.Sorted(maps.Keys(files)) {
		patched := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(patched, []byte(files[name]), 0o600); err != nil {
			return "", err
		}
		replace = append(replace, fmt.Sprintf("%q: %q", filepath.Join(root, filepath.FromSlash(name)), patched))
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, []byte(`{"Replace": {`+strings.Join(replace, ", ")+`}}`), 0o600)
}
