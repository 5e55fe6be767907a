package systemtest

import (
	"context"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// check compares what everybody was told with the store itself, and answers what
// is wrong. It is for when nobody uses the store any more.
func (w *faultWorld) check(ctx context.Context) (wrong []string, err error) {
	c := &faultCheck{world: w, places: map[uuid.UUID][]int{}, streams: map[string][]eventstore.Record{}, wrong: w.troubles}
	for rec, err := range w.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			return nil, err
		}
		c.places[rec.ID] = append(c.places[rec.ID], len(c.log))
		c.streams[rec.Stream] = append(c.streams[rec.Stream], rec)
		c.log = append(c.log, rec)
	}
	for _, a := range w.appends {
		c.append(a)
	}
	c.order()
	for _, r := range w.reads {
		c.read(r)
	}
	for _, s := range w.subs {
		c.subscription(s)
	}
	return c.wrong, nil
}

type faultCheck struct {
	world   *faultWorld
	log     []eventstore.Record
	places  map[uuid.UUID][]int // in the log
	streams map[string][]eventstore.Record
	wrong   []string
}

func (c *faultCheck) say(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// append: what was acknowledged is there once, where it was said to be; what was
// refused, or never sent, is not; what is unknown is there whole or not at all.
func (c *faultCheck) append(a *faultAppend) {
	there := 0
	for _, id := range a.ids {
		if len(c.places[id]) > 1 {
			c.say("doubled: %v", a)
			return
		}
		there += len(c.places[id])
	}
	switch {
	case there != 0 && there != len(a.ids):
		c.say("torn: %v: %d events are there", a, there)
	case a.told == toldDone && there == 0:
		c.say("lost: %v", a)
	case (a.told == toldRefused || a.told == toldNothing) && there != 0:
		c.say("there although it was %v: %v", a.told, a)
	case there == 0:
	default:
		for i, id := range a.ids {
			rec := c.log[c.places[id][0]]
			if want := faultEvent(id); rec.Stream != a.stream || rec.Revision != eventstore.Revision(int(a.expected)+1+i) || string(rec.Data) != string(want.Data) || rec.Type != want.Type || !rec.JSON {
				c.say("misplaced: %v: event %d is revision %d of %s, %s", a, i, rec.Revision, rec.Stream, rec.Data)
			}
		}
		last := c.log[c.places[a.ids[len(a.ids)-1]][0]]
		if a.told == toldDone && (a.at.Revision != last.Revision || a.at.Position != last.Position) {
			c.say("told a wrong place: %v: it is at %d, %v", a, last.Revision, last.Position)
		}
	}
}

// order: an append that began after another was acknowledged comes after it.
func (c *faultCheck) order() {
	for _, a := range c.world.appends {
		for _, b := range c.world.appends {
			if a.told == toldDone && b.told == toldDone && a.ended < b.began && !a.at.Position.Before(b.at.Position) {
				c.say("out of order: %v before %v", a, b)
			}
		}
	}
}

// acknowledged is how far, in the log or a stream, what had been acknowledged at a
// moment goes; -1: nothing.
func (c *faultCheck) acknowledged(moment int64, matches func(eventstore.Record) bool) (last eventstore.Record, any bool) {
	for _, a := range c.world.appends {
		places := c.places[a.ids[len(a.ids)-1]]
		if a.told != toldDone || a.ended > moment || len(places) == 0 {
			continue
		}
		if rec := c.log[places[0]]; matches(rec) && (!any || last.Position.Before(rec.Position)) {
			last, any = rec, true
		}
	}
	return last, any
}

// read: what was read is what is there, without a gap, and holds everything that
// had been acknowledged before.
func (c *faultCheck) read(r *faultRead) {
	is := func(rec eventstore.Record) bool {
		return r.stream == rec.Stream || r.stream == "" && r.filter.Matches(rec.Stream)
	}
	var all []eventstore.Record // in the order of the read, of what it may see
	for i := range c.log {
		if r.dir == eventstore.Backwards {
			i = len(c.log) - 1 - i
		}
		if rec := c.log[i]; is(rec) && (r.stream == "" || r.dir == eventstore.Forwards && rec.Revision >= r.from || r.dir == eventstore.Backwards && rec.Revision <= r.from) {
			all = append(all, rec)
		}
	}
	// Backwards from the end, later ones may not have been there.
	for r.dir == eventstore.Backwards && len(all) > 0 && (len(r.records) == 0 || all[0].ID != r.records[0].ID) {
		if last, any := c.acknowledged(r.began, is); any && !last.Position.Before(all[0].Position) && (r.complete || len(r.records) > 0) {
			c.say("stale: %v lacks revision %d of %s, which was there", r, all[0].Revision, all[0].Stream)
			return
		}
		all = all[1:]
	}
	if len(r.records) > len(all) {
		c.say("read too much: %v", r)
		return
	}
	for i, rec := range r.records {
		if rec.ID != all[i].ID || rec.Revision != all[i].Revision || rec.Position != all[i].Position || rec.Stream != all[i].Stream || string(rec.Data) != string(all[i].Data) {
			c.say("read something else: %v: number %d is revision %d of %s, want %d of %s", r, i, rec.Revision, rec.Stream, all[i].Revision, all[i].Stream)
			return
		}
	}
	if !r.complete || len(r.records) == r.limit && r.limit > 0 || len(r.records) == len(all) {
		return
	}
	missing := all[len(r.records)]
	if last, any := c.acknowledged(r.began, is); r.dir == eventstore.Backwards || any && !last.Position.Before(missing.Position) {
		c.say("stale: %v ends before revision %d of %s, which was there", r, missing.Revision, missing.Stream)
	}
}

// subscription: every matching record once, in order; a mark that nothing matches
// up to a position, or that everything is delivered, is true.
func (c *faultCheck) subscription(f *faultSubscription) {
	var want []eventstore.Record
	for _, rec := range c.log {
		if f.filter.Matches(rec.Stream) {
			want = append(want, rec)
		}
	}
	next, at := 0, eventstore.Start
	for i, n := range f.notices {
		if n.Position.Before(at) || n.Kind == eventstore.Delivered && n.Position == at {
			c.say("subscription %v goes back: notice %d (%d) is at %v, before it %v", f.filter, i, n.Kind, n.Position, at)
			return
		}
		at = n.Position
		switch n.Kind {
		case eventstore.Delivered:
			if next == len(want) || n.Record.ID != want[next].ID {
				c.say("subscription %v delivers revision %d of %s at %v as number %d, want another", f.filter, n.Record.Revision, n.Record.Stream, n.Position, next)
				return
			}
			if rec := want[next]; n.Record.Revision != rec.Revision || n.Record.Position != rec.Position || n.Position != rec.Position || n.Record.Stream != rec.Stream || string(n.Record.Data) != string(rec.Data) {
				c.say("subscription %v delivers %+v, want %+v", f.filter, n, rec)
			}
			next++
		case eventstore.Checkpoint:
			if next < len(want) && !n.Position.Before(want[next].Position) {
				c.say("subscription %v says that nothing matches up to %v; %v does", f.filter, n.Position, want[next].Position)
				return
			}
		case eventstore.CaughtUp:
			last, any := c.acknowledged(n.began, func(rec eventstore.Record) bool { return f.filter.Matches(rec.Stream) })
			if any && next < len(want) && !last.Position.Before(want[next].Position) {
				c.say("subscription %v says that everything is delivered; revision %d of %s is not", f.filter, want[next].Revision, want[next].Stream)
				return
			}
		}
	}
	if next != len(want) {
		c.say("subscription %v delivered %d of %d", f.filter, next, len(want))
	}
}
