package projections_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/projections"
)

// TestReprojectThatFails: the caller hears of it, and the events go on.
func TestReprojectThatFails(t *testing.T) {
	for name, sql := range map[string]string{
		"text without a structure": `UPDATE fts_data SET block = zeroblob(10) WHERE id = 10`,
		"rows that cannot go":      `CREATE TRIGGER stuck BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'stuck'); END`,
		"a table less":             `DROP TABLE skus`,
	} {
		t.Run(name, func(t *testing.T) {
			w, files, damage := onSQLite(t)
			m, _ := w.run(files)
			w.appendTo("o", placed)
			w.must(m.Wait(w.ctx, "o", 0))
			damage(`INSERT INTO parked VALUES ('o', 1, '7', 'as it was')`)
			damage(sql)
			for range 2 {
				if err := m.Reproject(w.ctx, "o"); err != nil && !errors.Is(err, projections.ErrDamaged) {
					t.Errorf("reproject: %v", err)
				} else if err == nil && name != "text without a structure" {
					t.Error("reprojected")
				}
			}
			w.appendTo("o", order.Confirmed{At: later(1)}) // writes neither words nor SKUs
			w.must(m.Wait(w.ctx, "o", 1))
		})
	}
}

// TestDamageShowsInStatus: what waiting does not cure says what does, and it
// does.
func TestDamageShowsInStatus(t *testing.T) {
	w, files, damage := onSQLite(t)
	m, _ := w.run(files)
	w.appendTo("o", placed)
	w.must(m.Wait(w.ctx, "o", 0))
	damage(`CREATE TRIGGER stuck BEFORE INSERT ON docs BEGIN SELECT RAISE(ABORT, 'stuck'); END`)
	w.appendTo("p", placed)
	w.until(func() bool {
		s, err := m.Status(w.ctx)
		w.must(err)
		return strings.Contains(s.Generations[0].Problem, "docket projections rebuild orders")
	})
	w.must(m.Rebuild(w.ctx, nil))
	w.must(m.Wait(w.ctx, "p", 0))
	w.checkKept(m)
}

// TestGhostsAreReleased: nothing can come of an order that has neither events
// nor a document.
func TestGhostsAreReleased(t *testing.T) {
	w, files, damage := onSQLite(t)
	m, stop := w.run(files)
	w.appendTo("o", placed)
	w.must(m.Wait(w.ctx, "o", 0))
	parked := func() int {
		sink, _ := m.Live()
		list, err := sink.Parked(w.ctx)
		w.must(err)
		all, err := m.Parked(w.ctx)
		w.must(err)
		return max(len(list), len(all))
	}
	const ghosts = `INSERT INTO parked VALUES ('ghost', 3, '7', 'none'), ('o', 9, 'no position', 'none'), ('other', -1, '', '')`
	for _, release := range []func(id string) error{
		func(id string) error { return m.Retry(w.ctx, id) },
		func(id string) error { return m.Reproject(w.ctx, id) },
	} {
		for _, known := range []bool{false, true} {
			damage(ghosts)
			if known {
				w.must(stop())
				m, stop = w.run(files)
				w.must(m.CaughtUp(w.ctx))
			}
			for _, id := range []string{"ghost", "o", "other"} {
				w.must(release(id))
			}
			if n := parked(); n > 0 {
				t.Errorf("known %v: %d are parked", known, n)
			}
		}
	}
	w.checkKept(m)
}

// TestReprojectOfOddIDs removes what no stream can be of.
func TestReprojectOfOddIDs(t *testing.T) {
	w, files, damage := onSQLite(t)
	m, _ := w.run(files)
	w.appendTo("o", placed)
	w.must(m.Wait(w.ctx, "o", 0))
	for _, id := range []string{"''", "CAST(x'6fff00' AS TEXT)", "'a b'"} {
		damage(`INSERT INTO orders SELECT 7777, ` + id + `, revision, shape, placed, updated, delivered, total, number, customer, words FROM orders WHERE id = 'o'`)
		sink, _ := m.Live()
		ids, err := sink.IDs(w.ctx, "", 10)
		w.must(err)
		if len(ids) != 2 {
			t.Errorf("ids %q", ids)
		}
		for _, id := range ids {
			w.must(m.Reproject(w.ctx, id))
		}
		_, err = sink.Recount(w.ctx)
		w.must(err)
		w.checkKept(m)
	}
}

// TestStartWithDamagedLanes: the views are made again.
func TestStartWithDamagedLanes(t *testing.T) {
	for name, sql := range map[string]string{
		"none":       `DELETE FROM checkpoints`,
		"one less":   `DELETE FROM checkpoints WHERE lane = 7`,
		"lane 99":    `INSERT INTO checkpoints (lane) VALUES (99)`,
		"lane -1":    `UPDATE checkpoints SET lane = -1 WHERE lane = 0`,
		"a position": `UPDATE checkpoints SET position = 'X' WHERE lane = 5`,
	} {
		t.Run(name, func(t *testing.T) {
			w, files, damage := onSQLite(t)
			m, stop := w.run(files)
			w.appendTo("o", placed)
			w.must(m.Wait(w.ctx, "o", 0))
			w.must(stop())
			damage(sql)
			w.appendTo("o", order.Confirmed{At: later(1)})
			m, stop = w.run(files)
			if _, err := m.Status(w.ctx); err != nil {
				t.Errorf("status: %v", err)
			}
			w.must(m.Wait(w.ctx, "o", 1))
			w.checkKept(m)
			w.must(stop()) // writes where every lane is
			m, _ = w.run(files)
			sink, _ := m.Live()
			if wrong, err := sink.Sound(w.ctx); err != nil || len(wrong) > 0 {
				t.Errorf("%q, %v", wrong, err)
			}
		})
	}
}
