package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
)

// rebuilding asks for what operators may ask, over HTTP. Nothing is repeated, and
// an answer that is not the one wanted is a declined.
type rebuilding struct {
	*server
	through http.RoundTripper
}

// declined is an answer that says no.
type declined struct {
	what string
	reply
}

func (r declined) Error() string { return fmt.Sprintf("%s: %d %.500s", r.what, r.status, r.body) }

const ofOrders = "/v1/projections/orders/"

// ask sends a request and reads what is answered into answer, which may be nil.
func (r rebuilding) ask(ctx context.Context, method, path string, body, answer any) error {
	got, err := r.do(ctx, r.through, request{method: method, path: ofOrders + path, body: body})
	if err != nil {
		return err
	}
	if got.status/100 != 2 {
		return declined{method + " " + path, got}
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(got.body, answer); err != nil {
		return fmt.Errorf("%s %s: %w in %.500s", method, path, err, got.body)
	}
	return nil
}

// rebuildWish is the body with which a rebuild is asked for.
type rebuildWish struct {
	Then   projections.Then `json:"then,omitempty"`
	Fields []string         `json:"fields,omitempty"`
	Share  float64          `json:"share,omitempty"`
	Reason string           `json:"reason,omitempty"`
}

// begin asks for a rebuild; its generation is its name.
func (r rebuilding) begin(ctx context.Context, wish rebuildWish) (generation int, err error) {
	var begun projections.Rebuild
	err = r.ask(ctx, "POST", "rebuilds", wish, &begun)
	if err == nil && begun.Generation == 0 {
		err = errors.New("a rebuild without a generation")
	}
	return begun.Generation, err
}

func (r rebuilding) get(ctx context.Context, generation int) (found projections.Rebuild, err error) {
	err = r.ask(ctx, "GET", "rebuilds/"+strconv.Itoa(generation), nil, &found)
	return found, err
}

// list is the last rebuilds, newest first.
func (r rebuilding) list(ctx context.Context) ([]projections.Rebuild, error) {
	var all struct{ Items []projections.Rebuild }
	err := r.ask(ctx, "GET", "rebuilds", nil, &all)
	return all.Items, err
}

func (r rebuilding) cancel(ctx context.Context, generation int) error {
	return r.ask(ctx, "DELETE", "rebuilds/"+strconv.Itoa(generation), nil, nil)
}

func (r rebuilding) drop(ctx context.Context, generation int) error {
	return r.ask(ctx, "DELETE", "generations/"+strconv.Itoa(generation), nil, nil)
}

// difference returns when a comparison has ended; fresh begins one.
func (r rebuilding) difference(ctx context.Context, fresh bool) (d projections.Difference, err error) {
	path := "diff"
	if fresh {
		path += "?fresh=true"
	}
	for d.To == 0 && err == nil {
		err = r.ask(ctx, "GET", path, nil, &d)
		path = "diff" // it runs
	}
	return d, err
}

// switchOver and rollback answer the generation in force afterwards.
func (r rebuilding) switchOver(ctx context.Context) (int, error) {
	return r.turn(ctx, "switch", map[string]any{})
}

func (r rebuilding) rollback(ctx context.Context, acceptStale bool) (int, error) {
	return r.turn(ctx, "rollback", map[string]bool{"acceptStale": acceptStale})
}

func (r rebuilding) turn(ctx context.Context, path string, body any) (int, error) {
	var now struct{ Generation int }
	err := r.ask(ctx, "POST", path, body, &now)
	return now.Generation, err
}

// over returns a rebuild of which nothing more becomes by itself.
func (r rebuilding) over(ctx context.Context, generation int) (found projections.Rebuild, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err = r.get(ctx, generation)
		if err != nil || found.Phase.Over() {
			return found, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return found, fmt.Errorf("generation %d is still %s: %w", generation, found.Phase, ctx.Err())
		}
	}
}

// ready is over that wants the rebuild to wait for a switch.
func (r rebuilding) ready(t *testing.T, generation int) projections.Rebuild {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rebuildTime())
	defer cancel()
	found, err := r.over(ctx, generation)
	if err != nil || found.Phase != projections.PhaseReady || found.Failure != nil {
		t.Fatalf("generation %d is %s, not ready: %v %+v", generation, found.Phase, err, found.Failure)
	}
	return found
}

// rebuildTime bounds any rebuild.
func rebuildTime() time.Duration {
	if rebuildData() == "" {
		return 5 * time.Minute
	}
	return time.Hour
}

// numbers of the generations that GET /v1/projections shows, by store.
func (r rebuilding) numbers(ctx context.Context) (map[string][]int, error) {
	var list struct {
		Items []struct {
			Generations []struct {
				Store      string
				Generation int
			}
		}
	}
	got, err := r.do(ctx, r.through, request{method: "GET", path: "/v1/projections"})
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(got.body, &list); err != nil || got.status != http.StatusOK || len(list.Items) == 0 {
		return nil, fmt.Errorf("GET /v1/projections: %d %.300s (%w)", got.status, got.body, err)
	}
	all := map[string][]int{}
	for _, g := range list.Items[0].Generations {
		if !slices.Contains(all[g.Store], g.Generation) {
			all[g.Store] = append(all[g.Store], g.Generation)
		}
	}
	return all, nil
}
