package httpapi

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/reconcile"
)

// ReconcileBody asks for a run.
type ReconcileBody struct {
	Repair  bool    `json:"repair,omitempty"`
	OrderID *string `json:"orderId,omitempty"` // only this order; everything when absent
	// MaxRepairs is above how many differing entities nothing is repaired; the
	// larger of 0.1 % of the orders and 1,000 when absent. Only with repair.
	MaxRepairs *int `json:"maxRepairs,omitempty"`
}

// ReconciliationsAnswer lists runs, newest first, without their findings.
type ReconciliationsAnswer struct {
	Items []reconcile.Report `json:"items"`
}

var errNoReconciliation = domain.Reject(domain.NotFound, "unknown-reconciliation", "there is no such reconciliation")

var reconcileReader = readerOf[ReconcileBody]()

// startReconciliation answers once the run has begun, or with Prefer: wait=N
// once it has ended, whichever comes first. The run does not end with its
// request.
func (s *server) startReconciliation(w http.ResponseWriter, r *request) error {
	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	body, err := reconcileReader.read(data)
	if err != nil {
		return err
	}
	request := reconcile.Request{Repair: body.Repair, MaxRepairs: body.MaxRepairs, Actor: r.who.name}
	if body.OrderID != nil {
		// An empty id is refused, too: it would ask for everything.
		if request.OrderID = *body.OrderID; !order.ValidID(request.OrderID) {
			return order.ErrID.At("/orderId")
		}
	}
	if body.MaxRepairs != nil && *body.MaxRepairs < 0 {
		return problem("invalid-body", "maxRepairs is below 0").at("/maxRepairs", "want a number from 0")
	}
	if body.MaxRepairs != nil && !body.Repair {
		return problem("invalid-body", "maxRepairs bounds a repair").at("/maxRepairs", "want repair, too")
	}
	prefer, err := parsePrefer(r.Request, s.o.Limits.WaitTime)
	if err != nil {
		return err
	}
	if prefer.waits {
		if err := s.gates.enter(r, waits); err != nil {
			return err
		}
	}
	id := reconcile.NewID()
	run := s.reconcile(id, request)
	select {
	case <-run.begun:
	case <-run.ended:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	if prefer.waits {
		enough := time.NewTimer(prefer.wait)
		defer enough.Stop()
		select {
		case <-run.ended:
		case <-enough.C:
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	select {
	case <-run.ended:
		if errors.Is(run.err, reconcile.ErrRunning) {
			return s.reconciling(r)
		}
		if run.err != nil {
			return run.err
		}
		if prefer.waits {
			w.Header().Set("Preference-Applied", "wait")
		}
	default:
	}
	report, err := s.o.Reconcile.Report(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/reconciliations/"+id)
	return writeJSON(w, http.StatusAccepted, report)
}

// reconciling says which run is in the way.
func (s *server) reconciling(r *request) error {
	p := problem("reconciliation-running", "see /v1/reconciliations")
	if newest, err := s.o.Reconcile.Report(r.Context(), ""); err == nil && newest.State == "running" {
		p = problem("reconciliation-running", "see /v1/reconciliations/%s", newest.ID)
		p.ReconciliationID = newest.ID
	}
	return p
}

// reconciliation is a run that was asked for here.
type reconciliation struct {
	begun chan struct{} // closed with the first progress
	ended chan struct{} // closed when err is there
	err   error         // why there is no report
}

// reconcile runs in the background.
func (s *server) reconcile(id string, request reconcile.Request) *reconciliation {
	run := &reconciliation{begun: make(chan struct{}), ended: make(chan struct{})}
	begin := sync.OnceFunc(func() { close(run.begun) })
	go func() {
		defer close(run.ended)
		report, err := s.o.Reconcile.Run(s.o.Lifetime, id, request, func(reconcile.Progress) { begin() })
		run.err = err
		switch {
		case err == nil:
			s.metrics.reconciled.set(report)
		case !errors.Is(err, reconcile.ErrRunning):
			s.o.Logger.Error("reconcile", "reconciliation", id, "error", err)
		}
	}()
	return run
}

func (s *server) listReconciliations(w http.ResponseWriter, r *request) error {
	runs, err := s.o.Reconcile.Runs(r.Context(), r.query.integer("limit", 20))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, ReconciliationsAnswer{Items: runs})
}

func (s *server) getReconciliation(w http.ResponseWriter, r *request) error {
	id := r.PathValue("rid")
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return errNoReconciliation
	}
	report, err := s.o.Reconcile.Report(r.Context(), id)
	if errors.Is(err, reconcile.ErrUnknownRun) {
		return errNoReconciliation
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}
