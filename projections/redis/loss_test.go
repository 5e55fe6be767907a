package redis_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/redis"
	"github.com/docket-orders/docket/query"
)

// generation opens generation 1, and writes some orders that are not there.
func generation(t *testing.T, b *redis.Backend, orders int) *redis.Store {
	t.Helper()
	sink, err := b.Open(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	s := sink.(*redis.Store)
	t.Cleanup(func() { s.Close() })
	if orders > 0 {
		write(t, s, orders)
	}
	return s
}

func batchOf(orders int) (batch projections.Batch) {
	for _, doc := range projectionstest.Documents(50, orders) {
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
	}
	return batch
}

func write(t *testing.T, s *redis.Store, orders int) {
	t.Helper()
	outcomes, err := s.Write(t.Context(), batchOf(orders))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Result > projections.Already {
			t.Fatalf("change %d: %+v", i, o)
		}
	}
}

// calls are everything that reads or writes every bucket.
func calls(ctx context.Context, s *redis.Store, orders int) map[string]func() error {
	batch := batchOf(orders)
	var ids []string
	for _, c := range batch.Changes {
		ids = append(ids, c.Order.ID)
	}
	return map[string]func() error{
		"Write":     func() error { _, err := s.Write(ctx, batch); return err },
		"Documents": func() error { _, err := s.Documents(ctx, ids); return err },
		"Inspect":   func() error { _, err := s.Inspect(ctx, batch.Changes); return err },
		"IDs":       func() error { _, err := s.IDs(ctx, "", 10); return err },
		"Figures": func() error {
			_, err := s.Figures(ctx, func(projections.Figure) error { return nil })
			return err
		},
		"Miscounted": func() error {
			_, err := s.Miscounted(ctx, func(_, _ projections.Figure) error { return nil })
			return err
		},
		"Recount": func() error { _, err := s.Recount(ctx); return err },
		"Sound":   func() error { _, err := s.Sound(ctx); return err },
		"Stats":   func() error { _, err := s.Stats(ctx, query.StatsQuestion{Top: 3}); return err },
		"Days":    func() error { _, err := s.Stats(ctx, query.StatsQuestion{From: "2018-01-01"}); return err },
	}
}

// control are the calls of the control record.
func control(ctx context.Context, s *redis.Store) map[string]func() error {
	return map[string]func() error{
		"Checkpoints": func() error { _, err := s.Checkpoints(ctx); return err },
		"Claim":       func() error { _, err := s.Claim(ctx, 1, "me", 0); return err },
		"Beat":        func() error { _, err := s.Beat(ctx, []projections.Checkpoint{{Lane: 1}}); return err },
		"Parked":      func() error { _, err := s.Parked(ctx); return err },
		"Refresh":     func() error { return s.Refresh(ctx) },
		"Settle":      func() error { _, err := s.Write(ctx, projections.Batch{Release: []string{"x"}}); return err },
	}
}

func allFail(t *testing.T, calls map[string]func() error, want error) {
	t.Helper()
	for name, call := range calls {
		if err := call(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestFlushed: nothing is answered from a Redis that was flushed, and nothing
// written; what is made then is another generation under the number.
func TestFlushed(t *testing.T) {
	server := testservers.StartRedis(t)
	b := open(t, "redis://"+server.Address, "")
	s := generation(t, b, 300)
	server.Flush()
	allFail(t, calls(t.Context(), s, 300), projections.ErrLost)
	allFail(t, control(t.Context(), s), projections.ErrLost)
	if _, _, err := s.Customer(t.Context(), "c1"); !errors.Is(err, projections.ErrLost) {
		t.Errorf("customer: %v", err)
	}
	if _, err := s.CustomerOrders(t.Context(), "c1", 5, nil); !errors.Is(err, projections.ErrLost) {
		t.Errorf("a customer's orders: %v", err)
	}
	if keys, err := server.Do("DBSIZE"); err != nil || keys != int64(0) {
		t.Errorf("after the calls there are %v keys, %v", keys, err)
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	again := generation(t, b, 100)
	allFail(t, calls(t.Context(), s, 300), projections.ErrLost)
	allFail(t, control(t.Context(), s), projections.ErrLost)
	if ids, err := again.IDs(t.Context(), "", 1000); err != nil || len(ids) != 100 {
		t.Errorf("%d orders, %v", len(ids), err)
	}
}

// TestTwoProcessesAfterALoss: what one has made again, the other does not drop.
func TestTwoProcessesAfterALoss(t *testing.T) {
	server := testservers.StartRedis(t)
	a, b := open(t, "redis://"+server.Address, ""), open(t, "redis://"+server.Address, "")
	generation(t, a, 50)
	late := generation(t, b, 0)
	server.Flush()
	made := generation(t, a, 50)
	allFail(t, control(t.Context(), late), projections.ErrLost)
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*redis.Store{made, generation(t, b, 0)} {
		if ids, err := s.IDs(t.Context(), "", 100); err != nil || len(ids) != 50 {
			t.Errorf("%d orders, %v", len(ids), err)
		}
	}
	// What is dropped for another reason is dropped.
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	allFail(t, control(t.Context(), made), projections.ErrLost)
	if keys, err := server.Do("DBSIZE"); err != nil || keys != int64(0) {
		t.Errorf("%v keys are left, %v", keys, err)
	}
}

// TestOneMasterLost: whichever of three came back empty, the generation is lost,
// is not mended, and can be made again.
func TestOneMasterLost(t *testing.T) {
	cluster := testservers.StartRedisCluster(t)
	for n, node := range cluster.Nodes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			ns := eventstore.Namespace(testservers.Namespace(t))
			b, other := open(t, cluster.URL(), ns), open(t, cluster.URL(), ns)
			s := generation(t, b, 1000)
			node.Flush()
			allFail(t, calls(t.Context(), s, 1000), projections.ErrLost)
			opened, err := other.Open(t.Context(), 1)
			if err == nil { // the registry was there, and it was made anew
				_, err = opened.Checkpoints(t.Context())
			}
			if registry, _ := other.Generations(t.Context()); err == nil && len(registry) != 1 {
				t.Errorf("opened, and there are generations %v", registry)
			}
			if err != nil && !errors.Is(err, projections.ErrLost) {
				t.Fatal(err)
			}
			if err := b.Drop(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			s = generation(t, b, 1000)
			for name, call := range calls(t.Context(), s, 1000) {
				if err := call(); err != nil {
					t.Errorf("%s, made again: %v", name, err)
				}
			}
			if err := b.Drop(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOneKeyLost: evicted, deleted or of another type, a key of a bucket is missed
// by whoever comes to it, and nothing is written beside it.
func TestOneKeyLost(t *testing.T) {
	address := "redis://" + testservers.Redis(t)
	ns := testservers.Namespace(t)
	b, c := open(t, address, eventstore.Namespace(ns)), client(t, address)
	deleted := func(key string) error { return c.Del(t.Context(), key).Err() }
	other := func(key string) error { return c.Set(t.Context(), key, "garbage", 0).Err() }
	foreign := func(key string) error {
		return errors.Join(deleted(key), c.HSet(t.Context(), key, "!docket", "of another").Err())
	}
	for name, spoil := range map[string]func(key string) error{
		"docs": deleted, "ids": other, "sums": foreign, "days": other, "products": deleted,
	} {
		t.Run(name, func(t *testing.T) {
			s := generation(t, b, 0)
			if err := spoil(bucketKey(ns, 7, name)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write(t.Context(), batchOf(2000)); !errors.Is(err, projections.ErrLost) {
				t.Errorf("write: %v", err)
			}
			if _, err := s.Sound(t.Context()); !errors.Is(err, projections.ErrLost) {
				t.Errorf("sound: %v", err)
			}
			if _, err := b.Open(t.Context(), 1); !errors.Is(err, projections.ErrLost) {
				t.Errorf("open: %v", err)
			}
			if err := errors.Join(s.Close(), b.Drop(t.Context(), 1)); err != nil {
				t.Fatal(err)
			}
		})
	}
}
