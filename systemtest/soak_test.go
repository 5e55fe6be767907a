package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// documented are the codes with which docket may say "not now".
var documented = map[string]bool{
	"busy": true, "overloaded": true, "read-model-behind": true, "unavailable": true, "outcome-unknown": true, "too-many-requests": true,
}

const (
	soakTime    = 45 * time.Second // unless DOCKET_SOAK says otherwise
	soakClients = 6
	// longestRound of load before everything is looked at.
	longestRound = 5 * time.Minute
	// sampled so many acknowledged commands are sent again after each round.
	sampled = 2000
	// mostWAL bounds the -wal file of the log and of the views while everything
	// runs: a reader may hold back the copying for a while.
	mostWAL = 256 << 20
	// mayGrow is by how much resident memory at the end may exceed what it was
	// in the middle, beside a third.
	mayGrow = 96 << 20
)

// TestSoak lets the program run with everything on for DOCKET_SOAK: clients that
// place, change and adopt orders, read them in every way there is, and send what
// is refused; imports, rebuilds, reconciliations, backups; another program that
// changes the views; restarts. It comes in rounds. After each one everybody
// stops, and what was acknowledged must be there, log and views must be healthy,
// and docket must have given back what it took: goroutines, files, memory.
func TestSoak(t *testing.T) {
	whole := soakTime
	if text := os.Getenv("DOCKET_SOAK"); text != "" {
		var err error
		if whole, err = time.ParseDuration(text); err != nil {
			t.Fatalf("DOCKET_SOAK: %v", err)
		}
	}
	seed := seed(t)
	t.Logf("%v, DOCKET_SEED=%d", whole, seed)
	s := newSoak(t, seed)

	s.round(min(whole/8, 20*time.Second), false) // the warm-up
	s.idleAtFirst = s.idle()
	t.Logf("idle after the warm-up: %v", s.idleAtFirst)
	rounds := max(2, int(whole/longestRound))
	for n := range rounds {
		left := whole - time.Since(s.began)
		// The last rounds are lived through by one process.
		s.round(max(left/time.Duration(rounds-n), 5*time.Second), n < (rounds+1)/2)
		if t.Failed() {
			break
		}
	}
	s.end()
}

// soak is what lives through all rounds.
type soak struct {
	*campaign
	began       time.Time
	clients     []*soakClient
	counted     *counted
	idleAtFirst footprint

	rounds, rebuilds, backups, restarts int
	samples                             []sample

	mu        sync.Mutex
	revisions map[string]int // the last that was acknowledged, by order
}

func newSoak(t *testing.T, seed uint64) *soak {
	rng := rand.New(rand.NewPCG(seed, 0))
	s := &soak{campaign: newCampaign(t, newSite(t, false), rng), began: time.Now(), revisions: map[string]int{}}
	s.counted = &counted{under: s.network, soak: s, answers: map[string]int{}, notNow: map[string]int{}}
	s.ledger.network = s.counted
	ctx := t.Context()
	for n := range hotOrders {
		order := fmt.Sprintf("hot-%d", n)
		if _, ok := s.send(ctx, s.server(ctx), order, request{method: "POST", path: "/v1/orders", key: order, body: placeBody(order, "Everybody")}); !ok {
			t.Fatal("a first order is refused")
		}
	}
	for n := range soakClients {
		s.clients = append(s.clients, &soakClient{
			loadClient: &loadClient{ledger: s.ledger, name: fmt.Sprintf("s%d", n), rng: rand.New(rand.NewPCG(s.rng.Uint64(), uint64(n)))},
			soak:       s,
		})
	}
	return s
}

// round is load for so long, everything else meanwhile, and then the look at
// what is left of it.
func (s *soak) round(long time.Duration, restart bool) {
	ctx, cancel := context.WithTimeout(s.t.Context(), long)
	defer cancel()
	var working sync.WaitGroup
	for _, c := range s.clients {
		working.Go(func() { c.work(ctx) })
	}
	working.Go(func() { s.watch(ctx) })
	s.operate(ctx, long)
	if restart && s.t.Context().Err() == nil {
		s.restartUnderLoad()
	}
	<-ctx.Done()
	working.Wait()
	s.look()
	s.t.Logf("%v: %v", time.Since(s.began).Round(time.Second), s)
}

// operate does what operators do, one thing after the other, until little is
// left of the round.
func (s *soak) operate(ctx context.Context, long time.Duration) {
	deadline, _ := ctx.Deadline()
	pause := min(long/20, 10*time.Second)
	for first := true; first || time.Until(deadline) > long/4; first = false {
		for _, do := range []func(context.Context){s.importBesideReconciliation, s.rebuild, s.spoilAndRepair, s.backup} {
			if s.t.Context().Err() != nil {
				return
			}
			do(s.t.Context()) // to its end: what is interrupted is another test's
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
		}
	}
}

func (s *soak) importBesideReconciliation(ctx context.Context) {
	running, healthy := s.server(ctx), !s.foreign.Load()
	var both sync.WaitGroup
	both.Go(func() {
		if run := s.imports.next(ctx, s.t, running); run.status != 0 {
			s.t.Errorf("import ended with %d: %s%s", run.status, run.stdout, run.stderr)
		}
	})
	both.Go(func() {
		if run := s.reconcile(ctx, running); run.status != 0 && healthy {
			s.t.Errorf("healthy views are reported under load (%d):\n%s%s", run.status, run.stdout, run.stderr)
		}
	})
	both.Wait()
}

func (s *soak) rebuild(ctx context.Context) {
	running := s.server(ctx)
	if run := docket(ctx, "projections", "rebuild", "orders", "--switch", "--server", running.base, "--key", running.key); run.status != 0 {
		s.t.Errorf("rebuild ended with %d: %s%s", run.status, run.stdout, run.stderr)
	}
	s.rebuilds++
	s.foreign.Store(false) // the view that was changed is gone
}

// spoilAndRepair lets another program change the views, and repairs them.
func (s *soak) spoilAndRepair(ctx context.Context) {
	s.plant()
	running := s.server(ctx)
	// While much is written it may say that it could not tell (and must say so in
	// a report): then the look at the end of the round repairs.
	if run := s.reconcile(ctx, running, "--repair"); run.status < 0 || run.status == 2 && run.stdout == "" {
		s.t.Errorf("repair under load ended with %d:\n%s%s", run.status, run.stdout, run.stderr)
	}
	if run := s.reconcile(ctx, running); run.status == 0 {
		s.foreign.Store(false)
	}
}

func (s *soak) backup(ctx context.Context) {
	to := filepath.Join(s.t.TempDir(), "backup")
	if run := docket(ctx, "eventstore", "backup", to, "--data", s.data); run.status != 0 {
		s.t.Errorf("backup ended with %d: %s%s", run.status, run.stdout, run.stderr)
	}
	s.backups++
	if err := os.RemoveAll(to); err != nil {
		s.t.Error(err)
	}
}

// restartUnderLoad ends docket as systemctl does, and starts it again.
func (s *soak) restartUnderLoad() {
	if err := s.site.stop(); err != nil {
		s.t.Errorf("docket serve did not end well: %v", err)
	}
	s.restarts++
	s.site.start()
}

// stop is SIGTERM; it returns when the process is gone.
func (w *site) stop() error {
	w.mu.Lock()
	s := w.running
	w.running, w.up = nil, make(chan struct{})
	w.mu.Unlock()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.done:
		s.done <- err
		if err != nil {
			err = fmt.Errorf("%w:\n%s", err, s.log)
		}
		return err
	case <-time.After(time.Minute):
		return errors.New("it goes on after SIGTERM")
	}
}

// look is with nobody else there: what had no answer is settled, and a sample of
// what was acknowledged is repeated; log and views must be healthy.
func (s *soak) look() {
	s.checked = max(s.checked, len(s.acknowledged)-sampled)
	for _, a := range s.acknowledged {
		s.acknowledge(a.order, a.answer.Revision)
	}
	s.checkRound(s.rounds)
	s.check(s.rounds)
	s.rounds++
	for _, a := range s.acknowledged { // by those that were settled, too
		s.acknowledge(a.order, a.answer.Revision)
	}
	s.acknowledged, s.checked = nil, 0
	s.everyOrder()
	if at := s.idle(); s.idleAtFirst != (footprint{}) && !s.settled(at) {
		s.t.Errorf("idle again, docket holds more than at first: %v, at first %v", at, s.idleAtFirst)
	}
}

func (s *soak) acknowledge(order string, revision int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revisions[order] = max(s.revisions[order], revision)
}

// known tells whether a command on the order was acknowledged.
func (s *soak) known(order string) bool {
	s.mu.Lock()
	_, ok := s.revisions[order]
	s.mu.Unlock()
	return ok
}

// everyOrder walks through the whole list: each order is there once, at its last
// acknowledged revision or after it.
func (s *soak) everyOrder() {
	ctx := s.t.Context()
	seen := map[string]int{}
	for path := "/v1/orders?limit=1000&total=false&sort=number"; path != ""; {
		got, err := s.server(ctx).do(ctx, s.network, request{method: "GET", path: path})
		var page struct {
			Items []struct {
				ID       string
				Revision int
			}
			Next string
		}
		if err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &page) != nil {
			s.t.Errorf("%s: %v %d %.300s", path, err, got.status, got.body)
			return
		}
		for _, o := range page.Items {
			if _, twice := seen[o.ID]; twice {
				s.t.Errorf("order %s is in the list twice", o.ID)
			}
			seen[o.ID] = o.Revision
		}
		path = ""
		if page.Next != "" {
			path = "/v1/orders?limit=1000&total=false&sort=number&cursor=" + page.Next
		}
	}
	for order, revision := range s.revisions {
		if at, ok := seen[order]; !ok || at < revision {
			s.t.Errorf("order %s was acknowledged at revision %d; the list has it at %d (%v)", order, revision, at, ok)
		}
	}
}

// end stops docket, and looks at its log once more.
func (s *soak) end() {
	s.memoryIsBounded()
	if err := s.site.stop(); err != nil {
		s.t.Errorf("docket serve did not end well: %v", err)
	}
	if run := docket(s.t.Context(), "eventstore", "verify", "--data", s.data); run.status != 0 {
		s.t.Errorf("verify ended with %d: %s%s", run.status, run.stdout, run.stderr)
	}
	s.t.Logf("after %v: %v", time.Since(s.began).Round(time.Second), s)
	for _, route := range slices.Sorted(maps.Keys(s.counted.answers)) {
		s.t.Logf("%8d  %s", s.counted.answers[route], route)
	}
}

func (s *soak) String() string {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	var last sample
	if n := len(s.samples); n > 0 {
		last = s.samples[n-1]
	}
	return fmt.Sprintf("%d requests, %d orders, not now %v, cut by restarts %d; %d imports, %d rebuilds, %d backups, %d restarts; reconciliations: %d clean, %d drift, %d could not tell; %d differences planted, %d repaired; %v",
		s.counted.all, len(s.revisions), s.counted.notNow, s.counted.cut, s.imports.ended, s.rebuilds, s.backups, s.restarts, s.clean.Load(), s.drift.Load(), s.unsure.Load(), s.planted, s.repaired.Load(), last)
}

// counted is the network of a soak: every answer passes here, and a 5xx that is
// not documented, or none at all while docket runs, is a failure.
type counted struct {
	under http.RoundTripper
	soak  *soak

	mu      sync.Mutex
	answers map[string]int // by route and status
	notNow  map[string]int // by code
	all     int
	cut     int // requests without an answer
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	before := c.soak.runs()
	response, err := c.under.RoundTrip(r)
	if err != nil {
		if r.Context().Err() != nil {
			return nil, err // the round is over
		}
		c.mu.Lock()
		c.cut++
		c.mu.Unlock()
		if before != nil && c.soak.runs() == before {
			c.soak.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		return nil, err
	}
	code := ""
	if response.StatusCode >= 429 {
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		response.Body = io.NopCloser(bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		if code = (reply{body: text}).code(); response.StatusCode >= 500 && !documented[code] {
			c.soak.t.Errorf("%s %s: %d %s", r.Method, r.URL, response.StatusCode, text)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	c.answers[fmt.Sprintf("%s %s %d", r.Method, route(r.URL.Path), response.StatusCode)]++
	if documented[code] {
		c.notNow[code]++
	}
	return response, nil
}

// route is a path without ids.
func route(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) > 3 && (parts[2] == "orders" || parts[2] == "customers" || parts[2] == "reconciliations") {
		parts[3] = "{id}"
	}
	return strings.Join(parts, "/")
}

// runs is the docket that answers now, if one does.
func (w *site) runs() *server {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running
}

// footprint is what an idle docket holds.
type footprint struct{ goroutines, files int64 }

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d open files", f.goroutines, f.files)
}

// settled tells that no more is held than at first.
func (s *soak) settled(at footprint) bool {
	return at.goroutines <= s.idleAtFirst.goroutines && at.files <= s.idleAtFirst.files
}

// idle waits, some seconds at most, until docket holds no more than at first, or
// for the first time until it holds no less than a moment before; it answers
// what it holds.
func (s *soak) idle() (at footprint) {
	ctx := s.t.Context()
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(200 * time.Millisecond); ; <-tick.C {
		s.closeIdle()
		before := at
		m, err := s.server(ctx).metrics(ctx, s.network)
		if err != nil {
			s.t.Error(err)
			return at
		}
		at = footprint{int64(m["go_goroutines"]), int64(m["process_open_fds"])}
		first := s.idleAtFirst == footprint{}
		if first && at == before || !first && s.settled(at) || time.Now().After(deadline) {
			return at
		}
	}
}

// closeIdle gives up the connections that nobody uses.
func (s *soak) closeIdle() { s.counted.under.(*http.Transport).CloseIdleConnections() }

// metrics without labels, by name.
func (s *server) metrics(ctx context.Context, through http.RoundTripper) (map[string]float64, error) {
	got, err := s.do(ctx, through, request{method: "GET", path: "/metrics"})
	if err != nil || got.status != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %d, %w", got.status, err)
	}
	m := map[string]float64{}
	for line := range strings.Lines(string(got.body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			m[name] = n
		}
	}
	return m, nil
}

// sample is what docket takes at an instant.
type sample struct {
	of                 *server
	resident           int64
	logWAL, viewWAL    int64
	goroutines, opened int64
}

func (a sample) String() string {
	return fmt.Sprintf("%d MiB resident, %d goroutines, %d open files, WAL of log %d KiB, of views %d KiB", a.resident>>20, a.goroutines, a.opened, a.logWAL>>10, a.viewWAL>>10)
}

// watch takes a sample every second.
func (s *soak) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for minute := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		running := s.runs()
		if running == nil {
			continue
		}
		m, err := running.metrics(ctx, s.network)
		if err != nil {
			continue // it is being restarted
		}
		a := sample{
			of: running, resident: int64(m["process_resident_memory_bytes"]), goroutines: int64(m["go_goroutines"]), opened: int64(m["process_open_fds"]),
			logWAL: size(filepath.Join(s.data, "events.db-wal")),
		}
		views, _ := filepath.Glob(filepath.Join(s.data, "views", "*.db-wal"))
		for _, file := range views {
			a.viewWAL = max(a.viewWAL, size(file))
		}
		if a.logWAL > mostWAL || a.viewWAL > mostWAL {
			s.t.Errorf("a WAL is longer than %d MiB: %v", mostWAL>>20, a)
		}
		s.counted.mu.Lock()
		s.samples = append(s.samples, a)
		s.counted.mu.Unlock()
		if time.Since(minute) >= time.Minute {
			minute = time.Now()
			s.t.Logf("%v: %v", time.Since(s.began).Round(time.Second), s)
		}
	}
}

func size(file string) int64 {
	about, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return about.Size()
}

// memoryIsBounded compares the middle of the last process's life with its end.
func (s *soak) memoryIsBounded() {
	last := s.runs()
	var resident []int64
	for _, a := range s.samples {
		if a.of == last {
			resident = append(resident, a.resident)
		}
	}
	third := len(resident) / 3
	if third == 0 {
		s.t.Error("too few samples of the last process")
		return
	}
	median := func(some []int64) int64 { return slices.Sorted(slices.Values(some))[len(some)/2] }
	middle, end := median(resident[third:2*third]), median(resident[2*third:])
	s.t.Logf("resident memory of the last process: %d MiB in the middle, %d MiB at the end, %d MiB at most", middle>>20, end>>20, slices.Max(resident)>>20)
	if end > middle+middle/3+mayGrow {
		s.t.Errorf("resident memory grows: %d MiB in the middle, %d MiB at the end", middle>>20, end>>20)
	}
}
