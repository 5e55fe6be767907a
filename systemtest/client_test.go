package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// request is one HTTP request to a docket; what is empty is not sent.
type request struct {
	method, path     string
	key              string // Idempotency-Key
	ifMatch          string
	consistencyToken string
	prefer           string
	body             any
	lines            string // instead of a body: NDJSON
}

// reply is an HTTP answer that arrived whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// code is that of the problem, if the answer is one.
func (r reply) code() string {
	var problem struct{ Code string }
	if json.Unmarshal(r.body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// requestTimeout bounds how long anybody waits for an answer.
const requestTimeout = 30 * time.Second

// do sends a request; err means that no answer came.
func (s *server) do(ctx context.Context, through http.RoundTripper, r request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var in io.Reader
	mediaType := ""
	switch {
	case r.lines != "":
		in, mediaType = strings.NewReader(r.lines), "application/x-ndjson"
	case r.body != nil:
		text, err := json.Marshal(r.body)
		if err != nil {
			panic(err) // the tests make their own bodies
		}
		in, mediaType = bytes.NewReader(text), "application/json"
	}
	request, err := http.NewRequestWithContext(ctx, r.method, s.base+r.path, in)
	if err != nil {
		panic(err)
	}
	// The transport would send a request with an Idempotency-Key again by itself,
	// and hide that it did.
	request.GetBody = nil
	for name, value := range map[string]string{
		"Authorization": "Bearer " + s.key, "Idempotency-Key": r.key, "If-Match": r.ifMatch,
		"Consistency-Token": r.consistencyToken, "Prefer": r.prefer, "Content-Type": mediaType,
	} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := through.RoundTrip(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, text}, err
}

// neverSent tells that a request that has no answer had no effect: nobody
// listened.
func neverSent(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

var errAnswerLost = errors.New("the answer was lost")

// lossy is a network that loses answers after the server has sent them, and
// callers who hang up before. It serves one goroutine.
type lossy struct {
	under    http.RoundTripper
	rng      *rand.Rand
	loses    float64 // share of answers
	hangsUp  float64 // share of requests
	lost     int
	hungUp   int
	patience time.Duration // those who hang up wait at most so long
}

// RoundTrip loses what chance wants lost.
func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.rng.Float64() < l.hangsUp {
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(l.rng.Int64N(int64(l.patience))))
		defer cancel()
		response, err := l.under.RoundTrip(r.WithContext(ctx))
		if err == nil {
			response.Body.Close()
			err = errAnswerLost
		}
		l.hungUp++
		return nil, err
	}
	response, err := l.under.RoundTrip(r)
	if err != nil || l.rng.Float64() >= l.loses {
		return response, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	l.lost++
	return nil, errors.Join(errAnswerLost, err)
}

// network is a transport of its own: nothing is shared with other tests, no
// proxy.
func network() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 32}
}

// etag is the header value that names a revision.
func etag(revision int) string { return strconv.Quote(strconv.Itoa(revision)) }

// commandAnswer is the body of an answer to a command.
type commandAnswer struct {
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	Events   []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Revision int    `json:"revision"`
	} `json:"events"`
}

// orderAnswer is what the tests look at of an order document.
type orderAnswer struct {
	ID       string `json:"id"`
	Revision int    `json:"revision"`
	Customer struct {
		Name string `json:"name"`
	} `json:"customer"`
	Notes []struct {
		Text string `json:"text"`
	} `json:"notes"`
	Tags     []string          `json:"tags"`
	Metadata map[string]string `json:"metadata"`
}

// placeBody places an order; mark is left in it.
func placeBody(order, mark string) map[string]any {
	return map[string]any{
		"id": order, "currency": "EUR", "customer": map[string]any{"id": "c-" + order, "name": mark},
		"lines": []any{map[string]any{"sku": "MUG", "title": "Mug", "quantity": 2, "unitPrice": map[string]any{"amount": "7.50", "currency": "EUR"}}},
	}
}
