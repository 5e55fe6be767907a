package codec

import (
	"errors"
	"reflect"
	"testing"
)

func TestHistoryRoundTrip(t *testing.T) {
	data, err := MarshalHistory(samples())
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalHistory(data)
	if err != nil || !reflect.DeepEqual(got, samples()) {
		t.Errorf("%+v, %v", got, err)
	}
	if data, err := MarshalHistory(nil); err != nil || string(data) != "[]" {
		t.Errorf("no events: %s, %v", data, err)
	}
}

func TestHistorySaysWhereItIsWrong(t *testing.T) {
	const ok = `{"type":"OrderConfirmed","data":{"at":"2020-01-01T00:00:00Z"}}`
	for data, pointer := range map[string]string{
		``:                "",
		`{}`:              "",
		`null`:            "",
		`[`:               "",
		`[] []`:           "",
		`[` + ok + `,1]`:  "/1",
		`[` + ok + `,{}]`: "/1/type",
		`[` + ok + `,{"type":"OrderLost","data":{}}]`: "/1/type",
		`[{"type":1}]`:                                                                               "/0/type",
		`[{"type":"OrderConfirmed"}]`:                                                                "/0/data",
		`[{"type":"OrderConfirmed","data":[]}]`:                                                      "/0/data",
		`[{"type":"OrderConfirmed","data":{},"when":1}]`:                                             "/0/when",
		`[{"type":"OrderConfirmed","type":"OrderPlaced","data":{}}]`:                                 "/0/type",
		`[` + ok + `,{"type":"OrderConfirmed","data":{"why":"x"}}]`:                                  "/1/data/why",
		`[{"type":"OrderConfirmed","data":{"at":"soon"}}]`:                                           "/0/data/at",
		`[{"type":"OrderPlaced","data":{"lines":[{"quantity":1.5}]}}]`:                               "/0/data/lines/0/quantity",
		`[{"type":"OrderPlaced","data":{"lines":[{},{"unitPrice":{"amount":1,"currency":"EUR"}}]}}]`: "/0/data/lines/1/unitPrice",
	} {
		_, err := UnmarshalHistory([]byte(data))
		var at *HistoryError
		if !errors.As(err, &at) || at.Pointer != pointer || at.Error() == "" {
			t.Errorf("%s: %v, want an error at %q", data, err, pointer)
		}
	}
}
