package projectionstest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
	"github.com/docket-orders/docket/query"
)

// TestReference runs the suite on the reference, as a whole and as a store of
// one role.
func TestReference(t *testing.T) {
	again := func(_ testing.TB, b projections.Backend) projections.Backend { return b }
	for name, s := range map[string]projectionstest.Store{
		"both": {
			Open: func(testing.TB) projections.Backend { return projectionstest.NewReference() },
			Nudge: func(_ testing.TB, b projections.Backend, number int) {
				projectionstest.Nudge(b.(*projectionstest.Reference), number)
			},
		},
		"hot": {
			Open: func(testing.TB) projections.Backend {
				return projectionstest.HotOnly{Reference: projectionstest.NewReference()}
			},
			Answers: projectionstest.Hot,
			Nudge: func(_ testing.TB, b projections.Backend, number int) {
				projectionstest.Nudge(b.(projectionstest.HotOnly).Reference, number)
			},
		},
		"search": {
			Open: func(testing.TB) projections.Backend {
				return projectionstest.SearchOnly{Reference: projectionstest.NewReference()}
			},
			Answers: projectionstest.Search,
		},
	} {
		s.Late, s.Again, s.Questions = true, again, 60
		t.Run(name, func(t *testing.T) { projectionstest.Run(t, s) })
	}
}

// TestReferenceSize: a sink fits in 300 lines, what reconciliation asks of it in
// 120 more, what a difference asks in 40, and the answers to questions, of both
// roles, in 80.
func TestReferenceSize(t *testing.T) {
	for pattern, most := range map[string]int{"reference*.go": 300, "inspector*.go": 120, "prints*.go": 40, "answers*.go": 80} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(source, []byte("\n"))
		}
		if lines == 0 || lines > most {
			t.Errorf("%s: the reference has %d lines, an adapter should fit in %d", pattern, lines, most)
		}
	}
}

// TestInjectedFailures: what fails leaves what it says, and the same batch again
// ends where an undisturbed one does.
func TestInjectedFailures(t *testing.T) {
	ctx := t.Context()
	var batch projections.Batch
	ids := []string{}
	for _, doc := range projectionstest.Documents(1, 9) {
		batch.Changes = append(batch.Changes, projectionstest.ChangeTo(doc, 0))
		ids = append(ids, doc.ID)
	}
	batch.Checkpoints = []projections.Checkpoint{{Lane: 4, Position: eventstore.At64(9)}}
	outcome := func(inject func(*projectionstest.Reference), writes []error, applied []int) any {
		r := projectionstest.NewReference()
		sink, err := r.Open(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		inject(r)
		for i, want := range writes {
			if _, err := sink.Write(ctx, batch); !errors.Is(err, want) {
				t.Fatalf("write %d: %v, want %v", i, err, want)
			}
			docs, err := sink.Documents(ctx, ids)
			if err != nil || len(docs) != applied[i] {
				t.Fatalf("after write %d: %d documents, %v; want %d", i, len(docs), err, applied[i])
			}
			cps, err := sink.Checkpoints(ctx)
			if moved := cps[4].Position != eventstore.Start; err != nil || moved != (want == nil && applied[i] == len(ids)) {
				t.Fatalf("after write %d: checkpoint %+v, %v", i, cps[4], err)
			}
		}
		stats, err := sink.(query.Views).Stats(ctx, query.StatsQuestion{Top: 10})
		if err != nil {
			t.Fatal(err)
		}
		return stats
	}
	want := outcome(func(*projectionstest.Reference) {}, []error{nil}, []int{9})
	failed := projectionstest.ErrInjected
	for name, got := range map[string]any{
		"failing":  outcome(func(r *projectionstest.Reference) { r.FailWrites(2) }, []error{failed, failed, nil}, []int{0, 0, 9}),
		"breaking": outcome(func(r *projectionstest.Reference) { r.BreakWrites(2) }, []error{failed, failed, nil}, []int{6, 6, 9}),
	} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: stats are\n%+v\nwant\n%+v", name, got, want)
		}
	}
	outcome(func(r *projectionstest.Reference) { r.Refuse(ids[3], errors.New("no")) }, []error{nil, nil}, []int{8, 8})
}
