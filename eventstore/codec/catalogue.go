package codec

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/docket-orders/docket/domain/order"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Category begins the names of the orders' streams: "order-536365".
const Category = "order"

// Catalogue lists every event that may be stored. It is made once, checked
// then, and never changes; it may be used by many goroutines.
type Catalogue struct {
	rows   map[string]*row
	byType map[reflect.Type]*row
	types  []string
}

// row is one line of the catalogue.
type row struct {
	name     string // as stored
	version  int    // that encoding writes
	personal []string
	subjects func(order.Event) []Subject
	upcasts  map[int]Upcast
	goType   reflect.Type
	decode   func(data []byte) (order.Event, error)
}

// Upcast turns the fields of one version into those of the next.
type Upcast func(fields jsontext.Value) (jsontext.Value, error)

// catalogue is the one that docket runs with.
var catalogue = mustCatalogue(orderEvents()...)

// orderEvents is the contract: name (from the Go type), version, personal
// fields, subjects. To change the fields of an event that was released: raise
// its version, add the upcast from the one before with upcast(from, f), and a
// golden file.
func orderEvents() []row {
	return []row{
		define(1, personal(
			"/customer/id", "/customer/name", "/customer/email",
			addressFields("/billingAddress"), addressFields("/shippingAddress"), "/metadata",
		), func(order.Placed) []Subject { return ofOrder() }),
		define(1, nil, func(order.Confirmed) []Subject { return ofOrder() }),
		define(1, personal(addressFields("/address")), func(order.ShippingAddressChanged) []Subject { return ofOrder() }),
		define(1, personal("/reason"), func(e order.EditProposed) []Subject { return of(SubjectEdit, e.EditID) }),
		define(1, nil, func(e order.EditConfirmed) []Subject { return of(SubjectEdit, e.EditID) }),
		define(1, personal("/reason"), func(e order.EditDeclined) []Subject { return of(SubjectEdit, e.EditID) }),
		define(1, nil, func(order.TagsSet) []Subject { return ofOrder() }),
		define(1, personal("/metadata"), func(order.MetadataSet) []Subject { return ofOrder() }),
		define(1, personal("/text"), func(order.NoteAdded) []Subject { return ofOrder() }),
		define(1, personal("/reason"), func(e order.HoldPlaced) []Subject { return of(SubjectHold, e.HoldID) }),
		define(1, personal("/reason"), func(e order.HoldReleased) []Subject { return of(SubjectHold, e.HoldID) }),
		define(1, personal("/reference"), func(e order.PaymentAuthorised) []Subject { return of(SubjectPayment, e.PaymentID) }),
		define(1, personal("/reference"), func(e order.PaymentCaptured) []Subject { return of(SubjectPayment, e.PaymentID) }),
		define(1, personal("/reason"), func(e order.PaymentFailed) []Subject { return of(SubjectPayment, e.PaymentID) }),
		define(1, personal("/reason"), func(e order.PaymentVoided) []Subject { return of(SubjectPayment, e.PaymentID) }),
		define(1, personal("/trackingNumber"), func(e order.ShipmentDispatched) []Subject { return of(SubjectShipment, e.ShipmentID) }),
		define(1, personal("/trackingNumber"), func(e order.ShipmentUpdated) []Subject { return of(SubjectShipment, e.ShipmentID) }),
		define(1, nil, func(e order.ShipmentDelivered) []Subject { return of(SubjectShipment, e.ShipmentID) }),
		define(1, personal("/reason"), func(e order.ReturnRequested) []Subject { return of(SubjectReturn, e.ReturnID) }),
		define(1, nil, func(e order.ReturnReceived) []Subject { return of(SubjectReturn, e.ReturnID) }),
		define(1, personal("/reason"), func(e order.ReturnRejected) []Subject { return of(SubjectReturn, e.ReturnID) }),
		define(1, personal("/reason"), func(e order.RefundGranted) []Subject {
			subjects := []Subject{{SubjectRefund, e.RefundID}, {SubjectPayment, e.PaymentID}}
			if e.ReturnID != "" {
				subjects = append(subjects, Subject{SubjectReturn, e.ReturnID})
			}
			return append(subjects, ofOrder()...)
		}),
		define(1, personal("/reference"), func(e order.RefundCompleted) []Subject { return of(SubjectRefund, e.RefundID) }),
		define(1, personal("/reason"), func(e order.RefundFailed) []Subject { return of(SubjectRefund, e.RefundID) }),
		define(1, personal("/reason"), func(order.LinesCancelled) []Subject { return ofOrder() }),
		define(1, personal("/reason"), func(order.Cancelled) []Subject { return ofOrder() }),
		define(1, personal("/anomalies/*/detail"), func(order.AdoptionCompleted) []Subject { return ofOrder() }),
	}
}

// define makes a row for the event type E.
func define[E order.Event](version int, personal []string, subjects func(E) []Subject) row {
	t := reflect.TypeFor[E]()
	return row{
		name: "Order" + t.Name(), version: version, personal: personal, goType: t,
		subjects: func(e order.Event) []Subject { return subjects(e.(E)) },
		decode: func(data []byte) (order.Event, error) {
			var e E
			err := json.Unmarshal(data, &e, decoding)
			return e, err
		},
	}
}

// upcast adds the step from version from to the next one.
func (r row) upcast(from int, step Upcast) row {
	upcasts := map[int]Upcast{from: step}
	for v, u := range r.upcasts {
		upcasts[v] = u
	}
	r.upcasts = upcasts
	return r
}

// newCatalogue checks that names are unique and that every old version can be
// brought to the current one.
func newCatalogue(rows ...row) (*Catalogue, error) {
	c := &Catalogue{rows: map[string]*row{}, byType: map[reflect.Type]*row{}}
	for i := range rows {
		r := &rows[i]
		if c.rows[r.name] != nil {
			return nil, fmt.Errorf("event %s is listed twice", r.name)
		}
		if r.version < 1 {
			return nil, fmt.Errorf("event %s: version %d, versions begin at 1", r.name, r.version)
		}
		for v := 1; v < r.version; v++ {
			if r.upcasts[v] == nil {
				return nil, fmt.Errorf("event %s: no upcast from version %d to %d", r.name, v, v+1)
			}
		}
		if len(r.upcasts) != r.version-1 {
			return nil, fmt.Errorf("event %s: %d upcasts for version %d", r.name, len(r.upcasts), r.version)
		}
		c.rows[r.name], c.byType[r.goType] = r, r
		c.types = append(c.types, r.name)
	}
	slices.Sort(c.types)
	return c, nil
}

func mustCatalogue(rows ...row) *Catalogue {
	c, err := newCatalogue(rows...)
	if err != nil {
		panic("codec: " + err.Error())
	}
	return c
}

// Types lists the stored names of all events, sorted.
func Types() []string { return slices.Clone(catalogue.types) }

// Version is the current version of a stored event type; 0 for an unknown one.
func Version(typ string) int {
	if r := catalogue.rows[typ]; r != nil {
		return r.version
	}
	return 0
}

// PersonalFields lists where an event of this type may hold personal data, as
// JSON Pointers into its current version; "*" stands for every index. A pointer
// to an object means all of it.
func PersonalFields(typ string) []string {
	if r := catalogue.rows[typ]; r != nil {
		return slices.Clone(r.personal)
	}
	return nil
}

// personal joins pointers, each a string or a list of them.
func personal(pointers ...any) []string {
	var all []string
	for _, p := range pointers {
		switch p := p.(type) {
		case string:
			all = append(all, p)
		case []string:
			all = append(all, p...)
		}
	}
	return all
}

func addressFields(at string) []string {
	var all []string
	for _, f := range []string{"name", "company", "street", "postalCode", "city", "state", "country", "phone"} {
		all = append(all, at+"/"+f)
	}
	return all
}
