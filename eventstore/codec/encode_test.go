package codec

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	meta := Meta{
		CommandID: uuid.New(), Command: "cancel", Fingerprint: "ab12", CorrelationID: "c\"1", CausationID: "c2",
		Actor: "Zoë <ops>", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Version: 1,
		RecordedAt: time.Date(2024, 2, 29, 23, 59, 59, 999_999_000, time.UTC),
	}
	for _, e := range samples() {
		r := record(t, e, meta)
		got, err := Decode(r, "acme")
		if err != nil {
			t.Fatal(err)
		}
		want := Recorded{
			OrderID: "77", Revision: 12, Position: eventstore.At64(99), EventID: r.ID, Type: r.Type, Event: e, Meta: meta,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
		at, err := BusinessTime(r)
		if err != nil || !at.Equal(e.OccurredAt()) {
			t.Errorf("%s: business time %v, %v; want %v", r.Type, at, err, e.OccurredAt())
		}
	}
}

// TestNothingIsNotAbsent: an amount of nought keeps its currency.
func TestNothingIsNotAbsent(t *testing.T) {
	e := order.EditProposed{EditID: "e", Changes: []order.LineChange{
		{Op: "reprice", LineID: "l", UnitPrice: money.Zero("EUR")}, {Op: "remove", LineID: "m"},
	}}
	got, err := Decode(record(t, e, Meta{}), "acme")
	if err != nil || !reflect.DeepEqual(got.Event, e) {
		t.Errorf("%+v, %v", got.Event, err)
	}
}

func TestEncodePanicsOnAnUnlistedType(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var none order.Event
	_, _, _ = Encode(none)
}

func TestMetaSurvivesAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Meta{
			CommandID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Command:   rapid.String().Draw(t, "command"), Fingerprint: rapid.String().Draw(t, "fingerprint"),
			CorrelationID: rapid.String().Draw(t, "correlation"), CausationID: rapid.String().Draw(t, "causation"),
			Actor: rapid.String().Draw(t, "actor"), TraceParent: rapid.String().Draw(t, "trace"),
			Version:    rapid.IntRange(1, 9).Draw(t, "version"),
			RecordedAt: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC(),
		}
		data := EncodeMeta(m)
		got, err := DecodeMeta(data)
		if err != nil || got != m {
			t.Fatalf("%s: %+v, %v; want %+v", data, got, err, m)
		}
		m.RecordedAt = time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "stamp")).UTC()
		StampMeta(data, m.RecordedAt)
		if got, err = DecodeMeta(data); err != nil || got != m {
			t.Fatalf("stamped %s: %+v, %v; want %+v", data, got, err, m)
		}
	})
}

func TestStampMetaPanicsOnOtherMetadata(t *testing.T) {
	for _, s := range []string{``, `{}`, `{"recordedAt":"2020"}`, string(EncodeMeta(Meta{})) + " "} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("stamped %q", s)
				}
			}()
			StampMeta([]byte(s), time.Now())
		}()
	}
}

func TestDecodeMetaPassesOverForeignFields(t *testing.T) {
	m, err := DecodeMeta([]byte(`{"v":1,"$causationId":"x","somebody":{"else":[1]}}`))
	if err != nil || m.Version != 1 || m.CausationID != "x" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestBusinessTimeIsFoundAnywhere(t *testing.T) {
	want := time.Date(2020, 1, 2, 3, 4, 5, 600_000, time.UTC)
	const at = `"at":"2020-01-02T03:04:05.0006Z"`
	for _, data := range []string{
		`{` + at + `}`,
		`{"a":1,` + at + `}`,
		`{` + at + `,"a":1}`,
		`{"x":{"at":"1999-01-01T00:00:00Z"},` + at + `}`,
		`{` + at + `,"x":{"at":"1999-01-01T00:00:00Z"}}`,
		`{` + at + `,"note":"\"at\":\"1999-01-01T00:00:00Z"}`,
		`{` + at + `,"note":",\"at\":\"1999-01-01T00:00:00Z"}`,
		` { "b" : "\\" , "at" : "2020-01-02T03:04:05.0006Z" } `,
	} {
		got, err := BusinessTime(eventstore.Record{Event: eventstore.Event{Data: []byte(data)}})
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", data, got, err)
		}
	}
	for _, data := range []string{``, `{}`, `{"at":null}`, `{"at":1}`, `{"at":"soon"}`, `[]`, `{"x":"at\":\"2020-01-02T03:04:05Z"}`} {
		if got, err := BusinessTime(eventstore.Record{Event: eventstore.Event{Data: []byte(data)}}); err == nil {
			t.Errorf("%s: %v", data, got)
		}
	}
}

func TestEncodeIsDeterministic(t *testing.T) {
	m := map[string]string{}
	for _, k := range strings.Split("q w e r t y u i o p a s d f g h", " ") {
		m[k] = k
	}
	_, first, err := Encode(order.MetadataSet{Metadata: m})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, again, err := Encode(order.MetadataSet{Metadata: m}); err != nil || string(again) != string(first) {
			t.Fatalf("%s, %v; want %s", again, err, first)
		}
	}
}

// FuzzDecode: whatever is stored, decoding answers or refuses; what it answers
// encodes to something that decodes the same.
func FuzzDecode(f *testing.F) {
	for _, e := range samples() {
		r := record(f, e, Meta{})
		f.Add(r.Type, r.Data, r.Metadata)
	}
	f.Add("OrderPlaced", []byte(`{"lines":[{"unitPrice":{"amount":"1e9","currency":"EUR"}}]}`), []byte(`{"v":1}`))
	f.Add("OrderPlaced", []byte(`{"shipping":{"amount":"1.000000000000000000000","currency":"EUR"}}`), []byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, typ string, data, metadata []byte) {
		r := eventstore.Record{
			Event: eventstore.Event{Type: typ, JSON: true, Data: data, Metadata: metadata}, Stream: "order-1",
		}
		_, _ = BusinessTime(r)
		first, err := Decode(r, "")
		if err != nil {
			return
		}
		Subjects(first.Event)
		r.Type, r.Data, err = Encode(first.Event)
		if err != nil {
			t.Fatalf("decoded %s but cannot encode it: %v", data, err)
		}
		second, err := Decode(r, "")
		if err != nil {
			t.Fatalf("%s encodes as %s: %v", data, r.Data, err)
		}
		if _, again, _ := Encode(second.Event); string(again) != string(r.Data) {
			t.Fatalf("%s then %s", r.Data, again)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, e := range samples() {
		switch e.(type) {
		case order.Placed, order.PaymentCaptured, order.Confirmed:
		default:
			continue
		}
		r := record(b, e, Meta{Command: "adopt", Fingerprint: strings.Repeat("ab", 32), Actor: "import", RecordedAt: time.Now()})
		b.Run(r.Type, func(b *testing.B) {
			b.SetBytes(int64(len(r.Data) + len(r.Metadata)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(r, "acme"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	e := samples()[0]
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBusinessTime(b *testing.B) {
	r := record(b, samples()[0], Meta{})
	for b.Loop() {
		if _, err := BusinessTime(r); err != nil {
			b.Fatal(err)
		}
	}
}
