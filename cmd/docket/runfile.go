package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// runFile is server.json: where the docket of a folder listens. Only its owner
// may read it, since the key opens everything for as long as that docket runs.
type runFile struct {
	Address string `json:"address"` // 127.0.0.1:8080
	PID     int    `json:"pid"`
	Key     string `json:"key"`
}

const runFileName = "server.json"

func newRunKey() string { return rand.Text() }

// writeRunFile replaces the file whole, so that a reader sees one or the other.
func writeRunFile(dir string, r runFile) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(dir, runFileName+"-*") // of mode 0600
	if err != nil {
		return fmt.Errorf("say where docket listens: %w", err)
	}
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), filepath.Join(dir, runFileName))
	}
	if err != nil {
		return fmt.Errorf("say where docket listens: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}

// removeRunFile may fail: a file of a process that is gone misleads nobody.
func removeRunFile(dir string) { _ = os.Remove(filepath.Join(dir, runFileName)) }

// readRunFile finds the docket that runs on a folder; ok is false when its
// process is gone or there is none. That it answers remains to be seen.
func readRunFile(dir string) (r runFile, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, runFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("look for a running docket: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil || r.PID <= 0 {
		return r, false, nil // left over by a crash
	}
	process, err := os.FindProcess(r.PID)
	if err != nil {
		return r, false, nil
	}
	// EPERM: it lives, and belongs to somebody else.
	err = process.Signal(syscall.Signal(0))
	return r, err == nil || errors.Is(err, syscall.EPERM), nil
}
