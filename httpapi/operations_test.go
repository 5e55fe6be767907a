package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
)

func TestProbes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if got := decoded[HealthAnswer](r.get("/healthz").is(200)); got.Status != "alive" || got.Version != "test" {
		t.Errorf("health %+v", got)
	}
	r.placed("o-1")
	r.ready()
	got := decoded[ReadyAnswer](r.get("/readyz").is(200))
	if !got.Ready || !got.Commands || !got.Reads || len(got.Impaired) != 0 {
		t.Errorf("ready %+v", got)
	}
}

// ready waits for /readyz to say yes.
func (r *rig) ready() {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for r.get("/readyz").status != 200 {
		select {
		case <-deadline:
			r.t.Fatalf("never ready: %s", r.get("/readyz").body)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.get("/nowhere")
	r.send("BREW", "/v1/orders", "")
	r.caughtUp()
	body := string(r.get("/metrics").is(200).body)
	for _, want := range []string{
		`docket_http_requests_total{method="POST",route="/v1/orders",status="201"} 1`,
		`docket_http_requests_total{method="GET",route="none",status="404"} 1`,
		`method="other"`,
		`docket_commands_total{command="place",outcome="done"} 1`,
		`docket_projection_parked{projection="orders",store="sqlite"} 0`, `docket_projection_lag_seconds{projection="orders",store="sqlite"}`, `docket_projection_wedged{projection="orders",store="sqlite"} 0`, `docket_store_up{projection="orders",store="sqlite"} 1`,
		"docket_command_conflicts_total 0", "docket_http_request_duration_seconds_bucket", "go_goroutines", "process_",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestParked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if got := decoded[ParkedAnswer](r.get("/v1/projections/orders/parked").is(200)); got.Items == nil || len(got.Items) != 0 {
		t.Errorf("parked %+v", got)
	}
	r.post("/v1/projections/orders/parked/order-o-1/retry", ``).problem(404, "not-parked")
	r.get("/v1/projections/sales/parked").problem(404, "unknown-projection")
	r.post("/v1/projections/sales/parked/order-o-1/retry", ``).problem(404, "unknown-projection")
}

func TestParkedOrderIsShownAndRetried(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.placed("o-2")
	// An event that this program wrote cannot be like this; a damaged one can.
	poison := eventstore.Event{
		ID: uuid.New(), Type: "OrderNoteAdded", JSON: true, Data: []byte(`{"noteId":17}`),
		Metadata: codec.EncodeMeta(codec.Meta{CommandID: uuid.New(), Command: "add-note", Version: 1, RecordedAt: time.Now()}),
	}
	appended, err := r.store.Append(t.Context(), "order-o-1", eventstore.At(0), []eventstore.Event{poison})
	if err != nil {
		t.Fatal(err)
	}
	identity, err := r.store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.caughtUp()
	list := decoded[ParkedAnswer](r.get("/v1/projections/orders/parked").is(200))
	if len(list.Items) != 1 || list.Items[0].Stream != "order-o-1" || list.Items[0].OrderID != "o-1" || list.Items[0].Revision != 1 || list.Items[0].Reason == "" {
		t.Fatalf("parked %+v", list)
	}
	tag := r.get("/v1/orders/o-1").is(200).header.Get("ETag")
	a := r.get("/v1/orders/o-1", "If-None-Match: "+tag).is(200)
	if doc := decoded[OrderAnswer](a); doc.Degraded == nil || doc.Degraded.Revision != 1 {
		t.Errorf("order %s", a.body)
	}
	token := query.Token{Log: identity, OrderID: "o-1", Revision: 1, Position: appended.Position}.String()
	r.get("/v1/orders/o-1", "Consistency-Token: "+token, "Prefer: wait=20").problem(503, "read-model-parked")
	r.post("/v1/projections/orders/parked/order-o-1/retry", `{}`).problem(503, "read-model-parked")
	r.post("/v1/projections/orders/parked/o-1/retry", ``).problem(503, "read-model-parked")
	r.get("/v1/orders/o-2").is(200)
	r.ready()
	if got := decoded[ReadyAnswer](r.get("/readyz").is(200)); len(got.Impaired) != 1 {
		t.Errorf("ready %+v", got)
	}
	if !strings.Contains(string(r.get("/metrics").body), `docket_projection_parked{projection="orders",store="sqlite"} 1`) {
		t.Error("metrics do not count the parked order")
	}
}
