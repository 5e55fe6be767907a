// Package linking serves the projections that clients expect of an
// EventStoreDB: the system projections $by_category and $by_event_type, which
// write link events, and the management calls of the Projections service.
//
// It promises that while a system projection runs every event gets exactly one
// link in its target stream, in log order, however often the server stops or is
// killed: links have ids that follow from what they link, a checkpoint says up
// to where all are written, and what was written after it is looked up before
// anything is written again. It refuses to run JavaScript: such projections
// are kept and answered for, and process nothing. esdbserver calls it.
//
// In the store: $projections-$all has an event $ProjectionUpdated per change of
// a projection; $projections-<name>-checkpoint has the checkpoints of a system
// projection; $ce-<category> and $et-<type> have the links (links.go).
package linking

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
)

// Options of the service. Store and Guard are required.
type Options struct {
	Store  eventstore.Store
	Guard  *access.Guard
	Logger *slog.Logger // nil: slog.Default()
	// Running starts the system projections with the server; otherwise they are
	// there, disabled, until somebody enables them.
	Running bool

	limits limits // zero: the usual ones
}

// Service is event_store.client.projections.Projections.
type Service struct {
	projections.UnimplementedProjectionsServer
	Options

	closing chan struct{} // closed by Close

	mu     sync.Mutex // over everything below; held while a change is written
	known  map[string]*projection
	closed bool
}

var _ projections.ProjectionsServer = (*Service)(nil)

// projection is a definition and, of a system projection that runs, who does
// the work.
type projection struct {
	definition
	kind     *kind     // nil: of a user
	follower *follower // nil: does not run, or has nothing to do
}

// kind is what makes a system projection.
type kind struct {
	name string
	id   int    // in the version that each link carries
	to   string // begins the names of the target streams; empty: not supported
	rule rule
}

// kinds are the system projections of EventStoreDB. Those without a rule are
// there to be seen.
var kinds = []kind{
	{name: "$streams", id: 1},
	{name: "$stream_by_category", id: 2},
	{name: "$by_category", id: 3, to: "$ce-", rule: byCategory},
	{name: "$by_event_type", id: 4, to: "$et-", rule: byEventType},
	{name: "$by_correlation_id", id: 5},
}

func (k *kind) supported() bool { return k.rule != nil }

// New loads which projections are there and enabled, and starts them.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.limits == (limits{}) {
		o.limits = usualLimits
	}
	s := &Service{Options: o, closing: make(chan struct{}), known: map[string]*projection{}}
	for i := range kinds {
		k := &kinds[i]
		s.known[k.name] = &projection{kind: k, definition: definition{Name: k.name, Mode: continuous, Emit: true, Epoch: noEpoch}}
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	for _, p := range s.known {
		if o.Running && p.kind != nil && p.kind.supported() && !p.Enabled {
			err := s.change(ctx, p, func(d *definition) { d.Enabled, d.Aborted = true, false })
			if errors.Is(err, eventstore.ErrDeleted) {
				o.Logger.Error("projection is not started: where it is kept was tombstoned", "projection", p.Name, "stream", definitionStream)
				continue
			}
			if err != nil {
				s.Close()
				return nil, err
			}
		}
		s.start(p)
	}
	return s, nil
}

// Close stops the projections where they stand, and keeps where that is. The
// store is still open.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		close(s.closing)
	}
	s.closed = true
	for _, p := range s.known {
		s.stop(p, true)
	}
}

// start lets a projection run that should and does not. The caller holds mu.
func (s *Service) start(p *projection) {
	if p.kind == nil || !p.kind.supported() || !p.Enabled || p.follower != nil || s.closed {
		return
	}
	p.follower = follow(s.Options, p.kind, p.Epoch)
}

// stop returns when the projection has ended what it was about to write.
func (s *Service) stop(p *projection, checkpoint bool) {
	if p.follower != nil {
		p.follower.stop(checkpoint)
		p.follower = nil
	}
}
