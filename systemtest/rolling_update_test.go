package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sideBySide is how long both versions are looked at while both run.
const sideBySide = 2 * time.Second

// TestRollingUpdate replaces three dockets that share everything one by one by a
// newer version, whose documents and mapping are others, and goes the same way
// back, while readers and writers go on. What a docket of one version answers is
// never of the other one's generation; no request fails, where those that a docket
// which is ending did not answer go to another one; and no order is missing.
func TestRollingUpdate(t *testing.T) {
	began := time.Now()
	one, err := built()
	if err != nil {
		t.Fatal(err)
	}
	two, err := builtTwo()
	if err != nil {
		t.Fatal(err)
	}
	w := newRebuildWorld(t, threeShare, nil)
	w.serve()
	first := w.serves(0)
	f := w.traffic("rolling")
	v := &versions{t: t, of: map[*node]int{}}
	for _, n := range w.nodes {
		v.set(n, 1)
	}
	f.look = v.look
	t.Logf("version 1 serves %d orders after %v", len(w.known), time.Since(began).Round(time.Millisecond))

	var second int
	update := f.during("update", w.modest(), func() {
		for n := range w.nodes {
			w.replace(n, v, 2, two)
			v.tell("after %s was updated", w.nodes[n].name)
			<-time.After(sideBySide)
		}
		second = w.allServe(func(g int) bool { return g > first })
		<-time.After(sideBySide / 2)
	})
	f.settled()
	w.reconciled(two)
	t.Logf("version 2 serves generation %d in place of %d after %v", second, first, time.Since(began).Round(time.Millisecond))
	w.mapped(first, false)
	w.mapped(second, true)

	back := f.during("way back", w.modest(), func() {
		for n := range w.nodes {
			w.replace(n, v, 1, one)
			v.tell("after %s went back", w.nodes[n].name)
			<-time.After(sideBySide)
		}
		w.caughtUp()
		// The switch still says that version 2 serves.
		if _, err := w.ask(0).rollback(t.Context(), false); err != nil {
			t.Error(err)
		}
		w.allServe(func(g int) bool { return g == first })
		<-time.After(sideBySide / 2)
	})
	f.settled()
	w.reconciled(one)
	for _, s := range []*stretch{update, back} {
		t.Log(s)
		if s.failures() > 0 {
			t.Errorf("%s: requests failed: %v", s.name, s.failed)
		}
	}
	v.tell("in all, after %v", time.Since(began).Round(time.Millisecond))
	if v.documents[1] == 0 || v.documents[2] == 0 {
		t.Errorf("too little was read of both versions: %v", v.documents)
	}
}

// serves is the generation that a docket answers from.
func (w *rebuildWorld) serves(n int) int {
	w.t.Helper()
	text := w.generationAt(w.t.Context(), w.nodes[n].get(), "/v1/orders/"+url.PathEscape(w.known[0]))
	g, err := strconv.Atoi(text)
	if err != nil {
		w.t.Fatalf("%s serves no generation: %q", w.nodes[n].name, text)
	}
	return g
}

// replace ends a docket as systemctl does, and starts one of another version in its
// place. Requests go to it again when it says that it is ready.
func (w *rebuildWorld) replace(n int, v *versions, version int, program string) {
	w.t.Helper()
	at := w.nodes[n]
	s := at.get()
	at.ends()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	select {
	case err := <-s.done:
		s.done <- err
		if err != nil {
			w.t.Errorf("%s did not end well: %v\n%s", at.name, err, s.log)
		}
	case <-time.After(time.Minute):
		w.t.Fatalf("%s goes on after SIGTERM", at.name)
	}
	v.set(at, 0)
	next := startProgram(w.t, program, "/readyz", w.folder(n), w.flagsOf(n)...)
	v.set(at, version)
	at.set(next)
}

// ends says that the docket of a node was told to end.
func (n *node) ends() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ending = true
}

// allServe waits until every docket answers from one generation, the wanted one, by
// id and in lists.
func (w *rebuildWorld) allServe(wanted func(generation int) bool) int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), rebuildTime())
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		served := map[string]int{}
		for _, n := range w.nodes {
			for _, path := range []string{"/v1/orders/" + w.known[0], "/v1/orders?limit=1"} {
				served[w.generationAt(ctx, n.get(), path)]++
			}
		}
		for text := range served {
			if g, err := strconv.Atoi(text); err == nil && len(served) == 1 && wanted(g) {
				return g
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("the dockets serve %v", served)
		}
	}
}

// mapped looks whether the index of a generation has the field of version 2.
func (w *rebuildWorld) mapped(generation int, want bool) {
	w.t.Helper()
	at := fmt.Sprintf("http://%s/%s-docket-orders-%d-*/_mapping", strings.TrimPrefix(w.shared.search, "elasticsearch://"), w.shared.namespace, generation)
	answer, err := http.Get(at)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || strings.Contains(string(text), `"city"`) != want {
		w.t.Errorf("%s: %v %d %.2000s", at, err, answer.StatusCode, text)
	}
}

// versions looks at which version made what is answered, by which docket.
type versions struct {
	t *testing.T

	mu        sync.Mutex
	of        map[*node]int  // version that runs there; 0: none that is ready
	made      map[string]int // version that made a generation, as its documents say
	documents [3]int         // seen, by version
	served    map[string]int // documents by version of docket and generation
	told      int
}

func (v *versions) set(n *node, version int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[n] = version
}

// look takes the version of a document from its country: one that was placed here
// has no address.
func (v *versions) look(n *node, path string, got reply) {
	if !strings.HasPrefix(path, "/v1/orders/rolling-") {
		return
	}
	generation := got.header.Get("Read-Generation")
	made, err := versionOf(got.body)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.made == nil {
		v.made, v.served = map[string]int{}, map[string]int{}
	}
	runs := v.of[n]
	known, seen := v.made[generation]
	switch {
	case err != nil:
	case seen && known != made:
		err = fmt.Errorf("generation %s holds documents of versions %d and %d", generation, known, made)
	case runs != 0 && made > runs:
		err = fmt.Errorf("version %d answers from generation %s, which version %d made", runs, generation, made)
	}
	v.made[generation] = made
	v.documents[made]++
	v.served[fmt.Sprintf("version %d from generation %s", runs, generation)]++
	if err != nil {
		if v.told++; v.told <= mostTold {
			v.t.Errorf("%s: %s: %v", n.name, path, err)
		}
	}
}

// versionOf a document that was placed without an address.
func versionOf(body []byte) (int, error) {
	var doc struct {
		Country string
		Number  string
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return 0, err
	}
	switch doc.Country {
	case "":
		return 1, nil
	case noCountry:
		return 2, nil
	}
	return 0, errors.New("an order in " + doc.Country)
}

// tell says what was seen up to now.
func (v *versions) tell(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.t.Logf("%s: %v", fmt.Sprintf(format, args...), v.served)
}
