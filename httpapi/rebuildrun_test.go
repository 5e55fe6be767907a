package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/projections"
)

const ofOrders = "/v1/projections/orders"

// rebuilt asks for a rebuild, and returns it when it is over.
func (r *rig) rebuilt(body string) RebuildAnswer {
	r.t.Helper()
	a := r.post(ofOrders+"/rebuilds", body).is(202)
	begun := decoded[RebuildAnswer](a)
	path := fmt.Sprintf("%s/rebuilds/%d", ofOrders, begun.Generation)
	a.has("Location", path)
	return r.over(path)
}

func (r *rig) over(path string) (rb RebuildAnswer) {
	r.t.Helper()
	r.until("the rebuild is over", func() bool {
		rb = decoded[RebuildAnswer](r.get(path).is(200))
		return rb.Phase.Over()
	})
	return rb
}

// until waits for a condition.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for !is() {
		select {
		case <-deadline:
			r.t.Fatalf("not in time: %s\n%s", what, r.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// standing is what /v1/projections shows: "2 live, 1 previous".
func (r *rig) standing() string {
	r.t.Helper()
	var parts []string
	for _, g := range decoded[ProjectionsAnswer](r.get("/v1/projections").is(200)).Items[0].Generations {
		is := fmt.Sprintf("%d %s", g.Generation, g.State)
		if g.Served {
			is += " served"
		}
		parts = append(parts, is)
	}
	return strings.Join(parts, ", ")
}

func (r *rig) stands(want string) {
	r.t.Helper()
	got := ""
	r.until("the generations are "+want, func() bool { got = r.standing(); return got == want || r.t.Failed() })
}

// TestRebuildToRollback is the whole way, with reads at every step.
func TestRebuildToRollback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 20 {
		r.placed(fmt.Sprintf("o-%d", i))
	}
	r.caughtUp()
	r.stands("1 live served")
	r.get(ofOrders+"/diff").problem(404, "no-candidate")
	r.post(ofOrders+"/switch", `{}`).problem(404, "no-candidate")
	r.post(ofOrders+"/rollback", `{}`).problem(404, "no-previous")
	r.send("DELETE", ofOrders+"/generations/1", "").problem(409, "generation-in-force")
	r.send("DELETE", ofOrders+"/generations/7", "").problem(404, "unknown-generation")
	r.send("DELETE", ofOrders+"/rebuilds/7", "").problem(404, "unknown-rebuild")
	r.get(ofOrders+"/rebuilds/7").problem(404, "unknown-rebuild")
	r.get(ofOrders+"/rebuilds/7", "Accept: text/event-stream").problem(404, "unknown-rebuild")
	if got := decoded[RebuildsAnswer](r.get(ofOrders + "/rebuilds").is(200)); got.Items == nil || len(got.Items) != 0 {
		t.Errorf("rebuilds before there was one: %+v", got)
	}

	rb := r.rebuilt(`{"reason":"to see"}`)
	if rb.Phase != projections.PhaseReady || rb.Generation != 2 || rb.Then != projections.ThenAsk || rb.Reason != "to see" || rb.Projection != "orders" {
		t.Fatalf("%+v %+v", rb, rb.Failure)
	}
	r.stands("1 live served, 2 ready")
	if p := r.post(ofOrders+"/rebuilds", `{}`).problem(409, "rebuild-running"); p.Generation != 2 || !strings.Contains(p.Detail, "DELETE "+ofOrders+"/rebuilds/2") {
		t.Errorf("%+v", p)
	}
	list := decoded[ProjectionsAnswer](r.get("/v1/projections").is(200)).Items[0]
	if list.Rebuild == nil || list.Rebuild.Generation != 2 || len(list.Next) != 3 || list.Next[1].Command != "docket projections switch --generation 2" {
		t.Errorf("%+v", list)
	}
	d := decoded[GenerationsAnswer](r.get(ofOrders + "/diff").is(200))
	if !d.Same || d.From != 1 || d.To != 2 || len(d.Stores) != 1 || d.Stores[0].Equal != 20 {
		t.Errorf("%+v", d)
	}
	r.placed("later")
	d = decoded[GenerationsAnswer](r.get(ofOrders + "/diff?fresh=true").is(200))
	if !d.Same || d.Stores[0].Equal != 21 {
		t.Errorf("%+v", d)
	}

	if p := r.post(ofOrders+"/switch", `{"generation":3}`).problem(409, "another-candidate"); !strings.Contains(p.Detail, "generation 2, not 3") {
		t.Errorf("%+v", p)
	}
	r.post(ofOrders+"/switch", `{"generation":"2"}`).problem(400, "invalid-body")
	r.post(ofOrders+"/switch", `{"generation":0}`).problem(400, "invalid-body")
	r.post(ofOrders+"/switch", `{"generation":-2}`).problem(400, "invalid-body")
	r.post(ofOrders+"/switch", ``).is(200)
	r.stands("2 live served, 1 previous")
	if again := decoded[SwitchAnswer](r.post(ofOrders+"/switch", `{"generation":2}`).is(200)); again != (SwitchAnswer{Generation: 2}) {
		t.Errorf("asked once more: %+v", again)
	}
	r.get("/v1/orders/o-1").is(200).has("Read-Generation", "2")
	r.post(ofOrders+"/switch", `{}`).problem(404, "no-candidate")
	r.send("DELETE", ofOrders+"/rebuilds/2", "").problem(409, "generation-in-force")
	if got := decoded[SwitchAnswer](r.post(ofOrders+"/rollback", `{"acceptStale":false}`).is(200)); got != (SwitchAnswer{1, 2}) {
		t.Errorf("%+v", got)
	}
	r.stands("1 live served, 2 previous")
	r.get("/v1/orders/later").is(200).has("Read-Generation", "1")
	if got := decoded[GoneAnswer](r.send("DELETE", ofOrders+"/generations/2", "").is(200)); got != (GoneAnswer{2, "dropped"}) {
		t.Errorf("%+v", got)
	}
	r.send("DELETE", ofOrders+"/generations/2", "").problem(404, "unknown-generation")
	r.post(ofOrders+"/rollback", `{}`).problem(404, "no-previous")
	r.stands("1 live served")
	body := string(r.get("/metrics").is(200).body)
	for _, want := range []string{
		`docket_projection_generation{generation="1",projection="orders",served="true",state="live",store="sqlite",version="`, `docket_rebuild_phase{phase="switched",projection="orders"} 1`,
		`docket_rebuild_phase{phase="failed",projection="orders"} 0`, `docket_rebuild_generation{projection="orders"} 2`, `docket_rebuild_failed{projection="orders"} 0`, `docket_rebuild_started_timestamp_seconds{projection="orders"} `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestRebuildSwitchesByItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.caughtUp()
	for i, body := range []string{`{"then":"switch","share":1}`, `{"then":"switch-if-equal"}`, `{"then":"switch-only","fields":["/status"]}`} {
		if rb := r.rebuilt(body); rb.Phase != projections.PhaseSwitched || rb.Generation != i+2 {
			t.Fatalf("%s: %+v %+v", body, rb, rb.Failure)
		}
		r.stands(fmt.Sprintf("%d live served, %d previous", i+2, i+1))
	}
	if got := decoded[RebuildsAnswer](r.get(ofOrders + "/rebuilds").is(200)).Items; len(got) != 3 || got[0].Generation != 4 {
		t.Errorf("%+v", got)
	}
}

func TestReprojection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.caughtUp()
	got := decoded[ReprojectionAnswer](r.post(ofOrders+"/orders/o-1/reprojections", `{}`).is(200))
	if got.OrderID != "o-1" || len(got.Stores) != 1 || got.Stores[0].Store != "sqlite" || got.Stores[0].Changes == nil || len(got.Stores[0].Changes) != 0 {
		t.Errorf("%+v", got)
	}
	r.post(ofOrders+"/orders/nobody/reprojections", ``).is(200)
}

// held is a backend that opens no generation but the first until it is let.
type held struct {
	projections.Backend
	let chan struct{}
}

func (h held) Open(ctx context.Context, generation int) (projections.Sink, error) {
	if generation > 1 {
		select {
		case <-h.let:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return h.Backend.Open(ctx, generation)
}

// newHeldRig has a rebuild that runs until it is let.
func newHeldRig(t *testing.T, change ...func(*Options)) (r *rig, let func()) {
	t.Helper()
	gate := make(chan struct{})
	let = sync.OnceFunc(func() { close(gate) })
	r = newRigOver(t, func(o *projections.Options) { o.Backend = held{o.Backend, gate} }, change...)
	t.Cleanup(let)
	r.placed("o-1")
	r.caughtUp()
	return r, let
}

// sse is a stream of events that is read as it comes.
type sse struct {
	t     *testing.T
	lines *bufio.Scanner
	body  interface{ Close() error }
}

func (r *rig) events(path string, headers ...string) *sse {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.(*testing.T).Context(), "GET", r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := r.server.Client().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s: %d %v", path, res.StatusCode, res.Header)
	}
	r.t.(*testing.T).Cleanup(func() { _ = res.Body.Close() })
	return &sse{r.t.(*testing.T), bufio.NewScanner(res.Body), res.Body}
}

// next is the next event; kind is empty at the end of the stream.
func (s *sse) next() (kind, id string, rb RebuildAnswer) {
	s.t.Helper()
	for s.lines.Scan() {
		name, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch name {
		case "event":
			kind = value
		case "id":
			id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &rb, json.RejectUnknownMembers(true)); err != nil {
				s.t.Fatalf("%v in %s", err, value)
			}
		}
		if s.lines.Text() == "" && kind != "" {
			return kind, id, rb
		}
	}
	return "", "", rb
}

func TestRebuildIsWatched(t *testing.T) {
	t.Parallel()
	r, let := newHeldRig(t)
	begun := decoded[RebuildAnswer](r.post(ofOrders+"/rebuilds", ``).is(202))
	path := rebuildPath(projections.Name, begun.Generation)
	stream := r.events(path, "Last-Event-ID: 2-17")
	kind, id, rb := stream.next()
	if kind != "progress" || id != "2-1" || rb.Generation != 2 || rb.Phase.Over() {
		t.Fatalf("%s %s %+v", kind, id, rb)
	}
	r.get(ofOrders+"/diff").problem(409, "rebuild-not-ready").retried(t, r.get(ofOrders+"/diff"))
	r.post(ofOrders+"/switch", ``).problem(409, "rebuild-not-ready")
	if p := r.post(ofOrders+"/rebuilds", ``).problem(409, "rebuild-running"); p.Generation != 2 || !strings.Contains(p.Detail, "is being made") {
		t.Errorf("%+v", p)
	}
	let()
	began, events := time.Now(), 1
	for kind == "progress" {
		kind, id, rb = stream.next()
		events++
	}
	if kind != "end" || id != "2-end" || rb.Phase != projections.PhaseReady {
		t.Errorf("%s %s %+v", kind, id, rb)
	}
	if most := 3 + int(time.Since(began)/eventGap); events > most {
		t.Errorf("%d events, more than %d", events, most)
	}
	if kind, _, _ := stream.next(); kind != "" {
		t.Errorf("%s after the end", kind)
	}
	// One who comes again is told at once; one who has had the end is sent away.
	again := r.events(path)
	if kind, _, _ := again.next(); kind != "progress" {
		t.Errorf("begins with %s", kind)
	}
	for kind, id, _ = again.next(); kind == "progress"; kind, id, _ = again.next() {
	}
	if kind != "end" {
		t.Errorf("ends with %q", kind)
	}
	r.get(path, "Accept: text/event-stream", "Last-Event-ID: "+id).is(204)
}

// retried checks that a problem says when to ask again.
func (p Problem) retried(t *testing.T, a reply) {
	t.Helper()
	if a.header.Get("Retry-After") == "" || p.Generation != 2 {
		t.Errorf("%+v %v", p, a.header)
	}
}

// TestCancelled: while it runs, and twice; watchers hear of it.
func TestCancelled(t *testing.T) {
	t.Parallel()
	r, let := newHeldRig(t)
	begun := decoded[RebuildAnswer](r.post(ofOrders+"/rebuilds", ``).is(202))
	path := rebuildPath(projections.Name, begun.Generation)
	stream := r.events(path)
	cancelled := make(chan reply, 1)
	go func() { cancelled <- r.send("DELETE", path, "") }()
	kind := "progress"
	var rb RebuildAnswer
	for kind == "progress" {
		kind, _, rb = stream.next()
	}
	if kind != "end" || rb.Phase != projections.PhaseCancelled {
		t.Errorf("%s %+v", kind, rb)
	}
	let()
	if got := decoded[GoneAnswer]((<-cancelled).is(200)); got != (GoneAnswer{2, "cancelled"}) {
		t.Errorf("%+v", got)
	}
	r.send("DELETE", path, "").is(200)
	r.stands("1 live served")
	if rb := r.rebuilt(`{"then":"switch"}`); rb.Generation != 3 || rb.Phase != projections.PhaseSwitched {
		t.Errorf("%+v", rb)
	}
}

// TestWatchersAreBounded: one more than may wait is turned away, and one that
// stops reading gives its place up.
func TestWatchersAreBounded(t *testing.T) {
	t.Parallel()
	r, _ := newHeldRig(t, func(o *Options) { o.Limits.Waits = 1 })
	begun := decoded[RebuildAnswer](r.post(ofOrders+"/rebuilds", ``).is(202))
	path := rebuildPath(projections.Name, begun.Generation)
	first := r.events(path)
	first.next()
	r.get(path, "Accept: text/event-stream").problem(503, "overloaded")
	r.get(path).is(200) // who asks once waits for nothing
	if err := first.body.Close(); err != nil {
		t.Fatal(err)
	}
	r.until("the place is free again", func() bool {
		return r.gateOf(waits) == 0
	})
	r.events(path).next()
}

// gateOf is how many turns of a class are taken, as the metrics tell it.
func (r *rig) gateOf(c class) (taken int) {
	r.t.Helper()
	for line := range strings.Lines(string(r.get("/metrics").is(200).body)) {
		if rest, ok := strings.CutPrefix(line, `docket_http_turns_taken{class="`+classNames[c]+`"} `); ok {
			if _, err := fmt.Sscan(rest, &taken); err != nil {
				r.t.Fatal(err)
			}
			return taken
		}
	}
	r.t.Fatal("no such metric")
	return 0
}

// TestWatcherThatDoesNotRead is dropped, over a connection that keeps nothing for
// it.
func TestWatcherThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r, _ := newHeldRig(t)
	begun := decoded[RebuildAnswer](r.post(ofOrders+"/rebuilds", ``).is(202))
	s := newServer(r.options)
	s.eventPatience = 50 * time.Millisecond
	theirs, ours := net.Pipe()
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(&oneConnection{conn: ours}) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		_ = theirs.Close()
	})
	request := "GET " + rebuildPath(projections.Name, begun.Generation) + " HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
	if _, err := theirs.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	gate := s.gates.of[waits]
	r.until("the watcher is dropped", func() bool { return gate.taken.Load() == 0 })
}

// oneConnection is a listener that has one.
type oneConnection struct {
	conn net.Conn
	once sync.Once
	over chan struct{}
}

func (l *oneConnection) Accept() (net.Conn, error) {
	var conn net.Conn
	l.once.Do(func() { conn, l.over = l.conn, make(chan struct{}) })
	if conn != nil {
		return conn, nil
	}
	<-l.over
	return nil, net.ErrClosed
}

func (l *oneConnection) Close() error   { close(l.over); return nil }
func (l *oneConnection) Addr() net.Addr { return l.conn.LocalAddr() }

// TestStoppingEndsStreams: a server that stops does not wait for them.
func TestStoppingEndsStreams(t *testing.T) {
	t.Parallel()
	stopping, stop := context.WithCancel(t.Context())
	r, _ := newHeldRig(t, func(o *Options) { o.Stopping = stopping })
	begun := decoded[RebuildAnswer](r.post(ofOrders+"/rebuilds", ``).is(202))
	stream := r.events(rebuildPath(projections.Name, begun.Generation))
	stream.next()
	stop()
	for kind, _, _ := stream.next(); kind != ""; kind, _, _ = stream.next() {
		if kind != "progress" {
			t.Errorf("%s", kind)
		}
	}
}

// TestManyAtOnce: of several who switch one does; a cancel among them leaves
// either of both, whole.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.caughtUp()
	inForce := 1
	for round := range 4 {
		rb := r.rebuilt(`{}`)
		var mu sync.Mutex
		var done []string
		var asking sync.WaitGroup
		ask := func(method, path string) {
			asking.Go(func() {
				a := r.send(method, path, "")
				mu.Lock()
				defer mu.Unlock()
				if a.status == 200 {
					done = append(done, method)
				} else if p := decoded[Problem](a); a.status != 404 && a.status != 409 {
					t.Errorf("%s: %+v", a.what, p)
				}
			})
		}
		for range 4 {
			ask("POST", ofOrders+"/switch")
		}
		if round%2 == 1 {
			ask("DELETE", rebuildPath(projections.Name, rb.Generation))
		}
		asking.Wait()
		if len(done) != 1 {
			t.Fatalf("round %d: done %v", round, done)
		}
		if done[0] == "POST" {
			inForce = rb.Generation
		}
		r.until("what is served is what was decided", func() bool {
			return slices.Contains(strings.Split(r.standing(), ", "), fmt.Sprintf("%d live served", inForce))
		})
		r.get("/v1/orders/o-1").is(200)
	}
}
