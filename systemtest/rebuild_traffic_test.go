package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// mostOnTheWay bounds the requests without an answer: what is due beyond it is
	// a failure.
	mostOnTheWay = 2000
	// mostTold bounds the failures that are told one by one.
	mostTold = 10
	// tokenWait is how long a read with a token may wait for its write.
	tokenWait = "wait=20"
)

// traffic is readers and writers that come at even intervals whether or not there
// are answers. It keeps what was acknowledged, and looks at each answer: a failure
// is any that is not the one wanted, 503 among them, and one that is older than its
// token. What they read is real orders, and those they write.
type traffic struct {
	t       *testing.T
	network http.RoundTripper
	nodes   []*node // each request goes to any of them
	known   []string
	prefix  string // of the orders it writes

	next     atomic.Int64
	onTheWay atomic.Int64
	stretch  atomic.Pointer[stretch]
	asking   sync.WaitGroup
	// look sees every answer that came from a view; nil: nobody does.
	look func(n *node, path string, got reply)

	mu     sync.Mutex
	wrote  map[string]written // by order, the last that was acknowledged
	recent []string           // orders that were placed last
	told   int
	moved  int // requests that another node answered, since one was restarted
}

// written is the last acknowledged write on an order.
type written struct {
	revision int
	token    string
}

// recentlyPlaced orders are those that are changed and read.
const recentlyPlaced = 200

// stretch is what came of a part of the traffic.
type stretch struct {
	name string
	rate float64

	mu            sync.Mutex
	reads, writes []time.Duration // from when they were due
	failed        map[string]int
	took          time.Duration
}

func (s *stretch) failures() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.failed {
		n += times
	}
	return n
}

func (s *stretch) quantile(of []time.Duration, q float64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(int(q*float64(len(of))), len(of)-1)]
}

func (s *stretch) String() string {
	of := func(what string, all []time.Duration) string {
		return fmt.Sprintf("%d %s, p50 %v, p99 %v, max %v", len(all), what, s.quantile(all, 0.5).Round(100*time.Microsecond),
			s.quantile(all, 0.99).Round(100*time.Microsecond), s.quantile(all, 1).Round(time.Millisecond))
	}
	return fmt.Sprintf("%s: %.0f/s for %v: %s; %s; failed: %v", s.name, s.rate, s.took.Round(time.Millisecond), of("reads", s.reads), of("writes", s.writes), s.failed)
}

func newTraffic(t *testing.T, known []string, prefix string, nodes ...*node) *traffic {
	under := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(under.CloseIdleConnections)
	f := &traffic{t: t, network: under, nodes: nodes, known: known, prefix: prefix, wrote: map[string]written{}}
	t.Cleanup(f.asking.Wait)
	return f
}

// during is the traffic at a rate while something is done.
func (f *traffic) during(name string, rate float64, do func()) *stretch {
	ctx, stop := context.WithCancel(f.t.Context())
	var sending sync.WaitGroup
	s := &stretch{name: name, rate: rate, failed: map[string]int{}}
	sending.Go(func() { f.send(ctx, s) })
	defer sending.Wait()
	defer stop()
	do()
	return s
}

// forSome is the traffic for so long, and until all of it is answered.
func (f *traffic) forSome(name string, rate float64, long time.Duration) *stretch {
	s := f.during(name, rate, func() { <-time.After(long) })
	f.asking.Wait()
	return s
}

func (f *traffic) send(ctx context.Context, s *stretch) {
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; {
		for ; float64(sent) < s.rate*time.Since(began).Seconds(); sent++ {
			due := began.Add(time.Duration(float64(sent) / s.rate * float64(time.Second)))
			if f.onTheWay.Add(1) > mostOnTheWay {
				f.onTheWay.Add(-1)
				f.fails(s, "not sent", "too many requests are on their way")
				continue
			}
			f.asking.Go(func() {
				defer f.onTheWay.Add(-1)
				f.one(s, f.next.Add(1), due)
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.mu.Lock()
			s.took = time.Since(began)
			s.mu.Unlock()
			return
		}
	}
}

// fails counts a failure, and tells of the first ones.
func (f *traffic) fails(s *stretch, kind, format string, args ...any) {
	s.mu.Lock()
	s.failed[kind]++
	s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told++; f.told <= mostTold {
		f.t.Errorf("%s: %s: %s", s.name, kind, fmt.Sprintf(format, args...))
	}
}

// one is request number n: three in ten write.
func (f *traffic) one(s *stretch, n int64, due time.Time) {
	rng := rand.New(rand.NewPCG(uint64(n), 11))
	switch n % 10 {
	case 0:
		f.write(s, due, f.order(n), request{method: "POST", path: "/v1/orders", body: placeBody(f.order(n), "Ann Example")})
	case 4:
		if order, _, ok := f.someWritten(rng); ok {
			f.write(s, due, order, noteRequest(order, fmt.Sprintf("%s-note-%d", f.prefix, n)))
		}
	case 7:
		if order, _, ok := f.someWritten(rng); ok {
			f.write(s, due, order, request{method: "PUT", path: "/v1/orders/" + order + "/tags", body: map[string]any{"tags": []string{"gift", fmt.Sprint("t", n)}}})
		}
	case 1, 8:
		if order, w, ok := f.someWritten(rng); ok {
			f.read(s, due, "/v1/orders/"+order, order, w)
		}
	case 2:
		if order, w, ok := f.someWritten(rng); ok {
			f.read(s, due, "/v1/orders?limit=5&customer=c-"+order, order, w)
		}
	case 3:
		f.read(s, due, pick(rng, "/v1/orders?limit=20", "/v1/orders?limit=20&sort=-updatedAt&total=false", "/v1/orders?limit=10&tag=gift",
			"/v1/orders?q=mug&limit=10&sort=number", "/v1/orders?limit=5&facets=status&facets=country"), "", written{})
	case 6:
		f.read(s, due, pick(rng, "/v1/stats", "/v1/stats?top=5"), "", written{})
	default:
		f.read(s, due, "/v1/orders/"+pick(rng, f.known...), "", written{})
	}
}

func (f *traffic) order(n int64) string { return fmt.Sprintf("%s-%d", f.prefix, n) }

// someWritten is an order that was placed lately, with its last write.
func (f *traffic) someWritten(rng *rand.Rand) (string, written, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) == 0 {
		return "", written{}, false
	}
	order := pick(rng, f.recent...)
	return order, f.wrote[order], true
}

// write sends a command, and keeps what was acknowledged.
func (f *traffic) write(s *stretch, due time.Time, order string, r request) {
	if r.key == "" {
		r.key = fmt.Sprintf("%s-%d", order, time.Now().UnixNano())
	}
	_, got, err := f.ask(r)
	var answer commandAnswer
	if err != nil || got.status/100 != 2 || json.Unmarshal(got.body, &answer) != nil {
		f.fails(s, "write", "%s %s: %v %d %.300s", r.method, r.path, err, got.status, got.body)
		return
	}
	s.mu.Lock()
	s.writes = append(s.writes, time.Since(due))
	s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	was, known := f.wrote[order]
	if !known || was.revision < answer.Revision {
		f.wrote[order] = written{answer.Revision, got.header.Get("Consistency-Token")}
	}
	if !known {
		f.recent = append(f.recent[max(0, len(f.recent)-recentlyPlaced):], order)
	}
}

// read asks a question; with a write it must be in the answer.
func (f *traffic) read(s *stretch, due time.Time, path, order string, w written) {
	r := request{method: "GET", path: path}
	if w.token != "" {
		r.consistencyToken, r.prefer = w.token, tokenWait
	}
	n, got, err := f.ask(r)
	wrong := ""
	switch {
	case err != nil:
		wrong = err.Error()
	case got.status != http.StatusOK:
		wrong = "no answer"
	case w.token != "":
		wrong = stale(got, order, w.revision, 1)
	}
	if wrong == "" {
		wrong = mixed(got)
	}
	if wrong != "" {
		f.fails(s, "read", "%s of %s: %s: %d %v %.300s", path, n.name, wrong, got.status, got.header, got.body)
		return
	}
	s.mu.Lock()
	s.reads = append(s.reads, time.Since(due))
	s.mu.Unlock()
	if f.look != nil && got.header.Get("Read-Source") == "" {
		f.look(n, path, got)
	}
}

// mixed says where an answer does not name one generation and revision all over.
func mixed(got reply) string {
	tag, generation := got.header.Get("ETag"), got.header.Get("Read-Generation")
	if got.header.Get("Read-Source") != "" || tag == "" {
		return ""
	}
	var doc struct{ Revision int }
	if err := json.Unmarshal(got.body, &doc); err != nil {
		return err.Error()
	}
	if want := fmt.Sprintf(`"%d.g%s"`, doc.Revision, generation); strings.TrimPrefix(tag, "W/") != want || got.header.Get("Read-Revision") != strconv.Itoa(doc.Revision) {
		return "an answer of " + want + " says that it is " + tag
	}
	return ""
}

// TestMixedIsSeen: an answer whose parts tell of different generations is told.
func TestMixedIsSeen(t *testing.T) {
	answer := func(tag, generation, revision, body string) reply {
		return reply{http.StatusOK, http.Header{"Etag": {tag}, "Read-Generation": {generation}, "Read-Revision": {revision}}, []byte(body)}
	}
	if wrong := mixed(answer(`"4.g2"`, "2", "4", `{"revision":4}`)); wrong != "" {
		t.Error(wrong)
	}
	for _, one := range []reply{
		answer(`"4.g3"`, "2", "4", `{"revision":4}`),
		answer(`"4.g2"`, "2", "4", `{"revision":3}`),
		answer(`"4.g2"`, "2", "3", `{"revision":4}`),
	} {
		if mixed(one) == "" {
			t.Errorf("%v %s is taken for one of one generation", one.header, one.body)
		}
	}
}

// ask sends a request to any node. Only where the node was going away is it sent
// to another one: its key makes that one effect, if it is a command.
func (f *traffic) ask(r request) (*node, reply, error) {
	at := rand.IntN(len(f.nodes))
	for attempt := 0; ; attempt++ {
		n := f.nodes[(at+attempt)%len(f.nodes)]
		s := n.get()
		got, err := s.do(context.WithoutCancel(f.t.Context()), f.network, r)
		if err == nil || attempt >= 2*len(f.nodes) || !n.leaving(s) || !cutOff(err) {
			return n, got, err
		}
		f.mu.Lock()
		f.moved++
		f.mu.Unlock()
	}
}

// leaving tells that a server was told to end, or that another one is there.
func (n *node) leaving(s *server) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving != s || n.ending
}

// cutOff tells that nobody listened, or a connection ended without an answer; not
// that somebody waited in vain.
func cutOff(err error) bool {
	return neverSent(err) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ECONNRESET)
}

// searchableTimeout is far more than it takes until a list shows what is written.
const searchableTimeout = time.Minute

// settled waits for what is on its way, and looks for all that was acknowledged:
// with its token, at every node, and in the whole list.
func (f *traffic) settled() {
	f.t.Helper()
	f.asking.Wait()
	f.mu.Lock()
	wrote := maps.Clone(f.wrote)
	f.mu.Unlock()
	lost, ctx := 0, f.t.Context()
	s := &stretch{name: "at the end", failed: map[string]int{}}
	orders := slices.Sorted(maps.Keys(wrote))
	var looking sync.WaitGroup
	for part := range slices.Chunk(orders, max(1, len(orders)/8)) {
		looking.Go(func() {
			for i, order := range part {
				w := wrote[order]
				r := request{method: "GET", path: "/v1/orders/" + order, consistencyToken: w.token, prefer: tokenWait}
				got, err := f.nodes[i%len(f.nodes)].get().do(ctx, f.network, r)
				if err != nil || got.header.Get("Read-Source") != "" || stale(got, order, w.revision, 1) != "" {
					f.fails(s, "acknowledged", "order %s at %d: %v %d %v %.300s", order, w.revision, err, got.status, got.header, got.body)
				}
			}
		})
	}
	looking.Wait()
	for _, n := range f.nodes {
		if err := n.get().caughtUp(ctx, f.network); err != nil {
			f.t.Fatal(err)
		}
		// Without a token a list shows what is written as soon as the store makes it
		// searchable, and not before.
		var seen map[string]int
		behind := map[string]written{}
		patience := time.NewTimer(searchableTimeout)
		for given := false; !given; {
			select {
			case <-patience.C:
				given = true
			default:
			}
			var err error
			if seen, err = wholeList(ctx, n.get(), f.network, 1000, nil); err != nil {
				f.t.Fatalf("%s: %v", n.name, err)
			}
			clear(behind)
			for order, w := range wrote {
				if at, ok := seen[order]; !ok || at < w.revision {
					behind[order] = w
				}
			}
			given = given || len(behind) == 0
		}
		patience.Stop()
		for order, w := range behind {
			at, ok := seen[order]
			f.fails(s, "acknowledged", "%s: order %s is in the list at %d, not %d (%t)", n.name, order, at, w.revision, ok)
		}
		for _, order := range f.known {
			if _, ok := seen[order]; !ok {
				lost++
			}
		}
	}
	if lost > 0 {
		f.t.Errorf("%d orders that were there before are in the lists no more", lost)
	}
	f.t.Logf("%d orders were written, each is found at its revision; %d were there before; %d requests went on to another node", len(wrote), len(f.known), f.moved)
}

// wholeList walks through all orders, by number, and answers their revisions. An
// order that comes twice, or fewer than the total that the first page tells, is an
// error. each, which may be nil, sees every page.
func wholeList(ctx context.Context, s *server, through http.RoundTripper, limit int, each func(reply)) (map[string]int, error) {
	seen, path := map[string]int{}, fmt.Sprintf("/v1/orders?limit=%d&sort=number", limit)
	total, cursor := -1, ""
	for {
		at := path
		if cursor != "" {
			at += "&cursor=" + url.QueryEscape(cursor)
		}
		got, err := s.do(ctx, through, request{method: "GET", path: at})
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []struct {
				ID       string
				Revision int
			}
			Total int
			Next  string
		}
		if got.status != http.StatusOK {
			return nil, declined{"GET " + at, got}
		}
		if err := json.Unmarshal(got.body, &page); err != nil {
			return nil, fmt.Errorf("%s: %w in %.300s", at, err, got.body)
		}
		if each != nil {
			each(got)
		}
		if total < 0 {
			total = page.Total
		}
		for _, o := range page.Items {
			if _, twice := seen[o.ID]; twice {
				return nil, fmt.Errorf("order %s is in the list twice", o.ID)
			}
			seen[o.ID] = o.Revision
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) < total {
		return nil, fmt.Errorf("%d orders are in the list, of %d that it tells of", len(seen), total)
	}
	return seen, nil
}
