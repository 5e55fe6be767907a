package query_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/query"
)

// slowStore holds appends up between their dating and their commit, and tells
// of calls in sequence.
type slowStore struct {
	*sqlite.Store
	dated    chan struct{} // an append was dated
	goOn     chan struct{} // closed: it may be committed
	sequence chan struct{} // a call in sequence came
}

func (s *slowStore) AppendStamped(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event, stamp func([]eventstore.Event)) (eventstore.Appended, error) {
	return s.Store.AppendStamped(ctx, stream, expected, events, func(events []eventstore.Event) {
		stamp(events)
		s.dated <- struct{}{}
		<-s.goOn
	})
}

func (s *slowStore) Sequence(ctx context.Context, stamp func()) error {
	s.sequence <- struct{}{}
	return s.Store.Sequence(ctx, stamp)
}

func placeMug() order.Place {
	return order.Place{Currency: "EUR", Lines: []order.Line{{SKU: "MUG", Quantity: 1, UnitPrice: money.Minor(750, "EUR")}}}
}

// An event that is dated and still on its way to the disk belongs to what was
// known: who asks for a moment after it waits for it.
func TestAsOfWaitsForWhatIsBeingRecorded(t *testing.T) {
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	slow := &slowStore{store, make(chan struct{}, 8), make(chan struct{}), make(chan struct{}, 8)}
	prompt, held := command.New(command.Options{Store: store}), command.New(command.Options{Store: slow})
	defer prompt.Close()
	defer held.Close()
	if _, err := prompt.Handle(t.Context(), "a", placeMug(), command.Request{}); err != nil {
		t.Fatal(err)
	}
	queries := query.New(query.Options{Store: slow, Clock: held.Clock})

	appended := make(chan error, 1)
	go func() {
		_, err := held.Handle(t.Context(), "a", order.Confirm{}, command.Request{})
		appended <- err
	}()
	<-slow.dated
	asOf := held.Clock() // nothing later is dated before it
	type answer struct {
		revision int64
		err      error
	}
	ask := func() answer {
		doc, err := queries.OrderAsOf(t.Context(), "a", query.Cut{AsOf: &asOf})
		return answer{doc.Revision, err}
	}
	answers := make(chan answer, 1)
	go func() { answers <- ask() }()
	var first answer
	select {
	case first = <-answers: // too early
		close(slow.goOn)
	case <-slow.sequence:
		close(slow.goOn)
		first = <-answers
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	later := ask()
	if first.err != nil || first != later || first.revision != 1 {
		t.Errorf("as of %s it was %+v, and later %+v; want revision 1", asOf.Format(time.RFC3339Nano), first, later)
	}
}

// lateStore is no Sequencer. It holds appends up before they reach the log.
type lateStore struct {
	eventstore.Store
	came, goOn chan struct{}
}

func (s *lateStore) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	s.came <- struct{}{}
	<-s.goOn
	return s.Store.Append(ctx, stream, expected, events)
}

// The same on a store that does not tell the order of what is being recorded:
// the process that records is asked.
func TestAsOfWaitsForWhatThisProcessRecords(t *testing.T) {
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	late := &lateStore{struct{ eventstore.Store }{store}, make(chan struct{}, 8), make(chan struct{})}
	prompt, held := command.New(command.Options{Store: store}), command.New(command.Options{Store: late})
	defer prompt.Close()
	defer held.Close()
	if _, err := prompt.Handle(t.Context(), "a", placeMug(), command.Request{}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	queries := query.New(query.Options{Store: late, Clock: held.Clock, Recorded: func(ctx context.Context, asOf time.Time) error {
		asked <- struct{}{}
		return held.Recorded(ctx, asOf)
	}})
	appended := make(chan error, 1)
	go func() {
		_, err := held.Handle(t.Context(), "a", order.Confirm{}, command.Request{})
		appended <- err
	}()
	<-late.came
	asOf := time.Now()
	revisions := make(chan int64, 1)
	go func() {
		doc, err := queries.OrderAsOf(t.Context(), "a", query.Cut{AsOf: &asOf})
		if err != nil {
			t.Error(err)
		}
		revisions <- doc.Revision
	}()
	var first int64
	select {
	case first = <-revisions: // nobody was asked
		close(late.goOn)
	case <-asked:
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := held.Recorded(ctx, asOf); !errors.Is(err, context.Canceled) {
			t.Errorf("while an append is held up: %v", err)
		}
		if err := held.Recorded(t.Context(), asOf.Add(-time.Minute)); err != nil {
			t.Error(err)
		}
		close(late.goOn)
		first = <-revisions
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	if first != 1 {
		t.Errorf("as of an instant after it was decided, the confirmation is not there: revision %d", first)
	}
}

// Nothing is recorded at or before what the clock said.
func TestAsOfNowStaysAsItWas(t *testing.T) {
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	orders := command.New(command.Options{Store: store})
	defer orders.Close()
	if _, err := orders.Handle(t.Context(), "a", placeMug(), command.Request{}); err != nil {
		t.Fatal(err)
	}
	queries := query.New(query.Options{Store: store, Clock: orders.Clock})
	// A few writes go beside each question: the history stays short.
	writes, ended := make(chan int, 2), make(chan error, 1)
	go func() {
		var failed error
		for n := range writes {
			_, err := orders.Handle(context.WithoutCancel(t.Context()), "a", order.SetTags{Tags: []string{strconv.Itoa(n)}}, command.Request{})
			failed = errors.Join(failed, err)
		}
		ended <- failed
	}()
	asked := map[time.Time]int64{}
	for n := range 150 {
		writes <- 2 * n
		writes <- 2*n + 1
		asOf := time.Now()
		doc, err := queries.OrderAsOf(t.Context(), "a", query.Cut{AsOf: &asOf})
		if err != nil {
			t.Fatal(err)
		}
		asked[asOf] = doc.Revision
	}
	close(writes)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for asOf, revision := range asked {
		doc, err := queries.OrderAsOf(t.Context(), "a", query.Cut{AsOf: &asOf})
		if err != nil || doc.Revision != revision {
			t.Errorf("as of %s it was at revision %d, and is at %d now (%v)", asOf.Format(time.RFC3339Nano), revision, doc.Revision, err)
		}
	}
}
