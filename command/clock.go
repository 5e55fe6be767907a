package command

import (
	"context"
	"sync"
	"time"
)

// clock dates what is recorded: in microseconds, UTC. See
// docs/decisions/0002-recorded-at.md.
type clock struct {
	source func() time.Time

	mu     sync.Mutex
	latest time.Time // that advance gave
	begun  bool      // latest is not below what is in the log
}

func (c *clock) now() time.Time { return c.source().UTC().Truncate(time.Microsecond) }

// after is now, raised to floor.
func (c *clock) after(floor time.Time) time.Time {
	if now := c.now(); now.After(floor) {
		return now
	}
	return floor
}

// ready sees to it that advance begins at or after the newest time of the log,
// which newest reads once.
func (c *clock) ready(ctx context.Context, newest func(context.Context) (time.Time, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun {
		return nil
	}
	at, err := newest(ctx)
	if err != nil {
		return err
	}
	if at.After(c.latest) {
		c.latest = at
	}
	c.begun = true
	return nil
}

// advance is now, raised to floor and to what it gave before.
func (c *clock) advance(floor time.Time) time.Time {
	at := c.after(floor)
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.Before(c.latest) {
		at = c.latest
	}
	c.latest = at
	return at
}

// afterTold is at, raised to the latest time that advance gave.
func (c *clock) afterTold(at time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.Before(c.latest) {
		return c.latest
	}
	return at
}
