package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
)

var lagQuestion = question{
	name:  "lag",
	about: "from the acknowledgement of an event to the commit of the view that shows it, at 2,000 events a second in open loop: events of Olist, 500 orders in turns",
	ask:   askLag,
}

// lagRate is in events a second.
const lagRate = 2000

func askLag(ctx context.Context, e *env) error {
	olist, err := e.olist(ctx)
	if err != nil {
		return err
	}
	appends, _, err := readAppends(ctx, olist)
	if err != nil {
		return err
	}
	rounds, seconds := min(e.rounds, 3), 20
	if e.quick {
		rounds, seconds = 2, 4
	}
	orders := lagRate * seconds / 6 // of about six events each
	var half, most, late []float64
	for round := range rounds {
		lags, behind, err := measureLag(ctx, e, roundRobin(appends[round*orders:(round+1)*orders], 500))
		if err != nil {
			return err
		}
		half, most, late = append(half, quantile(lags, 0.5)), append(most, quantile(lags, 0.99)), append(late, behind)
	}
	e.measure("p50", "ms", half, noGoal)
	e.measure("p99", "ms", most, atMost(100))
	e.measure("p99 of how late an append was begun", "ms", late, noGoal)
	return nil
}

// measureLag answers the lags in ascending order, and how late the appends were
// begun, in milliseconds.
func measureLag(ctx context.Context, e *env, turns [][]appended) (lags []float64, behind float64, err error) {
	seen := &watched{shown: map[string]time.Time{}}
	d, err := embedded.Open(ctx, e.folder("lag"), embedded.Options{
		Logger:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Backend: func(b projections.Backend) projections.Backend { seen.Backend = b; return seen },
	})
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return nil, 0, err
	}
	acked, behind, err := appendInTurns(ctx, d.Store, lagRate, turns)
	if err != nil {
		return nil, 0, err
	}
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return nil, 0, err
	}
	lags, err = seen.lags(acked)
	return lags, behind, err
}

// appendInTurns appends at a rate in events a second, and answers when each event was acknowledged
// and how late the appends were begun, the p99 in milliseconds.
func appendInTurns(ctx context.Context, store eventstore.Store, rate int, turns [][]appended) (acked map[string]time.Time, behind float64, err error) {
	var (
		mu     sync.Mutex
		late   []float64
		failed error
		all    sync.WaitGroup
	)
	acked = map[string]time.Time{}
	// An event of an order is sent when the one before it is there.
	before := map[string]chan struct{}{}
	began, n := time.Now(), 0
	for _, turn := range turns {
		for _, a := range turn {
			due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
			n++
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait)
			}
			previous, done := before[a.stream], make(chan struct{})
			before[a.stream] = done
			all.Go(func() {
				defer close(done)
				if previous != nil {
					<-previous
				}
				start := time.Now()
				_, err := store.Append(ctx, a.stream, a.expected(), a.events)
				now := time.Now()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = err
				}
				acked[a.key(a.first)] = now
				late = append(late, max(0, start.Sub(due).Seconds()*1e3))
			})
		}
	}
	all.Wait()
	if failed != nil {
		return nil, 0, failed
	}
	slices.Sort(late)
	return acked, quantile(late, 0.99), nil
}

func (a appended) key(revision int) string { return fmt.Sprint(a.stream, "@", revision) }

// watched notes when a document that includes an event was committed.
type watched struct {
	projections.Backend
	mu    sync.Mutex
	shown map[string]time.Time
}

// lags in ascending order, in milliseconds, once everything is shown.
func (w *watched) lags(acked map[string]time.Time) (lags []float64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, at := range acked {
		shown, ok := w.shown[key]
		if !ok {
			return nil, fmt.Errorf("event %s was never shown", key)
		}
		lags = append(lags, max(0, shown.Sub(at).Seconds()*1e3))
	}
	slices.Sort(lags)
	return lags, nil
}

func (w *watched) Open(ctx context.Context, generation int) (projections.Sink, error) {
	sink, err := w.Backend.Open(ctx, generation)
	if err != nil {
		return nil, err
	}
	return &watchedSink{Sink: sink, watched: w}, nil
}

type watchedSink struct {
	projections.Sink
	*watched
}

func (s *watchedSink) Write(ctx context.Context, batch projections.Batch) ([]projections.Outcome, error) {
	outcomes, err := s.Sink.Write(ctx, batch)
	if err != nil {
		return outcomes, err
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range outcomes {
		c := &batch.Changes[i]
		s.note(c.Order.ID, c.First, c.Order.Revision, now)
	}
	return outcomes, nil
}

// note that a document shows the events first to last of an order.
func (w *watched) note(orderID string, first, last int64, now time.Time) {
	a := appended{stream: eventstore.Namespace("").Stream("order", orderID)}
	for revision := first; revision <= last; revision++ {
		if key := a.key(int(revision)); w.shown[key].IsZero() {
			w.shown[key] = now
		}
	}
}
