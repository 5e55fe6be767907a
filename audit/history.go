package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore"
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
	page, err := a.HistoryPage(ctx, id, cut, nil, math.MaxInt)
	return page.Entries, err
}

// Page is a part of a history.
type Page struct {
	Revision eventstore.Revision // of the order at the cut
	Entries  []Entry
	More     bool // events come after them
}

// ErrNoSuchEvent: the cut has no event of the revision to begin after.
var ErrNoSuchEvent = errors.New("there is no event of this revision at this cut")

// HistoryPage is History from the event after the one of revision after on (nil:
// the first), at most limit entries; it fails with ErrNoSuchEvent too. Only
// what it answers is put into words.
func (a *Auditor) HistoryPage(ctx context.Context, id string, cut query.Cut, after *eventstore.Revision, limit int) (Page, error) {
	page := Page{Entries: []Entry{}}
	began := after == nil
	var failed error
	doc, err := a.query.Replay(ctx, id, cut, func(e query.CutEvent, before, now view.Order) {
		switch {
		case !began:
			began = e.Revision == *after
			return
		case len(page.Entries) >= limit:
			page.More = true
			return
		}
		_, data, err := codec.Encode(e.Event)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("order %s revision %d: %w", id, e.Revision, err))
		}
		words, reason := summary(e.Event, before, now)
		page.Entries = append(page.Entries, Entry{
			Revision: e.Revision, Position: e.Position, ID: e.EventID.String(), Type: e.Type,
			Summary: words, Reason: reason, Data: data,
			RecordedAt: e.Meta.RecordedAt, At: e.Event.OccurredAt(), EffectiveAt: e.EffectiveAt,
			Actor: e.Meta.Actor, Command: e.Meta.Command, CommandID: e.Meta.CommandID.String(),
			Correlation: e.Meta.CorrelationID, Causation: e.Meta.CausationID, TraceParent: e.Meta.TraceParent,
		})
	})
	if err := errors.Join(err, failed); err != nil {
		return Page{}, err
	}
	if !began {
		return Page{}, ErrNoSuchEvent
	}
	page.Revision = eventstore.Revision(doc.Revision)
	return page, nil
}

// Difference is how an order differs between two cuts.
type Difference struct {
	From, To eventstore.Revision // of the order there
	Changes  []query.FieldChange // by path; never nil
}

// Diff compares an order at two cuts; from may be the later one. Each cut is
// folded once. What is wrong with a cut is refused at "from" or "to".
func (a *Auditor) Diff(ctx context.Context, id string, from, to query.Cut) (Difference, error) {
	before, err := a.point(ctx, id, "from", from)
	if err != nil {
		return Difference{}, err
	}
	after, err := a.point(ctx, id, "to", to)
	if err != nil {
		return Difference{}, err
	}
	d := Difference{From: eventstore.Revision(before.Revision), To: eventstore.Revision(after.Revision), Changes: query.Diff(before, after)}
	if d.Changes == nil {
		d.Changes = []query.FieldChange{}
	}
	return d, nil
}

func (a *Auditor) point(ctx context.Context, id, name string, cut query.Cut) (view.Order, error) {
	doc, err := a.query.OrderAsOf(ctx, id, cut)
	var refused *domain.Rejection
	if errors.As(err, &refused) && !errors.Is(err, query.ErrOrderUnknown) && !errors.Is(err, query.ErrHistoryUnreadable) {
		return doc, refused.At(name)
	}
	return doc, err
}

// Provenance says where fields of an order come from.
type Provenance struct {
	Revision eventstore.Revision // of the order at the cut
	Fields   []Origin            // by path; at least one
}

// Why says for each field of an order at the cut which event last set it, by
// path. field is the path of a field, or of what holds fields: "/lines" asks for
// all that is below; "" asks for all there is. Of lists and objects that are
// empty only one that is asked for by its own path is told, with the event that
// made it so. A field that was there before, and is not at the cut, has the
// value null and the event that took it away.
//
// The event that set a field is the one whose folding changed it, so that sums
// and statuses have theirs too; what is so from the beginning was set by the
// first event.
func (a *Auditor) Why(ctx context.Context, id string, cut query.Cut, field string) (Provenance, error) {
	setters := make(map[string]*setter)
	first := true
	doc, err := a.query.Replay(ctx, id, cut, func(e query.CutEvent, before, after view.Order) {
		var paths []string
		if first {
			for _, f := range query.FieldsAt(after, field) {
				paths = append(paths, f.Path)
			}
		} else {
			for _, c := range query.DiffAt(before, after, field) {
				paths = append(paths, c.Path)
			}
		}
		first = false
		if len(paths) == 0 {
			return
		}
		by := &setter{event: e}
		by.summary, _ = summary(e.Event, before, after)
		for _, path := range paths {
			mark(setters, path, by)
		}
	})
	if err != nil {
		return Provenance{}, err
	}
	why := Provenance{Revision: eventstore.Revision(doc.Revision)}
	for _, f := range query.FieldsAt(doc, field) {
		if f.Path == field || within(f.Path, field) && !f.Hollow() {
			why.Fields = append(why.Fields, setters[f.Path].set(f.Path, f.Value))
		}
	}
	if len(why.Fields) > 0 {
		return why, nil
	}
	gone := setters[field]
	if gone == nil {
		return Provenance{}, ErrFieldUnknown.With(known(query.Fields(doc), field))
	}
	why.Fields = []Origin{gone.set(field, json.RawMessage("null"))}
	return why, nil
}

// setter is an event that changed fields.
type setter struct {
	event   query.CutEvent
	summary string
}

func (s *setter) set(path string, value json.RawMessage) Origin {
	return Origin{
		Path: path, Value: value,
		Revision: s.event.Revision, Type: s.event.Type, Summary: s.summary,
		Command: s.event.Meta.Command, Actor: s.event.Meta.Actor,
		At: s.event.Event.OccurredAt(), RecordedAt: s.event.Meta.RecordedAt,
	}
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
