package command

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
)

// jumpy is a clock that often steps back.
func jumpy(around time.Time) func() time.Time {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(1, 2))
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return around.Add(time.Duration(rng.Int64N(int64(time.Hour))))
	}
}

// TestRecordedAtNeverDecreases: within each stream on every store; along the
// log on a store with one writer, also when it is opened with an older clock.
func TestRecordedAtNeverDecreases(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		_, sequenced := w.store.(eventstore.Sequencer)
		noon := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
		longAgo := noon.AddDate(-1, 0, 0)
		for run := range 3 {
			o := w.orders(func(o *Options) { o.Clock = jumpy(noon.AddDate(0, 0, -run)) })
			for i := range 5 {
				cmd := place()
				cmd.At = longAgo
				must(t, o, fmt.Sprint("o", i), cmd, key("place"))
			}
			var group sync.WaitGroup
			for i := range 8 {
				group.Go(func() {
					for n := range 20 {
						k := fmt.Sprint(run, i, n)
						cmd := order.SetTags{Tags: []string{k}, At: longAgo}
						if _, err := insist(o, fmt.Sprint("o", (i+n)%5), cmd, key(k)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			if run < 2 {
				w.restart()
			}
		}
		var log []codec.Recorded
		streams := map[string][]codec.Recorded{}
		for r, err := range w.store.ReadAll(ctx(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"acme.order-"}}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := codec.Decode(r, "acme")
			if err != nil {
				t.Fatal(err)
			}
			log = append(log, e)
			streams[e.OrderID] = append(streams[e.OrderID], e)
		}
		if len(log) != 5+3*8*20 || len(streams) != 5 {
			t.Fatalf("%d events of %d orders", len(log), len(streams))
		}
		for _, s := range streams {
			ordered(t, s)
		}
		if sequenced {
			ordered(t, log)
		}
	})
}

// TestForeignEventsDoNotStopTheClock: somebody else wrote into an order's
// stream; that is no reason to refuse commands on other orders.
func TestForeignEventsDoNotStopTheClock(t *testing.T) {
	w := onSQLite(t)
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	must(t, w.orders(func(o *Options) { o.Clock = func() time.Time { return future } }), "1", place(), key("a"))
	foreign := []eventstore.Event{{ID: KeyID("", "", "x"), Type: "Other", Metadata: []byte("none")}}
	if _, err := w.store.Append(ctx(), "acme.order-2", eventstore.NoStream, foreign); err != nil {
		t.Fatal(err)
	}
	r := must(t, w.orders(), "3", place(), key("c"))
	if at := r.Events[0].Meta.RecordedAt; at.Before(future) {
		t.Errorf("recorded at %v, the log is at %v", at, future)
	}
}

// TestAnOpenBusinessTimeIsThatOfTheDecision: a note that arrived before its
// order was placed, and waited for the placing, is not dated before it.
func TestAnOpenBusinessTimeIsThatOfTheDecision(t *testing.T) {
	w := onSQLite(t)
	ticks := make(chan time.Time, 16)
	o := w.orders(func(o *Options) { o.Clock = func() time.Time { return <-ticks } })
	noon := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	for range cap(ticks) / 2 {
		ticks <- noon
	}
	placed := must(t, o, "1", place(), key("a"))
	for len(ticks) > 0 {
		<-ticks
	}
	for range cap(ticks) {
		ticks <- noon.Add(-time.Minute) // the clock of a computer that was put right
	}
	noted := must(t, o, "1", order.AddNote{Text: "call first"}, key("b"))
	at := noted.Events[0].Event.(order.NoteAdded).At
	if before := placed.Events[0].Meta.RecordedAt; at.Before(before) {
		t.Errorf("the note is of %v, the order was recorded at %v", at, before)
	}
}

// TestNothingIsRecordedBeforeANowThatWasTold: who was told how it was before now
// is told the same again, though the machine's clock is put back in between.
func TestNothingIsRecordedBeforeANowThatWasTold(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		now := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
		o := w.orders(func(o *Options) { o.Clock = func() time.Time { return now } })
		must(t, o, "1", place(), key("a"))
		now = now.Add(time.Hour)
		told := o.Clock()
		now = now.Add(-time.Minute)
		r := must(t, o, "1", order.AddNote{Text: "call first"}, key("b"))
		if at := r.Events[0].Meta.RecordedAt; at.Before(told) {
			t.Errorf("recorded at %v; it was %v before", at, told)
		}
	})
}
