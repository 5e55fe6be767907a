// Command bench measures the import of Olist against what the same machine does
// in the same run without docket's rules: appending the same events to the same
// store, and inserting the same documents in bulk; and a full reconciliation
// against a plain fold of the same log. It prints ratios; absolute times on
// shared machines mean little.
//
//	go run ./bench -data DIR [-json]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/docket-orders/docket/eventstore"
	eventsqlite "github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	viewsqlite "github.com/docket-orders/docket/projections/sqlite"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
	"github.com/ncruces/go-sqlite3"
)

// writers append at the same time, as many as the import has commands in
// flight.
const writers = 128

// batch is how many documents the bulk insert writes in one transaction.
const batch = 2000

func main() {
	data := flag.String("data", "../shared/data", "folder with the Olist files")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if err := run(context.Background(), *data, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// report of one run.
type report struct {
	Machine          string  `json:"machine"`
	Orders           int     `json:"orders"`
	Events           int     `json:"events"`
	ImportSeconds    float64 `json:"importSeconds"` // start of the program to caught-up views
	ImportPeakMB     float64 `json:"importPeakMB"`  // resident
	LogBytesPerEvent float64 `json:"logBytesPerEvent"`
	ViewBytesPerDoc  float64 `json:"viewBytesPerDocument"`
	AppendSeconds    float64 `json:"appendSeconds"` // same events, same appends, 128 writers
	InsertSeconds    float64 `json:"insertSeconds"` // same documents into the same schema
	PlainSeconds     float64 `json:"plainSeconds"`  // same documents into a table (id, doc)
	// Ratio is import over append plus insert; the goal is at most 4.
	Ratio float64 `json:"ratio"`
	// RatioPlain is import over append plus plain insert.
	RatioPlain float64 `json:"ratioPlain"`

	Reconcile reconciled `json:"reconcile"`
}

func run(ctx context.Context, data string, asJSON bool) error {
	dir, err := os.MkdirTemp("", "docket-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := report{Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())}

	docket, imported := filepath.Join(dir, "docket"), filepath.Join(dir, "imported")
	if err := importOlist(docket, data, imported, &r); err != nil {
		return err
	}
	if r.Reconcile, err = reconcileAll(ctx, docket, imported); err != nil {
		return err
	}
	appends, err := readAppends(ctx, imported, &r)
	if err != nil {
		return err
	}
	changes, err := readDocuments(ctx, imported)
	if err != nil {
		return err
	}
	r.Orders = len(changes)
	r.LogBytesPerEvent = size(filepath.Join(imported, "events.db")) / float64(r.Events)
	r.ViewBytesPerDoc = size(filepath.Join(imported, "views", "orders-1.db")) / float64(r.Orders)

	if r.AppendSeconds, err = timed(func() error { return appendAll(ctx, filepath.Join(dir, "appended"), appends) }); err != nil {
		return err
	}
	if r.InsertSeconds, err = timed(func() error { return insertAll(ctx, filepath.Join(dir, "inserted"), changes) }); err != nil {
		return err
	}
	if r.PlainSeconds, err = timed(func() error { return insertPlain(filepath.Join(dir, "plain.db"), changes) }); err != nil {
		return err
	}
	r.Ratio = r.ImportSeconds / (r.AppendSeconds + r.InsertSeconds)
	r.RatioPlain = r.ImportSeconds / (r.AppendSeconds + r.PlainSeconds)
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf(`%s
%d orders, %d events

import olist, process start to caught-up views   %7.1f s   peak %.0f MB resident
append the same events, %d writers              %7.1f s
insert the same documents, same schema           %7.1f s   (into a plain table: %.1f s)

import / (append + insert)                       %7.2f     goal: at most 4
import / (append + plain insert)                 %7.2f
log %.0f bytes per event, views %.0f bytes per document

reconcile everything, process start to report    %7.1f s   peak %.0f MB resident
read and fold the same log, one goroutine        %7.1f s
reconcile / fold                                 %7.2f     goal: at most 3 (median of %d pairs)
`, r.Machine, r.Orders, r.Events, r.ImportSeconds, r.ImportPeakMB, writers, r.AppendSeconds, r.InsertSeconds, r.PlainSeconds,
		r.Ratio, r.RatioPlain, r.LogBytesPerEvent, r.ViewBytesPerDoc,
		r.Reconcile.Seconds, r.Reconcile.PeakMB, r.Reconcile.FoldSeconds, r.Reconcile.Ratio, rounds)
	return nil
}

// importOlist runs the real program.
func importOlist(docket, data, into string, r *report) error {
	build := exec.Command("go", "build", "-o", docket, "github.com/docket-orders/docket/cmd/docket")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build docket: %w\n%s", err, out)
	}
	var err error
	cmd := exec.Command(docket, "import", "olist", "--dir", data, "--data", into)
	cmd.Stderr = os.Stderr
	r.ImportSeconds, err = timed(cmd.Run)
	if err != nil {
		return fmt.Errorf("docket import olist: %w", err)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.ImportPeakMB = float64(usage.Maxrss) / 1024
	}
	return nil
}

// appended is one append of the import, as it was.
type appended struct {
	stream string
	events []eventstore.Event
}

// readAppends cuts the log into the appends that made it: here, whole streams.
func readAppends(ctx context.Context, dir string, r *report) ([]appended, error) {
	store, err := eventsqlite.OpenReadOnly(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	var out []appended
	for rec, err := range store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-"}}, 0) {
		if err != nil {
			return nil, err
		}
		if rec.Revision == 0 {
			out = append(out, appended{stream: rec.Stream})
		}
		last := &out[len(out)-1]
		if last.stream != rec.Stream {
			return nil, fmt.Errorf("stream %s is not in one piece", rec.Stream)
		}
		last.events = append(last.events, rec.Event)
		r.Events++
	}
	return out, nil
}

// readDocuments takes the final documents out of the imported views.
func readDocuments(ctx context.Context, dir string) ([]projections.Change, error) {
	sink, err := viewsqlite.NewBackend(dir, viewsqlite.Options{}).Open(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer sink.Close()
	var changes []projections.Change
	q := query.Question{Limit: query.MaxLimit, Sort: query.Sort{By: query.ByNumber}, WithoutTotal: true}
	for {
		page, err := sink.(query.Views).Orders(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, doc := range page.Items {
			changes = append(changes, change(doc))
		}
		if q.After = page.Next; q.After == nil {
			return changes, nil
		}
	}
}

func change(doc view.Order) projections.Change {
	return projections.Change{First: 0, Order: doc, Contribution: projections.Contributions(doc), Words: projections.OrderWords(doc)}
}

func appendAll(ctx context.Context, dir string, appends []appended) error {
	store, err := eventsqlite.Open(ctx, dir, eventsqlite.Options{})
	if err != nil {
		return err
	}
	work, fail := make(chan appended), make(chan error, writers)
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for a := range work {
				if _, err := store.Append(ctx, a.stream, eventstore.NoStream, a.events); err != nil {
					fail <- err
					return
				}
			}
		})
	}
	for _, a := range appends {
		select {
		case work <- a:
		case err := <-fail:
			return err
		}
	}
	close(work)
	wg.Wait()
	return store.Close()
}

func insertAll(ctx context.Context, dir string, changes []projections.Change) error {
	sink, err := viewsqlite.NewBackend(dir, viewsqlite.Options{}).Open(ctx, 1)
	if err != nil {
		return err
	}
	for len(changes) > 0 {
		n := min(batch, len(changes))
		if _, err := sink.Write(ctx, projections.Batch{Changes: changes[:n]}); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return sink.Close()
}

func insertPlain(file string, changes []projections.Change) error {
	db, err := sqlite3.Open(file)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Exec(`PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE orders (id TEXT PRIMARY KEY, doc BLOB)`); err != nil {
		return err
	}
	insert, _, err := db.Prepare(`INSERT INTO orders VALUES (?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for len(changes) > 0 {
		n := min(batch, len(changes))
		if err := db.Exec(`BEGIN`); err != nil {
			return err
		}
		for _, c := range changes[:n] {
			doc, err := json.Marshal(c.Order)
			if err != nil {
				return err
			}
			if err := insert.BindText(1, c.Order.ID); err != nil {
				return err
			}
			if err := insert.BindBlob(2, doc); err != nil {
				return err
			}
			if err := insert.Exec(); err != nil {
				return err
			}
		}
		if err := db.Exec(`COMMIT`); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return nil
}

func timed(do func() error) (float64, error) {
	start := time.Now()
	err := do()
	return time.Since(start).Seconds(), err
}

func size(file string) float64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return float64(info.Size())
}
