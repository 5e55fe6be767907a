package readmodel

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/view"
)

// fold makes rows: orders that carry the document, and in the fields that stores
// find and sort by what it contributes.
func (v View[D]) fold() projections.Fold {
	return projections.Fold{
		Apply: func(row view.Order, e Event) view.Order {
			doc := v.Apply(v.document(row), e)
			data, err := json.Marshal(doc)
			if err != nil {
				panic(fmt.Sprintf("write the document of %s: %v", v.Name, err))
			}
			c := v.contributions(doc)
			row = projections.Empty(e.OrderID)
			row.Model, row.Kind = data, v.Name
			row.Tags = slices.Compact(slices.Sorted(slices.Values(c.Lists)))
			row.PlacedAt = placeOf(c)
			row.UpdatedAt, row.Revision, row.Position = e.Meta.RecordedAt, int64(e.Revision), e.Position.String()
			return row
		},
		Contributions: func(row view.Order) projections.Contribution {
			return v.contributions(v.document(row)).contribution()
		},
		Words: func(view.Order) string { return "" },
	}
}

// document that a row carries; the zero D where it carries none yet.
func (v View[D]) document(row view.Order) (doc D) {
	if len(row.Model) == 0 {
		return doc
	}
	if err := json.Unmarshal(row.Model, &doc); err != nil {
		panic(fmt.Sprintf("read the document of %s: %v", v.Name, err))
	}
	return doc
}

func (v View[D]) contributions(doc D) Contributions {
	if v.Contributions == nil {
		return Contributions{}
	}
	return v.Contributions(doc)
}

// placeOf a row that is in no list: any, but always the same.
func placeOf(c Contributions) time.Time {
	if c.At.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return c.At.UTC().Truncate(time.Microsecond)
}

func (c Contributions) contribution() projections.Contribution {
	if len(c.Groups) == 0 {
		return projections.Contribution{}
	}
	if c.Amount.Currency() == "" {
		panic("figures are kept by currency: Contributions.Amount must have one where there are Groups")
	}
	out := projections.Contribution{
		Currency: c.Amount.Currency(), Day: placeOf(c).Format(time.DateOnly),
		Sums: projections.Sums{Orders: 1, Units: c.Units, Grand: c.Amount.MinorUnits()},
	}
	for _, g := range c.Groups {
		group := projections.Group{Dimension: g.By, Key: g.Key}
		if g.Key != "" && !slices.Contains(out.Groups, group) {
			out.Groups = append(out.Groups, group)
		}
	}
	return out
}
