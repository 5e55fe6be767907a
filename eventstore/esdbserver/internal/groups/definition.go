package groups

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/filter"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// definition is what is kept of a group.
type definition struct {
	Stream string          `json:"stream"` // "$all": the log
	Group  string          `json:"group"`
	Filter *filter.Options `json:"filter,omitempty"`
	// StartPosition is as it was asked for: "0", "-1" (end), "7", "C:5/P:5".
	StartPosition string `json:"startPosition"`
	// StartsAfter is what that meant when it was asked: the place up to which
	// nothing is delivered. It holds while there is no checkpoint.
	StartsAfter competing.Place `json:"startsAfter"`

	ResolveLinks       bool   `json:"resolveLinkTos"`
	ExtraStatistics    bool   `json:"extraStatistics"`
	MaxRetryCount      int32  `json:"maxRetryCount"`
	MinCheckpointCount int32  `json:"minCheckPointCount"`
	MaxCheckpointCount int32  `json:"maxCheckPointCount"`
	MaxSubscriberCount int32  `json:"maxSubscriberCount"`
	LiveBufferSize     int32  `json:"liveBufferSize"`
	ReadBatchSize      int32  `json:"readBatchSize"`
	HistoryBufferSize  int32  `json:"historyBufferSize"`
	MessageTimeout     int64  `json:"messageTimeout"`  // ms
	CheckpointAfter    int64  `json:"checkPointAfter"` // ms; 0: never by time
	Strategy           string `json:"namedConsumerStrategy"`
}

func (d *definition) key() key { return key{d.Stream, d.Group} }

// Names of the strategies on the wire.
const (
	roundRobin          = "RoundRobin"
	dispatchToSingle    = "DispatchToSingle"
	pinned              = "Pinned"
	pinnedByCorrelation = "PinnedByCorrelation"
)

var strategies = map[string]competing.Strategy{
	roundRobin: competing.RoundRobin, dispatchToSingle: competing.DispatchToSingle,
	pinned: competing.Pinned, pinnedByCorrelation: competing.Pinned,
}

// objection is why there can be no such group; empty for none.
func (d *definition) objection() string {
	_, known := strategies[d.Strategy]
	switch {
	case !known:
		return fmt.Sprintf("Consumer strategy %.50s does not exist.", d.Strategy)
	case d.LiveBufferSize <= 0, d.ReadBatchSize <= 0, d.HistoryBufferSize <= 0:
		return fmt.Sprintf("Buffers of %d, %d and %d: sizes must be positive.", d.LiveBufferSize, d.ReadBatchSize, d.HistoryBufferSize)
	case d.ReadBatchSize >= d.HistoryBufferSize:
		return fmt.Sprintf("The read batch size %d must be less than the history buffer size %d.", d.ReadBatchSize, d.HistoryBufferSize)
	case d.MaxRetryCount < 0, d.MinCheckpointCount < 0, d.MaxCheckpointCount < 0, d.MaxSubscriberCount < 0:
		return "Counts must not be negative."
	case min(d.MessageTimeout, d.CheckpointAfter) < 0, max(d.MessageTimeout, d.CheckpointAfter) > math.MaxInt32:
		return fmt.Sprintf("Times must not be negative, nor above %d ms.", math.MaxInt32)
	}
	return ""
}

// settings of the state machine.
func (d *definition) settings() competing.Settings {
	return competing.Settings{
		Strategy: strategies[d.Strategy], MaxConsumers: int(d.MaxSubscriberCount), MaxRetries: int(d.MaxRetryCount),
		MessageTimeout: time.Duration(d.MessageTimeout) * time.Millisecond, CheckpointAfter: time.Duration(d.CheckpointAfter) * time.Millisecond,
		MinCheckpoint: int(d.MinCheckpointCount), MaxCheckpoint: int(cmp.Or(d.MaxCheckpointCount, 1)),
		Buffer: int(d.HistoryBufferSize), ReplayBuffer: int(d.ReadBatchSize), Latencies: d.ExtraStatistics,
	}
}

// Places. Of a stream, the place of revision N is N+1; of the log, that of a
// position is the position: it is one number in the stores that are served.

func placeOfRevision(r eventstore.Revision) competing.Place { return competing.Place(r + 1) }

func (d *definition) placeOf(r *eventstore.Record) competing.Place {
	if d.Stream == wire.All {
		return competing.Place(r.Position.Commit)
	}
	return placeOfRevision(r.Revision)
}

// text of a place, as checkpoints and infos have it; empty for none.
func (d *definition) text(p competing.Place) string {
	switch {
	case p == 0:
		return ""
	case d.Stream == wire.All:
		return wire.PositionText(eventstore.At64(uint64(p)))
	}
	return strconv.FormatInt(int64(p)-1, 10)
}

func (d *definition) parse(text string) (competing.Place, error) {
	if d.Stream == wire.All {
		p, err := wire.ParsePosition(text)
		return competing.Place(p.Commit), err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n == math.MaxInt64 {
		return 0, fmt.Errorf("%.60q is not a revision", text)
	}
	return placeOfRevision(eventstore.Revision(n)), nil
}
