// Package deploy holds what watches docket in production; see README.md.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/testservers"
)

func TestAlertRules(t *testing.T) {
	testservers.Need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		out, err := exec.Command("promtool", args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEveryRuleHasATest: by the name of its alert.
func TestEveryRuleHasATest(t *testing.T) {
	tests := read(t, "alerts_test.yml")
	names := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, "alerts.yml"), -1)
	if len(names) == 0 {
		t.Fatal("no rules")
	}
	for _, name := range names {
		if !strings.Contains(tests, `"`+name[1]+`"`) && !strings.Contains(tests, "alertname: "+name[1]) {
			t.Errorf("nothing fires %s", name[1])
		}
	}
}

// TestMetricsAreServed: a rule over a metric that docket does not serve never
// fires. The name of each, or what follows docket_, stands in httpapi.
func TestMetricsAreServed(t *testing.T) {
	files, err := filepath.Glob("../httpapi/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, f := range files {
		if !strings.HasSuffix(f, "_test.go") {
			source.WriteString(read(t, f))
		}
	}
	metrics := regexp.MustCompile(`docket_[a-z_]+[a-z]`).FindAllString(read(t, "alerts.yml")+read(t, "README.md"), -1)
	if len(metrics) == 0 {
		t.Fatal("no metrics")
	}
	for _, name := range metrics {
		rest := strings.TrimPrefix(name, "docket_")
		if !strings.Contains(source.String(), `"`+name+`"`) && !strings.Contains(source.String(), `"`+rest+`"`) &&
			!strings.Contains(source.String(), `"`+strings.TrimPrefix(strings.TrimPrefix(rest, "reconcile_"), "rebuild_")+`"`) {
			t.Errorf("docket serves no %s", name)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
