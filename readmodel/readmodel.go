// Package readmodel is how somebody who runs docket adds a projection of their
// own: a document per order, made of its events by a pure function, with lists,
// figures and questions. A View is all of it, in one file; docs/examples/waiting
// is one. docket keeps it as it keeps its own: in every store, rebuilt beside the
// one in force, compared before a switch, fed by all processes that share a
// store.
//
// It promises that a View need not know of stores, generations, lanes or tokens.
// It refuses views whose name or questions cannot be told apart (Definition
// panics: they are part of the program), and questions that are not asked as the
// View says. An order that Apply panics on is parked, alone.
//
// The document is carried by view.Order through the same sinks as docket's own
// (carry.go): a View costs each store what the orders cost it. reader.go asks
// the stores, question.go reads what was asked.
package readmodel

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/projections"
)

// Event is an event of an order, decoded, with its revision, position and times.
type Event = codec.Recorded

// View is a read model with documents of type D, a struct, which are kept as JSON:
// what encoding/json does not write and read is lost between two events.
type View[D any] struct {
	// Name in paths, commands and the names of what stores keep: a letter, then
	// up to 30 letters, digits or underscores, all lower case.
	Name string
	// Version of Apply and Contributions: raised when either gives another answer
	// for the same events. A docket with a newer one makes the view again by
	// itself, and reads the older documents meanwhile.
	Version int
	// Apply folds one event into the document of its order; the zero D is the order
	// without events. Events come in the order of their revisions, each once. It is
	// pure, must not change what doc points to, and may be called from many
	// goroutines.
	Apply func(doc D, e Event) D
	// Contributions says where a document is found and what it adds to figures. It
	// is pure; nil: by the id of its order alone, and nothing.
	Contributions func(doc D) Contributions
	// Questions that may be asked beside the document of one order.
	Questions []Question[D]
}

// Contributions of one document to what is found and counted.
type Contributions struct {
	// Lists that it is in, by name; none: only the id of its order finds it.
	Lists []string
	// At is its place in them, from the earliest to the latest, ties by order id;
	// figures are kept by its day, in UTC. Stores keep microseconds.
	At time.Time
	// Groups in which it is counted; none: it is not counted.
	Groups []Group
	// Units and Amount are added to the figures of each group, beside one order.
	// Figures are kept by currency: where there are groups, Amount has one, also
	// when it is zero.
	Units  int64
	Amount money.Amount
}

// Group is what figures are grouped by, and one of its values: country, PT.
type Group struct{ By, Key string }

// Model is a View of any documents.
type Model interface{ Definition() Definition }

// Definition is a View as docket keeps it.
type Definition struct {
	Name      string
	Version   int
	Fold      projections.Fold
	Questions []Asking
}

// Asking is one of the questions of a Definition: how it is asked, and what
// answers it.
type Asking struct {
	Name, Doc string
	Params    []Param
	answer    func(ctx context.Context, r reader, a Asked) (any, error)
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)

// questionForm is that of the last part of a path.
var questionForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Definition of the view. It panics where the view cannot be kept: that is a
// mistake in the program.
func (v View[D]) Definition() Definition {
	if !nameForm.MatchString(v.Name) || v.Name == projections.Name {
		panic(fmt.Sprintf("readmodel: a view may not be called %q: want %s, and not %s", v.Name, nameForm, projections.Name))
	}
	if v.Version < 1 || v.Apply == nil || reflect.TypeFor[D]().Kind() != reflect.Struct {
		panic("readmodel: view " + v.Name + " has no version, no Apply, or documents that are no struct")
	}
	d := Definition{Name: v.Name, Version: v.Version, Fold: v.fold()}
	seen := map[string]bool{"": true, documentPath: true}
	for _, q := range v.Questions {
		if seen[q.Name] || !questionForm.MatchString(q.Name) || q.Answer == nil {
			panic(fmt.Sprintf("readmodel: view %s has a question called %q: want %s, each once, with an Answer", v.Name, q.Name, questionForm))
		}
		seen[q.Name] = true
		checkParams(v.Name+"/"+q.Name, q.Params)
		d.Questions = append(d.Questions, Asking{q.Name, q.Doc, q.Params, func(ctx context.Context, r reader, a Asked) (any, error) {
			return q.Answer(ctx, Reader[D]{r}, a)
		}})
	}
	return d
}

// documentPath is taken by the documents of orders.
const documentPath = "orders"
