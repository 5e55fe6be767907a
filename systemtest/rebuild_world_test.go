package systemtest

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rebuildWorld is one docket with its views in files, or some that share
// Elasticsearch and Redis, with real orders in their log.
type rebuildWorld struct {
	t       *testing.T
	through http.RoundTripper
	root    string
	log     *logServer  // nil: the log is in the folder of the docket
	shared  *production // nil: the views are in the folder of the docket
	nodes   []*node
	gates   []*registryGate // before the log, one for each docket; none where nobody waits there
	known   []string
	flags   []string // of each docket
}

// modest is a rate, in requests per second, that any machine holds.
func (w *rebuildWorld) modest() float64 {
	if w.shared != nil {
		return 25
	}
	return 60
}

// Kinds of worlds: how many dockets, and where their views are.
const (
	oneWithFiles = 1
	twoShare     = 2
	threeShare   = 3
)

// excerpts is how many copies of the excerpt, each under numbers of its own, make
// a log that is long enough to be spilled.
const excerpts = 4

// rebuildData is the folder of the data sets, in place of the excerpt.
func rebuildData() string { return os.Getenv("DOCKET_REBUILD_DATA") }

// newRebuildWorld makes a log of real orders; serve starts the dockets. The log of
// one docket with files is in its folder, that of others behind gRPC.
func newRebuildWorld(t *testing.T, dockets int, log *logServer) *rebuildWorld {
	t.Helper()
	under := network()
	t.Cleanup(under.CloseIdleConnections)
	w := &rebuildWorld{t: t, through: under, root: t.TempDir(), log: log}
	if dockets > oneWithFiles {
		w.shared = sharedProduction(t)
		w.log = w.shared.log
	}
	for n := range dockets {
		w.nodes = append(w.nodes, &node{name: fmt.Sprintf("node-%d", n)})
	}
	w.importOrders()
	t.Cleanup(func() {
		if t.Failed() {
			copied := leaveBehind(t, fmt.Sprintf("rebuild-%d", time.Now().UnixNano()))
			t.Logf("the folders are copied to %s (%v)", copied, os.CopyFS(copied, os.DirFS(w.root)))
		}
	})
	return w
}

// folder of a docket.
func (w *rebuildWorld) folder(n int) string { return filepath.Join(w.root, w.nodes[n].name) }

// importOrders puts real orders into the log.
func (w *rebuildWorld) importOrders() {
	w.t.Helper()
	args := []string{"import", "online-retail", "--file", manyExcerpts(w.t, w.root)}
	if dir := rebuildData(); dir != "" {
		args = []string{"import", "olist", "--dir", dir}
	}
	to := []string{"--data", w.folder(0)}
	if w.log != nil {
		to = []string{"--data", w.log.data}
	}
	if w.shared != nil {
		to = append(to, "--namespace", w.shared.namespace)
	}
	if run := docket(w.t.Context(), append(args, to...)...); run.status != 0 {
		w.t.Fatalf("docket %v ended with %d: %s%s", args, run.status, run.stdout, run.stderr)
	}
}

// manyExcerpts writes a file of all copies of the excerpt.
func manyExcerpts(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile("../importer/excerpt/online-retail-excerpt.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := rows[:1]
	for n := range excerpts {
		for _, row := range rows[1:] {
			copied := slices.Clone(row)
			copied[0] += fmt.Sprintf(".%d", n)
			all = append(all, copied)
		}
	}
	var out strings.Builder
	if err := csv.NewWriter(&out).WriteAll(all); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "invoices.csv")
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// flagsOf a docket: where its log and its views are.
func (w *rebuildWorld) flagsOf(n int) []string {
	flags := slices.Clone(w.flags)
	if w.log != nil {
		w.log.start()
		connection := w.log.connection
		if len(w.gates) > 0 {
			connection = w.gates[n].connection(connection)
		}
		flags = append(flags, "--eventstore", connection)
	}
	if w.shared != nil {
		flags = append(flags, "--namespace", w.shared.namespace, "--search", w.shared.search, "--cache", w.shared.cache, "--lease", lease.String(),
			"--limit-searches", "64") // who waits for a refresh has a turn all the while
	}
	return flags
}

// guard puts a gate before the log of each docket that is started from now on.
func (w *rebuildWorld) guard() (hits chan *hit) {
	w.log.start()
	hits = make(chan *hit, 100)
	for n := range w.nodes {
		w.gates = append(w.gates, newRegistryGate(w.t, n, w.log.address, hits))
	}
	return hits
}

// remoteLog is one behind gRPC.
func remoteLog(t *testing.T) *logServer {
	return &logServer{t: t, data: filepath.Join(t.TempDir(), "log"), address: "127.0.0.1:0"}
}

// startNode starts a docket, of this program or another one.
func (w *rebuildWorld) startNode(n int, program string, more ...string) {
	w.t.Helper()
	s := startProgram(w.t, program, "/readyz", w.folder(n), append(w.flagsOf(n), more...)...)
	w.nodes[n].set(s)
}

// lastOfImport is an order that is placed after all others are there.
const lastOfImport = "last-of-the-import"

// serve starts all dockets, and returns when their views hold all orders.
func (w *rebuildWorld) serve() {
	w.t.Helper()
	program, err := built()
	if err != nil {
		w.t.Fatal(err)
	}
	for n := range w.nodes {
		w.startNode(n, program)
	}
	w.caughtUp()
	// What a token shows in a list, all that is older shows with it.
	s, last := w.nodes[0].get(), lastOfImport
	placed, err := s.do(w.t.Context(), w.through, request{method: "POST", path: "/v1/orders", key: last, body: placeBody(last, "Last")})
	if err != nil {
		w.t.Fatal(err)
	}
	shown, err := s.do(w.t.Context(), w.through, request{method: "GET", path: "/v1/orders?limit=1&customer=c-" + last, prefer: tokenWait, consistencyToken: placed.header.Get("Consistency-Token")})
	if wrong := stale(shown, last, 0, 1); err != nil || wrong != "" {
		w.t.Fatalf("the last order: %v %s %d %.300s", err, wrong, shown.status, shown.body)
	}
	seen, err := wholeList(w.t.Context(), w.nodes[0].get(), w.through, 1000, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.known = slices.Sorted(maps.Keys(seen))
	if len(w.known) < 300 {
		w.t.Fatalf("only %d orders are there", len(w.known))
	}
}

// caughtUp returns when every docket shows all that was written up to now.
func (w *rebuildWorld) caughtUp() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), rebuildTime())
	defer cancel()
	for _, n := range w.nodes {
		if s := n.get(); s != nil {
			if err := s.caughtUp(ctx, w.through); err != nil {
				w.t.Fatalf("%s: %v", n.name, err)
			}
		}
	}
}

// ask is how one of the dockets is operated.
func (w *rebuildWorld) ask(n int) rebuilding { return rebuilding{w.nodes[n].get(), w.through} }

// traffic on all dockets.
func (w *rebuildWorld) traffic(prefix string) *traffic {
	return newTraffic(w.t, w.known, prefix, w.nodes...)
}

// reconciled wants every view to say what the log says.
func (w *rebuildWorld) reconciled(program string) {
	w.t.Helper()
	for _, n := range w.nodes {
		s := n.get()
		run := runProgram(w.t.Context(), program, "reconcile", "run", "--json", "--server", s.base, "--key", s.key)
		if run.status != 0 {
			w.t.Errorf("%s: reconcile ended with %d:\n%.3000s%s", n.name, run.status, run.stdout, run.stderr)
		}
		if w.shared != nil {
			return // they share what was compared
		}
	}
}
