package eventstoretest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

func TestReference(t *testing.T) {
	opened := map[string]*Reference{}
	Run(t, func(t *testing.T, dir string) eventstore.Store {
		if r := opened[dir]; r != nil {
			return r.Reopen()
		}
		opened[dir] = NewReference(uint64(len(opened)) + 1)
		return opened[dir]
	}, RepeatsUntold)
}

// TestReferenceSize: an adapter fits in 300 lines, all told.
func TestReferenceSize(t *testing.T) {
	files, err := filepath.Glob("reference*.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(source, []byte("\n"))
	}
	if lines == 0 || lines > 300 {
		t.Errorf("the reference has %d lines, an adapter should fit in 300", lines)
	}
}
