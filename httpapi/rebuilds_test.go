package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	"github.com/docket-orders/docket/view/fields"
)

func TestRebuildBody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]projections.Request{
		``:   {Then: projections.ThenAsk},
		`{}`: {Then: projections.ThenAsk},
		`{"then":"switch","share":1,"reason":"ação corrigida"}`: {Then: projections.ThenSwitch, Share: 1, Reason: "ação corrigida"},
		`{"then":"switch-if-equal","share":0.001}`:              {Then: projections.ThenSwitchIfEqual, Share: 0.001},
		`{"then":"switch-only","fields":["/totals","/lines/*/quantity","/metadata/*","/tags"]}`: {
			Then: projections.ThenSwitchOnly, Fields: []string{"/totals", "/lines/*/quantity", "/metadata/*", "/tags"},
		},
	} {
		read, err := rebuildReader.read([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got, err := read.asked(checkFieldPath)
		if err != nil || got.Then != want.Then || got.Share != want.Share || got.Reason != want.Reason || !slices.Equal(got.Fields, want.Fields) {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
	for body, want := range map[string]string{
		`{"now":true}`:                       "/now: unknown field",
		`{"then":"Switch"}`:                  "/then: unknown; allowed are ask, switch, switch-if-equal, switch-only",
		`{"then":""}`:                        "/then: unknown",
		`{"then":7}`:                         "/then: want a string, not a number",
		`{"fields":["/status"]}`:             "/fields: fields belong to then: switch-only",
		`{"then":"switch-only"}`:             "/fields: switch-only wants the fields that may differ",
		`{"then":"switch-only","fields":[]}`: "/fields: switch-only wants",
		`{"then":"switch-only","fields":["/status","/totals/grnad"]}`:                      "/fields/1: no such field of the order document; the nearest is /totals/grand",
		`{"then":"switch-only","fields":["/lines/L1/quantity"]}`:                           "/fields/0: no such field of the order document; the nearest is /lines/*/quantity",
		`{"then":"switch-only","fields":["totals.grand"]}`:                                 "/fields/0: no such field of the order document; the nearest is /totals/grand",
		`{"then":"switch-only","fields":[""]}`:                                             "/fields/0: want the path",
		`{"then":"switch-only","fields":["` + strings.Repeat("/x", 99) + `"]}`:             "/fields/0: want the path",
		`{"then":"switch-only","fields":[` + strings.Repeat(`"/tags",`, 100) + `"/tags"]}`: "/fields: more than 100 fields",
		`{"share":0}`:     "/share: want a number above 0",
		`{"share":-0.5}`:  "/share: want a number above 0",
		`{"share":1.01}`:  "/share: want a number above 0",
		`{"share":1e400}`: "/share: want a number in range",
		`{"share":"0.5"}`: "/share: want a number, not a string",
		`{"reason":"` + strings.Repeat("x", 501) + `"}`: "/reason: longer than 500 bytes",
		`{"reason":"a\u001b[31m"}`:                      "/reason: holds a character that is not printed",
		`[]`:                                            "want an object",
	} {
		read, err := rebuildReader.read([]byte(body))
		if err == nil {
			_, err = read.asked(checkFieldPath)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !refusedWell(err) {
			t.Errorf("%.80s: %v, want %s", body, err, want)
		}
	}
}

// TestFieldPaths: whatever a difference may name can be asked for.
func TestFieldPaths(t *testing.T) {
	t.Parallel()
	doc := view.Order{
		Source: &view.Source{}, Holds: []view.Hold{{ID: "h"}}, Tags: []string{"x"}, Lines: []view.Line{{ID: "1", Metadata: map[string]string{"a": "b"}}},
		CancelledLines: []view.CancelledLine{{LineID: "1"}}, Payments: []view.Payment{{ID: "p"}}, Refunds: []view.Refund{{ID: "r"}},
		Shipments: []view.Shipment{{ID: "s", Lines: []view.LineQuantity{{LineID: "1"}}}},
		Returns:   []view.Return{{ID: "t", Lines: []view.LineQuantity{{LineID: "1"}}, Received: []view.LineQuantity{{LineID: "1"}}}},
		Edits:     []view.Edit{{ID: "e", Changes: []view.LineChange{{Op: "add"}}}}, Notes: []view.Note{{ID: "n"}},
		BillingAddress: &view.Address{Name: "a"}, ShippingAddress: &view.Address{Name: "a"}, Metadata: map[string]string{"a/b": "c"}, Anomalies: []view.Anomaly{{Kind: "k"}},
	}
	all := fields.Fields(doc)
	for _, f := range all {
		// Names of elements are told from names of fields by what they are below.
		parts := strings.Split(f.Path, "/")
		for i := range parts {
			above := strings.Join(parts[:i], "/")
			if i > 0 && slices.Contains(fieldPaths(), above+"/*") {
				parts[i] = "*"
			}
		}
		if path := strings.Join(parts, "/"); checkFieldPath(path) != "" {
			t.Errorf("%s (%s): %s", path, f.Path, checkFieldPath(path))
		}
	}
	if len(all) < 50 {
		t.Errorf("only %d fields", len(all))
	}
}

func TestWantsEvents(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/event-stream": true, "application/json, Text/Event-Stream;q=0.9": true,
		"text/event-stream;q=0": false, "text/event-streams": false, "\x00;;": false,
	} {
		if got := wantsEvents(&http.Request{Header: http.Header{"Accept": {accept}}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// TestSituations: what is said and what may be typed, for each that there is.
func TestSituations(t *testing.T) {
	t.Parallel()
	at := eventstore.Position{Commit: 99, Prepare: 99}
	served := func(n, version int, state string) GenerationAnswer {
		return GenerationAnswer{Store: "sqlite", Generation: n, Version: version, State: state, Served: true, Position: at}
	}
	other := func(n, version int, state string) GenerationAnswer {
		return GenerationAnswer{Store: "sqlite", Generation: n, Version: version, State: state, Position: at}
	}
	rebuild := func(n, version int, phase projections.Phase) *projections.Rebuild {
		return &projections.Rebuild{Generation: n, Version: version, Phase: phase}
	}
	for name, c := range map[string]struct {
		situation
		words, next string
	}{
		"nothing": {situation{projections.Name, 1, []GenerationAnswer{served(1, 1, "live")}, nil}, "", ""},
		"it runs": {
			situation{projections.Name, 1, []GenerationAnswer{served(1, 1, "live"), other(2, 1, "building")}, rebuild(2, 1, projections.PhaseFolding)},
			"", "rebuild --watch; cancel",
		},
		"it waits": {
			situation{projections.Name, 1, []GenerationAnswer{served(1, 1, "live"), other(2, 1, "ready")}, rebuild(2, 1, projections.PhaseReady)},
			"", "diff; switch --generation 2; cancel",
		},
		"it failed": {situation{projections.Name, 1, []GenerationAnswer{served(1, 1, "live")}, rebuild(2, 1, projections.PhaseFailed)}, "", "rebuild"},
		"switched":  {situation{projections.Name, 1, []GenerationAnswer{served(2, 1, "live"), other(1, 1, "previous")}, rebuild(2, 1, projections.PhaseSwitched)}, "", "rollback; drop 1"},
		"switched, and the old one is nobody's": {
			situation{projections.Name, 2, []GenerationAnswer{served(2, 2, "live"), other(1, 1, "frozen")}, rebuild(2, 2, projections.PhaseSwitched)},
			"", "rollback --accept-stale; drop 1",
		},
		"a version that is new here": {
			situation{projections.Name, 2, []GenerationAnswer{served(1, 1, "frozen"), other(2, 2, "building")}, rebuild(2, 2, projections.PhaseReading)},
			"version 2 of the projection is new here: generation 2 is being made; until it is switched to, answers come from generation 1, of version 1; " +
				"generation 1 answers, and stands still at 99: no running docket carries version 1, which feeds it",
			"rebuild --watch; cancel",
		},
		"a newer docket rebuilds": {
			situation{projections.Name, 1, []GenerationAnswer{served(1, 1, "live"), other(2, 2, "newer")}, rebuild(2, 2, projections.PhaseReady)},
			"generation 2, of version 2, is kept up to date, and waits for a switch by a newer docket; this one, of version 1, goes on answering from what it knows; " +
				"generation 2 is of version 2, which this docket, of version 1, cannot read; it answers from generation 1",
			"diff; switch --generation 2; cancel",
		},
	} {
		if got := strings.Join(c.situation.words(), "; "); got != c.words {
			t.Errorf("%s: says %q, want %q", name, got, c.words)
		}
		var typed []string
		for _, n := range c.situation.next() {
			typed = append(typed, strings.TrimPrefix(n.Command, "docket projections "))
		}
		if got := strings.Join(typed, "; "); got != c.next {
			t.Errorf("%s: %q may be typed, want %q", name, got, c.next)
		}
	}
}

// TestWhatIsNotThere: odd names and numbers of generations are not there, and no
// store is asked for them.
func TestWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, n := range []string{"x", "0", "-1", "+1", "01", "1.0", "99999999999999999999", "2147483648", "%20", "%00", strings.Repeat("9", 5000)} {
		r.get("/v1/projections/orders/rebuilds/"+n).problem(404, "unknown-rebuild")
		r.get("/v1/projections/orders/rebuilds/"+n, "Accept: text/event-stream").problem(404, "unknown-rebuild")
		r.send("DELETE", "/v1/projections/orders/rebuilds/"+n, "").problem(404, "unknown-rebuild")
		r.send("DELETE", "/v1/projections/orders/generations/"+n, "").problem(404, "unknown-generation")
	}
	for method, paths := range map[string][]string{
		"GET": {"rebuilds", "rebuilds/1", "diff"}, "DELETE": {"rebuilds/1", "generations/1"},
		"POST": {"rebuilds", "switch", "rollback", "orders/o-1/reprojections"},
	} {
		for _, path := range paths {
			for _, name := range []string{"sales", "Orders", "%00", strings.Repeat("o", 5000)} {
				r.send(method, "/v1/projections/"+name+"/"+path, "").problem(404, "unknown-projection")
			}
			if method == "POST" {
				r.post("/v1/projections/orders/"+path, `{"nonsense":1}`).problem(400, "invalid-body")
				r.post("/v1/projections/orders/"+path, `{}`, "Content-Type: ").problem(415, "unsupported-media-type")
			}
		}
	}
	r.post("/v1/projections/orders/orders/%20/reprojections", `{}`).problem(404, "unknown-order")
	r.post("/v1/projections/orders/rollback", `{"acceptStale":"yes"}`).problem(400, "invalid-body")
	r.get("/v1/projections/orders/diff?fresh=1").problem(400, "invalid-parameter")
	r.get("/v1/projections/orders/diff", "Prefer: wait=soon").problem(400, "invalid-header")
}
