package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sweeps bounds how often sweep looks: what is still fed then is left to the next
// time that something happens to a generation.
const sweeps = 10

// sweep removes from a shared store what the registry does not have: generations of
// which no lane's record has changed for two leases. Those who serve or make one,
// in whatever process, beat.
func (m *Manager) sweep(ctx context.Context) {
	if !m.sweeping.CompareAndSwap(false, true) {
		return
	}
	defer m.sweeping.Store(false)
	seen := map[int][]Checkpoint{}
	for range sweeps {
		left, err := m.sweepOnce(ctx, seen)
		if err != nil && ctx.Err() == nil {
			m.Logger.Warn("generations not swept", "store", m.StoreName, "error", err)
		}
		if err == nil && left == 0 || pauseFor(ctx, max(2*m.Lease, 20*time.Millisecond)) != nil {
			return
		}
	}
}

// sweepOnce drops what stands as it was seen, notes how the rest stands, and
// returns how many there are of those.
func (m *Manager) sweepOnce(ctx context.Context, seen map[int][]Checkpoint) (left int, err error) {
	numbers, err := m.Backend.Generations(ctx)
	if err != nil {
		return 0, fmt.Errorf("list generations: %w", err)
	}
	// Read after them: what is made live meanwhile is fed, and does not stand.
	all, err := m.registry.read(ctx)
	if err != nil {
		return 0, err
	}
	log, err := m.Store.Log(ctx)
	if err != nil {
		return 0, fmt.Errorf("identify log: %w", err)
	}
	stands := all.store(m.StoreName)
	var found []int
	defer func() {
		m.mu.Lock()
		m.left = found
		m.mu.Unlock()
	}()
	for _, n := range numbers {
		if stands.holds(n) || m.generationOf(n) != nil {
			continue
		}
		found = append(found, n)
		records, err := m.records(ctx, n)
		if err != nil {
			return 0, err
		}
		if ofAnotherLog(records, log) {
			continue // another docket's, perhaps one that rests
		}
		if before, ok := seen[n]; !ok || !slices.Equal(before, records) {
			seen[n] = records
			left++
			continue
		}
		if err := m.Backend.Drop(ctx, n); err != nil {
			return 0, fmt.Errorf("drop generation %d: %w", n, err)
		}
		found = found[:len(found)-1]
		m.Logger.Info("generation dropped", "store", m.StoreName, "generation", n)
	}
	return left, nil
}

// records of a generation's lanes; none where it cannot be read.
func (m *Manager) records(ctx context.Context, number int) ([]Checkpoint, error) {
	sink, err := m.Backend.Open(ctx, number)
	var lanes []Checkpoint
	if err == nil {
		lanes, err = sink.Checkpoints(ctx)
		err = errors.Join(err, sink.Close())
	}
	if errors.Is(err, ErrLost) || errors.Is(err, ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at generation %d: %w", number, err)
	}
	return lanes, nil
}
