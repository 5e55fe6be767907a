package groups

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// load starts the groups that the store keeps.
func (s *Service) load(ctx context.Context) error {
	defs, err := s.readConfig(ctx)
	if err != nil {
		return err
	}
	for _, def := range defs {
		if reason := s.unfit(&def); reason != nil {
			s.Logger.Error("persistent subscription cannot be started as it is defined", "stream", def.Stream, "group", def.Group, "error", reason)
			continue
		}
		r, err := s.prepare(ctx, def)
		if err != nil {
			return fmt.Errorf("start group %s: %w", def.key(), err)
		}
		s.add(r)
	}
	return nil
}

// unfit is why a definition that was read is not started: others than this
// server may have written it.
func (s *Service) unfit(d *definition) error {
	if err := d.decided(); err != nil {
		return err
	}
	if d.Filter != nil {
		if _, err := filter.New(*d.Filter); err != nil {
			return err
		}
	}
	return s.absent(d.key())
}

// add sets a group to work.
func (s *Service) add(r *runner) {
	r.start()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[r.def.key()] = r
}

// take answers a group, which nobody finds from then on; nil if there is none.
func (s *Service) take(k key) *runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.running[k]
	delete(s.running, k)
	return r
}

// save writes all definitions, with one of them replaced, added, or (nil)
// removed. Those of groups that could not be started are kept.
func (s *Service) save(ctx context.Context, k key, def *definition) error {
	stored, err := s.readConfig(ctx)
	if err != nil {
		return err
	}
	c := config{Version: configVersion, Updated: s.Now().UTC(), UpdatedBy: cmp.Or(access.Caller(ctx).Name, "anonymous")}
	known := map[key]bool{k: true}
	for _, r := range s.sorted() {
		stored = append(stored, r.def)
	}
	for _, other := range slices.Backward(stored) { // what runs wins
		if !known[other.key()] {
			known[other.key()] = true
			c.Entries = append(c.Entries, other)
		}
	}
	if def != nil {
		c.Entries = append(c.Entries, *def)
	}
	return writeConfig(ctx, s.Store, c)
}

// sorted are the groups by stream and name.
func (s *Service) sorted() []*runner {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*runner, 0, len(s.running))
	for _, r := range s.running {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *runner) int {
		return cmp.Or(cmp.Compare(a.def.Stream, b.def.Stream), cmp.Compare(a.def.Group, b.def.Group))
	})
	return out
}

// Create defines a group and starts it. What is written from then on is
// delivered to a group that begins at the end.
func (s *Service) Create(ctx context.Context, req *persistent.CreateReq) (*persistent.CreateResp, error) {
	def, from, err := decodeCreate(req)
	if err := s.Guard.Check(ctx, access.Manage, def.Stream); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.absent(def.key()); err != nil {
		return nil, err
	}
	if err := def.begin(ctx, s.Store, from); err != nil {
		return nil, err
	}
	// A group of this name may have been deleted by a server that ended before
	// it was through.
	if err := forget(ctx, s.Store, def.key()); err != nil {
		return nil, wire.OfStore(err, def.Stream)
	}
	r, err := s.prepare(ctx, def)
	if err != nil {
		return nil, wire.OfStore(err, def.Stream)
	}
	if err := s.save(ctx, def.key(), &def); err != nil {
		return nil, def.notSaved(err)
	}
	s.add(r)
	return &persistent.CreateResp{}, nil
}

func (d *definition) notSaved(err error) error { return wire.OfStore(err, configStream) }

// absent refuses a group that is there: one with the same id, whose progress
// would be in the same streams.
func (s *Service) absent(k key) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return errShutdown
	}
	for other := range s.running {
		if other.String() == k.String() {
			return wire.GroupExists(k.stream, k.group)
		}
	}
	return nil
}

// Update replaces the settings of a group. Its consumers are dropped; its
// filter stays, and so does its checkpoint, which wins over the new start.
func (s *Service) Update(ctx context.Context, req *persistent.UpdateReq) (*persistent.UpdateResp, error) {
	def, from, err := decodeUpdate(req)
	if err := s.Guard.Check(ctx, access.Manage, def.Stream); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	old, err := s.find(def.key())
	if err != nil {
		return nil, err
	}
	def.Filter = old.def.Filter
	if err := def.begin(ctx, s.Store, from); err != nil {
		return nil, err
	}
	if err := s.save(ctx, def.key(), &def); err != nil {
		return nil, def.notSaved(err)
	}
	s.take(def.key()).stop(wire.GroupDropped(def.Stream, def.Group))
	r, err := s.prepare(context.WithoutCancel(ctx), def)
	if err != nil {
		return nil, wire.OfStore(err, def.Stream)
	}
	s.add(r)
	return &persistent.UpdateResp{}, nil
}

// Delete ends a group. Its consumers are dropped, and its progress and what it
// parked are deleted.
func (s *Service) Delete(ctx context.Context, req *persistent.DeleteReq) (*persistent.DeleteResp, error) {
	o := req.GetOptions()
	k := key{stream: string(o.GetStreamIdentifier().GetStreamName()), group: o.GetGroupName()}
	if _, all := o.GetStreamOption().(*persistent.DeleteReq_Options_All); all {
		k.stream = wire.All
	}
	if err := s.Guard.Check(ctx, access.Manage, k.stream); err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.find(k)
	if err != nil {
		return nil, err
	}
	if err := s.save(ctx, k, nil); err != nil {
		return nil, r.def.notSaved(err)
	}
	s.take(k).stop(wire.GroupDropped(k.stream, k.group))
	if err := forget(context.WithoutCancel(ctx), s.Store, k); err != nil {
		return nil, wire.OfStore(err, k.stream)
	}
	return &persistent.DeleteResp{}, nil
}

// ReplayParked has what a group parked sent again, before what is new. It
// answers before that is done.
func (s *Service) ReplayParked(ctx context.Context, req *persistent.ReplayParkedReq) (*persistent.ReplayParkedResp, error) {
	o := req.GetOptions()
	k := key{stream: string(o.GetStreamIdentifier().GetStreamName()), group: o.GetGroupName()}
	if _, all := o.GetStreamOption().(*persistent.ReplayParkedReq_Options_All); all {
		k.stream = wire.All
	}
	if err := s.Guard.Check(ctx, access.Manage, k.stream); err != nil {
		return nil, err
	}
	r, err := s.find(k)
	if err != nil {
		return nil, err
	}
	_, end, err := r.book.parkedRange(ctx)
	if err != nil {
		return nil, wire.OfStore(err, k.stream)
	}
	if stop, limited := o.GetStopAtOption().(*persistent.ReplayParkedReq_Options_StopAt); limited {
		if stop.StopAt < 0 {
			return nil, wire.GroupFailed(k.stream, k.group, "Cannot stop replaying parked messages at a negative version.")
		}
		end = min(end, eventstore.Revision(stop.StopAt))
	}
	if err := r.do(ctx, func() { r.replay(end) }); err != nil {
		return nil, err
	}
	return &persistent.ReplayParkedResp{}, nil
}

// RestartSubsystem drops all consumers and loads the groups afresh.
func (s *Service) RestartSubsystem(ctx context.Context, _ *shared.Empty) (*shared.Empty, error) {
	if err := s.Guard.Check(ctx, access.Manage, wire.All); err != nil {
		return nil, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return nil, errShutdown
	}
	s.stopAll(func(k key) error { return wire.GroupDropped(k.stream, k.group) })
	if err := s.load(context.WithoutCancel(ctx)); err != nil {
		return nil, wire.OfStore(err, configStream)
	}
	return &shared.Empty{}, nil
}
