package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/projections"
)

// RebuildBody asks for a rebuild; all of it may be left out.
type RebuildBody struct {
	Then   *projections.Then `json:"then,omitempty"`
	Fields []string          `json:"fields,omitempty"`
	Share  *float64          `json:"share,omitempty"`
	Reason string            `json:"reason,omitempty"`
}

// RebuildAnswer is a rebuild. The generation that it makes is its name.
type RebuildAnswer struct {
	Projection string `json:"projection"`
	projections.Rebuild
}

// RebuildsAnswer lists rebuilds, newest first.
type RebuildsAnswer struct {
	Items []RebuildAnswer `json:"items"`
}

// SwitchAnswer says which generation is in force now, and which was before.
type SwitchAnswer struct {
	Generation int `json:"generation"`
	Previous   int `json:"previous,omitzero"`
}

// SwitchBody asks for a switch: to the generation that is named, or, when it is
// absent, to whichever waits.
type SwitchBody struct {
	Generation *int `json:"generation,omitempty"`
}

// meant is the generation that is named; 0 for none.
func (b SwitchBody) meant() (int, error) {
	if b.Generation == nil {
		return 0, nil
	}
	if *b.Generation < 1 {
		const detail = "generations count from 1; without it, whichever waits is switched to"
		return 0, problem("invalid-body", "/generation: %s", detail).at("/generation", detail)
	}
	return *b.Generation, nil
}

// RollbackBody asks for a return to the generation before.
type RollbackBody struct {
	AcceptStale bool `json:"acceptStale,omitempty"`
}

// GoneAnswer says that a generation was given up; status is cancelled or dropped.
type GoneAnswer struct {
	Generation int    `json:"generation"`
	Status     string `json:"status"`
}

// ReprojectionAnswer says what making one order's views again has changed.
type ReprojectionAnswer struct {
	OrderID string              `json:"orderId"`
	Stores  []ReprojectedAnswer `json:"stores"`
}

// ReprojectedAnswer is what changed in one store; no changes: it was right.
type ReprojectedAnswer struct {
	Store   string                `json:"store"`
	Changes []projections.Changed `json:"changes"`
}

var (
	errNoRebuild    = domain.Reject(domain.NotFound, "unknown-rebuild", "there was no such rebuild, or it was long ago")
	errNoGeneration = domain.Reject(domain.NotFound, "unknown-generation", "there is no such generation")
)

var (
	rebuildReader  = readerOf[RebuildBody]()
	rollbackReader = readerOf[RollbackBody]()
	switchReader   = readerOf[SwitchBody]()
)

// Bounds of what a request for a rebuild says.
const (
	maxRebuildFields = 100
	maxReason        = 500 // bytes
)

// asked is what the body asks for, checked; checkField says what is wrong with the
// path of a field.
func (b RebuildBody) asked(checkField func(path string) string) (projections.Request, error) {
	ask := projections.Request{Then: projections.ThenAsk, Fields: b.Fields, Reason: b.Reason}
	if b.Then != nil {
		ask.Then = *b.Then
	}
	wrong := func(pointer, detail string) (projections.Request, error) {
		return projections.Request{}, problem("invalid-body", "%s: %s", pointer, detail).at(pointer, detail)
	}
	switch {
	case !slices.Contains(thens, ask.Then):
		return wrong("/then", "unknown; allowed are "+strings.Join(thenNames(), ", "))
	case len(ask.Fields) > 0 && ask.Then != projections.ThenSwitchOnly:
		return wrong("/fields", "fields belong to then: switch-only")
	case len(ask.Fields) == 0 && ask.Then == projections.ThenSwitchOnly:
		return wrong("/fields", "switch-only wants the fields that may differ")
	case len(ask.Fields) > maxRebuildFields:
		return wrong("/fields", "more than "+strconv.Itoa(maxRebuildFields)+" fields")
	case len(ask.Reason) > maxReason:
		return wrong("/reason", "longer than "+strconv.Itoa(maxReason)+" bytes")
	case strings.ContainsFunc(ask.Reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return wrong("/reason", "holds a character that is not printed")
	}
	for i, path := range ask.Fields {
		if complaint := checkField(path); complaint != "" {
			return wrong("/fields/"+strconv.Itoa(i), complaint)
		}
	}
	if b.Share != nil {
		if ask.Share = *b.Share; !(ask.Share > 0 && ask.Share <= 1) {
			return wrong("/share", "want a number above 0, at most 1, which is unthrottled")
		}
	}
	return ask, nil
}

var thens = []projections.Then{projections.ThenAsk, projections.ThenSwitch, projections.ThenSwitchIfEqual, projections.ThenSwitchOnly}

func thenNames() []string {
	names := make([]string, len(thens))
	for i, t := range thens {
		names[i] = string(t)
	}
	return names
}

// startRebuild answers when the request is recorded. From then on whichever
// process carries the version makes the generation, also after a crash of this
// one.
func (s *server) startRebuild(w http.ResponseWriter, r *request, p *projection) error {
	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	body, err := rebuildReader.read(data)
	if err != nil {
		return err
	}
	ask, err := body.asked(p.checkField)
	if err != nil {
		return err
	}
	ctx, cancel := s.finishing(r)
	defer cancel()
	generation, err := p.views.Begin(ctx, ask)
	if errors.Is(err, projections.ErrRebuilding) {
		return p.rebuilding(ctx)
	}
	if err != nil {
		return err
	}
	rb, err := p.rebuildOf(ctx, generation)
	if err != nil {
		return err
	}
	w.Header().Set("Location", rebuildPath(p.name, generation))
	return writeJSON(w, http.StatusAccepted, rb)
}

// finishing is the context of what is finished although its caller hangs up.
func (s *server) finishing(r *request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), s.o.Limits.CommandTime)
}

// rebuilding says which rebuild is in the way.
func (p *projection) rebuilding(ctx context.Context) error {
	said := problem("rebuild-running", "see %s", pathOf(p.name, "rebuilds")).because(projections.ErrRebuilding)
	list, err := p.views.Rebuilds(ctx)
	if err != nil {
		return said
	}
	if rb := candidateOf(list); rb != nil {
		path := rebuildPath(p.name, rb.Generation)
		does := "is being made (" + string(rb.Phase) + "): GET " + path + " says how far it is"
		if rb.Phase == projections.PhaseReady {
			does = "waits to be switched to: GET " + pathOf(p.name, "diff") + " says what it would change, POST .../switch makes it the one in force"
		}
		said.Detail = "generation " + strconv.Itoa(rb.Generation) + " " + does + ", DELETE " + path + " gives it up"
		said.Generation = rb.Generation
	}
	return said
}

// candidateOf is the rebuild that runs, or waits; nil when none does.
func candidateOf(newestFirst []projections.Rebuild) *projections.Rebuild {
	for i := range newestFirst {
		if rb := &newestFirst[i]; !rb.Phase.Over() || rb.Phase == projections.PhaseReady {
			return rb
		}
	}
	return nil
}

func (s *server) listRebuilds(w http.ResponseWriter, r *request, p *projection) error {
	list, err := p.views.Rebuilds(r.Context())
	if err != nil {
		return err
	}
	body := RebuildsAnswer{Items: make([]RebuildAnswer, len(list))}
	for i, rb := range list {
		body.Items[i] = RebuildAnswer{p.name, rb}
	}
	return writeJSON(w, http.StatusOK, body)
}

// rebuildOf is one of the last rebuilds.
func (p *projection) rebuildOf(ctx context.Context, generation int) (RebuildAnswer, error) {
	list, err := p.views.Rebuilds(ctx)
	if err != nil {
		return RebuildAnswer{}, err
	}
	i := slices.IndexFunc(list, func(rb projections.Rebuild) bool { return rb.Generation == generation })
	if i < 0 {
		return RebuildAnswer{}, errNoRebuild
	}
	return RebuildAnswer{p.name, list[i]}, nil
}

func (s *server) getRebuild(w http.ResponseWriter, r *request, p *projection) error {
	generation, err := namedGeneration(r, errNoRebuild)
	if err != nil {
		return err
	}
	if wantsEvents(r.Request) {
		return s.streamRebuild(w, r, p, generation)
	}
	rb, err := p.rebuildOf(r.Context(), generation)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, rb)
}

// namedGeneration is the one of the path. No store is asked for what cannot be
// one.
func namedGeneration(r *request, unknown error) (int, error) {
	text := r.PathValue("generation")
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != text {
		return 0, unknown
	}
	return int(n), nil
}

// cancelRebuild gives up what is being made, or waits. To cancel twice is no
// error: the first answer may have been lost.
func (s *server) cancelRebuild(w http.ResponseWriter, r *request, p *projection) error {
	return s.giveUp(w, r, errNoRebuild, "cancelled", func(ctx context.Context, generation int) error {
		err := p.views.Cancel(ctx, generation)
		if !errors.Is(err, projections.ErrNoCandidate) {
			return err
		}
		rb, unknown := p.rebuildOf(ctx, generation)
		switch {
		case unknown != nil:
			return unknown
		case rb.Phase == projections.PhaseCancelled:
			return nil
		}
		return problem("rebuild-over", "it is %s", rb.Phase)
	})
}

// dropGeneration gives up any generation that is not in force.
func (s *server) dropGeneration(w http.ResponseWriter, r *request, p *projection) error {
	return s.giveUp(w, r, errNoGeneration, "dropped", p.views.Drop)
}

func (s *server) giveUp(w http.ResponseWriter, r *request, unknown error, status string, giveUp func(context.Context, int) error) error {
	generation, err := namedGeneration(r, unknown)
	if err != nil {
		return err
	}
	if err := s.emptyBody(w, r); err != nil {
		return err
	}
	ctx, cancel := s.finishing(r)
	defer cancel()
	if err := giveUp(ctx, generation); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, GoneAnswer{generation, status})
}

func (s *server) switchGeneration(w http.ResponseWriter, r *request, p *projection) error {
	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	body, err := switchReader.read(data)
	if err != nil {
		return err
	}
	generation, err := body.meant()
	if err != nil {
		return err
	}
	return s.change(w, r, p, func(ctx context.Context) (int, error) { return p.views.Switch(ctx, generation) })
}

func (s *server) rollBack(w http.ResponseWriter, r *request, p *projection) error {
	data, err := readBody(w, r.Request, "application/json", s.o.Limits.BodyBytes)
	if err != nil {
		return err
	}
	body, err := rollbackReader.read(data)
	if err != nil {
		return err
	}
	return s.change(w, r, p, func(ctx context.Context) (int, error) { return p.views.Rollback(ctx, body.AcceptStale) })
}

// change makes another generation the one in force. Whether it did can stay
// unknown to this process, when it does not get to serve it in time.
func (s *server) change(w http.ResponseWriter, r *request, p *projection, change func(context.Context) (int, error)) error {
	ctx, cancel := s.finishing(r)
	defer cancel()
	before := p.serving()
	generation, err := change(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return problem("unavailable", "this docket does not serve another generation yet; /v1/projections says whether another one is in force").retry(5).because(err)
	}
	if err != nil {
		return err
	}
	if before == generation {
		before = 0
	}
	return writeJSON(w, http.StatusOK, SwitchAnswer{Generation: generation, Previous: before})
}

// reproject makes the views of one order again, in every store.
func (s *server) reproject(w http.ResponseWriter, r *request, p *projection) error {
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return order.ErrUnknown
	}
	if err := s.emptyBody(w, r); err != nil {
		return err
	}
	ctx, cancel := s.finishing(r)
	defer cancel()
	changed, err := p.views.Reproject(ctx, id)
	if err != nil {
		return err
	}
	body := ReprojectionAnswer{OrderID: id, Stores: []ReprojectedAnswer{}}
	for _, m := range p.views.Managers() {
		changes, made := changed[m.StoreName]
		if !made {
			continue
		}
		if changes == nil {
			changes = []projections.Changed{}
		}
		body.Stores = append(body.Stores, ReprojectedAnswer{m.StoreName, changes})
	}
	return writeJSON(w, http.StatusOK, body)
}
