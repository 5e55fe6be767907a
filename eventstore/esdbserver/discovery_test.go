package esdbserver_test

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"google.golang.org/grpc"

	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// Must-honour 3.
func TestSupportedMethods(t *testing.T) {
	_, conn := served(t)
	resp, err := serverfeatures.NewServerFeaturesClient(conn).GetSupportedMethods(patiently(t), &shared.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	if v := resp.EventStoreServerVersion; !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(v) {
		t.Errorf("version %q", v)
	}
	features := map[string]string{}
	for _, m := range resp.Methods {
		name := m.ServiceName + "/" + m.MethodName
		if name != strings.ToLower(name) {
			t.Errorf("%s is not in lower case", name)
		}
		slices.Sort(m.Features)
		features[strings.TrimPrefix(name, "event_store.client.")] = fmt.Sprint(m.Features)
	}
	for name, want := range map[string]string{
		"streams.streams/read":                                              "[events position]",
		"streams.streams/append":                                            "[]",
		"streams.streams/batchappend":                                       "[deadline_duration]",
		"streams.streams/delete":                                            "[]",
		"streams.streams/tombstone":                                         "[]",
		"persistent_subscriptions.persistentsubscriptions/create":           "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/update":           "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/delete":           "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/read":             "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/getinfo":          "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/list":             "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/replayparked":     "[all stream]",
		"persistent_subscriptions.persistentsubscriptions/restartsubsystem": "[all stream]",
		"projections.projections/create":                                    "[track_emitted_streams]",
		"projections.projections/statistics":                                "[]",
		"gossip.gossip/read":                                                "[]",
		"server_features.serverfeatures/getsupportedmethods":                "[]",
	} {
		if got, ok := features[name]; !ok || got != want {
			t.Errorf("%s has features %s (listed: %t), want %s", name, got, ok, want)
		}
	}
}

// Must-honour 2.
func TestGossip(t *testing.T) {
	ask := func(conn *grpc.ClientConn) *gossip.MemberInfo {
		t.Helper()
		resp, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{})
		if err != nil || len(resp.Members) != 1 {
			t.Fatal(resp, err)
		}
		m := resp.Members[0]
		if m.State != gossip.MemberInfo_Leader || !m.IsAlive || m.TimeStamp < 17e15 || m.InstanceId.GetStructured() == nil {
			t.Errorf("member %v", m)
		}
		return m
	}
	named := func(m *gossip.MemberInfo) string {
		return net.JoinHostPort(m.HttpEndPoint.Address, fmt.Sprint(m.HttpEndPoint.Port))
	}
	address := esdbservertest.Start(t, esdbserver.Options{Store: openStore(t)})
	_, port, _ := net.SplitHostPort(address)
	if got := named(ask(dial(t, address))); got != address {
		t.Errorf("who dialled %s is told %s", address, got)
	}
	if got := named(ask(dial(t, address, grpc.WithAuthority("localhost:"+port)))); got != "localhost:"+port {
		t.Errorf("who dialled localhost is told %s", got)
	}
	if got := named(ask(dial(t, address, grpc.WithAuthority("no-port")))); got != address {
		t.Errorf("who dialled something odd is told %s", got)
	}
	advertised := esdbservertest.Start(t, esdbserver.Options{Store: openStore(t), Advertise: "events.example:1113"})
	if got := named(ask(dial(t, advertised))); got != "events.example:1113" {
		t.Errorf("told %s", got)
	}
	for _, connection := range []string{"esdb+discover://" + address + "?tls=false", "esdb://" + address + "," + address + "?tls=false"} {
		if _, err := esdbservertest.Client(t, connection).AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{}, clientEvent()); err != nil {
			t.Errorf("%s: %v", connection, err)
		}
	}
}
