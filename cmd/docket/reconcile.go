package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/reconcile"
)

type reconcileGroup struct {
	Run  reconcileRun  `cmd:"" help:"Compare the views with the log, and say what differs."`
	Show reconcileShow `cmd:"" help:"Show the report of a run again."`
	List reconcileList `cmd:"" help:"List the last runs."`
}

// undecided is why the views were neither found right nor wrong. It ends the
// program with exitUnknown.
type undecided struct{ error }

func (u undecided) Unwrap() error { return u.error }

func undecidedIf(err error) error {
	if err == nil {
		return nil
	}
	return undecided{err}
}

type reconcileRun struct {
	Repair     bool    `help:"Put right what differs, from the log; then compare it once more."`
	Order      orderID `placeholder:"ID" help:"Only this order."`
	MaxRepairs *int    `placeholder:"N" help:"Repair up to N differing entities; above that nothing is (default the larger of 0.1 % of the orders and 1,000)."`
}

// Help is what --help says at length.
func (*reconcileRun) Help() string {
	return `Every order document, search word, customer, counter and sum is compared with
what the log says, by a fold that shares no code with the one that made the
views. A running docket serves and writes meanwhile.

Exit status: 0 clean: everything was compared and nothing differs. 1 drift:
something differed, also when all of it was repaired; run again, 0 says that the
repair held. 2 could not tell: the report says why; also when nobody answers, or
on Ctrl-C.`
}

// Validate checks what needs no docket.
func (c *reconcileRun) Validate() error {
	if c.MaxRepairs != nil && *c.MaxRepairs < 0 {
		return fmt.Errorf("--max-repairs: %d: want 0 or more", *c.MaxRepairs)
	}
	if c.MaxRepairs != nil && !c.Repair {
		return errors.New("--max-repairs bounds --repair: give both")
	}
	return nil
}

// Run reconciles, and returns when the run has ended.
func (c *reconcileRun) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return undecided{err}
	}
	report, body, err := c.run(p, docket)
	// An interrupted run of this process ends here.
	if err := docket.and(err); err != nil {
		return undecided{err}
	}
	if p.config.JSON {
		err = writeBody(p.stdout, body)
	} else {
		err = writeReport(p.stdout, report, time.Now())
	}
	if err != nil {
		return undecided{err}
	}
	switch report.Verdict {
	case reconcile.Clean:
		return nil
	case reconcile.Drift:
		return errReported
	default:
		return undecided{errReported}
	}
}

// reconcilePoll is how often a run is asked how far it is.
const reconcilePoll = 200 * time.Millisecond

// run starts a run and follows it to its end.
func (c *reconcileRun) run(p *program, docket *connection) (report reconcile.Report, body []byte, err error) {
	defer func() {
		if err != nil && p.ctx.Err() != nil {
			err = interrupted(docket, report.ID)
		}
	}()
	request := httpapi.ReconcileBody{Repair: c.Repair, MaxRepairs: c.MaxRepairs}
	if c.Order != "" {
		request.OrderID = (*string)(&c.Order)
	}
	body, err = docket.ask(p.ctx, http.MethodPost, "/v1/reconciliations", request, &report)
	if err != nil {
		return report, nil, err
	}
	shown := newProgress(p.stderr)
	defer shown.end()
	tick := time.NewTicker(reconcilePoll)
	defer tick.Stop()
	for id := report.ID; report.State == "running"; {
		if at := report.Progress; at.Phase != "" {
			shown.show(at.Phase, at.Done, at.Total)
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return report, nil, p.ctx.Err()
		}
		var now reconcile.Report
		body, err = docket.get(p.ctx, "/v1/reconciliations/"+url.PathEscape(id), &now)
		if err != nil {
			return report, nil, fmt.Errorf("follow run %s: %w", id, err)
		}
		report = now
	}
	return report, body, nil
}

// interrupted says what becomes of a run that nobody waits for any more.
func interrupted(docket *connection, id string) error {
	switch {
	case id == "":
		return errors.New("interrupted before the run began")
	case docket.app == nil:
		return fmt.Errorf("interrupted; the server goes on with run %s, see docket reconcile show %s", id, id)
	}
	return fmt.Errorf("interrupted, and run %s with it: it is not known whether the views are right; nothing is half repaired", id)
}

type reconcileShow struct {
	ID givenText `arg:"" optional:"" name:"run" help:"The run's id, as docket reconcile list says it; the last one when absent."`
}

// Help is what --help says at length.
func (*reconcileShow) Help() string {
	return `Exit status: 0 there is a report, whatever it says; 2 there is none.`
}

// Run shows a report.
func (c *reconcileShow) Run(p *program) error {
	return undecidedIf(c.show(p))
}

func (c *reconcileShow) show(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	id := string(c.ID)
	if id == "" {
		id, err = lastRun(p.ctx, docket.client)
	}
	var report reconcile.Report
	var body []byte
	if err == nil {
		body, err = docket.get(p.ctx, "/v1/reconciliations/"+url.PathEscape(id), &report)
	}
	var problem *problemError
	if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
		err = fmt.Errorf("there is no run %s; docket reconcile list says which there are", id)
	}
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	return writeReport(p.stdout, report, time.Now())
}

func lastRun(ctx context.Context, c *client) (id string, err error) {
	var last httpapi.ReconciliationsAnswer
	if _, err := c.get(ctx, "/v1/reconciliations?limit=1", &last); err != nil {
		return "", err
	}
	if len(last.Items) == 0 {
		return "", errors.New("there was no reconciliation yet: docket reconcile run makes one")
	}
	return last.Items[0].ID, nil
}

type reconcileList struct {
	Limit int `placeholder:"N" default:"20" help:"So many runs at most (default ${default})."`
}

// Run lists the last runs.
func (c *reconcileList) Run(p *program) error {
	var last httpapi.ReconciliationsAnswer
	path := "/v1/reconciliations?limit=" + strconv.Itoa(c.Limit)
	return undecidedIf(p.asked(path, &last, func(w io.Writer) error { return writeRuns(w, last.Items) }))
}
