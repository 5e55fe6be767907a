package systemtest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

// TestFaultCampaignSeesBugs plants bugs below the server and above the adapter,
// one at a time, and wants the campaign to tell each.
func TestFaultCampaignSeesBugs(t *testing.T) {
	dir := memory(t)
	for name, c := range map[string]struct {
		bug  func() planted
		want string // begins what is wrong, or is in it
	}{
		"an acknowledged append is lost":                     {below(losing), "lost: "},
		"an append is doubled when it is repeated":           {below(doubling), "doubled: "},
		"a conflict is told of what was written":             {below(denying), "there although it was refused"},
		"an append is torn":                                  {below(tearing), "torn: "},
		"a wrong position is told":                           {above(misplacing), "told a wrong place"},
		"what was written is said not to have been sent":     {above(shrugging), "there although it was nothing done"},
		"a record is dropped when a subscription is resumed": {above(func(s eventstore.Store) eventstore.Store { return &resuming{Store: s, skips: true} }), "delivers revision"},
		"a record is repeated when it is resumed":            {above(func(s eventstore.Store) eventstore.Store { return &resuming{Store: s} }), "goes back"},
		"two records change places":                          {above(func(s eventstore.Store) eventstore.Store { return &delivering{Store: s, swap: true} }), "delivers revision"},
		"a checkpoint runs ahead":                            {above(func(s eventstore.Store) eventstore.Store { return &delivering{Store: s, ahead: true} }), "says that nothing matches"},
		"it is said to be caught up too early":               {above(func(s eventstore.Store) eventstore.Store { return &delivering{Store: s, early: true} }), "says that everything is delivered"},
		"a read lacks the last event":                        {above(func(s eventstore.Store) eventstore.Store { return &reader{Store: s, stale: true} }), "stale: "},
		"a read leaves an event out":                         {above(func(s eventstore.Store) eventstore.Store { return &reader{Store: s} }), "read something else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := []string{}
			for seed := range uint64(20) { // not every schedule comes where the bug is
				_, wrong, err := runFaults(t, filepath.Join(dir, fmt.Sprint(name, seed)), 1000+seed, c.bug())
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range wrong {
					if strings.Contains(text, c.want) {
						return
					}
				}
				told = append(told, wrong...)
			}
			t.Errorf("not seen; instead: %.2000s", strings.Join(told, "\n"))
		})
	}
}

func below(bug func(eventstore.Store) eventstore.Store) func() planted {
	return func() planted { return planted{below: bug} }
}

func above(bug func(eventstore.Store) eventstore.Store) func() planted {
	return func() planted { return planted{above: bug} }
}

// appending does something else to some of the appends to the streams of a
// schedule.
type appending struct {
	eventstore.Store
	wrong wrongAppend

	mu  sync.Mutex
	rng *rand.Rand
}

func (a *appending) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	a.mu.Lock()
	chosen := a.rng.IntN(5) == 0
	a.mu.Unlock()
	if !chosen || !strings.HasPrefix(stream, "order-") && !strings.HasPrefix(stream, "other-") {
		return a.Store.Append(ctx, stream, expected, events)
	}
	return a.wrong(ctx, a.Store, stream, expected, events)
}

type wrongAppend func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error)

func sometimes(s eventstore.Store, wrong wrongAppend) eventstore.Store {
	return &appending{Store: s, wrong: wrong, rng: rand.New(rand.NewPCG(1, 1))}
}

func losing(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(_ context.Context, _ eventstore.Store, _ string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		last := eventstore.Revision(int(expected) + len(events))
		return eventstore.Appended{Revision: last, Position: eventstore.At64(1)}, nil
	})
}

// doubling writes again what was written, under an expectation that is met: then
// ids are not compared.
func doubling(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		out, err := s.Append(ctx, stream, expected, events)
		if err != nil {
			return out, err
		}
		return s.Append(ctx, stream, eventstore.At(out.Revision), events)
	})
}

func denying(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		out, err := s.Append(ctx, stream, expected, events)
		if err != nil {
			return out, err
		}
		return eventstore.Appended{}, &eventstore.ConflictError{Stream: stream, Expected: expected, Current: eventstore.At(out.Revision)}
	})
}

func tearing(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		return s.Append(ctx, stream, expected, events[:(len(events)+1)/2])
	})
}

func misplacing(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		out, err := s.Append(ctx, stream, expected, events)
		out.Position.Commit++
		return out, err
	})
}

func shrugging(s eventstore.Store) eventstore.Store {
	return sometimes(s, func(ctx context.Context, s eventstore.Store, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
		out, err := s.Append(ctx, stream, expected, events)
		if err == nil {
			err = fmt.Errorf("%w: planted", eventstore.ErrUnavailable)
		}
		return out, err
	})
}

// resuming loses the first record of a subscription that goes on, or has the last
// one of its predecessor again.
type resuming struct {
	eventstore.Store
	skips bool

	mu   sync.Mutex
	last map[string]eventstore.Notice // by filter
}

func (r *resuming) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	sub, err := r.Store.Subscribe(ctx, from, filter)
	return &resumed{Subscription: sub, from: r, filter: fmt.Sprint(filter.Prefixes), first: from != eventstore.Start}, err
}

type resumed struct {
	eventstore.Subscription
	from   *resuming
	filter string
	first  bool
}

func (r *resumed) Next(ctx context.Context) (eventstore.Notice, error) {
	r.from.mu.Lock()
	last, any := r.from.last[r.filter]
	r.from.mu.Unlock()
	if r.first && !r.from.skips && any {
		r.first = false
		return last, nil
	}
	n, err := r.Subscription.Next(ctx)
	if err == nil && n.Kind == eventstore.Delivered && r.first {
		r.first = false
		if n, err = r.Subscription.Next(ctx); err != nil {
			return n, err
		}
	}
	if err == nil && n.Kind == eventstore.Delivered {
		r.from.mu.Lock()
		if r.from.last == nil {
			r.from.last = map[string]eventstore.Notice{}
		}
		r.from.last[r.filter] = n
		r.from.mu.Unlock()
	}
	return n, err
}

// delivering spoils what a subscription delivers.
type delivering struct {
	eventstore.Store
	swap, ahead, early bool
}

func (d *delivering) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	sub, err := d.Store.Subscribe(ctx, from, filter)
	return &delivered{Subscription: sub, bug: d}, err
}

type delivered struct {
	eventstore.Subscription
	bug  *delivering
	seen int
	held []eventstore.Notice
}

func (d *delivered) Next(ctx context.Context) (eventstore.Notice, error) {
	if len(d.held) > 0 {
		n := d.held[0]
		d.held = d.held[1:]
		return n, nil
	}
	n, err := d.Subscription.Next(ctx)
	if err != nil || n.Kind != eventstore.Delivered {
		return n, err
	}
	if d.seen++; d.seen != 10 {
		return n, nil
	}
	switch at := n.Position; {
	case d.bug.swap:
		after, err := d.Subscription.Next(ctx)
		if err != nil || after.Kind != eventstore.Delivered {
			return after, err
		}
		n.Position, after.Position = after.Position, at // the positions look right
		d.held = append(d.held, n)
		return after, nil
	case d.bug.ahead:
		d.held = append(d.held, n)
		return eventstore.Notice{Kind: eventstore.Checkpoint, Position: at}, nil
	case d.bug.early:
		d.held = append(d.held, n)
		at.Commit, at.Prepare = at.Commit-1, at.Prepare-1
		return eventstore.Notice{Kind: eventstore.CaughtUp, Position: at}, nil
	}
	return n, nil
}

// reader leaves an event out of what is read of a stream.
type reader struct {
	eventstore.Store
	stale bool
}

func (r *reader) ReadStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		n, held := 0, []eventstore.Record(nil)
		for rec, err := range r.Store.ReadStream(ctx, stream, from, dir, limit) {
			n++
			switch {
			case err != nil:
				yield(rec, err)
				return
			case r.stale && dir == eventstore.Forwards:
				if held = append(held, rec); n == 1 {
					continue
				}
				rec, held = held[0], held[1:]
			case r.stale && n == 1, !r.stale && n == 2:
				continue
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}
