package eventstore

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestStreamMetadataJSON(t *testing.T) {
	for text, want := range map[string]StreamMetadata{
		`{}`:                                   {},
		`{"$maxCount":3,"$maxAge":60,"$tb":7}`: {MaxCount: 3, MaxAge: time.Minute, TruncateBefore: 7},
		`{"$tb":9223372036854775807}`:          {TruncateBefore: EndRevision},
		`{"$acl":{"$r":"all"},"n":1.50}`:       {Custom: map[string]any{"$acl": map[string]any{"$r": "all"}, "n": json.Number("1.50")}},
	} {
		var got StreamMetadata
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads %+v, %v; want %+v", text, got, err, want)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back StreamMetadata
		if err := json.Unmarshal(again, &back); err != nil || !reflect.DeepEqual(back, want) {
			t.Errorf("%s was written again as %s", text, again)
		}
	}
	for _, text := range []string{`{"$maxCount":"3"}`, `{"$tb":1.5}`, `{"$maxAge":9223372036854775807}`, `{"$tb":9223372036854775808}`, `[1]`, `not JSON`} {
		var got StreamMetadata
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s reads %+v, want an error", text, got)
		}
	}
	var got StreamMetadata
	if err := json.Unmarshal([]byte(`{"$maxCount":0,"$maxAge":-1,"$tb":-5}`), &got); err != nil || !reflect.DeepEqual(got, StreamMetadata{}) {
		t.Errorf("limits that are not positive read %+v, %v", got, err)
	}
}
