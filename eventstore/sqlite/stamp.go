package sqlite

import (
	"context"

	"github.com/docket-orders/docket/eventstore"
)

var _ eventstore.Sequencer = (*Store)(nil)

// AppendStamped is Append; stamp runs in the writer, which takes appends in the
// order of their positions.
func (s *Store) AppendStamped(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event, stamp func([]eventstore.Event)) (eventstore.Appended, error) {
	size, err := checkAppend(stream, expected, events)
	if err != nil {
		return eventstore.Appended{}, err
	}
	return s.submit(ctx, size, func(w *writer) (eventstore.Appended, error) {
		stamp(events)
		return w.append(stream, expected, events)
	})
}

// Sequence implements eventstore.Sequencer: what the writer placed before is in
// this group, which is answered after COMMIT, or in one before it.
func (s *Store) Sequence(ctx context.Context, stamp func()) error {
	_, err := s.submit(ctx, 0, func(*writer) (eventstore.Appended, error) {
		stamp()
		return eventstore.Appended{}, nil
	})
	return err
}
