package httpapi

import (
	"cmp"
	"context"
	rawjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/query"
	"github.com/docket-orders/docket/readmodel"
	"github.com/docket-orders/docket/view"
)

// ReadModelsAnswer lists the read models.
type ReadModelsAnswer struct {
	Items []ReadModelAnswer `json:"items"`
}

// ReadModelAnswer is a read model, and what may be asked of it.
type ReadModelAnswer struct {
	Name      string           `json:"name"`
	Version   int              `json:"version"` // of this program
	Questions []QuestionAnswer `json:"questions"`
}

// QuestionAnswer is a question to a read model.
type QuestionAnswer struct {
	Name       string            `json:"name"`
	Doc        string            `json:"doc,omitempty"`
	Parameters []ParameterAnswer `json:"parameters"` // beside limit and cursor
}

// ParameterAnswer is a parameter of a question; type is integer or text.
type ParameterAnswer struct {
	Name     string `json:"name"`
	Doc      string `json:"doc,omitempty"`
	Type     string `json:"type"`
	Required bool   `json:"required"`
	// Min to Default are of an integer; there is no Default of one that is required.
	Min     *int64 `json:"min,omitempty"`
	Max     *int64 `json:"max,omitempty"`
	Default *int64 `json:"default,omitempty"`
}

// ModelDocumentAnswer is the document of one order in a read model.
type ModelDocumentAnswer struct {
	OrderID  string             `json:"orderId"`
	Revision int64              `json:"revision"`
	Position string             `json:"position"`
	Document rawjson.RawMessage `json:"document"`
	Degraded *view.Degraded     `json:"degraded,omitempty"`
}

// errNoReadModel is of a name that no read model has.
var errNoReadModel = domain.Reject(domain.NotFound, "unknown-read-model", "there is no such read model")

// modelOf is the read model that the path names.
func (s *server) modelOf(r *request) (*readmodel.Live, error) {
	if p := find(s.models(), r.PathValue("name")); p != nil {
		return p.model, nil
	}
	if len(s.models()) == 0 {
		return nil, errNoReadModel.With("this docket has none")
	}
	return nil, errNoReadModel.With("there is " + strings.Join(namesOf(s.models()), ", "))
}

func (s *server) listReadModels(w http.ResponseWriter, r *request) error {
	body := ReadModelsAnswer{Items: []ReadModelAnswer{}}
	for _, p := range s.models() {
		one := ReadModelAnswer{Name: p.name, Version: p.version, Questions: []QuestionAnswer{}}
		for _, q := range p.model.Questions {
			question := QuestionAnswer{Name: q.Name, Doc: q.Doc, Parameters: []ParameterAnswer{}}
			for _, param := range q.Params {
				question.Parameters = append(question.Parameters, parameterOf(param))
			}
			one.Questions = append(one.Questions, question)
		}
		body.Items = append(body.Items, one)
	}
	return writeJSON(w, http.StatusOK, body)
}

func parameterOf(p readmodel.Param) ParameterAnswer {
	a := ParameterAnswer{Name: p.Name, Doc: p.Doc, Type: "text", Required: p.Required}
	if p.Max != 0 {
		a.Type, a.Min, a.Max = "integer", &p.Min, &p.Max
		if !p.Required {
			a.Default = &p.Default
		}
	}
	return a
}

func (s *server) getModelDocument(w http.ResponseWriter, r *request) error {
	model, err := s.modelOf(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if !order.ValidID(id) {
		return query.ErrOrderUnknown
	}
	read, err := s.read(r, model.Queries.AwaitHot)
	if err != nil {
		return err
	}
	row, source, fresh, err := model.Document(r.Context(), id, read)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Read-Revision", strconv.FormatInt(row.Revision, 10))
	h.Set("Read-Position", row.Position)
	if source == query.FromLog {
		h.Set("Read-Source", "log")
	}
	freshness(h, fresh)
	return writeJSON(w, http.StatusOK, ModelDocumentAnswer(row))
}

// askModel puts a question. What was asked is checked before anything is waited
// for.
func (s *server) askModel(w http.ResponseWriter, r *request) error {
	model, err := s.modelOf(r)
	if err != nil {
		return err
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errQueryMalformed()
	}
	question := r.PathValue("question")
	if err := model.Check(question, given); err != nil {
		return questionRefused(model, err)
	}
	read, err := s.read(r, func(ctx context.Context, read query.Read) error { return awaitBoth(ctx, model.Queries, read) })
	if err != nil {
		return err
	}
	answer, fresh, err := model.Ask(r.Context(), question, given, s.o.Now().UTC(), read)
	if err != nil {
		return questionRefused(model, err)
	}
	// Documents are what encoding/json makes of them, as the stores keep them.
	body, err := rawjson.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the answer to %s/%s: %w", model.Name, question, err)
	}
	if page, ok := answer.(interface{ NextPage() string }); ok && page.NextPage() != "" {
		r.query = values(given)
		linkNext(w, r, "cursor", page.NextPage())
	}
	freshness(w.Header(), fresh)
	return writeJSON(w, http.StatusOK, rawjson.RawMessage(body))
}

// questionRefused is what callers hear of a question that is not there, or not
// asked as it says. Names of parameters come from them, and may be anything.
func questionRefused(model *readmodel.Live, err error) error {
	var wrong *domain.Rejection
	if !errors.As(err, &wrong) {
		return err
	}
	switch {
	case errors.Is(err, readmodel.ErrQuestion):
		names := []string{"orders/{id}"}
		for _, q := range model.Questions {
			names = append(names, q.Name)
		}
		return readmodel.ErrQuestion.With("there is " + strings.Join(names, ", "))
	case errors.Is(err, readmodel.ErrParameter):
		return badParameter(printable(wrong.Field), "%s", cmp.Or(wrong.Detail, wrong.Text))
	case errors.Is(err, query.ErrValue), errors.Is(err, query.ErrValues), errors.Is(err, query.ErrRange):
		// They name parameters of orders; the question made what is wrong of its own.
		return problem("invalid-parameter", "the list that is asked for: %v", wrong)
	}
	return err
}

// awaitBoth waits for both views, since a question may ask either, and for both
// together no longer than the caller wants to.
func awaitBoth(ctx context.Context, queries *query.Service, read query.Read) error {
	began := time.Now()
	if err := queries.AwaitSearch(ctx, read); err != nil {
		return err
	}
	read.Wait = max(0, read.Wait-time.Since(began))
	return queries.AwaitHot(ctx, read)
}
