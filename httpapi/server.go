package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/reconcile"
)

// Options of the handler. Orders to Reconcile are needed.
type Options struct {
	Orders      *command.Orders
	Query       *query.Service
	Projections *projections.Stores
	Store       eventstore.Store // asked for its head, to tell whether it lives
	Log         eventstore.LogIdentity
	Audit       *audit.Auditor
	Refusals    *audit.Refusals // where Orders tells its refusals
	Reconcile   *reconcile.Reconciler
	Guards      []*guard.Guard // in front of stores of views, by the names of these
	// Models are read models beside the orders.
	Models []readmodel.Live

	Keys   Keys   // nil: no key is needed, only this machine is spoken to
	RunKey string // a key for everything, of this run only; empty: none

	// Lifetime ends what goes on after its request: comparisons, reconciliations.
	// Nil: never.
	Lifetime context.Context
	// Stopping ends, when the server begins to stop, what is sent for as long as
	// something goes on. Nil: nothing does.
	Stopping context.Context
	Logger   *slog.Logger // nil: silent
	Version  string       // of the program
	Now      func() time.Time

	RequireIfMatch bool // commands on an order without If-Match are refused

	Limits Limits
}

type server struct {
	o          Options
	routes     []route
	runKeyHash []byte
	metrics    *metrics
	gates      *gates
	// projections that are kept, the orders first.
	projections []*projection
	// eventPatience is how long an event waits for its reader, modelPatience how
	// long the start waits for read models.
	eventPatience, modelPatience time.Duration

	openapi  []byte
	caughtUp atomic.Bool // with everything that was in the log at the start
	readOnly atomic.Bool // the last command that had something to write met a store that refuses writes
}

// New makes the handler. The limits must be valid. It begins to wait for the views to catch up with the
// log as it is now; until then /readyz says no. Its goroutines end with
// Options.Lifetime.
func New(o Options) http.Handler {
	s := newServer(o)
	go s.awaitStart()
	return s.handler()
}

// modelsAtStart is for how long read models are waited for once the orders are
// there: one that cannot follow keeps nobody from what the process can serve.
const modelsAtStart = 10 * time.Second

func (s *server) awaitStart() {
	s.orders().awaitStart(s.o.Lifetime)
	ctx, cancel := context.WithTimeout(s.o.Lifetime, s.modelPatience)
	defer cancel()
	each(s.models(), func(p *projection) struct{} { p.awaitStart(ctx); return struct{}{} })
	s.caughtUp.Store(s.o.Lifetime.Err() == nil)
}

func newServer(o Options) *server {
	o.Lifetime = cmp.Or[context.Context](o.Lifetime, context.Background())
	o.Limits = o.Limits.OrDefaults()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &server{o: o, routes: routes, eventPatience: eventPatience, modelPatience: modelsAtStart}
	if o.RunKey != "" {
		s.runKeyHash = []byte(HashKey(o.RunKey))
	}
	s.gates = newGates(o.Limits, len(o.Keys)+1)
	s.projections = projectionsOf(o)
	s.metrics = newMetrics(o, s.projections, s.gates)
	s.openapi = document(s.routes, o.Version)
	return s
}

func (s *server) handler() http.Handler { return s.observed(s.mux()) }

// route is one method on one path. The table of them is what is served, what is
// checked, and what is documented.
type route struct {
	method, path string
	scope        Scope
	class        class // of the turn it takes
	summary      string
	params       []param
	// ownQuery: its handler checks the query string; params are for the document.
	ownQuery   bool
	headers    []string // taken, beside the ones of every route; see headerDocs
	body       any      // a zero value of what is decoded; nil for no body
	mediaType  string   // of the body; "" is application/json
	example    string   // of a body
	status     int      // of success
	answer     any      // a zero value of what is answered
	answerType string   // "" is application/json
	// answerHeaders of a success, beside the ones of every answer; see
	// answerHeaderDocs.
	answerHeaders []string
	codes         []string // problems of its own; common ones are added
	handle        func(*server, http.ResponseWriter, *request) error
}

// request is a request that was authenticated and whose query was checked.
type request struct {
	*http.Request
	*exchange
	route *route
	who   caller
	query values
}

// mux serves the table. Paths are registered without a method, so that what is
// not there or not allowed is answered as a problem too.
func (s *server) mux() http.Handler {
	mux := http.NewServeMux()
	byPath := map[string]map[string]*route{}
	for i := range s.routes {
		rt := &s.routes[i]
		if byPath[rt.path] == nil {
			byPath[rt.path] = map[string]*route{}
		}
		byPath[rt.path][rt.method] = rt
	}
	for pattern, methods := range byPath {
		allow := allowed(methods)
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			rt := methods[r.Method]
			switch {
			case rt == nil && r.Method == http.MethodHead && methods[http.MethodGet] != nil:
				rt = methods[http.MethodGet] // net/http drops the body
			case rt == nil && r.Method == http.MethodOptions:
				w.Header().Set("Allow", allow)
				w.WriteHeader(http.StatusNoContent)
				return
			case rt == nil:
				p := problem("method-not-allowed", "allowed are %s", allow)
				p.allow = allow
				writeProblem(w, r, p)
				return
			}
			if err := s.serve(w, r, rt); err != nil {
				writeProblem(w, r, problemOf(err))
			}
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect a path with // or /../ in it.
		clean := r.URL.Path != "" && path.Clean(r.URL.Path) == r.URL.Path
		if _, pattern := mux.Handler(r); !clean || pattern == "" {
			writeProblem(w, r, problem("not-found", "no such path; see /openapi.json"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func allowed(methods map[string]*route) string {
	names := []string{http.MethodOptions}
	for m := range methods {
		names = append(names, m)
		if m == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, rt *route) error {
	e := exchangeOf(r.Context())
	e.route = rt.path
	if err := e.relate(r); err != nil {
		return err
	}
	if e.correlation != "" {
		w.Header().Set("X-Correlation-Id", e.correlation)
	}
	who, err := s.authenticate(r, rt.scope)
	if err != nil {
		return err
	}
	e.caller = who.name
	if len(r.Header) > s.o.Limits.HeaderNames {
		return problem("header-too-large", "at most %d different names are taken", s.o.Limits.HeaderNames)
	}
	if len(r.RequestURI) > s.o.Limits.URLBytes {
		return problem("url-too-long", "at most %d bytes are taken", s.o.Limits.URLBytes)
	}
	var q values
	if !rt.ownQuery {
		if q, err = checkQuery(r.URL.RawQuery, rt.params); err != nil {
			return err
		}
	}
	req := &request{Request: r, exchange: e, route: rt, who: who, query: q}
	switch rt.class {
	case reads, searches:
		if err := s.gates.enter(req, rt.class); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.o.Limits.ReadTime)
		defer cancel()
		req.Request = r.WithContext(ctx)
	}
	return rt.handle(s, w, req)
}

// writeJSON answers a value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	if a, ok := w.(*answer); ok && !a.exchange.hold(int64(len(data))) {
		return overloaded("bytes of answers")
	}
	w.WriteHeader(status)
	_, _ = bytes.NewBuffer(append(data, '\n')).WriteTo(w) // the caller may have gone
	return nil
}

// etag of an order at a revision.
func etag(revision int64) string { return `"` + strconv.FormatInt(revision, 10) + `"` }
