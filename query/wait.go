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

// AwaitHot returns when the hot view holds what the token names, or with
// *BehindError or *ParkedError; AwaitSearch is the same of the one that answers
// lists. Every question does this itself; who does not want to wait with a
// question in hand waits first. A view that does not answer is not waited for:
// the question says so, or the log answers it.
func (s *Service) AwaitHot(ctx context.Context, read Read) error {
	return passOver(s.awaitHot(ctx, read))
}

// AwaitSearch: see AwaitHot.
func (s *Service) AwaitSearch(ctx context.Context, read Read) error {
	return passOver(s.awaitSearch(ctx, read))
}

func passOver(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return nil
	}
	return err
}

func (s *Service) awaitHot(ctx context.Context, read Read) error {
	return s.await(ctx, read, s.hot.Progress, func(ctx context.Context, id string) (view.Order, bool, error) {
		doc, found, _, err := s.document(ctx, id)
		return doc, found, err
	})
}

func (s *Service) awaitSearch(ctx context.Context, read Read) error {
	return s.await(ctx, read, s.search.Progress, func(ctx context.Context, id string) (view.Order, bool, error) {
		docs, _, err := ask(s.search, func(v Search) (map[string]view.Order, error) { return v.Documents(ctx, []string{id}) })
		doc, found := docs[id]
		return doc, found, err
	})
}

// kept looks up one order as written last, in one of the stores.
type kept func(ctx context.Context, id string) (view.Order, bool, error)

func (s *Service) await(ctx context.Context, read Read, progress Progress, order kept) error {
	if read.Token == nil {
		return nil
	}
	t := *read.Token
	if t.Log != s.options.Log {
		return ErrTokenForeign
	}
	if err := holds(ctx, t, progress, order); read.Wait <= 0 || !errors.Is(err, ErrBehind) {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, read.Wait)
	defer cancel()
	err := progress.Wait(waiting, t.OrderID, t.Revision)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && waiting.Err() == nil && !passes(err) {
		return fmt.Errorf("wait for order %s at revision %d: %w", t.OrderID, t.Revision, err)
	}
	// It is there, or the time is up, or the order was parked meanwhile, or the
	// store has gone.
	return holds(ctx, t, progress, order)
}

// passes reports whether looking once more says better what ended a wait.
func passes(err error) bool {
	return errors.Is(err, projections.ErrParked) || errors.Is(err, projections.ErrUnavailable) || errors.Is(err, projections.ErrLost)
}

// holds looks whether the live generation has the token's write.
func holds(ctx context.Context, t Token, progress Progress, order kept) error {
	doc, found, err := order(ctx, t.OrderID)
	if err != nil {
		return err
	}
	if found && revisionOf(doc) >= t.Revision && !fromBefore(doc, t) {
		return nil
	}
	if d, parked := progress.ParkedOrder(t.OrderID); parked {
		return &ParkedError{OrderID: t.OrderID, Want: t.Revision, Degraded: d}
	}
	return behind(doc, found, t)
}

// behind says how far the document is from the token's write.
func behind(doc view.Order, found bool, t Token) *BehindError {
	have := &BehindError{OrderID: t.OrderID, Have: -1, Want: t.Revision, WantPosition: t.Position.String()}
	if found {
		have.Have, have.HavePosition = revisionOf(doc), doc.Position
	}
	return have
}

// fromBefore reports that a document, though its revision is high enough, was
// made before the token's write: after a restore the views may still be those of
// the old epoch, in which the order had another life. Positions do not repeat.
func fromBefore(doc view.Order, t Token) bool {
	var at eventstore.Position
	return at.UnmarshalText([]byte(doc.Position)) == nil && at.Before(t.Position)
}
