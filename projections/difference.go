package projections

import (
	"encoding/json"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/view/fields"
)

// Difference says what a switch from one generation to another would change, in
// the words of those who read the views. It is zero in everything but its head
// and Equal when nothing changes.
type Difference struct {
	From     int                 `json:"from"` // generation in force
	To       int                 `json:"to"`   // the candidate
	Versions [2]int              `json:"versions"`
	At       eventstore.Position `json:"at"` // everything up to here is in both
	Made     time.Time           `json:"made"`
	Stores   []StoreDifference   `json:"stores"`
}

// Empty reports whether nothing differs, in any store.
func (d Difference) Empty() bool {
	for _, s := range d.Stores {
		if !s.Empty() {
			return false
		}
	}
	return true
}

// Within reports whether nothing differs but what is named: fields, by path with
// all that is below, "*" standing for any one name, WordsPath among them. No order
// may be on one side only, or parked on one side only. A figure may differ as far
// as the fields explain it: by the difference of what the new version counts of
// the old documents and of the new ones. It does not when the new version counts
// an order's old document otherwise than the generation in force has it.
func (d Difference) Within(names []string) bool {
	for _, s := range d.Stores {
		if s.OnlyOld+s.OnlyNew+s.Recounted != 0 || len(s.ParkedOld)+len(s.ParkedNew) != 0 {
			return false
		}
		for _, f := range s.Fields {
			if !fields.Covers(names, f.Path) {
				return false
			}
		}
	}
	return true
}

// StoreDifference is the difference in one store.
type StoreDifference struct {
	Store   string `json:"store"`
	Equal   int64  `json:"equal"` // documents that are the same
	Changed int64  `json:"changed"`
	OnlyOld int64  `json:"onlyOld"` // orders that the candidate lacks
	OnlyNew int64  `json:"onlyNew"` // orders that only the candidate has
	// Fields that differ, by path, the names of list elements replaced by *:
	// "/lines/*/quantity".
	Fields []FieldDifference `json:"fields,omitempty"`
	// Figures that differ: counters, customers' totals, products. At most
	// MaxFigures are listed; FiguresChanged counts all.
	Figures        []FigureDifference `json:"figures,omitempty"`
	FiguresChanged int64              `json:"figuresChanged"`
	// Recounted orders change figures for another reason than that their documents
	// differ: the new version counts what the generation in force shows otherwise
	// than that one did.
	Recounted int64    `json:"recounted,omitempty"`
	Missing   []string `json:"missing,omitempty"` // some ids of OnlyOld
	Extra     []string `json:"extra,omitempty"`   // some ids of OnlyNew
	// Parked orders that only one of the two has parked, with the reason.
	ParkedOld []Parked `json:"parkedOld,omitempty"`
	ParkedNew []Parked `json:"parkedNew,omitempty"`
}

// Empty reports whether nothing differs.
func (d StoreDifference) Empty() bool {
	return d.Changed+d.OnlyOld+d.OnlyNew+d.FiguresChanged == 0 && len(d.ParkedOld)+len(d.ParkedNew) == 0
}

// FieldDifference is one field path with what differs there.
type FieldDifference struct {
	Path    string    `json:"path"`
	Orders  int64     `json:"orders"` // that differ here
	Samples []Changed `json:"samples"`
}

// Changed is one field of one order, before and after. A nil value: absent.
type Changed struct {
	OrderID  string          `json:"orderId"`
	Revision int64           `json:"revision"`
	Path     string          `json:"path"` // as it is in this order: "/lines/L1/quantity"
	Before   json.RawMessage `json:"before,omitzero"`
	After    json.RawMessage `json:"after,omitzero"`
	// Events that set the field, as the new version folds them, or, where it
	// does not set it, as the old one did; empty when neither can be told.
	Events []EventRef `json:"events,omitempty"`
}

// EventRef names an event of an order's stream.
type EventRef struct {
	Revision int64               `json:"revision"`
	Position eventstore.Position `json:"position"`
	Type     string              `json:"type"`
}

// FigureDifference is one figure, before and after.
type FigureDifference struct {
	Figure string   `json:"figure"` // in words: "sums BRL status delivered 2018-01"
	Names  []string `json:"names"`  // of the values
	Before []int64  `json:"before"`
	After  []int64  `json:"after"`
}

// MaxFigures and MaxSamples bound what a Difference lists.
const (
	MaxFigures = 50
	MaxSamples = 5
)
