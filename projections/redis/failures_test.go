package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/view"

	goredis "github.com/redis/go-redis/v9"
)

// between fails the round trips that write orders, after those that write
// customers: before they reach the server, or when their answer is on its way.
type between struct {
	sha    string
	before atomic.Bool
	after  atomic.Bool
}

func (h *between) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (h *between) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (h *between) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		writes := slices.ContainsFunc(cmds, func(c goredis.Cmder) bool { return len(c.Args()) > 1 && c.Args()[1] == h.sha })
		fail := func() error {
			err := &net.OpError{Op: "read", Err: errors.New("connection is cut")}
			for _, c := range cmds {
				c.SetErr(err)
			}
			return err
		}
		if writes && h.before.Load() {
			return fail()
		}
		err := next(ctx, cmds)
		if writes && h.after.Load() {
			return fail()
		}
		return err
	}
}

// TestFailureBetweenTheWrites: customers are written and the orders are not, or
// nobody knows whether they are. A repeat leaves everything as if nothing had
// been, also when the orders have moved on.
func TestFailureBetweenTheWrites(t *testing.T) {
	address := "redis://" + testservers.Redis(t)
	b, err := redis.Open(address, redis.Options{
		Namespace: eventstore.Namespace(testservers.Namespace(t)), Guard: guard.Options{Attempts: 1, Failures: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	h := &between{sha: b.PutSHA()}
	b.AddHook(h)
	s := generation(t, b, 0)
	t.Cleanup(func() { b.Drop(context.WithoutCancel(t.Context()), 1) })
	// Once, so that the server knows the scripts.
	warm := projectionstest.Documents(60, 500)
	var first projections.Batch
	for _, doc := range warm {
		first.Changes = append(first.Changes, projectionstest.ChangeTo(doc, 0))
	}
	if _, err := s.Write(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for round, fails := range []*atomic.Bool{&h.before, &h.after, &h.before} {
		var batch projections.Batch
		for i, doc := range warm {
			doc.Revision += int64(10 * (round + 1))
			doc.Customer = view.Customer{ID: fmt.Sprint("c", (i+round)%40)}
			doc.Status = fmt.Sprint("s", round)
			batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
		}
		fails.Store(true)
		if _, err := s.Write(t.Context(), batch); !errors.Is(err, projections.ErrUnavailable) {
			t.Fatalf("write that is cut: %v", err)
		}
		fails.Store(false)
		outcomes, err := s.Write(t.Context(), batch)
		if err != nil || slices.ContainsFunc(outcomes, func(o projections.Outcome) bool { return o.Result > projections.Already }) {
			t.Fatalf("repeat: %v, %v", outcomes, err)
		}
		healthy(t, s, batch.Changes)
	}
}

// healthy expects that nothing differs from what the changes say.
func healthy(t *testing.T, s *redis.Store, want []projections.Change) {
	t.Helper()
	kept, err := s.Inspect(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range kept {
		if !k.Same {
			t.Fatalf("%s: %+v", want[i].Order.ID, k)
		}
	}
	_, err = s.Miscounted(t.Context(), func(kept, should projections.Figure) error {
		return fmt.Errorf("%+v should be %+v", kept, should)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOutages: a server that is gone, hangs or is full makes every call fail as an
// outage, and afterwards everything is as it was.
func TestOutages(t *testing.T) {
	server := testservers.StartRedis(t)
	b, err := redis.Open("redis://"+server.Address, redis.Options{Guard: guard.Options{Timeout: time.Second, Attempts: 1, Failures: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	s := generation(t, b, 200)
	fails := func(t *testing.T) {
		t.Helper()
		allFail(t, map[string]func() error{
			"Write": func() error { _, err := s.Write(t.Context(), batchOf(400)); return err },
			"Order": func() error { _, _, err := s.Order(t.Context(), "o0"); return err },
			"Claim": func() error { _, err := s.Claim(t.Context(), 1, "me", 0); return err },
			"Open":  func() error { _, err := b.Open(t.Context(), 1); return err },
		}, projections.ErrUnavailable)
	}
	answers := func(t *testing.T) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			if _, _, err := s.Order(t.Context(), "o0"); err == nil {
				break
			} else if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		healthy(t, s, batchOf(200).Changes)
	}
	t.Run("gone", func(t *testing.T) {
		server.Kill()
		fails(t)
		server.Restart()
		answers(t)
	})
	t.Run("hangs", func(t *testing.T) {
		server.Pause()
		fails(t)
		server.Resume()
		answers(t)
	})
	t.Run("full", func(t *testing.T) {
		if _, err := server.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(t.Context(), batchOf(400)); !errors.Is(err, projections.ErrUnavailable) {
			t.Errorf("write: %v", err)
		}
		if _, err := server.Do("CONFIG", "SET", "maxmemory", "0"); err != nil {
			t.Fatal(err)
		}
		answers(t)
		if ids, err := s.IDs(t.Context(), "", 1000); err != nil || len(ids) != 200 {
			t.Errorf("%d orders, %v", len(ids), err)
		}
	})
}

// TestBeyond64Bits: the order that would take a sum there is refused, the others
// are not, and sums near it are exact.
func TestBeyond64Bits(t *testing.T) {
	b := open(t, "redis://"+testservers.Redis(t), eventstore.Namespace(testservers.Namespace(t)))
	s := generation(t, b, 0)
	t.Cleanup(func() { b.Drop(context.WithoutCancel(t.Context()), 1) })
	var batch projections.Batch
	for i, doc := range projectionstest.Documents(61, 600) {
		doc.Customer, doc.Currency = view.Customer{ID: "rich"}, "EUR"
		doc.Lines, doc.Payments = nil, nil
		if i < 3 {
			doc.Totals.Grand = money.Minor(1<<62, "EUR")
		} else {
			doc.Totals = view.Totals{Grand: money.Minor(int64(i), "EUR")}
		}
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	outcomes, err := s.Write(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	var kept []projections.Change
	for i, o := range outcomes {
		if o.Result == projections.Applied {
			kept = append(kept, batch.Changes[i])
		} else if i >= 3 || o.Result != projections.Refused {
			t.Errorf("order %d: %+v", i, o)
		}
	}
	if len(kept) != 598 {
		t.Errorf("%d orders are kept", len(kept))
	}
	healthy(t, s, kept)
}
