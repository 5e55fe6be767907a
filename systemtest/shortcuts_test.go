package systemtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestShortcutsChangeNothing compares the search with what the model alone says,
// on small histories of a docket that now and then answers something wrong.
func TestShortcutsChangeNothing(t *testing.T) {
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	seen, cut := map[porcupine.CheckResult]int{}, 0
	for n := range 5000 {
		history := smallHistory(rng)
		orders := learn(history)
		want, _, _ := checkWith(map[string]known{}, history)
		got, _, _ := checkWith(orders, withEffect(history, orders))
		if got != want {
			t.Fatalf("history %d (DOCKET_SEED=%d): %s, the model alone says %s: %v", n, seed, got, want, history)
		}
		seen[got]++
		if len(orders) > 0 && len(withEffect(history, orders)) < len(history) {
			cut++
		}
	}
	if seen[porcupine.Ok] < 500 || seen[porcupine.Illegal] < 500 || cut < 500 {
		t.Errorf("too little of a kind: %v, %d with something left out", seen, cut)
	}
}

// smallHistory is what a few clients were told, two thirds of the time with
// an answer that is not the one that was given.
func smallHistory(rng *rand.Rand) []porcupine.Operation {
	const clients = 3
	var history []porcupine.Operation
	is := state{viewed: -1}
	keys := []string{}
	for n := range 6 + rng.IntN(5) {
		a := asked{verb: pick(rng, place, note, note, tags, read, read), order: "o", key: fmt.Sprint(n), token: -1}
		if a.verb == read {
			a.key = ""
		} else if len(keys) > 0 && rng.IntN(4) == 0 {
			a = history[rng.IntN(len(history))].Input.(asked)
		}
		if a.verb != read {
			keys = append(keys, a.key)
		}
		if a.verb == tags && !slices.Contains(keys[:len(keys)-1], a.key) {
			a.ifMatch = is.revision() - rng.IntN(5)/4
		}
		o, next := is.answer(a)
		lost := a.verb != read && rng.IntN(4) == 0
		if lost {
			o = told{result: unknown}
		}
		if !lost || rng.IntN(2) == 0 {
			is = next
		}
		// Its moment is at 10n; it lasts a while to both sides.
		operation := porcupine.Operation{ClientId: n % clients, Input: a, Output: o,
			Call: int64(10*n) - rng.Int64N(25), Return: int64(10*n) + rng.Int64N(25)}
		if o.result == unknown {
			operation.Return = never
		}
		history = append(history, operation)
	}
	if rng.IntN(3) > 0 {
		a := asked{verb: read, order: "o", token: -1}
		o, _ := is.answer(a)
		o.last = true
		history = append(history, porcupine.Operation{ClientId: clients, Input: a, Output: o, Call: 1000, Return: 1001})
	}
	if rng.IntN(3) > 0 {
		spoil(&history[rng.IntN(len(history))], rng)
	}
	return history
}

// answer is what a docket without faults answers, and the order afterwards.
func (s state) answer(a asked) (told, state) {
	if a.verb == read {
		if s.revision() < 0 {
			return told{result: missing}, s
		}
		return told{result: done, revision: s.revision(), shown: s.shownAt(s.revision())}, s
	}
	if at := s.revisionOf(a.key); at >= 0 {
		return told{result: done, revision: at, replayed: true}, s
	}
	switch due := s.due(a); due {
	case done:
		return told{result: done, revision: s.revision() + 1}, s.with(effect{a.verb, a.key})
	case elsewhere:
		return told{result: due, revision: s.revision()}, s
	default:
		return told{result: due}, s
	}
}

// spoil makes an answer another one.
func spoil(operation *porcupine.Operation, rng *rand.Rand) {
	o := operation.Output.(told)
	switch rng.IntN(4) {
	case 0:
		o.revision++
	case 1:
		o.revision = max(0, o.revision-1)
	case 2:
		o.replayed = !o.replayed
	default:
		o.shown.notes = append(slices.Clone(o.shown.notes), "0")
	}
	operation.Output = o
}
