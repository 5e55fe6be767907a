package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
)

const testEvery = 10

func snapshotEvery10(o *Options) { o.SnapshotEvery = testEvery }

// longOrder has 25 events and its snapshot at revision 19.
func longOrder(t *testing.T, w *world, id string) Result {
	t.Helper()
	o := w.orders(snapshotEvery10)
	r := must(t, o, id, place(), key("place "+id))
	for i := range 24 {
		r = must(t, o, id, tags(fmt.Sprint("t", i)), key(fmt.Sprint(id, i)))
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if revision, _, ok := w.snapshot(t, id); !ok || revision != 19 {
		t.Fatalf("snapshot at %d, %v", revision, ok)
	}
	return r
}

func (w *world) snapshot(t *testing.T, id string) (int64, []byte, bool) {
	t.Helper()
	revision, data, ok, err := w.snapshots.Load(ctx(), "acme.order-"+id)
	if err != nil {
		t.Fatal(err)
	}
	return revision, bytes.Clone(data), ok
}

func (w *world) plant(t *testing.T, id string, revision int64, data []byte) {
	t.Helper()
	if err := w.snapshots.Save(ctx(), "acme.order-"+id, revision, data); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotAndTail(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		last := longOrder(t, w, "1")
		w.restart()
		o := w.orders(snapshotEvery10)
		s, revision, err := o.Load(ctx(), "1")
		if err != nil || revision != 24 || !reflect.DeepEqual(s, last.State) {
			t.Errorf("at %d, %v:\n%+v\nwant\n%+v", revision, err, s, last.State)
		}
		if m := o.Metrics(); m.SnapshotHits != 1 || m.SnapshotMisses != 0 {
			t.Errorf("%+v", m)
		}
		// Commands before the snapshot are remembered by it.
		for _, i := range []int{0, 12, 23} {
			r := must(t, o, "1", tags(fmt.Sprint("t", i)), key(fmt.Sprint("1", i)))
			if !r.Replayed || r.Revision != eventstore.Revision(i+1) || r.State.Tags[0] != fmt.Sprint("t", i) {
				t.Errorf("%d: %+v", i, r)
			}
		}
		// A short order never asks for one.
		must(t, o, "2", place(), key("2"))
		if m := o.Metrics(); m.SnapshotHits+m.SnapshotMisses != 1 {
			t.Errorf("%+v", m)
		}
	})
}

// TestUselessSnapshots: whatever is stored as a snapshot, the answer is right.
func TestUselessSnapshots(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		last := longOrder(t, w, "1")
		longOrder(t, w, "2")
		_, good, _ := w.snapshot(t, "1")
		_, others, _ := w.snapshot(t, "2")
		a, err := decodeSnapshot[order.State](order.StateSchema, "acme.order-1", good)
		if err != nil {
			t.Fatal(err)
		}
		encoded := func(schema uint32, change func(*aggregate[order.State])) []byte {
			t.Helper()
			b := a
			change(&b)
			data, err := encodeSnapshot(schema, "acme.order-1", b)
			if err != nil {
				t.Fatal(err)
			}
			return data
		}
		flipped := bytes.Clone(good)
		flipped[len(flipped)/2] ^= 1
		for name, c := range map[string]struct {
			revision int64
			data     []byte
		}{
			"empty":           {19, nil},
			"garbage":         {19, []byte("DKS1 this is not a snapshot at all, but it is long enough to be one")},
			"cut":             {19, good[:len(good)-9]},
			"flipped bit":     {19, flipped},
			"other schema":    {19, encoded(order.StateSchema+1, func(*aggregate[order.State]) {})},
			"other stream":    {19, others},
			"other revision":  {18, good},
			"newer than log":  {190, encoded(order.StateSchema, func(a *aggregate[order.State]) { a.revision = 190 })},
			"another history": {19, encoded(order.StateSchema, func(a *aggregate[order.State]) { a.lastID[0] ^= 1 })},
		} {
			w.plant(t, "1", c.revision, c.data)
			o := w.orders(snapshotEvery10)
			s, revision, err := o.Load(ctx(), "1")
			if err != nil || revision != 24 || !reflect.DeepEqual(s, last.State) {
				t.Errorf("%s: at %d, %v: %+v", name, revision, err, s)
			}
			if m := o.Metrics(); m.SnapshotMisses != 1 || m.SnapshotHits != 0 {
				t.Errorf("%s: %+v", name, m)
			}
			// The load leaves a good one behind.
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			if revision, _, ok := w.snapshot(t, "1"); !ok || revision != 24 {
				t.Errorf("%s: then a snapshot at %d, %v", name, revision, ok)
			}
		}
	})
}

func TestAuditFindsAWrongSnapshot(t *testing.T) {
	onEveryStore(t, func(t *testing.T, w *world) {
		last := longOrder(t, w, "1")
		_, good, _ := w.snapshot(t, "1")
		audited := func(o *Options) { o.SnapshotEvery, o.AuditEvery = testEvery, 1 }

		o := w.orders(audited)
		if s, _, err := o.Load(ctx(), "1"); err != nil || !reflect.DeepEqual(s, last.State) {
			t.Errorf("%+v, %v", s, err)
		}
		if m := o.Metrics(); m.Audits != 1 || m.AuditDifferences != 0 || m.SnapshotHits != 1 {
			t.Errorf("a good snapshot: %+v", m)
		}

		a, err := decodeSnapshot[order.State](order.StateSchema, "acme.order-1", good)
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(*aggregate[order.State]){
			"state":    func(a *aggregate[order.State]) { a.state.Shipping = eur("99.00") },
			"commands": func(a *aggregate[order.State]) { a.commands = a.commands.clone()[handledSize:] },
		} {
			wrong := a
			change(&wrong)
			data, err := encodeSnapshot(order.StateSchema, "acme.order-1", wrong)
			if err != nil {
				t.Fatal(err)
			}
			w.plant(t, "1", 19, data)
			o := w.orders(audited)
			if s, _, err := o.Load(ctx(), "1"); err != nil || !reflect.DeepEqual(s, last.State) {
				t.Errorf("%s: %+v, %v", name, s, err)
			}
			if m := o.Metrics(); m.Audits != 1 || m.AuditDifferences != 1 || m.SnapshotHits != 0 {
				t.Errorf("%s: %+v", name, m)
			}
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			if revision, _, ok := w.snapshot(t, "1"); !ok || revision != 24 {
				t.Errorf("%s: then a snapshot at %d, %v", name, revision, ok)
			}
		}
	})
}

func TestAuditsAreSampled(t *testing.T) {
	w := onReference(t)
	longOrder(t, w, "1")
	o := w.orders(func(o *Options) { o.SnapshotEvery, o.AuditEvery = testEvery, 4 })
	for range 8 {
		o.loop.cache.drop("acme.order-1")
		if _, _, err := o.Load(ctx(), "1"); err != nil {
			t.Fatal(err)
		}
	}
	if m := o.Metrics(); m.Audits != 2 || m.SnapshotHits != 8 {
		t.Errorf("%+v", m)
	}
}

// broken keeps nothing.
type broken struct{}

var errBroken = errors.New("disk on fire")

func (broken) Load(context.Context, string) (int64, []byte, bool, error) {
	return 0, nil, false, errBroken
}
func (broken) Save(context.Context, string, int64, []byte) error { return errBroken }
func (broken) Drop(context.Context, string) error                { return errBroken }

func TestBrokenSnapshotsDoNotMatter(t *testing.T) {
	for name, s := range map[string]Snapshots{"broken": broken{}, "none": nil} {
		t.Run(name, func(t *testing.T) {
			w := onReference(t)
			w.snapshots = s
			o := w.orders(snapshotEvery10)
			must(t, o, "1", place(), key("place"))
			for i := range 30 {
				o.loop.cache.drop("acme.order-1")
				must(t, o, "1", tags(fmt.Sprint("t", i)), key(fmt.Sprint(i)))
			}
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			if m := o.Metrics(); (m.SnapshotFailures > 0) != (s != nil) || m.SnapshotsWritten != 0 {
				t.Errorf("%+v", m)
			}
			must(t, o, "1", tags("after close"), key("after close"))
		})
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	data, err := encodeSnapshot(1, "s", aggregate[order.State]{revision: 3, commands: memory{}.add(key("a").CommandID, "f", 3)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		// Also past the checksum, which keeps a fuzzer out.
		if _, err := decodeSnapshot[order.State](1, "s", data); err == nil {
			return
		}
		if len(data) < 4 {
			return
		}
		body := data[:len(data)-4]
		sum := snapshotSum("s", body)
		_, _ = decodeSnapshot[order.State](1, "s", append(bytes.Clone(body), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)))
	})
}
