package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/readmodel"
)

// projection is one that this process keeps: that of the orders, or a read model.
type projection struct {
	name    string
	version int // of this program
	*stores
	comparing comparing
	model     *readmodel.Live // nil: the orders
}

// projectionsOf the options, the orders first.
func projectionsOf(o Options) []*projection {
	all := []*projection{{name: projections.Name, version: projections.Version, stores: newStores(o.Store, o.Projections, o.Guards)}}
	for i := range o.Models {
		m := &o.Models[i]
		all = append(all, &projection{name: m.Name, version: m.Version, stores: newStores(o.Store, m.Views, o.Guards), model: m})
	}
	return all
}

func (s *server) orders() *projection   { return s.projections[0] }
func (s *server) models() []*projection { return s.projections[1:] }

// errNoProjection is of a name that no projection has.
var errNoProjection = domain.Reject(domain.NotFound, "unknown-projection", "there is no such projection")

// ofProjection handles what is asked of the projection that the path names.
func ofProjection(handle func(*server, http.ResponseWriter, *request, *projection) error) func(*server, http.ResponseWriter, *request) error {
	return func(s *server, w http.ResponseWriter, r *request) error {
		p := find(s.projections, r.PathValue("name"))
		if p == nil {
			return errNoProjection.With("there is " + strings.Join(namesOf(s.projections), ", "))
		}
		if err := handle(s, w, r, p); err != nil {
			return &inProjection{p.name, err}
		}
		return nil
	}
}

// inProjection is an error with the name of the projection that it is about.
type inProjection struct {
	name string
	error
}

func (e *inProjection) Unwrap() error { return e.error }

// projectionIn is the name of the projection that an error is about.
func projectionIn(err error) string {
	var in *inProjection
	if errors.As(err, &in) {
		return in.name
	}
	return projections.Name
}

func find(all []*projection, name string) *projection {
	i := slices.IndexFunc(all, func(p *projection) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

func namesOf(all []*projection) []string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.name
	}
	return names
}

// each asks all projections at once: one that hangs keeps nobody from hearing of
// the others.
func each[T any](all []*projection, ask func(*projection) T) []T {
	answers := make([]T, len(all))
	var asking sync.WaitGroup
	for i, p := range all {
		asking.Go(func() { answers[i] = ask(p) })
	}
	asking.Wait()
	return answers
}

func pathOf(projection, what string) string { return "/v1/projections/" + projection + "/" + what }

func rebuildPath(projection string, generation int) string {
	return pathOf(projection, "rebuilds/"+strconv.Itoa(generation))
}

// checkField says what is wrong with the path of a field that a rebuild names.
// Which fields the documents of a read model have is its own affair.
func (p *projection) checkField(path string) string {
	if p.model == nil {
		return checkFieldPath(path)
	}
	name, ofDocument := strings.CutPrefix(path, "/model/")
	switch {
	case len(path) > maxFieldPath:
	case path == "/tags", path == "/placedAt", path == "/model", ofDocument && name != "" && !strings.Contains(name, "/"):
		return ""
	}
	return "want a field of the document as a difference tells it, such as /model/total, with all that is below; or /tags, which are its lists; or /placedAt, its place in them"
}
