package query

import (
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Cut is the point at which an order is looked at; the zero value is now. At
// most one of Revision, Position and AsOf is set: what was known then.
// EffectiveAt, alone or beside one of them, is what was true then, of what was
// known: the known events are folded by (effective time, revision), up to and
// including that instant. See codec.Subjects for an event's effective time.
//
// The answer for a cut is the same for ever; an instant of AsOf is waited for
// until nothing can be recorded at it any more, which Service.settle says more
// of. What EffectiveAt alone answers changes when more becomes known of that
// time: set AsOf beside it.
type Cut struct {
	Revision    *eventstore.Revision // up to and including
	Position    *eventstore.Position // up to and including
	AsOf        *time.Time           // recordedAt up to and including
	EffectiveAt *time.Time           // effective time up to and including
}

// IsNow reports whether nothing is cut off.
func (c Cut) IsNow() bool {
	return c.Revision == nil && c.Position == nil && c.AsOf == nil && c.EffectiveAt == nil
}

// knowledge names the fields that say what was known, as the API does.
func (c Cut) knowledge() (given []string) {
	for _, field := range []struct {
		name string
		set  bool
	}{{"atRevision", c.Revision != nil}, {"atPosition", c.Position != nil}, {"asOf", c.AsOf != nil}} {
		if field.set {
			given = append(given, field.name)
		}
	}
	return given
}
