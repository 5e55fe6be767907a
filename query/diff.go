package query

import "encoding/json"

// FieldChange is one field of an order document that differs between two
// points. Path is like a JSON Pointer, except that the elements of a list whose
// elements have an id are named by it: "/lines/L1/quantity". A field that is
// absent on one side has a nil value there.
type FieldChange struct {
	Path   string          `json:"path"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}
