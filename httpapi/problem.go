package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/reconcile"
)

// Problem is the body of every error: RFC 9457 with a stable code.
type Problem struct {
	Type     string       `json:"type"` // urn:docket:problem:<code>
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"` // path of the request
	Code     string       `json:"code"`
	Errors   []FieldError `json:"errors,omitempty"`
	TraceID  string       `json:"traceId,omitempty"`

	// CurrentRevision of the order, with precondition-failed.
	CurrentRevision *int64 `json:"currentRevision,omitempty"`
	// WantedPosition and ReadPosition, with read-model-behind: where the write
	// is in the log, and how far the view is.
	WantedPosition string `json:"wantedPosition,omitempty"`
	ReadPosition   string `json:"readPosition,omitempty"`
	// Generation that is being made, or waits, with rebuild-running and
	// rebuild-not-ready.
	Generation int `json:"generation,omitzero"`
	// ReconciliationID, with reconciliation-running.
	ReconciliationID string `json:"reconciliationId,omitempty"`

	retryAfter int    // seconds; 0: no header
	etag       string // of what is there now
	allow      string // methods, with method-not-allowed
	cause      error  // for the log only
}

// FieldError is one place in a request and what is wrong there. Exactly one of
// Pointer (a JSON Pointer, RFC 6901, into the body), Parameter and Header is
// set; Pointer is "" for the whole body.
type FieldError struct {
	Pointer   *string `json:"pointer,omitempty"`
	Parameter string  `json:"parameter,omitempty"`
	Header    string  `json:"header,omitempty"`
	Detail    string  `json:"detail"`
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

func (p *Problem) Unwrap() error { return p.cause }

// problemStatus is the one table from codes to statuses. Refusals by a rule go by
// their kind, see statusOfRule.
var problemStatus = map[string]statusTitle{
	"invalid-body":            {400, "The body is not what this route takes"},
	"invalid-parameter":       {400, "A query parameter is wrong"},
	"invalid-header":          {400, "A header is wrong"},
	"unauthenticated":         {401, "A valid API key is needed"},
	"forbidden":               {403, "The API key does not allow this"},
	"wrong-host":              {403, "The Host header is not this machine's loopback address"},
	"not-found":               {404, "There is nothing here"},
	"method-not-allowed":      {405, "The method is not allowed here"},
	"no-candidate":            {404, "No rebuilt generation waits to be switched to"},
	"another-candidate":       {409, "Another rebuilt generation waits to be switched to"},
	"program-older":           {409, "The views were made by a newer docket"},
	"no-previous":             {404, "There is no earlier generation to return to"},
	"generation-in-force":     {409, "The generation is in force"},
	"generation-stale":        {409, "The generation is not kept up to date any more"},
	"rebuild-not-ready":       {409, "The rebuilt generation has not caught up yet"},
	"rebuild-over":            {409, "The rebuild has ended"},
	"rebuild-running":         {409, "A rebuild of this projection is running"},
	"reconciliation-running":  {409, "A reconciliation is running"},
	"order-deleted":           {410, "The order was deleted"},
	"precondition-failed":     {412, "The order is at another revision"},
	"body-too-large":          {413, "The body is too large"},
	"change-too-large":        {413, "The change is larger than one append may be"},
	"url-too-long":            {414, "The URL is too long"},
	"unsupported-media-type":  {415, "The content type is not what this route takes"},
	"key-reused":              {422, "The idempotency key was used for another request"},
	"at-in-future":            {422, "The business time is in the future"},
	"precondition-required":   {428, "If-Match is required"},
	"too-many-requests":       {429, "This caller asks for too much at once; nothing was done"},
	"header-too-large":        {431, "The header is too large"},
	"internal":                {500, "Internal error"},
	"busy":                    {503, "Others change this order right now; nothing was written"},
	"event-store-unavailable": {503, "The event store does not answer"},
	"outcome-unknown":         {503, "It is not known whether this was done; repeat with this key"},
	"overloaded":              {503, "Too much work is waiting; nothing was done"},
	"read-only":               {503, "The event store does not accept writes"},
	"read-model-behind":       {503, "The view has not seen that write yet"},
	"read-model-parked":       {503, "The view cannot follow this order"},
	"unavailable":             {503, "Not available right now"},
	"view-unavailable":        {503, "The view that answers this is not available"},
}

// kindStatus is the status of a refusal by the domain.
var kindStatus = map[domain.Kind]statusTitle{
	domain.Invalid:  {422, "The command is not valid"},
	domain.NotFound: {404, "It names something that is not there"},
	domain.Conflict: {409, "The order's state does not allow it"},
}

type statusTitle struct {
	status int
	title  string
}

// problem makes a problem with a code of the table.
func problem(code, format string, args ...any) *Problem {
	row, ok := problemStatus[code]
	if !ok {
		panic("httpapi: no status for code " + code)
	}
	return &Problem{
		Type: problemType(code), Title: row.title, Status: row.status, Code: code,
		Detail: fmt.Sprintf(format, args...),
	}
}

func problemType(code string) string { return "urn:docket:problem:" + code }

// at points the problem at a place in the body.
func (p *Problem) at(pointer, detail string) *Problem {
	p.Errors = append(p.Errors, FieldError{Pointer: &pointer, Detail: detail})
	return p
}

func (p *Problem) retry(seconds int) *Problem { p.retryAfter = seconds; return p }

func (p *Problem) because(err error) *Problem { p.cause = err; return p }

// badParameter refuses a query parameter.
func badParameter(name, format string, args ...any) *Problem {
	detail := fmt.Sprintf(format, args...)
	p := problem("invalid-parameter", "%s: %s", name, detail)
	p.Errors = []FieldError{{Parameter: name, Detail: detail}}
	return p
}

// badHeader refuses a header.
func badHeader(name, format string, args ...any) *Problem {
	detail := fmt.Sprintf(format, args...)
	p := problem("invalid-header", "%s: %s", name, detail)
	p.Errors = []FieldError{{Header: name, Detail: detail}}
	return p
}

// problemOf turns any error into what the caller may see. What it does not know
// is an internal error whose chain stays in the log.
func problemOf(err error) *Problem {
	var (
		known        *Problem
		rejection    *domain.Rejection
		precondition *command.PreconditionError
		behind       *query.BehindError
	)
	switch {
	case errors.As(err, &known):
		return known
	// First of all: whatever else went wrong, no answer may invite a duplicate.
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return problem("outcome-unknown", "send the same request again with the Idempotency-Key of this answer").retry(1).because(err)
	case errors.As(err, &rejection):
		return refusal(rejection)
	case errors.As(err, &precondition):
		p := problem("precondition-failed", "the order does not exist")
		if precondition.Current >= 0 {
			current := int64(precondition.Current)
			p.Detail = fmt.Sprintf("the order is at revision %d", current)
			p.CurrentRevision = &current
			p.etag = etag(current)
		}
		return p
	case errors.Is(err, command.ErrKeyReused):
		return problem("key-reused", "a key belongs to one request; send this one with a new key")
	case errors.Is(err, command.ErrFuture):
		return problem("at-in-future", "%v", command.ErrFuture).at("/at", "must not be in the future")
	case errors.Is(err, command.ErrBusy):
		return problem("busy", "repeat the command").retry(1).because(err)
	case errors.Is(err, eventstore.ErrOverloaded):
		return problem("overloaded", "repeat the command later").retry(2).because(err)
	case errors.Is(err, eventstore.ErrUnavailable):
		return problem("event-store-unavailable", "this request changed nothing; repeat it later, a command with the Idempotency-Key of this answer: an earlier one may have been done").retry(2).because(err)
	case errors.Is(err, eventstore.ErrReadOnly):
		return problem("read-only", "an operator has to act first").retry(60).because(err)
	case errors.Is(err, eventstore.ErrTooLarge):
		return problem("change-too-large", "%v", eventstore.ErrTooLarge)
	case errors.Is(err, eventstore.ErrDeleted):
		return problem("order-deleted", "its id cannot be used again")
	case errors.As(err, &behind):
		p := problem("read-model-behind", "%v", behind).retry(1)
		p.WantedPosition, p.ReadPosition = behind.WantPosition, behind.HavePosition
		return p
	case errors.Is(err, query.ErrParked), errors.Is(err, projections.ErrParked):
		return problem("read-model-parked", "%v", err)
	case errors.Is(err, projections.ErrRebuilding):
		return problem("rebuild-running", "see %s", pathOf(projectionIn(err), "rebuilds")).because(err)
	case errors.Is(err, projections.ErrNoCandidate):
		return problem("no-candidate", "POST %s makes one", pathOf(projectionIn(err), "rebuilds"))
	case errors.Is(err, projections.ErrAnotherCandidate):
		return problem("another-candidate", "%v; GET %s says what it would change", err, pathOf(projectionIn(err), "diff"))
	case errors.Is(err, projections.ErrOlderProgram):
		return problem("program-older", "ask a docket of the newer version")
	case errors.Is(err, projections.ErrNotReady):
		return problem("rebuild-not-ready", "GET %s says how far it is", pathOf(projectionIn(err), "rebuilds")).retry(notReadyRetry)
	case errors.Is(err, projections.ErrNoPrevious):
		return problem("no-previous", "it was dropped, or there was never a switch; see /v1/projections")
	case errors.Is(err, projections.ErrStale):
		return problem("generation-stale", "no running docket carries the version that feeds it: it stands still, and what was written since is not in its lists, customers and sums, nor in its orders; "+
			`{"acceptStale":true} returns to it all the same, or start a docket of that version first`)
	case errors.Is(err, projections.ErrServed):
		return problem("generation-in-force", "switch to another one first, or roll back")
	case errors.Is(err, projections.ErrNoGeneration):
		return refusal(errNoGeneration)
	case errors.Is(err, reconcile.ErrClosed):
		return problem("unavailable", "docket is stopping").retry(1).because(err)
	case errors.Is(err, query.ErrUnavailable), errors.Is(err, projections.ErrUnavailable), errors.Is(err, projections.ErrLost):
		return problem("view-unavailable", "the store of the view does not answer, or is being filled again from the log; repeat later").retry(5).because(err)
	case errors.Is(err, query.ErrNotReady), errors.Is(err, projections.ErrClosed):
		return problem("unavailable", "the views are being opened").retry(1).because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return problem("unavailable", "the request was given up before it was answered").retry(1).because(err)
	}
	return problem("internal", "").because(err)
}

// refusal words a rule's no.
func refusal(r *domain.Rejection) *Problem {
	row := statusOfRule(r)
	p := &Problem{Type: problemType(r.Code), Title: row.title, Status: row.status, Code: r.Code, Detail: r.Error()}
	switch {
	case r.Field == "":
	case inBody(r):
		p.at(r.Field, r.Error())
	case r.Field[0] >= 'A' && r.Field[0] <= 'Z':
		p.Errors = []FieldError{{Header: r.Field, Detail: r.Error()}}
	default:
		p.Errors = []FieldError{{Parameter: r.Field, Detail: r.Error()}}
	}
	return p
}

// inBody reports whether the refused field is one of the body: a JSON Pointer
// begins with a slash, the name of a header with a capital letter.
func inBody(r *domain.Rejection) bool { return r.Field != "" && r.Field[0] == '/' }

// statusOfRule goes by the kind of the refusal; a query parameter or a header
// that is wrong is 400.
func statusOfRule(r *domain.Rejection) statusTitle {
	if r.Kind == domain.Invalid && r.Field != "" && !inBody(r) {
		return statusTitle{http.StatusBadRequest, "The question is not valid"}
	}
	row, ok := kindStatus[r.Kind]
	if !ok {
		panic("httpapi: refusal " + r.Code + " has no kind")
	}
	return row
}

// writeProblem answers a problem. Headers set before (Idempotency-Key) stay.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	body := *p
	if body.Instance == "" {
		body.Instance = r.URL.EscapedPath()
	}
	if e := exchangeOf(r.Context()); e != nil {
		body.TraceID = e.traceID
		e.problem = p
	}
	h := w.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.etag != "" {
		h.Set("ETag", p.etag)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="docket"`)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/problem+json")
	data, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode a problem: %v", err))
	}
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(data, '\n'))
}

// refusals are those of the read side and of this package, for the document.
func refusals() []*domain.Rejection {
	return []*domain.Rejection{
		query.ErrOrderUnknown, query.ErrCustomerUnknown, query.ErrRevisionUnknown, query.ErrTokenInvalid, query.ErrTokenForeign,
		query.ErrCursorInvalid, query.ErrCursorQuestion, query.ErrCursorForeign, query.ErrCurrency, query.ErrRange.At("placedTo"),
		query.ErrValue.At("tag"), query.ErrValues.At("tag"), query.ErrWords, query.ErrAmount.At("minTotal"), query.ErrDay.At("from"), query.ErrTop,
		query.ErrPositionUnknown, query.ErrCutBefore, query.ErrCutFuture.At("asOf"), query.ErrCuts, query.ErrHistoryUnreadable,
		audit.ErrFieldUnknown,
		errNoProjection, errNoRebuild, errNoGeneration, errNotParked, errNoReconciliation, errNoReadModel, readmodel.ErrQuestion,
	}
}
