package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/google/uuid"
)

var noon = time.Date(2024, 5, 6, 12, 0, 0, 123_456_000, time.UTC)

func openStore(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), dir, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // again where the test did
	return s
}

// ticking is a clock that tests move.
type ticking struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *ticking) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func aRefusal(orderID, actor string) command.Refusal {
	return command.Refusal{
		OrderID: orderID, Revision: 4, Command: "cancel", Target: "p1", Code: "order-departed", Reason: "the order has left: parcel s1",
		Field: "/lines/0", CommandID: command.KeyID(actor, orderID, "k"), Fingerprint: "f", Actor: actor,
		CorrelationID: "corr", CausationID: "cause", TraceParent: "00-01-02-01", At: noon,
	}
}

func refusalsOf(t *testing.T, r *Refusals, id string, limit int) []Refused {
	t.Helper()
	found, err := r.Of(context.Background(), id, eventstore.EndRevision, limit)
	if err != nil {
		t.Fatal(err)
	}
	return found.Items
}

func TestRefusalsAreReadAsRecorded(t *testing.T) {
	dir := t.TempDir()
	store := openStore(t, dir)
	o := RefusalOptions{Store: store, Namespace: "acme", Clock: (&ticking{now: noon}).Now}
	r := NewRefusals(o)
	never := aRefusal("7", "ana")
	never.Revision = -1
	for _, refusal := range []command.Refusal{aRefusal("1", "ana"), aRefusal("1", "ana"), aRefusal("1", "bo"), never} {
		r.Record(context.Background(), refusal)
	}
	// No order has such an id.
	r.Record(context.Background(), aRefusal("no/id", "ana"))
	if m := r.Metrics(); m != (RefusalMetrics{Recorded: 4}) {
		t.Errorf("counted %+v", m)
	}

	check := func(r *Refusals) {
		t.Helper()
		found := refusalsOf(t, r, "1", 10)
		if len(found) != 3 || found[0].ID == found[1].ID {
			t.Fatalf("found %+v", found)
		}
		want := Refused{
			ID: found[0].ID, OrderID: "1", Revision: 4, Command: "cancel", Target: "p1", CommandID: command.KeyID("ana", "1", "k").String(),
			Code: "order-departed", Reason: "the order has left: parcel s1", Field: "/lines/0", Actor: "ana",
			Correlation: "corr", Causation: "cause", TraceParent: "00-01-02-01", RecordedAt: noon,
		}
		if found[0] != want {
			t.Errorf("found\n%+v, want\n%+v", found[0], want)
		}
		if newest := refusalsOf(t, r, "1", 1); len(newest) != 1 || newest[0].Actor != "bo" {
			t.Errorf("the newest is %+v", newest)
		}
		if one := refusalsOf(t, r, "7", 10); len(one) != 1 || one[0].Revision != -1 {
			t.Errorf("found %+v", one)
		}
		for _, id := range []string{"2", "no/id", ""} {
			if none := refusalsOf(t, r, id, 10); none == nil || len(none) != 0 {
				t.Errorf("%s has %+v", id, none)
			}
		}
	}
	check(r)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	o.Store = openStore(t, dir)
	check(NewRefusals(o))
}

// TestRefusalsStayOutOfOrders: an order with refusals only does not exist, and
// another namespace does not see them.
func TestRefusalsStayOutOfOrders(t *testing.T) {
	store := openStore(t, t.TempDir())
	r := NewRefusals(RefusalOptions{Store: store})
	orders := command.New(command.Options{Store: store, Refused: r.Record})
	defer orders.Close()
	ctx := context.Background()
	if _, err := orders.Handle(ctx, "1", order.Confirm{}, command.Request{Actor: "ana"}); !errors.Is(err, order.ErrUnknown) {
		t.Fatal(err)
	}
	if _, revision, err := orders.Load(ctx, "1"); err != nil || revision != -1 {
		t.Errorf("the order is at %d, %v", revision, err)
	}
	found := refusalsOf(t, r, "1", 10)
	if len(found) != 1 || found[0].Code != order.ErrUnknown.Code || found[0].Actor != "ana" || found[0].Revision != -1 {
		t.Errorf("found %+v", found)
	}
	if other := refusalsOf(t, NewRefusals(RefusalOptions{Store: store, Namespace: "acme"}), "1", 10); len(other) != 0 {
		t.Errorf("another namespace has %+v", other)
	}
}

func TestTheRateIsBounded(t *testing.T) {
	store := openStore(t, t.TempDir())
	clock := &ticking{now: noon}
	r := NewRefusals(RefusalOptions{Store: store, Clock: clock.Now, PerMinute: 6, Burst: 3})
	record := func(actor string, times int) {
		for range times {
			r.Record(context.Background(), aRefusal("1", actor))
		}
	}
	record("mallory", 50)
	record("ana", 2) // not held up by another's noise
	if m := r.Metrics(); m != (RefusalMetrics{Recorded: 5, Unrecorded: 47}) {
		t.Errorf("counted %+v", m)
	}
	clock.advance(9 * time.Second)
	record("mallory", 1)
	clock.advance(time.Second) // one is allowed every 10 s
	record("mallory", 2)
	found := refusalsOf(t, r, "1", 100)
	if len(found) != 6 || found[5].Actor != "mallory" || found[5].Unrecorded != 48 || !found[5].UnrecordedSince.Equal(noon) {
		t.Fatalf("found %d, the last %+v", len(found), found[len(found)-1])
	}
	// A clock that goes back gives nothing.
	clock.advance(-time.Hour)
	record("mallory", 1)
	clock.advance(time.Hour)
	record("mallory", 1)
	clock.advance(time.Hour)
	record("mallory", 5)
	found = refusalsOf(t, r, "1", 100)
	if n := len(found); n != 10 || found[len(found)-1].Unrecorded != 0 || !found[len(found)-1].UnrecordedSince.IsZero() {
		t.Errorf("found %d, the last %+v", n, found[n-1])
	}
}

func TestCallersAreForgotten(t *testing.T) {
	r := newRates(1, 1, 3)
	for i := range 1000 {
		if _, ok := r.take(fmt.Sprint(i), noon); !ok {
			t.Fatalf("the first of caller %d was too fast", i)
		}
		if _, ok := r.take("often", noon); ok != (i == 0) {
			t.Fatalf("round %d: a caller that is heard of often was forgotten", i)
		}
	}
	if len(r.callers) != 3 || r.used.Len() != 3 {
		t.Errorf("%d callers are remembered", len(r.callers))
	}
	if m, ok := r.take("often", noon.Add(time.Second)); !ok || m != (missed{999, noon}) {
		t.Errorf("missed %+v", m)
	}
}

// TestManyAtOnce: what is recorded and what is counted add up, and each is there
// once.
func TestManyAtOnce(t *testing.T) {
	store := openStore(t, t.TempDir())
	r := NewRefusals(RefusalOptions{Store: store, Clock: (&ticking{now: noon}).Now, Burst: 25})
	const callers, each = 4, 40
	var wg sync.WaitGroup
	for c := range callers {
		for i := range each {
			wg.Go(func() {
				refusal := aRefusal("1", fmt.Sprintf("caller-%d", c))
				refusal.CommandID = uuid.New()
				refusal.Revision = eventstore.Revision(i)
				r.Record(context.Background(), refusal)
			})
		}
	}
	wg.Wait()
	if m := r.Metrics(); m != (RefusalMetrics{Recorded: callers * 25, Unrecorded: callers * 15}) {
		t.Errorf("counted %+v", m)
	}
	ids := map[string]bool{}
	for _, one := range refusalsOf(t, r, "1", MaxRefusals) {
		ids[one.CommandID] = true
	}
	if len(ids) != callers*25 {
		t.Errorf("%d refusals are there", len(ids))
	}
}

func TestHostileTextIsCut(t *testing.T) {
	store := openStore(t, t.TempDir())
	r := NewRefusals(RefusalOptions{Store: store})
	refusal := aRefusal("1", strings.Repeat("ä", 100_000))
	refusal.Reason = strings.Repeat("x", longestText-1) + strings.Repeat("€", 100_000)
	refusal.Field, refusal.Target = strings.Repeat("/\xff", 1<<20), strings.Repeat("\xff", 1<<20)
	refusal.Code, refusal.Command = strings.Repeat("c", 1<<20), strings.Repeat("d", 1<<20)
	refusal.Fingerprint, refusal.CorrelationID = strings.Repeat("e", 1<<20), strings.Repeat("\x00", 1<<20)
	refusal.CausationID, refusal.TraceParent = strings.Repeat("f", 1<<20), strings.Repeat("g", 1<<20)
	r.Record(context.Background(), refusal)
	found := refusalsOf(t, r, "1", 10)
	if len(found) != 1 || found[0].Reason != strings.Repeat("x", longestText-1)+"…" {
		t.Fatalf("found %+v", found)
	}
	for rec, err := range store.ReadStream(context.Background(), "refusal-1", 0, eventstore.Forwards, 0) {
		if size := len(rec.Data) + len(rec.Metadata); err != nil || size > 16<<10 || !utf8.Valid(rec.Data) {
			t.Errorf("%d bytes, %v", size, err)
		}
	}
}

// failing is a store whose appends fail, or hang until their context ends.
type failing struct {
	eventstore.Store
	err   error // nil: as the store
	hang  bool
	tries int
}

func (f *failing) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	f.tries++
	if f.hang {
		<-ctx.Done()
		return eventstore.Appended{}, fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, ctx.Err())
	}
	if f.err != nil {
		return eventstore.Appended{}, f.err
	}
	return f.Store.Append(ctx, stream, expected, events)
}

func TestAFailingStoreChangesNoAnswer(t *testing.T) {
	store := &failing{Store: openStore(t, t.TempDir()), err: errors.New("disk on fire")}
	clock := &ticking{now: noon}
	var log strings.Builder
	r := NewRefusals(RefusalOptions{Store: store, Clock: clock.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	orders := command.New(command.Options{Store: store.Store, Refused: r.Record})
	defer orders.Close()
	refuse := func(ctx context.Context) {
		t.Helper()
		if _, err := orders.Handle(ctx, "1", order.Confirm{}, command.Request{Actor: "ana"}); !errors.Is(err, order.ErrUnknown) {
			t.Errorf("answered %v", err)
		}
	}
	for range 10 { // within the pause after the first
		refuse(context.Background())
	}
	clock.advance(recordPause)
	refuse(context.Background())
	if store.tries != 2 || strings.Count(log.String(), "refusals are not recorded") != 1 {
		t.Errorf("tried %d times, logged %s", store.tries, log.String())
	}
	store.err = nil
	clock.advance(recordPause)
	refuse(context.Background())
	clock.advance(time.Minute)
	refuse(context.Background())
	found := refusalsOf(t, r, "1", 10)
	if len(found) != 2 || found[0].Unrecorded != 11 || found[1].Unrecorded != 0 {
		t.Errorf("found %+v", found)
	}
	if m := r.Metrics(); m != (RefusalMetrics{Recorded: 2, Unrecorded: 11}) || !strings.Contains(log.String(), "recorded again") {
		t.Errorf("counted %+v, logged %s", m, log.String())
	}
}

// TestAHangingStoreHoldsAnswersUpOnce: the first refusal waits for so long, the
// next ones do not. A caller who hung up is recorded all the same.
func TestAHangingStoreHoldsAnswersUpOnce(t *testing.T) {
	store := &failing{Store: openStore(t, t.TempDir()), hang: true}
	r := NewRefusals(RefusalOptions{Store: store, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	begun := time.Now()
	for range 20 {
		r.Record(context.Background(), aRefusal("1", "ana"))
	}
	if took := time.Since(begun); took < recordTimeout || took > 2*recordTimeout || store.tries != 1 {
		t.Errorf("took %s and %d tries", took, store.tries)
	}

	store = &failing{Store: store.Store}
	r = NewRefusals(RefusalOptions{Store: store})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	r.Record(gone, aRefusal("1", "ana"))
	if found := refusalsOf(t, r, "1", 10); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

// TestForeignRecords: another program's events in the stream are passed over,
// damaged ones are not.
func TestForeignRecords(t *testing.T) {
	store := openStore(t, t.TempDir())
	r := NewRefusals(RefusalOptions{Store: store})
	put := func(typ, data string) {
		t.Helper()
		if _, err := store.Append(context.Background(), "refusal-1", eventstore.Any,
			[]eventstore.Event{{ID: uuid.New(), Type: typ, JSON: true, Data: []byte(data), Metadata: []byte(`{}`)}}); err != nil {
			t.Fatal(err)
		}
	}
	put("Another", `{"code":7}`)
	r.Record(context.Background(), aRefusal("1", "ana"))
	if found := refusalsOf(t, r, "1", 10); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
	put(TypeRefused, `{"code":7}`)
	if found, err := r.Of(context.Background(), "1", eventstore.EndRevision, 10); err == nil {
		t.Errorf("found %+v", found)
	}
}

// TestRefusalsArePaged: page by page from the newest to the oldest, all of them
// are there once, also while more come.
func TestRefusalsArePaged(t *testing.T) {
	r := NewRefusals(RefusalOptions{Store: openStore(t, t.TempDir()), Burst: 100})
	for i := range 7 {
		refusal := aRefusal("1", "ana")
		refusal.Revision = eventstore.Revision(i)
		r.Record(context.Background(), refusal)
	}
	total := 7
	for limit := 1; limit <= 8; limit++ {
		var seen []eventstore.Revision
		r.Record(context.Background(), aRefusal("1", "ana"))
		total++
		for before := eventstore.Revision(total - 1); before != 0; {
			page, err := r.Of(context.Background(), "1", before, limit)
			if err != nil || page.Total != int64(total) || len(page.Items) == 0 || len(page.Items) > limit || page.Incomplete {
				t.Fatalf("before %d: %+v, %v", before, page, err)
			}
			for i := len(page.Items) - 1; i >= 0; i-- {
				seen = append(seen, page.Items[i].Revision)
			}
			before = page.Next
		}
		if len(seen) != total-1 || seen[len(seen)-1] != 0 || seen[len(seen)-7] != 6 {
			t.Errorf("by %d: %v", limit, seen)
		}
	}
	for _, before := range []eventstore.Revision{0, -3} {
		if page, err := r.Of(context.Background(), "1", before, 5); err != nil || len(page.Items) != 0 || page.Next != 0 {
			t.Errorf("before %d: %+v, %v", before, page, err)
		}
	}
}

// TestLeftOutRefusalsAreAdmitted: of which orders refusals were left out is
// remembered, and when there are too many of them, it may be any.
func TestLeftOutRefusalsAreAdmitted(t *testing.T) {
	r := NewRefusals(RefusalOptions{Store: openStore(t, t.TempDir()), Clock: (&ticking{now: noon}).Now, Burst: 1})
	incomplete := func(id string) bool {
		page, err := r.Of(context.Background(), id, eventstore.EndRevision, 5)
		if err != nil {
			t.Fatal(err)
		}
		return page.Incomplete
	}
	r.Record(context.Background(), aRefusal("1", "ana"))
	if incomplete("1") {
		t.Error("nothing was left out")
	}
	r.Record(context.Background(), aRefusal("1", "ana"))
	if !incomplete("1") || incomplete("2") {
		t.Error("one was left out, of order 1")
	}
	for i := range mostLeft + 1 {
		r.Record(context.Background(), aRefusal(fmt.Sprint("o", i), "ana"))
	}
	if !incomplete("1") || !incomplete("2") || r.left != nil {
		t.Error("nobody can tell of which orders")
	}
}
