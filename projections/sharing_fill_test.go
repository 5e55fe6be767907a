package projections_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/docket-orders/docket/domain/order"
)

// TestSharesOfABigLogAreBuilt: processes that begin together on an empty store
// and a big log build it together, though each takes lanes from those that build
// them already; and one that is killed meanwhile leaves nothing undone.
func TestSharesOfABigLogAreBuilt(t *testing.T) {
	spill := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t, 1, spill)
		defer s.abandon()
		const orders, notes = 60, 100
		for i := range orders {
			events := []order.Event{placed}
			for n := range notes {
				events = append(events, order.NoteAdded{NoteID: fmt.Sprint("n", n), Text: "a note", At: later(n)})
			}
			id := fmt.Sprint("big", i)
			s.appendTo(id, events...)
			s.witness.learns(id, s.expected[id])
		}
		s.faults.Lossy(20)
		s.start()
		s.until(func() bool { return s.claims() > 0 })
		second := s.start()
		s.until(func() bool { return s.owns(second) })
		s.start()
		s.kill(second)
		s.atRest()
		s.faults.Lossy(0)
		for i := range 10 {
			s.grow(fmt.Sprint("big", i))
		}
		s.atRest()
		s.checkStored(1, nil)
		s.end()
	})
}
