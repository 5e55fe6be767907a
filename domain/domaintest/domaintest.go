// Package domaintest writes the rules of a decider as one line per case:
//
//	given := domaintest.Given(order.Decider)
//	t.Run("before it leaves", given(placed).When(cancel).Then(cancelled))
//	t.Run("after it leaves", given(placed, departed).When(cancel).Rejects(order.ErrDeparted))
package domaintest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain"
)

// Case is a history and the commands sent to it.
type Case[S, C, E any] struct {
	decider domain.Decider[S, C, E]
	history []E
	command *C
}

// Given makes cases for a decider out of histories.
func Given[S, C, E any](d domain.Decider[S, C, E]) func(history ...E) Case[S, C, E] {
	return func(history ...E) Case[S, C, E] {
		return Case[S, C, E]{decider: d, history: history}
	}
}

// When is the command that is decided.
func (c Case[S, C, E]) When(command C) Case[S, C, E] {
	c.command = &command
	return c
}

// Then expects exactly these events; without any, that there is nothing to do.
// Decided again on the outcome, the command must add nothing.
func (c Case[S, C, E]) Then(want ...E) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		got, err := c.decide()
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("events\n%s\nwant\n%s", list(got), list(want))
		}
		after := c.decider.Fold(c.state(), got...)
		if again, err := c.decider.Decide(after, *c.command); err != nil || len(again) > 0 {
			t.Fatalf("the same command again gives %v and\n%s", err, list(again))
		}
	}
}

// Rejects expects this refusal.
func (c Case[S, C, E]) Rejects(want error) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		got, err := c.decide()
		if !errors.Is(err, want) {
			t.Fatalf("refused with %v and events\n%s\nwant the refusal %v", err, list(got), want)
		}
		if len(got) > 0 {
			t.Fatalf("a refusal with events\n%s", list(got))
		}
	}
}

func (c Case[S, C, E]) state() S {
	var s S
	return c.decider.Fold(s, c.history...)
}

func (c Case[S, C, E]) decide() ([]E, error) {
	if c.command == nil {
		panic("domaintest: a case needs When")
	}
	return c.decider.Decide(c.state(), *c.command)
}

func list[E any](events []E) string {
	if len(events) == 0 {
		return "  none"
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "  %T%+v\n", e, e)
	}
	return strings.TrimRight(b.String(), "\n")
}
