package httpapi

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
)

// hostile bodies of POST /v1/orders, with the place that is named.
var hostile = []struct{ name, body, pointer, detail string }{
	{"unknown field", `{"colour":1}`, "/colour", "unknown field"},
	{"unknown field below", `{"currency":"EUR","lines":[{"id":"1","sku":"a","quantity":1,"price":2}]}`, "/lines/0/price", "unknown field"},
	{"wrong case", `{"Currency":"EUR"}`, "/Currency", "unknown field"},
	{"duplicate", `{"currency":"EUR","currency":"USD"}`, "/currency", "twice"},
	{"duplicate below", `{"metadata":{"a":"1","a":"2"}}`, "/metadata/a", "twice"},
	{"duplicate by escape", `{"currency":"EUR","c\u0075rrency":"USD"}`, "/currency", "twice"},
	{"trailing data", `{} {}`, "", ""},
	{"trailing brace", `{}}`, "", ""},
	{"not JSON", `hello`, "", ""},
	{"cut off", `{"currency":"EUR"`, "", ""},
	{"comment", `{/*x*/}`, "", ""},
	{"trailing comma", `{"currency":"EUR",}`, "", ""},
	{"array", `[]`, "", "object"},
	{"null", `null`, "", "object"},
	{"number", `17`, "", "object"},
	{"string quantity", `{"lines":[{"id":"1","sku":"a","quantity":"2"}]}`, "/lines/0/quantity", "whole number"},
	{"fraction", `{"lines":[{"id":"1","sku":"a","quantity":1.5}]}`, "/lines/0/quantity", "whole number"},
	{"huge number", `{"lines":[{"id":"1","sku":"a","quantity":99999999999999999999}]}`, "/lines/0/quantity", "range"},
	{"exponent", `{"lines":[{"id":"1","sku":"a","quantity":1e400}]}`, "/lines/0/quantity", "whole number"},
	{"object for array", `{"lines":{}}`, "/lines", "array"},
	{"number for text", `{"number":17}`, "/number", "string"},
	{"nested nonsense", `{"lines":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "", ""},
	{"deep unknown", `{"x":` + strings.Repeat(`{"x":`, 20000) + "1" + strings.Repeat("}", 20000) + `}`, "/x", ""},
	{"invalid UTF-8", "{\"number\":\"a\xff\"}", "", ""},
	{"invalid UTF-8 in a name", "{\"\xff\":1}", "", ""},
	{"lone surrogate", `{"number":"\ud800"}`, "", ""},
	{"control character", "{\"number\":\"a\nb\"}", "", ""},
	{"byte order mark", "\ufeff{}", "", ""},
	{"NUL", "{}\x00", "", ""},
	{"money as number", `{"currency":"EUR","lines":[{"id":"1","sku":"a","quantity":1,"unitPrice":12.5}]}`, "/lines/0/unitPrice", "money is written"},
	{"amount as number", `{"shipping":{"amount":1,"currency":"EUR"}}`, "/shipping/amount", "a string"},
	{"money with more", `{"shipping":{"amount":"1","currency":"EUR","x":1}}`, "/shipping/x", "unknown field"},
	{"money twice", `{"shipping":{"amount":"1","amount":"2","currency":"EUR"}}`, "/shipping/amount", "twice"},
	{"money without currency", `{"shipping":{"amount":"1"}}`, "/shipping", "money is written"},
	{"no such currency", `{"shipping":{"amount":"1","currency":"XXX"}}`, "/shipping/currency", "ISO 4217"},
	{"no decimal", `{"shipping":{"amount":"1e3","currency":"EUR"}}`, "/shipping/amount", ""},
	{"currency of an order", `{"currency":"eur","lines":[]}`, "/currency", "ISO 4217"},
	{"currency null", `{"currency":null,"lines":[]}`, "/currency", ""},
	{"time without zone", `{"at":"2018-01-31T12:00:00"}`, "/at", "RFC 3339"},
	{"day for time", `{"at":"2018-01-31"}`, "/at", "RFC 3339"},
	{"no such day", `{"at":"2018-02-30T12:00:00Z"}`, "/at", "RFC 3339"},
	{"time as number", `{"at":1517400000}`, "/at", "RFC 3339"},
	{"comma in time", `{"at":"2018-01-31T12:00:00,5Z"}`, "/at", "RFC 3339"},
	{"year 0", `{"at":"0000-01-01T00:00:00Z"}`, "/at", "years"},
	{"missing", `{"lines":[]}`, "/currency", "missing"},
	{"missing below", `{"currency":"EUR","lines":[{"id":"1","sku":"a","quantity":1}]}`, "/lines/0/unitPrice", "missing"},
	{"null for required", `{"currency":"EUR","lines":null}`, "/lines", "missing"},
	{"pointer is escaped", `{"a/b~c":1}`, "/a~1b~0c", "unknown field"},
}

func TestDecodeRefusesHostileBodies(t *testing.T) {
	t.Parallel()
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			body, err := placeReader.read([]byte(c.body))
			var p *Problem
			if !errors.As(err, &p) {
				t.Fatalf("decoded to %+v, %v", body, err)
			}
			if p.Status != 400 || len(p.Errors) != 1 || p.Errors[0].Pointer == nil {
				t.Fatalf("want one place and 400, got %+v", p)
			}
			if c.pointer != "" && *p.Errors[0].Pointer != c.pointer {
				t.Errorf("pointer %q, want %q", *p.Errors[0].Pointer, c.pointer)
			}
			if !strings.Contains(p.Errors[0].Detail, c.detail) {
				t.Errorf("detail %q, want %q in it", p.Errors[0].Detail, c.detail)
			}
			if len(p.Detail) > 2000 && c.name != "deep unknown" && c.name != "nested nonsense" {
				t.Errorf("detail has %d bytes", len(p.Detail))
			}
		})
	}
}

func TestDecodeReadsWhatIsMeant(t *testing.T) {
	t.Parallel()
	body, err := placeReader.read([]byte(`{"id":"a","currency":"EUR","lines":[{"id":"1","sku":"\u0061","quantity":2,"unitPrice":{"currency":"EUR","amount":"0.001"}}],
		"at":"2018-01-31T12:00:00.1234567+02:00","shipping":null,"shippingAddress":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2018, 1, 31, 10, 0, 0, 123456000, time.UTC); !body.At.Equal(want) || body.At.Location() != time.UTC {
		t.Errorf("at is %v, want %v", body.At, want)
	}
	if body.Lines[0].UnitPrice.Decimal() != "0.001" || body.Lines[0].SKU != "a" || body.ID != "a" {
		t.Errorf("read %+v", body)
	}
	if _, err := readerOf[order.Confirm]().read([]byte(" \n")); err != nil {
		t.Errorf("an empty body for a command that needs nothing: %v", err)
	}
}

func TestFingerprintIgnoresWriting(t *testing.T) {
	t.Parallel()
	same := fingerprint("POST", "/a", []byte(`{"a":1,"b":"x"}`))
	if got := fingerprint("POST", "/a", []byte("{ \"b\":\"\\u0078\",\n\"a\":1}")); got != same {
		t.Error("white space, order and escapes made a difference")
	}
	if fingerprint("POST", "/a", nil) != fingerprint("POST", "/a", []byte("{}")) {
		t.Error("no body is not the empty object")
	}
	for _, other := range []string{`{"a":2,"b":"x"}`, `{"a":1}`, `{"a":9007199254740993,"b":"x"}`} {
		if fingerprint("POST", "/a", []byte(other)) == same {
			t.Errorf("%s is the same as another body", other)
		}
	}
	if fingerprint("POST", "/a", []byte(`{"a":9007199254740993}`)) == fingerprint("POST", "/a", []byte(`{"a":9007199254740992}`)) {
		t.Error("large numbers are taken for floats")
	}
	if fingerprint("POST", "/b", []byte(`{"a":1,"b":"x"}`)) == same {
		t.Error("the path makes no difference")
	}
}

func TestETags(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]int64{`"17"`: 17, `"17.g3"`: 17, `"0"`: 0} {
		if got, ok := revisionOf(tag); !ok || got != want {
			t.Errorf("%s: %d %v", tag, got, ok)
		}
	}
	for _, tag := range []string{``, `17`, `"17`, `"-1"`, `"17.g"`, `"17.gx"`, `W/"17"`, `"17", "18"`, `"99999999999999999999"`, `" 17"`} {
		if got, ok := revisionOf(tag); ok {
			t.Errorf("%s was read as %d", tag, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte(c.body))
	}
	for _, rt := range routes {
		f.Add([]byte(rt.example))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, dst := range []any{&PlaceBody{}, &order.ProposeEdit{}, &AdoptionLine{}, &order.SetMetadata{}} {
			err := decode(data, dst, shapeOf(reflect.TypeOf(dst)))
			var p *Problem
			if err != nil && (!errors.As(err, &p) || p.Status != 400) {
				t.Fatalf("%T: %v", dst, err)
			}
		}
		fingerprint("POST", "/", data)
	})
}
