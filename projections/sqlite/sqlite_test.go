package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/fts5"
)

func TestConformance(t *testing.T) {
	projectionstest.Run(t, projectionstest.Store{Open: func(t testing.TB) projections.Backend {
		return sqlite.NewBackend(t.TempDir(), sqlite.Options{})
	}})
}

// TestOneReader: questions wait for the only connection, and a caller that gives
// up is not kept.
func TestOneReader(t *testing.T) {
	projectionstest.Run(t, projectionstest.Store{Open: func(t testing.TB) projections.Backend {
		return sqlite.NewBackend(t.TempDir(), sqlite.Options{Readers: 1})
	}})
}

func openIn(t *testing.T, dir string) projectionstest.Sink {
	t.Helper()
	sink, err := sqlite.NewBackend(dir, sqlite.Options{}).Open(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	return sink.(projectionstest.Sink)
}

func fileIn(dir string) string { return filepath.Join(dir, "views", "orders-1.db") }

// change runs SQL on the file of generation 1, as another program would.
func change(t *testing.T, dir, sql string) {
	t.Helper()
	conn, err := sqlite3.Open(fileIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := errors.Join(fts5.Register(conn), conn.Exec(sql)); err != nil {
		t.Fatal(err)
	}
}

// TestForeignWriter: another program changes the file between two batches, and
// what it left is what counts.
func TestForeignWriter(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	docs := projectionstest.Documents(1, 3)
	for i := range docs {
		docs[i].Revision = 5
	}
	write := func(first int64) []projections.Result {
		t.Helper()
		var batch projections.Batch
		for _, doc := range docs {
			batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, first))
		}
		outcomes, err := s.Write(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		var results []projections.Result
		for _, o := range outcomes {
			results = append(results, o.Result)
		}
		return results
	}
	orders := func(want int64) {
		t.Helper()
		page, err := s.Orders(t.Context(), query.Question{Sort: query.Sort{By: query.ByPlacedAt}, Limit: 10, Facets: []string{"status"}})
		if err != nil || page.Total != want || int64(len(page.Items)) != want {
			t.Fatalf("total %d, %d items, %v; want %d", page.Total, len(page.Items), err, want)
		}
	}
	write(0)
	orders(3)

	change(t, dir, `UPDATE orders SET revision = 9 WHERE id = '`+docs[0].ID+`'; UPDATE orders SET revision = 2 WHERE id = '`+docs[1].ID+`'`)
	if got := write(3); got[0] != projections.Already || got[1] != projections.Applied || got[2] != projections.Already {
		t.Errorf("results %v", got)
	}
	orders(3)

	change(t, dir, `DELETE FROM orders; DELETE FROM docs; DELETE FROM shapes; DELETE FROM groupsets; DELETE FROM sums;
		DELETE FROM methods; DELETE FROM products; DELETE FROM customers; DELETE FROM skus; DELETE FROM fts`)
	orders(0)
	if got := write(1); got[0] != projections.Gap {
		t.Errorf("results %v", got)
	}
	write(0)
	orders(3)
	stats, err := s.Stats(t.Context(), query.StatsQuestion{})
	counted := int64(0)
	for _, c := range stats.Currencies {
		counted += c.Orders
	}
	if err != nil || counted != 3 {
		t.Errorf("%d orders counted, %v", counted, err)
	}
}

// TestFilesThatCannotBeUsed: each is refused with what to do.
func TestFilesThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"newer":   {func(t *testing.T, dir string) { change(t, dir, `PRAGMA user_version = 99`) }, "start the docket that wrote it, or a newer one"},
		"foreign": {func(t *testing.T, dir string) { change(t, dir, `PRAGMA user_version = 0`) }, "not a file of docket's views"},
		"another generation": {func(t *testing.T, dir string) {
			change(t, dir, `UPDATE meta SET value = 2 WHERE key = 'generation'`)
		}, "holds generation 2"},
		"not a database": {func(t *testing.T, dir string) {
			if err := os.WriteFile(fileIn(dir), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "can be made again from the log"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := openIn(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, dir)
			_, err := sqlite.NewBackend(dir, sqlite.Options{}).Open(t.Context(), 1)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("open: %v; want %q", err, c.want)
			}
		})
	}
}

func TestDropLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	b := sqlite.NewBackend(dir, sqlite.Options{})
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} { // as after a crash
		if err := os.WriteFile(fileIn(dir)+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(fileIn(dir)))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestCancelled: a caller that gave up gets its own error, and the connection
// serves the next one.
func TestCancelled(t *testing.T) {
	s := openIn(t, t.TempDir())
	doc := projectionstest.Documents(1, 1)[0]
	batch := projections.Batch{Changes: []projections.Change{projectionstest.ChangeTo(doc, 0)}}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // more often than there are connections
		if _, err := s.Stats(cancelled, query.StatsQuestion{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("stats: %v", err)
		}
		if _, err := s.Write(cancelled, batch); !errors.Is(err, context.Canceled) {
			t.Fatalf("write: %v", err)
		}
	}
	if _, ok, err := s.Order(t.Context(), doc.ID); ok || err != nil {
		t.Fatalf("a cancelled write left the order: %v, %v", ok, err)
	}
	if outcomes, err := s.Write(t.Context(), batch); err != nil || outcomes[0].Result != projections.Applied {
		t.Fatalf("write: %v, %v", outcomes, err)
	}
}
