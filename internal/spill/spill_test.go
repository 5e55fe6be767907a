package spill

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/google/uuid"
)

// Every record comes back once, those of a stream together and in order, also
// when a file is too large and is dealt out again.
func TestSpill(t *testing.T) {
	dir := t.TempDir()
	s := New(disk.OS(), dir)
	defer s.Close()
	// Half of the bytes belong to one stream, which no dealing can part.
	data := bytes.Repeat([]byte("x"), 64<<10)
	want := map[string]int{}
	for i := range 700 {
		stream := "order-big"
		if i%2 == 1 {
			stream = fmt.Sprint("order-", i%50)
		}
		r := eventstore.Record{
			Event:  eventstore.Event{ID: uuid.New(), Type: "T", JSON: true, Data: data, Metadata: []byte(stream)},
			Stream: stream, Revision: eventstore.Revision(want[stream]), Position: eventstore.Position{Commit: uint64(i), Prepare: uint64(2 * i)},
		}
		if err := s.Add(r); err != nil {
			t.Fatal(err)
		}
		want[stream]++
	}
	got, hands := map[string]int{}, 0
	err := s.Each(func(records []eventstore.Record) error {
		hands++
		here := map[string]bool{}
		for _, r := range records {
			if got[r.Stream] > 0 && !here[r.Stream] {
				t.Errorf("%s was parted", r.Stream)
			}
			here[r.Stream] = true
			if int(r.Revision) != got[r.Stream] || !bytes.Equal(r.Data, data) || string(r.Metadata) != r.Stream || r.Type != "T" || r.Position.Prepare != 2*r.Position.Commit || r.ID == uuid.Nil {
				t.Errorf("record %s %d", r.Stream, r.Revision)
			}
			got[r.Stream]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for stream, n := range want {
		if got[stream] != n {
			t.Errorf("%s: %d of %d records", stream, got[stream], n)
		}
	}
	if hands < 2 || hands > 10 {
		t.Errorf("handed over in %d parts", hands)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

func TestSpillThatWasCut(t *testing.T) {
	s := New(disk.OS(), t.TempDir())
	defer s.Close()
	if err := s.Add(eventstore.Record{Stream: "order-1", Event: eventstore.Event{Type: "T"}}); err != nil {
		t.Fatal(err)
	}
	for i, w := range s.w {
		if n := s.sizes[i]; n > 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if err := s.files[i].Truncate(n - 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Each(func([]eventstore.Record) error { return nil }); err == nil {
		t.Error("a record that was cut was not noticed")
	}
}
