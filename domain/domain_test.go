package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/docket-orders/docket/domain"
)

func TestRejection(t *testing.T) {
	rule := domain.Reject(domain.Conflict, "too-late", "it is too late")
	refused := rule.At("/at").With("by 3 days")
	if !errors.Is(fmt.Errorf("decide: %w", refused), rule) || !errors.Is(rule, refused) {
		t.Error("one rule is not the same with its figures")
	}
	if errors.Is(refused, domain.Reject(domain.Conflict, "too-early", "it is too late")) {
		t.Error("two rules are the same")
	}
	if rule.Field != "" || rule.Detail != "" {
		t.Errorf("the declared refusal was changed: %+v", rule)
	}
	if refused.Error() != "it is too late: by 3 days" || rule.Error() != "it is too late" || refused.Field != "/at" || refused.Kind != domain.Conflict {
		t.Errorf("%+v", refused)
	}
}

func TestFold(t *testing.T) {
	d := domain.Decider[string, string, string]{Evolve: func(s, e string) string { return s + e }}
	if got := d.Fold("a", "b", "c"); got != "abc" {
		t.Error(got)
	}
}
