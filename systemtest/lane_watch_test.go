package systemtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/google/uuid"
)

// laneWatch looks at the checkpoint records of a store again and again, and says
// when an owner that is gone keeps a lane too long, or when a record moves as
// only a former owner could move it. Methods may be called from many goroutines.
type laneWatch struct {
	store string
	lease time.Duration

	mu      sync.Mutex
	lanes   map[int]projections.Checkpoint
	gone    map[string]time.Time // owners that cannot work, since when
	free    map[int]time.Time    // lanes that were given up, since when
	took    map[string]bool      // what was told already
	slowest time.Duration        // look since an owner went: what a claim has to wait for, too
	looks   int
	moves   int           // of a lane from one owner to another
	rescued int           // of these, from an owner that was gone
	longest time.Duration // that a lane was seen with an owner that was gone
	trouble []string
}

// looksInClaim: two leases are long for a store that answers at once. On a busy
// machine it does not, and taking over lanes is to look, to claim a part of them,
// the rest, and to be seen.
const looksInClaim = 8

func newLaneWatch(store string, lease time.Duration) *laneWatch {
	return &laneWatch{store: store, lease: lease, lanes: map[int]projections.Checkpoint{}, gone: map[string]time.Time{}, free: map[int]time.Time{}, took: map[string]bool{}}
}

func (w *laneWatch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%s: %d looks, %d lanes changed their owner, %d of them from one that was gone, the last of these after %v at most", w.store, w.looks, w.moves, w.rescued, w.longest.Round(time.Millisecond))
}

// loses says that owners cannot work from now on.
func (w *laneWatch) loses(owners []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slowest = 0
	for _, o := range owners {
		w.gone[o] = time.Now()
	}
}

// regains says that they can again.
func (w *laneWatch) regains(owners []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range owners {
		delete(w.gone, o)
	}
}

// orphans is how many lanes are with owners that are gone.
func (w *laneWatch) orphans() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.lanes {
		if _, gone := w.gone[c.Owner]; gone {
			n++
		}
	}
	return n
}

// follow looks until ctx ends.
func (w *laneWatch) follow(ctx context.Context, sink projections.Sink) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		if lanes, err := sink.Checkpoints(ctx); err == nil {
			w.see(began, time.Now(), lanes)
		}
		<-tick.C
	}
}

// see takes the records as they were at some moment between began and ended.
func (w *laneWatch) see(began, ended time.Time, lanes []projections.Checkpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	w.slowest = max(w.slowest, ended.Sub(began))
	limit := 2*w.lease + looksInClaim*w.slowest
	for _, now := range lanes {
		was, known := w.lanes[now.Lane]
		w.lanes[now.Lane] = now
		if since, gone := w.gone[now.Owner]; gone && began.Sub(since) > limit {
			w.tell(now, "has no owner that works for %v, with looks of %v", began.Sub(since), w.slowest)
		}
		if since, free := w.free[now.Lane]; now.Owner != "" {
			delete(w.free, now.Lane)
		} else if !free {
			w.free[now.Lane] = ended
		} else if began.Sub(since) > limit {
			w.tell(now, "is free for %v", began.Sub(since))
		}
		if !known {
			continue
		}
		switch {
		case now.Token < was.Token, now.Token == was.Token && now.Owner != was.Owner:
			w.tell(now, "went from owner %s (token %d) back to %s", was.Owner, was.Token, now.Owner)
		case now.Position.Before(was.Position):
			w.tell(now, "went from position %s back to %s", was.Position, now.Position)
		case now.Token == was.Token && now.Beat < was.Beat:
			w.tell(now, "went from beat %d back to %d", was.Beat, now.Beat)
		}
		if now.Token > was.Token {
			w.moves++
			if since, gone := w.gone[was.Owner]; gone {
				w.rescued++
				w.longest = max(w.longest, ended.Sub(since))
			}
		}
	}
}

func (w *laneWatch) tell(c projections.Checkpoint, what string, args ...any) {
	if once := fmt.Sprint(c.Owner, what); !w.took[once] { // many lanes share a fate
		w.took[once] = true
		w.trouble = append(w.trouble, fmt.Sprintf("%s: lane %d (owner %s, token %d) %s", w.store, c.Lane, c.Owner, c.Token, fmt.Sprintf(what, args...)))
	}
}

// told returns what was found since the last call.
func (w *laneWatch) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.trouble
	w.trouble = nil
	return found
}

// TestLaneWatchSees: whatever a former owner could do is told, and what owners may
// do is not.
func TestLaneWatchSees(t *testing.T) {
	at := func(commit uint64) eventstore.Position { return eventstore.Position{Commit: commit, Prepare: commit} }
	lane := func(owner string, token, beat, commit uint64) projections.Checkpoint {
		return projections.Checkpoint{Lane: 3, Owner: owner, Token: token, Beat: beat, Position: at(commit), EventID: uuid.Nil}
	}
	first := lane("one", 5, 7, 100)
	for name, c := range map[string]struct {
		then  projections.Checkpoint
		after time.Duration
		wrong bool
	}{
		"it goes on":                         {lane("one", 5, 8, 120), 0, false},
		"another takes it":                   {lane("two", 6, 0, 100), 0, false},
		"a former owner writes":              {lane("zero", 4, 9, 130), 0, true},
		"an owner without a claim":           {lane("two", 5, 8, 120), 0, true},
		"an older position":                  {lane("two", 6, 0, 90), 0, true},
		"an older beat":                      {lane("one", 5, 6, 100), 0, true},
		"it is given up":                     {lane("", 6, 0, 100), 0, false},
		"its owner is gone for a moment":     {first, 1900 * time.Millisecond, false},
		"its owner is gone":                  {first, 2100 * time.Millisecond, true},
		"its owner was gone, taken in time":  {lane("two", 6, 0, 100), 1900 * time.Millisecond, false},
		"its owner was gone, seen when over": {lane("two", 6, 0, 100), 3 * time.Second, false},
	} {
		w := newLaneWatch("a store", time.Second)
		began := time.Now()
		w.see(began, began, []projections.Checkpoint{first})
		if c.after > 0 {
			w.loses([]string{"one"})
			began = w.gone["one"].Add(c.after)
		}
		w.see(began, began, []projections.Checkpoint{c.then})
		if found := w.told(); (len(found) > 0) != c.wrong {
			t.Errorf("%s: %q", name, found)
		}
	}
	w, began := newLaneWatch("a store", time.Second), time.Now()
	for after, wrong := range []bool{false, false, false, true} {
		at := began.Add(time.Duration(after) * time.Second)
		w.see(at, at, []projections.Checkpoint{lane("", 6, 0, 100)})
		if found := w.told(); (len(found) > 0) != wrong {
			t.Errorf("free for %d s: %q", after, found)
		}
	}
}
