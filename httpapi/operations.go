package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
)

// ProjectionsAnswer lists the projections.
type ProjectionsAnswer struct {
	Items []ProjectionAnswer `json:"items"`
}

// ProjectionAnswer is one projection with its generations.
type ProjectionAnswer struct {
	Name        string             `json:"name"`
	Version     int                `json:"version"` // of this program
	Generations []GenerationAnswer `json:"generations"`
	// Rebuild is the newest, whatever became of it.
	Rebuild *RebuildAnswer `json:"rebuild,omitempty"`
	// Notes say what is unusual, in words; Next what may be typed now.
	Notes []string     `json:"notes"`
	Next  []NextAnswer `json:"next"`
}

// GenerationAnswer is one generation in one store; state is live, previous,
// building, ready, frozen (no running docket carries its version), newer (than
// this program can read), left over (it is being removed), or away for a store of
// which nothing is known.
type GenerationAnswer struct {
	Store      string              `json:"store"`
	Generation int                 `json:"generation"`
	Version    int                 `json:"version"`
	State      string              `json:"state"`
	Served     bool                `json:"served"` // it is the one that answers here
	Position   eventstore.Position `json:"position"`
	CaughtUp   bool                `json:"caughtUp"`
	Parked     int                 `json:"parked"`
	LagEvents  int64               `json:"lagEvents"`
	LagMs      int64               `json:"lagMs"`
	Problem    string              `json:"problem,omitempty"` // what keeps it from moving
	// Wedged: it stands still while there is something to apply.
	Wedged bool         `json:"wedged,omitempty"`
	Lanes  []LaneAnswer `json:"lanes,omitempty"` // of a store that several processes share
}

// LaneAnswer is one lane of a generation in a shared store. A process owns it and
// feeds it.
type LaneAnswer struct {
	Lane     int                 `json:"lane"`
	Owner    string              `json:"owner"` // empty: nobody
	Here     bool                `json:"here"`  // it is the process that answers
	Position eventstore.Position `json:"position"`
	StillMs  int64               `json:"stillMs"` // since its owner's last sign of life was seen
}

// ParkedAnswer lists orders whose next event could not be applied.
type ParkedAnswer struct {
	Items []ParkedOrder `json:"items"`
	// Away are the stores whose parked orders are not known now.
	Away []string `json:"away,omitempty"`
}

// ParkedOrder is an order that its view cannot follow. Stream is what retry
// takes.
type ParkedOrder struct {
	Store    string              `json:"store"`
	Stream   string              `json:"stream"`
	OrderID  string              `json:"orderId"`
	Revision int64               `json:"revision"` // of the first event that is not applied
	Position eventstore.Position `json:"position"`
	Reason   string              `json:"reason"`
}

// RetryAnswer says that an order is parked no more.
type RetryAnswer struct {
	OrderID string `json:"orderId"`
	Status  string `json:"status"` // released
}

var errNotParked = domain.Reject(domain.NotFound, "not-parked", "no such stream is parked")

// listProjections with Prefer: wait=N waits until everything that was in the
// log at the call is applied or parked; Preference-Applied says that it is.
func (s *server) listProjections(w http.ResponseWriter, r *request) error {
	prefer, err := parsePrefer(r.Request, s.o.Limits.WaitTime)
	if err != nil {
		return err
	}
	if prefer.waits {
		ctx, cancel := context.WithTimeout(r.Context(), prefer.wait)
		defer cancel()
		err := s.waiting(r, func() error {
			return errors.Join(each(s.projections, func(p *projection) error { return p.views.CaughtUp(ctx) })...)
		})
		if err == nil {
			w.Header().Set("Preference-Applied", "wait")
		} else if ctx.Err() == nil {
			return err
		}
	}
	type told struct {
		ProjectionAnswer
		err error
	}
	body := ProjectionsAnswer{Items: []ProjectionAnswer{}}
	for _, one := range each(s.projections, func(p *projection) told {
		answer, err := p.answer(r.Context())
		return told{answer, err}
	}) {
		if one.err != nil {
			return one.err
		}
		body.Items = append(body.Items, one.ProjectionAnswer)
	}
	return writeJSON(w, http.StatusOK, body)
}

// answer puts together what the stores and the registry tell.
func (p *projection) answer(ctx context.Context) (ProjectionAnswer, error) {
	states := p.states(ctx)
	status, err := p.whole(states)
	if err != nil {
		return ProjectionAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeOf(p.log))
	defer cancel()
	rebuilds, err := p.views.Rebuilds(ctx)
	if err != nil {
		return ProjectionAnswer{}, err
	}
	item := ProjectionAnswer{Name: p.name, Version: p.version, Generations: []GenerationAnswer{}}
	for _, g := range status.Generations {
		one := GenerationAnswer{
			Store: g.Store, Generation: g.Generation, Version: g.Version, State: g.State, Position: g.Position, CaughtUp: g.CaughtUp,
			Parked: g.Parked, LagEvents: g.Lag.Events, LagMs: g.Lag.Age.Milliseconds(), Problem: g.Problem, Wedged: g.Wedged,
			Served: slices.ContainsFunc(states, func(s storeState) bool { return s.name == g.Store && s.serves(g) }),
		}
		for _, l := range g.Lanes {
			one.Lanes = append(one.Lanes, LaneAnswer{l.Lane, l.Owner, l.Ours, l.Position, l.StillMs})
		}
		item.Generations = append(item.Generations, one)
	}
	now := situation{projection: p.name, version: p.version, generations: item.Generations}
	if len(rebuilds) > 0 {
		now.rebuild = &rebuilds[0]
		item.Rebuild = &RebuildAnswer{p.name, rebuilds[0]}
	}
	item.Notes, item.Next = now.words(), now.next()
	return item, nil
}

func (s *server) listParked(w http.ResponseWriter, r *request, p *projection) error {
	parked, away, err := p.parked(r.Context())
	if err != nil {
		return err
	}
	body := ParkedAnswer{Items: make([]ParkedOrder, len(parked)), Away: away}
	for i, o := range parked {
		body.Items[i] = ParkedOrder{o.Store, order.Decider.Category + "-" + o.OrderID, o.OrderID, o.Revision, o.Position, o.Reason}
	}
	return writeJSON(w, http.StatusOK, body)
}

// parked lists what is parked, store by store, and the stores of which that is
// not known. It fails when it is known of none.
func (p *projection) parked(ctx context.Context) (all []projections.Parked, away []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	managers := p.views.Managers()
	for _, m := range managers {
		list, failed := m.Parked(ctx)
		if failed != nil {
			away, err = append(away, m.StoreName), errors.Join(err, failed)
		}
		for _, o := range list {
			o.Store = m.StoreName
			all = append(all, o)
		}
	}
	if len(away) < len(managers) {
		err = nil
	}
	return all, away, err
}

// retryParked takes the stream's name, without a namespace, or the order's id. It
// tries in every store in which the order is parked.
func (s *server) retryParked(w http.ResponseWriter, r *request, p *projection) error {
	if err := s.emptyBody(w, r); err != nil {
		return err
	}
	parked, _, err := p.parked(r.Context())
	if err != nil {
		return err
	}
	named := r.PathValue("stream")
	i := slices.IndexFunc(parked, func(o projections.Parked) bool { return order.Decider.Category+"-"+o.OrderID == named })
	if i < 0 {
		i = slices.IndexFunc(parked, func(o projections.Parked) bool { return o.OrderID == named })
	}
	if i < 0 {
		return errNotParked
	}
	id := parked[i].OrderID
	// The caller may hang up; a retry once begun ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.o.Limits.CommandTime)
	defer cancel()
	for _, m := range p.views.Managers() {
		if slices.ContainsFunc(parked, func(o projections.Parked) bool { return o.OrderID == id && o.Store == m.StoreName }) {
			err = errors.Join(err, m.Retry(ctx, id))
		}
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, RetryAnswer{id, "released"})
}

// emptyBody takes a body that says nothing: none, or an empty object.
func (s *server) emptyBody(w http.ResponseWriter, r *request) error {
	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	return decode(data, &struct{}{}, &shape{})
}

// HealthAnswer says that the process lives.
type HealthAnswer struct {
	Status  string `json:"status"`
	Version string `json:"version,omitempty"`
}

func (s *server) healthz(w http.ResponseWriter, r *request) error {
	return writeJSON(w, http.StatusOK, HealthAnswer{"alive", s.o.Version})
}

// ReadyAnswer says what this process can serve.
type ReadyAnswer struct {
	Ready    bool     `json:"ready"`
	Commands bool     `json:"commands"`
	Reads    bool     `json:"reads"`
	Impaired []string `json:"impaired"` // in words; empty when all is well
	// Stores of the views of orders, each as it is.
	Stores []StoreAnswer `json:"stores"`
}

// probeTime bounds what a probe waits for a part that hangs.
const probeTime = 2 * time.Second

func (s *server) readyz(w http.ResponseWriter, r *request) error {
	ctx, cancel := context.WithTimeout(r.Context(), probeTime)
	defer cancel()
	body := ReadyAnswer{Commands: true, Reads: true, Impaired: []string{}}
	if err := eventstore.UnreachableOf(s.o.Store); err != nil {
		body.Commands = false
		body.Impaired = append(body.Impaired, "commands: "+err.Error())
	} else if _, err := s.o.Store.Head(ctx); err != nil {
		body.Commands = false
		body.Impaired = append(body.Impaired, "commands: the event store does not answer")
		s.o.Logger.WarnContext(ctx, "readiness", "traceId", r.traceID, "error", err)
	}
	if refusal := eventstore.RefusalOf(s.o.Store); refusal != nil {
		body.Commands = false
		body.Impaired = append(body.Impaired, "commands: "+refusal.Error())
	} else if s.readOnly.Load() {
		body.Commands = false
		body.Impaired = append(body.Impaired, "commands: the event store does not accept writes; see the log")
	}
	found := each(s.projections, func(p *projection) []storeState { return p.states(r.Context()) })
	all := found[0]
	status, err := s.orders().whole(all)
	switch {
	case !s.orders().anyOpen():
		body.Reads = false
		body.Impaired = append(body.Impaired, "reads: no view is open")
	case err != nil && s.isRemote() && len(status.Generations) > 0:
		body.Impaired = append(body.Impaired, "reads: the views stand still, and the past is not shown, until the event store answers")
	case err != nil:
		body.Reads = false
		body.Impaired = append(body.Impaired, "reads: the views do not answer")
		s.o.Logger.WarnContext(ctx, "readiness", "traceId", r.traceID, "error", err)
	}
	for _, one := range all {
		if body.Reads || len(all) > 1 {
			body.Impaired = append(body.Impaired, one.impaired("reads", len(all) > 1)...)
		}
		body.Stores = append(body.Stores, one.answer())
	}
	for i, p := range s.models() {
		body.Impaired = append(body.Impaired, p.impaired(found[i+1])...)
	}
	body.Ready = body.Commands || body.Reads
	if !s.caughtUp.Load() {
		body.Ready = false
		body.Impaired = append(body.Impaired, "start: the views have not reached the head of the log seen at start")
	}
	code := http.StatusOK
	if !body.Ready {
		code = http.StatusServiceUnavailable
	}
	return writeJSON(w, code, body)
}

// probeTimeOf is short for a log that is known not to answer: what a probe can
// say without it comes at once.
func probeTimeOf(store eventstore.Store) time.Duration {
	if eventstore.UnreachableOf(store) != nil {
		return probeTime / 10
	}
	return probeTime
}

// isRemote reports whether the log lies behind a network, and the views do not.
func (s *server) isRemote() bool {
	_, remote := s.o.Store.(eventstore.Remote)
	return remote
}

func (s *server) getOpenAPI(w http.ResponseWriter, r *request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(s.openapi)
	return nil
}

func (s *server) getMetrics(w http.ResponseWriter, r *request) error {
	s.metrics.handler.ServeHTTP(w, r.Request)
	return nil
}
