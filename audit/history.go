package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// ErrFieldUnknown: the order has no such field at the cut. Detail says what
// there is.
var ErrFieldUnknown = domain.Reject(domain.NotFound, "unknown-field", "the order has no such field").At("field")

// Options of an Auditor; all of them are needed.
type Options struct {
	Query *query.Service // folds orders from the log
}

// Auditor answers what happened to one order. Its methods may be called from
// many goroutines. Every cut is refused as query.Service.Events says.
type Auditor struct{ query *query.Service }

// New makes an auditor; it holds nothing that needs closing.
func New(o Options) *Auditor { return &Auditor{query: o.Query} }

// History lists the events of an order at the cut, in the order in which they
// are folded.
func (a *Auditor) History(ctx context.Context, id string, cut query.Cut) ([]Entry, error) {
	events, err := a.query.Events(ctx, id, cut)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(events))
	var failed error
	_, err = query.Fold(ctx, id, events, func(e query.CutEvent, before, after view.Order) {
		_, data, err := codec.Encode(e.Event)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("order %s revision %d: %w", id, e.Revision, err))
		}
		words, reason := summary(e.Event, before, after)
		entries = append(entries, Entry{
			Revision: e.Revision, Position: e.Position, ID: e.EventID.String(), Type: e.Type,
			Summary: words, Reason: reason, Data: data,
			RecordedAt: e.Meta.RecordedAt, At: e.Event.OccurredAt(), EffectiveAt: e.EffectiveAt,
			Actor: e.Meta.Actor, Command: e.Meta.Command, CommandID: e.Meta.CommandID.String(),
			Correlation: e.Meta.CorrelationID, Causation: e.Meta.CausationID, TraceParent: e.Meta.TraceParent,
		})
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	return entries, nil
}

// Diff lists the fields of an order that differ between two cuts, by path; from
// may be the later one.
func (a *Auditor) Diff(ctx context.Context, id string, from, to query.Cut) ([]query.FieldChange, error) {
	before, err := a.query.OrderAsOf(ctx, id, from)
	if err != nil {
		return nil, err
	}
	after, err := a.query.OrderAsOf(ctx, id, to)
	if err != nil {
		return nil, err
	}
	return query.Diff(before, after), nil
}

// Why says for each field of an order at the cut which event last set it, by
// path. field is the path of a field, or of what holds fields: "/lines" asks for
// all that is below; "" asks for all there is. Of lists and objects that are
// empty only one that is asked for by its own path is told, with the event that
// made it so.
//
// The event that set a field is the one whose folding changed it, so that sums
// and statuses have theirs too; what is so from the beginning was set by the
// first event.
func (a *Auditor) Why(ctx context.Context, id string, cut query.Cut, field string) ([]Origin, error) {
	events, err := a.query.Events(ctx, id, cut)
	if err != nil {
		return nil, err
	}
	setters := make(map[string]*setter)
	doc, err := query.Fold(ctx, id, events, func(e query.CutEvent, before, after view.Order) {
		by := &setter{event: e}
		by.summary, _ = summary(e.Event, before, after)
		if len(setters) == 0 {
			for _, f := range query.Fields(after) {
				mark(setters, f.Path, by)
			}
			return
		}
		for _, c := range query.Diff(before, after) {
			mark(setters, c.Path, by)
		}
	})
	if err != nil {
		return nil, err
	}
	fields := query.Fields(doc)
	var origins []Origin
	for _, f := range fields {
		if f.Path != field && (!within(f.Path, field) || f.Hollow()) {
			continue
		}
		by := setters[f.Path]
		origins = append(origins, Origin{
			Path: f.Path, Value: f.Value,
			Revision: by.event.Revision, Type: by.event.Type, Summary: by.summary,
			Command: by.event.Meta.Command, Actor: by.event.Meta.Actor,
			At: by.event.Event.OccurredAt(), RecordedAt: by.event.Meta.RecordedAt,
		})
	}
	if len(origins) == 0 {
		return nil, ErrFieldUnknown.With(known(fields, field))
	}
	return origins, nil
}

// setter is an event that changed fields.
type setter struct {
	event   query.CutEvent
	summary string
}

// mark notes who set a field last, and who last changed anything below each
// path that leads to it.
func mark(setters map[string]*setter, path string, by *setter) {
	for path != "" && setters[path] != by {
		setters[path] = by
		path = path[:strings.LastIndexByte(path, '/')]
	}
}

func within(path, prefix string) bool { return prefix == "" || strings.HasPrefix(path, prefix+"/") }

// known says what there is where field ends to lead anywhere.
func known(fields []query.Field, field string) string {
	const enough = 40
	parent := field
	for {
		cut := strings.LastIndexByte(parent, '/')
		parent = parent[:max(cut, 0)]
		var below []string
		for _, f := range fields {
			if f.Path == parent || !within(f.Path, parent) {
				continue
			}
			name, _, _ := strings.Cut(f.Path[len(parent)+1:], "/")
			if !slices.Contains(below, parent+"/"+name) {
				below = append(below, parent+"/"+name)
			}
		}
		if len(below) == 0 && parent != "" {
			continue
		}
		more := ""
		if len(below) > enough {
			more = fmt.Sprintf(" and %d more", len(below)-enough)
		}
		return fmt.Sprintf("%.100q; there is %s%s", field, strings.Join(below[:min(len(below), enough)], ", "), more)
	}
}
