package command

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"pgregory.net/rapid"
)

// modelOrder is an order without store, cache, snapshots and lost answers.
type modelOrder struct {
	state   order.State
	events  []order.Event
	answers []modelAnswer
}

type modelAnswer struct {
	key         string
	cmd         order.Command
	first, last int
}

// TestAgainstAModel sends random commands through two write sides that share a
// store which loses answers, with caches, snapshots and audits, and compares
// every answer with the decider alone.
func TestAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dice := ordertest.Drawn(t)
		w := onReferenceQuietly()
		at := ordertest.Start
		sides := make([]*Orders, 2)
		for i := range sides {
			sides[i] = New(Options{
				Store: w.store, Namespace: "acme", Snapshots: w.snapshots, Logger: quiet(),
				Clock: func() time.Time { return at }, CacheEntries: 1 + i, SnapshotEvery: 3, AuditEvery: 2,
			})
		}
		defer func() {
			for _, o := range sides {
				_ = o.Close()
				if m := o.Metrics(); m.AuditDifferences != 0 {
					t.Errorf("%d snapshots differed", m.AuditDifferences)
				}
			}
		}()
		model := map[string]*modelOrder{}
		for step := range 40 {
			id := fmt.Sprint("o", dice(3))
			m := model[id]
			if m == nil {
				m = &modelOrder{}
				model[id] = m
			}
			o := sides[dice(2)]
			if len(m.answers) > 0 && dice(4) == 0 {
				past := m.answers[dice(len(m.answers))]
				r, err := o.Handle(ctx(), id, past.cmd, key(past.key))
				if err != nil || !r.Replayed || int(r.Revision) != past.last || len(r.Events) != past.last-past.first+1 {
					t.Fatalf("%s again: %+v, %v", past.key, r, err)
				}
				continue
			}
			at = at.Add(time.Minute)
			req := key(fmt.Sprint("k", step))
			req.DryRun = dice(8) == 0
			cmd := ordertest.Command(dice, m.state, at)
			filled := order.WithNumber(order.WithIDs(order.WithTime(cmd, at), entityID("acme.order-"+id, req.CommandID)), id)
			want, wantErr := order.Decide(m.state, filled)
			if order.BusinessTime(filled).After(at) {
				want, wantErr = nil, ErrFuture
			}
			r, err := o.Handle(ctx(), id, cmd, req)
			if !sameRefusal(err, wantErr) {
				t.Fatalf("%s: %v, want %v", cmd.Name(), err, wantErr)
			}
			if err != nil {
				continue
			}
			state := m.state
			for _, e := range want {
				state = order.Evolve(state, e)
			}
			if !ordertest.Same(r.State, state) || len(r.Events) != len(want) || int(r.Revision) != len(m.events)+len(want)-1 {
				t.Fatalf("%s answered %+v, want events %+v", cmd.Name(), r, want)
			}
			if req.DryRun {
				continue
			}
			if len(want) > 0 {
				m.answers = append(m.answers, modelAnswer{fmt.Sprint("k", step), cmd, len(m.events), len(m.events) + len(want) - 1})
			}
			m.state, m.events = state, append(m.events, want...)
		}
		for id, m := range model {
			n := 0
			for r, err := range w.store.ReadStream(ctx(), "acme.order-"+id, 0, eventstore.Forwards, 0) {
				if errors.Is(err, eventstore.ErrStreamNotFound) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				typ, data, err := codec.Encode(m.events[n])
				if err != nil || typ != r.Type || string(data) != string(r.Data) {
					t.Fatalf("%s at %d is %s %s, want %s %s, %v", id, n, r.Type, r.Data, typ, data, err)
				}
				n++
			}
			if n != len(m.events) {
				t.Fatalf("%s has %d events, want %d", id, n, len(m.events))
			}
		}
	})
}

func sameRefusal(got, want error) bool {
	var a, b *domain.Rejection
	if errors.As(got, &a) && errors.As(want, &b) {
		return a.Code == b.Code && a.Field == b.Field
	}
	return errors.Is(got, want)
}

// TestEveryStateSurvivesASnapshot: the state of any order is the same after it
// was stored as a snapshot.
func TestEveryStateSurvivesASnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := absent[order.State]()
		for i, e := range ordertest.Events(t) {
			a.state = order.Evolve(a.state, e)
			a.revision = eventstore.Revision(i)
			a.commands = a.commands.add(key(fmt.Sprint(i/3)).CommandID, "f", a.revision)
		}
		a.lastID, a.recordedAt = key("last").CommandID, ordertest.Start
		data, err := encodeSnapshot(order.StateSchema, "s", a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeSnapshot[order.State](order.StateSchema, "s", data)
		if err != nil || !ordertest.Same(a, b) {
			t.Fatalf("%v\n%+v\n%+v", err, a, b)
		}
	})
}
