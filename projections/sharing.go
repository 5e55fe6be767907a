package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

const (
	// pollMin and pollMax bound the wait between two looks at how far the lanes of
	// other processes are, while somebody waits for them.
	pollMin = 20 * time.Millisecond
	pollMax = 500 * time.Millisecond
	// pollMissing is that while it is known which orders are waited for.
	pollMissing = 50 * time.Millisecond
	// turnAttempts is how often an order's lane is taken for something to be done
	// in it, when others take it back meanwhile.
	turnAttempts = 5
	// claimsAtOnce bounds the claims that are under way.
	claimsAtOnce = 8
)

// sharing is how a process takes part in feeding a generation of a shared store.
type sharing struct {
	owner string        // of the lanes; of this process and run alone
	lease time.Duration // a lane whose beat stands still for so long is taken over
	// fill brings lanes, which are empty, to the end of the log when that is much
	// quicker than to follow it, and does nothing otherwise; nil: it never is.
	fill func(ctx context.Context, lanes []Checkpoint) error
}

// sharer feeds its share of a generation's lanes; other processes feed the rest.
//
// Two goroutines keep the share, whatever else goes on (sharing_share.go): one
// gives signs of life, one looks at the records of all lanes and claims what
// should be this process's. run feeds the lanes in sessions: each is the life of
// one feeder, from the lowest checkpoint of its lanes on, and ends when the lanes
// change.
type sharer struct {
	*applier
	sharing
	log     eventstore.LogIdentity
	clock   func() time.Time
	looking chan struct{} // holds the token of the one look
	// claiming is held while lanes are claimed: a session that begins meanwhile
	// would have a part of them, and end as soon as the rest are there.
	claiming turnstile
	done     chan struct{} // closed when run has returned

	mu      sync.Mutex
	seen    lanesSeen
	held    map[int]uint64 // the tokens of the lanes that this process has
	changed chan struct{}  // closed, and replaced, when held changes
	session *feeder        // nil between sessions
	filling bool
	turned  chan struct{} // closed, and replaced, when session or filling changes
	end     error         // why run returned
}

// newSharer takes part in feeding a generation. Lanes are claimed by run.
func newSharer(a *applier, log eventstore.LogIdentity, clock func() time.Time, how sharing) *sharer {
	return &sharer{
		applier: a, sharing: how, log: log, clock: clock, looking: make(chan struct{}, 1), claiming: make(turnstile, 1), done: make(chan struct{}),
		seen: lanesSeen{lease: how.lease}, held: map[int]uint64{},
		changed: make(chan struct{}), turned: make(chan struct{}),
	}
}

// run implements feeding. When it returns the lanes are free for others.
func (s *sharer) run(ctx context.Context) error {
	feeding, fail := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { s.every(feeding, fail, s.beat) })
	keeping.Go(func() { s.every(feeding, fail, s.deal) })
	err := s.sessions(feeding)
	if feeding.Err() != nil {
		err = context.Cause(feeding)
	}
	fail(nil)
	keeping.Wait()
	s.release(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	s.mu.Lock()
	s.end = err
	s.mu.Unlock()
	close(s.done)
	return err
}

// sessions feeds the lanes that there are, until something fails that waiting
// does not cure.
func (s *sharer) sessions(ctx context.Context) error {
	var pause backoff
	for ctx.Err() == nil {
		if s.unsure.Swap(false) {
			if err := s.claimAgain(ctx); err != nil {
				return err
			}
		}
		lanes, changed, err := s.begin(ctx)
		if err != nil {
			return err
		}
		if len(lanes) == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		filled, err := s.fillEmpty(ctx, lanes)
		if err == nil && !filled {
			err = s.feed(ctx, lanes, changed)
		}
		switch {
		case err == nil:
			pause.failures = 0
		case !errors.Is(err, ErrLaneLost):
			return err
		case pause.wait(ctx) != nil: // which lane it was shows in the records
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// begin reads where the lanes that this process has are, and then what is parked
// in them: others fed them before. changed is closed when these are no longer its
// lanes.
func (s *sharer) begin(ctx context.Context) (lanes []Checkpoint, changed <-chan struct{}, err error) {
	err = s.untilDone(ctx, "read checkpoints", func() error {
		if err := s.look(ctx); err != nil {
			return err
		}
		if err := s.claiming.lock(ctx); err != nil {
			return err
		}
		lanes, changed = s.holding()
		s.claiming.unlock()
		return s.loadParked(ctx)
	})
	return lanes, changed, err
}

// holding is the records of the lanes that this process has.
func (s *sharer) holding() (lanes []Checkpoint, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for lane, c := range s.seen.records {
		if _, ours := s.held[lane]; ours {
			lanes = append(lanes, c)
		}
	}
	return lanes, s.changed
}

// fillEmpty fills the empty lanes among those, and reports whether any is filled.
func (s *sharer) fillEmpty(ctx context.Context, lanes []Checkpoint) (filled bool, err error) {
	var empty []Checkpoint
	for _, c := range lanes {
		if c.Position == eventstore.Start {
			empty = append(empty, c)
		}
	}
	if len(empty) == 0 || s.fill == nil {
		return false, nil
	}
	s.turn(nil, true)
	defer s.turn(nil, false)
	at := placesOf(lanes)
	s.claimed = func(lane int) (Checkpoint, bool) {
		if at[lane] < 0 || !s.has(lane, lanes[at[lane]].Token) {
			return Checkpoint{}, false
		}
		return lanes[at[lane]], true
	}
	var unreadable error // by the log: trying again does not cure it
	err = s.untilDone(ctx, "build the views", func() error {
		err := s.fill(ctx, empty)
		if errors.Is(err, eventstore.ErrCorrupt) {
			unreadable, err = err, nil
		}
		return err
	})
	for _, c := range empty {
		filled = filled || c.Position != eventstore.Start
	}
	if err == nil {
		err = unreadable
	}
	return filled, err
}

// feed is one session.
func (s *sharer) feed(ctx context.Context, lanes []Checkpoint, changed <-chan struct{}) error {
	idle := time.NewTicker(touchedEvery)
	defer idle.Stop()
	f := newFeeder(s.applier, lanes, s.log, s.clock)
	f.leave, f.idle = changed, idle.C
	s.claimed = func(lane int) (Checkpoint, bool) {
		if f.at[lane] < 0 || !s.has(lane, f.lanes[f.at[lane]].Token) {
			return Checkpoint{}, false
		}
		return f.lanes[f.at[lane]], true
	}
	s.turn(f, false)
	defer s.turn(nil, false)
	return f.run(ctx)
}

// turn notes what run is at, and tells those who wait for it.
func (s *sharer) turn(session *feeder, filling bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session == nil && s.session != nil {
		applied := s.session.position()
		for _, c := range s.session.lanes {
			if !applied.Before(c.Position) { // else the write that was to move it failed
				s.seen.moved(c)
			}
		}
	}
	s.session, s.filling = session, filling
	close(s.turned)
	s.turned = make(chan struct{})
}

// ended implements feeding.
func (s *sharer) ended() <-chan struct{} { return s.done }

// failure implements feeding.
func (s *sharer) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		return s.end
	}
	return ErrClosed
}

// position implements feeding: where other processes are is known as of the last
// look.
func (s *sharer) position() eventstore.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.records == nil {
		return eventstore.Start
	}
	own, others := s.progress()
	if others.Before(own) {
		return others
	}
	return own
}

// progress is up to where the lanes of the session are applied, and all other
// lanes; End where there are none. mu is held.
func (s *sharer) progress() (own, others eventstore.Position) {
	if s.session == nil {
		return eventstore.End, s.seen.lowest(func(int) bool { return true })
	}
	at := &s.session.at
	return s.session.position(), s.seen.lowest(func(lane int) bool {
		_, held := s.held[lane]
		return !held || at[lane] < 0
	})
}

// reach implements feeding. While it waits for the lanes of other processes it
// looks at their records now and then.
func (s *sharer) reach(ctx context.Context, target eventstore.Position) error {
	return s.await(ctx, target, false)
}

// show returns when everything up to a position is applied or parked, which the
// records of the lanes may not say yet: it also looks at the orders that are missing.
func (s *sharer) show(ctx context.Context, target eventstore.Position) error {
	return s.await(ctx, target, true)
}

func (s *sharer) await(ctx context.Context, target eventstore.Position, soon bool) error {
	var lacks missing
	for pause := pollMin; ; pause = min(2*pause, pollMax) {
		if lacks.known {
			pause = min(pause, pollMissing)
		}
		s.mu.Lock()
		known, f, turned := s.seen.records != nil, s.session, s.turned
		own, others := s.progress()
		s.mu.Unlock()
		reached := known && !others.Before(target)
		if reached && !own.Before(target) {
			return nil
		}
		var stepped chan struct{}
		if f != nil {
			f.mu.Lock()
			broken, behind := f.broken, f.processed.Before(target)
			if behind {
				stepped = f.stepped
			}
			f.mu.Unlock()
			if behind && broken != nil {
				return fmt.Errorf("the views do not reach position %s: %w", target, broken)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-stepped:
			timer.Stop()
			pause = pollMin / 2
			continue
		case <-turned: // it feeds what it has filled
			timer.Stop()
			pause = pollMin / 2
			continue
		case <-timer.C:
		case <-s.done:
			timer.Stop()
			return s.failure()
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		if !reached {
			if soon && s.shows(ctx, target, &lacks) {
				return nil
			}
			lately := pause / 2
			if lacks.known {
				lately = pollMax / 2
			}
			if err := s.lookLately(ctx, lately); err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

// inTurn implements feeding: it takes the order's lane, whoever has it, and does
// what is to be done between two rounds of the session that feeds it. Later others
// may take the lane back, when this process has more than its share.
func (s *sharer) inTurn(ctx context.Context, task orderTask, id string) error {
	lane := LaneOf(id)
	for range turnAttempts {
		if err := s.take(ctx, lane); err != nil {
			return err
		}
		f, err := s.sessionOf(ctx, lane)
		if err != nil {
			return err
		}
		if f == nil {
			continue // somebody else has the lane again
		}
		err = f.inTurn(ctx, task, id)
		select {
		case <-s.done:
			return err
		default:
		}
		if !errors.Is(err, ErrLaneLost) && !errors.Is(err, ErrClosed) {
			return err
		}
		if err := s.look(ctx); err != nil { // it shows whose the lane is
			return err
		}
	}
	return fmt.Errorf("%w: the lane of order %s is taken by others again and again", ErrUnavailable, id)
}

// sessionOf waits for the session that feeds a lane; nil when the lane is not this
// process's.
func (s *sharer) sessionOf(ctx context.Context, lane int) (*feeder, error) {
	for {
		s.mu.Lock()
		f, filling, turned, changed := s.session, s.filling, s.turned, s.changed
		_, held := s.held[lane]
		s.mu.Unlock()
		switch {
		case !held:
			return nil, nil
		case filling:
			return nil, ErrRebuilding
		case f != nil && f.at[lane] >= 0:
			return f, nil
		}
		select {
		case <-turned:
		case <-changed:
		case <-s.done:
			return nil, s.failure()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
