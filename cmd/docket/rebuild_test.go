package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// TestRebuildIsWatchedAgain: Ctrl-C ends the watching, and with a docket of one
// command this process; the next one goes on with the rebuild.
func TestRebuildIsWatchedAgain(t *testing.T) {
	dir := t.TempDir()
	runImport(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stderr bytes.Buffer
	status := run(ctx, []string{"projections", "rebuild", "--switch", "--data", dir}, io.Discard, whenWritten{&stderr, cancel})
	if want := "docket: interrupted; generation 2 is made further by the next docket on this folder: " +
		"docket projections rebuild --watch shows it, docket projections cancel gives it up"; status != exitFailed || !strings.Contains(stderr.String(), want) {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	var stdout bytes.Buffer
	stderr.Reset()
	status = run(t.Context(), []string{"projections", "rebuild", "--watch", "--data", dir}, &stdout, &stderr)
	if status != exitDone || !strings.Contains(stdout.String(), "orders is now generation 2") {
		t.Errorf("status %d: %s%s", status, &stdout, &stderr)
	}
	if n := len(documents(t, dir)); n != 301 {
		t.Errorf("%d documents", n)
	}
}
