package esdb

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// TestNotLeader: a node that sends to the leader is left for it; and when that
// is not there nobody waits longer than his context. It is the last test of the
// package: the client forgets the connection to a leader that does not answer,
// and its goroutines stay.
func TestNotLeader(t *testing.T) {
	leader := esdbservertest.Run(t, esdbserver.Options{Store: embedded(t, t.TempDir())})
	s := open(t, "esdb://"+esdbservertest.Follower(t, leader.Address)+"?tls=false&gossipTimeout=1&defaultDeadline=500")
	append := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := s.Append(ctx, "order-1", eventstore.Any, []eventstore.Event{event()})
		return err
	}
	if err := append(); err != nil {
		t.Fatal(err)
	}
	leader.Stop()
	var work sync.WaitGroup
	for range 32 {
		work.Go(func() {
			if err := append(); !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
				t.Errorf("append without a leader: %v", err)
			}
		})
	}
	work.Wait()
	leader.Start()
	until(t, append)
}
