package projectionstest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/google/uuid"
)

func checkpoints(t *testing.T, s Store) {
	f := start(t, s)
	cp, err := f.Claim(f.ctx, 63, "me", 0)
	f.same("claimed", cp, projections.Checkpoint{Lane: 63, Owner: "me", Token: 1}, err)
	f.same("stored", f.lane(63), cp, nil)
	if _, err := f.Claim(f.ctx, 63, "you", 0); !errors.Is(err, projections.ErrLaneLost) {
		t.Fatalf("claim with an old token: %v", err)
	}

	cp.Position = eventstore.Position{Commit: 1<<63 + 12, Prepare: 9}
	cp.EventID, cp.Beat = uuid.New(), 1<<63+3
	cp.Log = eventstore.LogIdentity{ID: uuid.New(), Epoch: 4}
	f.results(projections.Batch{Checkpoints: []projections.Checkpoint{cp}})
	f.same("moved", f.lane(63), cp, nil)
	f.same("its neighbour", f.lane(62), projections.Checkpoint{Lane: 62}, nil)

	// Another takes the lane; what the former owner writes moves nothing.
	taken, err := f.Claim(f.ctx, 63, "you", cp.Token)
	want := cp
	want.Owner, want.Token = "you", 2
	f.same("taken", taken, want, err)
	late := cp
	late.Position = eventstore.At64(1 << 62)
	_, err = f.Write(f.ctx, projections.Batch{
		Park:        []projections.Parked{{OrderID: "late", Reason: "no"}},
		Checkpoints: []projections.Checkpoint{{Lane: 62, Position: eventstore.At64(1)}, late},
	})
	if !errors.Is(err, projections.ErrLaneLost) {
		t.Fatalf("write of a former owner: %v", err)
	}
	f.same("the lane", f.lane(63), want, nil)
	f.same("the other lane of the batch", f.lane(62), projections.Checkpoint{Lane: 62}, nil)
	f.same("parked", f.parkedIDs(), []string{}, nil)
}

// claims are made by as many processes as the store may have.
func claims(t *testing.T, s Store) {
	f := start(t, s)
	const claimers, rounds = 8, 5
	sinks := []projections.Sink{f}
	if s.Again != nil {
		sinks = append(sinks, f.another(), f.another())
	}
	var mu sync.Mutex
	won := map[uint64]string{}
	var wg sync.WaitGroup
	for i := range claimers {
		wg.Go(func() {
			owner, sink := fmt.Sprint("owner ", i), sinks[i%len(sinks)]
			for token := range uint64(rounds) {
				cp, err := sink.Claim(f.ctx, 0, owner, token)
				switch {
				case errors.Is(err, projections.ErrLaneLost):
				case err != nil:
					t.Errorf("claim: %v", err)
				default:
					mu.Lock()
					if cp.Token != token+1 || cp.Owner != owner || won[cp.Token] != "" {
						t.Errorf("%s claimed %+v, which %q had", owner, cp, won[cp.Token])
					}
					won[cp.Token] = owner
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	cp := f.lane(0)
	if cp.Token == 0 || int(cp.Token) != len(won) || cp.Owner != won[cp.Token] {
		t.Errorf("the lane is %+v after claims %v", cp, won)
	}
}

// claimsOfMany asks a store that claims many lanes at once; one that does not has
// nothing to show.
func claimsOfMany(t *testing.T, s Store) {
	f := start(t, s)
	all, ok := f.Sink.(projections.LaneClaimer)
	if !ok {
		return
	}
	other, err := f.Claim(f.ctx, 9, "you", 0)
	if err != nil {
		t.Fatal(err)
	}
	var wanted []projections.Checkpoint
	for lane := range projections.Lanes {
		wanted = append(wanted, projections.Checkpoint{Lane: lane, Owner: "of no account", Beat: 77})
	}
	claimed, err := all.ClaimLanes(f.ctx, wanted, "me")
	if err != nil || len(claimed) != projections.Lanes-1 {
		t.Fatalf("%d lanes are claimed, %v", len(claimed), err)
	}
	for _, cp := range claimed {
		f.same("claimed", cp, projections.Checkpoint{Lane: cp.Lane, Owner: "me", Token: 1}, nil)
		f.same("stored", f.lane(cp.Lane), cp, nil)
	}
	f.same("another's", f.lane(9), other, nil)
	claimed[3].Position = eventstore.At64(12)
	f.results(projections.Batch{Checkpoints: claimed[3:4]})
	free, err := all.ClaimLanes(f.ctx, claimed[:5], "")
	if err != nil || len(free) != 5 {
		t.Fatalf("%d lanes are released, %v", len(free), err)
	}
	want := claimed[3]
	want.Owner, want.Token = "", 2
	f.same("released where it stands", f.lane(want.Lane), want, nil)
}

func beats(t *testing.T, s Store) {
	f := start(t, s)
	lost, err := f.Beat(f.ctx, nil)
	f.same("lost of no lane", present(lost), []int{}, err)
	var mine []projections.Checkpoint
	for _, lane := range []int{0, 5, 63} {
		cp, err := f.Claim(f.ctx, lane, "me", 0)
		if err != nil {
			t.Fatal(err)
		}
		cp.Position, cp.EventID, cp.Log = eventstore.At64(uint64(lane)+10), uuid.New(), eventstore.LogIdentity{ID: uuid.New(), Epoch: 2}
		f.results(projections.Batch{Checkpoints: []projections.Checkpoint{cp}})
		mine = append(mine, cp)
	}
	beat := func(want ...int) {
		t.Helper()
		before, err := f.Checkpoints(f.ctx)
		if err != nil {
			t.Fatal(err)
		}
		var signs []projections.Checkpoint
		for _, cp := range mine { // the rest of a record says nothing
			signs = append(signs, projections.Checkpoint{Lane: cp.Lane, Token: cp.Token, Position: eventstore.At64(1 << 60), Owner: "nobody"})
		}
		lost, err := f.Beat(f.ctx, signs)
		slices.Sort(lost)
		f.same("lost", present(lost), present(want), err)
		for _, was := range before {
			now := f.lane(was.Lane)
			isMine := slices.ContainsFunc(mine, func(cp projections.Checkpoint) bool { return cp.Lane == was.Lane })
			if isMine && !slices.Contains(want, was.Lane) {
				if now.Beat <= was.Beat {
					t.Errorf("lane %d: beat %d after %d", was.Lane, now.Beat, was.Beat)
				}
				now.Beat = was.Beat
			}
			f.same(fmt.Sprint("lane ", was.Lane), now, was, nil)
		}
	}
	beat()
	beat()
	taken, err := f.Claim(f.ctx, 5, "you", mine[1].Token)
	if err != nil || taken.Owner != "you" {
		t.Fatalf("claim: %+v, %v", taken, err)
	}
	beat(5)

	// A beat does not stand in the way of a checkpoint, nor the other way round.
	mine[0].Position, mine[0].Beat = eventstore.At64(99), 1<<40
	f.results(projections.Batch{Checkpoints: mine[:1]})
	f.same("moved", f.lane(0), mine[0], nil)
	beat(5)
}

func parking(t *testing.T, s Store) {
	f := start(t, s)
	list := func(want ...projections.Parked) {
		t.Helper()
		got, err := f.Parked(f.ctx)
		f.same("parked", present(got), present(want), err)
	}
	b := projections.Parked{OrderID: "b", Revision: 3, Position: eventstore.Position{Commit: 9, Prepare: 8}, Reason: "größe"}
	a := projections.Parked{OrderID: "a", Revision: 0, Position: eventstore.At64(2), Reason: "x"}
	upper := projections.Parked{OrderID: "B", Revision: 1, Position: eventstore.At64(3), Reason: "y"}
	f.results(projections.Batch{Park: []projections.Parked{b, a, upper}})
	list(upper, a, b)
	f.results(projections.Batch{Park: []projections.Parked{b}})
	list(upper, a, b)
	b.Revision, b.Reason = 4, "further on"
	f.results(projections.Batch{Park: []projections.Parked{b}, Release: []string{"a", "never parked"}})
	list(upper, b)

	// A released order's document comes in the batch that releases it.
	doc := Documents(12, 1)[0]
	doc.ID = "b"
	f.results(projections.Batch{Changes: []projections.Change{ChangeTo(doc, 0)}, Release: []string{"b"}})
	list(upper)
	f.checkDocuments()
}

func (f *fixture) parkedIDs() []string {
	f.Helper()
	parked, err := f.Parked(f.ctx)
	if err != nil {
		f.Fatal(err)
	}
	out := []string{}
	for _, p := range parked {
		out = append(out, p.OrderID)
	}
	return out
}
