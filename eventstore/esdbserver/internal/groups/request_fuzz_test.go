package groups

//lint:file-ignore SA1019 clients of older protocols send the deprecated fields

import (
	"encoding/json"
	"log/slog"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/protobuf/proto"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/groups/competing"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// FuzzRequests decodes bytes as each request of the service: what is accepted
// can be kept and run, and nothing panics.
func FuzzRequests(f *testing.F) {
	settings := &persistent.CreateReq_Settings{
		ReadBatchSize: 20, HistoryBufferSize: 500, LiveBufferSize: 500, MaxCheckpointCount: 1000,
		MessageTimeout: &persistent.CreateReq_Settings_MessageTimeoutTicks{MessageTimeoutTicks: 300_000_000},
	}
	for _, m := range []proto.Message{
		&persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", Settings: settings, StreamOption: &persistent.CreateReq_Options_Stream{
			Stream: &persistent.CreateReq_StreamOptions{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}, RevisionOption: &persistent.CreateReq_StreamOptions_Revision{Revision: 7}}}}},
		&persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", Settings: settings, StreamOption: &persistent.CreateReq_Options_All{
			All: &persistent.CreateReq_AllOptions{AllOption: &persistent.CreateReq_AllOptions_End{}, FilterOption: &persistent.CreateReq_AllOptions_Filter{
				Filter: &persistent.CreateReq_AllOptions_FilterOptions{Filter: &persistent.CreateReq_AllOptions_FilterOptions_EventType{
					EventType: &persistent.CreateReq_AllOptions_FilterOptions_Expression{Regex: `^(?!\$)`, Prefix: []string{"a"}}}}}}}}},
		&persistent.CreateReq{Options: &persistent.CreateReq_Options{GroupName: "g", Settings: settings, StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("s")}}},
		&persistent.ReadReq{Content: &persistent.ReadReq_Ack_{Ack: &persistent.ReadReq_Ack{Ids: []*shared.UUID{{Value: &shared.UUID_String_{String_: "00000000-0000-0000-0000-000000000001"}}}}}},
		&persistent.ReadReq{Content: &persistent.ReadReq_Nack_{Nack: &persistent.ReadReq_Nack{Action: 1, Reason: "because", Ids: []*shared.UUID{{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{MostSignificantBits: 1}}}}}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	store, err := sqlite.Open(f.Context(), f.TempDir(), sqlite.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { store.Close() })
	s := &Service{Options: Options{Store: store, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}}
	f.Fuzz(func(t *testing.T, data []byte) {
		var create persistent.CreateReq
		if proto.Unmarshal(data, &create) == nil {
			def, from, err := decodeCreate(&create)
			s.judge(t, def, from, err)
		}
		var update persistent.UpdateReq
		if proto.Unmarshal(data, &update) == nil {
			def, from, err := decodeUpdate(&update)
			s.judge(t, def, from, err)
		}
		var read persistent.ReadReq
		if proto.Unmarshal(data, &read) == nil {
			r := &runner{group: competing.New(competing.Settings{Buffer: 1}, 0, 0, 0, time.Time{}), now: time.Now}
			if answer, err := r.decode(&read); err == nil {
				answer()
			}
		}
	})
}

// judge takes a definition that was decoded as far as a running group.
func (s *Service) judge(t *testing.T, def definition, from start, err error) {
	if err != nil {
		return
	}
	if err := def.begin(t.Context(), s.Store, from); err != nil {
		return
	}
	data, err := json.Marshal(config{Entries: []definition{def}})
	if err != nil {
		t.Fatal(err)
	}
	var kept config
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(kept.Entries[0], def) {
		t.Errorf("%+v is kept as %+v", def, kept.Entries[0])
	}
	if _, err := s.prepare(t.Context(), def); err != nil {
		t.Errorf("%+v cannot be run: %v", def, err)
	}
	if place, err := def.parse(def.text(def.StartsAfter + 1)); err != nil || place != def.StartsAfter+1 {
		t.Errorf("place %d is read as %d, %v", def.StartsAfter+1, place, err)
	}
}

func FuzzCheckpoints(f *testing.F) {
	for _, text := range []string{"7", "-1", "C:5/P:5", "C:-1/P:-1", "", "9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, def := range []definition{{Stream: "s"}, {Stream: "$all"}} {
			place, err := def.parse(text)
			if err != nil {
				continue
			}
			if again, err := def.parse(def.text(place)); place > 0 && (err != nil || again != place) {
				t.Errorf("%q of %s is %d, which reads as %d, %v", text, def.Stream, place, again, err)
			}
		}
	})
}

func FuzzCut(f *testing.F) {
	f.Add("é", 4095)
	f.Fuzz(func(t *testing.T, unit string, n int) {
		reason := make([]byte, max(0, n)%(3*maxReason))
		for i := range reason {
			reason[i] = 'x'
		}
		text := string(reason) + unit
		if got := cut(text); len(got) > maxReason || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
	})
}
