package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/httpapi"
)

// clients are the keep-alive connections of the load generator.
const clients = 64

// load is what the generator does; it is a process of its own, this program run
// again as "load".
type load struct {
	url     string
	plan    string // place, fill, mixed, hot or many
	run     string // begins the ids of the orders it places, so that each run has its own
	clients int
	length  time.Duration
	// rate in requests per second, sent at even intervals whether or not there
	// are answers; 0: each client sends when it has its answer.
	rate float64
}

// loaded is what came of it. Latencies are in milliseconds; in an open loop they
// are counted from the moment at which the request was due, also when no client
// was free to send it.
type loaded struct {
	Done     int            `json:"done"` // answered as wanted
	Rate     float64        `json:"rate"` // of these, per second
	Statuses map[string]int `json:"statuses"`
	P50      float64        `json:"p50"`
	P99      float64        `json:"p99"`
	P999     float64        `json:"p999"`
	Max      float64        `json:"max"`
	// ServerCPU is what the server used per answer, in microseconds.
	ServerCPU float64 `json:"serverCPU"`
}

// generate runs a load against a server in another process and fails when an
// answer was not the one wanted; too busy is told in Statuses in an open loop.
func (e *env) generate(ctx context.Context, s *server, l load) (loaded, error) {
	self, err := os.Executable()
	if err != nil {
		return loaded{}, err
	}
	before := s.cpu()
	cmd := exec.CommandContext(ctx, self, "load", "-url", s.url, "-plan", l.plan, "-run", l.run,
		"-clients", strconv.Itoa(l.clients), "-length", l.length.String(), "-rate", fmt.Sprint(l.rate))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return loaded{}, fmt.Errorf("load generator: %w", err)
	}
	var got loaded
	if err := json.Unmarshal(out, &got); err != nil {
		return loaded{}, fmt.Errorf("load generator: %w\n%.2000s", err, out)
	}
	if got.Done == 0 || len(got.Statuses) > 0 && l.rate == 0 {
		return loaded{}, fmt.Errorf("%s: %d answers as wanted, others: %v", l.plan, got.Done, got.Statuses)
	}
	got.ServerCPU = (s.cpu() - before).Seconds() * 1e6 / float64(got.Done)
	return got, nil
}

// generateLoad is the role "load".
func generateLoad(ctx context.Context, args []string) error {
	var l load
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&l.url, "url", "", "server")
	flags.StringVar(&l.plan, "plan", "", "what to send")
	flags.StringVar(&l.run, "run", "", "begins the ids of orders")
	flags.IntVar(&l.clients, "clients", clients, "connections")
	flags.DurationVar(&l.length, "length", 0, "how long")
	flags.Float64Var(&l.rate, "rate", 0, "requests per second; 0: closed loop")
	if err := flags.Parse(args); err != nil {
		return err
	}
	got, err := l.generate(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

func (l load) generate(ctx context.Context) (loaded, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next   atomic.Int64 // request to send
		mu     sync.Mutex
		took   []float64
		others = map[string]int{}
		wg     sync.WaitGroup
	)
	start := time.Now()
	for n := range l.clients {
		c, err := dial(l, n)
		if err != nil {
			return loaded{}, err
		}
		defer c.conn.Close()
		stop := context.AfterFunc(ctx, func() { c.conn.Close() })
		defer stop()
		wg.Go(func() {
			var mine []float64
			missed := map[string]int{}
			for ctx.Err() == nil {
				i := next.Add(1) - 1
				due := time.Now()
				if l.rate > 0 {
					due = start.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
				}
				if due.Sub(start) >= l.length || l.plan == "fill" && i >= manyOrders {
					break
				}
				time.Sleep(time.Until(due))
				status, err := c.send(i)
				switch {
				case err != nil:
					cancel(fmt.Errorf("request %d: %w", i, err))
				case status/100 == 2:
					mine = append(mine, time.Since(due).Seconds()*1000)
				default:
					missed[strconv.Itoa(status)]++
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			for status, n := range missed {
				others[status] += n
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return loaded{}, err
	}
	seconds := time.Since(start).Seconds()
	slices.Sort(took)
	if len(took) == 0 {
		return loaded{Statuses: others}, nil
	}
	return loaded{
		Done: len(took), Rate: float64(len(took)) / seconds, Statuses: others,
		P50: quantile(took, 0.5), P99: quantile(took, 0.99), P999: quantile(took, 0.999), Max: took[len(took)-1],
	}, nil
}

// client is one connection. It speaks as little HTTP as can be, so that the
// generator takes little from the servers, which share its processors.
type client struct {
	load
	host  string
	n     int
	conn  net.Conn
	in    *bufio.Reader
	out   []byte
	body  []byte
	mine  []string // orders that this client has placed
	token string   // of its last write
	wrote string   // order of its last write
}

func dial(l load, n int) (*client, error) {
	host := strings.TrimPrefix(l.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	return &client{load: l, host: host, n: n, conn: conn, in: bufio.NewReader(conn)}, nil
}

// send makes the request of number i of the whole load.
func (c *client) send(i int64) (status int, err error) {
	if c.plan == "mixed" && len(c.mine) > 0 {
		switch i % 5 {
		case 1, 3:
			return c.change(c.mine[int(i/5)%len(c.mine)], i)
		case 4:
			return c.read()
		}
	}
	switch c.plan {
	case "hot":
		return c.change(orderOf("many", 0), i)
	case "many":
		return c.change(orderOf("many", i%manyOrders), i)
	}
	return c.place(orderOf(c.run, i))
}

// manyOrders are what the plan many changes; the plan fill places them.
const manyOrders = 1024

func orderOf(run string, i int64) string { return fmt.Sprintf("%s-%08d", run, i) }

// placeBody is an order of two lines, as a shop sends it.
const placeBody = `{"id":"%s","currency":"EUR","customer":{"id":"c-%d","name":"Ana Maria Braga","email":"ana.braga@example.com"},` +
	`"lines":[{"id":"1","sku":"4244733e06e7ecb4970a6e2683c13e61","title":"Mug, blue","quantity":2,"unitPrice":{"amount":"12.90","currency":"EUR"}},` +
	`{"id":"2","sku":"e5f2d52b802189ee658865ca93d83a8f","title":"Tea, 100 g","quantity":1,"unitPrice":{"amount":"7.45","currency":"EUR"}}],` +
	`"shippingAddress":{"name":"Ana Maria Braga","street":"Rua das Flores 12","postalCode":"03149","city":"Sao Paulo","country":"BR"},` +
	`"shipping":{"amount":"8.72","currency":"EUR"}}`

func (c *client) place(id string) (int, error) {
	c.body = fmt.Appendf(c.body[:0], placeBody, id, len(c.mine)*c.clients+c.n)
	status, err := c.write("POST", "/v1/orders", id, id)
	if err == nil && status/100 == 2 {
		c.mine = append(c.mine, id)
	}
	return status, err
}

// placeCommand is that order as docket reads it.
func placeCommand() (order.Place, error) {
	body, err := httpapi.BodyReader[httpapi.PlaceBody]()(fmt.Appendf(nil, placeBody, "o-1", 1))
	return body.Place, err
}

func (c *client) change(id string, i int64) (int, error) {
	c.body = fmt.Appendf(c.body[:0], `{"tags":["spring","%s-%d"]}`, c.run, i)
	return c.write("PUT", "/v1/orders/"+id+"/tags", id, fmt.Sprintf("%s-t%d", c.run, i))
}

func (c *client) write(method, path, id, key string) (int, error) {
	c.out = fmt.Appendf(c.out[:0], "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n",
		method, path, c.host, key, len(c.body))
	c.out = append(c.out, c.body...)
	status, token, err := c.exchange()
	c.wrote, c.token = id, token
	return status, err
}

// read asks for what this client wrote last, and waits until it is there.
func (c *client) read() (int, error) {
	c.out = fmt.Appendf(c.out[:0], "GET /v1/orders/%s HTTP/1.1\r\nHost: %s\r\nConsistency-Token: %s\r\nPrefer: wait=10\r\n\r\n", c.wrote, c.host, c.token)
	status, _, err := c.exchange()
	return status, err
}

// exchange sends c.out and takes one answer.
func (c *client) exchange() (status int, token string, err error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, "", err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, "", err
	}
	if len(line) < 12 {
		return 0, "", fmt.Errorf("%q is no status line", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, "", err
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, "", err
		}
		name, value, ok := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		if !ok {
			break
		}
		switch string(name) {
		case "Content-Length":
			length, err = strconv.Atoi(string(value))
		case "Consistency-Token":
			token = string(value)
		case "Connection":
			err = errors.New("the server does not keep connections")
		}
		if err != nil {
			return 0, "", err
		}
	}
	if length < 0 {
		return 0, "", errors.New("an answer without a length")
	}
	if status/100 != 2 && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		body := make([]byte, min(length, 500))
		_, err := io.ReadFull(c.in, body)
		return 0, "", errors.Join(fmt.Errorf("answered %d %s to %.100s", status, body, c.out), err)
	}
	_, err = c.in.Discard(length)
	return status, token, err
}

// server is a process that serves HTTP on this machine.
type server struct {
	url string
	cmd *exec.Cmd
	log string // file with what it wrote to standard error
}

// serveDocket starts the real program on a folder, as it comes.
func (e *env) serveDocket(ctx context.Context, dir string) (*server, error) {
	program, err := e.docket(ctx)
	if err != nil {
		return nil, err
	}
	return e.serve(ctx, exec.CommandContext(ctx, program, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--json"), "/readyz")
}

// servePlain starts the plainest server, whose records are of so many bytes.
func (e *env) servePlain(ctx context.Context, record int) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return e.serve(ctx, exec.CommandContext(ctx, self, "plain-server", "-dir", e.folder("plain"), "-record", strconv.Itoa(record)), "/healthz")
}

// serve starts a server that says where it listens in its first line, and waits
// until it answers well on a path.
func (e *env) serve(ctx context.Context, cmd *exec.Cmd, ready string) (*server, error) {
	s := &server{cmd: cmd, log: filepath.Join(e.folder("log"), "stderr")}
	said, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd.Stderr = said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var first struct{ Listening string }
	if err := json.NewDecoder(out).Decode(&first); err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not listen: %w", cmd.Path, err), s.stop())
	}
	go io.Copy(io.Discard, out)
	s.url = first.Listening
	if err := s.await(ctx, ready, func(status int, _ []byte) bool { return status == http.StatusOK }); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// await asks for a path until the answer is right.
func (s *server) await(ctx context.Context, path string, right func(status int, body []byte) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		status, body, err := s.get(ctx, path)
		if err == nil && right(status, body) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %d %.300s, %w", path, status, body, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) get(ctx context.Context, path string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, body, err
}

// caughtUp waits until the views of docket have everything, and tells how long
// that took.
func (s *server) caughtUp(ctx context.Context) (seconds float64, err error) {
	return timed(func() error {
		return s.await(ctx, "/metrics", func(_ int, body []byte) bool {
			return metric(body, "docket_projection_lag_events") == 0
		})
	})
}

// metric asks for the sum of a metric over its labels.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := s.get(ctx, "/metrics")
	return metric(body, name), err
}

// metric is the sum of a metric over its labels.
func metric(text []byte, name string) (sum float64) {
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err == nil {
			sum += v
		}
	}
	return sum
}

// cpu is what the process has used.
func (s *server) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The name of the program, in brackets, may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// stop ends the process in order.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	err := s.cmd.Wait()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() < 0 { // by the signal: a helper
		return nil
	}
	return err
}
