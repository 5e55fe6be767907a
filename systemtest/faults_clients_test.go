package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// faultAppend is an append, with all its attempts, and what was told of it.
type faultAppend struct {
	stream       string
	expected     eventstore.Expected
	ids          []uuid.UUID
	told         fate
	at           eventstore.Appended
	began, ended int64
}

// fate is what is known of an append in the end.
type fate int

const (
	toldDone    fate = iota
	toldRefused      // a conflict
	toldNothing      // it never reached the store
	toldUnknown
)

func (o fate) String() string { return [...]string{"done", "refused", "nothing done", "unknown"}[o] }

func (a *faultAppend) String() string {
	return fmt.Sprintf("append of %d to %s at %v (%v, told %+v, %d-%d)", len(a.ids), a.stream, a.expected, a.told, a.at, a.began, a.ended)
}

// write appends until no fault comes any more, and then once more.
func (w *faultWorld) write(ctx context.Context, n int, rng *rand.Rand) {
	const most = 60
	for done := 0; ctx.Err() == nil; done++ {
		over := isClosed(w.healed)
		if !over && done > most {
			select {
			case <-w.healed:
			case <-ctx.Done():
			}
			over = true
		}
		stream := w.stream(rng.IntN(w.plan.streams))
		if over {
			stream = w.stream(n % w.plan.streams)
		}
		began := time.Now()
		a := w.append(ctx, stream, rng)
		for over && a.told != toldDone && ctx.Err() == nil {
			a = w.append(ctx, stream, rng)
		}
		if over {
			w.goesOn(time.Since(began))
			return
		}
		if rng.IntN(3) == 0 {
			pause(ctx, time.Duration(rng.IntN(3000))*time.Microsecond)
		}
	}
}

func (w *faultWorld) goesOn(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recovered = append(w.recovered, after)
}

// append is one decision, appended as docket's commands are: at the revision it
// was decided on, repeated while its outcome is unknown, given up at a conflict
// after a look at what came in between.
func (w *faultWorld) append(ctx context.Context, stream string, rng *rand.Rand) *faultAppend {
	last := w.last[stream]
	a := &faultAppend{stream: stream, expected: eventstore.Expected(last.Load())}
	var events []eventstore.Event
	for range 1 + rng.IntN(3) {
		id := uuid.New()
		a.ids, events = append(a.ids, id), append(events, faultEvent(id))
	}
	a.began = w.clock.Add(1)
	doubt, givesUp := false, rng.IntN(10) == 0
	for attempt := 1; ; attempt++ {
		patience := faultPatience
		if rng.IntN(8) == 0 {
			patience = time.Duration(rng.Int64N(int64(60 * time.Millisecond)))
		}
		within, cancel := context.WithTimeout(ctx, patience)
		out, err := w.uses.Append(within, stream, a.expected, events)
		w.mu.Lock()
		if w.attempts++; errors.Is(err, eventstore.ErrOutcomeUnknown) {
			w.doubts++
		}
		w.mu.Unlock()
		var conflict *eventstore.ConflictError
		switch {
		case err == nil:
			a.told, a.at = toldDone, out
			raise(last, int64(out.Revision))
		case errors.As(err, &conflict):
			a.told = toldRefused
			if conflict.Current == a.expected {
				w.trouble("%v: refused since the stream is where it was expected: %v", a, err)
			}
			w.look(ctx, stream, last)
		case errors.Is(err, eventstore.ErrOutcomeUnknown):
			doubt, a.told = true, toldUnknown
		case errors.Is(err, eventstore.ErrUnavailable), errors.Is(err, eventstore.ErrOverloaded), errors.Is(err, within.Err()):
			// Also an attempt whose time was over before anything was sent.
			if a.told = toldNothing; doubt {
				a.told = toldUnknown
			}
		default:
			w.trouble("append to %s at %v: %v", stream, a.expected, err)
			a.told = toldUnknown
		}
		cancel()
		given := givesUp && attempt >= 2 || a.told == toldNothing && rng.IntN(3) == 0
		if a.told <= toldRefused || given && !isClosed(w.healed) || ctx.Err() != nil {
			break
		}
		pause(ctx, time.Duration(1+rng.IntN(10))*time.Millisecond)
	}
	a.ended = w.clock.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appends = append(w.appends, a)
	return a
}

// look finds out where the stream is.
func (w *faultWorld) look(ctx context.Context, stream string, last *atomic.Int64) {
	for ctx.Err() == nil {
		r := w.read(ctx, faultRead{stream: stream, dir: eventstore.Backwards, from: eventstore.EndRevision, limit: 1})
		if r.complete {
			if len(r.records) > 0 {
				raise(last, int64(r.records[0].Revision))
			}
			return
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// faultRead is a read, of a stream or, without one, of the log.
type faultRead struct {
	stream   string
	dir      eventstore.Direction
	from     eventstore.Revision // of a stream
	position eventstore.Position // in the log
	filter   eventstore.Filter
	limit    int
	records  []eventstore.Record
	complete bool
	began    int64
}

func (r *faultRead) String() string {
	what := "stream " + r.stream
	if r.stream == "" {
		what = "log"
	}
	return fmt.Sprintf("read of the %s from %d/%v, backwards %t, at most %d, which gave %d (complete: %t)", what, r.from, r.position, r.dir, r.limit, len(r.records), r.complete)
}

// browse reads here and there until no fault comes any more, and once after.
func (w *faultWorld) browse(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		over := isClosed(w.healed)
		r := faultRead{dir: eventstore.Direction(rng.IntN(2) == 0), limit: pick(rng, 0, 0, 1, 5, 40)}
		if rng.IntN(3) > 0 {
			r.stream = w.stream(rng.IntN(w.plan.streams))
			r.from = eventstore.Revision(pick(rng, 0, 0, int64(eventstore.EndRevision), rng.Int64N(20)))
		} else {
			if r.position = eventstore.Start; r.dir == eventstore.Backwards {
				r.position = eventstore.End
			}
			if rng.IntN(2) == 0 {
				r.filter = matching
			}
		}
		began := time.Now()
		for !w.read(ctx, r).complete && over && ctx.Err() == nil {
			pause(ctx, 5*time.Millisecond)
		}
		if over {
			w.goesOn(time.Since(began))
			return
		}
		pause(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
	}
}

func (w *faultWorld) read(ctx context.Context, r faultRead) *faultRead {
	within, cancel := context.WithTimeout(ctx, faultPatience)
	defer cancel()
	r.began = w.clock.Add(1)
	records := w.uses.ReadAll(within, r.position, r.dir, r.filter, r.limit)
	if r.stream != "" {
		records = w.uses.ReadStream(within, r.stream, r.from, r.dir, r.limit)
	}
	r.complete = true
	for rec, err := range records {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			if r.complete = false; !errors.Is(err, eventstore.ErrUnavailable) && within.Err() == nil {
				w.trouble("%v: %v", &r, err)
			}
			break
		}
		r.records = append(r.records, rec)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads = append(w.reads, &r)
	return &r
}

// faultSubscription is all that somebody was delivered who follows the log from
// its start, subscribing again where the last notice was.
type faultSubscription struct {
	filter  eventstore.Filter
	notices []faultNotice
	reached atomic.Uint64 // commit position of the last record
	asked   int           // times that it subscribed
}

type faultNotice struct {
	eventstore.Notice
	began int64 // moment at which the subscription that it came with was asked for
}

// follow subscribes until ctx ends.
func (w *faultWorld) follow(ctx context.Context, f *faultSubscription, rng *rand.Rand) {
	at := eventstore.Start
	for ctx.Err() == nil {
		began := w.clock.Add(1)
		f.asked++
		sub, err := w.uses.Subscribe(ctx, at, f.filter)
		if err == nil {
			// Now and then somebody starts anew of his own will.
			for left := 20 + rng.IntN(200); err == nil && left > 0; left-- {
				var notice eventstore.Notice
				if notice, err = sub.Next(ctx); err == nil {
					f.notices, at = append(f.notices, faultNotice{notice, began}), notice.Position
				}
				if err == nil && notice.Kind == eventstore.Delivered {
					f.reached.Store(notice.Position.Commit)
				}
			}
			sub.Close()
		}
		if err != nil {
			pause(ctx, time.Duration(1+rng.IntN(5))*time.Millisecond)
		}
	}
}

// raise sets to to value if that is more.
func raise(to *atomic.Int64, value int64) {
	for old := to.Load(); old < value && !to.CompareAndSwap(old, value); old = to.Load() {
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
}
