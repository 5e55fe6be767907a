package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// testTimeout ends tests that hang.
const testTimeout = 5 * time.Minute

// results are what tests came to, by their full name.
type results map[string]*result

// result of a test: "pass", "fail", "skip", or empty when it never ended.
type result struct {
	action  string
	seconds float64
	output  strings.Builder
}

// runTests runs every test of the table that has a chance, and those beside
// them that the table does not know.
func runTests(ctx context.Context, m mode, tests, module, empty, seeded string) (results, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "test2json", "-t", tests,
		"-test.v=test2json", "-test.count=1", "-test.timeout="+testTimeout.String(),
		"-test.run="+functions(m), "-test.skip="+hopeless())
	cmd.Dir = filepath.Join(module, "esdb")
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("EVENTSTORE_INSECURE=%t", m == insecure), "CLUSTER=false",
		emptyVariable+"="+empty, seededVariable+"="+seeded)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run tests: %w", err)
	}
	found, err := readResults(out)
	// A test that failed is in the results.
	if wait := cmd.Wait(); err == nil && !errors.As(wait, new(*exec.ExitError)) {
		err = wait
	}
	return found, errors.Join(err, ctx.Err())
}

// readResults reads what go test -json says.
func readResults(from io.Reader) (results, error) {
	found := results{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return found, fmt.Errorf("go test says %.200q: %w", lines.Text(), err)
		}
		r := found[e.Test]
		if r == nil {
			r = &result{}
			found[e.Test] = r
		}
		r.output.WriteString(e.Output)
		switch e.Action {
		case "pass", "fail", "skip":
			r.action, r.seconds = e.Action, e.Elapsed
		}
	}
	return found, lines.Err()
}

// isLeaf is false for a test that has tests below it, and for the whole.
func (r results) isLeaf(name string) bool {
	for other := range r {
		if strings.HasPrefix(other, name+"/") {
			return false
		}
	}
	return name != ""
}
