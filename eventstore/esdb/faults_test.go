package esdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// broken is an adapter, a network that can break, and the server.
type broken struct {
	*Store
	proxy  *proxy
	server *esdbservertest.Server
}

func openBroken(t *testing.T) *broken {
	t.Helper()
	noLeaks(t)
	b := &broken{server: esdbservertest.Run(t, esdbserver.Options{Store: embedded(t, t.TempDir())})}
	b.proxy = newProxy(t, b.server.Address)
	b.Store = open(t, "esdb://"+b.proxy.address+"?tls=false&defaultDeadline=300&discoveryInterval=10&gossipTimeout=1")
	return b
}

// noLeaks wants every goroutine that the test began to end with it, after all
// its other cleanups.
func noLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if err := goleak.Find(before); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
}

func event() eventstore.Event {
	return eventstore.Event{ID: uuid.New(), Type: "Tested", JSON: true, Data: []byte(`{}`)}
}

// until repeats what may fail while the store is away.
func until(t *testing.T, f func() error) {
	t.Helper()
	for t.Context().Err() == nil {
		err := f()
		if err == nil {
			return
		}
		if !errors.Is(err, eventstore.ErrUnavailable) && !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
	}
}

// eventually waits for a condition, generously.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come true", what)
		}
		<-time.After(time.Millisecond)
	}
}

// rounds is how often the network is cut: DOCKET_CUTS, 40 when it is not set.
func rounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("DOCKET_CUTS"))
	if err != nil {
		n = 40
	}
	t.Logf("%d cuts", n)
	return n
}

// TestCuts: many writers, a subscription from the start, and connections that
// break again and again. Every acknowledged event is there once, at the revision
// that was told, and the subscription sees the log as it is.
func TestCuts(t *testing.T) {
	const writers = 64
	b := openBroken(t)
	sub, err := b.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{Prefixes: []string{"cut-"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	stop := make(chan struct{})
	written := make([][]uuid.UUID, writers)
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			stream := fmt.Sprintf("cut-%d", w)
			for {
				select {
				case <-stop:
					return
				default:
				}
				e, n := event(), len(written[w])
				until(t, func() error {
					out, err := b.Append(t.Context(), stream, eventstore.Expected(n-1), []eventstore.Event{e})
					if err == nil && out.Revision != eventstore.Revision(n) {
						t.Errorf("%s: event %d is revision %d", stream, n, out.Revision)
					}
					return err
				})
				written[w] = append(written[w], e.ID)
			}
		})
	}
	for range rounds(t) {
		<-time.After(rand.N(60 * time.Millisecond))
		b.proxy.cut()
	}
	close(stop)
	work.Wait()
	total := 0
	for w := range writers {
		var ids []uuid.UUID
		until(t, func() (err error) {
			ids = ids[:0]
			for rec, err := range b.ReadStream(t.Context(), fmt.Sprintf("cut-%d", w), 0, eventstore.Forwards, 0) {
				if err != nil {
					return err
				}
				ids = append(ids, rec.ID)
			}
			return nil
		})
		if fmt.Sprint(ids) != fmt.Sprint(written[w]) {
			t.Errorf("stream %d has %d events, %d were acknowledged, or others", w, len(ids), len(written[w]))
		}
		total += len(ids)
	}
	next := map[string]eventstore.Revision{}
	at := eventstore.Start
	for seen := 0; seen < total; {
		n, err := sub.Next(t.Context())
		if err != nil {
			t.Fatalf("after %d of %d: %v", seen, total, err)
		}
		if n.Kind != eventstore.Delivered {
			continue
		}
		if seen++; n.Record.Revision != next[n.Record.Stream] || !at.Before(n.Position) {
			t.Fatalf("%s: revision %d at %s, want %d after %s", n.Record.Stream, n.Record.Revision, n.Position, next[n.Record.Stream], at)
		}
		next[n.Record.Stream]++
		at = n.Position
	}
	t.Logf("%d events", total)
}

// TestReadsGoOn: a long read, both ways, of a stream and of the log, over
// connections that break in the middle.
func TestReadsGoOn(t *testing.T) {
	const n = 3000
	b := openBroken(t)
	for at := 0; at < n; at += 100 {
		var batch []eventstore.Event
		for range 100 {
			e := event()
			e.JSON, e.Data = false, make([]byte, 2000)
			batch = append(batch, e)
		}
		if _, err := b.Append(t.Context(), "long", eventstore.Expected(at-1), batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []eventstore.Direction{eventstore.Forwards, eventstore.Backwards} {
		from, begin := eventstore.Revision(0), eventstore.Start
		if dir == eventstore.Backwards {
			from, begin = eventstore.EndRevision, eventstore.End
		}
		for what, read := range map[string]func(func(eventstore.Record, error) bool){
			"stream":          b.ReadStream(t.Context(), "long", from, dir, 0),
			"log":             b.ReadAll(t.Context(), begin, dir, eventstore.Filter{Prefixes: []string{"long"}}, 0),
			"log, everything": b.ReadAll(t.Context(), begin, dir, eventstore.Filter{}, 0),
		} {
			count := 0
			for rec, err := range read {
				if err != nil {
					t.Fatalf("%s backwards %v after %d: %v", what, dir, count, err)
				}
				if rec.Stream != "long" {
					continue
				}
				want := eventstore.Revision(count)
				if dir == eventstore.Backwards {
					want = eventstore.Revision(n - 1 - count)
				}
				if rec.Revision != want {
					t.Fatalf("%s backwards %v: revision %d came, want %d", what, dir, rec.Revision, want)
				}
				if count++; count%500 == 250 {
					b.proxy.cut()
				}
			}
			if count != n {
				t.Errorf("%s backwards %v ended after %d of %d", what, dir, count, n)
			}
		}
	}
}

// TestLostAnswers: the server writes, its answer is lost, and the append made
// again has one effect.
func TestLostAnswers(t *testing.T) {
	b := openBroken(t)
	write := func(stream string, expected eventstore.Expected, events ...eventstore.Event) eventstore.Appended {
		t.Helper()
		out, err := b.Append(t.Context(), stream, expected, events)
		if err != nil {
			t.Fatalf("%s expecting %s: %v", stream, expected, err)
		}
		return out
	}
	for _, c := range []struct {
		name     string
		given    func(stream string)
		expected eventstore.Expected
		want     eventstore.Revision
	}{
		{"none", func(string) {}, eventstore.NoStream, 1},
		{"at", func(s string) { write(s, eventstore.NoStream, event()) }, 0, 2},
		{"any", func(s string) { write(s, eventstore.NoStream, event()) }, eventstore.Any, 2},
		{"exists", func(s string) { write(s, eventstore.NoStream, event()) }, eventstore.StreamExists, 2},
		{"again", func(s string) {
			write(s, eventstore.NoStream, event(), event())
			if _, err := b.Delete(t.Context(), s, 1); err != nil {
				t.Fatal(err)
			}
		}, eventstore.NoStream, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := "answers-" + c.name
			c.given(stream)
			before, err := b.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			b.proxy.deaf.Store(true)
			events := []eventstore.Event{event(), event()}
			done := make(chan error, 1)
			var out eventstore.Appended
			go func() {
				var err error
				out, err = b.Append(t.Context(), stream, c.expected, events)
				done <- err
			}()
			// The server has it when its own log has grown.
			eventually(t, "the append arrives", func() bool {
				head, err := b.server.Options.Store.Head(t.Context())
				return err == nil && before.Before(head)
			})
			b.proxy.deaf.Store(false)
			b.proxy.cut()
			if err := <-done; err != nil || out.Revision != c.want {
				t.Fatalf("%+v, %v; want revision %d", out, err, c.want)
			}
			seen := map[uuid.UUID]int{}
			for rec, err := range b.ReadStream(t.Context(), stream, 0, eventstore.Forwards, 0) {
				if err != nil {
					t.Fatal(err)
				}
				seen[rec.ID]++
			}
			if seen[events[0].ID] != 1 || seen[events[1].ID] != 1 {
				t.Errorf("the events are there %d and %d times", seen[events[0].ID], seen[events[1].ID])
			}
		})
	}
}

// TestServerAway: while the server is stopped appends say that nothing was
// written, and soon at once; when it is back on its port everything goes on.
func TestServerAway(t *testing.T) {
	b := openBroken(t)
	filter := eventstore.Filter{Prefixes: []string{"away"}}
	sub, err := b.Subscribe(t.Context(), eventstore.Start, filter)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := b.Append(t.Context(), "away", eventstore.NoStream, []eventstore.Event{event()}); err != nil {
		t.Fatal(err)
	}
	b.server.Stop()
	eventually(t, "the store is unreachable", func() bool {
		err := b.Unreachable()
		return err != nil && errors.Is(err, eventstore.ErrUnavailable) && !strings.Contains(err.Error(), "\n")
	})
	_, err = b.Append(t.Context(), "away", 0, []eventstore.Event{event()})
	if !errors.Is(err, eventstore.ErrUnavailable) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("append to a stopped server: %v, want unavailable", err)
	}
	began := time.Now()
	for range 100 {
		if _, err := b.Append(t.Context(), "away", 0, []eventstore.Event{event()}); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("append to a stopped server: %v", err)
		}
		for _, err := range b.ReadStream(t.Context(), "away", 0, eventstore.Forwards, 0) {
			if !errors.Is(err, eventstore.ErrUnavailable) {
				t.Errorf("read from a stopped server: %v", err)
			}
		}
		if _, err := b.Subscribe(t.Context(), eventstore.Start, filter); !errors.Is(err, eventstore.ErrUnavailable) {
			t.Errorf("subscribe to a stopped server: %v", err)
		}
	}
	// One that comes while the store tries to connect again waits for that; were all
	// to wait, it would be a hundred times this.
	if took := time.Since(began); took > 3*patience {
		t.Errorf("300 calls to a server that is away took %s", took)
	}
	b.server.Start()
	eventually(t, "the store is reachable", func() bool { return b.Unreachable() == nil })
	until(t, func() error {
		_, err := b.Append(t.Context(), "away", 0, []eventstore.Event{event()})
		return err
	})
	for want := eventstore.Revision(0); want < 2; {
		n, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind == eventstore.Delivered {
			if n.Record.Revision != want {
				t.Fatalf("revision %d came, want %d", n.Record.Revision, want)
			}
			want++
		}
	}
}

// TestStalled: a network that swallows everything holds nobody longer than his
// context, and is left for a new connection.
func TestStalled(t *testing.T) {
	b := openBroken(t)
	if _, err := b.Append(t.Context(), "stalled", eventstore.NoStream, []eventstore.Event{event()}); err != nil {
		t.Fatal(err)
	}
	sub, err := b.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	b.proxy.stall()
	within := func(what string, f func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := f(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the context's end", what, err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}
	within("append", func(ctx context.Context) error {
		_, err := b.Append(ctx, "stalled", 0, []eventstore.Event{event()})
		if !errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("append: %v, want an unknown outcome", err)
		}
		return err
	})
	within("read", func(ctx context.Context) (last error) {
		for _, err := range b.ReadStream(ctx, "stalled", 0, eventstore.Forwards, 0) {
			last = err
		}
		return last
	})
	within("scan", func(ctx context.Context) (last error) {
		for _, err := range b.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"x"}}, 0) {
			last = err
		}
		return last
	})
	within("head", func(ctx context.Context) error { _, err := b.Head(ctx); return err })
	within("log", func(ctx context.Context) error { _, err := b.Log(ctx); return err })
	within("subscribe", func(ctx context.Context) error {
		_, err := b.Subscribe(ctx, eventstore.Start, eventstore.Filter{})
		return err
	})
	within("next", func(ctx context.Context) (err error) {
		for err == nil {
			_, err = sub.Next(ctx)
		}
		return err
	})
	b.proxy.release()
	b.proxy.cut()
	until(t, func() error {
		_, err := b.Append(t.Context(), "stalled", eventstore.Any, []eventstore.Event{event()})
		return err
	})
}

// TestClosedWhileAway: a store whose server is gone can be closed, and leaves
// nothing behind.
func TestClosedWhileAway(t *testing.T) {
	b := openBroken(t)
	sub, err := b.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	b.proxy.down()
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			for {
				if _, err := b.Append(t.Context(), "closed", eventstore.Any, []eventstore.Event{event()}); errors.Is(err, errClosed) {
					return
				}
			}
		})
	}
	eventually(t, "the store is unreachable", func() bool { return b.Unreachable() != nil })
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	work.Wait()
	for err == nil {
		_, err = sub.Next(t.Context())
	}
	if !errors.Is(err, errClosed) {
		t.Errorf("next of a closed store: %v", err)
	}
	sub.Close()
}

// TestFirstReadIsLate: a link that nobody needed for long connects when somebody
// does.
func TestFirstReadIsLate(t *testing.T) {
	s := openServed(t)
	s.readers.mu.Lock()
	s.readers.lost = time.Now().Add(-time.Hour)
	s.readers.mu.Unlock()
	for _, err := range s.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
}
