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
	// mostLeft is of how many orders it is remembered that refusals were left
	// out.
	mostLeft = 10_000
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
	// left names the orders of which refusals were left out; nil when there are
	// more of them than mostLeft.
	left map[string]bool
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
	return &Refusals{o: o, rates: newRates(float64(o.PerMinute)/60, o.Burst, o.Callers), left: map[string]bool{}}
}

// refused is what the event holds beside its metadata.
type refused struct {
	Revision        eventstore.Revision `json:"revision"`
	Target          string              `json:"target,omitempty"`
	Code            string              `json:"code"`
	Reason          string              `json:"reason"`
	Field           string              `json:"field,omitempty"`
	Unrecorded      int64               `json:"unrecorded,omitempty"`
	UnrecordedSince time.Time           `json:"unrecordedSince,omitzero"`
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
	before, ok := r.rates.take(actor, now)
	if !ok {
		r.leaveOut(refusal.OrderID)
		return
	}
	err := r.append(ctx, now, actor, refusal, before)
	if err != nil {
		before.add(missed{1, now})
		r.rates.miss(actor, before)
		r.leaveOut(refusal.OrderID)
	} else {
		r.recorded.Add(1)
	}
	r.note(ctx, now, refusal, err)
}

func (r *Refusals) leaveOut(orderID string) {
	r.unrecorded.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == nil || r.left[orderID] {
		return
	}
	if len(r.left) == mostLeft {
		r.left = nil
		return
	}
	r.left[orderID] = true
}

// incomplete reports whether refusals on the order may have been left out since
// the start.
func (r *Refusals) incomplete(orderID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left == nil || r.left[orderID]
}

// errPaused: the store failed a moment ago.
var errPaused = errors.New("the event store failed a moment ago")

func (r *Refusals) append(ctx context.Context, now time.Time, actor string, refusal command.Refusal, before missed) error {
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
		Revision: refusal.Revision, Target: cut(refusal.Target), Code: cut(refusal.Code), Reason: cut(refusal.Reason), Field: cut(refusal.Field),
		Unrecorded: before.n, UnrecordedSince: before.since.UTC(),
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

// RefusalPage is a part of the refused commands of an order.
type RefusalPage struct {
	Items []Refused // the newest last; never nil
	Total int64     // that are recorded of the order
	// Next is the before of the page of older ones; 0 when there are none.
	Next eventstore.Revision
	// Incomplete: of this order refusals were left out since the start of the
	// process, or they may have been, where too many orders were concerned.
	Incomplete bool
}

// Of lists the refused commands of an order, the newest last: at most limit
// (MaxRefusals at most) of the newest ones that come before the number before
// in their stream (eventstore.EndRevision: of all). An order that never came to
// be has refusals too; one that nobody was refused has none.
func (r *Refusals) Of(ctx context.Context, orderID string, before eventstore.Revision, limit int) (RefusalPage, error) {
	page := RefusalPage{Items: []Refused{}}
	if !order.ValidID(orderID) {
		return page, nil
	}
	limit = min(max(limit, 1), MaxRefusals)
	page.Incomplete = r.incomplete(orderID)
	newest, err := r.records(ctx, orderID, eventstore.EndRevision, 1)
	if err != nil || len(newest) == 0 {
		return page, err
	}
	page.Total = int64(newest[0].Revision) + 1
	if before <= 0 {
		return page, nil
	}
	from := min(before-1, newest[0].Revision)
	records, err := r.records(ctx, orderID, from, limit)
	if err != nil {
		return page, err
	}
	for _, rec := range records {
		page.Next = rec.Revision
		if rec.Type != TypeRefused {
			continue // another program's
		}
		one, err := refusalOf(orderID, rec)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, one)
	}
	slices.Reverse(page.Items)
	return page, nil
}

// records reads the stream backwards; none when it is not there.
func (r *Refusals) records(ctx context.Context, orderID string, from eventstore.Revision, limit int) (found []eventstore.Record, err error) {
	for rec, err := range r.o.Store.ReadStream(ctx, r.stream(orderID), from, eventstore.Backwards, limit) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the refusals of order %s: %w", orderID, err)
		}
		found = append(found, rec)
	}
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
		ID: rec.ID.String(), OrderID: orderID, Revision: data.Revision, Command: meta.Command, Target: data.Target, CommandID: meta.CommandID.String(),
		Code: data.Code, Reason: data.Reason, Field: data.Field, Actor: meta.Actor, Correlation: meta.CorrelationID,
		Causation: meta.CausationID, TraceParent: meta.TraceParent, RecordedAt: meta.RecordedAt,
		Unrecorded: data.Unrecorded, UnrecordedSince: data.UnrecordedSince,
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
