package httpapi

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/docket-orders/docket/command"
)

func TestPlaceAnswersWhatItDid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.placed("o-1").has("Location", "/v1/orders/o-1").has("ETag", `"0"`)
	body := decoded[CommandAnswer](a)
	if body.ID != "o-1" || body.Revision != 0 || len(body.Events) != 1 || body.Events[0].Type != "OrderPlaced" || body.Order != nil {
		t.Errorf("answer %s", a.body)
	}
	if a.header.Get("Idempotency-Key") == "" || a.header.Get("Consistency-Token") == "" || a.header.Get("Trace-Id") == "" || a.header.Get("X-Correlation-Id") == "" {
		t.Errorf("headers %v", a.header)
	}
	if again := r.post("/v1/orders", strings.Replace(mugs, "%s", "o-1", 1)).is(200).has("ETag", `"0"`); len(decoded[CommandAnswer](again).Events) != 0 {
		t.Errorf("the same order placed again: %s", again.body)
	}
	r.post("/v1/orders", strings.Replace(strings.Replace(mugs, "%s", "o-1", 1), "TEA", "COFFEE", 1)).problem(409, "order-exists")
	p := r.post("/v1/orders", strings.Replace(mugs, "%s", "o 1", 1)).problem(422, "id-invalid")
	if *p.Errors[0].Pointer != "/id" {
		t.Errorf("problem %+v", p)
	}
}

func TestCreateWithoutIDDerivesItFromTheKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	body := strings.Replace(mugs, `"id":"%s",`, "", 1)
	first := r.post("/v1/orders", body, "Idempotency-Key: k1").is(201).has("Idempotency-Key", "k1")
	id := decoded[CommandAnswer](first).ID
	if id != command.OrderIDFor("local", "k1") {
		t.Errorf("id %s", id)
	}
	again := r.post("/v1/orders", body, "Idempotency-Key: k1").is(201).has("Idempotency-Replayed", "true").has("Location", "/v1/orders/"+id)
	if string(again.body) != string(first.body) || again.header.Get("ETag") != first.header.Get("ETag") {
		t.Errorf("first %s, again %s", first.body, again.body)
	}
	r.post("/v1/orders", strings.Replace(body, "TEA", "COFFEE", 1), "Idempotency-Key: k1").problem(422, "key-reused")
	if other := decoded[CommandAnswer](r.post("/v1/orders", body, "Idempotency-Key: k2").is(201)); other.ID == id {
		t.Error("another key made the same order")
	}
	a := r.post("/v1/orders", body).is(201)
	if again := r.post("/v1/orders", body, "Idempotency-Key: "+a.header.Get("Idempotency-Key")).is(201); again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the key that the server made does not repeat its command")
	}
}

func TestRepeatedKeyHasOneEffect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	var wg sync.WaitGroup
	answers := make([]reply, 8)
	for i := range answers {
		wg.Go(func() {
			answers[i] = r.post("/v1/orders/o-1/notes", `{"text":"once"}`, "Idempotency-Key: n")
		})
	}
	wg.Wait()
	fresh := 0
	for _, a := range answers {
		a.is(200).has("ETag", `"1"`)
		if string(a.body) != string(answers[0].body) {
			t.Errorf("%s and %s", a.body, answers[0].body)
		}
		if a.header.Get("Idempotency-Replayed") == "" {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d answers are not replays", fresh)
	}
	r.post("/v1/orders/o-1/notes", `{ "text" : "onc\u0065" }`, "Idempotency-Key: n").is(200).has("Idempotency-Replayed", "true")
	p := r.post("/v1/orders/o-1/notes", `{"text":"twice"}`, "Idempotency-Key: n")
	p.problem(422, "key-reused")
	p.has("Idempotency-Key", "n")
	r.post("/v1/orders/o-1/confirm", `{}`, "Idempotency-Key: n").problem(422, "key-reused")
	r.placed("o-2")
	r.post("/v1/orders/o-2/notes", `{"text":"twice"}`, "Idempotency-Key: n").is(200).has("ETag", `"1"`)
}

func TestBadKeysAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, key := range []string{strings.Repeat("k", 256), "a b", "ä"} {
		r.post("/v1/orders", `{}`, "Idempotency-Key: "+key).problem(400, "invalid-header")
	}
	r.post("/v1/orders", `{}`, "Idempotency-Key: a", "Idempotency-Key: b").problem(400, "invalid-header")
	if key := r.post("/v1/orders", `{}`).header.Get("Idempotency-Key"); key == "" {
		t.Error("an error without the key the server made")
	}
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.post("/v1/orders/o-1/confirm", `{}`, `If-Match: "0"`).is(200).has("ETag", `"1"`)
	a := r.post("/v1/orders/o-1/notes", `{"text":"x"}`, `If-Match: "0"`)
	p := a.problem(412, "precondition-failed")
	a.has("ETag", `"1"`)
	if p.CurrentRevision == nil || *p.CurrentRevision != 1 {
		t.Errorf("problem %+v", p)
	}
	r.post("/v1/orders/o-1/notes", `{"text":"x"}`, `If-Match: "1.g7"`).is(200)
	r.post("/v1/orders/o-1/notes", `{"text":"y"}`, `If-Match: *`).is(200)
	r.post("/v1/orders/nobody/notes", `{"text":"y"}`, `If-Match: *`).problem(412, "precondition-failed")
	for _, bad := range []string{`0`, `W/"0"`, `"x"`, `"0", "1"`} {
		r.post("/v1/orders/o-1/notes", `{"text":"x"}`, `If-Match: `+bad).problem(400, "invalid-header")
	}
}

func TestRequireIfMatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.RequireIfMatch = true })
	r.placed("o-1")
	r.post("/v1/orders/o-1/confirm", `{}`).problem(428, "precondition-required")
	r.post("/v1/orders/o-1/confirm?dryRun=true", `{}`).is(200)
	r.post("/v1/orders/o-1/confirm", `{}`, `If-Match: "0"`).is(200)
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	place := decoded[DryRunAnswer](r.post("/v1/orders?dryRun=true", strings.Replace(mugs, "%s", "o-1", 1)).is(200))
	if !place.DryRun || place.Revision != 0 || place.TotalsChange == nil || place.TotalsChange.Before != nil ||
		place.TotalsChange.After.Grand.Decimal() != "23.10" || len(place.Events) != 1 || place.Events[0].Data.Kind() != '{' {
		t.Errorf("dry run %+v", place)
	}
	r.get("/v1/orders/o-1").problem(404, "unknown-order")
	r.placed("o-1")
	cancel := decoded[DryRunAnswer](r.post("/v1/orders/o-1/cancel?dryRun=true", `{"lines":[{"lineId":"2","quantity":1}]}`).is(200))
	if cancel.Revision != 1 || cancel.Order == nil || cancel.Order.Revision != 1 || len(cancel.Order.Lines) == 0 ||
		cancel.TotalsChange.Before.Grand.Decimal() != "23.10" || cancel.TotalsChange.After.Grand.Decimal() != "19.90" {
		t.Errorf("dry run %+v", cancel)
	}
	r.post("/v1/orders/o-1/confirm?dryRun=true", `{}`, "Idempotency-Key: k").is(200)
	a := r.post("/v1/orders/o-1/confirm", `{}`, "Idempotency-Key: k").is(200).has("ETag", `"1"`)
	if a.header.Get("Idempotency-Replayed") != "" {
		t.Error("a dry run bound its key")
	}
	none := decoded[DryRunAnswer](r.post("/v1/orders/o-1/confirm?dryRun=true", `{}`).is(200))
	if len(none.Events) != 0 || none.Revision != 1 || none.TotalsChange.Before.Grand != none.TotalsChange.After.Grand {
		t.Errorf("dry run of nothing %+v", none)
	}
	r.post("/v1/orders/o-1/confirm?dryRun=yes", `{}`).problem(400, "invalid-parameter")
	r.post("/v1/orders/o-1/shipments?dryRun=true", `{"lines":[{"lineId":"9","quantity":1}]}`).problem(404, "unknown-line")
}

func TestNothingToDoIsNoError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	r.post("/v1/orders/o-1/confirm", `{}`).is(200)
	a := r.post("/v1/orders/o-1/confirm", `{}`).is(200).has("ETag", `"1"`)
	if body := decoded[CommandAnswer](a); body.Events == nil || len(body.Events) != 0 || body.Revision != 1 {
		t.Errorf("answer %s", a.body)
	}
}

func TestRepresentationIsOfThatRevision(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o-1")
	first := r.send("PUT", "/v1/orders/o-1/tags", `{"tags":["a"]}`, "Prefer: return=representation", "Idempotency-Key: k").is(200)
	r.send("PUT", "/v1/orders/o-1/tags", `{"tags":["b"]}`).is(200)
	again := r.send("PUT", "/v1/orders/o-1/tags", `{"tags":["a"]}`, "Prefer: return=representation", "Idempotency-Key: k").is(200)
	body := decoded[CommandAnswer](first)
	if body.Order == nil || body.Order.Revision != 1 || fmt.Sprint(body.Order.Tags) != "[a]" {
		t.Errorf("order %s", first.body)
	}
	if string(first.body) != string(again.body) {
		t.Errorf("%s and %s", first.body, again.body)
	}
}

// TestWholeLife drives an order through every command.
func TestWholeLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.placed("o")
	step := func(method, path, body string, wantType string) {
		t.Helper()
		a := r.send(method, "/v1/orders/o"+path, body).is(200)
		if got := decoded[CommandAnswer](a); len(got.Events) == 0 || got.Events[0].Type != wantType {
			t.Fatalf("%s: %s, want %s", path, a.body, wantType)
		}
	}
	step("POST", "/holds", `{"holdId":"h1","reason":"look"}`, "OrderHoldPlaced")
	step("DELETE", "/holds/h1", ``, "OrderHoldReleased")
	step("POST", "/holds", `{"holdId":"h2"}`, "OrderHoldPlaced")
	step("DELETE", "/holds/h2", `{"reason":"fine"}`, "OrderHoldReleased")
	step("POST", "/edits", `{"editId":"e1","changes":[{"op":"quantity","lineId":"1","quantity":3}]}`, "OrderEditProposed")
	step("POST", "/edits/e1/confirm", ``, "OrderEditConfirmed")
	step("POST", "/edits", `{"editId":"e2","changes":[{"op":"remove","lineId":"2"}]}`, "OrderEditProposed")
	step("POST", "/edits/e2/decline", `{"reason":"no"}`, "OrderEditDeclined")
	step("PUT", "/shipping-address", `{"address":{"name":"B","street":"Rua 2","city":"Porto","country":"PT"}}`, "OrderShippingAddressChanged")
	step("PUT", "/metadata", `{"metadata":{"a":"b"}}`, "OrderMetadataSet")
	step("POST", "/notes", `{"text":"hello"}`, "OrderNoteAdded")
	step("POST", "/confirm", `{}`, "OrderConfirmed")
	step("POST", "/payments", `{"paymentId":"p1","method":"card","amount":{"amount":"30.60","currency":"EUR"}}`, "OrderPaymentAuthorised")
	step("POST", "/payments/p1/capture", `{"amount":{"amount":"20.00","currency":"EUR"}}`, "OrderPaymentCaptured")
	step("POST", "/payments/p1/capture", `{}`, "OrderPaymentCaptured")
	step("POST", "/payments", `{"paymentId":"p2","method":"card","amount":{"amount":"1.00","currency":"EUR"}}`, "OrderPaymentAuthorised")
	step("POST", "/payments/p2/void", `{}`, "OrderPaymentVoided")
	step("POST", "/payments", `{"paymentId":"p3","method":"card","amount":{"amount":"1.00","currency":"EUR"}}`, "OrderPaymentAuthorised")
	step("POST", "/payments/p3/fail", `{"reason":"declined"}`, "OrderPaymentFailed")
	step("POST", "/shipments", `{"shipmentId":"s1","lines":[{"lineId":"1","quantity":1}],"carrier":"DHL"}`, "OrderShipmentDispatched")
	step("POST", "/shipments/s1", `{"carrier":"UPS","trackingNumber":"1Z"}`, "OrderShipmentUpdated")
	step("POST", "/shipments/s1/deliver", `{}`, "OrderShipmentDelivered")
	step("POST", "/shipments", `{"shipmentId":"s2"}`, "OrderShipmentDispatched")
	step("POST", "/shipments/s2/deliver", ``, "OrderShipmentDelivered")
	step("POST", "/returns", `{"returnId":"r1","lines":[{"lineId":"1","quantity":1}]}`, "OrderReturnRequested")
	step("POST", "/returns/r1/receive", `{"lines":[{"lineId":"1","quantity":1,"condition":"new"}]}`, "OrderReturnReceived")
	step("POST", "/returns", `{"returnId":"r2","lines":[{"lineId":"1","quantity":1}]}`, "OrderReturnRequested")
	step("POST", "/returns/r2/reject", `{"reason":"worn"}`, "OrderReturnRejected")
	step("POST", "/refunds", `{"refundId":"f1","paymentId":"p1","amount":{"amount":"7.50","currency":"EUR"},"returnId":"r1"}`, "OrderRefundGranted")
	step("POST", "/refunds/f1/complete", `{"reference":"re"}`, "OrderRefundCompleted")
	step("POST", "/refunds", `{"refundId":"f2","paymentId":"p1","amount":{"amount":"1.00","currency":"EUR"}}`, "OrderRefundGranted")
	step("POST", "/refunds/f2/fail", `{}`, "OrderRefundFailed")
	step("PUT", "/tags", `{"tags":["done"]}`, "OrderTagsSet")
	r.post("/v1/orders/o/cancel", `{"reason":"late"}`).is(409)

	r.caughtUp()
	doc := decoded[OrderAnswer](r.get("/v1/orders/o").is(200))
	if doc.PaymentStatus != "partiallyRefunded" || doc.FulfilmentStatus != "partiallyReturned" || doc.Totals.Grand.Decimal() != "30.60" ||
		len(doc.Notes) != 1 || doc.Notes[0].Author != "local" || doc.City != "Porto" || len(doc.Holds) != 0 {
		t.Errorf("order %+v", doc.Order)
	}
	r.placed("o-2")
	r.post("/v1/orders/o-2/cancel", `{"reason":"late"}`).is(200)
}

func TestCommandsOnNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range routes {
		rt := &routes[i]
		if !strings.HasPrefix(rt.path, "/v1/orders/{id}/") || rt.method == "GET" {
			continue
		}
		path := strings.NewReplacer("{id}", "nobody", "{pid}", "x", "{sid}", "x", "{rid}", "x", "{fid}", "x", "{hid}", "x", "{eid}", "x").Replace(rt.path)
		r.send(rt.method, path, rt.example).problem(404, "unknown-order")
		bad := strings.Replace(path, "nobody", "a%2Fb", 1)
		r.send(rt.method, bad, rt.example).problem(404, "unknown-order")
		r.send(rt.method, path, `{"colour":1}`).problem(400, "invalid-body")
		r.send(rt.method, path+"?colour=1", rt.example).problem(400, "invalid-parameter")
		r.send(rt.method, path, rt.example, "Content-Type: text/plain").problem(415, "unsupported-media-type")
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Limits.BodyBytes = 1000 })
	r.post("/v1/orders", `{"number":"`+strings.Repeat("x", 1000)+`"}`).problem(413, "body-too-large")
	for _, ct := range []string{"", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/json, text/plain", "json"} {
		r.post("/v1/orders", `{}`, "Content-Type: "+ct).problem(415, "unsupported-media-type")
	}
	r.post("/v1/orders", `{}`, "Content-Encoding: gzip").problem(415, "unsupported-media-type")
	r.post("/v1/orders", mugs, "Content-Type: application/json; charset=UTF-8").problem(422, "id-invalid")
}

func TestHostileBodiesOverHTTP(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range hostile {
		r.post("/v1/orders", c.body).problem(400, "invalid-body")
	}
	future := strings.Replace(mugs, `"id":"%s"`, `"id":"o-9","at":"2999-01-01T00:00:00Z"`, 1)
	p := r.post("/v1/orders", future).problem(422, "at-in-future")
	if *p.Errors[0].Pointer != "/at" {
		t.Errorf("problem %+v", p)
	}
}
