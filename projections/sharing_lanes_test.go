package projections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docket-orders/docket/projections"
)

// TestLanesInVirtualTime: three processes share a store; again and again one or two
// of them are killed, paused for longer than the lease, or stopped, and others join.
// While one process runs all along, no lane is without an owner that runs for more
// than two leases; a former owner moves no checkpoint, and writes nothing but what
// the log says (the witness looks at both); and what is parked by a process that
// does not know that it has lost its lane is not.
func TestLanesInVirtualTime(t *testing.T) {
	campaign(t, 1+schedules(t)/10, func(s *shared) {
		for range 3 {
			s.start()
		}
		watching, stop := context.WithCancel(s.ctx)
		watched := make(chan struct{})
		go func() { s.witness.watch(watching); close(watched) }()
		ids := make([]string, 8)
		for i := range ids {
			ids[i] = fmt.Sprint("o", s.rng.IntN(1000), "-", i)
		}
		paused := map[*process]time.Time{}
		for range 10 + s.rng.IntN(10) {
			s.goes(time.Duration(s.rng.Int64N(int64(lease))))
			for p, until := range paused {
				if time.Now().After(until) {
					s.resume(p)
					delete(paused, p)
				}
			}
			for range s.rng.IntN(3) {
				s.grow(ids[s.rng.IntN(len(ids))])
			}
			p := s.some()
			if _, still := paused[p]; still || len(s.processes)-len(paused) < 2 {
				s.start()
				continue
			}
			switch s.rng.IntN(6) {
			case 0:
				s.kill(p)
			case 1:
				s.stop(p)
			case 2:
				s.pause(p)
				paused[p] = time.Now().Add(lease + time.Duration(s.rng.Int64N(int64(3*lease))))
			case 3:
				if len(s.processes) < 4 {
					s.start()
				}
			case 4: // each order is something to do in a lane of its own
				id := ids[s.rng.IntN(len(ids))]
				s.asked("retry "+id, func(ctx context.Context) error { return p.m.Retry(ctx, id) })
				s.did["retried"]++
			}
		}
		for p := range paused {
			s.resume(p)
		}
		s.atRest()
		s.goes(4 * lease) // within which the shares come to rest
		rest := s.claims()
		s.goes(4 * lease)
		if n := s.claims() - rest; n > 0 {
			s.t.Errorf("%d claims when all lanes were dealt", n)
		}
		stop()
		<-watched
		if s.witness.longest > 2*lease {
			s.t.Errorf("a lane was without an owner for %v, and the lease is %v", s.witness.longest, lease)
		}
		s.must(s.uneven())
		s.checkStored(1, nil)
		s.end()
		s.checkReleased()
	})
}

func (s *shared) claims() int {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	return s.witness.claims
}

// uneven says who has more lanes than the others, or fewer, by more than one.
func (s *shared) uneven() error {
	s.witness.mu.Lock()
	defer s.witness.mu.Unlock()
	has := map[string]int{}
	for _, owner := range s.witness.owners {
		has[owner]++
	}
	for _, p := range s.processes {
		if n, of := has[p.name], len(s.processes); n < projections.Lanes/of || n > (projections.Lanes+of-1)/of {
			return fmt.Errorf("%s has %d of %d lanes, among %d: %v", p.name, n, projections.Lanes, of, has)
		}
	}
	return nil
}

// checkReleased: when all processes were stopped as they should be, nobody who
// comes has to wait for a lease.
func (s *shared) checkReleased() {
	s.t.Helper()
	sink, err := s.backend.Open(s.ctx, 1)
	s.must(err)
	lanes, err := sink.Checkpoints(s.ctx)
	s.must(err)
	for _, c := range lanes {
		if c.Owner != "" {
			s.t.Errorf("lane %d is still %s's", c.Lane, c.Owner)
		}
	}
}

// TestReleasedByAnother: who takes a lane knows what its former owner has released
// just before.
func TestReleasedByAnother(t *testing.T) {
	spill := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newShared(t, 1, spill)
		defer s.abandon()
		parked, beside := "o0", "o1" // in one lane
		for i := 2; projections.LaneOf(beside) != projections.LaneOf(parked); i++ {
			beside = fmt.Sprint("o", i)
		}
		one, other := s.start(), s.start()
		s.backend.Refuse(parked, errNotYet)
		s.grow(parked)
		s.atRest()
		for _, p := range s.processes {
			s.asked(p.name+" hears that the order is parked", func(context.Context) error {
				if _, known := p.m.ParkedOrder(parked); !known {
					return errors.New("it does not know")
				}
				return nil
			})
		}
		s.backend.Refuse(parked, nil)
		s.must(one.m.Retry(s.ctx, parked))
		s.kill(one)
		// The other takes the lane as soon as it knows whose it is.
		s.asked("retry beside it", func(ctx context.Context) error { return other.m.Retry(ctx, beside) })
		s.grow(parked)
		s.atRest()
		s.checkStored(1, nil)
		s.end()
	})
}
