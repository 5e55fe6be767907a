package elastic_test

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/projectionstest"
)

// TestClosedIndex: that an operator closes an index is no fault of the documents
// that are written meanwhile.
func TestClosedIndex(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{})
	batch := written(t, s, 11, 3)
	n.do("POST", n.index()+"/_close", "")
	var fresh projections.Batch
	for _, doc := range projectionstest.Documents(12, 3) {
		doc.ID += "-fresh"
		fresh.Changes = append(fresh.Changes, projectionstest.ChangeTo(doc, 0))
	}
	if outcomes, err := s.Write(t.Context(), fresh); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("write: %+v, %v", outcomes, err)
	}
	if _, err := s.Orders(t.Context(), newest(5)); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("orders: %v", err)
	}
	if err := s.Replace(t.Context(), fresh.Changes[0].Order.ID, &fresh.Changes[0]); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("replace: %v", err)
	}
	if _, err := s.Documents(t.Context(), []string{batch.Changes[0].Order.ID}); !errors.Is(err, projections.ErrUnavailable) {
		t.Errorf("documents: %v", err)
	}
	n.do("POST", n.index()+"/_open?wait_for_active_shards=1", "")
	want(t, s, fresh, projections.Applied)
}

// TestPartialAnswers: what only a part of the shards answered, or what was cut
// short, is no answer.
func TestPartialAnswers(t *testing.T) {
	n := startNode(t)
	_, s := n.open(guard.Options{Attempts: 1, Failures: 1000})
	written(t, s, 13, 3)
	if err := s.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"timed out":    {`"timed_out":false`, `"timed_out":true`},
		"shard failed": {`"failed":0`, `"failed":1`},
		"no shards":    {`"_shards"`, `"nothing"`},
	} {
		changed := false
		f := func(r *http.Request, answer []byte) []byte {
			out := bytes.Replace(answer, []byte(change[0]), []byte(change[1]), 1)
			changed = changed || !bytes.Equal(out, answer)
			return out
		}
		n.after.Store(&f)
		if page, err := s.Orders(t.Context(), newest(5)); !errors.Is(err, projections.ErrUnavailable) || !changed {
			t.Errorf("%s: %d orders of %d, %v (changed %t)", name, len(page.Items), page.Total, err, changed)
		}
		n.pass()
		if page, err := s.Orders(t.Context(), newest(5)); err != nil || page.Total != 3 {
			t.Errorf("after %s: %d orders, %v", name, page.Total, err)
		}
	}
}
