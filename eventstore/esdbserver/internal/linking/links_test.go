package linking

import (
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

func record(stream, typ string, json bool, data, metadata string) eventstore.Record {
	return eventstore.Record{
		Event:  eventstore.Event{ID: uuid.MustParse("38fffbc2-339e-11ea-8c7b-784f43837872"), Type: typ, JSON: json, Data: []byte(data), Metadata: []byte(metadata)},
		Stream: stream, Revision: 7, Position: eventstore.At64(42),
	}
}

// TestLinkFormat: links are to the letter what EventStoreDB writes.
func TestLinkFormat(t *testing.T) {
	tombstone := record("order-1", eventstore.TypeStreamDeleted, false, "", "")
	tombstone.Revision = eventstore.EndRevision
	for _, c := range []struct {
		name           string
		kind           string
		r              eventstore.Record
		group          string // empty: no link
		data, metadata string
	}{
		{
			"category", "$by_category", record("order-1-a", "Placed", true, `{}`, `{"$correlationId":"<c>","x":1}`),
			"order", "7@order-1-a",
			`{"$v":"3:-1:1:1","$c":42,"$p":42,"$o":"order-1-a","$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872","$correlationId":"<c>"}`,
		}, {
			"type", "$by_event_type", record("order-1-a", "Placed", true, `{}`, `{"$correlationId":7}`),
			"Placed", "7@order-1-a",
			`{"$v":"4:-1:1:1","$c":42,"$p":42,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		}, {
			"category of a tombstone", "$by_category", tombstone,
			"order", "9223372036854775807@order-1",
			`{"$v":"3:-1:1:1","$c":42,"$p":42,"$o":"order-1","$deleted":-1,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		}, {
			"type of a tombstone", "$by_event_type", tombstone,
			"$deleted", "9223372036854775807@order-1",
			`{"$v":"4:-1:1:1","$c":42,"$p":42,"$deleted":-1,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		}, {
			"category of a soft delete", "$by_category", record("$$order-1", "$metadata", true, `{"$tb":9223372036854775807}`, ""),
			"order", "7@$$order-1",
			`{"$v":"3:-1:1:1","$c":42,"$p":42,"$o":"order-1","$deleted":-1,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		}, {
			"type of a soft delete", "$by_event_type", record("$$order-1", "$metadata", true, `{"$tb":9223372036854775807}`, ""),
			"$deleted", "7@$$order-1",
			`{"$v":"4:-1:1:1","$c":42,"$p":42,"$deleted":-1,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		}, {
			"category of a link", "$by_category", record("order-1", "$>", false, "3@shop-9", ""),
			"order", "3@shop-9",
			`{"$v":"3:-1:1:1","$c":42,"$p":42,"$o":"order-1","$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		},
		{"type of a link", "$by_event_type", record("order-1", "$>", false, "3@shop-9", ""), "", "", ""},
		{"category of truncation", "$by_category", record("$$order-1", "$metadata", true, `{"$tb":3}`, ""), "", "", ""},
		{
			"type of truncation", "$by_event_type", record("$$order-1", "$metadata", true, `{"$tb":3}`, ""),
			"$metadata", "7@$$order-1",
			`{"$v":"4:-1:1:1","$c":42,"$p":42,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		},
		{"no separator", "$by_category", record("order", "Placed", false, "", ""), "", "", ""},
		{"no prefix", "$by_category", record("-order", "Placed", false, "", ""), "", "", ""},
		{"system stream", "$by_category", record("$ce-order", "Placed", false, "", ""), "", "", ""},
		{"declared JSON", "$by_category", record("order-1", "Placed", true, "{", ""), "", "", ""},
		{"declared JSON", "$by_event_type", record("order-1", "Placed", true, "", ""), "", "", ""},
		{"not UTF-8", "$by_event_type", record("order-1", "Placed", true, "\"\xff\"", ""), "", "", ""},
		{
			"binary", "$by_event_type", record("order-1", "Placed", false, "{", "\xff"),
			"Placed", "7@order-1",
			`{"$v":"4:-1:1:1","$c":42,"$p":42,"$causedBy":"38fffbc2-339e-11ea-8c7b-784f43837872"}`,
		},
		{"own checkpoint", "$by_event_type", record(checkpointStream("$by_category"), typeCheckpoint, true, "{}", ""), "", "", ""},
	} {
		k := kindOf(c.kind)
		group, l, ok := k.rule(c.r)
		if group != c.group || ok != (c.group != "") {
			t.Errorf("%s, %s: in group %q, %v; want %q", c.kind, c.name, group, ok, c.group)
		}
		if !ok {
			continue
		}
		target := k.to + group
		e := l.event(k, noEpoch, target)
		if e.Type != "$>" || e.JSON || string(e.Data) != c.data || string(e.Metadata) != c.metadata {
			t.Errorf("%s, %s:\n got %s %v %s %s\nwant $> false %s %s", c.kind, c.name, e.Type, e.JSON, e.Data, e.Metadata, c.data, c.metadata)
		}
		if source, ok := sourceOf(eventstore.Record{Event: e, Stream: target}); !ok || source != c.r.Position {
			t.Errorf("%s, %s: the link is read as one to %s, %v", c.kind, c.name, source, ok)
		}
		if _, ok := sourceOf(eventstore.Record{Event: e, Stream: target + "x"}); ok {
			t.Errorf("%s, %s: the link is believed in another stream", c.kind, c.name)
		}
	}
}

func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	panic(name)
}
