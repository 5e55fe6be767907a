package projections_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docket-orders/docket/projections"
)

// schedules is how many random schedules of faults are taken: DOCKET_SCHEDULES, or
// a few.
func schedules(t *testing.T) int {
	text := os.Getenv("DOCKET_SCHEDULES")
	if text == "" {
		return 150
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("DOCKET_SCHEDULES: %q", text)
	}
	return n
}

// campaign runs one schedule after the other, each in a bubble of its own, on all
// processors, and tells what happened how often.
func campaign(t *testing.T, n int, one func(s *shared)) {
	var next, failed atomic.Int64
	var mu sync.Mutex
	did, longest := map[string]int{}, time.Duration(0)
	spill := t.TempDir()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // worlds are small, and live for milliseconds
	t.Run("schedules", func(t *testing.T) {
		for worker := range 2 {
			t.Run(fmt.Sprint("worker", worker), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1); seed <= int64(n) && failed.Load() < 3; seed = next.Add(1) {
					synctest.Test(t, func(t *testing.T) {
						s := newShared(t, uint64(seed), spill)
						defer func() {
							s.abandon()
							if t.Failed() {
								failed.Add(1)
								t.Logf("schedule %d: %v", seed, s.did)
							}
						}()
						one(s)
						mu.Lock()
						defer mu.Unlock()
						for what, times := range s.did {
							did[what] += times
						}
						longest = max(longest, s.witness.longest)
					})
				}
			})
		}
	})
	var told []string
	for what, times := range did {
		told = append(told, fmt.Sprint(what, " ", times))
	}
	sort.Strings(told)
	t.Logf("%d schedules: %s; longest without an owner %v", n, strings.Join(told, ", "), longest)
}

// TestFaultsInVirtualTime: whatever becomes of the processes that share a store,
// and of the store, in the end the views are equal to the log: no event is left
// out, what is parked is parked for its own fault, and is healed by a retry.
func TestFaultsInVirtualTime(t *testing.T) {
	campaign(t, schedules(t), func(s *shared) {
		ids := make([]string, 2+s.rng.IntN(6))
		for i := range ids {
			ids[i] = fmt.Sprint("o", s.rng.IntN(1000), "-", i)
		}
		healthy := ids // takes events
		refused, prefix := map[string]bool{}, map[string]int{}
		paused := map[*process]bool{}
		for range 1 + s.rng.IntN(3) {
			s.start()
		}
		for range 8 + s.rng.IntN(12) {
			s.goes(time.Duration(s.rng.Int64N(int64(lease / 2))))
			switch s.rng.IntN(24) {
			case 0:
				if len(s.processes) > 1 {
					s.kill(s.some())
				}
			case 1:
				if p := s.some(); len(s.processes) > 1 && !paused[p] {
					s.stop(p)
				}
			case 2, 3:
				if len(s.processes) < 3 {
					s.start()
				}
			case 4:
				if p := s.some(); !paused[p] {
					s.pause(p)
					paused[p] = true
				}
			case 5:
				for p := range paused {
					s.resume(p)
				}
				clear(paused)
			case 6:
				s.faults.Outage(true)
				s.goes(time.Duration(s.rng.Int64N(int64(3 * lease))))
				s.faults.Outage(false)
				s.did["outages"]++
			case 7:
				s.faults.Stall(time.Duration(s.rng.Int64N(int64(3 * lease))))
				s.did["stalls"]++
			case 8:
				s.faults.Lossy([]int{0, 3, 10}[s.rng.IntN(3)])
			case 9:
				s.backend.BreakWrites(1 + s.rng.IntN(3))
				s.did["broken writes"]++
			case 10:
				id := ids[s.rng.IntN(len(ids))]
				s.backend.Refuse(id, errNotYet)
				refused[id] = true
				s.did["refused"]++
			case 11:
				if len(healthy) > 1 && s.rng.IntN(3) == 0 {
					id := healthy[0]
					healthy = healthy[1:]
					prefix[id] = len(s.expected[id])
					s.appendPoison(id)
					s.did["poisoned"]++
				}
			case 12, 13: // perhaps before it is parked, or its lane taken over
				for id := range refused {
					s.backend.Refuse(id, nil)
					if p := s.some(); !paused[p] {
						soon, cancel := context.WithTimeout(s.ctx, lease)
						if p.m.Retry(soon, id) == nil {
							s.did["healed"]++
						}
						cancel()
					}
					if _, poisoned := prefix[id]; !poisoned && s.rng.IntN(2) == 0 {
						s.grow(id)
					}
				}
			case 14:
				if s.rng.IntN(8) == 0 {
					s.must(s.flush())
				}
			default:
				for range 1 + s.rng.IntN(3) {
					s.grow(healthy[s.rng.IntN(len(healthy))])
				}
			}
		}
		s.faults.Lossy(0)
		for id := range refused {
			s.backend.Refuse(id, nil)
		}
		for p := range paused {
			s.resume(p)
		}
		if len(s.processes) == 0 {
			s.start()
		}
		s.atRest()
		for id := range refused {
			s.asked("retry "+id, func(ctx context.Context) error {
				err := s.some().m.Retry(ctx, id)
				if _, poisoned := prefix[id]; poisoned && errors.Is(err, projections.ErrParked) {
					return nil
				}
				return err
			})
		}
		s.grow(healthy[0])
		s.atRest()
		s.checkStored(1, prefix)
		s.end()
	})
}
