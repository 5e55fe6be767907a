package systemtest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// target is a docket that is sent what no client would send.
type target struct {
	*server
	t       *testing.T
	address string
}

// attacked starts a docket whose patience is short, so that losing it is seen.
func attacked(t *testing.T, limits map[string]string) *target {
	t.Helper()
	for name, value := range limits {
		t.Setenv("DOCKET_LIMIT_"+name, value)
	}
	s := start(t, t.TempDir())
	return &target{s, t, strings.TrimPrefix(s.base, "http://")}
}

var shortPatience = map[string]string{
	"HEADER_TIME": "1s", "BODY_TIME": "1s", "IDLE_TIME": "3s", "ADOPTION_IDLE": "1s",
	"WAIT_TIME": "500ms", "READ_TIME": "1s", "COMMAND_TIME": "2s", "ANSWER_TIME": "4s", "CONNECTIONS": "1000",
}

// within is how long anything hostile may take until it is answered or cut off:
// the longest patience above, and room for a busy machine.
const within = 20 * time.Second

func (s *target) dial() *net.TCPConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(within))
	return conn.(*net.TCPConn)
}

// answer reads the status of one answer; 0: the connection was closed without.
func (s *target) answer(in *bufio.Reader) int {
	s.t.Helper()
	response, err := http.ReadResponse(in, nil)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("neither an answer nor the end within %s", within)
	}
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// send writes raw bytes and answers the status of the first answer.
func (s *target) send(raw string) int {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, raw) }() // it may stop reading early
	return s.answer(bufio.NewReader(conn))
}

// resident is the memory of the process in MiB, now and at its highest.
func (s *target) resident() (now, highest int) {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "VmRSS:":
			now, _ = strconv.Atoi(fields[1])
		case "VmHWM:":
			highest, _ = strconv.Atoi(fields[1])
		}
	}
	return now >> 10, highest >> 10
}

// goroutines of the process, as /metrics says.
func (s *target) goroutines() int { return s.metric("go_goroutines") }

func (s *target) metric(name string) int {
	s.t.Helper()
	through := network()
	defer through.CloseIdleConnections()
	got, err := s.do(context.Background(), through, request{method: "GET", path: "/metrics"})
	if err != nil || got.status != 200 {
		s.t.Fatalf("metrics: %d %v", got.status, err)
	}
	for line := range strings.Lines(string(got.body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n)
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}

// unharmed says that the docket works as before: it takes an order, and has
// given back what the attack took.
func (s *target) unharmed(order string, goroutines, megabytes int) {
	s.t.Helper()
	through := network()
	defer through.CloseIdleConnections()
	got, err := s.do(context.Background(), through, request{method: "POST", path: "/v1/orders", body: placeBody(order, "Ann Example")})
	if err != nil || got.status != 201 {
		s.t.Errorf("an order after it: %d %s %v", got.status, got.body, err)
	}
	enough := time.After(within)
	for look := time.NewTicker(50 * time.Millisecond); s.goroutines() > goroutines+20; {
		select {
		case <-look.C:
		case <-enough:
			s.t.Errorf("%d goroutines, before it %d", s.goroutines(), goroutines)
			return
		}
	}
	if _, highest := s.resident(); highest > megabytes {
		s.t.Errorf("%d MiB were resident, at most %d may be", highest, megabytes)
	}
}

// get and post are requests of people who mean it, to be spoilt.
func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + lines(headers) + "\r\n"
}

func post(path, body string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + lines(headers) +
		fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func lines(headers []string) string {
	var b strings.Builder
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	return b.String()
}

// placing is the body of an order with one value in it replaced.
func placing(old, new string) string {
	body := `{"id":"ID","currency":"EUR","customer":{"name":"NAME"},"lines":[{"sku":"SKU","title":"TITLE","quantity":2,"unitPrice":{"amount":"7.50","currency":"EUR"}}],"metadata":{"KEY":"x"}}`
	return strings.Replace(body, old, new, 1)
}

func packed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// hostile is a request and the statuses that are right; 0: a closed connection,
// where HTTP leaves nothing else. 501 and 505 are what HTTP wants of what is not
// known.
type hostile struct {
	name string
	raw  string
	want []int
}

func hostiles() []hostile {
	orders, big := "/v1/orders", strings.Repeat("x", 1<<20)
	chunked := "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
	refused := []int{400, 422}
	list := []hostile{
		{"giant header", get(orders, "X: "+big), []int{431}},
		{"giant request line", get(orders + "?q=" + big), []int{431}},
		{"long URL", get(orders + "?q=" + big[:20_000]), []int{414}},
		{"many header names", get(orders, strings.Split(strings.TrimSpace(numbered("X-%d: a\n", 200)), "\n")...), []int{431}},
		{"one header many times", get(orders, slices.Repeat([]string{"X-Correlation-Id: a"}, 2000)...), []int{400}},
		{"header without end", "GET /v1/orders HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("A", 4<<20), []int{431, 0}},
		{"header with a NUL", get(orders, "X-Correlation-Id: a\x00b"), []int{400}},
		{"header with a folded line", get(orders, "X-Correlation-Id: a\r\n b"), []int{400}},
		{"header name with a space", get(orders, "X-Correlation-Id : a"), []int{400}},
		{"bare line feeds in a value", get(orders, "X-Correlation-Id: a\nHost: evil"), []int{400}},
		{"key twice", post(orders, placing("", ""), "Idempotency-Key: a", "Idempotency-Key: b"), []int{400}},
		{"key of another script", post(orders, placing("", ""), "Idempotency-Key: k\u0435y"), []int{400}},
		{"content type twice", post(orders, placing("", ""), "Content-Type: application/json"), []int{415}},
		{"content type of many parameters", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json" + numbered("; p%d=1", 4000) + "\r\nContent-Length: 2\r\n\r\n{}", []int{415, 400}},
		{"bearer of 60 KB", get(orders, "Authorization: Bearer "+big[:60_000]), []int{401}},
		{"many preferences", get(orders, "Prefer: wait=x"+strings.Repeat(", wait=1", 7000)), []int{400}},
		{"many tags to match", post(orders+"/x/confirm", "{}", "If-Match: "+strings.Repeat(`"1",`, 10_000)), []int{400}},

		{"packed body", post(orders, packed(strings.Repeat(" ", 100<<20)), "Content-Encoding: gzip"), []int{415}},
		{"packed body, said twice", post(orders, packed("{}"), "Content-Encoding: identity", "Content-Encoding: br"), []int{415}},
		{"packed adoptions", "POST /v1/adoptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", []int{415}},
		{"packed transfer", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"unknown transfer", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"chunked twice", strings.TrimSuffix(chunked, "\r\n") + ", chunked\r\n\r\n0\r\n\r\n", []int{400, 501}},
		{"two lengths", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", []int{400}},
		{"signed length", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}", []int{400}},
		{"negative length", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: -2\r\n\r\n{}", []int{400}},
		{"length of 2^70", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1180591620717411303424\r\n\r\n{}", []int{400}},
		{"length of 1 TB", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n{}", []int{413}},
		{"length and chunks", chunked + "Content-Length: 3\r\n\r\n2\r\n{}\r\n0\r\n\r\n", refused},
		{"body of 10 MB in chunks", chunked + "\r\n" + strings.Repeat("100000\r\n"+big+"\r\n", 10) + "0\r\n\r\n", []int{413, 0}},
		{"chunk of 2^68", chunked + "\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n", []int{400}},
		{"chunk extension of 1 MB", chunked + "\r\n2;" + big + "\r\n{}\r\n0\r\n\r\n", []int{400}},
		{"many chunk extensions", chunked + "\r\n" + strings.Repeat("1;"+big[:3000]+"\r\n \r\n", 300) + "0\r\n\r\n", []int{400}},
		{"trailer of 1 MB", chunked + "\r\n2\r\n{}\r\n0\r\nX: " + big + "\r\n\r\n", []int{400}},
		{"unknown expectation", post(orders, "{}", "Expect: a cake"), []int{417}},
		{"expects to be let go on with 1 TB", "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1099511627776\r\n\r\n", []int{413}},

		{"no host", "GET /v1/orders HTTP/1.1\r\n\r\n", []int{400}},
		{"two hosts", get(orders, "Host: evil.example"), []int{400}},
		{"foreign host", "GET /v1/orders HTTP/1.1\r\nHost: evil.example\r\n\r\n", []int{403}},
		{"host with a user", "GET /v1/orders HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", []int{400, 403}},
		{"host with a look-alike", "GET /v1/orders HTTP/1.1\r\nHost: l\u043ecalhost\r\n\r\n", []int{400, 403}},
		{"foreign absolute target", get("http://evil.example/v1/orders"), []int{403}},
		{"old protocol, no host", "GET /v1/orders HTTP/1.0\r\n\r\n", []int{403}},
		{"protocol 0.9", "GET /v1/orders\r\n\r\n", []int{400}},
		{"protocol 9", "GET /v1/orders HTTP/9.9\r\nHost: localhost\r\n\r\n", []int{400, 505}},
		{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 404, 405, 505, 0}},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + big[:500] + "\r\n\r\n", []int{400}},
		{"CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 404, 405}},
		{"TRACE", "TRACE /v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}},
		{"method in lower case", "get /v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}},
		{"method with a NUL", "G\x00T /v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400}},
		{"method of 60 KB", big[:60_000] + " /v1/orders HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{405}},

		{"query that is no query", get(orders + "?%zz=1"), []int{400}},
		{"query of many names", get(orders + "?" + strings.Repeat("a&", 8000)), []int{400}},
		{"query that is not text", get(orders + "?q=%ff"), []int{400}},
		{"NUL in a query", get(orders + "?tag=%00"), []int{400}},
		{"limit beyond numbers", get(orders + "?limit=99999999999999999999"), []int{400}},
		{"revision beyond numbers", get(orders + "/x?atRevision=9223372036854775808"), []int{400}},
		{"year 10^9", get(orders + "?placedFrom=1000000000-01-01T00:00:00Z"), []int{400}},
		{"a cursor of one's own", get(orders + "?cursor=" + big[:8000]), []int{400}},
		{"words without end", get(orders + "?q=" + strings.Repeat("a+", 500)), []int{400}},

		{"nested arrays", post(orders, strings.Repeat("[", 1<<20)), refused},
		{"nested objects", post(orders, strings.Repeat(`{"a":`, 200_000)), refused},
		{"nested where anything goes", post("/v1/adoptions", `{"id":"x","history":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}`), []int{415}},
		{"many empty lines of an order", post(orders, `{"currency":"EUR","lines":[`+strings.Repeat("{},", 300_000)+`{}]}`), refused},
		{"many keys", post(orders, placing(`"KEY":"x"`, strings.TrimSuffix(numbered(`"k%d":"",`, 60_000), ","))), refused},
		{"one key many times", post(orders, placing(`"KEY":"x"`, strings.TrimSuffix(strings.Repeat(`"k":"",`, 60_000), ","))), refused},
		{"many tags", post(orders, placing(`"currency":"EUR",`, `"tags":[`+strings.TrimSuffix(numbered(`"%d",`, 60_000), ",")+`],"currency":"EUR",`)), refused},
		{"number of a million digits", post(orders, placing(`"quantity":2`, `"quantity":`+strings.Repeat("9", 1_000_000))), refused},
		{"something after the body", post(orders, placing("", "")+"{}"), refused},
		{"a null", post(orders, "null"), refused},
		{"invalid UTF-8", post(orders, placing("NAME", "\xff")), refused},
		{"half a surrogate", post(orders, placing("NAME", `\ud800`)), refused},
		{"overlong slash", post(orders, placing("NAME", "\xc0\xaf")), refused},
		{"raw NUL", post(orders, placing("NAME", "\x00")), refused},
		{"UTF-16", post(orders, "\xff\xfe{\x00}\x00"), refused},
		{"a mark of byte order", post(orders, "\ufeff{}"), refused},
		{"members that differ by case", post(orders, placing(`"currency":"EUR",`, `"Currency":"EUR",`)), refused},
		{"the prototype", post(orders, placing(`"currency":"EUR",`, `"currency":"EUR","__proto__":{},`)), refused},
	}
	for _, amount := range []string{"99999999999999999999999999.00", "9223372036854775808", "-9223372036854775809", "1e5", "1E400", "0x10", "NaN", "Infinity", "-0.00000001",
		"1_000", "1,00", " 1", "1 ", "+1", ".5", "1.", "", "\uff11\uff12", "\u0661", "1\u200b", strings.Repeat("9", 100_000)} {
		list = append(list, hostile{"an amount of " + short(amount), post(orders, placing("7.50", amount)), refused})
	}
	for _, quantity := range []string{"9223372036854775808", "-1", "0", "1e30", "1.5", "1e-5", `"2"`, "true", "1000001", "-9223372036854775808"} {
		list = append(list, hostile{"a quantity of " + quantity, post(orders, placing(`"quantity":2`, `"quantity":`+quantity)), refused})
	}
	for _, text := range []string{`\u0000`, `\u001b[2J`, `\u0085`, `\n`, `\u202e`, `\u2066`, `\u200b`, `\u2028`, `\ufeff`, "\u202e", "\u00ad", "\U000e0041", "\u0007"} {
		list = append(list, hostile{"a name with " + strconv.QuoteToASCII(text), post(orders, placing("NAME", "a"+text+"b")), refused})
	}
	for where, text := range map[string]string{"SKU": "\u0410BC", "KEY": "k\u0435y", "ID": "\u043erder", "EUR": "\u0415UR"} {
		list = append(list, hostile{"look-alike letters in " + where, post(orders, placing(where, text)), refused})
	}
	for _, path := range []string{"/v1/orders/..%2f..%2fetc%2fpasswd", "/v1/orders/%2e%2e/orders", "/v1//orders", "/v1/orders/../../metrics", "/v1/./orders", "/v1/orders/", "/v1/orders/%00",
		"/v1/orders/a%2fb", "/v1/orders/a%5cb", "/v1/orders/a;b", "/V1/orders", "/v1/orders/%ff", "/v1/orders/%c0%af", "/v1/orders/" + strings.Repeat("a", 65), "/v1/orders/\u043e", "/v1/orders/%", "/..", "//evil.example/v1/orders"} {
		list = append(list, hostile{"the path " + short(path), get(path), []int{400, 403, 404}})
	}
	return list
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func short(s string) string {
	if len(s) > 40 {
		s = s[:40] + "..."
	}
	return strconv.QuoteToASCII(s)
}

// TestHostileRequests: each is refused with a 4xx, or cut off, within bounds of
// time and memory, and none has an effect.
func TestHostileRequests(t *testing.T) {
	s := attacked(t, shortPatience)
	before, began := s.goroutines(), time.Now()
	list := hostiles()
	var wait sync.WaitGroup
	turns := make(chan struct{}, 4)
	for _, h := range list {
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			sent := time.Now()
			if got := s.send(h.raw); !slices.Contains(h.want, got) {
				t.Errorf("%s: %d, want one of %v", h.name, got, h.want)
			}
			if took := time.Since(sent); took > within/2 {
				t.Errorf("%s: took %s", h.name, took)
			}
		})
	}
	wait.Wait()
	through := network()
	defer through.CloseIdleConnections()
	got, err := s.do(context.Background(), through, request{method: "GET", path: "/v1/orders"})
	if err != nil || !strings.Contains(string(got.body), `"total":0`) {
		t.Errorf("something had an effect: %d %s %v", got.status, got.body, err)
	}
	s.unharmed("after", before, 300)
	_, highest := s.resident()
	t.Logf("%d hostile requests in %s, at most %d MiB resident", len(list), time.Since(began).Round(time.Millisecond), highest)
}

// TestHarmlessOddities: what HTTP allows has no effect that nobody asked for.
func TestHarmlessOddities(t *testing.T) {
	s := attacked(t, shortPatience)
	if got := s.send(post("/v1/orders", placing("", ""))); got != 201 {
		t.Fatalf("place: %d", got)
	}
	if got := s.send(post("/v1/orders/ID/holds", `{"reason":"x"}`, "Idempotency-Key: h")); got != 200 {
		t.Fatalf("hold: %d", got)
	}
	if got := s.send(post("/v1/orders/ID/confirm", `{}`, "X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE", "X-Original-URL: /v1/orders/ID/cancel")); got != 409 && got != 200 {
		t.Errorf("another method in a header: %d", got)
	}
	if got := s.send(get("/v1/orders/ID", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")); got != 200 {
		t.Errorf("upgrade to a web socket: %d", got)
	}
	if got := s.send(get("/v1/orders/ID", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")); got != 200 {
		t.Errorf("upgrade to HTTP/2: %d", got)
	}
	if got := s.send("GET /v1/orders/ID HTTP/1.0\r\nHost: localhost\r\n\r\n"); got != 200 {
		t.Errorf("HTTP/1.0: %d", got)
	}
	if got := s.send("POST /v1/orders/ID/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n7;a=b\r\n{\"text\"\r\n5\r\n:\"x\"}\r\n0\r\nIdempotency-Key: h\r\n\r\n"); got != 200 {
		t.Errorf("a key in the trailer: %d", got)
	}
	// Many requests in one go are answered in their order.
	conn := s.dial()
	go func() {
		_, _ = io.WriteString(conn, strings.Repeat(get("/v1/orders/ID")+get("/v1/orders/nobody"), 500))
	}()
	in := bufio.NewReader(conn)
	for i := range 1000 {
		if got, want := s.answer(in), []int{200, 404}[i%2]; got != want {
			t.Fatalf("request %d of a pipeline: %d, want %d", i, got, want)
		}
	}
}

// TestTrickle: who sends a byte now and then is cut off, in the header and in
// the body, whatever becomes of the request.
func TestTrickle(t *testing.T) {
	s := attacked(t, shortPatience)
	before := s.goroutines()
	body := "\r\nContent-Length: 100000\r\n\r\n{"
	for name, c := range map[string]struct {
		head string
		want []int
	}{
		"request line":           {"GET /v1/ord", []int{0, 400, 408}},
		"header":                 {"GET /v1/orders HTTP/1.1\r\nHost: local", []int{0, 400, 408}},
		"header after header":    {"GET /v1/orders HTTP/1.1\r\nHost: localhost\r\n", []int{0, 400, 408}},
		"body":                   {"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json" + body, []int{400}},
		"body in chunks":         {"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n{", []int{400}},
		"body nobody reads":      {"POST /v1/nothing HTTP/1.1\r\nHost: localhost" + body, []int{404, 0}},
		"body of a question":     {"GET /v1/orders HTTP/1.1\r\nHost: localhost" + body, []int{200, 0}},
		"body of the wrong type": {"POST /v1/orders HTTP/1.1\r\nHost: localhost" + body, []int{415, 0}},
		"line of an adoption":    {"POST /v1/adoptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson" + body, []int{200, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.dial()
			if _, err := io.WriteString(conn, c.head); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
				}
			}()
			if got := s.answer(bufio.NewReader(conn)); !slices.Contains(c.want, got) {
				t.Errorf("%d, want one of %v", got, c.want)
			}
			select {
			case <-ended: // nobody listens any more
			case <-time.After(within):
				t.Errorf("still listened to after %s", within)
			}
		})
	}
	s.unharmed("after", before, 200)
}

// TestIdleConnections: thousands of connections that say nothing keep nobody
// out, and are closed in the end.
func TestIdleConnections(t *testing.T) {
	s := attacked(t, shortPatience)
	before := s.goroutines()
	for i := range 3000 {
		conn := s.dial()
		switch i % 3 {
		case 0: // says nothing
		case 1:
			_, _ = io.WriteString(conn, "GET /v1/orders HTTP/1.1\r\nHost:")
		case 2:
			_, _ = io.WriteString(conn, get("/healthz"))
		}
	}
	if got := s.send(get("/v1/orders")); got != 200 {
		t.Errorf("somebody else: %d", got)
	}
	s.unharmed("after", before, 250)
}

// TestNobodyReadsTheAnswers: those who ask without end and read nothing are cut
// off, and cost no memory meanwhile.
func TestNobodyReadsTheAnswers(t *testing.T) {
	s := attacked(t, shortPatience)
	before := s.goroutines()
	question := strings.Repeat(get("/openapi.json"), 100)
	var wait sync.WaitGroup
	for range 50 {
		conn := s.dial()
		_ = conn.SetReadBuffer(4096)
		wait.Go(func() {
			for {
				if _, err := io.WriteString(conn, question); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("still listened to after %s", within)
					return
				} else if err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
	s.unharmed("after", before, 250)
}

// TestHostileAdoptions: streams without end are taken as long as they flow, in
// bounded memory; those that do not flow are cut off.
func TestHostileAdoptions(t *testing.T) {
	s := attacked(t, shortPatience)
	before := s.goroutines()
	const head = "POST /v1/adoptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	stream := func(t *testing.T, piece string, pieces int, reads bool) (answers string) {
		conn := s.dial()
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, head)
			for i := 0; i < pieces && err == nil; i++ {
				_, err = io.WriteString(conn, chunk(piece))
			}
			if err == nil {
				_, err = io.WriteString(conn, "0\r\n\r\n")
			}
			wrote <- err
		}()
		if !reads {
			if err := <-wrote; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a stream whose answers nobody reads: %v", err)
			}
			return ""
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body) // broken off, or whole
		<-wrote
		return string(text)
	}
	t.Run("a line of 64 MiB", func(t *testing.T) {
		if got := stream(t, strings.Repeat("x", 1<<20), 64, true); !strings.Contains(got, "body-too-large") || strings.Count(got, "\n") != 1 {
			t.Errorf("%.300s", got)
		}
	})
	t.Run("blank lines", func(t *testing.T) {
		if got := stream(t, strings.Repeat("\n", 1<<20), 4, true); got != "" {
			t.Errorf("%.300s", got)
		}
	})
	t.Run("lines of rubbish", func(t *testing.T) {
		got := stream(t, strings.Repeat("{]\n", 1000), 20, true)
		if strings.Count(got, `"status":"refused"`) != 20_000 {
			t.Errorf("%d answers: %.300s", strings.Count(got, "\n"), got)
		}
	})
	t.Run("large lines at once", func(t *testing.T) {
		got := stream(t, `{"id":"x","history":"`+strings.Repeat("y", 3<<20)+"\"}\n", 40, true)
		if strings.Count(got, `"status":"refused"`) != 40 {
			t.Errorf("%d answers: %.300s", strings.Count(got, "\n"), got)
		}
	})
	t.Run("answers that nobody reads", func(t *testing.T) {
		stream(t, strings.Repeat("{]\n", 10_000), 1<<20, false)
	})
	s.unharmed("after", before, 300)
	_, highest := s.resident()
	t.Logf("at most %d MiB resident", highest)
}
