package codec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// rename is an upcast that moves a field.
func rename(from, to string) Upcast {
	return func(fields jsontext.Value) (jsontext.Value, error) {
		var m map[string]jsontext.Value
		if err := json.Unmarshal(fields, &m); err != nil {
			return nil, err
		}
		if v, ok := m[from]; ok {
			m[to] = v
			delete(m, from)
		}
		return json.Marshal(m)
	}
}

func TestUpcastsAreChained(t *testing.T) {
	cancelled := define(3, nil, func(order.Cancelled) []Subject { return ofOrder() }).
		upcast(1, rename("why", "cause")).
		upcast(2, rename("cause", "reason"))
	c, err := newCatalogue(cancelled)
	if err != nil {
		t.Fatal(err)
	}
	want := order.Cancelled{Reason: "late", At: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}
	for version, field := range map[int]string{1: "why", 2: "cause", 3: "reason"} {
		data := []byte(`{"` + field + `":"late","at":"2020-01-02T03:04:05Z"}`)
		got, err := c.decodeEvent("OrderCancelled", version, data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("version %d: %+v, %v", version, got, err)
		}
	}
	if _, err := c.decodeEvent("OrderCancelled", 2, []byte(`{"why":"late"}`)); err == nil {
		t.Error("fields of another version were accepted")
	}
}

func TestCatalogueIsCheckedWhenMade(t *testing.T) {
	cancelled := func(version int) row {
		return define(version, nil, func(order.Cancelled) []Subject { return ofOrder() })
	}
	same := func(fields jsontext.Value) (jsontext.Value, error) { return fields, nil }
	for name, c := range map[string]struct {
		rows []row
		want string
	}{
		"missing first": {[]row{cancelled(2)}, "no upcast from version 1 to 2"},
		"missing link":  {[]row{cancelled(3).upcast(1, same)}, "no upcast from version 2 to 3"},
		"beyond":        {[]row{cancelled(1).upcast(1, same)}, "1 upcasts for version 1"},
		"no version":    {[]row{cancelled(0)}, "versions begin at 1"},
		"twice":         {[]row{cancelled(1), cancelled(1)}, "listed twice"},
	} {
		_, err := newCatalogue(c.rows...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a broken catalogue did not stop the start")
		}
	}()
	mustCatalogue(cancelled(2))
}

func record(t testing.TB, e order.Event, meta Meta) eventstore.Record {
	t.Helper()
	typ, data, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Version == 0 {
		meta.Version = Version(typ)
	}
	return eventstore.Record{
		Event:  eventstore.Event{ID: uuid.New(), Type: typ, JSON: true, Data: data, Metadata: EncodeMeta(meta)},
		Stream: "acme.order-77", Revision: 12, Position: eventstore.At64(99),
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	cancelled := order.Cancelled{Reason: "x", At: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)}

	r := record(t, cancelled, Meta{})
	r.Type = "OrderTeleported"
	_, err := Decode(r, "acme")
	wantError(t, err, ErrUnknownEvent, "OrderTeleported", "acme.order-77", "revision 12", "version 1", "newer docket")

	r = record(t, cancelled, Meta{Version: 2})
	_, err = Decode(r, "acme")
	wantError(t, err, ErrNewerVersion, "OrderCancelled", "acme.order-77", "revision 12", "version 2", "newer docket")

	for name, change := range map[string]func(*eventstore.Record){
		"unknown field":     func(r *eventstore.Record) { r.Data = []byte(`{"at":"2020-01-02T03:04:05Z","extra":1}`) },
		"repeated field":    func(r *eventstore.Record) { r.Data = []byte(`{"reason":"a","reason":"b"}`) },
		"other case":        func(r *eventstore.Record) { r.Data = []byte(`{"Reason":"a"}`) },
		"wrong type":        func(r *eventstore.Record) { r.Data = []byte(`{"reason":1}`) },
		"trailing":          func(r *eventstore.Record) { r.Data = append(r.Data, '1') },
		"no data":           func(r *eventstore.Record) { r.Data = nil },
		"no metadata":       func(r *eventstore.Record) { r.Metadata = nil },
		"version nought":    func(r *eventstore.Record) { r.Metadata = []byte(`{"v":0}`) },
		"another program's": func(r *eventstore.Record) { r.Type, r.Metadata = "ParcelLost", []byte(`{"tenant":"x"}`) },
		"other namespace":   func(r *eventstore.Record) { r.Stream = "order-77" },
		"other category":    func(r *eventstore.Record) { r.Stream = "acme.payment-77" },
	} {
		r := record(t, cancelled, Meta{})
		change(&r)
		if got, err := Decode(r, "acme"); err == nil || errors.Is(err, ErrUnknownEvent) {
			t.Errorf("%s: decoded as %+v, %v", name, got, err)
		}
	}
}

func wantError(t *testing.T, err, is error, parts ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Fatalf("%v is not %v", err, is)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}

func TestPersonalFieldsExist(t *testing.T) {
	for _, e := range samples() {
		typ, data, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range PersonalFields(typ) {
			if p == "/anomalies/*/detail" {
				p = "/anomalies/0/detail"
			}
			if strings.HasPrefix(p, "/shippingAddress/") {
				p = strings.Replace(p, "/shipping", "/billing", 1) // the sample's shipping address is sparse
			}
			if !hasPointer(t, data, p) {
				t.Errorf("%s has no field %s", typ, p)
			}
		}
	}
	if PersonalFields("OrderTeleported") != nil || Version("OrderTeleported") != 0 {
		t.Error("an unknown event has fields")
	}
}

func hasPointer(t *testing.T, data []byte, pointer string) bool {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for part := range jsontext.Pointer(pointer).Tokens() {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			v = x[0]
		default:
			return false
		}
	}
	return v != nil
}

func TestSubjects(t *testing.T) {
	for _, e := range samples() {
		s := Subjects(e)
		if len(s) == 0 || s[len(s)-1] != (Subject{Kind: SubjectOrder}) {
			t.Errorf("%T: subjects %v do not end with the order", e, s)
		}
		for _, one := range s[:len(s)-1] {
			if one.ID == "" {
				t.Errorf("%T: subject %v has no id", e, one)
			}
		}
	}
	got := Subjects(order.RefundGranted{RefundID: "f", PaymentID: "p"})
	want := []Subject{{SubjectRefund, "f"}, {SubjectPayment, "p"}, {SubjectOrder, ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("refund: %v", got)
	}
	if got := Subjects(order.ShipmentDelivered{ShipmentID: "s"})[0]; got != (Subject{SubjectShipment, "s"}) {
		t.Errorf("delivery: %v", got)
	}
}
