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
				_, err := store.AppendStamped(e.ctx, s, eventstore.Expected(2*i-1), events, func(events []eventstore.Event) {
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
	// The rules of Append hold.
	_, err := store.AppendStamped(e.ctx, e.stream("stamped-0"), none, e.events("x"), func([]eventstore.Event) {})
	if !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("a stamped append elsewhere: %v, want a conflict", err)
	}
}
