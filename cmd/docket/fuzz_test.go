package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzArguments: whatever is typed, docket says what is wrong with it or would
// begin; it does not break.
func FuzzArguments(f *testing.F) {
	for _, line := range []string{"order get x --as-of 17", "order list --sort -total --limit 3", "order diff x 1 position:2", "version --json", "serve --limit-queue=-1", "--help", "order list --status=", "projections -- -x", "--data\x00"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		joined := joinMinus(strings.Split(line, " "))
		if got, want := strings.Join(joined, ""), strings.ReplaceAll(line, " ", ""); strings.ReplaceAll(got, "=", "") != strings.ReplaceAll(want, "=", "") {
			t.Fatalf("%q was joined to %q", line, joined)
		}
		if again := joinMinus(joined); !slices.Equal(again, joined) {
			t.Fatalf("%q, then %q", joined, again)
		}
		for _, parse := range []interface{ UnmarshalText([]byte) error }{new(orderID), new(instant), new(revision), new(position), new(point)} {
			_ = parse.UnmarshalText([]byte(line))
		}
	})
}

// FuzzFiles: a damaged server.json is none, and a file of flags is read or
// refused.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"address":"127.0.0.1:8080","pid":1,"key":"k"}`))
	f.Add([]byte(`{"pid":-1}`))
	f.Add([]byte(`{"limit-queue":1e400,"json":true}`))
	f.Add([]byte(`{"listen":["x"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, runFileName), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, ok, err := readRunFile(dir); err != nil || ok && r.PID <= 0 {
			t.Fatalf("%q: %+v %v", text, r, err)
		}
		if _, err := readConfig(bytes.NewReader(text)); err != nil && !strings.HasPrefix(err.Error(), "--config: ") {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
