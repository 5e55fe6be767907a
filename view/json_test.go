package view_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/view"
)

// hostile texts are those that JSON writes otherwise than they are, among others.
var hostile = []string{"", "", "plain", "o'clock", `"quoted"`, `back\slash`, "<b>&amp;</b>", "Ünï", "訂單", "\u2028\u2029", "a\x00b\tc\n", "half \xff rune", "\x7f", "👍", "{\"a\":1}"}

// fill puts anything into every field there is, of whatever depth.
func fill(rng *rand.Rand, v reflect.Value) {
	pick := func(n int) bool { return rng.IntN(n) == 0 }
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(rng.Int64N(253402300800), rng.Int64N(1e9)*rng.Int64N(2)).In(time.FixedZone("", 60*(rng.IntN(1600)-800)*rng.IntN(2)))
		if pick(10) {
			*at = time.Time{}
		}
		return
	case *money.Amount:
		if !pick(6) {
			*at = money.Minor(rng.Int64N(2_000_000)-1_000_000, []money.Currency{"EUR", "JPY", "KWD"}[rng.IntN(3)])
		}
		if pick(4) {
			*at, _ = money.Parse([]string{"-0.000001", "12.345", "0", "0.5", "-7", "9223372036854.775807"}[rng.IntN(6)], "EUR")
		}
		return
	case *json.RawMessage:
		*at = []json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(` { "a" : [ 1, "<" ] } `)}[rng.IntN(3)]
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile[rng.IntN(len(hostile))])
	case reflect.Int64:
		if !pick(3) {
			v.SetInt(int64(rng.Uint64()) >> rng.IntN(64))
		}
	case reflect.Pointer:
		if !pick(3) {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		if pick(6) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Map:
		if pick(4) {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range rng.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(rng, key)
			fill(rng, value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	default:
		panic("how is a " + v.Type().String() + " filled?")
	}
}

// TestAppendJSON: the order is written as encoding/json writes it, whatever is in
// any of its fields, also in one that is added some day.
func TestAppendJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5_000 {
		var o view.Order
		fill(rng, reflect.ValueOf(&o).Elem())
		want, err := json.Marshal(&o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.AppendJSON([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(got, want) {
			t.Fatalf("is     %s\nshould %s", got, want)
		}
	}
	empty, err := new(view.Order).AppendJSON(nil)
	if want, _ := json.Marshal(new(view.Order)); err != nil || !bytes.Equal(empty, want) {
		t.Errorf("is     %s\nshould %s", empty, want)
	}
}

func TestWhatJSONCannotSay(t *testing.T) {
	late := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, o := range map[string]view.Order{
		"a year of five digits": {PlacedAt: late},
		"in a list":             {Notes: []view.Note{{At: late}}},
		"a zone of a day":       {UpdatedAt: time.Now().In(time.FixedZone("", 24*3600))},
		"a model that is none":  {Model: json.RawMessage("{")},
	} {
		_, want := json.Marshal(&o)
		if b, err := o.AppendJSON(nil); err == nil || want == nil || b != nil {
			t.Errorf("%s: %v, encoding/json says %v", name, err, want)
		}
	}
}

// BenchmarkAppendJSON is against encoding/json.
func BenchmarkAppendJSON(b *testing.B) {
	var o view.Order
	if err := json.Unmarshal([]byte(usual), &o); err != nil {
		b.Fatal(err)
	}
	b.Run("AppendJSON", func(b *testing.B) {
		var out []byte
		for b.Loop() {
			out, _ = o.AppendJSON(out[:0])
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(&o)
		}
	})
}

const usual = `{"id":"3K42NVHD37","number":"3K42NVHD37","kind":"order","customer":{"id":"FR-021","name":"Jean Garson","email":"customer021@fr.example.com"},"status":"open","paymentStatus":"paid","fulfilmentStatus":"delivered","holds":[],"tags":["generated"],"currency":"EUR","lines":[{"id":"1","sku":"MUG-BLUE","title":"Stoneware mug, blue","quantity":2,"unitPrice":{"amount":"12.90","currency":"EUR"},"total":{"amount":"25.80","currency":"EUR"},"shipped":2,"delivered":2,"returned":0},{"id":"2","sku":"BLANKET","title":"Linen blanket 140 x 200","quantity":4,"unitPrice":{"amount":"89.00","currency":"EUR"},"total":{"amount":"356.00","currency":"EUR"},"shipped":4,"delivered":4,"returned":0}],"cancelledLines":[],"totals":{"items":{"amount":"381.80","currency":"EUR"},"shipping":{"amount":"5.90","currency":"EUR"},"discount":{"amount":"0.00","currency":"EUR"},"tax":{"amount":"0.00","currency":"EUR"},"grand":{"amount":"387.70","currency":"EUR"},"rounding":{"amount":"0.00","currency":"EUR"},"paid":{"amount":"387.70","currency":"EUR"},"refunded":{"amount":"0.00","currency":"EUR"}},"payments":[{"id":"1","method":"card","status":"captured","authorised":{"amount":"387.70","currency":"EUR"},"captured":{"amount":"387.70","currency":"EUR"},"at":"2025-09-23T01:05:03Z"}],"refunds":[],"shipments":[{"id":"1","status":"delivered","lines":[{"lineId":"1","quantity":2},{"lineId":"2","quantity":4}],"carrier":"DHL","dispatchedAt":"2025-09-24T01:05:03Z","deliveredAt":"2025-09-26T01:05:03Z"}],"returns":[],"edits":[],"notes":[],"shippingAddress":{"name":"Jean Garson","street":"rue des Ecoles 98","postalCode":"83772","city":"Lyon","country":"FR"},"country":"FR","city":"Lyon","anomalies":[],"placedAt":"2025-09-23T01:05:03Z","deliveredAt":"2025-09-26T01:05:03Z","updatedAt":"2026-01-22T07:25:37.852322Z","revision":5,"position":"2006"}`
