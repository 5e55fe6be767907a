package reading

import (
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// TestFramesAreWhatTheGeneratedCodeReads: whatever the record, a frame is the
// message that protocol buffers would have written.
func TestFramesAreWhatTheGeneratedCodeReads(t *testing.T) {
	// One encoder for all, so that one frame cannot run into the next.
	encoders := map[bool]*encoder{true: {textIDs: true}, false: {}}
	type written struct {
		frame *frame
		want  *streams.ReadResp
	}
	var all []written
	rapid.Check(t, func(t *rapid.T) {
		rec := anyRecord(t, "record")
		isLink := rapid.Bool().Draw(t, "link")
		var target *eventstore.Record
		if isLink && rapid.Bool().Draw(t, "readable") {
			target = anyRecord(t, "target")
		}
		text := rapid.Bool().Draw(t, "text")
		all = append(all, written{encoders[text].frame(rec, isLink, target), generated(rec, isLink, target, text)})
		alone := (&encoder{textIDs: text}).alone(rec, isLink, target)
		sameMessage(t, alone, all[len(all)-1].want)
	})
	for _, w := range all {
		sameMessage(t, w.frame, w.want)
	}
}

func sameMessage(t interface{ Fatalf(string, ...any) }, f *frame, want *streams.ReadResp) {
	buffers, err := Codec().Marshal(f)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var got streams.ReadResp
	if err := Codec().Unmarshal(buffers, &got); err != nil {
		t.Fatalf("%v", err)
	}
	if !proto.Equal(&got, want) {
		t.Fatalf("frame is\n%v\nwant\n%v", &got, want)
	}
	if len(got.ProtoReflect().GetUnknown()) > 0 {
		t.Fatalf("unknown fields")
	}
	if n := proto.Size(want); n != buffers.Len() {
		t.Fatalf("frame has %d bytes, want %d", buffers.Len(), n)
	}
}

func anyRecord(t *rapid.T, label string) *eventstore.Record {
	r := &eventstore.Record{
		Event: eventstore.Event{
			Type:     rapid.String().Draw(t, label+" type"),
			JSON:     rapid.Bool().Draw(t, label+" json"),
			Data:     rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, label+" data"),
			Metadata: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, label+" metadata"),
		},
		Stream:   rapid.StringN(1, -1, -1).Draw(t, label+" stream"),
		Revision: eventstore.Revision(rapid.Int64Min(0).Draw(t, label+" revision")),
		Position: eventstore.At64(rapid.Uint64().Draw(t, label+" position")),
		Created:  time.Unix(0, rapid.Int64().Draw(t, label+" created")),
	}
	copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label+" id"))
	if rapid.Bool().Draw(t, label+" plain id") {
		r.ID = uuid.UUID{}
	}
	return r
}

func generated(rec *eventstore.Record, isLink bool, target *eventstore.Record, text bool) *streams.ReadResp {
	message := func(r *eventstore.Record) *streams.ReadResp_ReadEvent_RecordedEvent {
		return &streams.ReadResp_ReadEvent_RecordedEvent{
			Id:               wire.UUID(r.ID, text),
			StreamIdentifier: wire.Stream(r.Stream),
			StreamRevision:   uint64(r.Revision),
			PreparePosition:  r.Position.Prepare,
			CommitPosition:   r.Position.Commit,
			Metadata:         wire.Metadata(*r),
			CustomMetadata:   r.Metadata,
			Data:             r.Data,
		}
	}
	event := &streams.ReadResp_ReadEvent{Position: &streams.ReadResp_ReadEvent_CommitPosition{CommitPosition: rec.Position.Commit}}
	switch {
	case !isLink:
		event.Event = message(rec)
	case target != nil:
		event.Event = message(target)
		fallthrough
	default:
		event.Link = message(rec)
	}
	return &streams.ReadResp{Content: &streams.ReadResp_Event{Event: event}}
}

// TestATypeThatIsNoTextCanBeRead: clients decode types as text, and would fail
// on the whole message.
func TestATypeThatIsNoTextCanBeRead(t *testing.T) {
	rec := &eventstore.Record{Event: eventstore.Event{Type: "a\xffb"}, Stream: "s"}
	want := generated(rec, false, nil, false)
	want.GetEvent().GetEvent().Metadata[wire.KeyType] = "a\uFFFDb"
	sameMessage(t, (&encoder{}).frame(rec, false, nil), want)
}

func BenchmarkFrame(b *testing.B) {
	rec := &eventstore.Record{
		Event:    eventstore.Event{ID: uuid.New(), Type: "OrderPlaced", JSON: true, Data: make([]byte, 250), Metadata: make([]byte, 150)},
		Stream:   "order-536365",
		Revision: 3, Position: eventstore.At64(1234567), Created: time.Now(),
	}
	e := encoder{}
	b.ReportAllocs()
	for b.Loop() {
		e.frame(rec, false, nil)
	}
}
