package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// mails is an outside world: what it was told, in order.
type mails struct {
	sync.Mutex
	told  []codec.Recorded
	crash int // the call, from now on, after which the process ends; 0: none
	came  chan struct{}
}

// effect is the outside world's, over a manager; ended is called where the process
// is to crash.
func (w *world) effect(m *projections.Manager, out *mails, ended func()) projections.Effects {
	return projections.Effects{
		Name: "mail", Only: []string{"OrderNoteAdded"}, Store: w.store, Applied: m.Applied,
		Do: func(ctx context.Context, e codec.Recorded) error {
			// Its own position is below it, and the view shows it.
			if at := w.effectAt("mail"); !at.Before(e.Position) {
				w.t.Errorf("event at %s is done, the effect is at %s", e.Position, at)
			}
			sink, _ := m.Live()
			if sink == nil {
				return projections.ErrClosed
			}
			docs, err := sink.Documents(ctx, []string{e.OrderID})
			if err != nil {
				return err
			}
			if docs[e.OrderID].Revision < int64(e.Revision) {
				w.t.Errorf("order %s is at %d when event %d is done", e.OrderID, docs[e.OrderID].Revision, e.Revision)
			}
			out.Lock()
			defer out.Unlock()
			out.told = append(out.told, e)
			select {
			case out.came <- struct{}{}:
			default:
			}
			if out.crash--; out.crash == 0 {
				ended()
				return errors.New("the process ended")
			}
			return nil
		},
	}
}

// effectAt is the recorded position.
func (w *world) effectAt(name string) eventstore.Position {
	for r, err := range w.store.ReadStream(w.ctx, "effect-"+name, eventstore.EndRevision, eventstore.Backwards, 1) {
		if err != nil {
			break
		}
		var content struct {
			Position eventstore.Position `json:"position"`
		}
		w.must(json.Unmarshal(r.Data, &content))
		return content.Position
	}
	return eventstore.Start
}

// TestNothingRunsAnEffectAgain attacks the one place that acts on the outside
// world: with rebuilds, the way back, checkpoints that somebody sets back, and
// crashes.
func TestNothingRunsAnEffectAgain(t *testing.T) {
	w := newWorld(t, 91)
	w.feed("before", 5) // nobody hears of what was there before the first run
	out := &mails{came: make(chan struct{}, 1)}
	notes := 0
	note := func(n int) {
		for range n {
			id := fmt.Sprint("before-", notes%3)
			w.appendTo(id, order.NoteAdded{NoteID: fmt.Sprint("mail-", notes), Text: "x", At: t0})
			notes++
		}
	}
	told := func(n int) {
		t.Helper()
		for {
			out.Lock()
			all := len(out.told)
			out.Unlock()
			if all >= n {
				return
			}
			select {
			case <-out.came:
			case <-w.ctx.Done():
				t.Fatalf("%d effects of %d", all, n)
			}
		}
	}
	m, stop := w.run()
	running := func() (end func()) {
		ctx, cancel := context.WithCancel(w.ctx)
		ended := make(chan error, 1)
		e := w.effect(m, out, cancel)
		go func() { ended <- e.Run(ctx) }()
		return func() {
			cancel()
			w.must(<-ended)
		}
	}
	end := running()
	for w.effectAt("mail") == eventstore.Start { // it has begun
		w.must(w.ctx.Err())
	}
	note(10)
	told(10)

	t.Log("a rebuild, and another")
	w.must(m.Rebuild(w.ctx, nil))
	note(5)
	w.must(m.Rebuild(w.ctx, nil))
	told(15)

	t.Log("checkpoints set back, a damaged view, another program's docket")
	end()
	w.must(stop())
	numbers, err := w.backend.Generations(w.ctx)
	w.must(err)
	for _, number := range numbers {
		sink, err := w.backend.Open(w.ctx, number)
		w.must(err)
		lanes, err := sink.Checkpoints(w.ctx)
		w.must(err)
		for i := range lanes {
			lanes[i].Position = eventstore.Start
		}
		_, err = sink.Write(w.ctx, projections.Batch{Checkpoints: lanes})
		w.must(err)
		for id := range w.expected {
			w.must(sink.Replace(w.ctx, id, nil))
		}
		w.must(sink.Close())
	}
	m, stop = w.run()
	end = running()
	note(3)
	told(18)

	t.Log("everything gone")
	end()
	w.must(stop())
	for _, number := range numbers {
		w.must(w.backend.Drop(w.ctx, number))
	}
	m, stop = w.run(func(o *projections.Options) {
		o.Fold.Apply = func(doc view.Order, e codec.Recorded) view.Order { return projections.Apply(doc, e) }
	})
	end = running()
	note(2)
	told(20)
	checkOnce(t, out.told, 20, notes)

	t.Log("a crash between the effect and its record: that one is done again, and no other")
	out.Lock()
	out.crash = 3
	out.Unlock()
	note(6)
	told(23)
	end()
	end = running()
	told(27)
	end()
	w.must(stop())
	var ids []string
	for _, e := range out.told {
		ids = append(ids, e.EventID.String())
	}
	if ids[22] != ids[23] || len(slices.Compact(slices.Clone(ids))) != 26 || len(ids) != 27 {
		t.Errorf("%d effects of 26 events: %v", len(ids), ids)
	}
	checkOnce(t, slices.Delete(slices.Clone(out.told), 23, 24), 26, notes)
}

// checkOnce wants each event once, in the order of the log.
func checkOnce(t *testing.T, told []codec.Recorded, want, notes int) {
	t.Helper()
	if len(told) != want || notes != want {
		t.Errorf("%d effects of %d events, want %d", len(told), notes, want)
	}
	for i := 1; i < len(told); i++ {
		if !told[i-1].Position.Before(told[i].Position) {
			t.Errorf("effect %d is at %s, after %s", i, told[i].Position, told[i-1].Position)
		}
	}
}
