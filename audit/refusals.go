package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

const (
	// RefusalCategory begins the names of the streams of refusals: an order's
	// own stream holds what happened to it, and a refusal did not.
	RefusalCategory = "refusal"
	// TypeRefused is the stored name of a refusal.
	TypeRefused = "CommandRefused"
	// MaxRefusals is how many refusals are read at once.
	MaxRefusals = 1000

	refusedVersion = 1
)

const (
	// recordTimeout bounds how long the answer of a refused command waits for
	// its record.
	recordTimeout = 2 * time.Second
	// recordPause is how long nothing is tried after the store failed, so that a
	// store that hangs does not hold up every refusal.
	recordPause = 5 * time.Second
	// longestText bounds each text of a record, in bytes.
	longestText = 500
)

// RefusalOptions of NewRefusals; Store is needed.
type RefusalOptions struct {
	Store     eventstore.Store
	Namespace eventstore.Namespace
	Clock     func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: slog.Default()
	// PerMinute and Burst bound how many refusals of one caller are recorded; 0:
	// 60 each. What is beyond is only counted.
	PerMinute, Burst int
	// Callers is how many callers are remembered; 0: 10,000. Who was not heard
	// of for longest is forgotten, with the count of what was not recorded; the
	// end of the process forgets all.
	Callers int
}

// Refusals records refused commands, each in the stream refusal-<order>. It may
// be used by many goroutines.
type Refusals struct {
	o     RefusalOptions
	rates *rates

	recorded, unrecorded atomic.Int64

	mu      sync.Mutex
	resume  time.Time // nothing is tried before
	failing bool      // the last try failed, which was logged
}

// RefusalMetrics counts since the start.
type RefusalMetrics struct {
	Recorded int64
	// Unrecorded were refused too fast, or while the store failed.
	Unrecorded int64
}

// NewRefusals makes a recorder. Its Record is what command.Options.Refused
// takes.
func NewRefusals(o RefusalOptions) *Refusals {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.PerMinute = cmp.Or(max(o.PerMinute, 0), 60)
	o.Burst = cmp.Or(max(o.Burst, 0), 60)
	o.Callers = cmp.Or(max(o.Callers, 0), 10_000)
	return &Refusals{o: o, rates: newRates(float64(o.PerMinute)/60, o.Burst, o.Callers)}
}

// refused is what the event holds beside its metadata.
type refused struct {
	Revision   eventstore.Revision `json:"revision"`
	Code       string              `json:"code"`
	Reason     string              `json:"reason"`
	Field      string              `json:"field,omitempty"`
	Unrecorded int64               `json:"unrecorded,omitempty"`
}

// Record writes a refusal down. When it returns the refusal is durable, unless
// its caller is over the rate or the store failed: both are counted, and said
// in the caller's next record. It returns after 2 s at most, also when ctx has
// ended.
func (r *Refusals) Record(ctx context.Context, refusal command.Refusal) {
	if !order.ValidID(refusal.OrderID) {
		return // no order, no stream
	}
	actor := cut(refusal.Actor)
	now := r.o.Clock()
	missed, ok := r.rates.take(actor, now)
	if !ok {
		r.unrecorded.Add(1)
		return
	}
	err := r.append(ctx, now, actor, refusal, missed)
	if err != nil {
		r.rates.miss(actor, missed+1)
		r.unrecorded.Add(1)
	} else {
		r.recorded.Add(1)
	}
	r.note(ctx, now, refusal, err)
}

// errPaused: the store failed a moment ago.
var errPaused = errors.New("the event store failed a moment ago")

func (r *Refusals) append(ctx context.Context, now time.Time, actor string, refusal command.Refusal, missed int64) error {
	r.mu.Lock()
	paused := now.Before(r.resume)
	r.mu.Unlock()
	if paused {
		return errPaused
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an event id: %w", err)
	}
	data, err := json.Marshal(refused{
		Revision: refusal.Revision, Code: cut(refusal.Code), Reason: cut(refusal.Reason), Field: cut(refusal.Field),
		Unrecorded: missed,
	})
	if err != nil {
		return fmt.Errorf("encode %s: %w", TypeRefused, err)
	}
	meta := codec.EncodeMeta(codec.Meta{
		CommandID: refusal.CommandID, Command: cut(refusal.Command), Fingerprint: cut(refusal.Fingerprint),
		CorrelationID: cut(refusal.CorrelationID), CausationID: cut(refusal.CausationID),
		Actor: actor, TraceParent: cut(refusal.TraceParent), Version: refusedVersion, RecordedAt: refusal.At,
	})
	// The caller may hang up; what was refused is written down all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	_, err = r.o.Store.Append(ctx, r.stream(refusal.OrderID), eventstore.Any,
		[]eventstore.Event{{ID: id, Type: TypeRefused, JSON: true, Data: data, Metadata: meta}})
	return err
}

// note logs the first failure of a row of them, and its end.
func (r *Refusals) note(ctx context.Context, now time.Time, refusal command.Refusal, err error) {
	if errors.Is(err, errPaused) {
		return
	}
	r.mu.Lock()
	before := r.failing
	r.failing = err != nil
	if err != nil {
		r.resume = now.Add(recordPause)
	}
	r.mu.Unlock()
	switch {
	case err != nil && !before:
		r.o.Logger.WarnContext(ctx, "refusals are not recorded", "order", refusal.OrderID, "code", refusal.Code, "error", err)
	case err == nil && before:
		r.o.Logger.InfoContext(ctx, "refusals are recorded again", "order", refusal.OrderID)
	}
}

// Of lists the refused commands of an order, the newest last, at most limit
// (MaxRefusals at most) of the newest. An order that never came to be has
// refusals too; one that nobody was refused has none.
func (r *Refusals) Of(ctx context.Context, orderID string, limit int) ([]Refused, error) {
	found := []Refused{}
	if !order.ValidID(orderID) {
		return found, nil
	}
	limit = min(max(limit, 1), MaxRefusals)
	for rec, err := range r.o.Store.ReadStream(ctx, r.stream(orderID), eventstore.EndRevision, eventstore.Backwards, limit) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the refusals of order %s: %w", orderID, err)
		}
		if rec.Type != TypeRefused {
			continue // another program's
		}
		one, err := refusalOf(orderID, rec)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	slices.Reverse(found)
	return found, nil
}

func refusalOf(orderID string, rec eventstore.Record) (Refused, error) {
	var data refused
	meta, err := codec.DecodeMeta(rec.Metadata)
	if err == nil {
		err = json.Unmarshal(rec.Data, &data)
	}
	if err != nil {
		return Refused{}, fmt.Errorf("decode %s at %s revision %d: %w", rec.Type, rec.Stream, rec.Revision, err)
	}
	return Refused{
		ID: rec.ID.String(), OrderID: orderID, Revision: data.Revision, Command: meta.Command, CommandID: meta.CommandID.String(),
		Code: data.Code, Reason: data.Reason, Field: data.Field, Actor: meta.Actor, Correlation: meta.CorrelationID,
		Causation: meta.CausationID, TraceParent: meta.TraceParent, RecordedAt: meta.RecordedAt, Unrecorded: data.Unrecorded,
	}, nil
}

func (r *Refusals) stream(orderID string) string {
	return r.o.Namespace.Stream(RefusalCategory, orderID)
}

// Metrics counts what happened since the start.
func (r *Refusals) Metrics() RefusalMetrics {
	return RefusalMetrics{Recorded: r.recorded.Load(), Unrecorded: r.unrecorded.Load()}
}

// cut shortens a text that came from outside, and makes it UTF-8.
func cut(s string) string {
	if len(s) > longestText {
		end := longestText
		for end > longestText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
