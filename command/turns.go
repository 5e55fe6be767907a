package command

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// maxGroup bounds the commands that are served together.
const maxGroup = 256

// turns lets the commands of one stream wait for each other instead of deciding
// on the same revision and losing all but one append; those that waited together
// are served together. It is a courtesy within this process: what keeps writers
// apart is the expected revision.
type turns[T any] struct {
	mu    sync.Mutex
	lines map[string][]*turn[T] // those who wait, by the stream that somebody is at
}

// turn is one place in a line.
type turn[T any] struct {
	what T
	// called gets the group that this one has to serve, itself the first; it is
	// closed when another one has served it.
	called chan []*turn[T]
}

// errTaken: the context ended while somebody else was serving.
var errTaken = errors.New("taken by another command")

func newTurns[T any]() *turns[T] { return &turns[T]{lines: map[string][]*turn[T]{}} }

// do returns when serve was called with what: by this call, together with others
// that wait for the same stream, or by one of theirs. No two calls of serve for a
// stream overlap. When ctx ends first, it fails with the error of ctx and what
// was never served, or with errTaken.
func (t *turns[T]) do(ctx context.Context, stream string, what T, serve func(group []T)) error {
	mine := t.join(stream, what)
	var group []*turn[T]
	select {
	case group = <-mine.called:
	case <-ctx.Done():
		if t.withdraw(stream, mine) {
			return ctx.Err()
		}
		select {
		case group = <-mine.called:
		default:
			return errTaken
		}
	}
	if group == nil {
		return nil
	}
	defer t.pass(stream, group)
	all := make([]T, len(group))
	for i, p := range group {
		all[i] = p.what
	}
	serve(all)
	return nil
}

// join takes the last place in the line; whoever finds nobody there is called.
func (t *turns[T]) join(stream string, what T) *turn[T] {
	p := &turn[T]{what: what, called: make(chan []*turn[T], 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	line, busy := t.lines[stream]
	if busy {
		t.lines[stream] = append(line, p)
	} else {
		t.lines[stream] = nil
		p.called <- []*turn[T]{p}
	}
	return p
}

// withdraw leaves the line; false: it was called, or taken into a group.
func (t *turns[T]) withdraw(stream string, p *turn[T]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.lines[stream], p)
	if i >= 0 {
		t.lines[stream] = slices.Delete(t.lines[stream], i, i+1)
	}
	return i >= 0
}

// pass tells those who were served, and calls the next group.
func (t *turns[T]) pass(stream string, served []*turn[T]) {
	for _, p := range served[1:] {
		close(p.called)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	line := t.lines[stream]
	if len(line) == 0 {
		delete(t.lines, stream)
		return
	}
	n := min(len(line), maxGroup)
	t.lines[stream] = slices.Clone(line[n:])
	line[0].called <- line[:n:n]
}
