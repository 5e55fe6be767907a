package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"
)

// exchange is what is known about one request while it is answered, for the
// log, the metrics and the problem.
type exchange struct {
	traceID     string
	traceParent string // of this server's part: handed on to what is written
	correlation string // "" when the caller has none
	causation   string
	caller      string
	route       string // pattern, "" when no route matched
	command     string
	key         string // idempotency key of a command
	problem     *Problem

	gates   *gates
	class   class // of the last turn that was asked for
	gate    *gate // where the request has its turn; nil: nowhere
	streams bool  // the turn ends with the answer, not with its begin
	number  int   // of the caller there
	unread  bool  // the body did not arrive whole, or nobody asked for it
	bytes   int64 // of the body and the answer, as far as they were counted
	held    int64 // of them, taken from what all requests share
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// answer remembers what was sent.
type answer struct {
	http.ResponseWriter
	exchange *exchange
	status   int
	bytes    int64
}

// unwantedTime is how long the rest of a body may take that nobody wants, so that
// whoever was turned away holds no connection by it.
const unwantedTime = 500 * time.Millisecond

// WriteHeader ends the request's turn: what is left to do is to write.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		if !a.exchange.streams {
			a.exchange.leave()
			if a.exchange.unread {
				// net/http waits for it before it sends the answer.
				_ = http.NewResponseController(a.ResponseWriter).SetReadDeadline(time.Now().Add(unwantedTime))
			}
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// observed wraps everything: it gives the request its trace, turns a panic into
// an internal error, counts, and writes one log line.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.o.Now()
		e := newExchange(r)
		e.gates = s.gates
		defer e.end()
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e))
		a := &answer{ResponseWriter: w, exchange: e}
		if r.ContentLength != 0 {
			e.unread = true
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.o.Limits.BodyTime))
		}
		a.Header().Set("Trace-Id", e.traceID)
		a.Header().Set("X-Content-Type-Options", "nosniff")
		s.metrics.inFlight.Inc()
		defer func() {
			s.metrics.inFlight.Dec()
			broken := recover()
			if broken == http.ErrAbortHandler {
				s.record(r, a, e, s.o.Now().Sub(start))
				panic(broken) // net/http breaks the connection off
			}
			if broken != nil {
				err := fmt.Errorf("panic: %v\n%s", broken, debug.Stack())
				if a.status == 0 {
					writeProblem(a, r, problem("internal", "").because(err))
				} else {
					e.problem = problem("internal", "").because(err)
				}
			}
			s.record(r, a, e, s.o.Now().Sub(start))
		}()
		next.ServeHTTP(a, r)
	})
}

func (s *server) record(r *http.Request, a *answer, e *exchange, took time.Duration) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	s.metrics.observe(r.Method, e.route, a.status, took)
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", r.Method),
		slog.String("path", r.URL.EscapedPath()),
		slog.String("route", e.route),
		slog.Int("status", a.status),
		slog.Int64("bytes", a.bytes),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("traceId", e.traceID),
	}
	for _, optional := range [][2]string{
		{"correlationId", e.correlation}, {"causationId", e.causation}, {"caller", e.caller}, {"command", e.command}, {"idempotencyKey", e.key},
	} {
		if optional[1] != "" {
			attrs = append(attrs, slog.String(optional[0], optional[1]))
		}
	}
	if e.problem != nil {
		attrs = append(attrs, slog.String("code", e.problem.Code))
		if e.problem.cause != nil {
			attrs = append(attrs, slog.String("error", e.problem.cause.Error()))
		}
		if e.problem.Status == http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	s.o.Logger.LogAttrs(r.Context(), level, "request", attrs...)
}

var traceParentForm = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$`)

const (
	noTrace = "00000000000000000000000000000000"
	noSpan  = "0000000000000000"
)

// newExchange takes the caller's trace (W3C Trace Context) or begins one.
func newExchange(r *http.Request) *exchange {
	e := &exchange{}
	flags := "00"
	if m := traceParentForm.FindStringSubmatch(r.Header.Get("Traceparent")); m != nil && m[1] != noTrace && m[2] != noSpan {
		e.traceID, flags = m[1], m[3]
	} else {
		e.traceID = randomHex(16)
	}
	e.traceParent = "00-" + e.traceID + "-" + randomHex(8) + "-" + flags
	return e
}

// longestID bounds the ids that callers give to what they do, in bytes.
const longestID = 128

// relate takes the caller's ids of the matter, and of what made it ask.
func (e *exchange) relate(r *http.Request) error {
	for _, id := range []struct {
		header string
		taken  *string
	}{{"X-Correlation-Id", &e.correlation}, {"X-Causation-Id", &e.causation}} {
		v, err := header(r, id.header)
		if err != nil {
			return err
		}
		if v == "" && len(r.Header.Values(id.header)) == 0 {
			continue
		}
		if v == "" || len(v) > longestID || !visible(v) {
			return badHeader(id.header, "want 1 to %d visible ASCII characters", longestID)
		}
		*id.taken = v
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// visible reports whether s has visible ASCII characters only.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
