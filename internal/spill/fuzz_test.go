package spill

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/docket-orders/docket/eventstore"
)

// FuzzRecords: records come back as they were; what is no record, or the half of
// one, is refused before memory is made for it.
func FuzzRecords(f *testing.F) {
	one := appendRecord(nil, eventstore.Record{
		Event:  eventstore.Event{Type: "OrderPlaced", Data: []byte(`{}`), Metadata: []byte(`{"v":1}`), JSON: true},
		Stream: "order-1", Revision: 3, Position: eventstore.At64(9),
	})
	f.Add(one)
	f.Add(append(bytes.Clone(one), one...))
	f.Add(one[:len(one)-1])
	f.Add([]byte{0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	read := func(data []byte) (records []eventstore.Record, err error) {
		in := reader{Reader: bufio.NewReader(bytes.NewReader(data)), names: map[string]string{}}
		for {
			r, err := in.record()
			if err != nil {
				return records, err
			}
			records = append(records, r)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := read(data)
		if err == nil {
			t.Fatal("it does not end")
		}
		var written []byte
		for _, r := range records {
			written = appendRecord(written, r)
		}
		again, end := read(written)
		if !errors.Is(end, io.EOF) || len(again) != len(records) {
			t.Fatalf("%d records came back as %d, %v", len(records), len(again), end)
		}
		var twice []byte
		for _, r := range again {
			twice = appendRecord(twice, r)
		}
		if !bytes.Equal(twice, written) {
			t.Fatal("they came back as others")
		}
	})
}
