package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/view"
)

// PlaceBody is the body of POST /v1/orders. Without an id one is derived from
// the idempotency key.
type PlaceBody struct {
	ID string `json:"id,omitempty"`
	order.Place
}

// CommandAnswer says what a command did; no events when there was nothing to do.
type CommandAnswer struct {
	ID       string      `json:"id"`
	Revision int64       `json:"revision"` // of the order after the command
	Events   []EventRef  `json:"events"`
	Order    *view.Order `json:"order,omitempty"` // at that revision; with Prefer: return=representation
}

// EventRef names an event.
type EventRef struct {
	ID       uuid.UUID `json:"id"`
	Type     string    `json:"type"`
	Revision int64     `json:"revision"`
}

// DryRunAnswer says what a command would do.
type DryRunAnswer struct {
	DryRun   bool           `json:"dryRun"` // true
	ID       string         `json:"id"`
	Revision int64          `json:"revision"` // the order would have
	Events   []PlannedEvent `json:"events"`
	Order    *view.Order    `json:"order,omitempty"` // as it would be
	// TotalsChange is absent for an order that is not there before and after.
	TotalsChange *TotalsChange `json:"totalsChange,omitempty"`
}

// PlannedEvent is an event that would be written.
type PlannedEvent struct {
	EventRef
	Data jsontext.Value `json:"data"`
}

// TotalsChange compares an order's totals; before is absent for a new order.
type TotalsChange struct {
	Before *view.Totals `json:"before,omitempty"`
	After  view.Totals  `json:"after"`
}

// commandRoute is a command on an order that exists. fill puts in what stands
// in the path.
func commandRoute[C order.Command](method, path, summary, example string, fill func(c *C, r *request)) route {
	body := readerOf[C]()
	return route{
		method: method, path: path, scope: ScopeWrite, class: commands, summary: summary,
		params: []param{dryRunParam}, headers: []string{"Idempotency-Key", "If-Match", "Prefer"},
		body: *new(C), example: example, status: http.StatusOK, answer: CommandAnswer{},
		codes: commandCodes,
		handle: func(s *server, w http.ResponseWriter, r *request) error {
			return s.command(w, r, func(data []byte) (string, order.Command, error) {
				c, err := body.read(data)
				if err != nil {
					return "", nil, err
				}
				if fill != nil {
					fill(&c, r)
				}
				id := r.PathValue("id")
				if !order.ValidID(id) {
					return "", nil, order.ErrUnknown
				}
				return id, c, nil
			})
		},
	}
}

var placeReader = readerOf[PlaceBody]()

// BodyReader makes what reads bodies of one type as they are read when served.
// Make it once.
func BodyReader[T any]() func(data []byte) (T, error) { return readerOf[T]().read }

// place is the one command on an order that does not exist.
func (s *server) place(w http.ResponseWriter, r *request) error {
	return s.command(w, r, func(data []byte) (string, order.Command, error) {
		body, err := placeReader.read(data)
		if err != nil {
			return "", nil, err
		}
		if body.ID == "" {
			return "", body.Place, nil
		}
		if !order.ValidID(body.ID) {
			return "", nil, order.ErrID.At("/id")
		}
		return body.ID, body.Place, nil
	})
}

// command carries one command from the request to the write side and answers.
// read makes the command of the body, and the id of the order; none for a
// create that leaves the id to us.
func (s *server) command(w http.ResponseWriter, r *request, read func(data []byte) (string, order.Command, error)) error {
	key, err := idempotencyKey(r.Request)
	if err != nil {
		return err
	}
	r.key = key
	w.Header().Set("Idempotency-Key", key)

	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	if err := s.gates.enter(r, commands); err != nil {
		return err
	}
	id, cmd, err := read(data)
	if err != nil {
		return err
	}
	prefer, err := parsePrefer(r.Request, s.o.Limits.WaitTime)
	if err != nil {
		return err
	}
	_, creates := cmd.(order.Place)
	req := command.Request{
		CommandID:   command.KeyID(r.who.name, id, key),
		Fingerprint: fingerprint(r.Method, r.URL.Path, data),
		Actor:       r.who.name,
		TraceParent: r.traceParent,
		DryRun:      r.query.is("dryRun"),
	}
	if id == "" {
		id = command.OrderIDFor(r.who.name, key)
	}
	if r.correlation == "" {
		r.correlation = req.CommandID.String()
		w.Header().Set("X-Correlation-Id", r.correlation)
	}
	req.CorrelationID, req.CausationID = r.correlation, r.causation
	if req.IfMatch, err = ifMatch(r.Request); err != nil {
		return err
	}
	if req.IfMatch == nil && s.o.RequireIfMatch && !creates && !req.DryRun {
		return problem("precondition-required", "send If-Match with the ETag of the order")
	}

	r.exchange.command = cmd.Name()
	result, err := s.handle(r.Context(), id, cmd, req)
	if err != nil {
		return err
	}
	if result.Revision >= 0 {
		w.Header().Set("ETag", etag(int64(result.Revision)))
	}
	if result.Replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	if req.DryRun {
		body, err := s.dryRunAnswer(r.Context(), result)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, body)
	}
	w.Header().Set("Consistency-Token", query.Token{
		Log: s.o.Log, OrderID: id, Revision: result.Revision, Position: result.Position,
	}.String())
	body := CommandAnswer{ID: result.ID, Revision: int64(result.Revision), Events: make([]EventRef, len(result.Events))}
	for i, e := range result.Events {
		body.Events[i] = refOf(e)
	}
	if prefer.representation {
		w.Header().Set("Preference-Applied", "return=representation")
		doc, err := s.o.Query.OrderAt(r.Context(), id, result.Revision)
		if err == nil {
			body.Order = &doc
		} else { // the command is done all the same
			s.o.Logger.WarnContext(r.Context(), "order of an answer", "order", id, "traceId", r.traceID, "error", err)
		}
	}
	status := http.StatusOK
	if creates {
		w.Header().Set("Location", "/v1/orders/"+id)
		if len(body.Events) > 0 { // none: the very same order was placed before
			status = http.StatusCreated
		}
	}
	return writeJSON(w, status, body)
}

// handle runs a command to its end although its caller may hang up: what was
// accepted is finished.
func (s *server) handle(ctx context.Context, id string, cmd order.Command, req command.Request) (command.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Limits.CommandTime)
	defer cancel()
	result, err := s.o.Orders.Handle(ctx, id, cmd, req)
	switch {
	case errors.Is(err, eventstore.ErrReadOnly):
		s.readOnly.Store(true)
	case err == nil && len(result.Events) > 0 && !result.Replayed && !req.DryRun:
		s.readOnly.Store(false)
	}
	s.metrics.commands.WithLabelValues(cmd.Name(), outcomeOf(result, req, err)).Inc()
	return result, err
}

func outcomeOf(result command.Result, req command.Request, err error) string {
	var rejection *domain.Rejection
	switch {
	case err == nil && req.DryRun:
		return "dry-run"
	case err == nil && result.Replayed:
		return "replayed"
	case err == nil && len(result.Events) == 0:
		return "nothing-to-do"
	case err == nil:
		return "done"
	case errors.As(err, &rejection):
		return "refused"
	}
	if p := problemOf(err); p.Status < 500 {
		return "refused"
	}
	return "failed"
}

func (s *server) dryRunAnswer(ctx context.Context, result command.Result) (DryRunAnswer, error) {
	body := DryRunAnswer{
		DryRun: true, ID: result.ID, Revision: int64(result.Revision), Events: make([]PlannedEvent, len(result.Events)),
	}
	for i, e := range result.Events {
		_, data, err := codec.Encode(e.Event)
		if err != nil {
			return DryRunAnswer{}, fmt.Errorf("encode an event of a dry run: %w", err)
		}
		body.Events[i] = PlannedEvent{refOf(e), data}
	}
	if result.Revision < 0 {
		return body, nil
	}
	base := result.Revision - eventstore.Revision(len(result.Events))
	var change TotalsChange
	if base >= 0 {
		before, err := s.o.Query.OrderAt(ctx, result.ID, base)
		if err != nil {
			return DryRunAnswer{}, fmt.Errorf("order before a dry run: %w", err)
		}
		change.Before = &before.Totals
	}
	after, err := s.o.Query.Preview(ctx, result.ID, base, result.Events)
	if err != nil {
		return DryRunAnswer{}, fmt.Errorf("order after a dry run: %w", err)
	}
	change.After = after.Totals
	body.Order, body.TotalsChange = &after, &change
	return body, nil
}

func refOf(e codec.Recorded) EventRef {
	return EventRef{ID: e.EventID, Type: e.Type, Revision: int64(e.Revision)}
}

// idempotencyKey is the caller's, or a new one.
func idempotencyKey(r *http.Request) (string, error) {
	key, err := header(r, "Idempotency-Key")
	if err != nil {
		return "", err
	}
	if key == "" && len(r.Header.Values("Idempotency-Key")) == 0 {
		return uuid.Must(uuid.NewV7()).String(), nil
	}
	if key == "" || len(key) > 255 || !visible(key) {
		return "", badHeader("Idempotency-Key", "want 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// fingerprint tells requests apart that carry the same key. White space, the
// order of fields and the way a character is escaped make no difference.
func fingerprint(method, path string, body []byte) string {
	canonical := jsontext.Value(append([]byte(nil), body...))
	if canonical.Format(jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawInts(false)) != nil {
		canonical = jsontext.Value("{}") // only an empty body decodes without being JSON
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", method, path)
	sum.Write(canonical)
	return hex.EncodeToString(sum.Sum(nil))
}

// ifMatch reads If-Match: "17", "17.g3" of a view (the revision part counts),
// or * for an order that exists.
func ifMatch(r *http.Request) (*eventstore.Expected, error) {
	v, err := header(r, "If-Match")
	if err != nil || v == "" && len(r.Header.Values("If-Match")) == 0 {
		return nil, err
	}
	if v == "*" {
		exists := eventstore.StreamExists
		return &exists, nil
	}
	revision, ok := revisionOf(v)
	if !ok {
		return nil, badHeader("If-Match", `want one ETag of an order, such as "17" or "17.g3", or *`)
	}
	expected := eventstore.At(eventstore.Revision(revision))
	return &expected, nil
}

// revisionOf is the revision in an ETag.
func revisionOf(tag string) (int64, bool) {
	inner, ok := strings.CutPrefix(tag, `"`)
	if !ok {
		return 0, false
	}
	if inner, ok = strings.CutSuffix(inner, `"`); !ok {
		return 0, false
	}
	number, generation, viewed := strings.Cut(inner, ".g")
	if viewed && !digits(generation) || !digits(number) {
		return 0, false
	}
	revision, err := strconv.ParseInt(number, 10, 64)
	return revision, err == nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
