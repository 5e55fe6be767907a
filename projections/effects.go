package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/google/uuid"
)

// Effects act on the outside world for events of orders: a mail, a message to
// another system. This is the one place for it. Fold is pure and is given nothing
// to act with, so that a rebuild, which runs nothing but a Fold, repeats no
// effect; and how far an effect is stands in the log, in the stream effect-NAME,
// not in the views: nothing that happens to generations or to their checkpoints
// moves it.
//
// Do is called once for each event after the first Run, at least, in the order of
// the log, after the served generation has applied the event or parked its order.
// An event is done again only where the process ended, or the log took no position,
// between Do and the record of it: Do tells repeats by the event's id. One process
// runs an effect; when two do, the slower goes on from where the other is. Do that
// fails is called again until it succeeds, and holds up the events behind it.
type Effects struct {
	Name string   // of the effect; it names the stream
	Only []string // stored names of the events that Do wants; all when empty
	Do   func(ctx context.Context, e codec.Recorded) error

	Store     eventstore.Store
	Namespace eventstore.Namespace
	// Applied returns when the served generation has applied or parked everything
	// up to a position: Manager.Applied.
	Applied func(ctx context.Context, upTo eventstore.Position) error
	Logger  *slog.Logger // may be nil
}

const (
	typeReached = "EffectReached" // stored name of a recorded position
	// passedOver events are not recorded one by one.
	passedOver = 1000
	// recordWithin bounds how long the record of a position is tried.
	recordWithin = 10 * time.Second
)

// reached is the content of a recorded position.
type reached struct {
	Position eventstore.Position `json:"position"`
	At       time.Time           `json:"at"`
}

// effectRun is one Run.
type effectRun struct {
	Effects
	stream string
	last   eventstore.Expected // revision of the recorded position
	at     eventstore.Position // everything up to here is done
	passed int                 // events since it was recorded
}

// Run acts until ctx ends, then it returns nil. The first Run ever begins at the
// end of the log. It fails on an event that this program is too old for.
func (e Effects) Run(ctx context.Context) error {
	if e.Logger == nil {
		e.Logger = slog.New(slog.DiscardHandler)
	}
	r := &effectRun{Effects: e, stream: e.Namespace.Stream("effect", e.Name)}
	var pause backoff
	for {
		err := r.begin(ctx)
		if err == nil {
			err = r.follow(ctx, &pause)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, codec.ErrUnknownEvent), errors.Is(err, codec.ErrNewerVersion):
			return fmt.Errorf("effect %s: %w", e.Name, err)
		case !errors.Is(err, eventstore.ErrConflict): // then another process is ahead
			e.Logger.Warn("effect waits", "effect", e.Name, "position", r.at, "error", err)
		}
		if pause.wait(ctx) != nil {
			return nil
		}
	}
}

// begin finds where the effect is; the first time, that is the end of the log.
func (r *effectRun) begin(ctx context.Context) error {
	for record, err := range r.Store.ReadStream(ctx, r.stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", r.stream, err)
		}
		var content reached
		if err := json.Unmarshal(record.Data, &content); err != nil {
			return fmt.Errorf("read %s: event %d: %w", r.stream, record.Revision, err)
		}
		r.last = eventstore.At(record.Revision)
		if r.at.Before(content.Position) { // it only moves forward
			r.at = content.Position
		}
		return nil
	}
	head, err := r.Store.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the log: %w", err)
	}
	_, err = r.Store.SetStreamMetadata(ctx, r.stream, eventstore.NoStream, eventstore.StreamMetadata{MaxCount: 1})
	if err != nil && !errors.Is(err, eventstore.ErrConflict) {
		return fmt.Errorf("keep one position in %s: %w", r.stream, err)
	}
	r.last, r.at = eventstore.NoStream, head
	return r.record(ctx)
}

// record writes how far the effect is, also when ctx has just ended: what is done
// is not to be done again. It goes on until it is known whether that succeeded.
func (r *effectRun) record(ctx context.Context) error {
	data, err := json.Marshal(reached{r.at, time.Now().UTC()})
	if err != nil {
		panic("projections: encode a position: " + err.Error()) // it always encodes
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordWithin)
	defer cancel()
	event := eventstore.Event{ID: uuid.New(), Type: typeReached, JSON: true, Data: data}
	done, err := r.Store.Append(ctx, r.stream, r.last, []eventstore.Event{event})
	for pause := (backoff{}); err != nil; {
		unsure := errors.Is(err, eventstore.ErrOutcomeUnknown) || errors.Is(err, eventstore.ErrOverloaded) || errors.Is(err, eventstore.ErrUnavailable)
		if !unsure || pause.wait(ctx) != nil {
			return fmt.Errorf("record a position in %s: %w", r.stream, err)
		}
		done, err = r.Store.Append(ctx, r.stream, r.last, []eventstore.Event{event})
	}
	r.last, r.passed = eventstore.At(done.Revision), 0
	return nil
}

// follow does what comes after the recorded position, until something fails.
func (r *effectRun) follow(ctx context.Context, pause *backoff) error {
	filter := eventstore.Filter{Prefixes: []string{r.Namespace.Prefix(codec.Category)}}
	sub, err := r.Store.Subscribe(ctx, r.at, filter)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer sub.Close()
	for {
		n, err := sub.Next(ctx)
		if err != nil {
			return fmt.Errorf("follow the log: %w", err)
		}
		if n.Kind != eventstore.Delivered || !r.at.Before(n.Position) {
			continue
		}
		if err := r.event(ctx, n.Record); err != nil {
			return err
		}
		pause.failures = 0
	}
}

// event does one event, and records that.
func (r *effectRun) event(ctx context.Context, record eventstore.Record) error {
	wanted := len(r.Only) == 0 || slices.Contains(r.Only, record.Type)
	if wanted {
		e := (&applier{namespace: r.Namespace}).decode(record)
		switch {
		case e.poison != nil && final(e.poison):
			return fmt.Errorf("position %s: %w", record.Position, e.poison)
		case e.poison != nil:
			// The views park its order.
			r.Logger.Error("effect passes over an event that cannot be read", "effect", r.Name, "position", record.Position, "error", e.poison)
		default:
			if err := r.Applied(ctx, record.Position); err != nil {
				return fmt.Errorf("wait for the views: %w", err)
			}
			if err := r.do(ctx, e.event); err != nil {
				return fmt.Errorf("event %s of order %s: %w", e.event.Type, e.orderID, err)
			}
		}
	}
	r.at = record.Position
	if r.passed++; wanted || r.passed >= passedOver {
		return r.record(ctx)
	}
	return nil
}

// do is Do with its panic as an error.
func (r *effectRun) do(ctx context.Context, e codec.Recorded) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return r.Do(ctx, e)
}

// Applied returns when the served generation, whichever it is by then, has applied
// or parked everything up to a position.
func (m *Manager) Applied(ctx context.Context, upTo eventstore.Position) error {
	if err := m.Started(ctx); err != nil {
		return err
	}
	return m.reach(ctx, upTo)
}
