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

// typeSwitched is the stored name of the one event of a projection's stream:
// from here on this generation is live.
const typeSwitched = "ProjectionSwitched"

// switched is the event that makes a generation live, for all processes and all
// stores at once.
type switched struct {
	Generation int       `json:"generation"`
	Version    int       `json:"version"` // that built it
	At         time.Time `json:"at"`
}

// registry is the stream projection-<name>.
type registry struct {
	store  eventstore.Store
	stream string
}

func newRegistry(store eventstore.Store, ns eventstore.Namespace) registry {
	return registry{store, ns.Stream("projection", Name)}
}

// live is the generation in force and where the stream stands; the zero value
// and NoStream when there never was one.
func (r registry) live(ctx context.Context) (switched, eventstore.Expected, error) {
	for rec, err := range r.store.ReadStream(ctx, r.stream, eventstore.EndRevision, eventstore.Backwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if err != nil {
			return switched{}, 0, fmt.Errorf("read %s: %w", r.stream, err)
		}
		if rec.Type != typeSwitched {
			return switched{}, 0, fmt.Errorf("read %s: event %d is a %s, which this docket does not know; run the newer docket that wrote it", r.stream, rec.Revision, rec.Type)
		}
		var s switched
		if err := json.Unmarshal(rec.Data, &s); err != nil {
			return switched{}, 0, fmt.Errorf("read %s: event %d: %w", r.stream, rec.Revision, err)
		}
		return s, eventstore.At(rec.Revision), nil
	}
	return switched{}, eventstore.NoStream, nil
}

// makeLive appends the switch. It goes on until the outcome is known or ctx
// ends.
func (r registry) makeLive(ctx context.Context, s switched, expected eventstore.Expected) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode switch: %w", err)
	}
	event := eventstore.Event{ID: uuid.New(), Type: typeSwitched, JSON: true, Data: data}
	var pause backoff
	for {
		_, err := r.store.Append(ctx, r.stream, expected, []eventstore.Event{event})
		if err == nil {
			return nil
		}
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) && !errors.Is(err, eventstore.ErrOverloaded) && !errors.Is(err, eventstore.ErrUnavailable) {
			return fmt.Errorf("switch to generation %d: %w", s.Generation, err)
		}
		if ended := pause.wait(ctx); ended != nil {
			return fmt.Errorf("switch to generation %d: %w", s.Generation, err)
		}
	}
}
