package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/google/uuid"
)

var appendQuestion = question{
	name:  "append",
	about: "durable appends of one event against a plain preallocated file with one fdatasync per group",
	ask:   askAppend,
}

// appendGoals by the number of writers.
var appendGoals = []struct {
	writers int
	goal    goal
}{{1, atLeast(0.7)}, {16, noGoal}, {64, atLeast(0.25)}, {256, noGoal}}

// The event is of the size of a placed order with one line.
const (
	appendData     = 420
	appendMetadata = 330
	appendType     = "OrderPlaced"
	// recordSize is what the plain file is given for one event: the same bytes.
	recordSize = appendData + appendMetadata + len(appendType) + 16 + len("order-0123456789abcdef") + 4*8
)

// streamLength is how many events each stream gets, one append each: an order
// that was placed, paid, sent and delivered, with a note or two.
const streamLength = 8

// askAppend measures both sides in turns. Each writer writes one stream after the
// other, under names in no order, and every append expects the revision where its
// stream is.
func askAppend(ctx context.Context, e *env) error {
	store, err := sqlite.Open(ctx, e.folder("append"), sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	plain, err := openPlainLog(filepath.Join(e.folder("plain"), "log"))
	if err != nil {
		return err
	}
	defer plain.close()
	length := 1500 * time.Millisecond
	if e.quick {
		length = 500 * time.Millisecond
	}
	// The log has gone once around its WAL before anything is measured, as it
	// has on every machine that runs for a minute.
	if _, err := appendRate(ctx, store, 64, length); err != nil {
		return err
	}
	for _, g := range appendGoals {
		var docket, reference []float64
		for range e.rounds {
			rate, err := appendRate(ctx, store, g.writers, length)
			if err != nil {
				return err
			}
			docket = append(docket, rate)
			if rate, err = plain.rate(g.writers, length); err != nil {
				return err
			}
			reference = append(reference, rate)
		}
		e.compare(fmt.Sprintf("durable appends, %d writers", g.writers), "appends/s", docket, "plain file", reference, g.goal)
	}
	return nil
}

// appendRate is how many appends per second so many writers get done.
func appendRate(ctx context.Context, store *sqlite.Store, writers int, length time.Duration) (float64, error) {
	data, metadata := make([]byte, appendData), make([]byte, appendMetadata)
	streams := make([]string, writers)
	return perSecond(writers, length, func(w, i int) error {
		revision := i % streamLength
		if revision == 0 {
			streams[w] = fmt.Sprintf("order-%016x", rand.Uint64())
		}
		_, err := store.AppendStamped(ctx, streams[w], eventstore.Expected(revision-1), []eventstore.Event{{
			ID: uuid.New(), Type: appendType, JSON: true, Data: data, Metadata: metadata,
		}}, func([]eventstore.Event) {})
		return err
	})
}

func (l *plainLog) rate(writers int, length time.Duration) (float64, error) {
	record := make([]byte, recordSize)
	done := make([]chan error, writers)
	for i := range done {
		done[i] = make(chan error, 1)
	}
	return perSecond(writers, length, func(w, _ int) error { return l.append(record, done[w]) })
}

// perSecond lets so many goroutines do one thing after the other for a time.
func perSecond(workers int, length time.Duration, do func(worker, i int) error) (float64, error) {
	var (
		count  atomic.Int64
		failed atomic.Pointer[error]
		wg     sync.WaitGroup
	)
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for i := 0; failed.Load() == nil && time.Since(start) < length; i++ {
				if err := do(w, i); err != nil {
					failed.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(start).Seconds(), nil
}
