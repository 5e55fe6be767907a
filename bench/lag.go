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
	var (
		mu     sync.Mutex
		acked  = map[string]time.Time{}
		late   []float64
		failed error
		all    sync.WaitGroup
	)
	// An event of an order is sent when the one before it is there.
	before := map[string]chan struct{}{}
	began, n := time.Now(), 0
	for _, turn := range turns {
		for _, a := range turn {
			due := began.Add(time.Duration(n) * time.Second / lagRate)
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
				_, err := d.Store.Append(ctx, a.stream, a.expected(), a.events)
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
	if err := d.Manager.CaughtUp(ctx); err != nil {
		return nil, 0, err
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for key, at := range acked {
		shown, ok := seen.shown[key]
		if !ok {
			return nil, 0, fmt.Errorf("event %s was never shown", key)
		}
		lags = append(lags, max(0, shown.Sub(at).Seconds()*1e3))
	}
	slices.Sort(lags)
	slices.Sort(late)
	return lags, quantile(late, 0.99), nil
}

func (a appended) key(revision int) string { return fmt.Sprint(a.stream, "@", revision) }

// watched notes when a document that includes an event was committed.
type watched struct {
	projections.Backend
	mu    sync.Mutex
	shown map[string]time.Time
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
		a := appended{stream: eventstore.Namespace("").Stream("order", c.Order.ID)}
		for revision := c.First; revision <= c.Order.Revision; revision++ {
			if key := a.key(int(revision)); s.shown[key].IsZero() {
				s.shown[key] = now
			}
		}
	}
	return outcomes, nil
}
