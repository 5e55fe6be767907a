package elastic

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	dialTimeout = 3 * time.Second
	idleConns   = 64 // kept per node
	// maxAnswer bounds what is read of one answer.
	maxAnswer = 256 << 20
	// shardTimeout is for how long Elasticsearch waits for a shard that is not
	// there before it says so.
	shardTimeout = 3 * time.Second
)

// cluster is asked through its guard.
type cluster struct {
	es        *elasticsearch.Client
	guard     *guard.Guard
	transport *http.Transport
}

func newCluster(a address, o guard.Options) (*cluster, error) {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true, // both ends have better things to do
		ForceAttemptHTTP2:   false,
	}
	if a.ca != nil {
		// The client's own way sets it on a copy that nobody can close, and panics.
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(a.ca) // the address has looked at it
	}
	es, err := elasticsearch.NewClient(elasticsearch.Config{
		Addresses: a.nodes, Username: a.user, Password: a.password, APIKey: a.apiKey,
		Transport:       transport,
		DisableRetry:    true, // the guard's
		Instrumentation: elasticsearch.NewOpenTelemetryInstrumentation(nil, false),
	})
	if err != nil {
		return nil, err
	}
	o.Name, o.Passes = "elasticsearch", passes
	return &cluster{es, guard.New(o), transport}, nil
}

// refusal is what Elasticsearch answered instead of what was asked for.
type refusal struct {
	status int
	kind   string // of the exception: index_not_found_exception
	reason string
	own    bool // Elasticsearch says so itself, and not something in front of it
}

func (r *refusal) Error() string {
	return fmt.Sprintf("elasticsearch answers %d %s: %.500s", r.status, r.kind, r.reason)
}

// Is makes a refusal that may pass projections.ErrUnavailable.
func (r *refusal) Is(target error) bool {
	return target == projections.ErrUnavailable && (r.passes() || r.status == http.StatusUnauthorized || r.status == http.StatusForbidden)
}

func (r *refusal) passes() bool {
	return r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout || r.status >= 500 ||
		r.kind == "search_context_missing_exception" || // of a point in time whose node is gone
		r.kind == "index_closed_exception" // 400 or 403: an operator opens it again
}

// passes tells the guard which failures count against the cluster.
func passes(err error) bool {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.passes()
	}
	return errors.Is(err, projections.ErrUnavailable)
}

// missing reports that an index or alias is not there.
func missing(err error) bool {
	r := (*refusal)(nil)
	return errors.As(err, &r) && r.notThere()
}

func (r *refusal) notThere() bool { return r.kind == "index_not_found_exception" }

// conflict is the kind of a refusal because something changed since.
const conflict = "version_conflict_engine_exception"

// call is one request, made anew for each attempt.
type call func(ctx context.Context) (*esapi.Response, error)

// ask calls, again after failures that pass, and decodes the answer.
func (c *cluster) ask(ctx context.Context, into any, do call) error {
	var answer []byte
	err := c.guard.Do(ctx, func(ctx context.Context) error {
		data, err := c.once(ctx, do)
		if err == nil {
			answer = data
		}
		return err
	})
	switch {
	case ctx.Err() != nil && err != nil:
		return ctx.Err()
	case errors.Is(err, guard.ErrRejected):
		return fmt.Errorf("%w: %w", projections.ErrUnavailable, err)
	case err != nil:
		return err
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read elasticsearch's answer: %w", err)
	}
	return nil
}

// errTooLarge: the answer is longer than maxAnswer.
var errTooLarge = errors.New("elasticsearch's answer is too large")

func (c *cluster) once(ctx context.Context, do call) ([]byte, error) {
	res, err := do(ctx)
	if err != nil {
		// Not wrapped: that this attempt's time is up says nothing of the caller's.
		return nil, fmt.Errorf("%w: %v", projections.ErrUnavailable, err)
	}
	defer res.Body.Close()
	var answer bytes.Buffer
	if res.Body != http.NoBody {
		n, err := answer.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
		if err != nil {
			return nil, fmt.Errorf("%w: its answer broke off: %v", projections.ErrUnavailable, err)
		}
		if n > maxAnswer {
			return nil, errTooLarge
		}
	}
	if !res.IsError() {
		return answer.Bytes(), nil
	}
	return nil, refused(res.StatusCode, answer.Bytes())
}

// exception is Elasticsearch's own account of a failure.
type exception struct {
	Type   string      `json:"type"`
	Reason string      `json:"reason"`
	Roots  []exception `json:"root_cause"`
}

func refused(status int, answer []byte) *refusal {
	var body struct {
		Error  jsontext.Value `json:"error"` // a text, where an alias is missing
		Status int            `json:"status"`
	}
	// Where there is none, as from a proxy, the status says it all.
	_ = json.Unmarshal(answer, &body)
	var e exception
	_ = json.Unmarshal(body.Error, &e)
	if len(e.Roots) > 0 {
		e = e.Roots[0]
	}
	return &refusal{status, cmp.Or(e.Type, http.StatusText(status)), e.Reason, body.Status == status}
}

// encoded is a request's body.
func encoded(body any) []byte {
	data, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("elastic: encode a request: %v", err)) // it is made of what encodes
	}
	return data
}
