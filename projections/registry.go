package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
)

// The stored names of the events of a projection's stream.
const (
	typeBuilding = "ProjectionBuilding" // this number is taken, for a candidate
	typeReady    = "ProjectionReady"    // the candidate waits for somebody to switch
	typeSwitched = "ProjectionSwitched" // from here on this generation is in force
	typeDropped  = "ProjectionDropped"  // this generation is given up
)

// building is the event that takes a number, before anything is made under it,
// and says what is to be made. Without a version, as older ones are, it only
// takes the number.
type building struct {
	Generation int       `json:"generation"`
	Version    int       `json:"version,omitempty"`
	Stores     []string  `json:"stores,omitempty"`
	Then       Then      `json:"then,omitempty"`
	Fields     []string  `json:"fields,omitempty"`
	Share      float64   `json:"share,omitempty"`
	OnError    onError   `json:"onError,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Owner      string    `json:"owner"`
	At         time.Time `json:"at"`
}

// onError is what a build does with an order that it cannot apply.
type onError string

const (
	stopOnError onError = "stop" // and with it the rebuild, unless the order is parked in force too
	parkOnError onError = "park"
)

// readied is the event that a candidate is complete in all its stores, and that
// nothing more becomes of it by itself; failure is why, where it was to switch.
type readied struct {
	Generation int       `json:"generation"`
	Failure    *Failure  `json:"failure,omitempty"`
	At         time.Time `json:"at"`
}

// switched is the event that puts a generation in force, for all processes, in the
// stores that it names. Without names, as the first of a stream is, it is one for
// every store.
type switched struct {
	Generation int      `json:"generation"`
	Version    int      `json:"version"` // that built it
	Stores     []string `json:"stores,omitempty"`
	// Previous is kept for a way back: the generation that was in force; in each
	// store its own. 0: none is kept.
	Previous int       `json:"previous,omitempty"`
	Reason   string    `json:"reason,omitempty"` // reasonSwitch or reasonRollback
	At       time.Time `json:"at"`
}

const (
	reasonSwitch   = "switch"
	reasonRollback = "rollback"
)

// dropped is the event that a generation is given up, wherever it is not in force.
type dropped struct {
	Generation int       `json:"generation"`
	Why        why       `json:"why"`
	Failure    *Failure  `json:"failure,omitempty"`
	At         time.Time `json:"at"`
}

// why a generation was given up.
type why string

const (
	whyCancelled  why = "cancelled"  // somebody ended the rebuild
	whyFailed     why = "failed"     // its first error did
	whyDropped    why = "dropped"    // somebody gave up the way back
	whyAged       why = "aged"       // nobody took the way back in time
	whySuperseded why = "superseded" // by one of a newer version
)

// registry is the stream projection-<name>.
type registry struct {
	store  eventstore.Store
	stream string
}

func newRegistry(store eventstore.Store, ns eventstore.Namespace, projection string) registry {
	return registry{store, ns.Stream("projection", projection)}
}

func (r registry) read(ctx context.Context) (registered, error) {
	all := registered{end: eventstore.NoStream}
	for rec, err := range r.store.ReadStream(ctx, r.stream, 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			return registered{}, fmt.Errorf("read %s: %w", r.stream, err)
		}
		fact, err := decodeFact(rec.Type, rec.Data)
		if err != nil {
			return registered{}, fmt.Errorf("read %s: event %d: %w", r.stream, rec.Revision, err)
		}
		if _, ok := fact.(switched); ok {
			all.at = append(all.at, switchAt{len(all.facts), rec.Position})
		}
		all.facts, all.end = append(all.facts, fact), eventstore.At(rec.Revision)
	}
	return all, nil
}

// decodeFact is a building, a readied, a switched or a dropped.
func decodeFact(kind string, data []byte) (any, error) {
	switch kind {
	case typeBuilding:
		return decoded[building](data)
	case typeReady:
		return decoded[readied](data)
	case typeSwitched:
		return decoded[switched](data)
	case typeDropped:
		return decoded[dropped](data)
	}
	return nil, fmt.Errorf("it is a %s, which this docket does not know; run the newer docket that wrote it", kind)
}

func decoded[F any](data []byte) (any, error) {
	var fact F
	err := json.Unmarshal(data, &fact)
	return fact, err
}

func encoded(fact any) []byte {
	data, err := json.Marshal(fact)
	if err != nil {
		panic(fmt.Sprintf("encode %s: %v", typeOf(fact), err)) // it is of strings and numbers
	}
	return data
}

func typeOf(fact any) string {
	switch fact.(type) {
	case building:
		return typeBuilding
	case readied:
		return typeReady
	case switched:
		return typeSwitched
	case dropped:
		return typeDropped
	}
	panic(fmt.Sprintf("no fact of a projection: %T", fact))
}

// change appends what decide makes of all that the stream says, at once, and
// returns what it says then. When others were faster, decide is asked again;
// nothing is appended when it returns nothing, or an error. It goes on until the
// outcome is known, or ctx ends.
func (r registry) change(ctx context.Context, decide func(registered) ([]any, error)) (registered, error) {
	for {
		seen, err := r.read(ctx)
		if err != nil {
			return seen, err
		}
		facts, err := decide(seen)
		if err != nil || len(facts) == 0 {
			return seen, err
		}
		err = r.append(ctx, facts, seen.end)
		if err == nil {
			return r.read(ctx)
		}
		if !errors.Is(err, eventstore.ErrConflict) || ctx.Err() != nil {
			return seen, fmt.Errorf("append to %s: %w", r.stream, err)
		}
	}
}

// append goes on until the outcome is known or ctx ends.
func (r registry) append(ctx context.Context, facts []any, expected eventstore.Expected) error {
	events := make([]eventstore.Event, len(facts))
	for i, fact := range facts {
		events[i] = eventstore.Event{ID: uuid.New(), Type: typeOf(fact), JSON: true, Data: encoded(fact)}
	}
	var pause backoff
	for {
		_, err := r.store.Append(ctx, r.stream, expected, events)
		if err == nil {
			return nil
		}
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) && !errors.Is(err, eventstore.ErrOverloaded) && !errors.Is(err, eventstore.ErrUnavailable) {
			return err
		}
		if ended := pause.wait(ctx); ended != nil {
			return err
		}
	}
}
