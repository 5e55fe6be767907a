package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const clientModule = "github.com/EventStore/EventStore-Client-Go/v4"

// Where the changed tests find their servers.
const (
	emptyVariable  = "DOCKET_ESDB_EMPTY"
	seededVariable = "DOCKET_ESDB_SEEDED"
)

// copyClient copies the client's module, in the version that go.mod names, to
// dir, and changes its tests. It returns module@version.
func copyClient(ctx context.Context, dir string) (version string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", clientModule)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download %s: %w", clientModule, err)
	}
	var module struct{ Dir, Path, Version string }
	if err := json.Unmarshal(out, &module); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", clientModule, err)
	}
	if err := os.CopyFS(dir, os.DirFS(module.Dir)); err != nil {
		return "", fmt.Errorf("copy %s: %w", module.Dir, err)
	}
	file := filepath.Join(dir, "esdb", "containers_test.go")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	changed, err := withoutContainers(string(text))
	if err != nil {
		return "", fmt.Errorf("%s of %s@%s: %w", filepath.Base(file), module.Path, module.Version, err)
	}
	return module.Path + "@" + module.Version, os.WriteFile(file, []byte(changed), 0o600)
}

// change replaces the text from the first line up to the line of to, which is
// left, by text.
type change struct{ from, to, text string }

// changes let the tests' harness take servers that run instead of starting
// containers. Nothing else of the tests is touched. With the containers go
// their packages, which would take minutes to build.
var changes = []change{
	{"\t\"github.com/docker/go-connections/nat\"", "\t\"os\"", ""},
	{"\tContainer testcontainers.Container", "}", ""},
	{"func getContainerRequest()", "func verifyCertificatesExist() error {", "func (container *Container) Close() {}\n\n"},
	{"\t\tconfig, req, err := getContainerRequest()", "\t\tclient = GetClient(t, container)", `		variable := "` + emptyVariable + `"
		if populated {
			variable = "` + seededVariable + `"
		}
		container = &Container{Endpoint: os.Getenv(variable)}
		if err := verifyCertificatesExist(); !isInsecure && err != nil {
			t.Fatal(err)
		}
`},
}

// withoutContainers makes the changes. It fails when one does not fit exactly
// one place: then the module is another one than this program knows.
func withoutContainers(text string) (string, error) {
	for _, c := range changes {
		if n := strings.Count(text, "\n"+c.from); n != 1 {
			return "", fmt.Errorf("change does not fit: %d lines begin with %q, want 1", n, c.from)
		}
		before, rest, _ := strings.Cut(text, "\n"+c.from)
		_, rest, found := strings.Cut(rest, "\n"+c.to+"\n")
		if !found {
			return "", fmt.Errorf("change does not fit: after %q there is no line %q", c.from, c.to)
		}
		text = before + "\n" + c.text + c.to + "\n" + rest
	}
	for _, word := range []string{"testcontainers", "nat."} {
		if i := strings.Index(text, word); i >= 0 {
			line := 1 + strings.Count(text[:i], "\n")
			return "", fmt.Errorf("changes do not fit: %q is still used in line %d", word, line)
		}
	}
	return text, nil
}
