package systemtest

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	loadClients = 6
	// checkEvery so many kills everything is compared and verified.
	checkEvery = 10
	// killsPerFolder bound what is in a folder, and so what comparing it takes.
	killsPerFolder = 40
	// importsPerRound, too.
	importsPerRound = 1
)

// TestKilledUnderLoad kills docket with kill -9 again and again while clients
// write and read over HTTP, an import runs, the views are compared and repaired,
// and another program makes differences in them. After each kill, every command
// acknowledged since the last one must be there once, with the answer that was
// given, and shown; repeating a command whose answer never came must have one
// effect. Now and then, and at the end, imports must go on to the same end; the
// log must verify; the views must be found equal to the log, except for what the
// other program did, which must be repaired; and at the end every acknowledged
// command must still be there.
func TestKilledUnderLoad(t *testing.T) {
	killedUnderLoad(t, int(setting(t, "DOCKET_KILLS", 50))/2, false)
}

// TestKilledUnderLoadOverGRPC is the same with the log behind gRPC: docket, the
// server of the log, or both are killed.
func TestKilledUnderLoadOverGRPC(t *testing.T) {
	killedUnderLoad(t, int(setting(t, "DOCKET_GRPC_KILLS", 9)), true)
}

func killedUnderLoad(t *testing.T, kills int, overGRPC bool) {
	seed := seed(t)
	t.Logf("%d kills, DOCKET_SEED=%d", kills, seed)
	began, rng := time.Now(), rand.New(rand.NewPCG(seed, 0))
	var all killCounts
	for n := 0; n < kills && !t.Failed(); {
		t.Run(fmt.Sprintf("from %d", n+1), func(t *testing.T) {
			c := newCampaign(t, newSite(t, overGRPC), rng)
			for until := min(n+killsPerFolder, kills); n < until && !t.Failed(); {
				n++
				c.round(n)
				c.checkRound(n)
				if n%checkEvery == 0 || n == until {
					c.check(n)
					t.Logf("kill %d after %v: %v", n, time.Since(began).Round(time.Millisecond), &c.killCounts)
				}
			}
			c.everything()
			all.add(&c.killCounts)
		})
	}
	t.Logf("%d kills in %v: %v", kills, time.Since(began).Round(time.Millisecond), &all)
	if all.planted > 0 && all.repaired.Load() == 0 {
		t.Errorf("%d differences were planted, none was repaired", all.planted)
	}
}

// campaign is what lives through all kills in a folder.
type campaign struct {
	*site
	*ledger
	t   *testing.T
	rng *rand.Rand

	checked int // acknowledged commands that were looked at
	imports imports
	// foreign: somebody changed the views, and they were not found clean since.
	foreign atomic.Bool
	killCounts
}

// killCounts is how much happened.
type killCounts struct {
	acknowledgedAll, repeatedAll, refusedAll, readAll, importsEnded int

	planted  int
	mending  int          // kills while something was being repaired
	clean    atomic.Int64 // reconciliations that found everything right
	drift    atomic.Int64 // that found differences
	unsure   atomic.Int64 // that could not tell, although nobody killed docket
	repaired atomic.Int64
}

func (k *killCounts) add(o *killCounts) {
	k.acknowledgedAll += o.acknowledgedAll
	k.repeatedAll += o.repeatedAll
	k.refusedAll += o.refusedAll
	k.readAll += o.readAll
	k.importsEnded += o.importsEnded
	k.planted += o.planted
	k.mending += o.mending
	k.clean.Add(o.clean.Load())
	k.drift.Add(o.drift.Load())
	k.unsure.Add(o.unsure.Load())
	k.repaired.Add(o.repaired.Load())
}

func (k *killCounts) String() string {
	return fmt.Sprintf("%d commands acknowledged, %d repeated at once, %d refused, %d read with their token; %d imports ended; reconciliations: %d clean, %d drift, %d could not tell; %d differences planted, %d repaired, %d kills meanwhile",
		k.acknowledgedAll, k.repeatedAll, k.refusedAll, k.readAll, k.importsEnded, k.clean.Load(), k.drift.Load(), k.unsure.Load(), k.planted, k.repaired.Load(), k.mending)
}

// newCampaign is one in the folder of a site.
func newCampaign(t *testing.T, w *site, rng *rand.Rand) *campaign {
	under := network()
	t.Cleanup(under.CloseIdleConnections)
	c := &campaign{site: w, ledger: &ledger{t: t, network: under}, t: t, rng: rng}
	c.imports.dir = t.TempDir()
	return c
}

// round is load, a kill at some moment in it, and a new start. Between every
// other two checks the views are changed from outside in each round, while
// docket runs or while it is down. A third of the kills wait for a
// reconciliation: until it repairs, or has found everything right.
func (c *campaign) round(n int) {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	s := c.server(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	enough := c.await(20 + c.rng.IntN(80))
	for k := range loadClients {
		client := &loadClient{
			ledger: c.ledger, name: fmt.Sprintf("r%d-c%d", n, k), s: s, rng: rand.New(rand.NewPCG(c.rng.Uint64(), uint64(k))),
		}
		working.Go(func() { client.work(ctx, fmt.Sprintf("r%d-c0-0", n)) })
	}
	changed, down, waits := (n-1)/checkEvery%2 == 1, c.rng.IntN(3) == 0, c.rng.IntN(3) == 0
	working.Go(func() { c.importAll(ctx, s) })
	if waits {
		working.Go(func() { c.repairAll(ctx, s) })
	}
	if changed && !down {
		c.plant()
	}
	select {
	case <-enough:
	case <-time.After(startTimeout):
		c.t.Errorf("round %d: too little was acknowledged in %v", n, startTimeout)
	}
	if waits {
		c.awaitReconciliation(ctx, s)
	} else {
		<-time.After(time.Duration(c.rng.Int64N(int64(150 * time.Millisecond))))
	}
	c.site.kill()
	cancel()
	working.Wait()
	if changed && down {
		c.plant()
	}
	c.site.start()
}

// awaitReconciliation returns when a reconciliation repairs, or a clean one has
// ended in this round, or it was given up.
func (c *campaign) awaitReconciliation(ctx context.Context, s *server) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for before := c.clean.Load(); ctx.Err() == nil && c.clean.Load() == before; <-tick.C {
		got, err := s.do(ctx, c.network, request{method: "GET", path: "/v1/reconciliations?limit=1"})
		var runs struct {
			Items []struct{ Progress struct{ Phase string } }
		}
		if err != nil || json.Unmarshal(got.body, &runs) != nil {
			return
		}
		if len(runs.Items) > 0 && runs.Items[0].Progress.Phase == "repairing" {
			c.mending++
			return
		}
	}
}

// plant lets another program change the views.
func (c *campaign) plant() {
	c.foreign.Store(true)
	planted, err := plant(c.data, c.rng, 1+c.rng.IntN(30))
	if err != nil {
		c.t.Fatal(err)
	}
	c.planted += len(planted)
}

// importAll imports a few files, or fewer when docket goes.
func (c *campaign) importAll(ctx context.Context, s *server) {
	for n := 0; n < importsPerRound && c.imports.next(ctx, c.t, s).status == 0; n++ {
	}
}

// repairAll compares and repairs until docket is gone. Only what was changed
// from outside may differ.
func (c *campaign) repairAll(ctx context.Context, s *server) {
	for ctx.Err() == nil {
		before := c.foreign.Load()
		run := c.reconcile(ctx, s, "--repair")
		if run.status == 1 && !before && !c.foreign.Load() {
			c.t.Errorf("healthy views were reported:\n%s%s", run.stdout, run.stderr)
		}
	}
}

// reconcile is docket reconcile run, through the running docket.
func (c *campaign) reconcile(ctx context.Context, s *server, flags ...string) ran {
	run := docket(ctx, append([]string{"reconcile", "run", "--json", "--server", s.base, "--key", s.key}, flags...)...)
	if run.stdout == "" { // docket is gone
		return run
	}
	var report struct {
		Repaired int64
		Reasons  []string
	}
	if err := json.Unmarshal([]byte(run.stdout), &report); err != nil {
		c.t.Errorf("the report of a reconciliation: %v: %s", err, run.stdout)
	}
	c.repaired.Add(report.Repaired)
	switch run.status {
	case 0:
		c.clean.Add(1)
	case 1:
		c.drift.Add(1)
	case 2:
		c.unsure.Add(1)
		c.t.Logf("a reconciliation could not tell: %q", report.Reasons)
	}
	return run
}

// checkRound settles what had no answer in the last round, and looks at all
// that was acknowledged in it.
func (c *campaign) checkRound(round int) {
	ctx := c.t.Context()
	s := c.server(ctx)
	unanswered := c.unanswered
	c.unanswered = nil
	for _, a := range unanswered {
		c.settle(ctx, s, a)
	}
	if len(c.unanswered) > 0 {
		c.t.Errorf("after kill %d: %d commands have no answer still", round, len(c.unanswered))
	}
	since := c.acknowledged[c.checked:]
	c.checked = len(c.acknowledged)
	for _, a := range since {
		if err := c.repeat(ctx, s, a); err != nil {
			c.t.Errorf("after kill %d: %s %s again: %v", round, a.path, a.key, err)
		}
	}
	if err := s.caughtUp(ctx, c.network); err != nil {
		c.t.Fatal(err)
	}
	if !c.foreign.Load() {
		c.shown(ctx, s, since)
	}
	c.acknowledgedAll, c.repeatedAll, c.refusedAll, c.readAll = len(c.acknowledged), c.repeated, c.refused, c.read
}

// check compares and verifies everything, with nobody else there.
func (c *campaign) check(round int) {
	ctx := c.t.Context()
	s := c.server(ctx)
	if ran := c.imports.next(ctx, c.t, s); ran.status != 0 {
		c.t.Errorf("after kill %d: the import does not go on: %s", round, ran.stderr)
	}
	c.importsEnded = c.imports.ended
	if c.foreign.Load() {
		if ran := c.reconcile(ctx, s, "--repair"); ran.status != 0 && ran.status != 1 {
			c.t.Errorf("after kill %d: repair ended with %d:\n%s%s", round, ran.status, ran.stdout, ran.stderr)
		}
	}
	if ran := c.reconcile(ctx, s); ran.status != 0 {
		c.t.Errorf("after kill %d: reconcile ended with %d:\n%s%s", round, ran.status, ran.stdout, ran.stderr)
	} else {
		c.foreign.Store(false)
	}
	c.shown(ctx, s, c.acknowledged[max(0, len(c.acknowledged)-1000):])
	if ran := docket(ctx, "eventstore", "verify", "--data", c.logFolder()); ran.status != 0 {
		c.t.Errorf("after kill %d: verify ended with %d:\n%s%s", round, ran.status, ran.stdout, ran.stderr)
	}
}

// settle repeats a command that had no answer: it has one effect, whether the
// first attempt had it or not, or is refused.
func (c *campaign) settle(ctx context.Context, s *server, a acknowledged) {
	got, ok := c.send(ctx, s, a.order, a.request)
	if got.status == 0 || got.status >= 500 {
		c.t.Errorf("%s %s: still no answer: %d %s", a.path, a.key, got.status, got.body)
	}
	again, err := s.do(ctx, c.network, a.request)
	if err != nil || again.status != got.status || ok && string(again.body) != string(got.body) {
		c.t.Errorf("%s %s: unanswered at first, then %d %s, then %d %s (%v)", a.path, a.key, got.status, got.body, again.status, again.body, err)
	}
}

// shown looks for what was acknowledged in the views: each order is at its last
// revision or later, and shows each note once.
func (c *campaign) shown(ctx context.Context, s *server, since []acknowledged) {
	orders := map[string][]acknowledged{}
	for _, a := range since {
		orders[a.order] = append(orders[a.order], a)
	}
	for id, told := range orders {
		got, err := s.do(ctx, c.network, request{method: "GET", path: "/v1/orders/" + id})
		var doc orderAnswer
		if err != nil || json.Unmarshal(got.body, &doc) != nil || got.header.Get("Read-Source") == "log" {
			c.t.Errorf("order %s: %v %d %s", id, err, got.status, got.body)
			continue
		}
		times := map[string]int{}
		for _, note := range doc.Notes {
			times[note.Text]++
		}
		for _, a := range told {
			text, isNote := a.body.(map[string]any)["text"].(string)
			if doc.Revision < a.answer.Revision || isNote && times[text] != 1 {
				c.t.Errorf("order %s at revision %d shows %q %d times; acknowledged at %d", id, doc.Revision, text, times[text], a.answer.Revision)
			}
		}
	}
}

// everything repeats every command of the whole campaign, and counts the orders
// of all imports.
func (c *campaign) everything() {
	ctx := c.t.Context()
	s := c.server(ctx)
	for _, a := range c.acknowledged {
		if err := c.repeat(ctx, s, a); err != nil {
			c.t.Errorf("at the end: %s %s again: %v", a.path, a.key, err)
		}
	}
	got, err := s.do(ctx, c.network, request{method: "GET", path: "/v1/orders?limit=1&" + url.Values{"source": {"online-retail"}}.Encode()})
	var list struct{ Total int }
	if err != nil || json.Unmarshal(got.body, &list) != nil || list.Total != c.imports.orders {
		c.t.Errorf("%d orders were imported, the views show %d (%d %v)", c.imports.orders, list.Total, got.status, err)
	}
}

// imports are files of orders, one after the other. Each is the excerpt of real
// invoices that belongs to docket, under numbers of its own.
type imports struct {
	dir    string
	file   string // the one that is imported now, until it is there completely
	ended  int
	orders int // in files that are there completely
	inFile int // orders in the one that is imported now
}

// next goes on with the file that is imported now, or begins one.
func (i *imports) next(ctx context.Context, t *testing.T, s *server) ran {
	if i.file == "" {
		if err := i.makeFile(); err != nil {
			t.Error(err)
			return ran{status: -1}
		}
	}
	run := docket(ctx, "import", "online-retail", "--file", i.file, "--server", s.base, "--key", s.key)
	if run.status == 0 {
		i.ended++
		i.orders += i.inFile
		i.file = ""
	}
	return run
}

func (i *imports) makeFile() error {
	text, err := os.ReadFile("../importer/excerpt/online-retail-excerpt.csv")
	if err != nil {
		return err
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		return err
	}
	invoices := map[string]bool{}
	for _, row := range rows[1:] {
		row[0] += fmt.Sprintf(".%d", i.ended)
		invoices[row[0]] = true
	}
	var out strings.Builder
	if err := csv.NewWriter(&out).WriteAll(rows); err != nil {
		return err
	}
	i.file, i.inFile = filepath.Join(i.dir, fmt.Sprintf("invoices-%d.csv", i.ended)), len(invoices)
	return os.WriteFile(i.file, []byte(out.String()), 0o644)
}
