package linking

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/projections"
	"github.com/google/uuid"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/access"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// historiesVariable is how many random histories TestLinksOfRandomHistories
// takes.
const historiesVariable = "DOCKET_LINK_HISTORIES"

// patience is how long tests wait for what must come.
const patience = time.Minute

// TestLinksOfRandomHistories: whatever is written, however often the server is
// stopped or killed in whatever append, the links are those that a look at the
// whole log gives, in order.
func TestLinksOfRandomHistories(t *testing.T) {
	histories := "40"
	if text := os.Getenv(historiesVariable); text != "" {
		histories = text
	}
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if err := checks.Value.Set(histories); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = checks.Value.Set(before) }()
	var kills, links atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(t, rt)
		defer h.close()
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			h.step()
		}
		h.revive()
		h.settle()
		links.Add(int64(h.compare()))
		kills.Add(int64(h.kills))
	})
	t.Logf("%s histories, %d kills, %d links", histories, kills.Load(), links.Load())
}

// history is a store that is written to at random while the projections run.
type history struct {
	*rapid.T
	ctx     context.Context
	dir     string
	store   *sqlite.Store
	mortal  *mortal
	service *Service
	kills   int
}

func newHistory(t *testing.T, rt *rapid.T) *history {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		rt.Fatal(err)
	}
	h := &history{T: rt, ctx: t.Context(), dir: dir}
	if h.store, err = sqlite.Open(h.ctx, h.dir, sqlite.Options{Readers: 2, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		rt.Fatal(err)
	}
	h.start()
	return h
}

func (h *history) start() {
	h.mortal = &mortal{Store: h.store}
	h.mortal.left.Store(immortal)
	var err error
	h.service, err = New(h.ctx, Options{
		Store: h.mortal, Guard: access.Open(), Logger: slog.New(slog.DiscardHandler), Running: true,
		limits: limits{records: 7, bytes: 2000, checkpoint: 11, targets: 2},
	})
	if err != nil {
		h.Fatal(err)
	}
}

func (h *history) close() {
	h.service.Close()
	if err := errors.Join(h.store.Close(), os.RemoveAll(h.dir)); err != nil {
		h.Fatal(err)
	}
}

// step does one thing.
func (h *history) step() {
	streams := rapid.SampledFrom([]string{"a-1", "a-2-3", "b-1", "c-9", "plain", "-x", "$sys-1", "$ce-a", "$et-Note"})
	stream := streams.Draw(h.T, "stream")
	switch rapid.SampledFrom([]string{"append", "append", "append", "append", "append", "delete", "hide", "hide links", "hide links", "tombstone", "kill", "kill", "kill", "stop", "disable", "settle"}).Draw(h.T, "do") {
	case "append":
		var events []eventstore.Event
		for range rapid.IntRange(1, 9).Draw(h.T, "events") {
			e := rapid.SampledFrom([]eventstore.Event{
				{Type: "Placed", JSON: true, Data: []byte(`{"n":1}`)},
				{Type: "Paid", JSON: true, Data: []byte(`{"n":2}`), Metadata: []byte(`{"$correlationId":"x"}`)},
				{Type: "Broken", JSON: true, Data: []byte(`{"n":`)},
				{Type: "Note", Data: []byte("\xff")},
				{Type: "$>", Data: []byte("0@b-1")},
			}).Draw(h.T, "event")
			e.ID = uuid.New()
			events = append(events, e)
		}
		_, err := h.store.Append(h.ctx, stream, eventstore.Any, events)
		h.allow(err, eventstore.ErrDeleted)
	case "delete":
		_, err := h.store.Delete(h.ctx, stream, eventstore.Any)
		h.allow(err, eventstore.ErrDeleted, eventstore.ErrConflict)
	case "hide":
		_, err := h.store.SetStreamMetadata(h.ctx, stream, eventstore.Any, eventstore.StreamMetadata{TruncateBefore: 1000})
		h.allow(err, eventstore.ErrDeleted)
	case "hide links":
		// The end of what was linked cannot be read any more.
		links := rapid.SampledFrom([]string{"$ce-a", "$ce-b", "$et-Note", "$et-Paid"}).Draw(h.T, "links")
		_, err := h.store.SetStreamMetadata(h.ctx, links, eventstore.Any, eventstore.StreamMetadata{TruncateBefore: 1000})
		h.allow(err, eventstore.ErrDeleted)
	case "tombstone":
		if rapid.IntRange(0, 3).Draw(h.T, "really") == 0 {
			_, err := h.store.Tombstone(h.ctx, stream, eventstore.Any)
			h.allow(err, eventstore.ErrDeleted)
		}
	case "kill":
		h.mortal.written.Store(rapid.Bool().Draw(h.T, "written"))
		h.mortal.left.Store(int64(rapid.IntRange(0, 4).Draw(h.T, "appends until the end")))
		if rapid.Bool().Draw(h.T, "at once") {
			h.revive()
		}
	case "stop":
		h.service.Close()
		h.start()
	case "disable":
		name := rapid.SampledFrom([]string{"$by_category", "$by_event_type"}).Draw(h.T, "projection")
		_, err := h.service.Disable(h.ctx, &projections.DisableReq{Options: &projections.DisableReq_Options{Name: name, WriteCheckpoint: rapid.Bool().Draw(h.T, "checkpoint")}})
		_, err2 := h.service.Enable(h.ctx, &projections.EnableReq{Options: &projections.EnableReq_Options{Name: name}})
		if errors.Join(err, err2) != nil && h.mortal.alive() {
			h.Fatal(err, err2)
		}
	case "settle":
		h.settle()
	}
}

func (h *history) allow(err error, errs ...error) {
	for _, e := range errs {
		if errors.Is(err, e) {
			return
		}
	}
	if err != nil {
		h.Fatal(err)
	}
}

// revive starts a new server if the last one was killed, or is about to be.
func (h *history) revive() {
	if h.mortal.left.Load() > immortal/2 {
		return
	}
	h.mortal.die()
	h.kills++
	h.service.Close()
	h.start()
}

// settle waits until everything is linked, or the server is dead.
func (h *history) settle() {
	until := time.Now().Add(patience)
	for h.mortal.alive() {
		head, err := h.store.Head(h.ctx)
		if err != nil {
			h.Fatal(err)
		}
		behind := ""
		for _, p := range h.service.known {
			if p.follower != nil && p.follower.progress().position.Before(head) {
				behind = fmt.Sprintf("%s is at %s of %s: %v", p.Name, p.follower.progress().position, head, p.follower.progress().fault)
			}
		}
		if behind == "" {
			return
		}
		if time.Now().After(until) {
			h.Fatal(behind)
		}
		<-time.After(time.Millisecond)
	}
}

// compare looks at the whole log once for what should be linked, and once for
// what is.
func (h *history) compare() (links int) {
	want, got := map[string][]string{}, map[string][]string{}
	ended := map[string]bool{}
	for r, err := range h.store.ReadAll(h.ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			h.Fatal(err)
		}
		for target, data := range linksOf(r) {
			want[target] = append(want[target], data)
		}
		if r.Type == "$streamDeleted" {
			ended[r.Stream] = true
		}
		if r.Type == "$>" && strings.Contains(string(r.Metadata), `"$causedBy"`) {
			got[r.Stream] = append(got[r.Stream], string(r.Data))
			links++
		}
	}
	for target := range want {
		if ended[target] {
			// Nothing can be written there any more.
			want[target] = want[target][:min(len(got[target]), len(want[target]))]
			if len(want[target]) == 0 {
				delete(want, target)
			}
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		for _, target := range slices.Sorted(maps.Keys(want)) {
			if !slices.Equal(got[target], want[target]) {
				h.Errorf("%s\n got %q\nwant %q", target, got[target], want[target])
			}
		}
		h.Fatalf("links are in %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	return links
}

var category = regexp.MustCompile(`^([^$-][^-]*)-`)

// linksOf says plainly which links a record should have: target to data.
func linksOf(r eventstore.Record) map[string]string {
	out := map[string]string{}
	if r.Type == "Broken" {
		return out
	}
	data := fmt.Sprintf("%d@%s", r.Revision, r.Stream)
	ends := r.Type == "$streamDeleted" || r.Type == "$metadata" && strings.Contains(string(r.Data), "9223372036854775807")
	about := r.Stream
	if ends {
		about = strings.TrimPrefix(about, "$$")
	}
	if m := category.FindStringSubmatch(about); m != nil {
		out["$ce-"+m[1]] = data
		if r.Type == "$>" {
			out["$ce-"+m[1]] = string(r.Data)
		}
	}
	switch {
	case ends:
		out["$et-$deleted"] = data
	case r.Type != "$>" && r.Type != "$ProjectionCheckpoint":
		out["$et-"+r.Type] = data
	}
	return out
}

// mortal is a store that ends after a number of appends, in the middle of one:
// before that is written, or before it is answered.
type mortal struct {
	eventstore.Store
	left    atomic.Int64
	written atomic.Bool // the last append is
}

const immortal = int64(1) << 60

var errKilled = errors.New("the server was killed")

func (m *mortal) alive() bool { return m.left.Load() >= 0 }
func (m *mortal) die()        { m.left.Store(-1) }

func (m *mortal) Append(ctx context.Context, stream string, expected eventstore.Expected, events []eventstore.Event) (eventstore.Appended, error) {
	left := m.left.Add(-1)
	if left < -1 || left == -1 && !m.written.Load() {
		return eventstore.Appended{}, errKilled
	}
	out, err := m.Store.Append(ctx, stream, expected, events)
	if left == -1 {
		return eventstore.Appended{}, errKilled
	}
	return out, err
}

func (m *mortal) ReadAll(ctx context.Context, from eventstore.Position, dir eventstore.Direction, filter eventstore.Filter, limit int) iter.Seq2[eventstore.Record, error] {
	return whileAlive(m, m.Store.ReadAll(ctx, from, dir, filter, limit))
}

func (m *mortal) ReadStream(ctx context.Context, stream string, from eventstore.Revision, dir eventstore.Direction, limit int) iter.Seq2[eventstore.Record, error] {
	return whileAlive(m, m.Store.ReadStream(ctx, stream, from, dir, limit))
}

func whileAlive(m *mortal, records iter.Seq2[eventstore.Record, error]) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		for r, err := range records {
			if !m.alive() {
				yield(eventstore.Record{}, errKilled)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func (m *mortal) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	if !m.alive() {
		return nil, errKilled
	}
	return m.Store.Subscribe(ctx, from, filter)
}
