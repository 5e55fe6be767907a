package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
)

// TestKilledAtChosenInstants kills docket at each step of everything that it
// writes, while clients write and read over HTTP: it runs as a process that
// stops there, and is killed with kill -9 while the rest of it goes on. What is
// checked is what TestKilledUnderLoad checks. Each step must be reached.
func TestKilledAtChosenInstants(t *testing.T) {
	kills, seed := int(setting(t, "DOCKET_KILLS", 50))/2, seed(t)
	kills = max(kills, len(steps))
	t.Logf("%d kills at %d steps, DOCKET_SEED=%d", kills, len(steps), seed)
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 1))
	var all killCounts
	hits := map[step]int{}
	for n := 0; n < kills && !t.Failed(); {
		order := inSomeOrder(rng)
		t.Run(fmt.Sprintf("from %d", n+1), func(t *testing.T) {
			h := newHunt(t, rng)
			for _, at := range order[:min(len(order), kills-n)] {
				n++
				if at.needs == bulk && h.quiet {
					h.check(n) // before it becomes dear
					h.quiet = false
				}
				if h.round(n, at) {
					hits[at]++
				}
				h.settleParked()
				h.settleAdoptions()
				h.settleViews()
				h.checkRound(n)
				if t.Failed() {
					return
				}
			}
			h.check(n)
			h.everything()
			all.add(&h.killCounts)
			t.Logf("kill %d after %v: %v", n, time.Since(began).Round(time.Millisecond), &h.killCounts)
		})
	}
	t.Logf("%d kills in %v: %v", kills, time.Since(began).Round(time.Millisecond), &all)
	if t.Failed() {
		return
	}
	least := kills
	for _, s := range steps {
		least = min(least, hits[s])
		if hits[s] == 0 {
			t.Errorf("%q was never reached (needs %q)", s.name, s.needs)
		}
	}
	t.Logf("%d steps, each reached at least %d times", len(steps), least)
}

// inSomeOrder is all steps once; those that fill the folder come last.
func inSomeOrder(rng *rand.Rand) []step {
	order := slices.Clone(steps)
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	slices.SortStableFunc(order, func(a, b step) int {
		switch {
		case a.needs == b.needs || a.needs != bulk && b.needs != bulk:
			return 0
		case a.needs == bulk:
			return 1
		}
		return -1
	})
	return order
}

// hunt is the kills at chosen steps in one folder.
type hunt struct {
	*campaign
	prey     *prey
	adopting []*adoption // since the last kill
	quiet    bool        // nothing has filled the folder yet
}

func newHunt(t *testing.T, rng *rand.Rand) *hunt {
	h := &hunt{campaign: newCampaign(t, newFolder(t), rng), quiet: true}
	h.start(toVictim{})
	h.ready()
	return h
}

// start runs a victim in the folder.
func (h *hunt) start(to toVictim) { h.prey = startVictim(h.t, h.data, to) }

// ready waits until it serves, and lets clients come.
func (h *hunt) ready() {
	h.prey.ready(h.t, h.network)
	h.serves(h.prey.server)
}

const (
	// reachTimeout is far more than it takes to come to a step.
	reachTimeout = 3 * time.Minute
	// huntClients write and read while docket comes to a step.
	huntClients = 4
)

// round lets clients work and what the step needs happen until docket comes to
// the step, kills it there, and starts it again. False: it never came there.
func (h *hunt) round(n int, at step) bool {
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	s, nth := h.server(ctx), h.nth(at.needs)
	var working sync.WaitGroup
	busy, rest := context.WithCancel(ctx)
	defer rest()
	for k := range huntClients {
		client := &loadClient{ledger: h.ledger, name: fmt.Sprintf("h%d-c%d", n, k), s: s, rng: rand.New(rand.NewPCG(h.rng.Uint64(), uint64(k)))}
		working.Go(func() { client.work(busy, fmt.Sprintf("h%d-c0-0", n)) })
	}
	to := toVictim{Step: at.name, Nth: nth}
	switch at.needs {
	case aStart:
		<-h.await(20 + h.rng.IntN(20))
	case silence:
		<-h.await(5 + h.rng.IntN(20))
		rest()
		h.prey.tell(h.t, to)
		working.Go(func() { h.bringAbout(ctx, s, n, at.needs) })
	case parking:
		to.Parks = at.name != "before release" && at.name != "after release"
		if !to.Parks {
			h.park(ctx, s, n)
		}
		h.prey.tell(h.t, to)
		working.Go(func() { h.parkOrRelease(ctx, s, n, to.Parks) })
	case aRepair, aRebuild:
		// Two thirds of the time nobody else writes any more: it is sooner there.
		<-h.await(10 + h.rng.IntN(10))
		if h.rng.IntN(3) > 0 {
			rest()
		}
		if at.needs == aRepair {
			h.plant()
		}
		fallthrough
	default:
		h.prey.tell(h.t, to)
		working.Go(func() { h.bringAbout(ctx, s, n, at.needs) })
	}
	if at.needs == aStart {
		h.site.kill()
		h.start(to)
	}
	reached := false
	select {
	case <-h.prey.hit:
		reached = true
		// The rest goes on for a moment, or not.
		<-time.After(time.Duration(h.rng.Int64N(int64(10 * time.Millisecond))))
	case err := <-h.prey.done:
		h.prey.done <- err
		h.t.Errorf("kill %d, %s: the victim ended: %v\n%s", n, at.name, err, h.prey.log)
	case <-time.After(reachTimeout):
		got, err := s.do(ctx, h.network, request{method: "GET", path: "/v1/projections"})
		h.t.Errorf("kill %d: docket never came to %q (time %d); its projections: %s %v", n, at.name, nth, got.body, err)
	}
	if at.needs == aStart {
		h.prey.kill()
	} else {
		h.site.kill()
	}
	cancel()
	working.Wait()
	h.start(toVictim{})
	h.ready()
	return reached
}

// nth time at a step that is chosen: what happens often is let pass more often.
func (h *hunt) nth(needs need) int {
	switch needs {
	case commands, anImport:
		return 1 + h.rng.IntN(15)
	case aStart, parking, silence, bulk:
		return 1
	}
	return 1 + h.rng.IntN(2)
}

// bringAbout does what is needed beside ordinary commands, again and again.
func (h *hunt) bringAbout(ctx context.Context, s *server, n int, needs need) {
	for k := 0; ctx.Err() == nil; k++ {
		switch needs {
		case commands:
			return
		case silence:
			_, _ = s.do(ctx, h.network, request{method: "POST", path: "/v1/orders/nobody/confirm", key: fmt.Sprintf("h%d-%d", n, k), body: map[string]any{}})
		case bulk:
			id := fmt.Sprintf("h%d-bulk-%d", n, k)
			h.send(ctx, s, id, request{method: "POST", path: "/v1/orders", key: id, body: bulkBody(id)})
		case longLife:
			h.live(ctx, s, fmt.Sprintf("h%d-long-%d", n, k))
		case anImport:
			a := &adoption{id: fmt.Sprintf("%s%d-%d", willBeAdopted, n, k)}
			h.adopting = append(h.adopting, a)
			_ = h.adopt(ctx, s, a)
		case aRebuild:
			h.rebuild(ctx, s)
		case aRepair:
			_, _ = s.do(ctx, h.network, request{method: "POST", path: "/v1/reconciliations", prefer: "wait=20", body: map[string]any{"repair": true}})
			if ctx.Err() == nil {
				h.plant()
			}
		}
	}
}

// live is an order with more notes than one snapshot takes.
func (h *hunt) live(ctx context.Context, s *server, order string) {
	if _, ok := h.send(ctx, s, order, request{method: "POST", path: "/v1/orders", key: order, body: placeBody(order, "Ann Example")}); !ok {
		return
	}
	for k := range 150 {
		if got, _ := h.send(ctx, s, order, noteRequest(order, fmt.Sprintf("%s-note-%d", order, k))); got.status == 0 || ctx.Err() != nil {
			return
		}
	}
}

// bulkBody places an order of almost a mebibyte.
func bulkBody(order string) map[string]any {
	body := placeBody(order, "Ann Example")
	line := maps.Clone(body["lines"].([]any)[0].(map[string]any))
	line["title"] = strings.Repeat("Mug ", 200)
	body["lines"] = slices.Repeat([]any{line}, 900)
	return body
}

// rebuild makes the views anew and waits for that.
func (h *hunt) rebuild(ctx context.Context, s *server) {
	got, err := s.do(ctx, h.network, request{method: "POST", path: "/v1/projections/orders/rebuilds", body: map[string]any{"then": "switch", "share": 1}})
	at := got.header.Get("Location")
	if err != nil || at == "" {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; err == nil && ctx.Err() == nil; <-tick.C {
		var now struct{ Phase projections.Phase }
		got, err = s.do(ctx, h.network, request{method: "GET", path: at})
		if err == nil && json.Unmarshal(got.body, &now) == nil && now.Phase.Over() {
			return
		}
	}
}

// park places an order that the views refuse, and waits until it is parked.
func (h *hunt) park(ctx context.Context, s *server, n int) {
	h.prey.tell(h.t, toVictim{Parks: true})
	id := fmt.Sprintf("%s%d", willBeParked, n)
	h.send(ctx, s, id, request{method: "POST", path: "/v1/orders", key: id, body: placeBody(id, "Ann Example")})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; len(h.parked(ctx, s)) == 0 && ctx.Err() == nil; <-tick.C {
	}
}

// parkOrRelease goes on placing orders that the views refuse, or releases the
// one that they do not refuse any more.
func (h *hunt) parkOrRelease(ctx context.Context, s *server, n int, parks bool) {
	if !parks {
		h.release(ctx, s)
		return
	}
	for k := 0; ctx.Err() == nil; k++ {
		id := fmt.Sprintf("%s%d-%d", willBeParked, n, k)
		h.send(ctx, s, id, request{method: "POST", path: "/v1/orders", key: id, body: placeBody(id, "Ann Example")})
	}
}

func (h *hunt) parked(ctx context.Context, s *server) (streams []string) {
	var list struct{ Items []struct{ Stream string } }
	got, err := s.do(ctx, h.network, request{method: "GET", path: "/v1/projections/orders/parked"})
	if err == nil && got.status == http.StatusOK {
		err = json.Unmarshal(got.body, &list)
	}
	if err != nil && ctx.Err() == nil {
		return nil
	}
	for _, item := range list.Items {
		streams = append(streams, item.Stream)
	}
	return streams
}

// release retries what is parked, and says how many there were.
func (h *hunt) release(ctx context.Context, s *server) int {
	parked := h.parked(ctx, s)
	for _, stream := range parked {
		_, _ = s.do(ctx, h.network, request{method: "POST", path: "/v1/projections/orders/parked/" + stream + "/retry", body: map[string]any{}})
	}
	return len(parked)
}

// settleParked releases what was parked before the kill: nothing refuses it any
// more.
func (h *hunt) settleParked() {
	ctx := h.t.Context()
	s := h.server(ctx)
	h.release(ctx, s)
	if left := h.parked(ctx, s); len(left) > 0 {
		h.t.Errorf("still parked: %v", left)
	}
}

// adoption is an order of another system that is taken over in parts.
type adoption struct {
	id  string
	has [adoptionParts]bool // parts that were acknowledged
}

const (
	adoptionParts = 5
	// willBeAdopted begins the ids of such orders.
	willBeAdopted = "adopted-"
)

// lines are the parts, one per line: the order as it was placed, then payments.
func (a *adoption) lines() string {
	var lines strings.Builder
	for part := range adoptionParts {
		step := fmt.Sprintf(`{"type":"OrderPaymentCaptured","data":{"paymentId":"p%d","method":"card","amount":{"amount":"1.00","currency":"GBP"},"at":"2010-12-02T08:2%[1]d:00Z"}}`, part)
		if part == 0 {
			step = fmt.Sprintf(`{"type":"OrderPlaced","data":{"number":%[1]q,"kind":"order","source":{"system":"shop","id":%[1]q},"customer":{"id":"c-adopted"},"currency":"GBP",`+
				`"lines":[{"id":"1","sku":"TEA","quantity":6,"unitPrice":{"amount":"2.55","currency":"GBP"}}],"shipping":{"amount":"0.00","currency":"GBP"},`+
				`"discount":{"amount":"0.00","currency":"GBP"},"tax":{"amount":"0.00","currency":"GBP"},"at":"2010-12-01T08:26:00Z"}}`, a.id)
		}
		fmt.Fprintf(&lines, `{"id":%[1]q,"key":"%[1]s-%[2]d","first":%[2]d,"last":%[3]t,"history":[%[4]s]}`+"\n", a.id, part, part == adoptionParts-1, step)
	}
	return lines.String()
}

// adopt sends all parts; those that were acknowledged before must be answered as
// repeats. It fails when not all are answered.
func (h *hunt) adopt(ctx context.Context, s *server, a *adoption) error {
	got, err := s.do(ctx, h.network, request{method: "POST", path: "/v1/adoptions", lines: a.lines()})
	answers := strings.Split(string(got.body), "\n")
	for part, line := range answers[:min(len(answers)-1, adoptionParts)] { // the last piece is empty, or broken off
		var answer struct{ Status string }
		if broken := json.Unmarshal([]byte(line), &answer); broken != nil {
			h.t.Errorf("adoption of %s: %q: %v", a.id, line, broken)
		}
		switch answer.Status {
		case "adopted":
			if a.has[part] {
				h.t.Errorf("part %d of %s was acknowledged, and is adopted once more: %s", part, a.id, line)
			}
			a.has[part] = true
		case "repeated":
			a.has[part] = true
		case "refused":
			h.t.Errorf("part %d of %s: %s", part, a.id, line)
		}
	}
	if err == nil && a.has != [adoptionParts]bool{true, true, true, true, true} {
		err = fmt.Errorf("%d %s", got.status, got.body)
	}
	return err
}

// settleAdoptions sends again what was adopted since the last kill: it goes on to
// the same end.
func (h *hunt) settleAdoptions() {
	ctx := h.t.Context()
	s := h.server(ctx)
	for _, a := range h.adopting {
		if err := h.adopt(ctx, s, a); err != nil {
			h.t.Errorf("adoption of %s does not go on: %v", a.id, err)
		}
	}
	if err := s.caughtUp(ctx, h.network); err != nil {
		h.t.Fatal(err)
	}
	for _, a := range h.adopting {
		got, err := s.do(ctx, h.network, request{method: "GET", path: "/v1/orders/" + a.id})
		var doc orderAnswer
		if err != nil || json.Unmarshal(got.body, &doc) != nil || doc.Revision != adoptionParts {
			h.t.Errorf("adopted order %s at revision %d: %v %d", a.id, doc.Revision, err, got.status)
		}
	}
	h.adopting = nil
}

// settleViews repairs what another program has changed since the last kill, and
// finds nothing more.
func (h *hunt) settleViews() {
	if !h.foreign.Load() {
		return
	}
	ctx := h.t.Context()
	s := h.server(ctx)
	var report struct {
		Verdict  string
		Repaired int64
		Reasons  []string
	}
	for _, repair := range []bool{true, false} {
		report.Verdict = ""
		got, err := s.do(ctx, h.network, request{method: "POST", path: "/v1/reconciliations", prefer: "wait=25", body: map[string]any{"repair": repair}})
		if err != nil || json.Unmarshal(got.body, &report) != nil || got.header.Get("Preference-Applied") != "wait" {
			h.t.Logf("reconciliation (repair %t): %v %d %.300s", repair, err, got.status, got.body)
			return // the next check takes its time
		}
		h.repaired.Add(report.Repaired)
	}
	if report.Verdict != "clean" {
		h.t.Errorf("after a repair the views are found %s: %v", report.Verdict, report.Reasons)
	}
	h.clean.Add(1)
	h.foreign.Store(false)
}
