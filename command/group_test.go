package command

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"pgregory.net/rapid"
)

// hold takes the turn on an order, so that commands on it gather until release.
func (o *Orders) hold(t fataler, id string) (release func()) {
	t.Helper()
	held, let, over := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		over <- o.loop.turns.do(ctx(), o.stream(id), nil, func([]*pending[order.State, order.Event]) {
			close(held)
			<-let
		})
	}()
	<-held
	return func() {
		t.Helper()
		close(let)
		if err := <-over; err != nil {
			t.Fatalf("the turn of the test: %v", err)
		}
	}
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// awaitWaiting returns when so many commands wait for the order.
func (o *Orders) awaitWaiting(id string, n int) {
	await(func() bool {
		turns := o.loop.turns
		turns.mu.Lock()
		defer turns.mu.Unlock()
		return len(turns.lines[o.stream(id)]) == n
	})
}

func await(condition func() bool) {
	tick := time.NewTicker(20 * time.Microsecond)
	defer tick.Stop()
	for !condition() {
		<-tick.C
	}
}

type groupAnswer struct {
	r   Result
	err error
}

// inOneGroup sends commands that wait for each other in their order.
func (o *Orders) inOneGroup(t fataler, id string, n int, handle func(i int) (Result, error)) []groupAnswer {
	t.Helper()
	release := o.hold(t, id)
	answers := make([]groupAnswer, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { answers[i].r, answers[i].err = handle(i) })
		o.awaitWaiting(id, i+1)
	}
	release()
	group.Wait()
	return answers
}

// counting counts appends that came through.
func counting(w *world, n *atomic.Int64) eventstore.Store {
	if s, ok := w.store.(eventstore.Sequencer); ok {
		return countingSequencer{s, n}
	}
	return &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
		a, err := do()
		if err == nil && !a.Repeated {
			n.Add(1)
		}
		return a, err
	}}
}

type countingSequencer struct {
	eventstore.Sequencer
	n *atomic.Int64
}

func (c countingSequencer) AppendStamped(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event, stamp func([]eventstore.Event)) (eventstore.Appended, error) {
	c.n.Add(1)
	return c.Sequencer.AppendStamped(ctx, stream, expected, events, stamp)
}

// TestThoseWhoWaitTogetherAreAppendedTogether: one append, and every answer is
// what was recorded for its own command.
func TestThoseWhoWaitTogetherAreAppendedTogether(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		var appends atomic.Int64
		var k told
		o := w.orders(func(o *Options) { o.Store, o.Refused = counting(w, &appends), k.tell })
		must(t, o, "1", place(), key("place"))
		must(t, o, "1", tags("first"), key("first"))
		appends.Store(0)
		at := func(k string, r eventstore.Expected) Request {
			req := key(k)
			req.IfMatch = &r
			return req
		}
		reused := key("a")
		reused.Fingerprint = "another body"
		commands := []struct {
			cmd order.Command
			req Request
		}{
			0: {tags("a"), key("a")},                                                            // revision 2
			1: {order.Dispatch{}, key("b")},                                                     // refused
			2: {tags("a"), key("c")},                                                            // nothing to do
			3: {order.AddPayment{Method: "card", Amount: eur("1.00"), Capture: true}, key("d")}, // 3
			4: {tags("late"), at("e", 2)},                                                       // too late
			5: {tags("b"), at("f", 3)},                                                          // 4
			6: {tags("first"), key("first")},                                                    // handled before
			7: {tags("a"), key("a")},                                                            // that of the same group
			8: {tags("z"), reused},                                                              // that key with another body
			9: {order.Confirm{}, key("g")},                                                      // 5
		}
		answers := o.inOneGroup(t, "1", len(commands), func(i int) (Result, error) {
			return o.Handle(ctx(), "1", commands[i].cmd, commands[i].req)
		})
		if n := appends.Load(); n != 1 {
			t.Errorf("%d appends", n)
		}
		stored := w.records("1")
		wrote := func(i int, first, last eventstore.Revision, replayed bool) {
			t.Helper()
			r, err := answers[i].r, answers[i].err
			if err != nil || r.Revision != last || r.Replayed != replayed {
				t.Errorf("command %d: %+v, %v", i, r, err)
				return
			}
			want := slices.Clone(stored[first : last+1])
			if _, exact := w.store.(eventstore.Sequencer); !exact && !replayed {
				for j := range want { // not known before the last of the append
					want[j].Position = r.Events[j].Position
				}
			} else if r.Position != want[len(want)-1].Position {
				t.Errorf("command %d is at position %v, stored %v", i, r.Position, want[len(want)-1].Position)
			}
			if !reflect.DeepEqual(r.Events, want) {
				t.Errorf("command %d answered\n%+v\nstored\n%+v", i, r.Events, want)
			}
			s := order.State{}
			for _, e := range stored[:last+1] {
				s = order.Evolve(s, e.Event)
			}
			if !ordertest.Same(r.State, s) {
				t.Errorf("command %d: its state is not that of revision %d", i, last)
			}
		}
		wrote(0, 2, 2, false)
		wrote(3, 3, 3, false)
		wrote(5, 4, 4, false)
		wrote(6, 1, 1, true)
		wrote(7, 2, 2, true)
		wrote(9, 5, 5, false)
		if len(stored) != 6 {
			t.Errorf("%d events", len(stored))
		}
		if r := answers[2].r; answers[2].err != nil || len(r.Events) != 0 || r.Revision != 2 || r.Replayed {
			t.Errorf("nothing to do: %+v, %v", r, answers[2].err)
		}
		if !errors.Is(answers[1].err, order.ErrNotConfirmed) {
			t.Error(answers[1].err)
		}
		var p *PreconditionError
		if !errors.As(answers[4].err, &p) || p.Current != 3 {
			t.Error(answers[4].err)
		}
		if !errors.Is(answers[8].err, ErrKeyReused) {
			t.Error(answers[8].err)
		}
		revisions := map[string]eventstore.Revision{}
		for _, r := range k.all {
			revisions[r.Code] = r.Revision
		}
		if want := map[string]eventstore.Revision{order.ErrNotConfirmed.Code: 2, "precondition-failed": 3, "key-reused": 5}; !reflect.DeepEqual(revisions, want) {
			t.Errorf("told %v, want %v", revisions, want)
		}
		if m := o.Metrics(); m.Together != 3 || m.Conflicts != 0 || m.Replays != 2 {
			t.Errorf("%+v", m)
		}
	})
}

// TestGroupsAnswerAsOneAtATime sends random commands in groups through one write
// side and one by one through another, each with a third writer beside, and
// compares every answer and both logs. The store loses no answers: where one is
// lost, commands of a group may come to be decided in another order.
func TestGroupsAnswerAsOneAtATime(t *testing.T) {
	together := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		dice := ordertest.Drawn(t)
		at := ordertest.Start
		open := func() (w *world, o, other *Orders) {
			w = onReferenceQuietly()
			w.store = losesNothing(w.store)
			options := Options{
				Store: w.store, Namespace: "acme", Snapshots: w.snapshots, Logger: quiet(),
				Clock: func() time.Time { return at }, SnapshotEvery: 3, AuditEvery: 2,
			}
			return w, New(options), New(options)
		}
		w1, grouped, beside1 := open()
		w2, single, beside2 := open()
		defer func() {
			for _, o := range []*Orders{grouped, beside1, single, beside2} {
				_ = o.Close()
				if m := o.Metrics(); m.AuditDifferences != 0 {
					t.Errorf("%d snapshots differed", m.AuditDifferences)
				}
			}
		}()
		type sent struct {
			cmd order.Command
			req Request
		}
		for _, o := range []*Orders{grouped, single} {
			if _, err := o.Handle(ctx(), "1", place(), key("place")); err != nil {
				t.Fatal(err)
			}
		}
		var past []sent
		state, _, _ := single.Load(ctx(), "1")
		for round := range 8 {
			at = at.Add(time.Minute)
			if dice(3) == 0 { // the caches are behind from now on
				cmd, req := ordertest.Command(dice, state, at), key(fmt.Sprint("beside", round))
				_, err1 := beside1.Handle(ctx(), "1", cmd, req)
				_, err2 := beside2.Handle(ctx(), "1", cmd, req)
				if !sameRefusal(err1, err2) {
					t.Fatalf("beside: %v and %v", err1, err2)
				}
			}
			group := make([]sent, 1+dice(6))
			for i := range group {
				switch c := &group[i]; {
				case len(past) > 0 && dice(5) == 0:
					*c = past[dice(len(past))]
					if dice(3) == 0 {
						c.req.Fingerprint = "another body"
					}
				case i > 0 && dice(6) == 0:
					*c = group[dice(i)]
				default:
					*c = sent{ordertest.Command(dice, state, at), key(fmt.Sprint(round, "/", i))}
					if dice(4) == 0 {
						_, revision, _ := single.Load(ctx(), "1")
						c.req.IfMatch = new(eventstore.Expected(revision + eventstore.Revision(dice(3))))
					}
				}
			}
			answers := grouped.inOneGroup(t, "1", len(group), func(i int) (Result, error) {
				return grouped.Handle(ctx(), "1", group[i].cmd, group[i].req)
			})
			for i, c := range group {
				want, err := single.Handle(ctx(), "1", c.cmd, c.req)
				got := answers[i]
				var p1, p2 *PreconditionError
				same := sameRefusal(got.err, err)
				if errors.As(err, &p1) {
					same = errors.As(got.err, &p2) && *p1 == *p2
				}
				if !same {
					t.Fatalf("round %d, %s: %v, alone %v", round, c.cmd.Name(), got.err, err)
				}
				if err != nil {
					continue
				}
				if got.r.Revision != want.Revision || got.r.Replayed != want.Replayed || len(got.r.Events) != len(want.Events) || !ordertest.Same(got.r.State, want.State) {
					t.Fatalf("round %d, %s:\n%+v\nalone\n%+v", round, c.cmd.Name(), got.r, want)
				}
				for j, e := range want.Events {
					g := got.r.Events[j]
					if g.EventID != e.EventID || g.Revision != e.Revision || !reflect.DeepEqual(g.Event, e.Event) || !reflect.DeepEqual(g.Meta, e.Meta) {
						t.Fatalf("round %d, %s:\n%+v\nalone\n%+v", round, c.cmd.Name(), g, e)
					}
				}
				if len(want.Events) > 0 {
					past = append(past, c)
				}
			}
			state, _, _ = single.Load(ctx(), "1")
		}
		together += grouped.Metrics().Together
		log1, log2 := eventsOf(w1, "1"), eventsOf(w2, "1")
		if !reflect.DeepEqual(log1, log2) {
			t.Fatalf("logs differ:\n%s\n%s", log1, log2)
		}
	})
	if together == 0 {
		t.Error("no two commands were appended together")
	}
}

// losesNothing hides that the answer to an append was lost.
func losesNothing(s eventstore.Store) eventstore.Store {
	return &faulty{Store: s, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
		for lost := false; ; lost = true {
			a, err := do()
			if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
				a.Repeated = a.Repeated && !lost
				return a, err
			}
		}
	}}
}

// eventsOf an order, in words.
func eventsOf(w *world, id string) (out []string) {
	for r, err := range w.store.ReadStream(ctx(), "acme.order-"+id, 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return append(out, err.Error())
		}
		out = append(out, fmt.Sprintf("%d %s %s %s %s", r.Revision, r.ID, r.Type, r.Data, r.Metadata))
	}
	return out
}

// TestLostAnswersOfAGroup: whatever happens to the append of a group, each
// command has one effect, and is told so when it comes again, alone.
func TestLostAnswersOfAGroup(t *testing.T) {
	const n = 5
	onEveryStore(t, func(t *testing.T, w *world) {
		var fail func(do func() (eventstore.Appended, error)) (eventstore.Appended, error)
		store := &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			if fail == nil {
				return do()
			}
			return fail(do)
		}}
		o, other := w.orders(func(o *Options) { o.Store = store }), w.orders()
		must(t, o, "1", place(), key("place"))
		group := func(name string) []groupAnswer {
			return o.inOneGroup(t, "1", n, func(i int) (Result, error) {
				k := fmt.Sprint(name, i)
				return o.Handle(ctx(), "1", tags(k), key(k))
			})
		}
		length := 1
		settled := func(name string, answers []groupAnswer, others int) {
			t.Helper()
			length += n + others
			stored := w.records("1")
			if len(stored) != length {
				t.Fatalf("%s: %d events, want %d", name, len(stored), length)
			}
			for i, a := range answers {
				if a.err == nil && (a.r.Replayed || len(a.r.Events) != 1 || stored[a.r.Revision].EventID != a.r.Events[0].EventID) {
					t.Errorf("%s: command %d answered %+v", name, i, a.r)
				}
				k := fmt.Sprint(name, i)
				for _, side := range []*Orders{o, other} {
					r, err := side.Handle(ctx(), "1", tags(k), key(k))
					if err != nil || !r.Replayed || a.err == nil && r.Revision != a.r.Revision {
						t.Errorf("%s: command %d again: %+v, %v", name, i, r, err)
					}
				}
			}
			if got := len(w.records("1")); got != length {
				t.Errorf("%s: %d events after all came again, want %d", name, got, length)
			}
		}
		all := func(name string, answers []groupAnswer, want error) {
			t.Helper()
			for i, a := range answers {
				if !errors.Is(a.err, want) {
					t.Errorf("%s: command %d: %+v, %v", name, i, a.r, a.err)
				}
			}
		}
		lost := 0
		fail = func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			a, err := do()
			if lost++; lost <= 3 && err == nil {
				return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
			}
			return a, err
		}
		answers := group("some")
		all("some", answers, nil)
		settled("some", answers, 0)

		fail = func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			_, _ = do()
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}
		answers = group("every")
		fail = nil
		all("every", answers, eventstore.ErrOutcomeUnknown)
		settled("every", answers, 0)

		// Not written, and the order has moved when it is tried again.
		tries := 0
		fail = func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			if tries++; tries > 1 {
				return do()
			}
			must(t, other, "1", tags("between"), key("between"))
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}
		answers = group("moved")
		all("moved", answers, nil)
		settled("moved", answers, 1)

		// Not written, never found out: the same commands come again in groups
		// of another cut.
		fail = func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}
		all("unwritten", group("unwritten"), eventstore.ErrOutcomeUnknown)
		fail = nil
		must(t, o, "1", tags("unwritten0"), key("unwritten0"))
		answers = group("unwritten")
		length-- // the first is there already
		if !answers[0].r.Replayed {
			t.Errorf("%+v", answers[0])
		}
		all("unwritten", answers, nil)
		length++
		settled("unwritten", answers[1:1], 0)

		// Nothing was written, and the store says so.
		fail = func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			return eventstore.Appended{}, eventstore.ErrOverloaded
		}
		for i, a := range group("refused") {
			if !errors.Is(a.err, eventstore.ErrOverloaded) || errors.Is(a.err, eventstore.ErrOutcomeUnknown) {
				t.Errorf("command %d: %+v, %v", i, a.r, a.err)
			}
		}
		// What a rule says of the order as it is needs no append.
		mixed := o.inOneGroup(t, "1", 3, func(i int) (Result, error) {
			cmd := []order.Command{tags("mixed"), order.Dispatch{}, tags("mixed")}[i]
			return o.Handle(ctx(), "1", cmd, key(fmt.Sprint("mixed", i)))
		})
		if !errors.Is(mixed[0].err, eventstore.ErrOverloaded) || !errors.Is(mixed[1].err, order.ErrNotConfirmed) || !errors.Is(mixed[2].err, eventstore.ErrOverloaded) {
			t.Errorf("%v", mixed)
		}
		fail = nil
		if got := len(w.records("1")); got != length {
			t.Errorf("%d events, want %d", got, length)
		}
	})
}

// TestAGroupOutlivesItsLeader: who gives up while waiting has written nothing;
// who gives up while being served is in doubt; the others are served.
func TestAGroupOutlivesItsLeader(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		appending, proceed := make(chan struct{}), make(chan struct{})
		stop := false
		store := &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			if stop {
				stop = false
				close(appending)
				<-proceed
			}
			return do()
		}}
		o := w.orders(func(o *Options) { o.Store = store })
		must(t, o, "1", place(), key("place"))
		stop = true
		release := o.hold(t, "1")
		const n = 4
		var errs [n]error
		var cancels [n]context.CancelFunc
		var waits [n]sync.WaitGroup
		for i := range n {
			c, cancel := context.WithCancel(ctx())
			cancels[i] = cancel
			waits[i].Go(func() { _, errs[i] = o.Handle(c, "1", tags(fmt.Sprint(i)), key(fmt.Sprint(i))) })
			o.awaitWaiting("1", i+1)
		}
		cancels[1]()
		waits[1].Wait()
		release()
		<-appending
		cancels[0]() // the one that serves
		cancels[2]()
		waits[2].Wait()
		close(proceed)
		waits[0].Wait()
		waits[3].Wait()
		cancels[3]()
		if !errors.Is(errs[1], context.Canceled) || errors.Is(errs[1], eventstore.ErrOutcomeUnknown) {
			t.Errorf("gave up waiting: %v", errs[1])
		}
		if !errors.Is(errs[2], context.Canceled) || !errors.Is(errs[2], eventstore.ErrOutcomeUnknown) {
			t.Errorf("gave up while being served: %v", errs[2])
		}
		if errs[0] != nil || errs[3] != nil {
			t.Errorf("served: %v, %v", errs[0], errs[3])
		}
		if got := len(w.records("1")); got != 4 {
			t.Errorf("%d events", got)
		}
		if r := must(t, o, "1", tags("2"), key("2")); !r.Replayed {
			t.Errorf("%+v", r)
		}
		if len(o.loop.turns.lines) != 0 {
			t.Error("a turn was left behind")
		}
	})
}

// TestAGroupEndsWhenNobodyWaits: the append is not tried for ever.
func TestAGroupEndsWhenNobodyWaits(t *testing.T) {
	w := onReference(t)
	var cancels []context.CancelFunc
	tries := 0
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			tries++
			for _, cancel := range cancels {
				cancel()
			}
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}}
	})
	contexts := make([]context.Context, 3)
	for i := range contexts {
		c, cancel := context.WithCancel(ctx())
		contexts[i], cancels = c, append(cancels, cancel)
	}
	for i, a := range o.inOneGroup(t, "1", len(contexts), func(i int) (Result, error) {
		return o.Handle(contexts[i], "1", place(), key(fmt.Sprint(i)))
	}) {
		if !errors.Is(a.err, eventstore.ErrOutcomeUnknown) && !errors.Is(a.err, context.Canceled) {
			t.Errorf("command %d: %v", i, a.err)
		}
	}
	if tries > maxUnknown {
		t.Errorf("%d appends", tries)
	}
}

// TestABrokenCommandIsAlone: a panic while deciding reaches its own caller.
func TestABrokenCommandIsAlone(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		must(t, o, "1", place(), key("place"))
		panicked := make([]any, 4)
		answers := o.inOneGroup(t, "1", 4, func(i int) (r Result, err error) {
			defer func() { panicked[i] = recover() }()
			if i%2 == 0 {
				return o.Handle(ctx(), "1", tags(fmt.Sprint(i)), key(fmt.Sprint(i)))
			}
			_, err = o.loop.handle(ctx(), o.stream("1"), "odd", key(fmt.Sprint(i)), func(order.State, time.Time) ([]order.Event, error) {
				panic("no such rule")
			})
			return r, err
		})
		for i, a := range answers {
			text, _ := panicked[i].(string)
			if broken := strings.HasPrefix(text, "no such rule") && strings.Contains(text, "TestABrokenCommandIsAlone"); broken != (i%2 == 1) || !broken && a.err != nil {
				t.Errorf("command %d: %v, %v", i, text, a.err)
			}
		}
		if got := len(w.records("1")); got != 3 {
			t.Errorf("%d events", got)
		}
	})
}

// TestABrokenStoreLeavesNobodyWaiting: a panic below ends the group, and nobody
// in it is told that nothing was written.
func TestABrokenStoreLeavesNobodyWaiting(t *testing.T) {
	w := onReference(t)
	broken := false
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			if broken {
				panic("store has lost track of itself")
			}
			return do()
		}}
	})
	must(t, o, "1", place(), key("place"))
	broken = true
	var panics atomic.Int64
	for i, a := range o.inOneGroup(t, "1", 3, func(i int) (r Result, err error) {
		defer func() {
			if recover() != nil {
				panics.Add(1)
			}
		}()
		return o.Handle(ctx(), "1", tags(fmt.Sprint(i)), key(fmt.Sprint(i)))
	}) {
		if i > 0 && !errors.Is(a.err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("command %d: %v", i, a.err)
		}
	}
	if panics.Load() != 1 || len(o.loop.turns.lines) != 0 {
		t.Errorf("%d panics, %d lines", panics.Load(), len(o.loop.turns.lines))
	}
}

// TestGroupsAreBounded: by their number and by the bytes of one append.
func TestGroupsAreBounded(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		var appends atomic.Int64
		o := w.orders(func(o *Options) { o.Store = counting(w, &appends) })
		must(t, o, "1", place(), key("place"))
		appends.Store(0)
		const n = 7 // of 300 kB: three fit
		answers := o.inOneGroup(t, "1", n, func(i int) (r Result, err error) {
			size := 300_000
			if i == 3 {
				size = eventstore.MaxAppendSize // never fits
			}
			_, err = o.loop.handle(ctx(), o.stream("1"), "note", key(fmt.Sprint(i)), func(order.State, time.Time) ([]order.Event, error) {
				return []order.Event{order.NoteAdded{NoteID: fmt.Sprint(i), Text: strings.Repeat("x", size), At: ordertest.Start}}, nil
			})
			return r, err
		})
		for i, a := range answers {
			if i == 3 != errors.Is(a.err, eventstore.ErrTooLarge) || i != 3 && a.err != nil {
				t.Errorf("command %d: %v", i, a.err)
			}
		}
		if got := len(w.records("1")); got != n || appends.Load() > 3+1 {
			t.Errorf("%d events in %d appends", got, appends.Load())
		}

		appends.Store(0)
		for i, a := range o.inOneGroup(t, "1", maxGroup+10, func(i int) (Result, error) {
			return o.Handle(ctx(), "1", tags(fmt.Sprint(i)), key(fmt.Sprint("t", i)))
		}) {
			if a.err != nil {
				t.Errorf("command %d: %v", i, a.err)
			}
		}
		if appends.Load() != 2 {
			t.Errorf("%d appends", appends.Load())
		}
	})
}

// TestAReadOnlyStoreIsReadAllTheSame: what nobody has in memory is looked up
// before a store that refuses writes decides the answer.
func TestAReadOnlyStoreIsReadAllTheSame(t *testing.T) {
	w := onReference(t)
	must(t, w.orders(), "1", place(), key("place"))
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			return eventstore.Appended{}, eventstore.ErrReadOnly
		}}
	})
	if r := must(t, o, "1", place(), key("place")); !r.Replayed {
		t.Errorf("%+v", r)
	}
	another := place()
	another.Lines = another.Lines[:1]
	if _, err := o.Handle(ctx(), "1", another, key("another")); !errors.Is(err, order.ErrExists) {
		t.Error(err)
	}
	if _, err := o.Handle(ctx(), "2", place(), key("second")); !errors.Is(err, eventstore.ErrReadOnly) {
		t.Error(err)
	}
}

// TestDoubtEndsWithALook: once the stream was looked at and the command is not
// there, a later failure may be called one.
func TestDoubtEndsWithALook(t *testing.T) {
	w := onReference(t)
	other := w.orders()
	must(t, other, "1", place(), key("place"))
	tries := 0
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			switch tries++; tries {
			case 1:
				must(t, other, "1", tags("between"), key("between"))
				return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
			case 2:
				return do() // a conflict
			}
			return eventstore.Appended{}, eventstore.ErrOverloaded
		}}
	})
	if _, err := o.Handle(ctx(), "1", tags("x"), key("x")); !errors.Is(err, eventstore.ErrOverloaded) || errors.Is(err, eventstore.ErrOutcomeUnknown) || tries != 3 {
		t.Errorf("%v after %d appends", err, tries)
	}
}

// TestAStreamBeginsAlone: where an order that was deleted goes on is not known
// before its first append, and an If-Match on it must not guess.
func TestAStreamBeginsAlone(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		must(t, o, "1", place(), key("place"))
		must(t, o, "1", tags("x"), key("x"))
		if _, err := w.store.Delete(ctx(), "acme.order-1", eventstore.At(1)); err != nil {
			t.Fatal(err)
		}
		o = w.orders()
		answers := o.inOneGroup(t, "1", 3, func(i int) (Result, error) {
			req := key(fmt.Sprint(i))
			if i > 0 {
				req.IfMatch = new(eventstore.At(eventstore.Revision(i - 1)))
			}
			return o.Handle(ctx(), "1", []order.Command{place(), tags("y"), tags("z")}[i], req)
		})
		if a := answers[0]; a.err != nil || a.r.Revision != 2 {
			t.Errorf("placed anew: %+v, %v", a.r, a.err)
		}
		for _, a := range answers[1:] {
			var p *PreconditionError
			if !errors.As(a.err, &p) || p.Current != 2 {
				t.Errorf("%+v, %v", a.r, a.err)
			}
		}
	})
}

// TestNothingIsToldOfAStreamThatBegins: neither a refusal nor an answer without
// events goes by a revision that an order placed anew may not have.
func TestNothingIsToldOfAStreamThatBegins(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		must(t, o, "1", place(), key("place"))
		must(t, o, "1", tags("x"), key("x"))
		if _, err := w.store.Delete(ctx(), "acme.order-1", eventstore.At(1)); err != nil {
			t.Fatal(err)
		}
		o = w.orders()
		answers := o.inOneGroup(t, "1", 3, func(i int) (Result, error) {
			req := key(fmt.Sprint(i))
			if i == 2 {
				req.IfMatch = new(eventstore.At(2))
			}
			return o.Handle(ctx(), "1", []order.Command{place(), tags(place().Tags...), tags("z")}[i], req)
		})
		for i, want := range []eventstore.Revision{2, 2, 3} {
			if a := answers[i]; a.err != nil || a.r.Revision != want {
				t.Errorf("command %d: %+v, %v; want revision %d", i, a.r, a.err, want)
			}
		}
	})
}

// TestABreakOnAGuessIsForgotten: what a command does on the state that an order
// was taken to have counts for nothing when it is decided again.
func TestABreakOnAGuessIsForgotten(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		must(t, w.orders(), "1", place(), key("place"))
		o := w.orders()
		out, err := o.loop.handle(ctx(), o.stream("1"), "odd", key("odd"), func(s order.State, _ time.Time) ([]order.Event, error) {
			if s.Status == "" {
				panic("no such order")
			}
			return []order.Event{order.TagsSet{Tags: []string{"odd"}}}, nil
		})
		if err != nil || out.revision != 1 || len(w.records("1")) != 2 {
			t.Errorf("revision %d, %v", out.revision, err)
		}
	})
}

// TestNothingIsRecordedBeforeItsDecision, also when the clock is set back
// between the two.
func TestNothingIsRecordedBeforeItsDecision(t *testing.T) {
	w := onSQLite(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	o := w.orders(func(o *Options) {
		o.Clock = func() time.Time { now = now.Add(-time.Second); return now }
	})
	r := must(t, o, "1", place(), key("place"))
	if recorded := r.Events[0].Meta.RecordedAt; recorded.Before(r.State.PlacedAt) {
		t.Errorf("placed at %v, recorded at %v", r.State.PlacedAt, recorded)
	}
}
