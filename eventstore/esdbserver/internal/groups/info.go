package groups

import (
	"context"
	"math"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// GetInfo describes a group.
func (s *Service) GetInfo(ctx context.Context, req *persistent.GetInfoReq) (*persistent.GetInfoResp, error) {
	o := req.GetOptions()
	k := key{stream: string(o.GetStreamIdentifier().GetStreamName()), group: o.GetGroupName()}
	if _, all := o.GetStreamOption().(*persistent.GetInfoReq_Options_All); all {
		k.stream = wire.All
	}
	if err := s.Guard.Check(ctx, access.Statistics, k.stream); err != nil {
		return nil, err
	}
	r, err := s.find(k)
	if err != nil {
		return nil, err
	}
	info, err := r.info(ctx)
	if err != nil {
		return nil, err
	}
	return &persistent.GetInfoResp{SubscriptionInfo: info}, nil
}

// List describes all groups, or those of a stream or the log.
func (s *Service) List(ctx context.Context, req *persistent.ListReq) (*persistent.ListResp, error) {
	if err := s.Guard.Check(ctx, access.Statistics, wire.All); err != nil {
		return nil, err
	}
	var stream string // empty: all
	switch v := req.GetOptions().GetListOption().(type) {
	case *persistent.ListReq_Options_ListAllSubscriptions:
	case *persistent.ListReq_Options_ListForStream:
		stream = string(v.ListForStream.GetStream().GetStreamName())
		if _, all := v.ListForStream.GetStreamOption().(*persistent.ListReq_StreamOption_All); all {
			stream = wire.All
		}
		if stream == "" {
			return nil, wire.BadRequest("The stream whose groups are to be listed is missing.")
		}
	default:
		return nil, wire.BadRequest("Which groups are to be listed is missing.")
	}
	out := &persistent.ListResp{}
	for _, r := range s.sorted() {
		if stream != "" && r.def.Stream != stream {
			continue
		}
		info, err := r.info(ctx)
		if err != nil {
			return nil, err
		}
		out.Subscriptions = append(out.Subscriptions, info)
	}
	if stream != "" && len(out.Subscriptions) == 0 {
		return nil, wire.GroupMissing(stream, "")
	}
	return out, nil
}

// measure is what was counted when somebody asked last.
type measure struct {
	at    time.Time
	total int64
}

// since answers what came since then, and how much that was in a second.
func (m *measure) since(total int64, now time.Time) (count int64, perSecond int32) {
	count = total - m.total
	if elapsed := now.Sub(m.at).Seconds(); elapsed > 0 {
		perSecond = int32(min(float64(count)/elapsed, math.MaxInt32))
	}
	m.at, m.total = now, total
	return count, perSecond
}

func (r *runner) info(ctx context.Context) (*persistent.SubscriptionInfo, error) {
	known, err := r.lastKnown(ctx)
	if err != nil {
		return nil, wire.OfStore(err, r.def.Stream)
	}
	first, end, err := r.book.parkedRange(ctx)
	if err != nil {
		return nil, wire.OfStore(err, r.def.Stream)
	}
	d := &r.def
	info := &persistent.SubscriptionInfo{
		EventSource: d.Stream, GroupName: d.Group, StartFrom: d.StartPosition, LastKnownEventPosition: d.text(known),
		ResolveLinkTos: d.ResolveLinks, ExtraStatistics: d.ExtraStatistics, MaxRetryCount: d.MaxRetryCount,
		LiveBufferSize: d.LiveBufferSize, BufferSize: d.HistoryBufferSize, ReadBatchSize: d.ReadBatchSize,
		MinCheckPointCount: d.MinCheckpointCount, MaxCheckPointCount: d.MaxCheckpointCount,
		MessageTimeoutMilliseconds: int32(d.MessageTimeout), CheckPointAfterMilliseconds: int32(d.CheckpointAfter),
		NamedConsumerStrategy: d.Strategy, MaxSubscriberCount: d.MaxSubscriberCount,
	}
	if d.CheckpointAfter == 0 {
		info.CheckPointAfterMilliseconds = math.MaxInt32
	}
	if err := r.do(ctx, func() { r.describe(info, first, end) }); err != nil {
		return nil, err
	}
	return info, nil
}

// lastKnown is the place of the last record that the group may have to look at.
func (r *runner) lastKnown(ctx context.Context) (competing.Place, error) {
	if r.def.Stream == wire.All {
		head, err := r.book.store.Head(ctx)
		return competing.Place(head.Commit), err
	}
	last, err := lastRevision(ctx, r.book.store, r.def.Stream)
	return placeOfRevision(last), err
}

// describe fills in what changes. The goroutine of the group calls it.
func (r *runner) describe(info *persistent.SubscriptionInfo, parkedFirst, parkedEnd eventstore.Revision) {
	s, now := r.group.Status(), r.now()
	info.TotalItems = s.Total
	info.CountSinceLastMeasurement, info.AveragePerSecond = r.measured.since(s.Total, now)
	info.LastCheckpointedEventPosition = r.def.text(s.Checkpoint)
	info.RetryBufferCount = int32(s.Again)
	info.TotalInFlightMessages, info.OutstandingMessagesCount = int32(s.InFlight), int32(s.InFlight)
	// What was asked to be replayed is not parked any more.
	info.ParkedMessageCount = max(0, int64(parkedEnd-max(parkedFirst, r.replayEnd)))
	if r.behind {
		info.Status, info.ReadBufferCount = "Behind", int32(s.Waiting)
	} else {
		info.Status, info.LiveBufferCount = "Live", int64(s.Waiting)
	}
	if r.replayNext < r.replayEnd || r.group.Replaying() {
		info.Status += ", ReplayingParkedMessages"
	}
	for _, cs := range s.Consumers {
		c := r.consumers[cs.ID]
		out := &persistent.SubscriptionInfo_ConnectionInfo{
			From: c.from, Username: c.user, ConnectionName: c.connection,
			TotalItems: cs.Total, AvailableSlots: int32(cs.Free), InFlightMessages: int32(cs.InFlight),
			ObservedMeasurements: measurements(cs.Latencies),
		}
		out.CountSinceLastMeasurement, out.AverageItemsPerSecond = c.measured.since(cs.Total, now)
		info.Connections = append(info.Connections, out)
	}
}

// measurements of ascending latencies, in milliseconds, under EventStoreDB's
// names.
func measurements(latencies []time.Duration) (out []*persistent.SubscriptionInfo_Measurement) {
	if len(latencies) == 0 {
		return nil
	}
	add := func(key string, d time.Duration) {
		out = append(out, &persistent.SubscriptionInfo_Measurement{Key: key, Value: d.Milliseconds()})
	}
	at := func(share float64) time.Duration {
		return latencies[max(0, int(math.Ceil(share*float64(len(latencies))))-1)]
	}
	var sum time.Duration
	for _, d := range latencies {
		sum += d
	}
	add("Mean", sum/time.Duration(len(latencies)))
	add("Median", at(0.5))
	add("Fastest", latencies[0])
	for i, name := range []string{"Quintile 1", "Quintile 2", "Quintile 3", "Quintile 4", "Quintile 5"} {
		add(name, at(float64(i+1)/5))
	}
	for _, p := range []struct {
		name  string
		share float64
	}{{"90%", 0.9}, {"95%", 0.95}, {"99%", 0.99}, {"99.5%", 0.995}, {"99.9%", 0.999}} {
		add(p.name, at(p.share))
	}
	add("Highest", latencies[len(latencies)-1])
	return out
}
