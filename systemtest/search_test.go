package systemtest

import (
	"slices"

	"github.com/anishathalye/porcupine"
)

// An operation of unknown outcome could have its moment anywhere after its call,
// so that a few dozen of them make more combinations than can be tried. But each
// effect leaves a mark of its own, and the answers of the whole history say
// where most marks are. What follows only cuts off what the model would refute
// in the end; it lets no history pass, and refuses none.

// known is what the answers of a history say about the effects on one order.
type known struct {
	at       map[int]string  // revision -> key of the command that was told so
	made     map[string]bool // keys of commands that were told they had their effect now
	longest  told            // read with the highest revision
	complete bool            // there is a last read: it shows every effect that matters
}

// learn gathers what a history says about each order.
func learn(history []porcupine.Operation) map[string]known {
	orders := map[string]known{}
	for _, operation := range history {
		a, o := operation.Input.(asked), operation.Output.(told)
		k, ok := orders[a.order]
		if !ok {
			k = known{at: map[int]string{}, made: map[string]bool{}, longest: told{revision: -1}}
		}
		switch {
		case o.result != done:
		case a.verb != read:
			k.at[o.revision] = a.key
			k.made[a.key] = k.made[a.key] || !o.replayed
		default:
			k.complete = k.complete || o.last
			if o.revision > k.longest.revision {
				k.longest = o
			}
		}
		orders[a.order] = k
	}
	return orders
}

// refutes tells that some answer contradicts the command taking effect now.
func (k known) refutes(s state, a asked) bool {
	next := s.revision() + 1
	if key, told := k.at[next]; told && key != a.key {
		return true
	}
	if a.verb != note {
		return false
	}
	if s.notes < len(k.longest.shown.notes) {
		return k.longest.shown.notes[s.notes] != a.key
	}
	return next <= k.longest.revision
}

// over tells that nobody looks any more: time for the operations that never had
// an effect. Before, each of them could be tried anywhere to no purpose.
func (k known) over(s state) bool { return s.ended || !k.complete }

// withEffect leaves out the operations of unknown outcome that cannot have had
// an effect that anybody was told of. Their moment is after everything else.
func withEffect(history []porcupine.Operation, orders map[string]known) []porcupine.Operation {
	return slices.DeleteFunc(slices.Clone(history), func(operation porcupine.Operation) bool {
		a, o := operation.Input.(asked), operation.Output.(told)
		return o.result == unknown && orders[a.order].without(a)
	})
}

// without tells that an unknown operation had no effect, or one that another
// operation with its key was told of.
func (k known) without(a asked) bool {
	if k.made[a.key] {
		return true
	}
	if !k.complete {
		return false
	}
	switch a.verb {
	case place:
		return k.longest.shown.placedBy != a.key
	case note:
		return !slices.Contains(k.longest.shown.notes, a.key)
	}
	key, told := k.at[a.ifMatch+1]
	return told && key != a.key || a.ifMatch+1 > k.longest.revision
}
