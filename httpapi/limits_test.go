package httpapi

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestLimitsAreWrittenDown: the table of docs/limits.md is that of the code.
func TestLimitsAreWrittenDown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "docs", "limits.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| limit | default | what it bounds |\n|---|---|---|\n")
	for f := range reflect.TypeFor[Limits]().Fields() {
		if env := strings.ToUpper(strings.ReplaceAll(LimitName(f.Name), "-", "_")); f.Tag.Get("env") != env {
			t.Errorf("%s: env %q, want %s", f.Name, f.Tag.Get("env"), env)
		}
		fmt.Fprintf(&want, "| `--limit-%s` | %s | %s |\n", LimitName(f.Name), f.Tag.Get("default"), f.Tag.Get("help"))
	}
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("docs/limits.md has another table than this:\n%s", want.String())
	}
}

func TestLimitsOfNothingAreTheDefaults(t *testing.T) {
	t.Parallel()
	l := Limits{Queue: 3}.OrDefaults()
	if l.Queue != 3 || l.BodyBytes != 1<<20 || l.BodyTime != 30*time.Second || l.Connections != 4096 {
		t.Errorf("%+v", l)
	}
	for f, v := range reflect.ValueOf(l).Fields() {
		if v.Int() <= 0 {
			t.Errorf("%s has no default", f.Name)
		}
	}
	if err := (Limits{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestLimitsThatCannotBe(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]Limits{
		"queue: -1":        {Queue: -1},
		"body-time: -1s":   {BodyTime: -time.Second},
		"caller-percent":   {CallerPercent: 101},
		"queue":            {Queue: 1 << 62},
		"adoption-workers": {AdoptionWorkers: 1 << 20},
		"answer-time":      {CommandTime: 100 * time.Second},
		"read-time":        {WaitTime: time.Minute},
		"held-bytes":       {HeldBytes: 1000},
		"adoption-bytes":   {AdoptionBytes: 1000},
	} {
		if err := l.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
