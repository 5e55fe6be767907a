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

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

func TestAnswerIsWhatWasRecorded(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		req := key("k")
		req.CorrelationID, req.CausationID, req.TraceParent = "corr", "cause", "00-01-02-01"
		r := must(t, o, "1", place(), req)
		if r.ID != "1" || r.Revision != 0 || len(r.Events) != 1 || r.Replayed || r.State.Status != order.StatusPlaced {
			t.Fatalf("%+v", r)
		}
		stored := w.records("1")
		if got := r.Events[0]; r.Position != stored[0].Position {
			t.Errorf("position %v of %+v, stored %v", r.Position, got, stored[0].Position)
		}
		if !reflect.DeepEqual(r.Events, stored) {
			t.Errorf("answered\n%+v\nstored\n%+v", r.Events, stored)
		}
		m := stored[0].Meta
		if m.CommandID != req.CommandID || m.Command != "place" || m.Fingerprint != req.Fingerprint ||
			m.Actor != "test" || m.CorrelationID != "corr" || m.CausationID != "cause" || m.TraceParent != "00-01-02-01" ||
			m.Version != 1 || m.RecordedAt.IsZero() {
			t.Errorf("metadata %+v", m)
		}
		if placed := stored[0].Event.(order.Placed); placed.Number != order.NumberFor("1") || placed.At.IsZero() {
			t.Errorf("number and time were not filled in: %+v", placed)
		}
		s, revision, err := o.Load(ctx(), "1")
		if err != nil || revision != 0 || !reflect.DeepEqual(s, r.State) {
			t.Errorf("loaded %+v at %d, %v", s, revision, err)
		}
		if _, revision, err := o.Load(ctx(), "2"); err != nil || revision != -1 {
			t.Errorf("an order that is not there is at %d, %v", revision, err)
		}
	})
}

// TestOneKeyInTwoProcesses: two processes decide on the same key at the same
// revision. The slower one is told what the faster one did, or that the key was
// used for something else; that an append was a repeat, the store need not say.
func TestOneKeyInTwoProcesses(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		faster := w.orders()
		for _, c := range []struct {
			id, fingerprint string
			cmd             order.Command
			err             error
		}{
			{"same", key("k").Fingerprint, place(), nil},
			{"other-body", "other", func() order.Place { p := place(); p.Lines = p.Lines[:1]; return p }(), ErrKeyReused},
		} {
			var first Result
			between := sync.OnceFunc(func() { first = must(t, faster, c.id, place(), key("k")) })
			slower := w.orders(func(o *Options) {
				o.Store = &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
					between()
					return do()
				}}
			})
			req := key("k")
			req.Fingerprint = c.fingerprint
			r, err := slower.Handle(ctx(), c.id, c.cmd, req)
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", c.id, err, c.err)
			}
			if err == nil {
				if !r.Replayed {
					t.Errorf("%s: %+v is not the answer to the first", c.id, r)
				}
				sameAnswer(t, r, first)
			}
			for _, o := range []*Orders{faster, slower} {
				s, revision, err := o.Load(ctx(), c.id)
				if err != nil || revision != 0 || !reflect.DeepEqual(s, first.State) {
					t.Errorf("%s: loaded %+v at %d, %v", c.id, s, revision, err)
				}
			}
		}
	})
}

func TestRefusalsPassThrough(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		if _, err := o.Handle(ctx(), "1", order.Confirm{}, Request{}); !errors.Is(err, order.ErrUnknown) {
			t.Error(err)
		}
		var r *domain.Rejection
		if _, err := o.Handle(ctx(), "not/an/id", place(), Request{}); !errors.As(err, &r) || r.Field != "/id" {
			t.Error(err)
		}
		must(t, o, "1", place(), key("a"))
		another := place()
		another.Lines = another.Lines[:1]
		if _, err := o.Handle(ctx(), "1", another, key("b")); !errors.Is(err, order.ErrExists) {
			t.Error(err)
		}
		if n := len(w.records("1")); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestRepeatedKeyHasOneEffectAndOneAnswer(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		placed := must(t, o, "1", place(), key("place"))
		noted := must(t, o, "1", order.AddNote{Text: "hello"}, key("note"))
		if id := noted.Events[0].Event.(order.NoteAdded).NoteID; !order.ValidID(id) {
			t.Errorf("note has id %q", id)
		}
		must(t, o, "1", tags("x"), key("tags"))
		before := w.records("1")

		again := func(o *Orders) {
			t.Helper()
			for _, c := range []struct {
				cmd   order.Command
				key   string
				first Result
			}{{place(), "place", placed}, {order.AddNote{Text: "hello"}, "note", noted}} {
				r := must(t, o, "1", c.cmd, key(c.key))
				if !r.Replayed {
					t.Errorf("%s was not recognised", c.key)
				}
				sameAnswer(t, r, c.first)
				// Whatever the precondition: it was answered before.
				req := key(c.key)
				req.IfMatch = new(eventstore.Expected(77))
				if r, err := o.Handle(ctx(), "1", c.cmd, req); err != nil || !r.Replayed {
					t.Errorf("%s with If-Match: %+v, %v", c.key, r, err)
				}
				req = key(c.key)
				req.Fingerprint = "another body"
				if _, err := o.Handle(ctx(), "1", order.AddNote{Text: "other"}, req); !errors.Is(err, ErrKeyReused) {
					t.Errorf("another body: %v", err)
				}
			}
		}
		again(o)
		again(w.orders()) // nothing in memory
		w.restart()
		again(w.orders())
		if got := w.records("1"); !reflect.DeepEqual(got, before) {
			t.Errorf("events are now %+v", got)
		}
		if m := o.Metrics(); m.Replays != 4 {
			t.Errorf("%d replays", m.Replays)
		}
	})
}

func TestOnlyWritingCommandsBindAKey(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		if _, err := o.Handle(ctx(), "1", order.Confirm{}, key("k")); !errors.Is(err, order.ErrUnknown) {
			t.Fatal(err)
		}
		req := key("k")
		req.Fingerprint = "another body"
		must(t, o, "1", place(), req)
		must(t, o, "1", tags("x"), key("x"))
		if r := must(t, o, "1", tags("x"), key("y")); len(r.Events) != 0 || r.Revision != 1 || r.Position != eventstore.Start {
			t.Errorf("nothing to do, yet %+v", r)
		}
		must(t, o, "1", tags("z"), key("y"))
	})
}

func TestConcurrentRepeats(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		sides := []*Orders{w.orders(), w.orders()} // two processes
		must(t, sides[0], "1", place(), key("place"))
		for round := range 20 {
			k := fmt.Sprint("k", round)
			var group sync.WaitGroup
			answers, errs := make([]Result, 8), make([]error, 8)
			for i := range answers {
				group.Go(func() {
					req := key(k)
					text := "one body"
					if i%4 == 3 {
						req.Fingerprint, text = "another body", "another body"
					}
					answers[i], errs[i] = sides[i%2].Handle(ctx(), "1", order.AddNote{Text: text}, req)
				})
			}
			group.Wait()
			first := -1
			for i, err := range errs {
				if err != nil && !errors.Is(err, ErrKeyReused) {
					t.Fatal(err)
				}
				if err == nil && first < 0 {
					first = i
				}
				if err == nil {
					sameAnswer(t, answers[i], answers[first])
				}
				if err == nil && (i%4 == 3) != (first%4 == 3) {
					t.Fatal("two bodies were accepted under one key")
				}
			}
			if first < 0 {
				t.Fatal("nobody was answered")
			}
		}
		if n := len(w.records("1")); n != 21 {
			t.Errorf("%d events, want 21", n)
		}
	})
}

func TestNoLostUpdate(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		const writers, each = 8, 25
		sides := []*Orders{w.orders(), w.orders()}
		must(t, sides[0], "1", place(), key("place"))
		var group sync.WaitGroup
		for i := range writers {
			group.Go(func() {
				for n := range each {
					cmd := order.AddPayment{Method: "card", Amount: eur("0.01"), Capture: true}
					if _, err := insist(sides[i%2], "1", cmd, key(fmt.Sprint(i, "/", n))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		sum := eur("0.00")
		records := w.records("1")
		for _, e := range records {
			if c, ok := e.Event.(order.PaymentCaptured); ok {
				sum = sum.Add(c.Amount)
			}
		}
		if want := eur("0.01").Times(writers * each); sum != want {
			t.Errorf("captured %s, want %s", sum, want)
		}
		full := order.State{}
		for _, e := range records {
			full = order.Evolve(full, e.Event)
		}
		for _, side := range sides {
			if s, _, err := side.Load(ctx(), "1"); err != nil || !reflect.DeepEqual(s, full) {
				t.Errorf("a folded state differs from the log, %v", err)
			}
		}
		ordered(t, records)
	})
}

// TestCommandsOfOneProcessTakeTurns: however many there are, none is told that
// the order is busy, and nothing is left behind.
func TestCommandsOfOneProcessTakeTurns(t *testing.T) {
	w := onSQLite(t)
	o := w.orders()
	must(t, o, "1", place(), key("place"))
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			for n := range 5 {
				if _, err := o.Handle(ctx(), "1", tags(fmt.Sprint(i, n)), key(fmt.Sprint(i, "/", n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if m := o.Metrics(); m.Conflicts != 0 || len(o.loop.turns.lines) != 0 {
		t.Errorf("%+v, %d lines", m, len(o.loop.turns.lines))
	}

	done := o.hold(t, "1")
	ended, cancel := context.WithCancel(ctx())
	cancel()
	if _, err := o.Handle(ended, "1", tags("late"), key("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("the wait did not end with its context: %v", err)
	}
	dry := key("dry")
	dry.DryRun = true
	must(t, o, "1", tags("late"), dry) // does not wait
	done()
	must(t, o, "1", tags("late"), key("late"))
	if len(o.loop.turns.lines) != 0 {
		t.Error("a turn was left behind")
	}
}

// ordered checks that recordedAt does not decrease.
func ordered(t *testing.T, records []codec.Recorded) {
	t.Helper()
	for i := 1; i < len(records); i++ {
		if records[i].Meta.RecordedAt.Before(records[i-1].Meta.RecordedAt) {
			t.Fatalf("%s at %d was recorded at %v, the event before it at %v", records[i].OrderID, records[i].Revision,
				records[i].Meta.RecordedAt, records[i-1].Meta.RecordedAt)
		}
	}
}

func TestIfMatch(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o, other := w.orders(), w.orders()
		with := func(k string, e eventstore.Expected) Request {
			r := key(k)
			r.IfMatch = &e
			return r
		}
		wantCurrent := func(err error, current eventstore.Expected) {
			t.Helper()
			var p *PreconditionError
			if !errors.As(err, &p) || p.Current != current {
				t.Errorf("%v, want a precondition error at %s", err, current)
			}
		}
		_, err := o.Handle(ctx(), "1", place(), with("a", eventstore.At(0)))
		wantCurrent(err, eventstore.NoStream)
		_, err = o.Handle(ctx(), "1", place(), with("a", eventstore.StreamExists))
		wantCurrent(err, eventstore.NoStream)
		must(t, o, "1", place(), with("a", eventstore.NoStream))
		_, err = o.Handle(ctx(), "1", tags("x"), with("b", eventstore.NoStream))
		wantCurrent(err, eventstore.At(0))
		must(t, o, "1", tags("x"), with("b", eventstore.At(0)))

		// The other side moves the order; this side's cache is behind.
		must(t, other, "1", tags("y"), key("c"))
		_, err = o.Handle(ctx(), "1", tags("z"), with("d", eventstore.At(1)))
		wantCurrent(err, eventstore.At(2))
		must(t, other, "1", tags("y", "x"), key("e"))
		must(t, o, "1", tags("z"), with("d", eventstore.At(3)))
		must(t, o, "1", tags("q"), with("f", eventstore.StreamExists))
		must(t, o, "1", tags("r"), with("g", eventstore.Any))
	})
}

func TestStaleCacheNeverDecidesARefusal(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o, other := w.orders(), w.orders()
		must(t, o, "1", place(), key("place"))
		must(t, other, "1", order.Confirm{}, key("confirm"))
		// On the cached state this would be refused: not confirmed.
		must(t, o, "1", order.Dispatch{}, key("dispatch"))

		must(t, o, "1", tags("x"), key("x"))
		must(t, other, "1", tags("y"), key("y"))
		// On the cached state there would be nothing to do.
		if r := must(t, o, "1", tags("x"), key("x again")); len(r.Events) != 1 {
			t.Error("tags were not set")
		}
		must(t, other, "1", tags("y"), key("y again"))
		dry := key("dry")
		dry.DryRun = true
		for _, tag := range []string{"x", "another"} { // stale: nothing to do, and something
			other := w.orders()
			must(t, o, "1", tags("x"), key("cached "+tag))
			r := must(t, other, "1", tags("y"), key("moved "+tag))
			if dry := must(t, o, "1", tags(tag), dry); len(dry.Events) != 1 || dry.Revision != r.Revision+1 {
				t.Errorf("dry run on a stale state: %+v, the order is at %d", dry, r.Revision)
			}
		}
		if s, revision, err := o.Load(ctx(), "1"); err != nil || revision != 10 || !slices.Equal(s.Tags, []string{"y"}) {
			t.Errorf("loaded %v at %d, %v", s.Tags, revision, err)
		}
		if m := o.Metrics(); m.CacheHits == 0 {
			t.Error("the cache was never used")
		}
	})
}

func TestDryRunWritesNothing(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		o := w.orders()
		dry := key("k")
		dry.DryRun = true
		r := must(t, o, "1", place(), dry)
		if len(r.Events) != 1 || r.Events[0].Revision != 0 || r.Revision != 0 || r.Position != eventstore.Start ||
			r.State.Status != order.StatusPlaced || r.Events[0].Meta.Command != "place" {
			t.Errorf("%+v", r)
		}
		if _, revision, err := o.Load(ctx(), "1"); err != nil || revision != -1 {
			t.Fatalf("the order is at %d, %v", revision, err)
		}
		real := must(t, o, "1", place(), key("k"))
		if real.Replayed || real.Events[0].Type != r.Events[0].Type || real.Events[0].Meta.CommandID != r.Events[0].Meta.CommandID {
			t.Errorf("dry %+v, then %+v", r, real)
		}
		if r := must(t, o, "1", place(), dry); !r.Replayed {
			t.Error("a dry run of a handled command is not its first answer")
		}
		dry = key("l")
		dry.DryRun = true
		if _, err := o.Handle(ctx(), "1", order.Dispatch{}, dry); !errors.Is(err, order.ErrNotConfirmed) {
			t.Error(err)
		}
		if r := must(t, o, "1", tags(), dry); len(r.Events) != 0 || r.Revision != 0 {
			t.Errorf("nothing to do: %+v", r)
		}
		if n := len(w.records("1")); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestTheFutureIsRefused(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		now := time.Date(2024, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
		o := w.orders(func(o *Options) { o.Clock = func() time.Time { return now } })
		cmd := place()
		cmd.At = now.Truncate(time.Microsecond).Add(time.Microsecond)
		if _, err := o.Handle(ctx(), "1", cmd, key("a")); !errors.Is(err, ErrFuture) {
			t.Error(err)
		}
		cmd.At = now.Truncate(time.Microsecond)
		must(t, o, "1", cmd, key("a"))
		// Recognised before its time is looked at.
		now = now.Add(-time.Hour)
		if r := must(t, o, "1", cmd, key("a")); !r.Replayed {
			t.Error("not replayed")
		}
		adopt := order.Adopt{Last: true, History: []order.Event{order.Placed{
			Kind: order.KindOrder, Currency: "EUR", Source: &order.Source{System: "x", ID: "2"}, At: now.Add(time.Minute),
		}}}
		if _, err := o.Handle(ctx(), "2", adopt, key("b")); !errors.Is(err, ErrFuture) {
			t.Error(err)
		}
	})
}

func TestLostAnswers(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		lose := 0 // so many answers
		var after func() error
		store := &faulty{Store: w.store, append: func(do func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			a, err := do()
			if err == nil && lose > 0 {
				lose--
				return eventstore.Appended{}, fmt.Errorf("connection reset: %w", eventstore.ErrOutcomeUnknown)
			}
			if err == nil && after != nil {
				err = after()
			}
			return a, err
		}}
		o := w.orders(func(o *Options) { o.Store = store })

		lose = 3
		r := must(t, o, "1", place(), key("place"))
		if r.Replayed || lose != 0 || o.Metrics().Retries < 3 {
			t.Errorf("%+v, %d answers still to lose", r, lose)
		}
		if !reflect.DeepEqual(r.Events, w.records("1")) {
			t.Errorf("answered %+v, stored %+v", r.Events, w.records("1"))
		}

		// Every answer is lost, as when the process is killed before it answers.
		lose = 1000
		_, err := o.Handle(ctx(), "1", tags("x"), key("x"))
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		lose = 0
		w.restart()
		fresh := w.orders()
		if r := must(t, fresh, "1", tags("x"), key("x")); !r.Replayed || r.Revision != 1 {
			t.Errorf("%+v", r)
		}
		if n := len(w.records("1")); n != 2 {
			t.Errorf("%d events", n)
		}

		// The append is there, but the answer says conflict.
		store.Store = w.store
		after = func() error {
			after = nil
			return &eventstore.ConflictError{Stream: "acme.order-1"}
		}
		if r := must(t, o, "1", tags("y"), key("y")); r.Revision != 2 {
			t.Errorf("%+v", r)
		}
		if n := len(w.records("1")); n != 3 {
			t.Errorf("%d events", n)
		}
	})
}

func TestDoubtIsNeverCalledAFailure(t *testing.T) {
	for name, later := range map[string]error{
		"overloaded": eventstore.ErrOverloaded,
		"read-only":  eventstore.ErrReadOnly,
		"unknown":    eventstore.ErrOutcomeUnknown,
	} {
		t.Run(name, func(t *testing.T) {
			w := onReference(t)
			calls := 0
			o := w.orders(func(o *Options) {
				o.Store = &faulty{Store: w.store, append: func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
					if calls++; calls == 1 {
						return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
					}
					return eventstore.Appended{}, later
				}}
			})
			if _, err := o.Handle(ctx(), "1", place(), key("a")); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
				t.Error(err)
			}
			if calls > maxUnknown+1 {
				t.Errorf("%d appends", calls)
			}
			calls = 1
			if _, err := o.Handle(ctx(), "1", place(), key("a")); !errors.Is(err, later) || calls > maxUnknown+2 {
				t.Errorf("%v after %d appends", err, calls)
			}
		})
	}
}

func TestContextEndsTheDoubt(t *testing.T) {
	w := onReference(t)
	c, cancel := context.WithCancel(ctx())
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			cancel()
			return eventstore.Appended{}, eventstore.ErrOutcomeUnknown
		}}
	})
	if _, err := o.Handle(c, "1", place(), key("a")); !errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Error(err)
	}
}

func TestBusy(t *testing.T) {
	w := onReference(t)
	var appends atomic.Int64
	o := w.orders(func(o *Options) {
		o.Store = &faulty{Store: w.store, append: func(func() (eventstore.Appended, error)) (eventstore.Appended, error) {
			appends.Add(1)
			return eventstore.Appended{}, &eventstore.ConflictError{}
		}}
	})
	if _, err := o.Handle(ctx(), "1", place(), key("a")); !errors.Is(err, ErrBusy) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Error(err)
	}
	if n := appends.Load(); n != maxConflicts+1 {
		t.Errorf("%d appends", n)
	}
}

func TestTooLarge(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		history := []order.Event{order.Placed{
			Kind: order.KindOrder, Currency: "EUR", Source: &order.Source{System: "x", ID: "1"}, At: at,
		}}
		for i := range 900 {
			history = append(history, order.NoteAdded{NoteID: fmt.Sprint("n", i), Text: strings.Repeat("x", 1500), At: at})
		}
		o := w.orders()
		if _, err := o.Handle(ctx(), "1", order.Adopt{History: history, Last: true}, key("a")); !errors.Is(err, eventstore.ErrTooLarge) {
			t.Error(err)
		}
		if _, revision, err := o.Load(ctx(), "1"); err != nil || revision != -1 {
			t.Errorf("at %d, %v", revision, err)
		}
	})
}

// TestAnOldKeyIsDecidedAfresh: the memory is bounded, and says so.
func TestAnOldKeyIsDecidedAfresh(t *testing.T) {
	w := onReference(t)
	o := w.orders()
	must(t, o, "1", place(), key("place"))
	first := must(t, o, "1", tags("first"), key("first"))
	for i := range maxRemembered - 1 {
		must(t, o, "1", tags(fmt.Sprint("t", i)), key(fmt.Sprint("k", i)))
	}
	if r := must(t, o, "1", tags("first"), key("first")); !r.Replayed || r.Revision != first.Revision {
		t.Fatalf("forgotten too early: %+v", r)
	}
	must(t, o, "1", tags("one more"), key("one more"))
	for _, side := range []*Orders{o, w.orders()} {
		r := must(t, side, "1", tags("first"), key("first"))
		if side == o && (r.Replayed || r.Revision != first.Revision+maxRemembered+1) {
			t.Errorf("remembered: %+v", r)
		}
		if side != o && (!r.Replayed || r.Revision != first.Revision+maxRemembered+1) {
			t.Errorf("the newest answer is not the one given: %+v", r)
		}
	}
}
