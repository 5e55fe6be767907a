package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

type viewsRebuild struct {
	viewName
	Switch        bool     `xor:"then" help:"Switch to the new generation as soon as it has caught up."`
	SwitchIfEqual bool     `xor:"then" help:"Switch when nothing differs; else wait, and end with status 1."`
	SwitchOnly    []string `xor:"then" placeholder:"FIELD,..." help:"Switch when nothing but these fields differs, such as /totals/grand or /lines/*/quantity; else wait, and end with status 1."`
	Share         float64  `xor:"share" placeholder:"0.5" help:"Of this machine that the rebuild may take, above 0, at most 1. It takes less while others are slowed down."`
	Unthrottled   bool     `xor:"share" help:"Take all there is, whoever waits: a share of 1."`
	Reason        string   `placeholder:"TEXT" help:"For whoever reads the history."`
	Order         orderID  `xor:"then,order" placeholder:"ID" help:"Make the views of this order alone again, in the generation in force."`
	Detach        bool     `xor:"watching" help:"Leave it to the running docket, and return at once."`
	Watch         bool     `xor:"watching,then,order,share" help:"Ask for nothing: show the rebuild that runs."`
}

// Help is what --help says at length.
func (*viewsRebuild) Help() string {
	return `A new generation is made from the whole log, beside the one in force, in every
store. Readers and writers notice nothing. When it has caught up, what it would
change is shown, and it waits for "docket projections switch", unless a flag says
otherwise. Ctrl-C stops watching, not the rebuild: --watch shows it again,
"docket projections cancel" ends it.

Without a docket that runs on the folder, the rebuild is made here, to its end.

Exit status: 0 it is ready, or switched to where that was asked for. 1 it failed,
or has not switched though it was to; what is in force is as it was.`
}

// Validate checks what needs no docket.
func (c *viewsRebuild) Validate() error {
	for i, field := range c.SwitchOnly {
		// What a shell or a habit makes of /status on other systems.
		c.SwitchOnly[i] = "/" + strings.TrimPrefix(strings.TrimSpace(field), "/")
	}
	if c.Share < 0 || c.Share > 1 {
		return fmt.Errorf("--share: %v: want a number above 0, at most 1", c.Share)
	}
	return nil
}

func (c *viewsRebuild) then() projections.Then {
	switch {
	case c.Switch:
		return projections.ThenSwitch
	case c.SwitchIfEqual:
		return projections.ThenSwitchIfEqual
	case len(c.SwitchOnly) > 0:
		return projections.ThenSwitchOnly
	}
	return projections.ThenAsk
}

// rebuildPoll is how often a rebuild is asked how far it is.
const rebuildPoll = 200 * time.Millisecond

// rebuildSeen is a rebuild as this program reads it: also of a docket that tells
// less.
type rebuildSeen struct {
	httpapi.RebuildAnswer
	Progress *progressSeen `json:"progress,omitempty"`
}

type progressSeen struct {
	projections.Progress
	Rate  float64 `json:"rate"`  // a second; 0: not known yet
	ETAMs int64   `json:"etaMs"` // 0: not known yet
}

// Run rebuilds, and returns when the generation is ready, or in force.
func (c *viewsRebuild) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	return docket.and(c.run(p, docket))
}

func (c *viewsRebuild) run(p *program, docket *connection) error {
	if c.Order != "" {
		return c.one(p, docket)
	}
	if c.Detach && docket.app != nil {
		return fmt.Errorf("no docket runs on the folder %s, and nobody would go on with the rebuild: leave --detach out", p.config.Data)
	}
	rebuild, body, err := c.begin(p.ctx, docket)
	if err != nil {
		return err
	}
	if c.Detach {
		if p.config.JSON {
			return writeBody(p.stdout, body)
		}
		fmt.Fprintf(p.stdout, "generation %d is being made\n", rebuild.Generation)
		return writeSteps(p.stdout, []httpapi.NextAnswer{
			{Command: c.command("rebuild --watch"), Does: "shows how far it is"},
			{Command: c.command("cancel"), Does: "gives it up"},
		})
	}
	rebuild, body, err = watchRebuild(p, docket, c.viewName, rebuild, body)
	if err != nil {
		return err
	}
	return c.tell(p, docket, rebuild, body)
}

// begin asks for a rebuild, or finds the one there is.
func (c *viewsRebuild) begin(ctx context.Context, docket *connection) (rebuild rebuildSeen, body []byte, err error) {
	path := c.path("rebuilds")
	if c.Watch {
		if rebuild, err = newestRebuild(ctx, docket.client, c.viewName); err == nil {
			body, err = docket.get(ctx, path+"/"+strconv.Itoa(rebuild.Generation), &rebuild)
		}
		return rebuild, body, err
	}
	then := c.then()
	ask := httpapi.RebuildBody{Then: &then, Fields: c.SwitchOnly, Reason: c.Reason}
	if share := cmp.Or(c.Share, map[bool]float64{true: 1}[c.Unthrottled]); share > 0 {
		ask.Share = &share
	}
	body, err = docket.ask(ctx, http.MethodPost, path, ask, &rebuild)
	var problem *problemError
	if errors.As(err, &problem) && problem.Code == "rebuild-running" && problem.Generation > 0 {
		err = fmt.Errorf("generation %d is being made, or waits for a switch, and there is one at a time: "+
			"%s shows it, %s gives it up", problem.Generation, c.command("rebuild --watch"), c.command("cancel"))
	}
	return rebuild, body, err
}

func (n viewName) path(what string) string {
	return "/v1/projections/" + url.PathEscape(string(n.Name)) + "/" + what
}

// command is what to type about this projection.
func (n viewName) command(what string) string {
	if n.Name != projections.Name {
		what += " " + string(n.Name)
	}
	return "docket projections " + what
}

// newestRebuild is the last one that was asked for.
func newestRebuild(ctx context.Context, c *client, of viewName) (rebuildSeen, error) {
	var list struct {
		Items []rebuildSeen `json:"items"`
	}
	if _, err := c.get(ctx, of.path("rebuilds"), &list); err != nil {
		return rebuildSeen{}, err
	}
	if len(list.Items) == 0 {
		return rebuildSeen{}, fmt.Errorf("there was no rebuild yet: %s begins one", of.command("rebuild"))
	}
	return list.Items[0], nil
}

// watchRebuild returns when nothing more becomes of a rebuild by itself. That its
// watcher goes does not end it.
func watchRebuild(p *program, docket *connection, of viewName, rebuild rebuildSeen, body []byte) (rebuildSeen, []byte, error) {
	shown := newRebuildLine(p.stderr)
	defer shown.end()
	path := of.path("rebuilds/" + strconv.Itoa(rebuild.Generation))
	tick := time.NewTicker(rebuildPoll)
	defer tick.Stop()
	for !rebuild.Phase.Over() {
		shown.show(rebuild)
		var now rebuildSeen
		err := p.ctx.Err()
		if err == nil {
			select {
			case <-tick.C:
				body, err = docket.get(p.ctx, path, &now)
			case <-p.ctx.Done():
				err = p.ctx.Err()
			}
		}
		switch {
		case p.ctx.Err() != nil:
			return rebuild, nil, stoppedWatching(docket, of, rebuild.Generation)
		case err != nil:
			return rebuild, nil, fmt.Errorf("watch the rebuild of generation %d: %w", rebuild.Generation, err)
		}
		rebuild = now
	}
	return rebuild, body, nil
}

// stoppedWatching says what becomes of a rebuild that nobody watches any more.
func stoppedWatching(docket *connection, of viewName, generation int) error {
	goesOn := "is still being made by the running docket"
	if docket.app != nil {
		goesOn = "is made further by the next docket on this folder"
	}
	return fmt.Errorf("interrupted; generation %d %s: %s shows it, %s gives it up", generation, goesOn, of.command("rebuild --watch"), of.command("cancel"))
}

// tell says what became of a rebuild; an error ends the program with status 1.
func (c *viewsRebuild) tell(p *program, docket *connection, rebuild rebuildSeen, body []byte) error {
	n := rebuild.Generation
	wanted := rebuild.Then != projections.ThenAsk
	if p.config.JSON {
		if err := writeBody(p.stdout, body); err != nil {
			return err
		}
		if rebuild.Phase == projections.PhaseSwitched || rebuild.Phase == projections.PhaseReady && !wanted {
			return nil
		}
		return errReported
	}
	switch rebuild.Phase {
	case projections.PhaseSwitched:
		fmt.Fprintf(p.stdout, "%s is now generation %d%s\n", rebuild.Projection, n, tookFor(rebuild))
		return p.writeNextSteps(docket, c.viewName)
	case projections.PhaseFailed:
		return fmt.Errorf("the rebuild failed, what is in force is as it was: %s", failureWords(rebuild.Failure))
	case projections.PhaseCancelled:
		return fmt.Errorf("generation %d was given up, what is in force is as it was", n)
	}
	fmt.Fprintf(p.stdout, "generation %d is ready%s\n\n", n, tookFor(rebuild))
	d, _, err := difference(p, docket, c.viewName, false)
	if err == nil {
		err = writeDifference(p.stdout, d)
	}
	if err == nil {
		fmt.Fprintln(p.stdout)
		err = p.writeNextSteps(docket, c.viewName)
	}
	if err == nil && wanted {
		why := "it differs from what is in force"
		if rebuild.Failure != nil {
			why = failureWords(rebuild.Failure)
		}
		err = fmt.Errorf("it was not switched to: %s", why)
	}
	return err
}

// tookFor is how long it took, once it has ended.
func tookFor(rebuild rebuildSeen) string {
	if rebuild.EndedAt == nil {
		return ""
	}
	return ", after " + rebuild.EndedAt.Sub(rebuild.StartedAt).Round(time.Millisecond).String()
}

// failureWords says what stopped a rebuild, with the event that did.
func failureWords(f *projections.Failure) string {
	if f == nil {
		return "no reason was recorded"
	}
	said := f.Message
	if f.OrderID != "" {
		said += fmt.Sprintf("; order %s, event %d", f.OrderID, f.Revision)
		if f.Type != "" {
			said += ", " + f.Type
		}
		if f.Position.Commit > 0 {
			said += ", at position " + f.Position.String()
		}
		said += ": see docket order history " + f.OrderID
	}
	if f.Store != "" {
		said = f.Store + ": " + said
	}
	return oneLine(said)
}

// one makes the views of one order again.
func (c *viewsRebuild) one(p *program, docket *connection) error {
	var answer httpapi.ReprojectionAnswer
	body, err := docket.post(p.ctx, c.path("orders/"+url.PathEscape(string(c.Order))+"/reprojections"), &answer)
	if err != nil {
		return err
	}
	if p.config.JSON {
		return writeBody(p.stdout, body)
	}
	for _, s := range answer.Stores {
		if len(s.Changes) == 0 {
			fmt.Fprintf(p.stdout, "%s: order %s was right\n", s.Store, answer.OrderID)
			continue
		}
		fmt.Fprintf(p.stdout, "%s: order %s, %s changed\n", s.Store, answer.OrderID, plural(int64(len(s.Changes)), "field"))
		g := grid{indent: "  "}
		for _, change := range s.Changes {
			g.row(change.Path, beforeAfter(change.Before, change.After))
		}
		if err := g.writeTo(p.stdout); err != nil {
			return err
		}
	}
	return nil
}

// writeNextSteps says what may be typed next of a projection, as the docket says
// it.
func (p *program) writeNextSteps(docket *connection, of viewName) error {
	var list httpapi.ProjectionsAnswer
	if _, err := docket.get(p.ctx, "/v1/projections", &list); err != nil {
		return err
	}
	for _, one := range list.Items {
		if one.Name == string(of.Name) {
			return writeSteps(p.stdout, one.Next)
		}
	}
	return nil
}

type viewsCancel struct{ viewName }

// Run gives up the rebuild that runs, or waits.
func (c viewsCancel) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	return docket.and(c.cancel(p, docket))
}

func (c viewsCancel) cancel(p *program, docket *connection) error {
	rebuild, err := newestRebuild(p.ctx, docket.client, c.viewName)
	if err != nil {
		return err
	}
	if rebuild.Phase.Over() && rebuild.Phase != projections.PhaseReady {
		return fmt.Errorf("no rebuild runs, and none waits: that of generation %d is %s", rebuild.Generation, rebuild.Phase)
	}
	return p.giveUp(docket, c.path("rebuilds/"+strconv.Itoa(rebuild.Generation)), "given up")
}

type viewsDrop struct {
	Generation int `arg:"" help:"Number of a generation that is not in force."`
	viewName
}

// Run removes a generation.
func (c viewsDrop) Run(p *program) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	return docket.and(p.giveUp(docket, c.path("generations/"+strconv.Itoa(c.Generation)), "dropped"))
}

func (p *program) giveUp(docket *connection, path, done string) error {
	body, _, err := docket.do(p.ctx, http.MethodDelete, path, nil, nil)
	if err != nil || p.config.JSON {
		return errors.Join(err, p.ifJSON(body))
	}
	var answer httpapi.GoneAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("DELETE %s: the answer cannot be read: %w", path, err)
	}
	fmt.Fprintf(p.stdout, "generation %d is %s\n", answer.Generation, done)
	return nil
}

func (p *program) ifJSON(body []byte) error {
	if body == nil || !p.config.JSON {
		return nil
	}
	return writeBody(p.stdout, body)
}

type viewsSwitch struct {
	viewName
	Generation *int `placeholder:"N" help:"Only to this one: whoever has read what it would change switches to no other (default: whichever waits)."`
}

// Validate wants a number that a generation can have.
func (c *viewsSwitch) Validate() error {
	if c.Generation != nil && *c.Generation < 1 {
		return fmt.Errorf("--generation: %d: generations count from 1", *c.Generation)
	}
	return nil
}

// Run makes the rebuilt generation the one in force.
func (c viewsSwitch) Run(p *program) error {
	err := p.change(c.viewName, "switch", httpapi.SwitchBody{Generation: c.Generation})
	var problem *problemError
	if errors.As(err, &problem) && problem.Code == "no-candidate" {
		return fmt.Errorf("there is nothing to switch to, since no rebuilt generation waits: %s makes one (%s)", c.command("rebuild"), problem.Code)
	}
	return err
}

type viewsRollback struct {
	viewName
	AcceptStale bool `help:"Return also to a generation that stands still, since no running docket carries its version: what was written since is not in it."`
}

// Run returns to the generation that was in force before.
func (c viewsRollback) Run(p *program) error {
	err := p.change(c.viewName, "rollback", httpapi.RollbackBody{AcceptStale: c.AcceptStale})
	var problem *problemError
	if errors.As(err, &problem) && problem.Code == "generation-stale" {
		return errors.New("the generation before stands still, since no running docket carries the version that feeds it: what was written since is not in its lists, customers and sums, nor in its orders. " +
			c.command("rollback --accept-stale") + " returns to it all the same; or start a docket of that version first")
	}
	return err
}

// change makes another generation the one in force, and says what may be typed
// next.
func (p *program) change(of viewName, what string, ask any) error {
	docket, err := p.connect(false)
	if err != nil {
		return err
	}
	return docket.and(func() error {
		var answer httpapi.SwitchAnswer
		err := p.settled(docket, func() error {
			body, err := docket.ask(p.ctx, http.MethodPost, of.path(what), ask, &answer)
			return errors.Join(err, p.ifJSON(body))
		})
		if err != nil || p.config.JSON {
			return err
		}
		fmt.Fprintf(p.stdout, "generation %d is in force\n", answer.Generation)
		return p.writeNextSteps(docket, of)
	}())
}

// settled does something that wants a rebuilt generation to have caught up. One
// of a docket that this command has just started is waited for.
func (p *program) settled(docket *connection, do func() error) error {
	tick := time.NewTicker(rebuildPoll)
	defer tick.Stop()
	for {
		err := do()
		var problem *problemError
		if docket.app == nil || !errors.As(err, &problem) || problem.Code != "rebuild-not-ready" {
			return err
		}
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
	}
}
