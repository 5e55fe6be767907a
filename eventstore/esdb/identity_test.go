package esdb

import (
	"sync"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// TestOneIdentity: whoever comes first gives the log its identity, and everybody
// reads the same.
func TestOneIdentity(t *testing.T) {
	noLeaks(t)
	connection := esdbservertest.Insecure(esdbservertest.Start(t, esdbserver.Options{Store: embedded(t, t.TempDir())}))
	const processes = 8
	var logs [processes]eventstore.LogIdentity
	var work sync.WaitGroup
	for i := range processes {
		work.Go(func() {
			s, err := Open(t.Context(), connection, Options{Logger: quiet()})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if logs[i], err = s.Log(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for _, log := range logs {
		if log != logs[0] || log.Epoch != 1 {
			t.Errorf("identities differ: %v and %v", log, logs[0])
		}
	}
}

func TestRaiseEpoch(t *testing.T) {
	s := openServed(t)
	before, err := s.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for want := before.Epoch + 1; want < before.Epoch+3; want++ {
		raised, err := s.RaiseEpoch(t.Context(), `restored from "monday"`)
		if err != nil || raised.ID != before.ID || raised.Epoch != want {
			t.Errorf("%+v, %v; want epoch %d of %s", raised, err, want, before.ID)
		}
	}
	// Other events in the stream say nothing.
	if _, err := s.Append(t.Context(), identityStream, eventstore.Any, []eventstore.Event{event()}); err != nil {
		t.Fatal(err)
	}
	if log, err := s.Log(t.Context()); err != nil || log.Epoch != before.Epoch+2 {
		t.Errorf("%+v, %v", log, err)
	}
	// A beginning that is gone is said, not made anew.
	if _, err := s.SetStreamMetadata(t.Context(), identityStream, eventstore.NoStream, eventstore.StreamMetadata{TruncateBefore: 1}); err != nil {
		t.Fatal(err)
	}
	if log, err := s.Log(t.Context()); err == nil {
		t.Errorf("the identity of a log without its beginning is %+v", log)
	}
}
