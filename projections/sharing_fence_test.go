package projections

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view"
)

// fenced is a sink that has the tokens of its lanes.
type fenced struct {
	Sink
	tokens   [Lanes]uint64
	replaced []string
	parked   []Parked
	released []string
}

func (s *fenced) Write(_ context.Context, b Batch) ([]Outcome, error) {
	for _, c := range b.Checkpoints {
		if s.tokens[c.Lane] != c.Token {
			return nil, ErrLaneLost
		}
	}
	s.parked, s.released = append(s.parked, b.Park...), append(s.released, b.Release...)
	return make([]Outcome, len(b.Changes)), nil
}

func (s *fenced) Beat(_ context.Context, lanes []Checkpoint) (lost []int, err error) {
	for _, c := range lanes {
		if s.tokens[c.Lane] != c.Token {
			lost = append(lost, c.Lane)
		}
	}
	return lost, nil
}

func (s *fenced) Replace(_ context.Context, id string, _ *Change) error {
	s.replaced = append(s.replaced, id)
	return nil
}

func (s *fenced) Documents(context.Context, []string) (map[string]view.Order, error) { return nil, nil }

// TestFormerOwnersParkNothing: who has lost a lane, and does not know it, neither
// parks, releases nor replaces an order of that lane; nor does who knows.
func TestFormerOwnersParkNothing(t *testing.T) {
	const id = "o"
	lane := LaneOf(id)
	for _, c := range []struct {
		name  string
		held  uint64 // token that this process knows
		knows bool   // that the lane is another's
		ok    bool
	}{
		{"the owner", 7, false, true},
		{"a former owner", 6, false, false},
		{"a former owner that knows", 6, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &fenced{}
			s.tokens[lane] = 7
			a := &applier{sink: s, logger: slog.New(slog.DiscardHandler), parked: map[string]Parked{}, claimed: func(l int) (Checkpoint, bool) {
				return Checkpoint{Lane: l, Token: c.held}, !c.knows
			}}
			check := func(what string, err error) {
				t.Helper()
				if c.ok && err != nil || !c.ok && !errors.Is(err, ErrLaneLost) {
					t.Errorf("%s: %v", what, err)
				}
			}
			ctx := t.Context()
			check("park in a batch", a.write(ctx, folded{batch: Batch{Park: []Parked{{OrderID: id}}}}))
			check("release", a.parkOrRelease(ctx, id, nil))
			check("park again", a.parkOrRelease(ctx, id, &Parked{OrderID: id}))
			check("replace", a.replace(ctx, id, nil))
			if did := len(s.parked) + len(s.released) + len(s.replaced); c.ok && did != 4 || !c.ok && did > 0 {
				t.Errorf("parked %v, released %v, replaced %v", s.parked, s.released, s.replaced)
			}
			// A batch that moves the lane's checkpoint is fenced by that.
			b := Batch{Park: []Parked{{OrderID: id}}, Checkpoints: []Checkpoint{{Lane: lane, Token: 9}}}
			if err := a.fence(&b); err != nil || len(b.Checkpoints) != 1 {
				t.Errorf("fence of a moved lane: %+v, %v", b.Checkpoints, err)
			}
		})
	}
}

// TestBuiltLanesThatAreLost: a build that took long moves the lanes that are left.
func TestBuiltLanesThatAreLost(t *testing.T) {
	s := &fenced{}
	a := &applier{sink: s, logger: slog.New(slog.DiscardHandler), claimed: func(l int) (Checkpoint, bool) { return Checkpoint{Lane: l}, l != 2 }}
	s.tokens[1], s.tokens[2] = 1, 1
	moved := &movedLanes{fenced: s}
	a.sink = moved
	f := &filling{applier: a, plan: plan{lanes: []Checkpoint{{Lane: 0}, {Lane: 1}, {Lane: 2}, {Lane: 3}}}, head: eventstore.Position{Commit: 9}}
	f.at = placesOf(f.lanes)
	if err := f.move(t.Context(), folded{}, []int{0, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 3}; !slices.Equal(moved.lanes, want) {
		t.Errorf("moved lanes %v, not %v", moved.lanes, want)
	}
	for _, c := range f.lanes {
		if moved := c.Position == f.head; moved != (c.Lane == 0 || c.Lane == 3) {
			t.Errorf("lane %d stands at %v", c.Lane, c.Position)
		}
	}
}

// movedLanes notes which checkpoints were moved.
type movedLanes struct {
	*fenced
	lanes []int
}

func (s *movedLanes) Write(ctx context.Context, b Batch) ([]Outcome, error) {
	out, err := s.fenced.Write(ctx, b)
	for _, c := range b.Checkpoints {
		if err == nil {
			s.lanes = append(s.lanes, c.Lane)
		}
	}
	return out, err
}
