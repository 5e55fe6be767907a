package groups

//lint:file-ignore SA1019 clients of older protocols send the deprecated fields

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// start is where a request wants a group to begin: exactly one member counts.
type start struct {
	end      bool
	revision uint64              // of a stream; 0 is its start
	position eventstore.Position // of the log; Start is its start
}

// settingsOf is what the settings of CreateReq and UpdateReq have in common.
type settingsOf interface {
	GetResolveLinks() bool
	GetExtraStatistics() bool
	GetMaxRetryCount() int32
	GetMinCheckpointCount() int32
	GetMaxCheckpointCount() int32
	GetMaxSubscriberCount() int32
	GetLiveBufferSize() int32
	GetReadBatchSize() int32
	GetHistoryBufferSize() int32
	GetMessageTimeoutTicks() int64
	GetMessageTimeoutMs() int32
	GetCheckpointAfterTicks() int64
	GetCheckpointAfterMs() int32
}

// ticksPerMillisecond: ticks are 100 ns. One of ticks and ms is set, the other
// is 0.
const ticksPerMillisecond = 10_000

func (d *definition) take(s settingsOf) {
	d.ResolveLinks, d.ExtraStatistics = s.GetResolveLinks(), s.GetExtraStatistics()
	d.MaxRetryCount, d.MaxSubscriberCount = s.GetMaxRetryCount(), s.GetMaxSubscriberCount()
	d.MinCheckpointCount, d.MaxCheckpointCount = s.GetMinCheckpointCount(), s.GetMaxCheckpointCount()
	d.LiveBufferSize, d.ReadBatchSize, d.HistoryBufferSize = s.GetLiveBufferSize(), s.GetReadBatchSize(), s.GetHistoryBufferSize()
	d.MessageTimeout = s.GetMessageTimeoutTicks()/ticksPerMillisecond + int64(s.GetMessageTimeoutMs())
	d.CheckpointAfter = s.GetCheckpointAfterTicks()/ticksPerMillisecond + int64(s.GetCheckpointAfterMs())
}

func (d *definition) failed(reason string) error { return wire.GroupFailed(d.Stream, d.Group, reason) }

// decodeCreate answers the group that is asked for, and where it begins.
func decodeCreate(req *persistent.CreateReq) (d definition, from start, err error) {
	o := req.GetOptions()
	d.Group = o.GetGroupName()
	d.take(o.GetSettings())
	if d.Strategy = o.GetSettings().GetConsumerStrategy(); d.Strategy == "" {
		d.Strategy = strategyName(int32(o.GetSettings().GetNamedConsumerStrategy()))
	}
	switch v := o.GetStreamOption().(type) {
	case *persistent.CreateReq_Options_Stream:
		d.Stream = string(v.Stream.GetStreamIdentifier().GetStreamName())
		_, from.end = v.Stream.GetRevisionOption().(*persistent.CreateReq_StreamOptions_End)
		from.revision = v.Stream.GetRevision()
	case *persistent.CreateReq_Options_All:
		d.Stream = wire.All
		_, from.end = v.All.GetAllOption().(*persistent.CreateReq_AllOptions_End)
		from.position = eventstore.Position{Commit: v.All.GetPosition().GetCommitPosition(), Prepare: v.All.GetPosition().GetPreparePosition()}
		if f, ok := v.All.GetFilterOption().(*persistent.CreateReq_AllOptions_Filter); ok {
			if d.Filter, err = decodeFilter(f.Filter); err != nil {
				return d, from, err
			}
		}
	default: // clients of the time before groups on the log
		d.Stream = string(o.GetStreamIdentifier().GetStreamName())
		from.revision = o.GetSettings().GetRevision()
	}
	if _, all := o.GetStreamOption().(*persistent.CreateReq_Options_All); !all && d.Stream == wire.All {
		return d, from, d.failed("Persistent subscriptions to $all are created with the option all.")
	}
	return d, from, d.decided()
}

// decodeUpdate answers the new definition; the filter stays that of the group.
func decodeUpdate(req *persistent.UpdateReq) (d definition, from start, err error) {
	o := req.GetOptions()
	d.Group = o.GetGroupName()
	d.take(o.GetSettings())
	d.Strategy = strategyName(int32(o.GetSettings().GetNamedConsumerStrategy()))
	switch v := o.GetStreamOption().(type) {
	case *persistent.UpdateReq_Options_Stream:
		d.Stream = string(v.Stream.GetStreamIdentifier().GetStreamName())
		_, from.end = v.Stream.GetRevisionOption().(*persistent.UpdateReq_StreamOptions_End)
		from.revision = v.Stream.GetRevision()
	case *persistent.UpdateReq_Options_All:
		d.Stream = wire.All
		_, from.end = v.All.GetAllOption().(*persistent.UpdateReq_AllOptions_End)
		from.position = eventstore.Position{Commit: v.All.GetPosition().GetCommitPosition(), Prepare: v.All.GetPosition().GetPreparePosition()}
	default:
		d.Stream = string(o.GetStreamIdentifier().GetStreamName())
		from.revision = o.GetSettings().GetRevision()
	}
	return d, from, d.decided()
}

// decided refuses what no store could make good.
func (d *definition) decided() error {
	if d.Stream == "" || d.Group == "" {
		return d.failed("The names of stream and group must not be empty.")
	}
	if !utf8.ValidString(d.Stream) {
		return d.failed("The name of the stream is not UTF-8.")
	}
	if len(d.Stream)+len(d.Group) > maxNames {
		return d.failed(fmt.Sprintf("The names of stream and group are longer than %d bytes.", maxNames))
	}
	if reason := d.objection(); reason != "" {
		return d.failed(reason)
	}
	return nil
}

// maxNames bounds stream and group name together, in bytes: the streams of a
// group have both in their names.
const maxNames = 4 << 10

func strategyName(n int32) string {
	switch n {
	case int32(persistent.CreateReq_DispatchToSingle):
		return dispatchToSingle
	case int32(persistent.CreateReq_RoundRobin):
		return roundRobin
	case int32(persistent.CreateReq_Pinned):
		return pinned
	}
	return strconv.Itoa(int(n))
}

func decodeFilter(f *persistent.CreateReq_AllOptions_FilterOptions) (*filter.Options, error) {
	o := &filter.Options{}
	e := f.GetStreamIdentifier()
	switch f.GetFilter().(type) {
	case *persistent.CreateReq_AllOptions_FilterOptions_StreamIdentifier:
	case *persistent.CreateReq_AllOptions_FilterOptions_EventType:
		o.ByType, e = true, f.GetEventType()
	default:
		return nil, wire.BadRequest("The filter names neither streams nor event types.")
	}
	o.Regex, o.Prefixes = e.GetRegex(), e.GetPrefix()
	_, err := filter.New(*o)
	return o, err
}

// begin fills in where the group begins: what the request says, and what that
// means now. The end is where the log or the stream ends before the definition
// is written.
func (d *definition) begin(ctx context.Context, store eventstore.Store, from start) error {
	if d.Stream == wire.All {
		return d.beginInLog(ctx, store, from)
	}
	if from.revision == math.MaxUint64 {
		from.end = true
	}
	switch {
	case from.end:
		last, err := lastRevision(ctx, store, d.Stream)
		if err != nil {
			return wire.OfStore(err, d.Stream)
		}
		d.StartPosition, d.StartsAfter = "-1", placeOfRevision(last)
	case from.revision >= math.MaxInt64:
		return d.failed("The start is no revision.")
	default:
		d.StartPosition, d.StartsAfter = strconv.FormatUint(from.revision, 10), competing.Place(from.revision)
	}
	return nil
}

func (d *definition) beginInLog(ctx context.Context, store eventstore.Store, from start) error {
	head, err := store.Head(ctx)
	if err != nil {
		return wire.OfStore(err, d.Stream)
	}
	p := from.position
	if p == eventstore.End {
		from.end, p = true, eventstore.Start
	}
	switch {
	case from.end:
		d.StartPosition, d.StartsAfter = wire.PositionText(eventstore.End), competing.Place(head.Commit)
	case p.Prepare > p.Commit:
		return d.failed("The prepare position is beyond the commit position.")
	case head.Before(p):
		return d.failed(fmt.Sprintf("The start %d is beyond the last record.", p.Commit))
	default:
		d.StartPosition, d.StartsAfter = wire.PositionText(p), competing.Place(max(p.Commit, 1)-1)
	}
	return nil
}

// lastRevision is that of the last event that can be read; -1 without any.
func lastRevision(ctx context.Context, store eventstore.Store, stream string) (eventstore.Revision, error) {
	last, err := lastRecord(ctx, store, stream)
	if last == nil || err != nil {
		return -1, err
	}
	return last.Revision, nil
}

// lastRecord is nil for a stream without events that can be read.
func lastRecord(ctx context.Context, store eventstore.Store, stream string) (*eventstore.Record, error) {
	for r, err := range store.ReadStream(ctx, stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("read the end of %s: %w", stream, err)
		}
		return &r, nil
	}
	return nil, nil
}
