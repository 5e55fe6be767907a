package reconcile

import (
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// Rows of parked orders that somebody else wrote are found and removed.
func TestForeignParkedRows(t *testing.T) {
	w := filled(t, 5)
	c := w.other()
	park := func(c *sqlite3.Conn, id string) {
		w.tamper(c, `INSERT INTO parked VALUES (?1, 3, '7', 'because')`, id)
	}
	park(c, "special")
	park(c, "ghost")
	report := w.run(Request{})
	if report.Verdict != Drift || report.Counts[Parked] != 2 || report.found() != 2 {
		t.Fatal(text(t, report))
	}
	for _, f := range report.Findings {
		if !strings.Contains(f.Detail, "somebody else") {
			t.Errorf("%+v", f)
		}
	}
	only(t, w.run(Request{OrderID: "special"}), Parked, "special")
	if report = w.run(Request{OrderID: "special", Repair: true}); report.Repaired != 1 {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{OrderID: "special"}))
	only(t, w.run(Request{}), Parked, "ghost")

	// After a restart docket believes such a row.
	park(c, "special")
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	if report = w.run(Request{Repair: true}); report.Counts[Parked] != 2 || report.Repaired != report.found() {
		t.Fatal(text(t, report))
	}
	wantClean(t, w.run(Request{}))
}
