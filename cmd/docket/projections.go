package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

type viewsGroup struct {
	List     viewsList     `cmd:"" help:"The projections, their generations, and how far they are."`
	Rebuild  viewsRebuild  `cmd:"" help:"Make a new generation from the whole log, beside the one in force, and show what it would change."`
	Cancel   viewsCancel   `cmd:"" help:"Give up the rebuild that runs, or the generation that it has made."`
	Diff     viewsDiff     `cmd:"" help:"What a switch to the rebuilt generation would change, and why."`
	Switch   viewsSwitch   `cmd:"" help:"Make the rebuilt generation the one in force, in every store at once."`
	Rollback viewsRollback `cmd:"" help:"Return to the generation that was in force before."`
	Drop     viewsDrop     `cmd:"" help:"Remove a generation that is not in force."`
	Parked   viewsParked   `cmd:"" help:"Orders whose next event could not be applied."`
	Retry    viewsRetry    `cmd:"" help:"Apply a parked order's events again."`
}

// viewName is the projection that a command is about.
type viewName struct {
	Name pathName `arg:"" optional:"" default:"orders" help:"orders, or the name of a read model (default ${default})."`
}

type viewsList struct {
	Lanes bool `help:"Tell of each lane of a shared store: who feeds it, how far it is, since when nothing was heard."`
}

// Run lists the projections.
func (c viewsList) Run(p *program) error {
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
	var seen struct {
		Items []struct{ Rebuild *rebuildSeen }
	}
	if err := json.Unmarshal(body, &seen); err != nil {
		return fmt.Errorf("GET /v1/projections: the answer cannot be read: %w", err)
	}
	var t grid
	t.row("PROJECTION", "STORE", "GENERATION", "VERSION", "STATE", "POSITION", "CAUGHT UP", "LAG", "PARKED", "PROBLEM")
	for _, one := range list.Items {
		for _, g := range one.Generations {
			caughtUp := "no"
			if g.CaughtUp {
				caughtUp = "yes"
			}
			t.row(one.Name, g.Store, fmt.Sprint(g.Generation), fmt.Sprint(g.Version), stateOf(g), g.Position.String(),
				caughtUp, lagOf(g), fmt.Sprint(g.Parked), g.Problem)
		}
	}
	err = t.writeTo(p.stdout)
	for _, one := range list.Items {
		for _, g := range one.Generations {
			if len(g.Lanes) == 0 || !g.Served || err != nil {
				continue
			}
			fmt.Fprintf(p.stdout, "%s%s: %s\n", among(list, one), g.Store, ownersOf(g.Lanes))
			if c.Lanes {
				err = writeLanes(p.stdout, g.Lanes)
			}
		}
	}
	for i, one := range list.Items {
		if err == nil {
			err = writeSituation(p.stdout, among(list, one), one, seen.Items[i].Rebuild)
		}
	}
	return err
}

// among says which projection is meant, where there are several.
func among(list httpapi.ProjectionsAnswer, one httpapi.ProjectionAnswer) string {
	if len(list.Items) == 1 {
		return ""
	}
	return one.Name + ", "
}

// writeSituation says what the table does not: of a rebuild that is not done
// with, what is unusual, and what may be typed. of begins what it says.
func writeSituation(w io.Writer, of string, one httpapi.ProjectionAnswer, rebuild *rebuildSeen) error {
	if rebuild != nil && rebuild.Phase != projections.PhaseSwitched && rebuild.Phase != projections.PhaseCancelled {
		fmt.Fprintln(w, of+rebuildWords(*rebuild))
		if rebuild.Phase == projections.PhaseReady && rebuild.Failure != nil {
			fmt.Fprintf(w, "it was not switched to: %s\n", failureWords(rebuild.Failure))
		}
	}
	for _, note := range one.Notes {
		fmt.Fprintln(w, of+oneLine(note))
	}
	return writeSteps(w, one.Next)
}

func stateOf(g httpapi.GenerationAnswer) string {
	state := g.State
	if g.Served && state != "live" && state != "building" && state != "frozen" {
		state += ", answers here"
	}
	if g.Wedged {
		state += ", wedged"
	}
	return state
}

// lagOf is the lag in events and, where there is one, in time.
func lagOf(g httpapi.GenerationAnswer) string {
	events := plural(g.LagEvents, "event")
	if g.LagEvents >= projections.LagCounted {
		events = "at least " + events
	}
	if age := time.Duration(g.LagMs) * time.Millisecond; age > 0 {
		return events + ", " + age.Round(100*time.Millisecond).String()
	}
	return events
}

// ownersOf counts lanes by who feeds them: this docket, the others by name,
// nobody.
func ownersOf(lanes []httpapi.LaneAnswer) string {
	here, nobody, others := 0, 0, map[string]int{}
	for _, l := range lanes {
		switch {
		case l.Here:
			here++
		case l.Owner == "":
			nobody++
		default:
			others[l.Owner]++
		}
	}
	parts := []string{fmt.Sprintf("%d here", here)}
	for _, owner := range sortedKeys(others) {
		parts = append(parts, fmt.Sprintf("%d on %s", others[owner], owner))
	}
	if nobody > 0 {
		parts = append(parts, fmt.Sprintf("%d unowned", nobody))
	}
	return plural(int64(len(lanes)), "lane") + ": " + strings.Join(parts, ", ")
}

func writeLanes(w io.Writer, lanes []httpapi.LaneAnswer) error {
	var t grid
	t.row("LANE", "OWNER", "POSITION", "SILENT FOR")
	for _, l := range lanes {
		owner := l.Owner
		switch {
		case l.Here:
			owner += " (here)"
		case owner == "":
			owner = "nobody"
		}
		t.row(fmt.Sprint(l.Lane), owner, l.Position.String(), (time.Duration(l.StillMs) * time.Millisecond).Round(100*time.Millisecond).String())
	}
	return t.writeTo(w)
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
		body, err = docket.get(p.ctx, c.path("parked"), &parked)
	}
	if err := docket.and(err); err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	for _, store := range parked.Away {
		fmt.Fprintf(p.stdout, "%s does not answer: what is parked there is not known\n", store)
	}
	if len(parked.Items) == 0 {
		if len(parked.Away) == 0 {
			fmt.Fprintln(p.stdout, "no order is parked")
		}
		return nil
	}
	var g grid
	g.row("STORE", "ORDER", "REVISION", "POSITION", "REASON")
	for _, o := range parked.Items {
		g.row(o.Store, o.OrderID, fmt.Sprint(o.Revision), o.Position.String(), o.Reason)
	}
	return g.writeTo(p.stdout)
}

type viewsRetry struct {
	Order orderID `arg:"" help:"Id of the parked order."`
	viewName
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
	return docket.post(ctx, c.path("parked/"+url.PathEscape(string(c.Order))+"/retry"), &answer)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
