package esdb

import (
	"errors"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// TestTheLogAsItWas: a server that comes back with an older copy of the log gets
// nothing before an operator has raised the epoch and docket was started again; a
// docket that runs while the epoch is raised says so, too.
func TestTheLogAsItWas(t *testing.T) {
	noLeaks(t)
	whole, copied := embedded(t, t.TempDir()), embedded(t, t.TempDir())
	server := esdbservertest.Run(t, esdbserver.Options{Store: whole})
	const quickly = "&discoveryInterval=10&gossipTimeout=1"
	s := open(t, esdbservertest.Insecure(server.Address)+quickly)
	log, err := s.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range whole.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := copied.Append(t.Context(), r.Stream, eventstore.Any, []eventstore.Event{r.Event}); err != nil {
			t.Fatal(err)
		}
	}
	for _, stream := range []string{"order-1", "order-2", "order-3"} {
		if _, err := s.Append(t.Context(), stream, eventstore.NoStream, []eventstore.Event{event()}); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	server.Options.Store = copied
	server.Start()
	if _, err := s.Append(t.Context(), "order-4", eventstore.NoStream, []eventstore.Event{event()}); !errors.Is(err, errShorterLog) || !errors.Is(err, eventstore.ErrUnavailable) {
		t.Errorf("an append to the log as it was: %v", err)
	}
	operator := open(t, esdbservertest.Insecure(server.Address)+quickly)
	if same, err := operator.Log(t.Context()); err != nil || same != log {
		t.Fatalf("the copy is %+v, %v; want %+v", same, err, log)
	}
	running := open(t, esdbservertest.Insecure(server.Address)+quickly)
	raised, err := operator.RaiseEpoch(t.Context(), "restored")
	if err != nil || raised.Epoch != 2 {
		t.Fatalf("raised: %+v, %v", raised, err)
	}
	eventually(t, "a docket that runs hears of it", func() bool {
		_, err := running.Append(t.Context(), "order-5", eventstore.Any, []eventstore.Event{event()})
		return errors.Is(err, errRaised)
	})
	if _, err := operator.Append(t.Context(), "order-6", eventstore.NoStream, []eventstore.Event{event()}); err != nil {
		t.Errorf("after the epoch was raised: %v", err)
	}
}

// TestAnotherLogBehindTheAddress: a server that comes back with another log gets
// nothing of what was meant for the one before, also when it comes back so fast
// that nobody has asked meanwhile; with the right log everything goes on.
func TestAnotherLogBehindTheAddress(t *testing.T) {
	noLeaks(t)
	right, other, empty := embedded(t, t.TempDir()), embedded(t, t.TempDir()), embedded(t, t.TempDir())
	server := esdbservertest.Run(t, esdbserver.Options{Store: other})
	open(t, esdbservertest.Insecure(server.Address)).Close() // gives it an identity
	server.Stop()
	server.Options.Store = right
	server.Start()
	s := open(t, esdbservertest.Insecure(server.Address)+"&discoveryInterval=10&gossipTimeout=1")
	if _, err := s.Append(t.Context(), "order-1", eventstore.NoStream, []eventstore.Event{event()}); err != nil {
		t.Fatal(err)
	}
	sub, err := s.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{Prefixes: []string{"order-"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	await := func(kind eventstore.NoticeKind, stream string) {
		t.Helper()
		for {
			n, err := sub.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Kind == eventstore.Delivered && n.Record.Stream != stream {
				t.Fatalf("the subscription delivers %s", n.Record.Stream)
			}
			if n.Kind == kind {
				return
			}
		}
	}
	await(eventstore.Delivered, "order-1")
	for _, wrong := range []eventstore.Store{other, empty} {
		server.Stop()
		server.Options.Store = wrong
		if _, err := wrong.Append(t.Context(), "order-foreign", eventstore.Any, []eventstore.Event{event()}); err != nil {
			t.Fatal(err)
		}
		server.Start()
		if _, err := s.Append(t.Context(), "order-2", eventstore.NoStream, []eventstore.Event{event()}); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("an append to another log: %v", err)
		} else if !errors.Is(err, errOtherLog) || !strings.Contains(err.Error(), "stop docket") {
			t.Errorf("what is said of another log: %v", err)
		}
		for rec, err := range s.ReadStream(t.Context(), "order-foreign", 0, eventstore.Forwards, 0) {
			if !errors.Is(err, eventstore.ErrUnavailable) {
				t.Errorf("a read from another log: %v %v", rec, err)
			}
		}
		for rec, err := range wrong.ReadStream(t.Context(), "order-2", 0, eventstore.Forwards, 0) {
			if !errors.Is(err, eventstore.ErrStreamNotFound) {
				t.Errorf("another log got %v %v", rec, err)
			}
		}
		eventually(t, "readiness says so", func() bool { return errors.Is(s.Unreachable(), errOtherLog) })
	}
	server.Stop()
	server.Options.Store = right
	server.Start()
	until(t, func() error {
		_, err := s.Append(t.Context(), "order-1", 0, []eventstore.Event{event()})
		return err
	})
	await(eventstore.Delivered, "order-1")
}
