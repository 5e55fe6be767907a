package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
)

const (
	// togetherHistories are made at once on one store, of streams of their own: they
	// share its groups, its kills, and what starting it costs.
	togetherHistories = 4
	// streamPatience is far more than the search needs; a history that it does not
	// decide fails the test.
	streamPatience = time.Minute
)

// TestStreamHistoriesAreLinearizable lets a few clients append, read, repeat,
// delete, tombstone, and read and write metadata on a few streams of a store
// that is killed and started again in between, many times over, and checks that
// what they were told could have been told by a store that handles one request
// at a time.
func TestStreamHistoriesAreLinearizable(t *testing.T) {
	streamHistories(t, setting(t, "DOCKET_STORE_HISTORIES", 500), openSQLite, false)
}

func streamHistories(t *testing.T, histories int64, open openStore, remote bool) {
	seed := seed(t)
	t.Logf("%d histories, DOCKET_SEED=%d", histories, seed)
	began, dir := time.Now(), memory(t)
	var total struct {
		sync.Mutex
		streamCounts
		histories, streams, kills int
		checking                  time.Duration
	}
	var working sync.WaitGroup
	var next atomic.Int64
	worlds := (histories + togetherHistories - 1) / togetherHistories
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for n := next.Add(1) - 1; n < worlds && !t.Failed(); n = next.Add(1) - 1 {
				size := int(min(togetherHistories, histories-n*togetherHistories))
				w := newStreamWorld(t, filepath.Join(dir, fmt.Sprint(n)), rand.New(rand.NewPCG(seed, uint64(n))), size, open, remote)
				w.make(t.Context())
				checking := time.Now()
				for _, h := range w.histories {
					h.check(fmt.Sprintf("%d-%d", seed, n), w.kills)
				}
				total.Lock()
				for _, h := range w.histories {
					total.add(h.counts)
					total.streams += len(h.streams)
				}
				total.checking += time.Since(checking)
				total.histories += size
				total.kills += len(w.kills)
				if total.histories%10000 < size {
					t.Logf("%d histories after %v: %v; %d kills", total.histories, time.Since(began).Round(time.Second), total.streamCounts, total.kills)
				}
				total.Unlock()
			}
		})
	}
	working.Wait()
	took := time.Since(began)
	t.Logf("%d histories of %d streams: %v; %d kills; in %v (%v each), checking took %v", total.histories, total.streams, total.streamCounts, total.kills,
		took.Round(time.Millisecond), (took / time.Duration(max(total.histories, 1))).Round(time.Microsecond), total.checking.Round(time.Millisecond))
	if t.Failed() {
		t.Logf("repeat the choices, not the timing, with DOCKET_SEED=%d", seed)
	}
}

// streamWorld is a store on which some histories are made at once.
type streamWorld struct {
	*world[eventstore.Store]
	rng       *rand.Rand
	histories []*streamHistory
	began     chan struct{} // one for each operation
	size      int           // operations of all
}

// openStore opens the files of an incarnation.
type openStore = func(ctx context.Context, dir, v string, d disk.FS) (eventstore.Store, error)

func openSQLite(ctx context.Context, dir, v string, d disk.FS) (eventstore.Store, error) {
	return sqlite.Open(ctx, dir, sqlite.Options{VFS: v, Disk: d, Logger: silent})
}

func newStreamWorld(t *testing.T, dir string, rng *rand.Rand, size int, open openStore, remote bool) *streamWorld {
	w := &streamWorld{rng: rng, world: &world[eventstore.Store]{
		t: t, dir: dir, up: make(chan struct{}),
		open: open, close: eventstore.Store.Close,
	}}
	ids := &atomic.Int64{}
	for n := range size {
		h := &streamHistory{t: t, world: w.world, remote: remote, name: fmt.Sprint("h", n), ids: ids, counts: streamCounts{verbs: map[streamVerb]int{}}}
		budget := 30 + rng.Int64N(31)
		h.budget.Store(budget)
		w.size += int(budget)
		for s := range 1 + rng.IntN(3) {
			h.streams = append(h.streams, &streamNotes{name: fmt.Sprintf("history%d-%d", n, s), last: -1, docs: -1})
		}
		w.histories = append(w.histories, h)
	}
	w.began = make(chan struct{}, w.size)
	for _, h := range w.histories {
		h.began = w.began
	}
	return w
}

// make lets all clients work and kills the store meanwhile, one to four times;
// the last time, in half of the worlds, when all have ended.
func (w *streamWorld) make(ctx context.Context) {
	if err := w.start(ctx); err != nil {
		w.t.Error(err)
		return
	}
	var working sync.WaitGroup
	for _, h := range w.histories {
		for n := range 3 + w.rng.IntN(3) {
			c := &streamClient{streamHistory: h, id: n, rng: rand.New(rand.NewPCG(w.rng.Uint64(), uint64(n)))}
			working.Go(func() { c.work(ctx) })
		}
	}
	begun, kills := 0, 1+w.rng.IntN(3)
	for n := range kills {
		for until := (w.size*n + w.rng.IntN(w.size)) / kills; begun < until; begun++ {
			<-w.began
		}
		w.restart(ctx)
	}
	working.Wait()
	if w.rng.IntN(2) == 0 {
		w.restart(ctx)
	}
	if w.t.Failed() {
		return
	}
	for _, h := range w.histories {
		h.finish(ctx)
	}
	if err := w.stop(); err != nil {
		w.t.Error(err)
	}
}

func (w *streamWorld) restart(ctx context.Context) {
	err := w.kill()
	if err == nil {
		err = w.start(ctx)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// finish reads everything when nobody else is there any more.
func (h *streamHistory) finish(ctx context.Context) {
	c := &streamClient{streamHistory: h, rng: rand.New(rand.NewPCG(0, 0))}
	for _, notes := range h.streams {
		c.perform(ctx, notes, streamAsked{verb: streamRead, stream: notes.name})
		c.perform(ctx, notes, streamAsked{verb: streamRead, stream: notes.name, dir: eventstore.Backwards, from: int64(eventstore.EndRevision)})
		c.perform(ctx, notes, streamAsked{verb: streamGet, stream: notes.name})
		call := h.world.clock.Add(1)
		o, err := readLog(ctx, h.world.running.is, notes.name)
		if err != nil {
			h.t.Errorf("%s: read the log: %v", notes.name, err)
		}
		c.record(notes, streamAsked{verb: streamLog, stream: notes.name}, o, call, h.world.clock.Add(1), nil)
	}
}

// readLog reads what was ever written to a stream.
func readLog(ctx context.Context, s eventstore.Store, stream string) (streamTold, error) {
	o := streamTold{result: streamDone}
	for rec, err := range s.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{stream, "$$" + stream}}, 0) {
		switch {
		case err != nil:
			return o, err
		case rec.Type == eventstore.TypeStreamDeleted:
			o.ended = true
		case strings.HasPrefix(rec.Stream, "$$"):
			var md eventstore.StreamMetadata
			if err := json.Unmarshal(rec.Data, &md); err != nil || int(rec.Revision) != len(o.docs) {
				return o, fmt.Errorf("revision %d of %s is %+v, %v", rec.Revision, rec.Stream, rec.Event, err)
			}
			o.docs = append(o.docs, docOf(md))
		default:
			id, err := idOfEvent(rec)
			if err != nil {
				return o, err
			}
			o.seen = append(o.seen, streamSeen{int64(rec.Revision), id})
		}
	}
	return o, nil
}

// check tells whether what was told could have been told.
func (h *streamHistory) check(name string, kills []int64) {
	for _, notes := range h.streams {
		history := notes.history(kills)
		result := checkStream(history, streamPatience)
		if result == porcupine.Ok {
			continue
		}
		path := leaveBehind(h.t, fmt.Sprintf("stream-%s-%s", name, notes.name))
		var text strings.Builder
		for _, o := range history {
			fmt.Fprintf(&text, "%6d-%-6d client %d  %v: %v\n", o.Call, o.Return, o.ClientId, o.Input, o.Output)
		}
		err := os.WriteFile(path+".txt", []byte(text.String()), 0o644)
		_, info := porcupine.CheckOperationsVerbose(streamModel, history, streamPatience)
		if shown := porcupine.VisualizePath(streamModel, info, path+".html"); err == nil {
			err = shown
		}
		h.t.Errorf("the history of %s is not shown to be linearizable: %s; see %s.txt and .html (%v)", notes.name, result, path, err)
	}
}

// history is the operations on a stream with the kills among them. What was
// under way at a kill had its effect before it, or never.
func (n *streamNotes) history(kills []int64) (all []porcupine.Operation) {
	for _, o := range n.operations {
		if o.in != nil {
			over := o.in.over.Load()
			if over < o.Call {
				continue // asked of a dead one
			}
			o.Return = over
		}
		all = append(all, o.Operation)
	}
	for _, at := range kills {
		all = append(all, porcupine.Operation{
			ClientId: 9, Input: streamAsked{verb: streamKill, stream: n.name}, Output: streamTold{result: streamDone}, Call: at, Return: at,
		})
	}
	return all
}
