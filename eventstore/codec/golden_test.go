package codec

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
)

var update = flag.Bool("update", false, "write the golden files that are missing; existing ones are a contract and stay")

// samples has one event of every type with every field set.
func samples() []order.Event {
	at := time.Date(2017, 10, 2, 10, 56, 33, 120_000_000, time.UTC)
	eur := func(s string) money.Amount { return money.MustParse(s, "EUR") }
	address := order.Address{
		Name: "Zoë Ångström", Company: "Ö & Co", Street: "Rua \"A\" 1", PostalCode: "01310-100",
		City: "São Paulo", State: "SP", Country: "BR", Phone: "+55 11 5555",
	}
	line := order.Line{
		ID: "l1", SKU: "85123A", Title: "White <heart> holder", Quantity: 6,
		UnitPrice: eur("2.555"), Metadata: map[string]string{"seller": "s1", "batch": "7"},
	}
	some := []order.LineQuantity{{LineID: "l1", Quantity: 2}, {LineID: "l2", Quantity: 1}}
	return []order.Event{
		order.Placed{
			Number: "536365", Kind: order.KindOrder,
			Source:   &order.Source{System: "olist", ID: "e481f51cbdc54678b7cc49136f2d6af7", Status: "delivered"},
			Customer: order.Customer{ID: "17850", Name: "Zoë Ångström", Email: "zoe@example.com"},
			Currency: "EUR", Lines: []order.Line{line, {ID: "l2", SKU: "71053", Quantity: 1, UnitPrice: eur("3.39")}},
			Shipping: eur("8.72"), Discount: eur("1.00"), Tax: eur("0.19"),
			BillingAddress: &address, ShippingAddress: &order.Address{City: "Lyon", Country: "FR"},
			Tags: []string{"gift", "olist:delivered"}, Metadata: map[string]string{"z": "1", "a": "2"}, At: at,
		},
		order.Confirmed{At: at},
		order.ShippingAddressChanged{Address: address, At: at},
		order.EditProposed{EditID: "e1", Changes: []order.LineChange{
			{Op: "add", Line: &line}, {Op: "remove", LineID: "l2"},
			{Op: "reprice", LineID: "l1", UnitPrice: eur("2.00")}, {Op: "quantity", LineID: "l1", Quantity: 9},
		}, Reason: "asked by phone", At: at},
		order.EditConfirmed{EditID: "e1", Lines: []order.Line{line}, At: at},
		order.EditDeclined{EditID: "e1", Reason: "too late", At: at},
		order.TagsSet{Tags: []string{"a", "b"}, At: at},
		order.MetadataSet{Metadata: map[string]string{"b": "2", "a": "1"}, At: at},
		order.NoteAdded{NoteID: "n1", Text: "Leave at the door\nplease", Author: "ann", At: at},
		order.HoldPlaced{HoldID: "h1", Reason: "fraud check", At: at},
		order.HoldReleased{HoldID: "h1", Reason: "fine", At: at},
		order.PaymentAuthorised{PaymentID: "p1", Method: "credit_card", Amount: eur("27.00"), Reference: "auth-1", At: at},
		order.PaymentCaptured{PaymentID: "p1", CaptureID: "c1", Method: "credit_card", Amount: eur("27.00"), Reference: "ch-1", At: at},
		order.PaymentFailed{PaymentID: "p1", Method: "boleto", Reason: "expired", At: at},
		order.PaymentVoided{PaymentID: "p1", Reason: "cancelled", At: at},
		order.ShipmentDispatched{ShipmentID: "s1", Lines: some, Carrier: "DHL", TrackingNumber: "JD014", At: at},
		order.ShipmentUpdated{ShipmentID: "s1", Carrier: "UPS", TrackingNumber: "1Z", At: at},
		order.ShipmentDelivered{ShipmentID: "s1", Lines: some, At: at},
		order.ReturnRequested{ReturnID: "r1", Lines: some, Reason: "too small", At: at},
		order.ReturnReceived{ReturnID: "r1", Lines: []order.ReturnedLine{{LineID: "l1", Quantity: 2, Condition: "opened"}}, At: at},
		order.ReturnRejected{ReturnID: "r1", Reason: "worn", At: at},
		order.RefundGranted{RefundID: "f1", PaymentID: "p1", Amount: eur("5.11"), ReturnID: "r1", Reason: "return", At: at},
		order.RefundCompleted{RefundID: "f1", Reference: "re-1", At: at},
		order.RefundFailed{RefundID: "f1", Reason: "card closed", At: at},
		order.LinesCancelled{CancellationID: "c1", Lines: some, Reason: "out of stock", Discount: eur("0.50"), Tax: eur("0.10"), At: at},
		order.Cancelled{Reason: "changed my mind", At: at},
		order.AdoptionCompleted{Anomalies: []order.Anomaly{{Kind: order.AnomalyNoPayment, Detail: "none", LineID: "l1"}}, At: at},
	}
}

// TestGolden holds the stored form of every version: what was written once is
// read for ever, and what is written today is what the file says.
func TestGolden(t *testing.T) {
	for _, e := range samples() {
		typ, data, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(typ, func(t *testing.T) {
			path := filepath.Join("testdata", "v1", typ+".json")
			if _, err := os.Stat(path); os.IsNotExist(err) && *update {
				if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(data)+"\n" != string(golden) {
				t.Errorf("encodes as\n%s\nwant\n%s", data, golden)
			}
			got, err := catalogue.decodeEvent(typ, 1, golden)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, e) {
				t.Errorf("decodes as\n%+v\nwant\n%+v", got, e)
			}
		})
	}
}

// TestEveryEventIsListed compares the events that domain/order declares with
// the catalogue, the samples and the golden files.
func TestEveryEventIsListed(t *testing.T) {
	declared := declaredEvents(t)
	if got := Types(); !slices.Equal(got, declared) {
		t.Errorf("catalogue lists\n%v\ndomain/order declares\n%v", got, declared)
	}
	var sampled []string
	for _, e := range samples() {
		sampled = append(sampled, "Order"+reflect.TypeOf(e).Name())
		if v := reflect.ValueOf(e); !everyFieldSet(v) {
			t.Errorf("sample of %T leaves a field empty", e)
		}
	}
	slices.Sort(sampled)
	if !slices.Equal(sampled, declared) {
		t.Errorf("samples cover %v, want %v", sampled, declared)
	}
	files, err := filepath.Glob("testdata/v*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	versions := 0
	for _, typ := range Types() {
		versions += Version(typ)
	}
	if len(files) != versions {
		t.Errorf("%d golden files for %d versions", len(files), versions)
	}
}

func everyFieldSet(v reflect.Value) bool {
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			return false
		}
	}
	return true
}

// declaredEvents reads the source for the receivers of isEvent.
func declaredEvents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../domain/order/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Name.Name == "isEvent" && f.Recv != nil {
				names = append(names, "Order"+f.Recv.List[0].Type.(*ast.Ident).Name)
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("found only %v", names)
	}
	slices.Sort(names)
	return names
}
