package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/query"
)

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	look, enough := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-enough:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// standing is a gate of which tests hold the turns.
func standing(inside, queue, callers int, patience time.Duration, percent int) *gate {
	return newGates(Limits{Reads: inside, Queue: queue, QueueTime: patience, CallerPercent: percent}.OrDefaults(), callers).of[reads]
}

func TestGate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	g := standing(2, 1, 1, time.Hour, 0)
	enter := func(caller int) string {
		t.Helper()
		reason, err := g.enter(ctx, caller)
		if err != nil {
			t.Fatal(err)
		}
		return reason
	}
	if first, second := enter(0), enter(0); first != "" || second != "" {
		t.Fatal("there are two turns")
	}
	third := make(chan string)
	go func() { third <- enter(0) }()
	until(t, "one waits", func() bool { return g.taken.Load() == 3 })
	if got := enter(0); got != "queue" {
		t.Errorf("beyond the queue: %q", got)
	}
	g.leave(0)
	if got := <-third; got != "" {
		t.Errorf("the one that waited: %q", got)
	}
	g.leave(0)
	g.leave(0)

	// Who waits too long, or hangs up, is gone.
	g = standing(1, 5, 1, time.Millisecond, 0)
	if first, second := enter(0), enter(0); first != "" || second != "queue-time" {
		t.Error("nobody was asked to wait")
	}
	g = standing(1, 5, 1, time.Hour, 0)
	enter(0)
	gone, hangUp := context.WithCancel(ctx)
	hangUp()
	if reason, err := g.enter(gone, 0); err == nil || reason != "" {
		t.Errorf("hung up: %q %v", reason, err)
	}
	g.leave(0)
	if g.taken.Load() != 0 || g.byCaller[0].taken != 0 || g.running != 0 {
		t.Errorf("left behind: %d taken, %d by the caller, %d inside", g.taken.Load(), g.byCaller[0].taken, g.running)
	}
}

// TestGateIsShared: where there are several callers none has more than its
// share; a single one may have everything.
func TestGateIsShared(t *testing.T) {
	t.Parallel()
	g := standing(4, 4, 3, time.Nanosecond, 25)
	for i, want := range []string{"", "", "caller", "caller"} {
		if got, _ := g.enter(context.Background(), 1); got != want {
			t.Errorf("request %d of one caller: %q, want %q", i, got, want)
		}
	}
	if got, _ := g.enter(context.Background(), 2); got != "" {
		t.Errorf("another caller: %q", got)
	}
	g.leave(1)
	if got, _ := g.enter(context.Background(), 1); got != "" {
		t.Errorf("after one was done: %q", got)
	}
	g = standing(4, 0+1, 1, time.Nanosecond, 25)
	for i, want := range []string{"", "", "", "", "queue-time"} {
		if got, _ := g.enter(context.Background(), 0); got != want {
			t.Errorf("request %d of the only caller: %q, want %q", i, got, want)
		}
	}
}

// TestTurnsGoRound: a caller with many requests in the queue does not make
// another one wait for them.
func TestTurnsGoRound(t *testing.T) {
	t.Parallel()
	g := standing(1, 100, 3, time.Hour, 50)
	if reason, _ := g.enter(context.Background(), 1); reason != "" {
		t.Fatal(reason)
	}
	turns := make(chan int, 100)
	wait := func(caller, n int) {
		for range n {
			before := g.taken.Load()
			go func() {
				if reason, err := g.enter(context.Background(), caller); reason == "" && err == nil {
					turns <- caller
				}
			}()
			until(t, "it waits", func() bool { return g.taken.Load() == before+1 })
		}
	}
	wait(1, 40)
	wait(2, 2)
	at := 1 // who has the turn
	var got []int
	for range 42 {
		g.leave(at)
		at = <-turns
		got = append(got, at)
	}
	g.leave(at)
	if slices.Index(got, 2) > 1 || slices.Index(got[2:], 2) > 1 || g.running != 0 || g.taken.Load() != 0 {
		t.Errorf("turns of %v; %d have one, %d places are taken", got, g.running, g.taken.Load())
	}
}

// hold takes turns, as requests at work do.
func hold(r *rig, g *gate, n int) (release func()) {
	r.t.Helper()
	for range n {
		if reason, err := g.enter(context.Background(), 0); reason != "" || err != nil {
			r.t.Fatal(reason, err)
		}
	}
	return func() {
		for range n {
			g.leave(0)
		}
	}
}

// gatedRig is a rig whose gates can be held.
func gatedRig(t *testing.T, l Limits, change ...func(*Options)) (*rig, *server) {
	t.Helper()
	r := newRig(t, append(change, func(o *Options) { o.Limits = l })...)
	s := newServer(r.options)
	s.caughtUp.Store(true)
	r.server.Config.Handler = s.handler()
	return r, s
}

// tokenOf is that of a write that may not have been.
func tokenOf(r *rig, id string, revision eventstore.Revision) string {
	return query.Token{Log: r.options.Log, OrderID: id, Revision: revision, Position: eventstore.At64(1 << 40)}.String()
}

func TestTooMuchIsTurnedAway(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{Commands: 1, Reads: 1, Searches: 1, Adoptions: 1, Waits: 1, Queue: 1, QueueTime: time.Millisecond})
	r.placed("o-1")
	r.caughtUp()
	token := r.post("/v1/orders/o-1/confirm", `{}`).is(200).header.Get("Consistency-Token")
	line := `{"id":"o-9","history":[]}`
	ask := map[class]func() reply{
		commands:  func() reply { return r.post("/v1/orders/o-1/notes", `{"text":"x"}`) },
		reads:     func() reply { return r.get("/v1/orders/o-1") },
		searches:  func() reply { return r.get("/v1/orders") },
		adoptions: func() reply { return r.post("/v1/adoptions", line, "Content-Type: application/x-ndjson") },
		waits:     func() reply { return r.get("/v1/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=1") },
	}
	for c, send := range ask {
		if send().is(200); c == commands {
			r.post("/v1/orders", strings.Replace(mugs, "%s", "o-2", 1)).is(201)
		}
		release := hold(r, s.gates.of[c], 1)
		a := send()
		a.problem(503, "overloaded")
		if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 || after > 3 {
			t.Errorf("%s: Retry-After %q", classNames[c], a.header.Get("Retry-After"))
		}
		for other := range ask {
			if other != c && !(other == waits && c == reads) {
				ask[other]().is(200)
			}
		}
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/projections", "/v1/reconciliations"} {
			r.get(path).is(200)
		}
		release()
		send().is(200)
		if !strings.Contains(string(r.get("/metrics").body), `docket_http_shed_total{class="`+classNames[c]+`"`) {
			t.Errorf("%s: not counted", classNames[c])
		}
	}
	for c := range ask {
		if n := s.gates.of[c].taken.Load(); n != 0 {
			t.Errorf("%s: %d turns are left behind", classNames[c], n)
		}
	}
}

// TestNothingWasDone: a command that was turned away had no effect, and its key
// is free.
func TestNothingWasDone(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{Commands: 1, Queue: 1, QueueTime: time.Millisecond})
	r.placed("o-1")
	release := hold(r, s.gates.of[commands], 1)
	r.post("/v1/orders/o-1/notes", `{"text":"x"}`, "Idempotency-Key: k").has("Idempotency-Key", "k").problem(503, "overloaded")
	release()
	r.post("/v1/orders/o-1/notes", `{"text":"x"}`, "Idempotency-Key: k").is(200).has("ETag", `"1"`).has("Idempotency-Replayed", "")
}

// TestOneCallerLeavesRoom: of several callers, the one that asks for too much is
// told so, and the other does not notice.
func TestOneCallerLeavesRoom(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{Reads: 2, Queue: 2, CallerPercent: 50, QueueTime: time.Millisecond}, func(o *Options) { o.Keys = testKeys(t) })
	for range 2 {
		if reason, err := s.gates.of[reads].enter(context.Background(), 1); reason != "" || err != nil {
			t.Fatal(reason, err)
		}
	}
	r.get("/v1/orders/x", "Authorization: Bearer r").problem(429, "too-many-requests")
	s.gates.of[reads].leave(1) // one of the two turns is free, but not for everybody
	r.get("/v1/orders/x", "Authorization: Bearer w").problem(404, "unknown-order")
	r.get("/v1/orders/x", "Authorization: Bearer r").problem(404, "unknown-order")
}

// TestWaitingTakesNoTurn: those who wait for a view keep nobody from reading.
func TestWaitingTakesNoTurn(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{Reads: 1, Searches: 1, Queue: 1, QueueTime: 10 * time.Second})
	r.placed("o-1")
	r.caughtUp()
	// A token of a write that will not come.
	_, revision, err := r.orders.Load(context.Background(), "o-1")
	if err != nil {
		t.Fatal(err)
	}
	token := tokenOf(r, "o-1", revision+1000)
	var waiting sync.WaitGroup
	for _, path := range []string{"/v1/orders/o-1", "/v1/orders", "/v1/orders/o-1", "/v1/customers/c-1"} {
		waiting.Go(func() {
			r.get(path, "Consistency-Token: "+token, "Prefer: wait=2").problem(503, "read-model-behind")
		})
	}
	until(t, "four wait", func() bool { return s.gates.of[waits].taken.Load() == 4 })
	for range 20 {
		r.get("/v1/orders/o-1").is(200)
		r.get("/v1/orders").is(200)
	}
	if got := s.gates.of[waits].taken.Load(); got != 4 {
		t.Errorf("reads waited for those who wait: %d are left", got)
	}
	waiting.Wait()
}

// TestSlowReadersTakeNoTurn: an answer that nobody takes is in nobody's way,
// and is given up.
func TestSlowReadersTakeNoTurn(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{Searches: 1, Queue: 10, QueueTime: 10 * time.Second})
	line := `{"sku":"a","title":"` + strings.Repeat("x", order.MaxText) + `","quantity":1,"unitPrice":{"amount":"1","currency":"EUR"}}`
	for range 6 {
		r.post("/v1/orders", `{"currency":"EUR","lines":[`+strings.Repeat(line+",", 399)+line+`]}`).is(201)
	}
	r.caughtUp()
	address := serveLimited(t, s, Limits{AnswerTime: 8 * time.Second})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(conn, "GET /v1/orders?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	until(t, "the answer is held", func() bool { return s.gates.held.taken.Load() > 4<<20 })
	r.get("/v1/orders?limit=1").is(200) // there is one turn only
	if s.gates.held.taken.Load() == 0 {
		t.Error("the answer was taken before another was given: nothing was seen")
	}
	until(t, "it is given up", func() bool { return s.gates.held.taken.Load() == 0 })
}

// TestHeldBytesAreBounded: large bodies and answers share what memory there is.
func TestHeldBytesAreBounded(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{HeldBytes: 2 << 20})
	r.placed("o-1")
	if !s.gates.held.take(2<<20 - 1000) {
		t.Fatal("nothing is left")
	}
	body := `{"text":"x"` + strings.Repeat(" ", 100<<10) + `}`
	r.post("/v1/orders/o-1/notes", body).problem(503, "overloaded")
	r.post("/v1/orders/o-1/notes", `{"text":"x"}`).is(200) // small ones come through
	s.gates.held.give(2<<20 - 1000)
	r.post("/v1/orders/o-1/notes", body).is(200)
	if n := s.gates.held.taken.Load(); n != 0 {
		t.Errorf("%d bytes are left behind", n)
	}
}

// TestConnectionsAreBounded: for one more, the one that is idle longest goes;
// one at work stays.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	r, s := gatedRig(t, Limits{})
	address := serveLimited(t, s, Limits{Connections: 3})
	dial := func() *talk {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		return &talk{conn, bufio.NewReader(conn)}
	}
	token := func() string { r.placed("o-1"); r.caughtUp(); return tokenOf(r, "o-1", 1000) }()
	busy := dial()
	fmt.Fprintf(busy, "GET /v1/orders/o-1 HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=2\r\nConsistency-Token: %s\r\n\r\n", token)
	until(t, "it waits", func() bool { return s.gates.of[waits].taken.Load() == 1 })
	first, second := dial(), dial()
	for _, c := range []*talk{first, second} {
		if status := c.get("/healthz"); status != 200 {
			t.Fatal(status)
		}
	}
	if status := first.get("/healthz"); status != 200 { // second is idle longer now
		t.Fatal(status)
	}
	for range 10 { // each drives out the one that is idle longest
		if status := dial().get("/healthz"); status != 200 {
			t.Fatal(status)
		}
	}
	if _, err := second.in.ReadByte(); err == nil {
		t.Error("the idle connection is still there")
	}
	res, err := http.ReadResponse(busy.in, nil)
	if err != nil || res.StatusCode != 503 {
		t.Errorf("the one at work: %v %v", res, err)
	}
}

type talk struct {
	net.Conn
	in *bufio.Reader
}

func (c *talk) get(path string) int {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// serveLimited serves as the program does, on an address of its own.
func serveLimited(t *testing.T, s *server, l Limits) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running := NewServer(s.handler(), l, s.o.Logger)
	go func() { _ = running.Serve(listener) }()
	t.Cleanup(func() { running.Close() })
	return listener.Addr().String()
}

// BenchmarkGate is what a turn costs when there are enough of them.
func BenchmarkGate(b *testing.B) {
	g := newGates(Limits{}.OrDefaults(), 3).of[commands]
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if reason, _ := g.enter(b.Context(), 1); reason != "" {
				b.Fatal(reason)
			}
			g.leave(1)
		}
	})
}

// TestABodyNobodyWantsHoldsNoConnection: who is turned away before the body is
// read is answered although the body never comes, and the connection is closed.
func TestABodyNobodyWantsHoldsNoConnection(t *testing.T) {
	t.Parallel()
	limits := Limits{BodyTime: 20 * time.Second}
	_, s := gatedRig(t, limits, func(o *Options) { o.Keys = testKeys(t) })
	conn, err := net.Dial("tcp", serveLimited(t, s, limits))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprintf(conn, "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	text, err := io.ReadAll(conn)
	if took := time.Since(began); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 401 ") || took > 10*time.Second {
		t.Errorf("after %v: %.40q, %v", took, text, err)
	}
}
