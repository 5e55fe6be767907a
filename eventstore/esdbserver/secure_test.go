package esdbserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/gossip"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/serverfeatures"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
)

// secured is a secure server with the users ann and bob.
func secured(t *testing.T) (store eventstore.Store, address, caFile string) {
	t.Helper()
	return securedStore(t, openStore(t))
}

func securedStore(t *testing.T, store eventstore.Store) (_ eventstore.Store, address, caFile string) {
	t.Helper()
	o, caFile := esdbservertest.Secure(t, esdbserver.Options{Store: store, OpsPassword: "other", Users: []esdbserver.User{
		{Login: "ann", Password: "an", Groups: []string{"clerks"}}, {Login: "bob", Password: "bo"},
	}})
	return store, esdbservertest.Start(t, o), caFile
}

func TestUsers(t *testing.T) {
	store, address, caFile := secured(t)
	setMetadata(t, store, "s", eventstore.StreamMetadata{Custom: map[string]any{"$acl": map[string]any{
		"$w": "clerks", "$r": "bob", "$d": []string{"bob"}, "$mw": "ann",
	}}})
	appendDirectly(t, store, "s", none, "a")
	for login, want := range map[string]struct{ write, read, all, remove, metadata, system, manage esdb.ErrorCode }{
		"admin:changeit": {-1, -1, -1, -1, -1, -1, -1},
		"ops:other":      {8, 8, 8, 8, 8, 8, -1},
		"ann:an":         {-1, 8, 8, 8, -1, 8, 8},
		"bob:bo":         {8, -1, 8, -1, 8, 8, 8},
		"":               {8, 8, 8, 8, 8, 8, 8},
		"admin:wrong":    {3, 3, 3, 3, 3, 3, 3},
		"ops:changeit":   {3, 3, 3, 3, 3, 3, 3},
		"cid:changeit":   {3, 3, 3, 3, 3, 3, 3},
	} {
		t.Run(login, func(t *testing.T) {
			if esdb.ErrorCodeAccessDenied != 8 || esdb.ErrorCodeUnauthenticated != 3 {
				t.Fatal("the codes of the table are others")
			}
			c := esdbservertest.Client(t, esdbservertest.SecureConnection(address, login, caFile))
			ctx := patiently(t)
			check := func(what string, want esdb.ErrorCode, err error) {
				t.Helper()
				if got := code(err); got != want || want == -1 && err != nil {
					t.Errorf("%s: %v, want code %d", what, err, want)
				}
			}
			_, err := c.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{}, clientEvent())
			check("write", want.write, err)
			_, err = c.AppendToStream(ctx, "$s", esdb.AppendToStreamOptions{}, clientEvent())
			check("write to a system stream", want.system, err)
			check("read", want.read, readFirst(c.ReadStream(ctx, "s", esdb.ReadStreamOptions{}, 1)))
			check("read all", want.all, readFirst(c.ReadAll(ctx, esdb.ReadAllOptions{}, 1)))
			md := esdb.StreamMetadata{}
			md.SetAcl(esdb.Acl{})
			acl := esdb.Acl{}
			acl.AddWriteRoles("clerks")
			acl.AddReadRoles("bob")
			acl.AddDeleteRoles("bob")
			acl.AddMetaWriteRoles("ann")
			md.SetAcl(acl)
			_, err = c.SetStreamMetadata(ctx, "s", esdb.AppendToStreamOptions{}, md)
			check("set metadata", want.metadata, err)
			err = c.CreatePersistentSubscription(ctx, "s", "group-"+uuid.NewString(), esdb.PersistentStreamSubscriptionOptions{})
			check("create a group", want.manage, err)
			_, err = c.DeleteStream(ctx, "s", esdb.DeleteStreamOptions{ExpectedRevision: esdb.Revision(1 << 40)})
			if want.remove == -1 {
				want.remove = esdb.ErrorCodeUnknown // it was allowed, and found another revision
			}
			check("delete", want.remove, err)
		})
	}
}

func readFirst(stream *esdb.ReadStream, err error) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	if _, err = stream.Recv(); errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// silentStore has subscriptions that catch up and deliver nothing.
type silentStore struct{ eventstore.Store }

func (s silentStore) Subscribe(ctx context.Context, from eventstore.Position, _ eventstore.Filter) (eventstore.Subscription, error) {
	return &silence{at: from}, nil
}

type silence struct {
	at   eventstore.Position
	told bool
}

func (s *silence) Next(ctx context.Context) (eventstore.Notice, error) {
	if s.told {
		<-ctx.Done()
		return eventstore.Notice{}, ctx.Err()
	}
	s.told = true
	return eventstore.Notice{Kind: eventstore.CaughtUp, Position: s.at}, nil
}

func (s *silence) Close() error { return nil }

// An access list that a client changes holds from its next call on, however
// late the log delivers the change.
func TestAccessListsChangeAtOnce(t *testing.T) {
	_, address, caFile := securedStore(t, silentStore{openStore(t)})
	admin := esdbservertest.Client(t, esdbservertest.SecureConnection(address, "admin:changeit", caFile))
	bob := esdbservertest.Client(t, esdbservertest.SecureConnection(address, "bob:bo", caFile))
	for i := range 20 {
		acl, want := esdb.Acl{}, esdb.ErrorCodeAccessDenied
		if acl.AddWriteRoles("ann"); i%2 == 1 {
			acl, want = esdb.Acl{}, -1
			acl.AddWriteRoles("bob")
		}
		md := esdb.StreamMetadata{}
		md.SetAcl(acl)
		if _, err := admin.SetStreamMetadata(patiently(t), "s", esdb.AppendToStreamOptions{}, md); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{}, clientEvent()); code(err) != want {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	// Deleting the stream deletes its list.
	acl := esdb.Acl{}
	acl.AddWriteRoles("ann")
	md := esdb.StreamMetadata{}
	md.SetAcl(acl)
	if _, err := admin.SetStreamMetadata(patiently(t), "s", esdb.AppendToStreamOptions{}, md); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{}, clientEvent()); code(err) != esdb.ErrorCodeAccessDenied {
		t.Fatal(err)
	}
	if _, err := admin.DeleteStream(patiently(t), "s", esdb.DeleteStreamOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{}, clientEvent()); err != nil {
		t.Fatal(err)
	}
}

type password struct{ login, password string }

func (p password) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Basic " + base64Of(p.login+":"+p.password)}, nil
}
func (password) RequireTransportSecurity() bool { return false }

// Who is not known may ask who is there and what is served; nothing else.
func TestAnonymousMayDiscover(t *testing.T) {
	_, address, caFile := secured(t)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(caFile)
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	conn := dial(t, address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "localhost"})))
	if _, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}); err != nil {
		t.Error(err)
	}
	if _, err := serverfeatures.NewServerFeaturesClient(conn).GetSupportedMethods(patiently(t), &shared.Empty{}); err != nil {
		t.Error(err)
	}
	if got := deleteRaw(t, conn, "s", anyState); got[:len("rpc error: code = PermissionDenied")] != "rpc error: code = PermissionDenied" {
		t.Error(got)
	}
	call := openBatch(t, conn)
	defer call.CloseSend()
	if got := batchAppendOn(t, call, "s"); got != "*shared.AccessDenied" {
		t.Error(got)
	}
	_, err = persistent.NewPersistentSubscriptionsClient(conn).RestartSubsystem(patiently(t), &shared.Empty{})
	if status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	_, err = gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}, grpc.PerRPCCredentials(password{"admin", "wrong"}))
	if status.Code(err) != codes.Unauthenticated {
		t.Error(err)
	}
}

// Without TLS nobody is asked, and a wrong password is not looked at.
func TestInsecureServersAskNobody(t *testing.T) {
	store, conn := served(t)
	setMetadata(t, store, "s", eventstore.StreamMetadata{Custom: map[string]any{"$acl": map[string]any{"$w": "ann"}}})
	if got := unaryAppend(t, conn, "s", none, "a"); got != "ok 0" {
		t.Error(got)
	}
	_, err := gossip.NewGossipClient(conn).Read(patiently(t), &shared.Empty{}, grpc.PerRPCCredentials(password{"admin", "wrong"}))
	if err != nil {
		t.Error(err)
	}
	// Must-honour 12.
	if got := visible(t, store, "$users"); got != "[0 1]" {
		t.Errorf("$users has %s", got)
	}
}

func TestTLS(t *testing.T) {
	_, address, caFile := secured(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	write := func(connection string) error {
		_, err := esdbservertest.Client(t, connection+"&maxDiscoverAttempts=1").AppendToStream(patiently(t), "s", esdb.AppendToStreamOptions{}, clientEvent())
		return err
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if err := write(esdbservertest.SecureConnection(host+":"+port, "admin:changeit", caFile)); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := write("esdb://admin:changeit@" + address + "?tlsVerifyCert=false"); err != nil {
		t.Error(err)
	}
	_, otherPEM, err := esdbserver.SelfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.crt")
	if err := os.WriteFile(other, otherPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, connection := range map[string]string{
		"the system's authorities": "esdb://admin:changeit@" + address + "?tls=true",
		"another authority":        esdbservertest.SecureConnection(address, "admin:changeit", other),
		"no TLS":                   "esdb://" + address + "?tls=false",
	} {
		if err := write(connection); err == nil {
			t.Errorf("with %s the client trusts the server", name)
		}
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s := conn.ConnectionState(); s.NegotiatedProtocol != "h2" || s.Version < tls.VersionTLS12 {
		t.Errorf("negotiated %q, %x", s.NegotiatedProtocol, s.Version)
	}
}

func TestSelfSigned(t *testing.T) {
	certificate, caPEM, err := esdbserver.SelfSigned([]string{"events.example", "10.1.2.3", "localhost", ""})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caPEM)
	for _, host := range []string{"events.example", "10.1.2.3", "localhost", "127.0.0.1", "::1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "elsewhere.example"}); err == nil {
		t.Error("it is valid elsewhere")
	}
	if left := time.Until(leaf.NotAfter); left < 300*24*time.Hour {
		t.Errorf("it ends in %v", left)
	}
}

func TestLoadTLS(t *testing.T) {
	if _, err := esdbserver.LoadTLS("missing.crt", "missing.key"); err == nil {
		t.Error("files that are not there were loaded")
	}
}

func TestOptionsAreRefused(t *testing.T) {
	for _, u := range []esdbserver.User{{}, {Login: "a:b", Password: "x"}, {Login: "ann"}} {
		if _, err := esdbserver.New(t.Context(), esdbserver.Options{Store: openStore(t), Users: []esdbserver.User{u}}); err == nil {
			t.Errorf("user %+v was taken", u)
		}
	}
}

// What is reserved is so without TLS, too, and for administrators.
func TestReservedStreams(t *testing.T) {
	options := esdbserver.Options{Store: openStore(t), ReadOnly: []string{"own-"}, AppendOnly: []string{"kept-"}}
	open := esdbservertest.Insecure(esdbservertest.Start(t, options))
	options.Store = openStore(t)
	secure, _ := esdbservertest.StartTLS(t, options)
	for _, connection := range []string{open, secure} {
		c := esdbservertest.Client(t, connection)
		ctx := patiently(t)
		write := func(stream string) error {
			_, err := c.AppendToStream(ctx, stream, esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "T", Data: []byte("{}"), ContentType: esdb.ContentTypeJson})
			return err
		}
		drop := func(stream string) error {
			_, err := c.DeleteStream(ctx, stream, esdb.DeleteStreamOptions{})
			return err
		}
		end := func(stream string) error {
			_, err := c.TombstoneStream(ctx, stream, esdb.TombstoneStreamOptions{})
			return err
		}
		for _, allowed := range []error{write("kept-1"), write("other-1"), write("$$other-1"), drop("other-1"), end("other-1")} {
			if allowed != nil {
				t.Error(allowed)
			}
		}
		for i, refused := range []error{
			write("own-1"), write("$$own-1"), drop("own-1"), end("own-1"),
			write("$$kept-1"), drop("kept-1"), end("kept-1"),
		} {
			if code(refused) != esdb.ErrorCodeAccessDenied {
				t.Error(i, refused)
			}
		}
	}
}
