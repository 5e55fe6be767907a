package systemtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOverload asks a docket for three times what it can do. It turns away what
// is too much at once, with 503 and Retry-After; answers what it accepted in
// time; stays within bounds of memory; and is as fast as before some seconds
// later. What it acknowledged is there, what it turned away is not.
//
// Capacity is measured in the same run, and the orders are large, so that it is
// the server that is short of time and not this client. DOCKET_OVERLOAD is how
// many seconds the load lasts.
func TestOverload(t *testing.T) {
	lasts := time.Duration(setting(t, "DOCKET_OVERLOAD", 6)) * time.Second
	s := &target{server: start(t, t.TempDir()), t: t}
	s.address = strings.TrimPrefix(s.base, "http://")
	l := &loader{target: s}
	defer l.hangUp()

	l.closed(8, time.Second) // warm
	capacity := l.closed(32, 3*time.Second).rate()
	calm := l.open(capacity/3, 2*time.Second)
	baseline, _ := s.resident()
	goroutines := s.goroutines()

	watched, stop := context.WithCancel(context.Background())
	probes := make(chan probed, 1)
	go func() { probes <- l.probe(watched) }()
	hot := l.open(3*capacity, lasts)
	for hot.rate() > 1.5*capacity { // others kept the machine busy when it was measured
		capacity = hot.rate()
		hot = l.open(3*capacity, lasts)
	}
	stop()
	seen := <-probes

	ended, recovered := time.Now(), time.Duration(0)
	for {
		window := l.open(capacity/3, time.Second)
		recovered = time.Since(ended)
		if slow := window.quantile(0.99); window.shed == 0 && slow <= 3*calm.quantile(0.99)+50*time.Millisecond {
			break
		} else if recovered > 20*time.Second {
			t.Errorf("not back to normal after %s: p99 %s, before %s, %d turned away", recovered, slow, calm.quantile(0.99), window.shed)
			break
		}
	}
	_, highest := s.resident()

	t.Logf("capacity %.0f/s, calm p99 %s; asked for %.0f/s for %s: %d sent, %d done (%.0f/s), %d turned away, %d without an answer, %d late for want of a connection",
		capacity, calm.quantile(0.99), 3*capacity, lasts, hot.sent, len(hot.times), hot.rate(), hot.shed, hot.lost, hot.late)
	t.Logf("done: p50 %s, p99 %s; probes %d, slowest %s; %d MiB resident before, at most %d; goroutines %d before, at most %d; back to normal within %s",
		hot.quantile(0.5), hot.quantile(0.99), seen.count, seen.slowest, baseline, highest, goroutines, seen.goroutines, recovered.Round(time.Millisecond))

	if hot.shed < hot.sent/5 {
		t.Errorf("it was not overloaded: %d of %d turned away", hot.shed, hot.sent)
	}
	if hot.rate() < capacity/2 {
		t.Errorf("%.0f/s were done, of the %.0f/s that can be", hot.rate(), capacity)
	}
	// Who is accepted waits a second for a turn at most, and then has it with
	// 127 others; the rest is for a machine that is busy with something else.
	bound := 5*time.Second + time.Duration(4*128/hot.rate()*float64(time.Second))
	if got := hot.quantile(0.99); got > bound {
		t.Errorf("p99 of what was accepted is %s, more than %s", got, bound)
	}
	// Caches of orders and views fill up meanwhile, and the heap is twice of what
	// lives.
	if highest > baseline+800 {
		t.Errorf("%d MiB resident, %d before", highest, baseline)
	}
	if seen.goroutines > 3*connectionsAtMost+500 {
		t.Errorf("%d goroutines", seen.goroutines)
	}
	l.verify()
}

// connectionsAtMost of the loader; half of what docket takes.
const connectionsAtMost = 2048

// loader sends orders and questions over connections of its own, with as little
// work as it can.
type loader struct {
	*target
	next atomic.Int64

	mu           sync.Mutex
	idle         []*line
	opened       int
	acknowledged []string // orders
	unanswered   int
}

// line is one connection.
type line struct {
	net.Conn
	in *bufio.Reader
}

// outcome of a stretch of load.
type outcome struct {
	mu   sync.Mutex
	took time.Duration

	sent, shed, lost, late int
	times                  []time.Duration // of what was done, from when it was due
}

func (o *outcome) rate() float64 { return float64(len(o.times)) / o.took.Seconds() }

func (o *outcome) quantile(q float64) time.Duration {
	if len(o.times) == 0 {
		return 0
	}
	slices.Sort(o.times)
	return o.times[min(int(q*float64(len(o.times))), len(o.times)-1)]
}

// closed keeps so many requests on their way.
func (l *loader) closed(clients int, lasts time.Duration) *outcome {
	o, began := &outcome{}, time.Now()
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for time.Since(began) < lasts {
				l.one(o, time.Now())
			}
		})
	}
	wait.Wait()
	o.took = time.Since(began)
	return o
}

// open sends so many requests a second whether or not the answers come.
func (l *loader) open(rate float64, lasts time.Duration) *outcome {
	o, began := &outcome{}, time.Now()
	var wait sync.WaitGroup
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; time.Since(began) < lasts; <-tick.C {
		for ; float64(sent) < rate*time.Since(began).Seconds(); sent++ {
			due := began.Add(time.Duration(float64(sent) / rate * float64(time.Second)))
			wait.Go(func() { l.one(o, due) })
		}
	}
	o.took = time.Since(began)
	wait.Wait()
	return o
}

// one sends one request: mostly an order, sometimes a question.
func (l *loader) one(o *outcome, due time.Time) {
	conn := l.take()
	if conn == nil { // all are busy: this request is not sent at all
		o.mu.Lock()
		o.late++
		o.mu.Unlock()
		return
	}
	n := l.next.Add(1)
	id := fmt.Sprint("o-", n)
	var text string
	switch {
	case n%10 == 8:
		text = "GET /v1/orders/o-1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	case n%10 == 9:
		text = "GET /v1/orders?q=mug&limit=20 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	default:
		text = "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
			strconv.Itoa(len(largeOrder)-len("ID")+len(id)) + "\r\n\r\n" + strings.Replace(largeOrder, "ID", id, 1)
	}
	_, err := io.WriteString(conn, text)
	status, body, retry := 0, "", ""
	if err == nil {
		status, body, retry = conn.answer()
	}
	took := time.Since(due)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent++
	switch {
	case status == 0:
		o.lost++
		conn.Close()
		l.mu.Lock()
		l.opened--
		l.unanswered++
		l.mu.Unlock()
		return
	case status == 200 || status == 201 || status == 404 && n%10 == 8:
		o.times = append(o.times, took)
	case status == 503 || status == 429:
		o.shed++
		if after, err := strconv.Atoi(retry); err != nil || after < 1 || !strings.Contains(body, `"code":"overloaded"`) {
			l.t.Errorf("%d, Retry-After %q: %s", status, retry, body)
		}
	default:
		l.t.Errorf("%d: %s", status, body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if status == 201 {
		l.acknowledged = append(l.acknowledged, id)
	}
	l.idle = append(l.idle, conn)
}

// largeOrder takes docket far longer than whoever sends it.
var largeOrder = func() string {
	line := `{"sku":"MUG-RED","title":"A red mug, glazed by hand","quantity":2,"unitPrice":{"amount":"7.50","currency":"EUR"},"metadata":{"size":"large"}}`
	return `{"id":"ID","currency":"EUR","customer":{"id":"c-1","name":"Ann Example"},"lines":[` + strings.Repeat(line+",", 39) + line + `]}`
}()

func (l *loader) take() *line {
	l.mu.Lock()
	if n := len(l.idle); n > 0 {
		conn := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		return conn
	}
	if l.opened == connectionsAtMost {
		l.mu.Unlock()
		return nil
	}
	l.opened++
	l.mu.Unlock()
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		l.t.Error(err)
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return &line{conn, bufio.NewReader(conn)}
}

func (l *loader) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.idle {
		conn.Close()
	}
}

// answer reads an answer; status 0: there is none.
func (c *line) answer() (status int, body, retry string) {
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, "", ""
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", ""
	}
	return response.StatusCode, string(text), response.Header.Get("Retry-After")
}

// probed is what was seen of a docket under load.
type probed struct {
	count, goroutines int
	slowest           time.Duration
}

// probe asks what is always answered, until ctx ends.
func (l *loader) probe(ctx context.Context) (p probed) {
	through := network()
	defer through.CloseIdleConnections()
	for ctx.Err() == nil {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			asked := time.Now()
			got, err := l.do(context.Background(), through, request{method: "GET", path: path})
			if err != nil || got.status != 200 {
				l.t.Errorf("%s: %d %s %v", path, got.status, got.body, err)
			}
			p.count, p.slowest = p.count+1, max(p.slowest, time.Since(asked))
			for text := range strings.Lines(string(got.body)) {
				if value, ok := strings.CutPrefix(text, "go_goroutines "); ok {
					n, _ := strconv.Atoi(strings.TrimSpace(value))
					p.goroutines = max(p.goroutines, n)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return p
}

// verify looks for everything that was acknowledged, and for what was not.
func (l *loader) verify() {
	through := network()
	defer through.CloseIdleConnections()
	ctx := context.Background()
	if err := l.caughtUp(ctx, through); err != nil {
		l.t.Fatal(err)
	}
	there := map[string]bool{}
	for path := "/v1/orders?limit=1000&sort=number"; path != ""; {
		got, err := l.do(ctx, through, request{method: "GET", path: path})
		var page struct {
			Items []struct{ ID string }
			Next  string
		}
		if err != nil || got.status != 200 || json.Unmarshal(got.body, &page) != nil {
			l.t.Fatalf("%s: %d %.300s %v", path, got.status, got.body, err)
		}
		for _, o := range page.Items {
			there[o.ID] = true
		}
		if path = ""; page.Next != "" {
			path = "/v1/orders?limit=1000&total=false&sort=number&cursor=" + page.Next
		}
	}
	missing := 0
	for _, id := range l.acknowledged {
		if !there[id] {
			missing++
		}
	}
	if missing > 0 || len(there) > len(l.acknowledged)+l.unanswered {
		l.t.Errorf("%d acknowledged, %d of them missing; %d are there, %d answers were lost", len(l.acknowledged), missing, len(there), l.unanswered)
	}
}
