package httpapi

import (
	"cmp"
	rawjson "encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

type object = map[string]any

// headerDocs describes the request headers that routes take.
var headerDocs = map[string]string{
	"Idempotency-Key": "1 to 255 visible ASCII characters. The same key with the same request has one effect and the same answer; without one the server makes a key and answers it.",
	"If-Match":        `ETag of the order, "17" or "17.g3" (the revision counts), or *.`,
	"If-None-Match":   "ETag of an earlier answer; 304 when it is still the same.",
	"Prefer":          "Commands: return=representation. Reads: wait=SECONDS, how long to wait for the Consistency-Token. Reconciliations and differences of generations: wait=SECONDS, how long to wait for the end.",
	"Consistency-Token": "Of a command's answer: the read sees that write, or says that it is not there yet. What the log answers (an order at a point in the past, " +
		"/events, /diff, /why, /refusals) holds every acknowledged write: nothing is waited for there, and only a token that is malformed or of another log is refused.",
	"Accept":           "text/event-stream: events as it goes on, until it is over; anything else: the answer as JSON.",
	"Last-Event-ID":    "Id of the last event that arrived. Each event tells all there is to know, so none is missed; after the end it is 204.",
	"X-Correlation-Id": "The matter that this request belongs to, 1 to 128 visible ASCII characters. It is answered, logged, and recorded with what a command wrote or with its refusal; a command without one gets the id of the command.",
	"X-Causation-Id":   "What made the caller send this, for example the id of an event: 1 to 128 visible ASCII characters. It is recorded with what the command wrote, or with its refusal.",
}

// answerHeaderDocs describes the headers of successful answers.
var answerHeaderDocs = map[string]string{
	"Link":            `Where the next page is: <path>; rel="next". Absent on the last page.`,
	"ETag":            "Of this answer, for If-None-Match and If-Match; absent with include=actions and for an order as it was.",
	"Read-Revision":   "Revision of the order that the answer tells of.",
	"Read-Position":   "Position in the log of the last event that is in the answer.",
	"Read-Source":     "log: folded from the log, since it is of the past or no view has the order yet. Absent: from a view.",
	"Read-Generation": "Generation of the view that answered; absent for an order as it was, and while the event store does not answer.",
	"Read-Lag-Ms":     "How far the view was behind the log, in milliseconds; absent for an order as it was, and while the event store does not answer.",
}

// fieldDocs describes fields of answers whose names do not say enough.
var fieldDocs = map[string]string{
	"RebuildBody.then":              "What becomes of the generation: ask (wait for a switch; when absent), switch, switch-if-equal (when nothing differs, else ask), switch-only (when nothing but fields differs, else ask).",
	"RebuildBody.fields":            "Fields that may differ with switch-only: paths of the order document, elements of lists as *, with all that is below them: /lines/*/quantity.",
	"RebuildBody.share":             "Of the machine that the build may take: above 0, at most 1, which is unthrottled; 0.5 when absent. It takes less while live traffic is slowed down.",
	"RebuildBody.reason":            "For whoever reads the history.",
	"RollbackBody.acceptStale":      "Return also to a generation that stands still since no running docket carries its version: what was written since is not in it.",
	"GenerationAnswer.served":       "It is the one that answers here.",
	"GenerationAnswer.state":        "live: in force. previous: in force before, kept up to date for a rollback. building, ready: made by a rebuild. frozen: no running docket carries its version, it stands still. newer: than this program can read. away: the store does not answer. left over: it is being removed.",
	"ProjectionAnswer.rebuild":      "The newest, whatever became of it.",
	"ProjectionAnswer.notes":        "What is unusual, in words.",
	"ProjectionAnswer.next":         "What may be typed now.",
	"GenerationsAnswer.same":        "Nothing would change, in any store.",
	"ReadModelAnswer.version":       "Of this program.",
	"QuestionAnswer.name":           "The last part of the path.",
	"QuestionAnswer.parameters":     "Beside limit and cursor, which every question takes.",
	"ParameterAnswer.type":          "integer, from min to max; or text, of 1 to 200 characters.",
	"ModelDocumentAnswer.document":  "What the read model keeps of the order, as it says.",
	"ModelDocumentAnswer.revision":  "Of the order: of the last event in the document.",
	"ModelDocumentAnswer.degraded":  "Why the document lags behind its order.",
	"HistoryAnswer.revision":        "Of the order at the cut: the highest revision that is among its events.",
	"HistoryAnswer.next":            "The parameter after of the next page; absent on the last one.",
	"DiffAnswer.changes":            "By path; empty when the order is the same at both points.",
	"PointAnswer.point":             "As it was asked for.",
	"PointAnswer.revision":          "Of the order at this point: the content that is compared is of this revision.",
	"WhyAnswer.revision":            "Of the order at the cut.",
	"audit.Entry.revision":          "Number of the event in the order, from 0.",
	"audit.Entry.at":                "Business time: when it happened, as the command said.",
	"audit.Entry.effectiveAt":       "The business time by which effectiveAt cuts and sorts: at, or later where the payment, parcel, return, refund, change, hold or order it is about began later.",
	"audit.Entry.recordedAt":        "When it was written to the log, by the clock of the writer: asOf cuts by it.",
	"audit.Entry.causationId":       "X-Causation-Id of the command.",
	"audit.Entry.data":              "The fields of the event as stored.",
	"audit.Origin.path":             "Like a JSON Pointer, with elements of lists named by their id: /lines/L1/quantity; of several with the same id the second is L1#2, and so on.",
	"audit.Origin.value":            "At the cut; null when the field that is asked for was there before and no longer is.",
	"audit.Origin.at":               "Business time of the event.",
	"audit.Origin.recordedAt":       "When the event was written to the log.",
	"fields.FieldChange.path":       "Like a JSON Pointer, with elements of lists named by their id: /lines/L1/quantity; of several with the same id the second is L1#2, and so on. The path of such a list itself tells that its elements changed places.",
	"fields.FieldChange.before":     "Absent when the field was not there.",
	"fields.FieldChange.after":      "Absent when the field is not there.",
	"RefusalsAnswer.items":          "The newest last. Of each caller 60 refusals a minute are recorded on average, and 60 at once; what is beyond is only counted.",
	"RefusalsAnswer.total":          "How many refusals are recorded of the order.",
	"RefusalsAnswer.next":           "The parameter before of the page of older ones; absent on the last one.",
	"RefusalsAnswer.incomplete":     "true: refusals of this order came too fast to be recorded since the server started, or may have. What earlier runs of the server left out is only in unrecorded.",
	"audit.Refused.revision":        "Of the order when the command was refused; -1 when it did not exist.",
	"audit.Refused.target":          "Id of the payment, parcel, return, refund, change or hold that the command names; absent when it is about the whole order, or about something new.",
	"audit.Refused.field":           "JSON Pointer into the command, where the rule names a field.",
	"audit.Refused.unrecorded":      "How many refusals of this caller, on any order, were not recorded between its refusal that was recorded before this one and this one, since they came too fast or could not be written.",
	"audit.Refused.recordedAt":      "When the command was refused, by the clock of the writer.",
	"audit.Refused.causationId":     "X-Causation-Id of the command.",
	"audit.Refused.unrecordedSince": "When the first of the unrecorded ones was refused.",
}

// ofModels reports a field that an order never has: there stores keep what read
// models make of it.
func ofModels(t reflect.Type, f field) bool {
	return t == reflect.TypeFor[view.Order]() && f.name == "model"
}

// document is the OpenAPI 3.1 document of the routes. Schemas come from the Go
// types that are decoded and encoded.
func document(routes []route, version string) []byte {
	d := documenter{schemas: object{}}
	d.schema(reflect.TypeFor[Problem]())
	paths := object{}
	for i := range routes {
		rt := &routes[i]
		item, ok := paths[rt.path].(object)
		if !ok {
			item = object{}
			paths[rt.path] = item
		}
		item[strings.ToLower(rt.method)] = d.operation(rt)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "docket", "version": cmp.Or(version, "dev"),
			"description": "Orders as an event log and its views. Every error is application/problem+json with a stable code.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths": paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{"key": object{
				"type": "http", "scheme": "bearer",
				"description": "An API key; none is needed where the server listens on loopback without a file of keys.",
			}},
		},
	}
	data, err := json.Marshal(doc, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode the OpenAPI document: %v", err))
	}
	return append(data, '\n')
}

type documenter struct {
	schemas object
	closed  bool // the schemas being made are of bodies, which may hold nothing else
}

func (d *documenter) operation(rt *route) object {
	op := object{
		"operationId": operationID(rt), "summary": rt.summary,
		"tags": []string{strings.Split(strings.TrimPrefix(strings.TrimPrefix(rt.path, "/v1"), "/"), "/")[0]},
	}
	var params []object
	for segment := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			params = append(params, object{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"},
			})
		}
	}
	for _, p := range rt.params {
		params = append(params, p.document())
	}
	headers := append(slices.Clone(rt.headers), "X-Correlation-Id")
	if rt.scope == ScopeWrite {
		headers = append(headers, "X-Causation-Id")
	}
	for _, h := range headers {
		params = append(params, object{"name": h, "in": "header", "description": headerDocs[h], "schema": object{"type": "string"}})
	}
	if params != nil {
		op["parameters"] = params
	}
	op["security"] = []object{}
	if rt.scope != scopeNone {
		op["security"] = []object{{"key": []string{string(rt.scope)}}}
	}
	if rt.body != nil {
		d.closed = true
		content := object{"schema": d.schema(reflect.TypeOf(rt.body))}
		d.closed = false
		if rt.example != "" {
			content["example"] = jsontext.Value(rt.example)
		}
		_, none := missing([]byte("{}"), shapeOf(reflect.TypeOf(rt.body)))
		op["requestBody"] = object{
			"required": none, "content": object{cmp.Or(rt.mediaType, "application/json"): content},
		}
	}
	op["responses"] = d.responses(rt)
	return op
}

// responses lists the success and the problems: one response per status, with
// the codes it may carry.
func (d *documenter) responses(rt *route) object {
	schema := d.schema(reflect.TypeOf(rt.answer))
	success := object{
		"description": http.StatusText(rt.status),
		"content":     object{cmp.Or(rt.answerType, "application/json"): object{"schema": schema}},
	}
	responses := object{strconv.Itoa(rt.status): success}
	if len(rt.answerHeaders) > 0 {
		headers := object{}
		for _, h := range rt.answerHeaders {
			headers[h] = object{"description": answerHeaderDocs[h], "schema": object{"type": "string"}}
		}
		success["headers"] = headers
	}
	if _, ok := rt.answer.(CommandAnswer); ok {
		dry := d.schema(reflect.TypeFor[DryRunAnswer]())
		if rt.status == http.StatusOK {
			success["content"] = object{"application/json": object{"schema": object{"anyOf": []any{schema, dry}}}}
		} else {
			responses["200"] = object{"description": "With dryRun=true", "content": object{"application/json": object{"schema": dry}}}
		}
	}
	if slices.Contains(rt.headers, "If-None-Match") {
		responses["304"] = object{"description": http.StatusText(http.StatusNotModified)}
	}
	for status, codes := range problemsOf(rt) {
		// Where a success has the same status as problems, both are told apart by
		// their media type.
		response, ok := responses[strconv.Itoa(status)].(object)
		if !ok {
			response = object{"description": http.StatusText(status), "content": object{}}
			responses[strconv.Itoa(status)] = response
		}
		response["content"].(object)["application/problem+json"] = object{"schema": object{
			"allOf": []any{
				object{"$ref": "#/components/schemas/Problem"},
				object{"properties": object{"code": object{"enum": codes}}},
			},
		}}
	}
	if slices.Contains(rt.headers, "Accept") {
		success["content"].(object)[eventStream] = object{"schema": object{"type": "string"}}
		responses["204"] = object{"description": "The last event that arrived was the end"}
	}
	if _, ok := rt.answer.(GenerationsAnswer); ok {
		responses["202"] = object{"description": "It is being compared; ask again", "content": object{"application/json": object{"schema": d.schema(reflect.TypeFor[ComparingAnswer]())}}}
	}
	if rt.path == "/readyz" {
		responses["503"] = object{"description": "Nothing can be served", "content": success["content"]}
	}
	return responses
}

// problemsOf lists the codes a route may answer, by status.
func problemsOf(rt *route) map[int][]string {
	codes := append([]string{"internal", "wrong-host", "invalid-parameter", "invalid-header", "url-too-long", "header-too-large"}, rt.codes...)
	if rt.class != free || slices.Contains(rt.headers, "Prefer") {
		codes = append(codes, "overloaded", "too-many-requests")
	}
	if rt.scope != scopeNone {
		codes = append(codes, "unauthenticated", "forbidden", "event-store-unavailable")
	}
	byStatus := map[int][]string{}
	for _, code := range codes {
		byStatus[statusOf(code)] = append(byStatus[statusOf(code)], code)
	}
	if _, ok := rt.answer.(CommandAnswer); ok {
		for _, rule := range order.Rules() {
			status := statusOfRule(rule).status
			byStatus[status] = append(byStatus[status], rule.Code)
		}
	}
	for status, codes := range byStatus {
		slices.Sort(codes)
		byStatus[status] = slices.Compact(codes)
	}
	return byStatus
}

// statusOf is the status of a code: of the table, or of the rule.
func statusOf(code string) int {
	if row, ok := problemStatus[code]; ok {
		return row.status
	}
	for _, rule := range append(refusals(), order.Rules()...) {
		if rule.Code == code {
			return statusOfRule(rule).status
		}
	}
	panic("httpapi: no status for code " + code)
}

// operationID is the method and what the path names: postOrdersPaymentsCapture.
func operationID(rt *route) string {
	id := strings.ToLower(rt.method)
	byID := false
	for segment := range strings.SplitSeq(strings.TrimPrefix(rt.path, "/v1"), "/") {
		byID = strings.HasPrefix(segment, "{")
		if byID {
			continue
		}
		for word := range strings.FieldsFuncSeq(segment, func(r rune) bool { return r == '-' || r == '.' }) {
			id += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	if byID {
		id += "ByID"
	}
	return id
}

func (p param) document() object {
	schema := object{"type": "string"}
	switch p.kind {
	case integer:
		schema = object{"type": "integer", "minimum": p.min, "maximum": p.max}
	case boolean:
		schema = object{"type": "boolean"}
	case day:
		schema["format"] = "date"
	case moment:
		schema["format"] = "date-time"
	case instant:
		schema = object{"anyOf": []any{object{"type": "string", "format": "date-time"}, object{"type": "string", "format": "date"}}}
	case decimal:
		schema["pattern"] = decimalPattern
	case place:
		schema["pattern"] = `^[0-9]+(/[0-9]+)?$`
	}
	if len(p.allowed) > 0 {
		schema["enum"] = p.allowed
	}
	out := object{"name": p.name, "in": "query", "schema": schema}
	if p.required {
		out["required"] = true
	}
	if p.many {
		out["schema"] = object{"type": "array", "items": schema, "maxItems": maxValues}
		out["style"], out["explode"] = "form", true
	}
	if p.doc != "" {
		out["description"] = p.doc
	}
	if p.example != "" {
		out["example"] = p.example
	}
	return out
}

const decimalPattern = `^-?[0-9]+(\.[0-9]+)?$`

// schema of a type; structs are named and referred to.
func (d *documenter) schema(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[uuid.UUID]():
		return object{"type": "string", "format": "uuid"}
	case reflect.TypeFor[eventstore.Position]():
		return object{"type": "string", "description": "place in the log"}
	case reflect.TypeFor[money.Currency]():
		return object{"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217"}
	case reflect.TypeFor[jsontext.Value](), reflect.TypeFor[rawjson.RawMessage]():
		return object{}
	case reflect.TypeFor[projections.Then]():
		return object{"type": "string", "enum": thenNames()}
	case reflect.TypeFor[money.Amount]():
		d.schemas["Money"] = object{
			"type": "object", "required": []string{"amount", "currency"}, "additionalProperties": false,
			"properties": object{
				"amount":   object{"type": "string", "pattern": decimalPattern},
				"currency": object{"type": "string", "pattern": "^[A-Z]{3}$"},
			},
		}
		return object{"$ref": "#/components/schemas/Money"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Array:
		return object{"type": "array", "items": d.schema(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.structSchema(t)
	}
	panic("httpapi: no schema for " + t.String())
}

func (d *documenter) structSchema(t reflect.Type) object {
	name := t.Name()
	if name == "" {
		return object{"type": "object", "additionalProperties": false}
	}
	if pkg := path.Base(t.PkgPath()); pkg != "httpapi" {
		name = pkg + "." + name
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if _, ok := d.schemas[name]; ok {
		return ref
	}
	schema := object{"type": "object"}
	if d.closed {
		schema["additionalProperties"] = false
	}
	d.schemas[name] = schema // before its fields, which may refer to it
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		if ofModels(t, f) {
			continue
		}
		property := d.schema(f.typ)
		if doc := fieldDocs[name+"."+f.name]; doc != "" {
			property["description"] = doc
		}
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	schema["properties"] = properties
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}
