package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	json "github.com/go-json-experiment/json"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, path := range []string{"/", "/v1", "/v1/orders/", "/v1//orders", "/v1/orders/../orders", "/v2/orders", "/docs", "/v1/orders/x/nothing", "/v1/audit/events", "/v1/feed", "/%00"} {
		r.get(path).problem(404, "not-found")
	}
	r.send("DELETE", "/v1/orders", "").has("Allow", "GET, HEAD, OPTIONS, POST").problem(405, "method-not-allowed")
	r.send("PATCH", "/v1/orders/x", "").has("Allow", "GET, HEAD, OPTIONS").problem(405, "method-not-allowed")
	r.send("OPTIONS", "/v1/orders/x/tags", "").is(204).has("Allow", "OPTIONS, PUT").has("Access-Control-Allow-Origin", "")
	r.send("HEAD", "/v1/orders", "").is(200)
}

// TestIDsOfCallers: what a caller says of a command is in its record, and what
// cannot be is refused.
func TestIDsOfCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	longest := strings.Repeat("k", 128)
	r.placed("o-1")
	r.send("PUT", "/v1/orders/o-1/tags", `{"tags":["x"]}`, "X-Correlation-Id: call-7", "X-Causation-Id: event-9").is(200).has("X-Correlation-Id", "call-7")
	r.post("/v1/orders/o-1/confirm", `{}`, "X-Causation-Id: "+longest).is(200)
	r.post("/v1/orders/o-1/payments/p9/void", `{}`, "X-Causation-Id: event-10").problem(404, "unknown-payment")
	events := decoded[HistoryAnswer](r.get("/v1/orders/o-1/events").is(200)).Events
	if e := events[0]; e.Causation != "" {
		t.Errorf("placed %+v", e)
	}
	if e := events[1]; e.Correlation != "call-7" || e.Causation != "event-9" {
		t.Errorf("tags %+v", e)
	}
	if e := events[2]; e.Correlation == "" || e.Causation != longest {
		t.Errorf("confirmed %+v", e)
	}
	if f := decoded[RefusalsAnswer](r.get("/v1/orders/o-1/refusals").is(200)).Items[0]; f.Causation != "event-10" || f.Target != "p9" {
		t.Errorf("refused %+v", f)
	}
	for _, name := range []string{"X-Correlation-Id", "X-Causation-Id"} {
		for _, bad := range []string{longest + "k", "a b", "caf\xc3\xa9", "a\tb"} {
			for _, path := range []string{"/v1/orders", "/v1/orders/o-1/why", "/healthz"} {
				p := r.get(path, name+": "+bad).has("X-Correlation-Id", "").problem(400, "invalid-header")
				if len(p.Errors) != 1 || p.Errors[0].Header != name || !strings.Contains(p.Detail, "128 visible") {
					t.Errorf("%s: %q: %+v", path, bad, p)
				}
			}
		}
		r.get("/v1/orders", name+": a", name+": b").problem(400, "invalid-header")
		if p := r.post("/v1/orders/o-1/cancel", `{}`, name+": a b").problem(400, "invalid-header"); p.Detail == "" {
			t.Errorf("%+v", p)
		}
	}
	if doc := decoded[OrderAnswer](r.get("/v1/orders/o-1?atRevision=2").is(200)); doc.Status != "confirmed" {
		t.Errorf("what was refused was done: %s", doc.Status)
	}
}

func TestTraceAndCorrelation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	r.get("/v1/orders", "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01").is(200).has("Trace-Id", trace)
	if p := r.get("/v1/orders?x=1", "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01").problem(400, "invalid-parameter"); p.TraceID != trace || p.Instance != "/v1/orders" {
		t.Errorf("problem %+v", p)
	}
	for _, bad := range []string{"x", "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01", "ff-" + trace + "-00f067aa0ba902b7-01"} {
		if got := r.get("/healthz", "Traceparent: "+bad).header.Get("Trace-Id"); got == trace || len(got) != 32 {
			t.Errorf("%s: trace %s", bad, got)
		}
	}
	r.post("/v1/orders", strings.Replace(mugs, "%s", "o-1", 1), "X-Correlation-Id: order-flow-9").is(201).has("X-Correlation-Id", "order-flow-9")

	found := false
	for line := range strings.Lines(r.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %s: %v", line, err)
		}
		if entry["correlationId"] == "order-flow-9" {
			found = true
			if entry["status"] != 201.0 || entry["command"] != "place" || entry["route"] != "/v1/orders" || entry["caller"] != "local" || entry["traceId"] == "" {
				t.Errorf("log line %s", line)
			}
		}
	}
	if !found {
		t.Errorf("no log line of the command in %s", r.log)
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	log := &logged{}
	r := newRig(t)
	s := &server{o: Options{Now: time.Now, Logger: newLogger(log), Limits: Limits{}.OrDefaults()}, metrics: newMetrics(r.options, projectionsOf(r.options), newGates(Limits{}.OrDefaults(), 1))}
	s.routes = []route{{method: "GET", path: "/boom", handle: func(*server, http.ResponseWriter, *request) error { panic("secret") }}}
	w := httptest.NewRecorder()
	req := httptest.NewRequest("GET", "http://localhost/boom", nil)
	s.observed(s.mux()).ServeHTTP(w, req)
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"code":"internal"`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "secret") || !strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("log %s", log)
	}
}

// TestAcceptedCommandIsFinished: the caller hangs up, the command is done.
func TestAcceptedCommandIsFinished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	for i := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, "POST", r.server.URL+"/v1/orders/o-1/notes", strings.NewReader(`{"text":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprint("k", i))
		go func() { cancel() }()
		if res, err := r.server.Client().Do(req); err == nil {
			res.Body.Close()
		}
	}
	// Whatever arrived is there whole; repeating brings the rest, once.
	for i := range 20 {
		r.post("/v1/orders/o-1/notes", `{"text":"x"}`, fmt.Sprint("Idempotency-Key: k", i)).is(200)
	}
	r.post("/v1/orders/o-1/notes", `{"text":"last"}`).is(200).has("ETag", `"21"`)
}

// TestGarbageIsNeverOurFault: whatever is sent, the answer is not a 5xx.
func TestGarbageIsNeverOurFault(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.BodyBytes = 1 << 16 })
	r.placed("o-1")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	mangle := func(s string) string {
		b := []byte(s)
		for range rng.IntN(4) {
			if len(b) == 0 {
				break
			}
			i := rng.IntN(len(b))
			switch rng.IntN(4) {
			case 0:
				b[i] = byte(rng.Uint32())
			case 1:
				b = append(b[:i], b[i+1:]...)
			case 2:
				b = append(b[:i:i], append([]byte(pick(`{`, `"`, `]`, `null`, `1e999`, `,`, `\u0000`, "\xff")), b[i:]...)...)
			case 3:
				j := i + rng.IntN(len(b)-i)
				b = append(b[:j:j], b[i:]...)
			}
		}
		return string(b)
	}
	for range 1500 {
		rt := &routes[rng.IntN(len(routes))]
		if rt.path == "/readyz" || strings.HasSuffix(rt.path, "/rebuilds") {
			continue
		}
		path := rt.path
		for strings.Contains(path, "{") {
			i, j := strings.Index(path, "{"), strings.Index(path, "}")
			path = path[:i] + pick("o-1", "o-1", "1", "%00", "%ff", "..%2f", "a%20b", strings.Repeat("x", 300), "orders", "p1") + path[j+1:]
		}
		if rng.IntN(2) == 0 {
			path += "?" + pick("dryRun=true", "limit=9", "q=%F0%9F%98%80", "cursor=AAAA", "sort=total", "status=placed&status=placed", "=", "%", "dryRun=true&dryRun=true", "tag=%00", "facets=tag", "total=false", "top=5", "from=0001-01-01")
		}
		req := httptest.NewRequest("GET", "http://localhost/", strings.NewReader(mangle(rt.example)))
		req.Method = rt.method
		u, err := req.URL.Parse(path)
		if err != nil {
			continue
		}
		req.URL = u
		req.Header.Set("Content-Type", pick("application/json", "application/json", "application/json", "application/x-ndjson", "text/plain", "", "\xff"))
		req.Header.Set("Idempotency-Key", mangle(fmt.Sprint("k", rng.IntN(50))))
		if rng.IntN(3) == 0 {
			req.Header.Set(pick("If-Match", "If-None-Match", "Prefer", "Consistency-Token", "Traceparent", "X-Correlation-Id", "Authorization"),
				pick("*", `"0"`, "wait=0", "return=representation", "\xff", "wait=99999999999", strings.Repeat("A", 500)))
		}
		w := httptest.NewRecorder()
		r.server.Config.Handler.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Fatalf("%s %s: %d %s\nbody %q headers %v\n%s", req.Method, path, w.Code, w.Body, rt.example, req.Header, r.log)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Fatalf("%s %s: %d %s", req.Method, path, w.Code, w.Body)
		}
	}
}

// TestRawRequests sends what no client library would.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, raw := range map[string]string{
		"cut off body": "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"id\"",
		"no host":      "GET /v1/orders HTTP/1.1\r\nHost: \r\n\r\n",
		"absolute":     "GET http://evil.example/v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"two lengths":  "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"bad chunk":    "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
		"asterisk":     "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", r.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			if res.StatusCode >= 500 {
				t.Errorf("%s: %s", name, res.Status)
			}
			if name == "absolute" && res.StatusCode != 403 {
				t.Errorf("%s: %s", name, res.Status)
			}
			res.Body.Close()
		}
		conn.Close()
	}
}
