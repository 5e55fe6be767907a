package projections

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// every does something four times a lease until ctx ends. What fails is done again
// in its turn; what waiting does not cure ends everything.
func (s *sharer) every(ctx context.Context, fail context.CancelCauseFunc, do func(context.Context) error) {
	tick := time.NewTicker(max(s.lease/4, time.Millisecond))
	defer tick.Stop()
	for {
		brief, cancel := context.WithTimeout(ctx, s.lease)
		err := do(brief)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !errors.Is(err, ErrLaneLost) && (final(err) || errors.Is(err, ErrDamaged)):
			fail(err)
			return
		case err != nil:
			s.logger.Debug("lanes are not looked after", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// beat gives a sign of life for all lanes that this process has.
func (s *sharer) beat(ctx context.Context) error {
	s.mu.Lock()
	lanes := make([]Checkpoint, 0, len(s.held))
	for lane, token := range s.held {
		lanes = append(lanes, Checkpoint{Lane: lane, Token: token})
	}
	s.mu.Unlock()
	if len(lanes) == 0 {
		return nil
	}
	slices.SortFunc(lanes, func(a, b Checkpoint) int { return a.Lane - b.Lane })
	lost, err := s.sink.Beat(ctx, lanes)
	if err != nil {
		return fmt.Errorf("give a sign of life: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range lanes {
		if slices.Contains(lost, c.Lane) && s.held[c.Lane] == c.Token {
			s.drop(c.Lane)
		}
	}
	return nil
}

// deal looks at all lanes, and claims those that should be this process's.
func (s *sharer) deal(ctx context.Context) error {
	if err := s.look(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	owners := s.seen.owners()
	for lane := range s.held {
		owners[lane] = s.owner
	}
	var wanted []Checkpoint
	for _, lane := range claims(owners, s.seen.lying, s.owner) {
		wanted = append(wanted, s.seen.records[lane])
	}
	s.mu.Unlock()
	return s.claim(ctx, wanted)
}

// claim claims lanes as they were seen. It fails when the store does; a lane that
// another process has claimed meanwhile is its own. A claim that is under way is
// waited for, so that what ends can release what it has.
func (s *sharer) claim(ctx context.Context, lanes []Checkpoint) error {
	if len(lanes) == 0 {
		return nil
	}
	if err := s.claiming.lock(ctx); err != nil {
		return err
	}
	defer s.claiming.unlock()
	claimed, err := claimAll(ctx, s.sink, lanes, s.owner)
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := false
	for _, c := range claimed {
		s.seen.took(time.Now(), c)
		taken = s.hold(c) || taken
	}
	if taken { // one session for all of them
		s.stir()
	}
	if err != nil {
		return fmt.Errorf("claim lanes: %w", err)
	}
	return nil
}

// claimAll claims lanes, all at once where the sink can, else several at a time,
// and leaves out those that another has claimed. Those that it has claimed come
// with an error, too. What is under way when ctx ends is waited for, briefly.
func claimAll(ctx context.Context, sink Sink, lanes []Checkpoint, owner string) (claimed []Checkpoint, err error) {
	briefly := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	}
	if all, ok := sink.(LaneClaimer); ok && len(lanes) > 1 {
		claiming, cancel := briefly()
		defer cancel()
		return all.ClaimLanes(claiming, lanes, owner)
	}
	var mu sync.Mutex
	err = atOnce(lanes, func(c Checkpoint) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		claiming, cancel := briefly()
		defer cancel()
		c, err := sink.Claim(claiming, c.Lane, owner, c.Token)
		if errors.Is(err, ErrLaneLost) {
			return nil
		}
		if err == nil {
			mu.Lock()
			claimed = append(claimed, c)
			mu.Unlock()
		}
		return err
	})
	return claimed, err
}

// claimAgain raises the tokens of all lanes that this process has: a write of its
// own that nobody answered may still be on its way, and must not move a checkpoint
// back or park what is released by then.
func (s *sharer) claimAgain(ctx context.Context) error {
	former := map[int]uint64{}
	s.mu.Lock()
	maps.Copy(former, s.held)
	s.mu.Unlock()
	return s.untilDone(ctx, "claim lanes again", func() error {
		if err := s.look(ctx); err != nil {
			return err
		}
		var same []Checkpoint
		lanes, _ := s.holding()
		for _, c := range lanes {
			if former[c.Lane] == c.Token {
				same = append(same, c)
			}
		}
		return s.claim(ctx, same)
	})
}

// atOnce calls do for all of these, several at once, and returns an error of one.
func atOnce[T any](all []T, do func(T) error) error {
	var working sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := range min(claimsAtOnce, len(all)) {
		working.Go(func() {
			for k := i; k < len(all); k += claimsAtOnce {
				if err := do(all[k]); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	working.Wait()
	return failed
}

// look reads the records of all lanes, and learns from them which lanes this
// process has.
func (s *sharer) look(ctx context.Context) error {
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	asked := time.Now()
	records, err := s.sink.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("read checkpoints: %w", err)
	}
	if wrong := lanesWrong(records); wrong != "" {
		return fmt.Errorf("%w: %s", ErrDamaged, wrong)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for lane, c := range records {
		token, held := s.held[lane]
		switch {
		case held && c.Token < token: // claimed after it was read
			records[lane] = s.seen.records[lane]
		case c.Owner == s.owner: // also where the answer to a claim was lost
			if s.hold(c) {
				s.stir()
			}
		case held: // under the same token too: the store went back, and gave it twice
			s.drop(lane)
		}
	}
	s.seen.look(asked, time.Now(), records)
	return nil
}

// lookLately looks unless somebody has within a while.
func (s *sharer) lookLately(ctx context.Context, while time.Duration) error {
	s.mu.Lock()
	lately := s.seen.records != nil && time.Since(s.seen.looked) < while
	s.mu.Unlock()
	if lately {
		return nil
	}
	return s.look(ctx)
}

// hold notes that this process has a lane, and reports whether that is new: then
// stir is called, too. mu is held.
func (s *sharer) hold(c Checkpoint) bool {
	if token, held := s.held[c.Lane]; held && token >= c.Token {
		return false
	}
	s.held[c.Lane] = c.Token
	return true
}

// drop notes that this process has a lane no more; mu is held.
func (s *sharer) drop(lane int) {
	delete(s.held, lane)
	s.stir()
}

// stir ends the session, for another with the lanes that there are now; mu is held.
func (s *sharer) stir() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// has reports whether this process has a lane under a token, as far as it knows.
func (s *sharer) has(lane int, token uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok := s.held[lane]
	return ok && held == token
}

// take makes a lane this process's, whoever has it. It fails when the sink does not
// do it within about a second: somebody waits.
func (s *sharer) take(ctx context.Context, lane int) error {
	return s.briefly(ctx, fmt.Sprintf("take lane %d", lane), func() error {
		select {
		case <-s.done:
			return s.failure()
		default:
		}
		s.mu.Lock()
		_, held := s.held[lane]
		s.mu.Unlock()
		if held {
			return nil
		}
		if err := s.look(ctx); err != nil {
			return err
		}
		s.mu.Lock()
		_, held = s.held[lane]
		seen := s.seen.records[lane]
		s.mu.Unlock()
		if held {
			return nil
		}
		if err := s.claim(ctx, []Checkpoint{seen}); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, held := s.held[lane]; !held {
			return errors.New("another process was faster")
		}
		return nil
	})
}

// release makes the lanes free, so that nobody has to wait for a lease.
func (s *sharer) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	s.mu.Lock()
	var lanes []Checkpoint
	for lane, token := range s.held {
		lanes = append(lanes, Checkpoint{Lane: lane, Token: token})
	}
	clear(s.held)
	s.mu.Unlock()
	_, err := claimAll(ctx, s.sink, lanes, "")
	if err != nil {
		s.logger.Warn("lanes not released: others take them over after a lease", "error", err)
	}
}

// laneStatus tells who has which lane, in order of lanes; nothing before their
// records were read.
func (s *sharer) laneStatus() []LaneStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]LaneStatus, len(s.seen.records))
	for lane, c := range s.seen.records {
		_, ours := s.held[lane]
		all[lane] = LaneStatus{Lane: lane, Owner: c.Owner, Ours: ours, Position: c.Position}
		if ours && s.session != nil && s.session.at[lane] >= 0 {
			if now := s.session.position(); c.Position.Before(now) {
				all[lane].Position = now
			}
		}
		if !ours && c.Owner != "" {
			all[lane].StillMs = s.seen.still(lane).Milliseconds()
		}
	}
	return all
}

var _ feeding = (*sharer)(nil)
