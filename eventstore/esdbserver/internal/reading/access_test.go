package reading_test

import (
	"context"
	"encoding/base64"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// login is what a client sends with each call.
type login string

func (l login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(l))}, nil
}

func (login) RequireTransportSecurity() bool { return true }

// serveSecurely is a secure server on which the tests are the user ann.
func serveSecurely(t testing.TB) *server {
	t.Helper()
	o, caFile := esdbservertest.Secure(t, esdbserver.Options{
		Users: []esdbserver.User{{Login: "ann", Password: "secret", Groups: []string{"readers"}}},
	})
	trust, err := credentials.NewClientTLSFromFile(caFile, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{TB: t, store: open(t, nil), dial: []grpc.DialOption{
		grpc.WithTransportCredentials(trust), grpc.WithPerRPCCredentials(login("ann:secret")),
	}}
	s.run(o)
	return s
}

const denied = "error PermissionDenied access-denied"

func (s *server) document(stream, eventType, data string) {
	s.Helper()
	s.append(stream, eventstore.Event{ID: uuid.New(), Type: eventType, JSON: true, Data: []byte(data)})
}

func TestReadsAreForThoseWhoMay(t *testing.T) {
	s := serveSecurely(t)
	s.write("s", 1)
	s.write("hidden", 1)
	s.document("$$hidden", "$metadata", `{"$acl":{"$r":"bob"}}`)
	equal(t, s.read(readStream("s")), []string{"s/0"})
	equal(t, s.read(readStream("hidden")), []string{denied})
	equal(t, s.read(readAll()), []string{denied})
	s.open(readAll(subscription)).expect(denied)
	s.open(readStream("hidden", subscription)).expect(denied)
	s.document("$$$all", "$metadata", `{"$acl":{"$r":"readers"}}`)
	// The server hears of what was not written through it a little later.
	for got := denied; got != "confirmation"; {
		if got = s.open(readAll(subscription)).next(); got != denied && got != "confirmation" {
			t.Fatal(got)
		}
	}
}

// TestRevokedAccessEndsSubscriptions: by the stream's own list, or by that of
// all streams.
func TestRevokedAccessEndsSubscriptions(t *testing.T) {
	for name, revoke := range map[string]func(*server){
		"own list":     func(s *server) { s.document("$$s", "$metadata", `{"$acl":{"$r":"$admins"}}`) },
		"default list": func(s *server) { s.document("$settings", "update", `{"$userStreamAcl":{"$r":[]}}`) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSecurely(t)
			s.write("s", 1)
			live := s.subscribe(readStream("s", subscription))
			live.expect("s/0", "caught up")
			s.document("$$other", "$metadata", `{"$acl":{"$r":"$admins"}}`)
			s.document("$settings", "update", `{"$userStreamAcl":{"$r":"$all"}}`)
			s.write("s", 1)
			live.expect("s/1")
			revoke(s)
			s.write("s", 1)
			live.expect(denied)
		})
	}
	t.Run("log", func(t *testing.T) {
		s := serveSecurely(t)
		s.document("$$$all", "$metadata", `{"$acl":{"$r":"ann"}}`)
		c := s.subscribe(readAll(subscription, fromEnd))
		c.expect("caught up")
		s.write("s", 1)
		c.expect("s/0")
		s.document("$$$all", "$metadata", `{}`)
		s.write("s", 1)
		c.expect(denied)
	})
	t.Run("metadata", func(t *testing.T) {
		s := serveSecurely(t)
		s.document("$$s", "$metadata", `{"$acl":{"$mr":"ann"}}`)
		c := s.subscribe(readStream("$$s", subscription))
		c.expect("$$s/0", "caught up")
		s.document("$$s", "$metadata", `{"$acl":{"$mr":"bob"}}`)
		c.expect(denied)
	})
}

// TestLinksToSystemStreams: a link that anybody can write shows nobody a stream
// of the system that he may not read, whoever else had it resolved before.
func TestLinksToSystemStreams(t *testing.T) {
	s := serveSecurely(t)
	admin := &server{TB: t, store: s.store, address: s.address, dial: []grpc.DialOption{
		s.dial[0], grpc.WithPerRPCCredentials(login("admin:changeit")),
	}}
	s.write("open", 1)
	s.link("mine", "0@$user-admin")
	s.link("mine", "0@open")
	seen, hidden := []string{"mine/0 > $user-admin/0", "mine/1 > open/0"}, []string{"mine/0 > nothing", "mine/1 > open/0"}
	equal(t, admin.read(readStream("mine", links)), seen)
	equal(t, s.read(readStream("mine", links)), hidden)
	theirs, ours := admin.subscribe(readStream("mine", subscription, links)), s.subscribe(readStream("mine", subscription, links))
	theirs.expect(append(seen, "caught up")...)
	ours.expect(append(hidden, "caught up")...)
	s.link("mine", "0@$user-admin")
	theirs.expect("mine/2 > $user-admin/0")
	ours.expect("mine/2 > nothing")
}
