package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

type viewsGroup struct {
	List    viewsList    `cmd:"" help:"The projections, their generations, and how far they are."`
	Rebuild viewsRebuild `cmd:"" help:"Build a projection again from the whole log, and switch to it."`
	Parked  viewsParked  `cmd:"" help:"Orders whose next event could not be applied."`
	Retry   viewsRetry   `cmd:"" help:"Apply a parked order's events again."`
}

// viewName is the projection that a command is about.
type viewName struct {
	Name string `arg:"" optional:"" default:"orders" help:"Name of the projection (default ${default})."`
}

// Validate names what is there.
func (n viewName) Validate() error {
	if n.Name != projections.Name {
		return fmt.Errorf("projection %q: want %s", n.Name, projections.Name)
	}
	return nil
}

type viewsList struct{}

// Run lists the projections.
func (viewsList) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	var list httpapi.ProjectionsAnswer
	body, err := docket.get(p.ctx, "/v1/projections", &list)
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	var t grid
	t.row("PROJECTION", "GENERATION", "VERSION", "STATE", "POSITION", "CAUGHT UP", "LAG", "PARKED", "PROBLEM")
	for _, one := range list.Items {
		for _, g := range one.Generations {
			caughtUp := "no"
			if g.CaughtUp {
				caughtUp = "yes"
			}
			t.row(one.Name, fmt.Sprint(g.Generation), fmt.Sprint(g.Version), g.State, g.Position.String(),
				caughtUp, plural(int64(g.LagEvents), "event"), fmt.Sprint(g.Parked), g.Problem)
		}
	}
	return t.writeTo(p.stdout)
}

type viewsRebuild struct{ viewName }

// rebuildPoll is how often a rebuild is asked how far it is.
const rebuildPoll = 200 * time.Millisecond

// Run rebuilds, and returns when the new generation is live.
func (c viewsRebuild) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	done, body, err := c.rebuild(p, docket)
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	at := cmp.Or(done.Progress, &httpapi.RebuildProgress{})
	took := done.EndedAt.Sub(done.StartedAt).Round(time.Millisecond)
	fmt.Fprintf(p.stdout, "%s is now generation %d: %d orders from %d events in %s\n", done.Projection, at.Generation, at.Orders, at.Events, took)
	return nil
}

func (c viewsRebuild) rebuild(p *program, docket *connection) (httpapi.RebuildAnswer, []byte, error) {
	shown := newProgress(p.stderr)
	defer shown.end()
	path := "/v1/projections/" + c.Name + "/rebuilds"
	var rebuild httpapi.RebuildAnswer
	body, err := docket.post(p.ctx, path, &rebuild)
	tick := time.NewTicker(rebuildPoll)
	defer tick.Stop()
	for err == nil && rebuild.State == "running" {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return rebuild, nil, p.ctx.Err()
		}
		id := rebuild.ID
		rebuild = httpapi.RebuildAnswer{}
		body, err = docket.get(p.ctx, path+"/"+id, &rebuild)
		if at := rebuild.Progress; err == nil && at != nil {
			done := at.Events
			if at.Phase == "folding" {
				done = at.Orders
			}
			shown.show(at.Phase, done, 0)
		}
	}
	if err == nil && rebuild.State == "failed" {
		err = fmt.Errorf("the rebuild failed, the views are as they were: %s", rebuild.Error)
	}
	return rebuild, body, err
}

type viewsParked struct{ viewName }

// Run lists the parked orders.
func (c viewsParked) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	// What is parked shows only when the views have come that far.
	err = docket.caughtUp(p.ctx)
	var parked httpapi.ParkedAnswer
	var body []byte
	if err == nil {
		body, err = docket.get(p.ctx, "/v1/projections/"+c.Name+"/parked", &parked)
	}
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	if len(parked.Items) == 0 {
		fmt.Fprintln(p.stdout, "no order is parked")
		return nil
	}
	var g grid
	g.row("ORDER", "REVISION", "POSITION", "REASON")
	for _, o := range parked.Items {
		g.row(o.OrderID, fmt.Sprint(o.Revision), o.Position.String(), o.Reason)
	}
	return g.writeTo(p.stdout)
}

type viewsRetry struct {
	Order orderID `arg:"" help:"Id of the parked order."`
}

// Run retries one parked order.
func (c viewsRetry) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	body, err := c.retry(p.ctx, docket)
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	fmt.Fprintf(p.stdout, "order %s is parked no more\n", c.Order)
	return nil
}

func (c viewsRetry) retry(ctx context.Context, docket *connection) ([]byte, error) {
	if err := docket.caughtUp(ctx); err != nil {
		return nil, err
	}
	var answer httpapi.RetryAnswer
	return docket.post(ctx, "/v1/projections/"+projections.Name+"/parked/"+url.PathEscape(string(c.Order))+"/retry", &answer)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
