// Package domain holds what all aggregates share: the shape of a decider and
// of a refusal. It promises purity: nothing below this folder reads a clock,
// draws a random number, or touches a disk; time, identity and prices arrive
// inside commands.
package domain

// Decider is one kind of aggregate. The zero value of S is the state before the
// first event.
type Decider[S, C, E any] struct {
	// Category begins the names of the aggregate's streams: "order" for
	// "order-536365".
	Category string
	// Decide answers a command with the events it causes, or refuses it with a
	// *Rejection. No events and no error means: nothing to do, it is so
	// already. It does not change s.
	Decide func(s S, c C) ([]E, error)
	// Evolve folds one event into the state. It trusts history: no checks, no
	// errors, no panic. It does not change s, nor anything s points to.
	Evolve func(s S, e E) S
}

// Fold evolves s with all events in order.
func (d Decider[S, C, E]) Fold(s S, events ...E) S {
	for _, e := range events {
		s = d.Evolve(s, e)
	}
	return s
}

// Kind says what sort of refusal it is; the edges turn it into a status.
type Kind uint8

const (
	Invalid  Kind = iota + 1 // the command itself is wrong
	NotFound                 // it names something that is not there
	Conflict                 // the state does not allow it
)

// Rejection is a refusal: a rule said no. Rejections are values, one per rule,
// declared once and compared with errors.Is, which compares Code.
type Rejection struct {
	Kind Kind
	Code string // stable, kebab-case, part of the API
	Text string // what was wrong, for a person
	// Field is the JSON Pointer into the command (RFC 6901), "" when the rule
	// concerns the whole command.
	Field string
	// Detail adds this case's figures to Text.
	Detail string
}

// Reject declares a refusal.
func Reject(kind Kind, code, text string) *Rejection {
	return &Rejection{Kind: kind, Code: code, Text: text}
}

func (r *Rejection) Error() string {
	s := r.Text
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Is matches any rejection of the same rule.
func (r *Rejection) Is(target error) bool {
	t, ok := target.(*Rejection)
	return ok && t.Code == r.Code
}

// At is the same refusal, pointing at a field.
func (r *Rejection) At(pointer string) *Rejection {
	c := *r
	c.Field = pointer
	return &c
}

// With is the same refusal with the figures of this case.
func (r *Rejection) With(detail string) *Rejection {
	c := *r
	c.Detail = detail
	return &c
}
