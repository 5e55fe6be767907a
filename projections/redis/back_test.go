package redis_test

import (
	"errors"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
)

// TestWentBack: a Redis that comes back as it was some time ago (from a snapshot,
// or as a replica without the last writes) has lost documents and checkpoints
// together. Who fed it meanwhile learns of it before any checkpoint moves past
// what is gone, and goes on from where the store is.
func TestWentBack(t *testing.T) {
	server := testservers.StartRedis(t, "--appendonly", "no")
	s := generation(t, open(t, "redis://"+server.Address, ""), 0)
	cp, err := s.Claim(t.Context(), 7, "me", 0)
	if err != nil {
		t.Fatal(err)
	}
	moveTo := func(n uint64) error {
		t.Helper()
		cp.Position = eventstore.Position{Commit: n, Prepare: n}
		_, err := s.Write(t.Context(), projections.Batch{Checkpoints: []projections.Checkpoint{cp}})
		return err
	}
	if err := moveTo(100); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do("SAVE"); err != nil {
		t.Fatal(err)
	}
	if err := moveTo(200); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Restart()
	if lost, err := s.Beat(t.Context(), []projections.Checkpoint{cp}); err != nil || len(lost) != 1 {
		t.Errorf("a sign of life in a lane that went back: lost %v, %v", lost, err)
	}
	if err := moveTo(300); !errors.Is(err, projections.ErrLaneLost) {
		t.Errorf("past what is gone: %v, want %v", err, projections.ErrLaneLost)
	}
	kept, err := s.Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if cp = kept[7]; cp.Position.Commit != 100 {
		t.Errorf("the lane is at %s", cp.Position)
	}
	if cp, err = s.Claim(t.Context(), 7, "me", cp.Token); err != nil {
		t.Fatal(err)
	}
	if err := moveTo(200); err != nil {
		t.Errorf("claimed again: %v", err)
	}
	if lost, err := s.Beat(t.Context(), []projections.Checkpoint{cp}); err != nil || len(lost) != 0 {
		t.Errorf("claimed again: lost %v, %v", lost, err)
	}
}
