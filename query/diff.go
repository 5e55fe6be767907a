package query

import (
	"github.com/docket-orders/docket/view"
	"github.com/docket-orders/docket/view/fields"
)

// FieldChange is one field of an order document that differs between two
// points.
type FieldChange = fields.FieldChange

// Field is one field of an order document; Path is as in FieldChange.
type Field = fields.Field

// Diff lists the fields that differ, by path; see fields.Diff.
func Diff(before, after view.Order) []FieldChange { return fields.Diff(before, after) }

// DiffAt is Diff of the field at path, and of all that is below it.
func DiffAt(before, after view.Order, path string) []FieldChange {
	return fields.DiffAt(before, after, path)
}

// Fields lists all fields of a document, by path.
func Fields(doc view.Order) []Field { return fields.Fields(doc) }

// FieldsAt is Fields of the field at path, and of all that is below it.
func FieldsAt(doc view.Order, path string) []Field { return fields.FieldsAt(doc, path) }
