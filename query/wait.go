package query

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// Read is what accompanies a question.
type Read struct {
	// Token of a write that the answer must contain.
	Token *Token
	// Wait at most so long for it; zero: answer at once.
	Wait time.Duration
}

// Await returns when the live generation holds what the token names, or with
// *BehindError or *ParkedError. Every question does the same; who does not want
// to wait with a question in hand waits first.
func (s *Service) Await(ctx context.Context, read Read) error {
	if read.Token == nil {
		return nil
	}
	t := *read.Token
	if t.Log != s.options.Log {
		return ErrTokenForeign
	}
	if err := s.holds(ctx, t); read.Wait <= 0 || !errors.Is(err, ErrBehind) {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, read.Wait)
	defer cancel()
	err := s.options.Progress.Wait(waiting, t.OrderID, t.Revision)
	if err != nil && waiting.Err() == nil && !errors.Is(err, projections.ErrParked) {
		return fmt.Errorf("wait for order %s at revision %d: %w", t.OrderID, t.Revision, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// It is there, or the time is up, or the order was parked meanwhile.
	return s.holds(ctx, t)
}

// holds looks whether the live generation has the token's write.
func (s *Service) holds(ctx context.Context, t Token) error {
	doc, found, _, err := s.document(ctx, t.OrderID)
	if err != nil {
		return err
	}
	have := BehindError{OrderID: t.OrderID, Have: -1, Want: t.Revision, WantPosition: t.Position.String()}
	if found {
		have.Have, have.HavePosition = revisionOf(doc), doc.Position
	}
	if have.Have >= t.Revision && !fromBefore(doc, t) {
		return nil
	}
	if d, parked := s.options.Progress.ParkedOrder(t.OrderID); parked {
		return &ParkedError{OrderID: t.OrderID, Want: t.Revision, Degraded: d}
	}
	return &have
}

// fromBefore reports that a document, though its revision is high enough, was
// made before the token's write: after a restore the views may still be those of
// the old epoch, in which the order had another life. Positions do not repeat.
func fromBefore(doc view.Order, t Token) bool {
	var at eventstore.Position
	return at.UnmarshalText([]byte(doc.Position)) == nil && at.Before(t.Position)
}

// refresher is a view whose questions see what was written only some time
// later.
type refresher interface {
	Refresh(ctx context.Context) error
}

// awaitSearchable is await for questions other than by id.
func (s *Service) awaitSearchable(ctx context.Context, read Read) error {
	if err := s.Await(ctx, read); err != nil || read.Token == nil {
		return err
	}
	_, _, err := ask(s, func(v Views) (struct{}, error) {
		if r, ok := v.(refresher); ok {
			return struct{}{}, r.Refresh(ctx)
		}
		return struct{}{}, nil
	})
	return err
}
