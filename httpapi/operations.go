package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

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
	Name             string             `json:"name"`
	Version          int                `json:"version"` // of this program
	Generations      []GenerationAnswer `json:"generations"`
	Rebuild          *RebuildProgress   `json:"rebuild,omitempty"` // while one runs
	LastRebuildError string             `json:"lastRebuildError,omitempty"`
}

// GenerationAnswer is one generation; state is live, frozen or building.
type GenerationAnswer struct {
	Generation int                 `json:"generation"`
	Version    int                 `json:"version"`
	State      string              `json:"state"`
	Position   eventstore.Position `json:"position"`
	CaughtUp   bool                `json:"caughtUp"`
	Parked     int                 `json:"parked"`
	LagEvents  int64               `json:"lagEvents"`
	LagMs      int64               `json:"lagMs"`
	Problem    string              `json:"problem,omitempty"` // what keeps it from moving
}

// RebuildAnswer is a rebuild that this process was asked for; state is running,
// done or failed.
type RebuildAnswer struct {
	ID         string           `json:"id"`
	Projection string           `json:"projection"`
	State      string           `json:"state"`
	StartedAt  time.Time        `json:"startedAt"`
	EndedAt    *time.Time       `json:"endedAt,omitempty"`
	Progress   *RebuildProgress `json:"progress,omitempty"`
	Error      string           `json:"error,omitempty"`
}

// RebuildProgress: phases are reading, folding, following, switched.
type RebuildProgress struct {
	Generation int                 `json:"generation"`
	Phase      string              `json:"phase"`
	Events     int64               `json:"events"`
	Orders     int64               `json:"orders"`
	Position   eventstore.Position `json:"position"`
	Head       eventstore.Position `json:"head"`
}

// ParkedAnswer lists orders whose next event could not be applied.
type ParkedAnswer struct {
	Items []ParkedOrder `json:"items"`
}

// ParkedOrder is an order that its view cannot follow. Stream is what retry
// takes.
type ParkedOrder struct {
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

// errNotParked and errNoRebuild are what these routes do not find.
var (
	errNoProjection = domain.Reject(domain.NotFound, "unknown-projection", "there is no such projection; there is "+projections.Name)
	errNoRebuild    = domain.Reject(domain.NotFound, "unknown-rebuild", "this process knows no such rebuild")
	errNotParked    = domain.Reject(domain.NotFound, "not-parked", "no such stream is parked")
)

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
		err := s.waiting(r, func() error { return s.o.Projections.CaughtUp(ctx) })
		if err == nil {
			w.Header().Set("Preference-Applied", "wait")
		} else if ctx.Err() == nil {
			return err
		}
	}
	status, err := s.o.Projections.Status(r.Context())
	if err != nil {
		return err
	}
	item := ProjectionAnswer{Name: status.Name, Version: status.Version, LastRebuildError: status.LastRebuildError}
	for _, g := range status.Generations {
		item.Generations = append(item.Generations, GenerationAnswer{
			Generation: g.Generation, Version: g.Version, State: g.State, Position: g.Position, CaughtUp: g.CaughtUp,
			Parked: g.Parked, LagEvents: g.Lag.Events, LagMs: g.Lag.Age.Milliseconds(), Problem: g.Problem,
		})
	}
	if status.Rebuild != nil {
		item.Rebuild = progressOf(*status.Rebuild)
	}
	return writeJSON(w, http.StatusOK, ProjectionsAnswer{Items: []ProjectionAnswer{item}})
}

func progressOf(p projections.Progress) *RebuildProgress {
	return &RebuildProgress{p.Generation, p.Phase, p.Events, p.Orders, p.Position, p.Head}
}

// rebuilds remembers the last few rebuilds that were asked for here.
type rebuilds struct {
	mu   sync.Mutex
	last []RebuildAnswer // oldest first, at most maxRebuilds
}

const maxRebuilds = 20

func (s *server) startRebuild(w http.ResponseWriter, r *request) error {
	if err := namedProjection(r); err != nil {
		return err
	}
	if err := s.emptyBody(w, r); err != nil {
		return err
	}
	rb := RebuildAnswer{ID: uuid.Must(uuid.NewV7()).String(), Projection: projections.Name, State: "running", StartedAt: s.o.Now().UTC()}
	s.rebuilds.mu.Lock()
	for _, other := range s.rebuilds.last {
		if other.State == "running" {
			s.rebuilds.mu.Unlock()
			p := problem("rebuild-running", "see /v1/projections/%s/rebuilds/%s", projections.Name, other.ID)
			p.RebuildID = other.ID
			return p
		}
	}
	s.rebuilds.last = append(s.rebuilds.last, rb)
	if n := len(s.rebuilds.last) - maxRebuilds; n > 0 {
		s.rebuilds.last = slices.Delete(s.rebuilds.last, 0, n)
	}
	s.rebuilds.mu.Unlock()

	go s.rebuild(rb.ID)
	w.Header().Set("Location", "/v1/projections/"+projections.Name+"/rebuilds/"+rb.ID)
	return writeJSON(w, http.StatusAccepted, rb)
}

func (s *server) rebuild(id string) {
	err := s.o.Projections.Rebuild(s.o.Lifetime, func(p projections.Progress) {
		s.rebuilds.change(id, func(rb *RebuildAnswer) { rb.Progress = progressOf(p) })
	})
	if err != nil {
		s.o.Logger.Error("rebuild", "rebuild", id, "error", err)
	}
	s.rebuilds.change(id, func(rb *RebuildAnswer) {
		now := s.o.Now().UTC()
		rb.EndedAt, rb.State = &now, "done"
		if err != nil {
			rb.State, rb.Error = "failed", "see the log of the server"
			if errors.Is(err, projections.ErrRebuilding) {
				rb.Error = projections.ErrRebuilding.Error()
			}
		}
	})
}

func (l *rebuilds) change(id string, f func(*RebuildAnswer)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.last {
		if l.last[i].ID == id {
			f(&l.last[i])
		}
	}
}

func (s *server) getRebuild(w http.ResponseWriter, r *request) error {
	if err := namedProjection(r); err != nil {
		return err
	}
	var found *RebuildAnswer
	s.rebuilds.change(r.PathValue("rid"), func(rb *RebuildAnswer) { c := *rb; found = &c })
	if found == nil {
		return errNoRebuild
	}
	return writeJSON(w, http.StatusOK, found)
}

func (s *server) listParked(w http.ResponseWriter, r *request) error {
	if err := namedProjection(r); err != nil {
		return err
	}
	parked, err := s.o.Projections.Parked(r.Context())
	if err != nil {
		return err
	}
	body := ParkedAnswer{Items: make([]ParkedOrder, len(parked))}
	for i, p := range parked {
		body.Items[i] = ParkedOrder{order.Decider.Category + "-" + p.OrderID, p.OrderID, p.Revision, p.Position, p.Reason}
	}
	return writeJSON(w, http.StatusOK, body)
}

// retryParked takes the stream's name, without a namespace, or the order's id.
func (s *server) retryParked(w http.ResponseWriter, r *request) error {
	if err := namedProjection(r); err != nil {
		return err
	}
	if err := s.emptyBody(w, r); err != nil {
		return err
	}
	parked, err := s.o.Projections.Parked(r.Context())
	if err != nil {
		return err
	}
	named := r.PathValue("stream")
	i := slices.IndexFunc(parked, func(p projections.Parked) bool { return order.Decider.Category+"-"+p.OrderID == named })
	if i < 0 {
		i = slices.IndexFunc(parked, func(p projections.Parked) bool { return p.OrderID == named })
	}
	if i < 0 {
		return errNotParked
	}
	// The caller may hang up; a retry once begun ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.o.Limits.CommandTime)
	defer cancel()
	if err := s.o.Projections.Retry(ctx, parked[i].OrderID); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, RetryAnswer{parked[i].OrderID, "released"})
}

func namedProjection(r *request) error {
	if r.PathValue("name") != projections.Name {
		return errNoProjection
	}
	return nil
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
	if live, _ := s.o.Projections.Live(); live == nil {
		body.Reads = false
		body.Impaired = append(body.Impaired, "reads: no view is open")
	} else if status, err := s.status(r.Context()); err != nil && s.isRemote() && len(status.Generations) > 0 {
		body.Impaired = append(body.Impaired, "reads: the views stand still, and the past is not shown, until the event store answers")
		body.Impaired = append(body.Impaired, impairedViews(status)...)
	} else if err != nil {
		body.Reads = false
		body.Impaired = append(body.Impaired, "reads: the views do not answer")
		s.o.Logger.WarnContext(ctx, "readiness", "traceId", r.traceID, "error", err)
	} else {
		body.Impaired = append(body.Impaired, impairedViews(status)...)
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

// status of the views within the time of a probe.
func (s *server) status(ctx context.Context) (projections.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeOf(s.o.Store))
	defer cancel()
	return s.o.Projections.Status(ctx)
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

func impairedViews(status projections.Status) []string {
	var found []string
	for _, g := range status.Generations {
		if g.State == "frozen" {
			found = append(found, "reads: the view is of an earlier time, and does not move; see /v1/projections")
		}
		if g.State != "live" {
			continue
		}
		if g.Problem != "" {
			found = append(found, "reads: the view does not move; see /v1/projections")
		}
		if g.Parked > 0 {
			found = append(found, "reads: orders are parked; see /v1/projections/"+status.Name+"/parked")
		}
	}
	return found
}

// awaitStart waits for the views to reach the head of the log at the start.
func (s *server) awaitStart() {
	ctx := s.o.Lifetime
	for ctx.Err() == nil {
		err := s.o.Projections.Started(ctx)
		if err == nil {
			err = s.o.Projections.CaughtUp(ctx)
		}
		// Views that cannot be fed before an operator has acted are not waited for.
		if err == nil || errors.Is(err, eventstore.ErrReadOnly) || errors.Is(err, eventstore.ErrCorrupt) {
			s.caughtUp.Store(true)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
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
