package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHarmedRunFile: whatever becomes of server.json, a command at worst looks
// for a docket where none is, and the lock on the folder decides.
func TestHarmedRunFile(t *testing.T) {
	dir := t.TempDir()
	if err := writeRunFile(dir, runFile{Address: "127.0.0.1:1", PID: os.Getpid(), Key: newRunKey()}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, runFileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		for _, harmed := range [][]byte{whole[:at], append(append(append([]byte{}, whole[:at]...), whole[at]^0x10), whole[at+1:]...)} {
			if err := os.WriteFile(path, harmed, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := readRunFile(dir); err != nil {
				t.Errorf("byte %d: %v", at, err)
			}
		}
	}
}
