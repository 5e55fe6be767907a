package esdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// The identity of a log is the stream docket-log in it: its first event has the
// log's id, each later event of typeEpochRaised begins another epoch.
const (
	identityStream  = "docket-log"
	typeBegun       = "LogBegun"
	typeEpochRaised = "LogEpochRaised"
)

// Log is eventstore.Store. The first caller of all makes the identity.
func (s *Store) Log(ctx context.Context) (eventstore.LogIdentity, error) {
	for {
		log, err := s.readIdentity(ctx)
		if err == nil {
			s.log.learn(log)
		}
		if !errors.Is(err, eventstore.ErrStreamNotFound) {
			return log, err
		}
		_, err = s.Append(ctx, identityStream, eventstore.NoStream, []eventstore.Event{{
			ID: uuid.New(), Type: typeBegun, JSON: true,
			Data: []byte(`{"note":"The id of this event is the identity of the log for docket."}`),
		}})
		// A conflict: somebody else was faster, and theirs is the identity. The
		// same after an unknown outcome.
		if err != nil && !errors.Is(err, eventstore.ErrConflict) && (!errors.Is(err, eventstore.ErrOutcomeUnknown) || ctx.Err() != nil) {
			return eventstore.LogIdentity{}, fmt.Errorf("begin the log's identity: %w", err)
		}
	}
}

func (s *Store) readIdentity(ctx context.Context) (log eventstore.LogIdentity, err error) {
	for rec, err := range s.ReadStream(ctx, identityStream, 0, eventstore.Forwards, 0) {
		if err != nil {
			return eventstore.LogIdentity{}, fmt.Errorf("identity of the log: %w", err)
		}
		log = nextIdentity(log, rec)
	}
	if log.ID == uuid.Nil {
		return eventstore.LogIdentity{}, fmt.Errorf("identity of the log: stream %s does not begin with %s: it was truncated or written by somebody else", identityStream, typeBegun)
	}
	return log, nil
}

// nextIdentity is the identity after another event of its stream.
func nextIdentity(log eventstore.LogIdentity, rec eventstore.Record) eventstore.LogIdentity {
	switch {
	case log.Epoch == 0 && rec.Type == typeBegun:
		return eventstore.LogIdentity{ID: rec.ID, Epoch: 1}
	case rec.Type == typeEpochRaised:
		log.Epoch++
	}
	return log
}

// RaiseEpoch begins another epoch of the log. An operator calls it after the
// cluster was restored from a backup, before docket is started: positions that
// views, tokens and cursors hold may name other events now. reason is kept in
// the stream docket-log. Two calls at once raise it twice, which does no harm.
func (s *Store) RaiseEpoch(ctx context.Context, reason string) (eventstore.LogIdentity, error) {
	if _, err := s.Log(ctx); err != nil {
		return eventstore.LogIdentity{}, err
	}
	data, err := reasonJSON(reason)
	if err != nil {
		return eventstore.LogIdentity{}, err
	}
	s.log.forget()
	e := eventstore.Event{ID: uuid.New(), Type: typeEpochRaised, JSON: true, Data: data}
	if _, err := s.Append(ctx, identityStream, eventstore.Any, []eventstore.Event{e}); err != nil {
		return eventstore.LogIdentity{}, fmt.Errorf("raise the epoch of the log: %w", err)
	}
	return s.Log(ctx)
}

func reasonJSON(reason string) ([]byte, error) {
	return json.Marshal(struct {
		Reason string `json:"reason"`
	}{reason})
}
