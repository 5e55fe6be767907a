package linking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// Where definitions are kept: each event is the whole of one, and the last one
// holds.
const (
	definitionStream = "$projections-$all"
	typeDefinition   = "$ProjectionUpdated"
)

// mode says how long a projection lives.
type mode string

const (
	continuous mode = "Continuous"
	oneTime    mode = "OneTime"
	transient  mode = "Transient" // gone when the server ends
)

// definition is what is kept of a projection.
type definition struct {
	Name    string `json:"name"`
	Mode    mode   `json:"mode"`
	Query   string `json:"query,omitempty"`
	Emit    bool   `json:"emitEnabled,omitempty"`
	Track   bool   `json:"trackEmittedStreams,omitempty"`
	Enabled bool   `json:"enabled,omitempty"`
	Aborted bool   `json:"aborted,omitempty"` // how it was stopped
	Deleted bool   `json:"deleted,omitempty"`
	Version int64  `json:"version"` // raised by each update
	Epoch   int64  `json:"epoch"`   // raised by each reset
}

// load reads what was kept. What it cannot read it passes over.
func (s *Service) load(ctx context.Context) error {
	for r, err := range s.Store.ReadStream(ctx, definitionStream, 0, eventstore.Forwards, 0) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return nil
		case err != nil:
			return fmt.Errorf("load projections: %w", err)
		}
		var d definition
		if r.Type != typeDefinition || json.Unmarshal(r.Data, &d) != nil || d.Name == "" {
			s.Logger.Warn("definition of a projection is not readable", "stream", definitionStream, "revision", int64(r.Revision))
			continue
		}
		s.take(d)
	}
	return nil
}

// take makes d what is known.
func (s *Service) take(d definition) {
	p := s.known[d.Name]
	switch {
	case p == nil && !d.Deleted:
		s.known[d.Name] = &projection{definition: d}
	case p == nil:
	case d.Deleted && p.kind == nil:
		delete(s.known, d.Name)
	default:
		p.definition = d
	}
}

// change keeps a definition, changed, and then makes it known. The caller holds
// mu.
func (s *Service) change(ctx context.Context, p *projection, change func(*definition)) error {
	d := p.definition
	change(&d)
	if d.Mode != transient {
		data, err := json.Marshal(d)
		if err != nil {
			panic(fmt.Sprintf("linking: definition of %s: %v", d.Name, err))
		}
		// Once begun it is waited for, so that what is known is what is kept.
		_, err = s.Store.Append(context.WithoutCancel(ctx), definitionStream, eventstore.Any, []eventstore.Event{
			{ID: uuid.New(), Type: typeDefinition, JSON: true, Data: data},
		})
		if err != nil {
			return fmt.Errorf("keep projection %s: %w", d.Name, err)
		}
	}
	s.take(d)
	return nil
}
