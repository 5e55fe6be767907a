package systemtest

import (
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	views "github.com/docket-orders/docket/projections/sqlite"
)

// step is an instant at which docket is killed.
type step struct {
	name string
	// needs is what must happen beside ordinary commands to get there.
	needs need
}

type need string

const (
	commands need = ""
	aStart   need = "start"
	anImport need = "import"
	aRebuild need = "rebuild"
	aRepair  need = "repair"
	parking  need = "parking"
	longLife need = "long life" // an order of more events than one snapshot takes
	bulk     need = "bulk"      // so much that the WALs are copied back into their files
	silence  need = "silence"   // nothing is written but what no view shows
)

// steps are all of them. Each has a place in this file that tells of it.
var steps = []step{
	// The folder is opened.
	{"before claim of a lane", aStart},
	{"before write of head", aStart},

	// A command becomes events, and an answer.
	{"before append of order", commands},
	{"before write of log WAL", commands},
	{"after write of log WAL", commands},
	{"before sync of log WAL", commands},
	{"after sync of log WAL", commands},
	{"before write of head", commands},
	{"after write of head", commands},
	{"after append of order", commands},
	{"before answer", commands},
	{"in answer", commands},
	{"before write of log", bulk},
	{"before sync of log", bulk},
	{"before append of refusal", commands},
	{"after append of refusal", commands},

	// A long order gets a snapshot.
	{"before save of snapshot", longLife},
	{"before write of snapshots WAL", longLife},
	{"after save of snapshot", longLife},

	// Events become documents.
	{"before batch", commands},
	{"before write of views WAL", commands},
	{"after write of views WAL", commands},
	{"after batch", commands},
	{"before write of views", bulk},
	{"before move of checkpoints", silence},
	{"after move of checkpoints", silence},
	{"before park", parking},
	{"after park", parking},
	{"before release", parking},
	{"after release", parking},

	// The views are compared and repaired.
	{"before append of reconciliation", aRepair},
	{"after append of reconciliation", aRepair},
	{"before write of reconciliation spill", aRepair},
	{"before replace", aRepair},
	{"after replace", aRepair},
	{"before recount", aRepair},
	{"after recount", aRepair},

	// Orders of another system are taken over, part by part.
	{"before append of import", anImport},
	{"after append of import", anImport},
	{"before append of import's end", anImport},
	{"after append of import's end", anImport},

	// The views are made anew.
	{"before generation", aRebuild},
	{"after generation", aRebuild},
	{"before write of rebuild spill", aRebuild},
	{"before build", aRebuild},
	{"after build", aRebuild},
	{"before append of projection", aRebuild},
	{"after append of projection", aRebuild},
	{"before drop", aRebuild},
	{"in drop", aRebuild},
	{"after drop", aRebuild},
}

// instants stops the goroutine that comes to the armed step for the n-th time,
// for good.
type instants struct {
	mu      sync.Mutex
	armed   string
	left    int
	reached func(name string)

	switches atomic.Int64 // of generations, so far
}

func (i *instants) arm(name string, nth int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.armed, i.left = name, nth
}

// at tells that docket is at a step now.
func (i *instants) at(name string) {
	i.mu.Lock()
	hit := false
	if name == i.armed {
		i.left--
		hit = i.left == 0
	}
	i.mu.Unlock()
	if hit {
		i.reached(name)
		select {} // the rest of the process goes on
	}
}

// begin and end make instants a watcher of files.
func (i *instants) begin(op fileOp) error {
	if name := fileStep(op); name != "" {
		i.at("before " + name)
	}
	if op.does == "delete" && strings.HasSuffix(op.path, ".db") {
		i.at("in drop") // what is beside the file is gone
	}
	return nil
}

func (i *instants) end(op fileOp) {
	if name := fileStep(op); name != "" {
		i.at("after " + name)
	}
}

var (
	viewsFile = regexp.MustCompile(`^orders-\d+\.db(-wal)?$`)
	spillFile = regexp.MustCompile(`^[0-9]+$`)
)

// fileStep names what is done to a file; empty for what is no step.
func fileStep(op fileOp) string {
	if op.does != "write" && op.does != "sync" {
		return ""
	}
	name, folder := filepath.Base(op.path), filepath.Base(filepath.Dir(op.path))
	wal := ""
	if strings.HasSuffix(name, "-wal") {
		wal = " WAL"
	}
	switch {
	case strings.HasPrefix(name, "events.db"):
		return op.does + " of log" + wal
	case strings.HasPrefix(name, "snapshots.db"):
		return op.does + " of snapshots" + wal
	case viewsFile.MatchString(name):
		return op.does + " of views" + wal
	case name == "head":
		return op.does + " of head"
	case spillFile.MatchString(name) && strings.HasPrefix(folder, "rebuild"):
		return op.does + " of rebuild spill"
	case spillFile.MatchString(name):
		return op.does + " of reconciliation spill"
	}
	return ""
}

// store is an event store whose appends are steps, by the category of their
// stream.
type steppedStore struct {
	eventstore.Sequencer
	*instants
}

func (s steppedStore) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	what := appendOf(stream, events)
	s.at("before append of " + what)
	out, err := s.Sequencer.Append(ctx, stream, expected, events)
	if err == nil {
		s.appended(what, events)
	}
	return out, err
}

func (s steppedStore) AppendStamped(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event, stamp func([]eventstore.Event)) (eventstore.Appended, error) {
	what := appendOf(stream, events)
	s.at("before append of " + what)
	out, err := s.Sequencer.AppendStamped(ctx, stream, expected, events, stamp)
	if err == nil {
		s.appended(what, events)
	}
	return out, err
}

func (s steppedStore) appended(what string, events []eventstore.Event) {
	if slices.ContainsFunc(events, func(e eventstore.Event) bool { return e.Type == "ProjectionSwitched" }) {
		s.switches.Add(1)
	}
	s.at("after append of " + what)
}

// appendOf is the category of a stream; the parts of orders of another system
// are apart, and the last part of each.
func appendOf(stream string, events []eventstore.Event) string {
	category, id, _ := strings.Cut(stream, "-")
	switch {
	case category == "order" && slices.ContainsFunc(events, func(e eventstore.Event) bool { return e.Type == "OrderAdoptionCompleted" }):
		return "import's end"
	case category == "order" && strings.HasPrefix(id, willBeAdopted):
		return "import"
	}
	return category
}

type steppedSnapshots struct {
	command.Snapshots
	*instants
}

func (s steppedSnapshots) Save(ctx context.Context, stream string, revision int64, data []byte) error {
	s.at("before save of snapshot")
	err := s.Snapshots.Save(ctx, stream, revision, data)
	s.at("after save of snapshot")
	return err
}

// steppedBackend tells of generations, and refuses the orders that are to be
// parked.
type steppedBackend struct {
	projections.Backend
	*instants
	opened atomic.Int64 // highest generation
	parks  *atomic.Bool // while true
}

func (b *steppedBackend) Open(ctx context.Context, generation int) (projections.Sink, error) {
	there, err := b.Generations(ctx)
	if err != nil {
		return nil, err
	}
	// A kill may leave several to the next process, which makes none of them anew.
	anew := !b.opened.CompareAndSwap(0, int64(generation)) && !slices.Contains(there, generation)
	if anew {
		b.at("before generation")
	}
	sink, err := b.Backend.Open(ctx, generation)
	if err != nil {
		return nil, err
	}
	if anew {
		b.at("after generation")
	}
	return &steppedSink{Store: sink.(*views.Store), instants: b.instants, anew: anew, since: b.switches.Load(), parks: b.parks}, nil
}

func (b *steppedBackend) Drop(ctx context.Context, generation int) error {
	b.at("before drop")
	err := b.Backend.Drop(ctx, generation)
	b.at("after drop")
	return err
}

// steppedSink is one generation.
type steppedSink struct {
	*views.Store
	*instants
	anew  bool  // beside another
	since int64 // switches before it was opened
	parks *atomic.Bool
}

// built says whether it is not in force yet.
func (s *steppedSink) built() bool { return s.anew && s.switches.Load() == s.since }

// willBeParked begins the ids of orders that the sink refuses while it parks.
const willBeParked = "parked-"

func (s *steppedSink) Write(ctx context.Context, b projections.Batch) ([]projections.Outcome, error) {
	what := "batch"
	switch {
	case len(b.Park) > 0:
		what = "park"
	case len(b.Release) > 0:
		what = "release"
	case s.built():
		what = "build"
	case len(b.Changes) == 0:
		what = "move of checkpoints"
	}
	if s.parks.Load() {
		for i, change := range b.Changes {
			if strings.HasPrefix(change.Order.ID, willBeParked) {
				outcomes := make([]projections.Outcome, len(b.Changes))
				outcomes[i] = projections.Outcome{Result: projections.Refused, Err: projections.ErrRefused}
				return outcomes, nil
			}
		}
	}
	s.at("before " + what)
	outcomes, err := s.Store.Write(ctx, b)
	s.at("after " + what)
	return outcomes, err
}

func (s *steppedSink) Claim(ctx context.Context, lane int, owner string, token uint64) (projections.Checkpoint, error) {
	s.at("before claim of a lane")
	return s.Store.Claim(ctx, lane, owner, token)
}

func (s *steppedSink) Replace(ctx context.Context, orderID string, change *projections.Change) error {
	s.at("before replace")
	err := s.Store.Replace(ctx, orderID, change)
	s.at("after replace")
	return err
}

func (s *steppedSink) Recount(ctx context.Context) (int, error) {
	s.at("before recount")
	changed, err := s.Store.Recount(ctx)
	s.at("after recount")
	return changed, err
}

// answering makes the answers to commands steps.
func (i *instants) answering(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Idempotency-Key") != "" {
			w = &steppedAnswer{w, i}
		}
		h.ServeHTTP(w, r)
	})
}

type steppedAnswer struct {
	http.ResponseWriter
	*instants
}

func (a *steppedAnswer) WriteHeader(status int) {
	if status/100 == 2 {
		a.at("before answer")
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *steppedAnswer) Write(text []byte) (int, error) {
	half, err := a.ResponseWriter.Write(text[:len(text)/2])
	if err == nil {
		err = http.NewResponseController(a.ResponseWriter).Flush()
	}
	if err != nil {
		return half, err
	}
	a.at("in answer")
	rest, err := a.ResponseWriter.Write(text[half:])
	return half + rest, err
}

func (a *steppedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
