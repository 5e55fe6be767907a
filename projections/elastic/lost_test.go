package elastic_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
)

// TestLost: whatever of a generation is deleted behind docket's back, calls say
// that it is lost; no write makes an index anew; and once it is dropped it begins
// again, empty, while a process that still has the lost one goes on hearing that
// it is lost.
func TestLost(t *testing.T) {
	for name, lose := range map[string]func(*node){
		"the orders": func(n *node) { n.do("DELETE", n.index(), "") },
		"the control index": func(n *node) {
			n.do("DELETE", "/"+string(n.namespace)+"-docket-orders-control-1", "")
		},
		"everything": func(n *node) {
			n.do("DELETE", n.index()+","+string(n.namespace)+"-docket-orders-control-1", "")
		},
		"our alias": func(n *node) { n.do("DELETE", n.index()+"/_alias/*.only", "") },
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			b, s := n.open(guard.Options{})
			batch := written(t, s, 6, 5)
			cp, err := s.Claim(t.Context(), 3, "me", 0)
			if err != nil {
				t.Fatal(err)
			}
			cp.Position = eventstore.At64(7)
			batch.Checkpoints = []projections.Checkpoint{cp}
			want(t, s, batch, projections.Already)
			lose(n)

			for i := range batch.Changes {
				batch.Changes[i].First, batch.Changes[i].Order.Revision = 6, 6
			}
			_, err = s.Write(t.Context(), batch)
			lost(t, "write", err)
			batch.Changes[0].First = 0
			_, err = s.Write(t.Context(), batch)
			lost(t, "write anew", err)
			if strings.Contains(name, "control") || name == "everything" {
				_, err = s.Checkpoints(t.Context())
				lost(t, "checkpoints", err)
				_, err = s.Claim(t.Context(), 5, "me", 0)
				lost(t, "claim", err)
				_, err = s.Beat(t.Context(), []projections.Checkpoint{cp})
				lost(t, "beat", err)
				_, err = s.Parked(t.Context())
				lost(t, "parked", err)
			} else {
				_, err = s.Documents(t.Context(), []string{batch.Changes[0].Order.ID})
				lost(t, "documents", err)
				_, err = s.Orders(t.Context(), newest(3))
				lost(t, "orders", err)
				lost(t, "refresh", s.Refresh(t.Context()))
				_, err = s.Beat(t.Context(), []projections.Checkpoint{cp}) // also where nobody writes
				lost(t, "beat", err)
				_, err = b.Open(t.Context(), 1)
				lost(t, "open", err)
			}

			if err := b.Drop(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			fresh := n.generation(b)
			lanes, err := fresh.Checkpoints(t.Context())
			if err != nil || lanes[3] != (projections.Checkpoint{Lane: 3}) {
				t.Errorf("lane of the new one: %+v, %v", lanes[3], err)
			}
			if page, err := fresh.Orders(t.Context(), newest(3)); err != nil || page.Total != 0 {
				t.Errorf("%d orders in the new one, %v", page.Total, err)
			}
			_, err = s.Write(t.Context(), batch)
			lost(t, "write of who missed it", err)
			_, err = s.Claim(t.Context(), 5, "me", 0)
			lost(t, "claim of who missed it", err)
			if found, err := fresh.Documents(t.Context(), []string{batch.Changes[0].Order.ID}); err != nil || len(found) != 0 {
				t.Errorf("%d documents in the new one, %v", len(found), err)
			}
			written(t, fresh, 6, 5)
		})
	}
}

func lost(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, projections.ErrLost) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestInterruptedOpen: what a crash leaves between the record and the index is
// completed, and what another left under the same number is removed.
func TestInterruptedOpen(t *testing.T) {
	n := startNode(t)
	b, s := n.open(guard.Options{})
	written(t, s, 7, 2)
	old := n.index()
	control := "/" + string(n.namespace) + "-docket-orders-control-1/_doc/generation-1"
	n.do("PUT", control, `{"kind":"generation","of":"1","data":{"generation":1,"incarnation":"00c0ffee","state":"making"}}`)
	fresh := n.generation(b)
	if n.index() == old || !strings.HasSuffix(n.index(), "-1-00c0ffee") {
		t.Errorf("index %s after %s", n.index(), old)
	}
	written(t, fresh, 7, 2)
	if got, err := b.Generations(t.Context()); err != nil || len(got) != 1 || got[0] != 1 {
		t.Errorf("generations %v, %v", got, err)
	}
	// A record that another program spoiled is as good as none.
	n.do("PUT", control, `{"kind":"generation","of":"1","data":{"generation":"x"}}`)
	_, err := fresh.Checkpoints(t.Context())
	lost(t, "checkpoints", err)
	if err := b.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	written(t, n.generation(b), 7, 2)
}

// TestNotFoundByAProxy: that a proxy in front knows no such page does not say
// that a generation is lost; that Elasticsearch knows no such alias does.
func TestNotFoundByAProxy(t *testing.T) {
	n := startNode(t)
	b, s := n.open(guard.Options{})
	written(t, s, 6, 5)
	n.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/_alias/") {
			return false
		}
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		http.Error(w, "<h1>no such page</h1>", http.StatusNotFound)
		return true
	})
	again := openAt(t, n.address, elastic.Options{Namespace: n.namespace})
	if _, err := again.Open(t.Context(), 1); err == nil || errors.Is(err, projections.ErrLost) {
		t.Errorf("open behind a proxy that knows no alias: %v", err)
	}
	n.pass()
	n.generation(again)
	n.do("DELETE", n.index()+"/_alias/*.only", "")
	_, err := b.Open(t.Context(), 1)
	lost(t, "open without the alias", err)
}
