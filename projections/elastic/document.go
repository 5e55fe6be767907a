package elastic

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
	fast "github.com/go-json-experiment/json"
)

// longestID in bytes is Elasticsearch's.
const longestID = 512

// document is a change in the form in which it is stored.
type document struct {
	id              string
	first, revision int64
	source          []byte
}

// columns of a document: what mapping says, without doc.
type columns struct {
	ID               string   `json:"id"`
	Revision         int64    `json:"revision"`
	Number           string   `json:"number"`
	Placed           int64    `json:"placed"`
	Updated          int64    `json:"updated"`
	Delivered        *int64   `json:"delivered,omitempty"`
	Total            int64    `json:"total"`
	Currency         string   `json:"currency,omitempty"`
	Status           string   `json:"status,omitempty"`
	PaymentStatus    string   `json:"paymentStatus,omitempty"`
	FulfilmentStatus string   `json:"fulfilmentStatus,omitempty"`
	Kind             string   `json:"kind,omitempty"`
	Source           string   `json:"source,omitempty"`
	Country          string   `json:"country,omitempty"`
	State            string   `json:"state,omitempty"`
	Tag              []string `json:"tag,omitempty"`
	Anomaly          []string `json:"anomaly,omitempty"`
	Customer         string   `json:"customer,omitempty"`
	SKU              []string `json:"sku,omitempty"`
	Words            string   `json:"words,omitempty"`
}

// usualDocument is room, in bytes, for most documents: what is longer grows.
const usualDocument = 2048

// encode is deterministic: what is kept is compared with it byte for byte.
func encode(change *projections.Change) (document, error) {
	doc := change.Order // shallow; nothing below is changed
	doc.Degraded = nil
	d := document{id: doc.ID, first: change.First, revision: doc.Revision}
	switch grand := doc.Totals.Grand; {
	case doc.ID == "":
		return d, errors.New("document without an id")
	case len(doc.ID) > longestID:
		return d, fmt.Errorf("id of %d bytes, at most %d are allowed", len(doc.ID), longestID)
	case !grand.WholeMinor() && !grand.IsZero():
		return d, fmt.Errorf("total %s is not in whole minor units", grand)
	}
	c := columns{
		ID: doc.ID, Revision: doc.Revision, Number: doc.Number,
		Placed: doc.PlacedAt.UnixMicro(), Updated: doc.UpdatedAt.UnixMicro(),
		Currency: string(doc.Currency), Status: doc.Status, PaymentStatus: doc.PaymentStatus,
		FulfilmentStatus: doc.FulfilmentStatus, Kind: doc.Kind, Country: doc.Country, State: doc.State,
		Tag: set(slices.Clone(doc.Tags)), Customer: doc.Customer.ID, Words: change.Words,
	}
	if doc.DeliveredAt != nil {
		delivered := doc.DeliveredAt.UnixMicro()
		c.Delivered = &delivered
	}
	if !doc.Totals.Grand.IsZero() {
		c.Total = doc.Totals.Grand.MinorUnits()
	}
	if doc.Source != nil {
		c.Source = doc.Source.System
	}
	for _, a := range doc.Anomalies {
		c.Anomaly = append(c.Anomaly, a.Kind)
	}
	for i := range doc.Lines {
		c.SKU = append(c.SKU, doc.Lines[i].SKU)
	}
	c.Anomaly, c.SKU = set(c.Anomaly), set(c.SKU)
	beside, err := json.Marshal(c)
	if err != nil {
		return d, fmt.Errorf("encode columns: %w", err)
	}
	source := append(append(make([]byte, 0, len(beside)+usualDocument), beside[:len(beside)-1]...), `,"doc":`...)
	from := len(source)
	if source, err = doc.AppendJSON(source); err != nil {
		return d, fmt.Errorf("encode document: %w", err)
	}
	if size := len(source) - from; size > projections.MaxDocument {
		return d, fmt.Errorf("document of %d bytes, at most %d are allowed", size, projections.MaxDocument)
	}
	d.source = append(source, '}')
	return d, nil
}

// set is values, each once; empty ones are no values.
func set(values []string) []string {
	slices.Sort(values)
	values = slices.Compact(values)
	if len(values) > 0 && values[0] == "" {
		values = values[1:]
	}
	return values
}

// encodeAll encodes on all processors where there is enough to do.
func encodeAll(changes []projections.Change) (docs []document, refused []error) {
	docs, refused = make([]document, len(changes)), make([]error, len(changes))
	workers := max(1, min(runtime.GOMAXPROCS(0), len(changes)/16))
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < len(changes); i += workers {
				docs[i], refused[i] = encode(&changes[i])
			}
		})
	}
	all.Wait()
	return docs, refused
}

// decode reads the document out of a stored source. What is of another order,
// or cannot be read, is not ok.
func decode(id string, source []byte) (doc view.Order, ok bool) {
	var stored struct {
		Doc *view.Order `json:"doc"`
	}
	if fast.Unmarshal(source, &stored) != nil || stored.Doc == nil || stored.Doc.ID != id {
		return view.Order{}, false
	}
	return *stored.Doc, true
}

// revisionFields of a source are all that revisionOf needs.
func revisionFields() []string { return []string{"doc.id", "doc.revision"} }

// revisionOf reads the revision out of doc; -1 where there is none to go on
// from.
func revisionOf(id string, source []byte) int64 {
	var stored struct {
		Doc struct {
			ID       string `json:"id"`
			Revision *int64 `json:"revision"`
		} `json:"doc"`
	}
	if fast.Unmarshal(source, &stored) != nil || stored.Doc.Revision == nil || stored.Doc.ID != id {
		return -1
	}
	return *stored.Doc.Revision
}

// micros is a bound in microseconds, rounded up: stored times have no more
// decimals, so that both "at or after" and "before" stay true.
func micros(t time.Time) int64 {
	n := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		n++
	}
	return n
}
