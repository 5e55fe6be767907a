package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// The events of a run's stream.
const (
	typeStarted  = "ReconciliationStarted"
	typeFound    = "DifferenceFound"
	typeTried    = "RepairBegun" // of these findings: what is kept of them may change from now
	typeRepaired = "DifferenceRepaired"
	typeEnded    = "ReconciliationEnded"
	typeFailed   = "ReconciliationFailed" // it ended early: the reasons say why
)

type started struct {
	Request
	Generation int                 `json:"generation"`
	Barrier    eventstore.Position `json:"barrier"`
	Previous   string              `json:"previous,omitempty"` // id of the run before this one
	At         time.Time           `json:"at"`
}

type found struct {
	Finding
	At time.Time `json:"at"`
}

// tried tells the numbers of the findings that are repaired next.
type tried struct {
	Numbers []int     `json:"numbers"`
	At      time.Time `json:"at"`
}

// repaired tells the outcome of a finding: Number counts them from 0.
type repaired struct {
	Number  int       `json:"number"`
	Outcome string    `json:"outcome"`
	Error   string    `json:"error,omitempty"`
	At      time.Time `json:"at"`
}

type ended struct {
	Verdict    Verdict         `json:"verdict"`
	Generation int             `json:"generation"` // that was compared
	Compared   Compared        `json:"compared"`
	Stores     []StoreReport   `json:"stores,omitempty"`
	Counts     map[Class]int64 `json:"counts"`
	Unlisted   int64           `json:"unlisted,omitempty"`
	Repaired   int64           `json:"repaired"`
	Recounted  int64           `json:"recounted,omitempty"`
	Reasons    []string        `json:"reasons,omitempty"`
	At         time.Time       `json:"at"`
}

// journalBytes of events go into one append.
const journalBytes = eventstore.MaxAppendSize / 2

// journal writes the stream of one run. Many goroutines may add, one flushes.
type journal struct {
	store   eventstore.Store
	stream  string
	meta    codec.Meta
	clock   func() time.Time
	next    eventstore.Expected
	writing []eventstore.Event // taken by flush
	flushed time.Time

	mu      sync.Mutex
	pending []eventstore.Event
}

func (j *journal) add(typ string, payload any) {
	data, err := json.Marshal(payload)
	if err != nil {
		panic(fmt.Sprintf("reconcile: encode %s: %v", typ, err))
	}
	meta := j.meta
	meta.RecordedAt = j.clock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: codec.EncodeMeta(meta)})
}

// Every so many events, or so often, what was found is made durable while the
// run goes on.
const (
	flushEvents = 200
	flushEvery  = 2 * time.Second
)

// flushSome flushes when there is enough to, or it waited for long enough.
func (j *journal) flushSome(ctx context.Context) error {
	j.mu.Lock()
	n := len(j.pending)
	j.mu.Unlock()
	if n < flushEvents && (n == 0 || time.Since(j.flushed) < flushEvery) {
		return nil
	}
	return j.flush(ctx)
}

// flush makes durable what was added. An append of unknown outcome is repeated
// as it is, which is harmless.
func (j *journal) flush(ctx context.Context) error {
	const attempts = 6
	j.flushed = time.Now()
	j.mu.Lock()
	j.writing, j.pending = append(j.writing, j.pending...), nil
	j.mu.Unlock()
	for len(j.writing) > 0 {
		n := 1
		for n < len(j.writing) && eventstore.AppendSize(j.writing[:n+1]) <= journalBytes {
			n++
		}
		for attempt := 0; ; attempt++ {
			done, err := j.store.Append(ctx, j.stream, j.next, j.writing[:n])
			if err == nil {
				j.next, j.writing = eventstore.At(done.Revision), j.writing[n:]
				break
			}
			again := errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrOverloaded) || errors.Is(err, eventstore.ErrUnavailable)
			if !again || attempt == attempts || pause(ctx, 50*time.Millisecond<<attempt) != nil {
				return fmt.Errorf("write %s: %w", j.stream, err)
			}
		}
	}
	return nil
}

// pause waits, or ends with ctx and its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Report is the report of a run: as far as it is when it runs here, else from
// its stream. An empty id is the newest run. ErrUnknownRun when there is none.
func (r *Reconciler) Report(ctx context.Context, id string) (Report, error) {
	if id == "" {
		newest, err := r.newest(ctx)
		if err != nil {
			return Report{}, err
		}
		if newest == "" {
			return Report{}, ErrUnknownRun
		}
		id = newest
	}
	if now, ok := r.current(id); ok {
		return now, nil
	}
	report, _, err := r.recorded(ctx, id)
	return report, err
}

// Runs lists runs, newest first, at most limit (0: no limit), without their
// findings.
func (r *Reconciler) Runs(ctx context.Context, limit int) ([]Report, error) {
	all := []Report{}
	id, err := r.newest(ctx)
	for err == nil && id != "" && (limit <= 0 || len(all) < limit) {
		var report Report
		var previous string
		report, previous, err = r.recorded(ctx, id)
		if errors.Is(err, ErrUnknownRun) { // its stream was deleted
			return all, nil
		}
		if err != nil {
			break
		}
		if now, ok := r.current(id); ok {
			report = now
		}
		report.Findings = nil
		all = append(all, report)
		id = previous
	}
	return all, err
}

// newest is the id of the run that began last; empty when there never was one.
// It looks from the end of the log for the event that began it; the runs before
// are named by the runs after them.
func (r *Reconciler) newest(ctx context.Context) (string, error) {
	filter := eventstore.Filter{Prefixes: []string{r.Namespace.Prefix(Category)}}
	for record, err := range r.Store.ReadAll(ctx, eventstore.End, eventstore.Backwards, filter, 0) {
		if err != nil {
			return "", fmt.Errorf("look for the last reconciliation: %w", err)
		}
		if id, ok := r.Namespace.ID(Category, record.Stream); ok && record.Type == typeStarted {
			return id, nil
		}
	}
	return "", nil
}

// recorded folds a run's stream, and says which run was before it.
func (r *Reconciler) recorded(ctx context.Context, id string) (report Report, previous string, err error) {
	report = Report{ID: id, State: stateInterrupted, Counts: map[Class]int64{}, Findings: []Finding{}}
	stream := r.Namespace.Stream(Category, id)
	for record, err := range r.Store.ReadStream(ctx, stream, 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) {
			return Report{}, "", ErrUnknownRun
		}
		if err != nil {
			return Report{}, "", fmt.Errorf("read %s: %w", stream, err)
		}
		if err := report.apply(record, &previous); err != nil {
			return Report{}, "", fmt.Errorf("read %s: event %d: %w", stream, record.Revision, err)
		}
	}
	return report, previous, nil
}

// apply folds one event of the run into its report.
func (r *Report) apply(record eventstore.Record, previous *string) error {
	switch record.Type {
	case typeStarted:
		var e started
		if err := json.Unmarshal(record.Data, &e); err != nil {
			return err
		}
		r.Request, r.StartedAt, r.Generation, r.Barrier, *previous = e.Request, e.At, e.Generation, e.Barrier, e.Previous
	case typeFound:
		var e found
		if err := json.Unmarshal(record.Data, &e); err != nil {
			return err
		}
		r.Findings = append(r.Findings, e.Finding)
		r.Counts[e.Class]++
	case typeTried:
		var e tried
		if err := json.Unmarshal(record.Data, &e); err != nil {
			return err
		}
		for _, number := range e.Numbers {
			if number < 0 || number >= len(r.Findings) {
				return fmt.Errorf("repair of finding %d, of %d", number, len(r.Findings))
			}
			r.Findings[number].Outcome = outcomeTried
		}
	case typeRepaired:
		var e repaired
		if err := json.Unmarshal(record.Data, &e); err != nil {
			return err
		}
		if e.Number < 0 || e.Number >= len(r.Findings) {
			return fmt.Errorf("outcome of finding %d, of %d", e.Number, len(r.Findings))
		}
		r.Findings[e.Number].Outcome, r.Findings[e.Number].Error = e.Outcome, e.Error
		if e.Outcome == outcomeRepaired {
			r.Repaired++
		}
	case typeEnded, typeFailed:
		var e ended
		if err := json.Unmarshal(record.Data, &e); err != nil {
			return err
		}
		r.State, r.Verdict, r.Generation, r.Compared, r.Stores, r.Counts = stateEnded, e.Verdict, e.Generation, e.Compared, e.Stores, e.Counts
		r.Unlisted, r.Repaired, r.Recounted, r.Reasons, r.EndedAt = e.Unlisted, e.Repaired, e.Recounted, e.Reasons, &e.At
	default:
		return fmt.Errorf("it is a %s, which this docket does not know; run the newer docket that wrote it", record.Type)
	}
	return nil
}
