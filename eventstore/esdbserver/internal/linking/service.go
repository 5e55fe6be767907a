package linking

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

const (
	// maxProjections and maxQueries bound what clients may leave in memory:
	// projections of their own, and bytes of their queries.
	maxProjections = 1000
	maxQueries     = 16 << 20
)

// Clients look for these words.
const (
	conflict        = "Envelope callback expected Updated, received Conflict instead"
	operationFailed = "Envelope callback expected Updated, received OperationFailed instead"
)

// Why a projection does nothing, for people.
const (
	reasonUnsupported = "docket does not run this projection; it runs $by_category and $by_event_type"
	reasonJavaScript  = "docket runs no JavaScript: the projection is kept and processes nothing"
)

func notFound(name string) error {
	return &wire.Refusal{Code: codes.NotFound, Detail: fmt.Sprintf("Projection '%s' not found", name)}
}

func unknown(detail string) error { return &wire.Refusal{Code: codes.Unknown, Detail: detail} }

// manage asks for the right, takes the lock, and hands the named projection to
// do.
func (s *Service) manage(ctx context.Context, name string, do func(*projection) error) error {
	if err := s.Guard.Check(ctx, access.Manage, ""); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return wire.Unavailable("Server Is Not Ready")
	}
	p := s.known[name]
	if p == nil {
		return notFound(name)
	}
	return ofStore(do(p))
}

// ofStore leaves refusals as they are.
func ofStore(err error) error {
	if refusal := new(wire.Refusal); err == nil || errors.As(err, &refusal) {
		return err
	}
	return wire.OfStore(err, definitionStream)
}

// Create keeps a projection, which is Running from then on.
func (s *Service) Create(ctx context.Context, req *projections.CreateReq) (*projections.CreateResp, error) {
	if err := s.Guard.Check(ctx, access.Manage, ""); err != nil {
		return nil, err
	}
	d := definition{Query: req.GetOptions().GetQuery(), Enabled: true, Epoch: noEpoch}
	switch m := req.GetOptions().GetMode().(type) {
	case *projections.CreateReq_Options_OneTime:
		d.Mode, d.Name = oneTime, uuid.NewString()
	case *projections.CreateReq_Options_Transient_:
		d.Mode, d.Name = transient, m.Transient.GetName()
	case *projections.CreateReq_Options_Continuous_:
		d.Mode, d.Name = continuous, m.Continuous.GetName()
		d.Emit, d.Track = m.Continuous.GetEmitEnabled(), m.Continuous.GetTrackEmittedStreams()
	default:
		return nil, wire.Unhandled("no mode is given")
	}
	switch {
	case d.Name == "":
		return nil, wire.Unhandled("a projection needs a name")
	case d.Track && !d.Emit:
		return nil, wire.Unhandled("emitted streams can be tracked only where emitting is enabled")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, wire.Unavailable("Server Is Not Ready")
	case s.known[d.Name] != nil:
		return nil, unknown(conflict)
	case len(s.known) >= maxProjections+len(kinds):
		return nil, &wire.Refusal{Code: codes.ResourceExhausted, Detail: fmt.Sprintf("There are %d projections already", maxProjections)}
	}
	if err := s.fits(len(d.Query)); err != nil {
		return nil, err
	}
	p := &projection{definition: d}
	if err := s.change(ctx, p, func(*definition) {}); err != nil {
		return nil, ofStore(err)
	}
	return &projections.CreateResp{}, nil
}

// fits refuses a query that would make all of them too long. The caller holds mu.
func (s *Service) fits(more int) error {
	for _, p := range s.known {
		more += len(p.Query)
	}
	if more > maxQueries {
		return &wire.Refusal{Code: codes.ResourceExhausted, Detail: fmt.Sprintf("The queries of all projections exceed %d bytes", maxQueries)}
	}
	return nil
}

// Update replaces the query, and whether the projection may emit.
func (s *Service) Update(ctx context.Context, req *projections.UpdateReq) (*projections.UpdateResp, error) {
	o := req.GetOptions()
	return &projections.UpdateResp{}, s.manage(ctx, o.GetName(), func(p *projection) error {
		if p.kind != nil {
			return unknown(operationFailed)
		}
		if err := s.fits(len(o.GetQuery()) - len(p.Query)); err != nil {
			return err
		}
		return s.change(ctx, p, func(d *definition) {
			d.Query = o.GetQuery()
			d.Version++
			if emit, ok := o.GetEmitOption().(*projections.UpdateReq_Options_EmitEnabled); ok {
				d.Emit = emit.EmitEnabled
			}
		})
	})
}

// Delete forgets a projection that was disabled.
func (s *Service) Delete(ctx context.Context, req *projections.DeleteReq) (*projections.DeleteResp, error) {
	return &projections.DeleteResp{}, s.manage(ctx, req.GetOptions().GetName(), func(p *projection) error {
		if p.kind != nil || p.Enabled {
			return unknown(operationFailed)
		}
		return s.change(ctx, p, func(d *definition) { d.Deleted = true })
	})
}

// Enable starts a projection that is stopped.
func (s *Service) Enable(ctx context.Context, req *projections.EnableReq) (*projections.EnableResp, error) {
	return &projections.EnableResp{}, s.manage(ctx, req.GetOptions().GetName(), func(p *projection) error {
		if p.kind != nil && !p.kind.supported() {
			return &wire.Refusal{Code: codes.Unimplemented, Detail: reasonUnsupported}
		}
		if p.Enabled {
			return nil
		}
		if err := s.change(ctx, p, func(d *definition) { d.Enabled, d.Aborted = true, false }); err != nil {
			return err
		}
		s.start(p)
		return nil
	})
}

// Disable stops a projection. An abort keeps no checkpoint: what was linked
// since the last one is looked up when it is enabled again.
func (s *Service) Disable(ctx context.Context, req *projections.DisableReq) (*projections.DisableResp, error) {
	o := req.GetOptions()
	return &projections.DisableResp{}, s.manage(ctx, o.GetName(), func(p *projection) error {
		if !p.Enabled {
			return nil
		}
		if err := s.change(ctx, p, func(d *definition) { d.Enabled, d.Aborted = false, !o.GetWriteCheckpoint() }); err != nil {
			return err
		}
		s.stop(p, o.GetWriteCheckpoint())
		return nil
	})
}

// Reset lets a projection begin again with the first event. Links that are
// there are not written again, those in streams that were deleted are.
func (s *Service) Reset(ctx context.Context, req *projections.ResetReq) (*projections.ResetResp, error) {
	return &projections.ResetResp{}, s.manage(ctx, req.GetOptions().GetName(), func(p *projection) error {
		s.stop(p, false)
		defer s.start(p)
		if err := s.change(ctx, p, func(d *definition) { d.Epoch++ }); err != nil {
			return err
		}
		if p.kind == nil || !p.kind.supported() {
			return nil
		}
		return writeCheckpoint(ctx, s.Store, p.kind, p.Epoch, eventstore.Start)
	})
}

// RestartSubsystem stops everything that runs, and starts it again.
func (s *Service) RestartSubsystem(ctx context.Context, _ *shared.Empty) (*shared.Empty, error) {
	if err := s.Guard.Check(ctx, access.Manage, ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, wire.Unavailable("Server Is Not Ready")
	}
	for _, p := range s.known {
		s.stop(p, true)
		s.start(p)
	}
	return &shared.Empty{}, nil
}

// State is empty: links are all that a system projection makes.
func (s *Service) State(ctx context.Context, req *projections.StateReq) (*projections.StateResp, error) {
	value, err := s.nothing(ctx, req.GetOptions().GetName())
	return &projections.StateResp{State: value}, err
}

// Result is empty, as State.
func (s *Service) Result(ctx context.Context, req *projections.ResultReq) (*projections.ResultResp, error) {
	value, err := s.nothing(ctx, req.GetOptions().GetName())
	return &projections.ResultResp{Result: value}, err
}

func (s *Service) nothing(ctx context.Context, name string) (*structpb.Value, error) {
	if err := s.Guard.Check(ctx, access.Statistics, ""); err != nil {
		return nil, err
	}
	s.mu.Lock()
	p := s.known[name]
	silent := p != nil && p.kind == nil && p.Query == ""
	s.mu.Unlock()
	switch {
	case p == nil:
		return nil, notFound(name)
	case silent:
		// EventStoreDB never answers for a projection without a query.
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-s.closing:
			return nil, wire.Unavailable("Server Is Not Ready")
		}
	}
	return structpb.NewStructValue(&structpb.Struct{}), nil
}

// Statistics tells about one projection, or those of a mode by name.
func (s *Service) Statistics(req *projections.StatisticsReq, out projections.Projections_StatisticsServer) error {
	ctx := out.Context()
	if err := s.Guard.Check(ctx, access.Statistics, ""); err != nil {
		return err
	}
	head, err := s.Store.Head(ctx)
	if err != nil {
		return ofStore(err)
	}
	var asked func(*projection) bool
	switch m := req.GetOptions().GetMode().(type) {
	case *projections.StatisticsReq_Options_Name:
		asked = func(p *projection) bool { return p.Name == m.Name }
	case *projections.StatisticsReq_Options_All:
		asked = func(p *projection) bool { return p.Mode != transient }
	case *projections.StatisticsReq_Options_Transient:
		asked = func(p *projection) bool { return p.Mode == transient }
	case *projections.StatisticsReq_Options_Continuous:
		asked = func(p *projection) bool { return p.Mode == continuous }
	case *projections.StatisticsReq_Options_OneTime:
		asked = func(p *projection) bool { return p.Mode == oneTime }
	default:
		return wire.Unhandled("no mode is given")
	}
	all := s.details(asked, head)
	if m, ok := req.GetOptions().GetMode().(*projections.StatisticsReq_Options_Name); ok && len(all) == 0 {
		return notFound(m.Name)
	}
	for _, d := range all {
		if err := out.Send(&projections.StatisticsResp{Details: d}); err != nil {
			return err
		}
	}
	return nil
}

// details of the projections that are asked for, by name.
func (s *Service) details(asked func(*projection) bool, head eventstore.Position) (all []*projections.StatisticsResp_Details) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		if asked(p) {
			all = append(all, p.details(head))
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].GetName() < all[j].GetName() })
	return all
}

func (p *projection) details(head eventstore.Position) *projections.StatisticsResp_Details {
	d := &projections.StatisticsResp_Details{
		Name: p.Name, EffectiveName: p.Name, Mode: string(p.Mode),
		Version: p.Version, Epoch: p.Epoch, Status: "Stopped",
	}
	switch {
	case p.kind != nil && !p.kind.supported():
		d.StateReason = reasonUnsupported
	case p.Enabled:
		d.Status = "Running"
	case p.Aborted:
		d.Status = "Aborted/Stopped"
	}
	if p.kind == nil {
		d.StateReason = reasonJavaScript
	}
	if p.follower == nil {
		return d
	}
	progress := p.follower.progress()
	d.Position, d.LastCheckpoint = wire.PositionText(progress.position), wire.PositionText(progress.checkpoint)
	d.EventsProcessedAfterRestart = progress.events
	d.Progress = 100
	if head.Commit > 0 {
		d.Progress = float32(100 * float64(progress.position.Commit) / float64(head.Commit))
	}
	if progress.fault != nil {
		d.Status, d.StateReason = "Faulted", progress.fault.Error()
	}
	return d
}
