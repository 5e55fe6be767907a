package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// testTimeout ends a test that a bug makes hang.
const testTimeout = 90 * time.Second

// tests are those of a package that match a pattern.
type tests struct {
	pkg     string   // "./command"
	pattern string   // of go test -run
	env     []string // what they are told beside the environment
}

// outcome is what a run of tests came to.
type outcome struct {
	passed, failed []string // tests and subtests, in the order in which they ended
	hung           bool     // the run was ended by testTimeout
	built          bool
	output         string
	took           time.Duration
}

// run builds and runs tests of the tree at root, with overlay unless that is
// empty. An error means that go test could not be run.
func (t tests) run(ctx context.Context, root, overlay string) (outcome, error) {
	args := []string{"test", "-json", "-vet=off", "-count=1", "-timeout", testTimeout.String(), "-run", t.pattern}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.pkg)...)
	cmd.Dir = root
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), t.env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	o := outcome{built: true}
	var output strings.Builder
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the words of a test that ends in the middle of a line
		}
		output.WriteString(e.Output)
		switch {
		case e.Action == "build-fail":
			o.built = false
		case e.Action == "pass" && e.Test != "":
			o.passed = append(o.passed, e.Test)
		case e.Action == "fail" && e.Test != "":
			o.failed = append(o.failed, e.Test)
		}
		o.hung = o.hung || strings.HasPrefix(e.Output, "panic: test timed out after")
	}
	err = cmd.Wait()
	o.took, o.output = time.Since(began), output.String()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return o, fmt.Errorf("go test %s: %w", t.pkg, err)
	}
	return o, errors.Join(lines.Err(), ctx.Err())
}

// leaves leaves out tests of which a subtest is in the list.
func leaves(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	})
}
