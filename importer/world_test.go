package importer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/internal/logtest"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// world is a real log in a temporary folder with the write side before it.
type world struct {
	t     testing.TB
	store eventstore.Store
	importer.Direct
}

func newWorld(t testing.TB) *world {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	store, _, _ := logtest.Open(t, t.TempDir())
	orders := command.New(command.Options{Store: store, Logger: quiet})
	t.Cleanup(func() {
		if err := errors.Join(orders.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	return &world{t, store, importer.Direct{Orders: orders}}
}

// documents folds the whole log into order documents.
func (w *world) documents() map[string]view.Order {
	w.t.Helper()
	docs := map[string]view.Order{}
	orders := eventstore.Filter{Prefixes: []string{codec.Category + "-"}}
	for r, err := range w.store.ReadAll(context.Background(), eventstore.Start, eventstore.Forwards, orders, 0) {
		if err != nil {
			w.t.Fatal(err)
		}
		e, err := codec.Decode(r, "")
		if err != nil {
			w.t.Fatal(err)
		}
		docs[e.OrderID] = projections.Apply(docs[e.OrderID], e)
	}
	return docs
}

// comparable is the document without what depends on when it was written.
func comparable(t testing.TB, doc view.Order) string {
	doc.Position, doc.UpdatedAt = "", time.Time{}
	text, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantEqual(t testing.TB, want, got map[string]view.Order) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d orders, want %d", len(got), len(want))
	}
	for id := range want {
		if w, g := comparable(t, want[id]), comparable(t, got[id]); w != g {
			t.Fatalf("order %s is\n%s\nwant\n%s", id, g, w)
		}
	}
}

// cutOff is a target that dies after some adoptions, as a process does: some of
// what was under way is written, and nobody hears of it.
type cutOff struct {
	importer.Target
	left atomic.Int64
}

var errCutOff = errors.New("cut off")

func (c *cutOff) Adopt(ctx context.Context, id string, a order.Adopt, key string) (importer.Outcome, error) {
	switch left := c.left.Add(-1); {
	case left < -5:
		return importer.Outcome{}, errCutOff
	case left < 0:
		_, err := c.Target.Adopt(ctx, id, a, key)
		return importer.Outcome{}, errors.Join(errCutOff, err)
	}
	return c.Target.Adopt(ctx, id, a, key)
}

// silent is a target that nothing may reach.
type silent struct{ t *testing.T }

func (s silent) Adopt(_ context.Context, id string, _ order.Adopt, _ string) (importer.Outcome, error) {
	s.t.Errorf("order %s was sent", id)
	return importer.Outcome{}, nil
}

// write puts files into a new folder.
func write(t testing.TB, files map[string]string) string {
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
