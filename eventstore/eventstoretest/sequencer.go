package eventstoretest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

// testSequencer holds a store that says it is a Sequencer to it: what stamp
// counts is what the log's order shows.
func testSequencer(t *testing.T, e *env) {
	store, ok := e.store.(eventstore.Sequencer)
	if !ok {
		return // the port does not ask for it
	}
	const writers, each = 8, 40
	var count uint64 // guarded by nothing: calls of stamp never overlap
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			s := e.stream(fmt.Sprintf("stamped-%d", w))
			for i := range each {
				events := []eventstore.Event{e.event(fmt.Sprintf("%d/%d/a", w, i)), e.event(fmt.Sprintf("%d/%d/b", w, i))}
				for j := range events {
					events[j].Metadata = make([]byte, 8)
				}
				calls := 0
				appended, err := store.AppendStamped(e.ctx, s, eventstore.Expected(2*i-1), events, func(events []eventstore.Event) {
					calls++
					for _, ev := range events {
						count++
						binary.BigEndian.PutUint64(ev.Metadata, count)
					}
				})
				if err != nil || calls != 1 {
					t.Errorf("writer %d: %v after %d calls of stamp", w, err, calls)
					return
				}
				for rec, err := range store.ReadStream(e.ctx, s, eventstore.Revision(2*i), eventstore.Forwards, 1) {
					if want := eventstore.At64(appended.Position.Commit - 1); err != nil || rec.Position != want {
						t.Errorf("writer %d: the first of two is at %s, want %s, %v", w, rec.Position, want, err)
					}
				}
			}
		})
	}
	wait.Wait()
	var last uint64
	all := e.readAll(t, eventstore.Start, eventstore.Forwards, 0)
	for _, rec := range all {
		n := binary.BigEndian.Uint64(rec.Metadata)
		if n <= last {
			t.Fatalf("position %s was stamped %d after %d", rec.Position, n, last)
		}
		last = n
	}
	if len(all) != 2*writers*each {
		t.Errorf("%d events, want %d", len(all), 2*writers*each)
	}
	testSequence(t, e, store)
	// The rules of Append hold.
	_, err := store.AppendStamped(e.ctx, e.stream("stamped-0"), none, e.events("x"), func([]eventstore.Event) {})
	if !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("a stamped append elsewhere: %v, want a conflict", err)
	}
}

// testSequence: whoever is called in sequence after a stamp can read what was
// stamped, however long its append takes.
func testSequence(t *testing.T, e *env, store eventstore.Sequencer) {
	const writers, each = 4, 60
	var stamped, written int // guarded by the sequence
	stop, wait := make(chan struct{}), sync.WaitGroup{}
	for w := range writers {
		wait.Go(func() {
			s := e.stream(fmt.Sprintf("sequence-%d", w))
			for i := range each {
				_, err := store.AppendStamped(e.ctx, s, eventstore.Expected(i-1), []eventstore.Event{e.event(fmt.Sprint(w, "/", i))}, func([]eventstore.Event) { stamped++ })
				if err != nil {
					t.Errorf("append %d of writer %d: %v", i, w, err)
					return
				}
			}
		})
	}
	go func() { wait.Wait(); close(stop) }()
	filter := eventstore.Filter{Prefixes: []string{e.stream("sequence-")}}
	for done := false; !done; {
		select {
		case <-stop:
			done = true
		default:
		}
		if err := store.Sequence(e.ctx, func() { written = stamped }); err != nil {
			t.Fatalf("sequence: %v", err)
		}
		readable := 0
		for _, err := range store.ReadAll(e.ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
			if err != nil {
				t.Fatal(err)
			}
			readable++
		}
		if readable < written {
			t.Fatalf("%d events were stamped before, %d of them are readable", written, readable)
		}
	}
	if written != writers*each {
		t.Errorf("the last call in sequence saw %d stamps, want %d", written, writers*each)
	}
	head, err := store.Head(e.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Sequence(e.ctx, func() {}); err != nil {
		t.Fatal(err)
	}
	if now, err := store.Head(e.ctx); err != nil || now != head {
		t.Errorf("a call in sequence moved the head from %s to %s (%v)", head, now, err)
	}
}
