package httpapi

import (
	rawjson "encoding/json"
	"net/http"
	"slices"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/reconcile"
	"github.com/docket-orders/docket/view"
)

var dryRunParam = param{name: "dryRun", kind: boolean, doc: "Answer what the command would do, and write nothing."}

// commandCodes are the problems that any command may meet, beside the refusals
// of its own rules.
var commandCodes = []string{
	"invalid-body", "invalid-header", "body-too-large", "unsupported-media-type", "precondition-failed",
	"precondition-required", "key-reused", "at-in-future", "order-deleted", "change-too-large",
	"busy", "outcome-unknown", "overloaded", "read-only",
}

var readCodes = []string{"invalid-header", "token-invalid", "token-foreign", "read-model-behind", "read-model-parked", "unavailable", "view-unavailable"}

var listCodes = []string{
	"cursor-invalid", "cursor-of-another-question", "cursor-foreign", "currency-needed", "range-is-empty",
	"filter-invalid", "too-many-values", "too-many-words", "amount-invalid",
}

// operationCodes are the problems of what operators order with a body.
var operationCodes = []string{"invalid-body", "unsupported-media-type", "body-too-large", "unavailable", "view-unavailable", "read-only", "outcome-unknown"}

var readHeaders = []string{"Consistency-Token", "Prefer"}

// viewHeaders are on every answer of a view.
var viewHeaders = []string{"Read-Generation", "Read-Lag-Ms"}

var (
	statuses = []string{string(order.StatusPlaced), string(order.StatusConfirmed), string(order.StatusCancelled)}

	paymentStatuses = []string{
		string(order.PaymentStatusNone), string(order.PaymentStatusAuthorised), string(order.PaymentStatusPartiallyPaid),
		string(order.PaymentStatusPaid), string(order.PaymentStatusOverpaid), string(order.PaymentStatusPartiallyRefunded),
		string(order.PaymentStatusRefunded),
	}

	fulfilmentStatuses = []string{
		string(order.FulfilmentStatusNone), string(order.FulfilmentStatusPartiallyShipped), string(order.FulfilmentStatusShipped),
		string(order.FulfilmentStatusPartiallyDelivered), string(order.FulfilmentStatusDelivered),
		string(order.FulfilmentStatusPartiallyReturned), string(order.FulfilmentStatusReturned),
	}

	kinds = []string{string(order.KindOrder), string(order.KindCreditNote), string(order.KindAdjustment)}

	sorts = []string{"placedAt", "-placedAt", "updatedAt", "-updatedAt", "total", "-total", "number", "-number"}
)

var (
	limitParam  = param{name: "limit", kind: integer, min: 1, max: query.MaxLimit, doc: "Orders on a page; 50 when absent."}
	cursorParam = param{name: "cursor", doc: "next of the page before. Filters and sort must stay the same."}
)

var listParams = []param{
	{name: "status", many: true, allowed: statuses},
	{name: "paymentStatus", many: true, allowed: paymentStatuses},
	{name: "fulfilmentStatus", many: true, allowed: fulfilmentStatuses},
	{name: "kind", many: true, allowed: kinds},
	{name: "source", many: true, doc: "System the order was taken over from."},
	{name: "customer", many: true, doc: "Id of the customer."},
	{name: "tag", many: true},
	{name: "anomaly", many: true, doc: "Kind of anomaly."},
	{name: "currency", many: true, doc: "ISO 4217 code."},
	{name: "country", many: true},
	{name: "state", many: true},
	{name: "sku", many: true, doc: "SKU of a line in force."},
	{name: "placedFrom", kind: instant, doc: "Included."},
	{name: "placedTo", kind: instant, doc: "Excluded."},
	{name: "deliveredFrom", kind: instant, doc: "Included."},
	{name: "deliveredTo", kind: instant, doc: "Excluded."},
	{name: "updatedFrom", kind: instant, doc: "Included."},
	{name: "updatedTo", kind: instant, doc: "Excluded."},
	{name: "minTotal", kind: decimal, doc: "Of totals.grand, included; wants one currency."},
	{name: "maxTotal", kind: decimal, doc: "Of totals.grand, included; wants one currency."},
	{name: "q", doc: "Words that must all be there: whole words, without regard to case and accents."},
	{name: "sort", allowed: sorts, doc: "-placedAt when absent; ties by id. total wants one currency."},
	limitParam, cursorParam,
	{name: "facets", many: true, allowed: query.Facets, doc: "Count the values of these fields over all orders that match."},
	{name: "total", kind: boolean, doc: "false leaves the total out."},
}

// cutParams look at an order as it was. What was known then never changes; what
// was true then may, as more becomes known.
var cutParams = []param{
	{name: "asOf", kind: moment, doc: "What was known then: everything recorded up to and including this instant. What is recorded later never changes the answer."},
	{name: "atRevision", kind: integer, min: 0, max: 1<<63 - 2, doc: "What was known at this revision; never changes either."},
	{name: "atPosition", kind: place, example: "4711", doc: "What was known at this position of the log; never changes either. At most one of asOf, atRevision and atPosition."},
	{name: "effectiveAt", kind: moment, doc: "What was true then, of what was known: business time up to and including this instant. Alone it is of all that is known now, and may change as more becomes known; beside one of the others it never does."},
}

var cutCodes = []string{
	query.ErrOrderUnknown.Code, query.ErrRevisionUnknown.Code, query.ErrPositionUnknown.Code, query.ErrCutBefore.Code,
	query.ErrCutFuture.Code, query.ErrHistoryUnreadable.Code,
}

// logCodes are the problems of what the log answers.
var logCodes = []string{"token-invalid", "token-foreign", "unavailable"}

// pointDoc describes a point in the life of an order; see query.ParsePoint.
const pointDoc = "What was known: a revision of the order (17), a position of the log (position:4711), or an instant (2018-01-31T12:00:00Z, by recordedAt). " +
	"What was true: effective:2018-01-31T12:00:00Z (by effectiveAt), alone of all that is known now, or of what was known with one of the others before it " +
	"(17,effective:2018-01-31T12:00:00Z). now is the order as it is."

// routes is the whole contract.
var routes = []route{
	{
		method: "POST", path: "/v1/orders", scope: ScopeWrite, class: commands, summary: "Place an order",
		params: []param{dryRunParam}, headers: []string{"Idempotency-Key", "If-Match", "Prefer"},
		body: PlaceBody{}, status: http.StatusCreated, answer: CommandAnswer{}, codes: commandCodes, handle: (*server).place,
		example: `{"customer":{"id":"c-17","name":"Ana Prado","email":"ana@example.com"},"currency":"EUR",` +
			`"lines":[{"id":"1","sku":"MUG-RED","title":"Red mug","quantity":2,"unitPrice":{"amount":"7.50","currency":"EUR"}}],` +
			`"shipping":{"amount":"4.90","currency":"EUR"},` +
			`"shippingAddress":{"name":"Ana Prado","street":"Rua 1","postalCode":"1000-001","city":"Lisboa","country":"PT"},` +
			`"tags":["web"],"metadata":{"channel":"shop"}}`,
	},
	commandRoute[order.Confirm]("POST", "/v1/orders/{id}/confirm", "Confirm the order", `{}`, nil),
	commandRoute[order.AddPayment]("POST", "/v1/orders/{id}/payments", "Authorise or capture a payment",
		`{"method":"card","amount":{"amount":"19.90","currency":"EUR"},"reference":"ch_1","capture":true}`, nil),
	commandRoute("POST", "/v1/orders/{id}/payments/{pid}/capture", "Capture what was authorised",
		`{"amount":{"amount":"10.00","currency":"EUR"}}`,
		func(c *order.CapturePayment, r *request) { c.PaymentID = r.PathValue("pid") }),
	commandRoute("POST", "/v1/orders/{id}/payments/{pid}/void", "Give up what is authorised", `{"reason":"out of stock"}`,
		func(c *order.VoidPayment, r *request) { c.PaymentID = r.PathValue("pid") }),
	commandRoute("POST", "/v1/orders/{id}/payments/{pid}/fail", "The provider refused", `{"reason":"card expired"}`,
		func(c *order.FailPayment, r *request) { c.PaymentID = r.PathValue("pid") }),
	commandRoute[order.Dispatch]("POST", "/v1/orders/{id}/shipments", "Send a parcel; without lines, everything that has not left",
		`{"lines":[{"lineId":"1","quantity":1}],"carrier":"DHL","trackingNumber":"JD014600003828"}`, nil),
	commandRoute("POST", "/v1/orders/{id}/shipments/{sid}", "Correct carrier and tracking number",
		`{"carrier":"UPS","trackingNumber":"1Z999"}`,
		func(c *order.UpdateShipment, r *request) { c.ShipmentID = r.PathValue("sid") }),
	commandRoute("POST", "/v1/orders/{id}/shipments/{sid}/deliver", "The parcel arrived", `{}`,
		func(c *order.Deliver, r *request) { c.ShipmentID = r.PathValue("sid") }),
	commandRoute[order.RequestReturn]("POST", "/v1/orders/{id}/returns", "Ask to send units back",
		`{"lines":[{"lineId":"1","quantity":1}],"reason":"too small"}`, nil),
	commandRoute("POST", "/v1/orders/{id}/returns/{rid}/receive", "What came back, and how it looked",
		`{"lines":[{"lineId":"1","quantity":1,"condition":"opened"}]}`,
		func(c *order.ReceiveReturn, r *request) { c.ReturnID = r.PathValue("rid") }),
	commandRoute("POST", "/v1/orders/{id}/returns/{rid}/reject", "Refuse the return", `{"reason":"worn"}`,
		func(c *order.RejectReturn, r *request) { c.ReturnID = r.PathValue("rid") }),
	commandRoute[order.GrantRefund]("POST", "/v1/orders/{id}/refunds", "Grant a refund",
		`{"paymentId":"p1","amount":{"amount":"7.50","currency":"EUR"},"reason":"damaged"}`, nil),
	commandRoute("POST", "/v1/orders/{id}/refunds/{fid}/complete", "The money went back", `{"reference":"re_1"}`,
		func(c *order.CompleteRefund, r *request) { c.RefundID = r.PathValue("fid") }),
	commandRoute("POST", "/v1/orders/{id}/refunds/{fid}/fail", "The refund failed", `{"reason":"account closed"}`,
		func(c *order.FailRefund, r *request) { c.RefundID = r.PathValue("fid") }),
	commandRoute[order.PlaceHold]("POST", "/v1/orders/{id}/holds", "Hold the order back", `{"reason":"fraud check"}`, nil),
	commandRoute("DELETE", "/v1/orders/{id}/holds/{hid}", "Release a hold", `{"reason":"checked"}`,
		func(c *order.ReleaseHold, r *request) { c.HoldID = r.PathValue("hid") }),
	commandRoute("POST", "/v1/orders/{id}/notes", "Add a note", `{"text":"Called the customer."}`,
		func(c *order.AddNote, r *request) { c.Author = r.who.name }),
	commandRoute[order.ProposeEdit]("POST", "/v1/orders/{id}/edits", "Propose a change of lines",
		`{"changes":[{"op":"quantity","lineId":"1","quantity":3}],"reason":"one more"}`, nil),
	commandRoute("POST", "/v1/orders/{id}/edits/{eid}/confirm", "Carry the edit out", `{}`,
		func(c *order.ConfirmEdit, r *request) { c.EditID = r.PathValue("eid") }),
	commandRoute("POST", "/v1/orders/{id}/edits/{eid}/decline", "Drop the edit", `{"reason":"too late"}`,
		func(c *order.DeclineEdit, r *request) { c.EditID = r.PathValue("eid") }),
	commandRoute[order.Cancel]("POST", "/v1/orders/{id}/cancel", "Cancel the order, or units of it",
		`{"reason":"changed my mind"}`, nil),
	commandRoute[order.ChangeShippingAddress]("PUT", "/v1/orders/{id}/shipping-address", "Change where parcels go",
		`{"address":{"name":"Ana Prado","street":"Rua 2","postalCode":"1000-002","city":"Lisboa","country":"PT"}}`, nil),
	commandRoute[order.SetTags]("PUT", "/v1/orders/{id}/tags", "Replace the tags", `{"tags":["gift","web"]}`, nil),
	commandRoute[order.SetMetadata]("PUT", "/v1/orders/{id}/metadata", "Replace the metadata", `{"metadata":{"channel":"phone"}}`, nil),

	{
		method: "POST", path: "/v1/adoptions", scope: ScopeWrite, class: adoptions,
		summary: "Take over orders with their history; one order, or one part of one, per line, and one answer per line",
		body:    AdoptionLine{}, mediaType: "application/x-ndjson", status: http.StatusOK, answer: AdoptionAnswer{},
		answerType: "application/x-ndjson", codes: []string{"unsupported-media-type"}, handle: (*server).adopt,
		example: `{"id":"536365","last":true,"history":[{"type":"OrderPlaced","data":{"number":"536365","kind":"order",` +
			`"source":{"system":"shop","id":"536365"},"customer":{"id":"17850"},"currency":"GBP",` +
			`"lines":[{"id":"1","sku":"85123A","title":"HEART T-LIGHT HOLDER","quantity":6,"unitPrice":{"amount":"2.55","currency":"GBP"}}],` +
			`"shipping":{"amount":"0.00","currency":"GBP"},"discount":{"amount":"0.00","currency":"GBP"},"tax":{"amount":"0.00","currency":"GBP"},` +
			`"at":"2010-12-01T08:26:00Z"}}]}`,
	},

	{
		method: "GET", path: "/v1/orders", scope: ScopeRead, class: searches, summary: "Find orders", params: listParams, headers: readHeaders,
		status: http.StatusOK, answer: ListAnswer{}, answerHeaders: append([]string{"Link"}, viewHeaders...), handle: (*server).listOrders,
		codes: append(listCodes, readCodes...),
	},
	{
		method: "GET", path: "/v1/orders/{id}", scope: ScopeRead, class: reads, summary: "One order, now or as it was",
		params: append([]param{{
			name: "include", many: true, allowed: []string{"actions"}, doc: "Add what may be done now; only of the order as it is now.",
		}}, cutParams...),
		headers: append([]string{"If-None-Match"}, readHeaders...), status: http.StatusOK, answer: OrderAnswer{},
		answerHeaders: append([]string{"ETag", "Read-Revision", "Read-Position", "Read-Source"}, viewHeaders...),
		codes:         slices.Concat(cutCodes, readCodes, []string{query.ErrCuts.Code}), handle: (*server).getOrder,
	},
	{
		method: "GET", path: "/v1/orders/{id}/events", scope: ScopeRead, class: reads,
		summary: "What happened to the order: by revision, or with effectiveAt by effective time",
		params: append([]param{
			{name: "after", kind: integer, min: 0, max: 1<<63 - 2, doc: "next of the page before: begin after the event of this revision. The cut must stay the same."},
			{name: "limit", kind: integer, min: 1, max: maxEntries, doc: "Events on a page; 1000 when absent."},
		}, cutParams...),
		headers: readHeaders, status: http.StatusOK, answer: HistoryAnswer{}, answerHeaders: []string{"Link", "Read-Revision"},
		codes: slices.Concat(cutCodes, logCodes, []string{query.ErrCuts.Code}), handle: (*server).getHistory,
	},
	{
		method: "GET", path: "/v1/orders/{id}/diff", scope: ScopeRead, class: reads, summary: "How the order differs between two points, field by field",
		params: []param{
			{name: "from", kind: point, required: true, example: "17", doc: pointDoc},
			{name: "to", kind: point, example: "effective:2018-01-31T12:00:00Z", doc: "A point as from; now when absent. It may be the earlier one."},
		},
		headers: readHeaders, status: http.StatusOK, answer: DiffAnswer{}, codes: slices.Concat(cutCodes, logCodes), handle: (*server).getDiff,
	},
	{
		method: "GET", path: "/v1/orders/{id}/why", scope: ScopeRead, class: reads, summary: "Which event, command and caller last set each field",
		params: append([]param{{
			name: "field", example: "/lines/L1/quantity",
			doc: "Only the field of this path, and what is below it; paths are those of /diff. A field that was taken away is answered with the value null and the event that took it away.",
		}}, cutParams...),
		headers: readHeaders, status: http.StatusOK, answer: WhyAnswer{}, answerHeaders: []string{"Read-Revision"},
		codes: slices.Concat(cutCodes, logCodes, []string{query.ErrCuts.Code, audit.ErrFieldUnknown.Code}), handle: (*server).getWhy,
	},
	{
		method: "GET", path: "/v1/orders/{id}/refusals", scope: ScopeRead, class: reads,
		summary: "Refused commands on the order, the newest last, also of an order that never came to be",
		params: []param{
			{name: "before", kind: integer, min: 1, max: 1<<63 - 2, doc: "next of the page before: only older ones than those."},
			{name: "limit", kind: integer, min: 1, max: audit.MaxRefusals, doc: "So many of the newest; 100 when absent."},
		},
		status: http.StatusOK, answer: RefusalsAnswer{}, headers: readHeaders, answerHeaders: []string{"Link"},
		codes: append([]string{query.ErrOrderUnknown.Code}, logCodes...), handle: (*server).getRefusals,
	},
	{
		method: "GET", path: "/v1/orders/{id}/actions", scope: ScopeRead, class: reads, summary: "What may be done to the order now",
		status: http.StatusOK, answer: ActionsAnswer{}, answerHeaders: []string{"Read-Revision"}, codes: []string{order.ErrUnknown.Code}, handle: (*server).getActions,
	},
	{
		method: "GET", path: "/v1/customers/{id}", scope: ScopeRead, class: reads, summary: "One customer, with totals", headers: readHeaders,
		status: http.StatusOK, answer: view.CustomerSummary{}, answerHeaders: viewHeaders,
		codes: append([]string{query.ErrCustomerUnknown.Code}, readCodes...), handle: (*server).getCustomer,
	},
	{
		method: "GET", path: "/v1/customers/{id}/orders", scope: ScopeRead, class: searches, summary: "A customer's orders, newest first",
		params: []param{limitParam, cursorParam}, headers: readHeaders, status: http.StatusOK, answer: ListAnswer{}, answerHeaders: append([]string{"Link"}, viewHeaders...),
		codes:  append([]string{"cursor-invalid", "cursor-of-another-question", "cursor-foreign"}, readCodes...),
		handle: (*server).getCustomerOrders,
	},
	{
		method: "GET", path: "/v1/stats", scope: ScopeRead, class: searches, summary: "Sums over orders, per currency",
		params: []param{
			{name: "from", kind: day, doc: "First day orders were placed on, UTC."},
			{name: "to", kind: day, doc: "Last day, included."},
			{name: "top", kind: integer, min: 1, max: query.MaxTop, doc: "So many products by units and by amount; only without from and to."},
		},
		headers: readHeaders, status: http.StatusOK, answer: view.Stats{}, answerHeaders: viewHeaders, codes: append([]string{"day-invalid", "range-is-empty", "top-out-of-range"}, readCodes...), handle: (*server).getStats,
	},

	{
		method: "GET", path: "/v1/read-models", scope: ScopeRead, class: reads, summary: "The read models of this docket, and what may be asked of them",
		status: http.StatusOK, answer: ReadModelsAnswer{}, handle: (*server).listReadModels,
	},
	{
		method: "GET", path: "/v1/read-models/{name}/orders/{id}", scope: ScopeRead, class: reads, summary: "The document of one order in a read model",
		headers: readHeaders, status: http.StatusOK, answer: ModelDocumentAnswer{},
		answerHeaders: append([]string{"Read-Revision", "Read-Position", "Read-Source"}, viewHeaders...),
		codes:         append([]string{errNoReadModel.Code, query.ErrOrderUnknown.Code}, readCodes...), handle: (*server).getModelDocument,
	},
	{
		method: "GET", path: "/v1/read-models/{name}/{question}", scope: ScopeRead, class: searches,
		summary:  "Ask a read model: /v1/read-models says what, and with which parameters beside these; a list is a page of items, with total and next",
		params:   []param{limitParam, {name: "cursor", doc: "next of the page before. The other parameters must stay the same."}},
		ownQuery: true, headers: readHeaders, status: http.StatusOK, answer: rawjson.RawMessage{}, answerHeaders: append([]string{"Link"}, viewHeaders...),
		codes: append([]string{errNoReadModel.Code, readmodel.ErrQuestion.Code, "cursor-invalid", "cursor-of-another-question", "cursor-foreign"}, readCodes...), handle: (*server).askModel,
	},

	{
		method: "GET", path: "/v1/projections", scope: ScopeOperate, summary: "The projections and their generations", headers: []string{"Prefer"},
		status: http.StatusOK, answer: ProjectionsAnswer{}, handle: (*server).listProjections,
	},
	{
		method: "POST", path: "/v1/projections/{name}/rebuilds", scope: ScopeOperate,
		summary: "Build a new generation from the whole log, beside the one in force, and then ask, or switch to it",
		body:    RebuildBody{}, example: `{"then":"switch-only","fields":["/totals/grand"],"share":0.5,"reason":"discounts were counted twice"}`,
		status: http.StatusAccepted, answer: RebuildAnswer{},
		codes: append([]string{"rebuild-running", "program-older", errNoProjection.Code}, operationCodes...), handle: ofProjection((*server).startRebuild),
	},
	{
		method: "GET", path: "/v1/projections/{name}/rebuilds", scope: ScopeOperate, summary: "The last rebuilds, newest first",
		status: http.StatusOK, answer: RebuildsAnswer{}, codes: []string{errNoProjection.Code}, handle: ofProjection((*server).listRebuilds),
	},
	{
		method: "GET", path: "/v1/projections/{name}/rebuilds/{generation}", scope: ScopeOperate,
		summary: "How far a rebuild is; as text/event-stream until it is over: events progress, then end",
		headers: []string{"Accept", "Last-Event-ID"},
		status:  http.StatusOK, answer: RebuildAnswer{}, codes: []string{errNoProjection.Code, errNoRebuild.Code, "overloaded", "too-many-requests"}, handle: ofProjection((*server).getRebuild),
	},
	{
		method: "DELETE", path: "/v1/projections/{name}/rebuilds/{generation}", scope: ScopeOperate,
		summary: "End a rebuild, or give up the generation that it has made", body: struct{}{}, example: `{}`, status: http.StatusOK, answer: GoneAnswer{},
		codes: append([]string{"generation-in-force", "rebuild-over", errNoProjection.Code, errNoRebuild.Code}, operationCodes...), handle: ofProjection((*server).cancelRebuild),
	},
	{
		method: "GET", path: "/v1/projections/{name}/diff", scope: ScopeOperate,
		summary: "What a switch to the rebuilt generation would change, and why; 202 while it is being compared",
		params:  []param{{name: "fresh", kind: boolean, doc: "Compare again, also when there is a comparison; one that runs is joined."}},
		headers: []string{"Prefer"}, status: http.StatusOK, answer: GenerationsAnswer{},
		codes: []string{"no-candidate", "rebuild-not-ready", "program-older", "view-unavailable", errNoProjection.Code}, handle: ofProjection((*server).getDifference),
	},
	{
		method: "POST", path: "/v1/projections/{name}/switch", scope: ScopeOperate, summary: "Make the rebuilt generation the one in force, in every store at once",
		body: SwitchBody{}, example: `{"generation":2}`, status: http.StatusOK, answer: SwitchAnswer{},
		codes: append([]string{"no-candidate", "another-candidate", "rebuild-not-ready", errNoProjection.Code}, operationCodes...), handle: ofProjection((*server).switchGeneration),
	},
	{
		method: "POST", path: "/v1/projections/{name}/rollback", scope: ScopeOperate, summary: "Return to the generation that was in force before",
		body: RollbackBody{}, example: `{"acceptStale":true}`, status: http.StatusOK, answer: SwitchAnswer{},
		codes: append([]string{"no-previous", "generation-stale", errNoProjection.Code}, operationCodes...), handle: ofProjection((*server).rollBack),
	},
	{
		method: "DELETE", path: "/v1/projections/{name}/generations/{generation}", scope: ScopeOperate,
		summary: "Give up a generation that is not in force", body: struct{}{}, example: `{}`, status: http.StatusOK, answer: GoneAnswer{},
		codes: append([]string{"generation-in-force", errNoProjection.Code, errNoGeneration.Code}, operationCodes...), handle: ofProjection((*server).dropGeneration),
	},
	{
		method: "POST", path: "/v1/projections/{name}/orders/{id}/reprojections", scope: ScopeOperate,
		summary: "Make the views of one order again from its events, in the generation in force", body: struct{}{}, example: `{}`,
		status: http.StatusOK, answer: ReprojectionAnswer{},
		codes: append([]string{order.ErrUnknown.Code, "read-model-parked", "rebuild-running", errNoProjection.Code}, operationCodes...), handle: ofProjection((*server).reproject),
	},
	{
		method: "GET", path: "/v1/projections/{name}/parked", scope: ScopeOperate, summary: "Orders the view cannot follow",
		status: http.StatusOK, answer: ParkedAnswer{}, codes: []string{"view-unavailable", errNoProjection.Code}, handle: ofProjection((*server).listParked),
	},
	{
		method: "POST", path: "/v1/projections/{name}/parked/{stream}/retry", scope: ScopeOperate,
		summary: "Apply a parked order's stream again", body: struct{}{}, example: `{}`, status: http.StatusOK, answer: RetryAnswer{},
		codes:  []string{"invalid-body", "unsupported-media-type", "body-too-large", "read-model-parked", "view-unavailable", errNoProjection.Code, errNotParked.Code},
		handle: ofProjection((*server).retryParked),
	},

	{
		method: "POST", path: "/v1/reconciliations", scope: ScopeOperate,
		summary: "Compare the log with everything the views keep; one run at a time, which goes on after the answer",
		headers: []string{"Prefer"}, body: ReconcileBody{}, example: `{"repair":true}`,
		status: http.StatusAccepted, answer: reconcile.Report{},
		codes:  []string{"invalid-body", "invalid-header", "unsupported-media-type", "body-too-large", "reconciliation-running", order.ErrID.Code},
		handle: (*server).startReconciliation,
	},
	{
		method: "GET", path: "/v1/reconciliations", scope: ScopeOperate, summary: "Runs, newest first, without their findings",
		params: []param{{name: "limit", kind: integer, min: 1, max: 100, doc: "20 when absent."}},
		status: http.StatusOK, answer: ReconciliationsAnswer{}, handle: (*server).listReconciliations,
	},
	{
		method: "GET", path: "/v1/reconciliations/{rid}", scope: ScopeOperate, summary: "What a run found, as far as it is",
		status: http.StatusOK, answer: reconcile.Report{}, codes: []string{errNoReconciliation.Code}, handle: (*server).getReconciliation,
	},

	{method: "GET", path: "/healthz", summary: "The process lives", status: http.StatusOK, answer: HealthAnswer{}, handle: (*server).healthz},
	{
		method: "GET", path: "/readyz", summary: "What the process can serve; 503 with the same body when that is nothing",
		status: http.StatusOK, answer: ReadyAnswer{}, handle: (*server).readyz,
	},
	{
		method: "GET", path: "/metrics", scope: ScopeOperate, summary: "Metrics for Prometheus", status: http.StatusOK,
		answer: "", answerType: "text/plain", handle: (*server).getMetrics,
	},
	{
		method: "GET", path: "/openapi.json", summary: "This document", status: http.StatusOK, answer: map[string]any{},
		handle: (*server).getOpenAPI,
	},
}
