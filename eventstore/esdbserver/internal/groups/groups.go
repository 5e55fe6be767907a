// Package groups serves persistent subscriptions: groups of competing
// consumers on a stream or on the log, whose progress the server keeps.
//
// It promises at-least-once delivery: an event stays with the group until a
// consumer acknowledges it, skips it, or it is parked; what was not covered by
// a checkpoint comes again after a restart. Definitions, checkpoints and parked
// events are streams of the store, under EventStoreDB's names:
//
//	$persistentSubscriptionConfig                        all definitions, one $PersistentConfig for every change
//	$persistentsubscription-<stream>::<group>-checkpoint $SubscriptionCheckpoint: up to where everything is finished
//	$persistentsubscription-<stream>::<group>-parked     links to events that were given up
//
// What a group does is decided in competing, without store or network. Around
// it: service.go manages groups, runner.go is the goroutine of one group,
// consumer.go the stream of one consumer, source.go reads, book.go writes, and
// tail.go wakes groups when the log grew. The protocol server is the caller.
//
// No memory grows with a slow or silent consumer: the group reads only when it
// has room, what was sent is kept without its bytes, and what cannot be sent is
// read again when it can.
package groups

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// Options of the service. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger     // nil: slog.Default()
	Now    func() time.Time // nil: time.Now
	// Ticks calls at a fixed period until stop; nil: time.NewTicker. Each group
	// looks at its timeouts when it ticks.
	Ticks func(period time.Duration) (ticks <-chan time.Time, stop func())
}

// tickPeriod is how often groups look for messages that took too long, and
// whether it is time for a checkpoint.
const tickPeriod = time.Second

// Service is event_store.client.persistent_subscriptions.PersistentSubscriptions.
type Service struct {
	persistent.UnimplementedPersistentSubscriptionsServer
	Options
	tail *tail

	changing sync.Mutex // held while definitions change
	mu       sync.RWMutex
	running  map[key]*runner
	closed   bool
}

// key names a group; stream is "$all" for the log.
type key struct{ stream, group string }

// String is the id of the group on the wire.
func (k key) String() string { return k.stream + "::" + k.group }

// New loads the groups that the store keeps, and starts them.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Ticks == nil {
		o.Ticks = func(period time.Duration) (<-chan time.Time, func()) {
			t := time.NewTicker(period)
			return t.C, t.Stop
		}
	}
	s := &Service{Options: o, running: map[key]*runner{}}
	s.tail = newTail(o.Store, o.Logger)
	if err := s.load(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close writes the checkpoints of all groups and drops their consumers with
// UNAVAILABLE. The store is still open.
func (s *Service) Close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopAll(func(key) error { return errShutdown })
	s.tail.wait()
}

var errShutdown = wire.Unavailable("Server Is Not Ready: it is shutting down")

// stopAll stops the groups side by side; why is what their consumers are told.
func (s *Service) stopAll(why func(key) error) {
	s.mu.Lock()
	stopped := s.running
	s.running = map[key]*runner{}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for k, r := range stopped {
		wg.Go(func() { r.stop(why(k)) })
	}
	wg.Wait()
}

// find answers the group, or the refusal for a group that is not there.
func (s *Service) find(k key) (*runner, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return nil, errShutdown
	}
	r, ok := s.running[k]
	if !ok {
		return nil, wire.GroupMissing(k.stream, k.group)
	}
	return r, nil
}
