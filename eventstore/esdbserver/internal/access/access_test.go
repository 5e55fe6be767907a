package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

func openStore(t testing.TB) eventstore.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func openGuard(t testing.TB, store eventstore.Store) *Guard {
	t.Helper()
	g, err := New(t.Context(), Options{Store: store, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func as(t testing.TB, u User) context.Context {
	return context.WithValue(t.Context(), callerKey{}, u)
}

var (
	admin    = User{Name: "admin", Groups: []string{"$admins"}}
	operator = User{Name: "ops", Groups: []string{"$ops"}}
	ann      = User{Name: "ann", Groups: []string{"clerks", "people"}}
	bob      = User{Name: "bob"}
	nobody   = User{}
)

func metadataOf(t testing.TB, store eventstore.Store, stream, document string) {
	t.Helper()
	event := eventstore.Event{ID: uuid.New(), Type: eventstore.TypeMetadata, JSON: true, Data: []byte(document)}
	if _, err := store.Append(t.Context(), "$$"+stream, eventstore.Any, []eventstore.Event{event}); err != nil {
		t.Fatal(err)
	}
}

func settings(t testing.TB, store eventstore.Store, document string) {
	t.Helper()
	event := eventstore.Event{ID: uuid.New(), Type: "update-default-acl", JSON: true, Data: []byte(document)}
	if _, err := store.Append(t.Context(), "$settings", eventstore.Any, []eventstore.Event{event}); err != nil {
		t.Fatal(err)
	}
}

func TestRules(t *testing.T) {
	store := openStore(t)
	metadataOf(t, store, "own", `{"$acl":{"$r":"ann","$w":["bob","people"],"$d":[],"$mr":"$all","$mw":"bob"}}`)
	metadataOf(t, store, "partly", `{"$acl":{"$w":"bob"}}`)
	metadataOf(t, store, "wrong", `{"$acl":{"$w":7,"$r":"bob"}}`)
	metadataOf(t, store, "wrong too", `{"$acl":{"$w":"bob"},"$maxCount":"many"}`)
	metadataOf(t, store, "$mine", `{"$acl":{"$r":"ann"}}`)
	metadataOf(t, store, "$all", `{"$acl":{"$r":"clerks"}}`)
	metadataOf(t, store, "gone", `{"$acl":{"$w":"bob"}}`)
	if _, err := store.Tombstone(t.Context(), "gone", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	g := openGuard(t, store)
	all := []User{admin, operator, ann, bob}
	for _, c := range []struct {
		op      Operation
		stream  string
		allowed []User // of all and nobody
	}{
		{Read, "plain", all},
		{Write, "plain", all},
		{Delete, "plain", all},
		{Read, "$$plain", all},
		{Write, "$$plain", all},
		{Delete, "$$plain", nil},
		{Read, "$system", []User{admin}},
		{Write, "$system", []User{admin}},
		{Write, "$$$system", []User{admin}},
		{Read, "$mine", []User{admin, ann}},
		{Write, "$mine", []User{admin}},
		{Read, "own", []User{admin, ann}},
		{Write, "own", []User{admin, ann, bob}},
		{Delete, "own", []User{admin}},
		{Read, "$$own", all},
		{ReadMetadata, "own", all},
		{Write, "$$own", []User{admin, bob}},
		{WriteMetadata, "own", []User{admin, bob}},
		{Write, "partly", []User{admin, bob}},
		{Read, "partly", all},
		{Write, "wrong", all},
		{Read, "wrong", all},
		{Write, "wrong too", all},
		{Write, "gone", all},
		{Read, "$all", []User{admin, ann}},
		{Write, "$all", nil},
		{Delete, "$all", nil},
		{Manage, "own", []User{admin, operator}},
		{Statistics, "own", all},
	} {
		for range 2 { // read, and remembered
			for _, u := range append([]User{nobody}, all...) {
				want := false
				for _, a := range c.allowed {
					want = want || a.Name == u.Name
				}
				err := g.Check(as(t, u), c.op, c.stream)
				if got := err == nil; got != want {
					t.Errorf("operation %d on %q by %q: %v, want allowed: %t", c.op, c.stream, u.Name, err, want)
				}
				var refusal *wire.Refusal
				if err != nil && (!errors.As(err, &refusal) || refusal.Code != codes.PermissionDenied || refusal.Detail != "Access Denied" || refusal.Trailer.Get("exception")[0] != "access-denied") {
					t.Errorf("refused with %v", err)
				}
			}
		}
	}
}

func TestSettings(t *testing.T) {
	store := openStore(t)
	g := openGuard(t, store)
	can := func(u User, op Operation, stream string) bool { return g.Check(as(t, u), op, stream) == nil }
	if !can(bob, Read, "plain") || can(bob, Read, "$system") {
		t.Error("the built-in lists do not hold")
	}
	settings(t, store, `{"$userStreamAcl":{"$r":"ann","$w":[]},"$systemStreamAcl":{"$r":["$all"]}}`)
	g.Written("$settings")
	metadataOf(t, store, "mine", `{"$acl":{"$r":"bob"}}`)
	for _, c := range []struct {
		user   User
		op     Operation
		stream string
		want   bool
	}{
		{ann, Read, "plain", true},
		{bob, Read, "plain", false},
		{ann, Write, "plain", false},
		{admin, Write, "plain", true},
		{bob, Delete, "plain", true}, // not in $settings: built in
		{bob, Read, "mine", true},
		{ann, Read, "mine", false},
		{ann, Write, "mine", false},
		{bob, Read, "$system", true},
		{bob, Write, "$system", false},
		{nobody, Read, "$system", false},
	} {
		if got := can(c.user, c.op, c.stream); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
	settings(t, store, `nonsense`)
	g.Written("$settings")
	if !can(bob, Read, "plain") {
		t.Error("settings that are no JSON hold")
	}
}

func TestOpen(t *testing.T) {
	g := Open()
	for _, op := range []Operation{Read, Write, Delete, Manage, Statistics} {
		for _, stream := range []string{"s", "$s", "$$s", "$all"} {
			want := !(stream == "$all" && (op == Write || op == Delete) || stream == "$$s" && op == Delete)
			if err := g.Check(t.Context(), op, stream); (err == nil) != want {
				t.Errorf("operation %d on %s: %v", op, stream, err)
			}
		}
	}
	if ctx, err := g.Authenticate(withHeader(t, "Basic nonsense")); err != nil || Caller(ctx).Name != "" {
		t.Errorf("an open server looked at a password: %v", err)
	}
}

// countingStore counts what the guard reads of streams' metadata.
type countingStore struct {
	eventstore.Store
	mu    sync.Mutex
	reads map[string]int
}

func (c *countingStore) StreamMetadata(ctx context.Context, stream string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	c.mu.Lock()
	c.reads[stream]++
	c.mu.Unlock()
	return c.Store.StreamMetadata(ctx, stream)
}

func (c *countingStore) of(stream string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reads[stream]
}

// A list is read once, and again after every change of it, whoever made it.
func TestListsAreRememberedUntilTheyChange(t *testing.T) {
	store := &countingStore{Store: openStore(t), reads: map[string]int{}}
	g := openGuard(t, store)
	check := func(u User, stream string) bool { return g.Check(as(t, u), Write, stream) == nil }
	eventually(t, "what was read is remembered", func() bool {
		before := store.of("s")
		return check(bob, "s") && check(ann, "s") && store.of("s") == before
	})
	reads := store.of("s")
	for range 1000 {
		if !check(bob, "s") || !check(admin, "other") {
			t.Fatal("refused")
		}
	}
	if n := store.of("s") - reads; n != 0 || store.of("other") != 0 {
		t.Errorf("%d reads for what was known, %d for an administrator", n, store.of("other"))
	}
	// Through this server: from the next call on.
	metadataOf(t, store, "s", `{"$acl":{"$w":"ann"}}`)
	g.Written("$$s")
	if check(bob, "s") || !check(ann, "s") {
		t.Error("a change through the server does not hold")
	}
	// By somebody else: as soon as the log has delivered it.
	metadataOf(t, store, "s", `{"$acl":{"$w":"bob"}}`)
	eventually(t, "a change by others holds", func() bool { return check(bob, "s") && !check(ann, "s") })
	settings(t, store, `{"$userStreamAcl":{"$w":"ann"}}`)
	eventually(t, "settings by others hold", func() bool { return !check(bob, "plain") && check(ann, "plain") })
	if _, err := store.Delete(t.Context(), "s", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a list that is deleted holds no more", func() bool { return check(ann, "s") && !check(bob, "s") })
}

// pausedStore lets a test do something between the read of a list and its use.
type pausedStore struct {
	eventstore.Store
	between func()
}

func (p *pausedStore) StreamMetadata(ctx context.Context, stream string) (eventstore.StreamMetadata, eventstore.Expected, error) {
	md, revision, err := p.Store.StreamMetadata(ctx, stream)
	if between := p.between; between != nil {
		p.between = nil
		between()
	}
	return md, revision, err
}

// A list that changes while it is being read is not remembered as it was.
func TestListsThatChangeWhileTheyAreRead(t *testing.T) {
	store := &pausedStore{Store: openStore(t)}
	g := openGuard(t, store)
	eventually(t, "what is read is remembered", func() bool {
		g.lists.mu.RLock()
		defer g.lists.mu.RUnlock()
		return g.lists.remembering
	})
	changes := func() uint64 {
		g.lists.mu.RLock()
		defer g.lists.mu.RUnlock()
		return g.lists.changes
	}
	store.between = func() {
		before := changes()
		metadataOf(t, store, "s", `{"$acl":{"$w":"ann"}}`)
		g.Written("$$s")
		// When the log has delivered the change too, nothing else will make the
		// guard forget.
		eventually(t, "the change is followed", func() bool { return changes() == before+2 })
	}
	if g.Check(as(t, bob), Write, "s") != nil {
		t.Error("the list that was there when it was read does not hold")
	}
	if g.Check(as(t, bob), Write, "s") == nil {
		t.Error("the list from before the change is remembered")
	}
}

// While readers ask, the list changes; nobody may remember the one before.
func TestListsUnderChange(t *testing.T) {
	store := openStore(t)
	g := openGuard(t, store)
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = g.Check(as(t, bob), Write, "s")
				}
			}
		})
	}
	for i := range 40 {
		document, want := `{"$acl":{"$w":"ann"}}`, false
		if i%2 == 0 {
			document, want = `{"$acl":{"$w":"bob"}}`, true
		}
		metadataOf(t, store, "s", document)
		g.Written("$$s")
		for range 3 {
			if err := g.Check(as(t, bob), Write, "s"); (err == nil) != want {
				t.Fatalf("change %d: %v", i, err)
			}
		}
	}
	close(stop)
	group.Wait()
}

// brokenSubscriptions fails each after one notice.
type brokenSubscriptions struct{ eventstore.Store }

func (b brokenSubscriptions) Subscribe(ctx context.Context, from eventstore.Position, filter eventstore.Filter) (eventstore.Subscription, error) {
	s, err := b.Store.Subscribe(ctx, from, filter)
	return &breaking{Subscription: s}, err
}

type breaking struct {
	eventstore.Subscription
	delivered int
}

func (b *breaking) Next(ctx context.Context) (eventstore.Notice, error) {
	if b.delivered++; b.delivered > 2 {
		return eventstore.Notice{}, errors.New("broken")
	}
	return b.Subscription.Next(ctx)
}

func TestSubscriptionsThatBreak(t *testing.T) {
	store := openStore(t)
	g := openGuard(t, brokenSubscriptions{store})
	for i := range 20 {
		document, want := `{"$acl":{"$w":"ann"}}`, false
		if i%2 == 0 {
			document, want = `{"$acl":{"$w":"bob"}}`, true
		}
		metadataOf(t, store, "s", document)
		eventually(t, "the change holds", func() bool { return (g.Check(as(t, bob), Write, "s") == nil) == want })
	}
}

func withHeader(t testing.TB, values ...string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.MD{"authorization": values})
}

func basic(login, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+password))
}

func TestAuthenticate(t *testing.T) {
	store := openStore(t)
	accounts := []Account{
		{Login: "ann", Password: "pass:word", Groups: []string{"clerks"}},
		{Login: "bob", Password: "ünïcödé"},
	}
	if err := KeepUsers(t.Context(), store, accounts); err != nil {
		t.Fatal(err)
	}
	g := openGuard(t, store)
	for _, c := range []struct {
		header []string
		want   string // the user, "" for anonymous, "-" for a refusal
	}{
		{nil, ""},
		{[]string{basic("ann", "pass:word")}, "ann"},
		{[]string{"bAsIc" + basic("ann", "pass:word")[5:]}, "ann"},
		{[]string{basic("bob", "ünïcödé")}, "bob"},
		{[]string{basic("ann", "pass:wor")}, "-"},
		{[]string{basic("ann", "")}, "-"},
		{[]string{basic("ann", "ünïcödé")}, "-"},
		{[]string{basic("cid", "pass:word")}, "-"},
		{[]string{basic("", "pass:word")}, "-"},
		{[]string{basic("Ann", "pass:word")}, "-"},
		{[]string{""}, "-"},
		{[]string{"Basic"}, "-"},
		{[]string{"Basic !!!"}, "-"},
		{[]string{"Bearer abc"}, "-"},
		{[]string{basic("ann", strings.Repeat("x", 2000))}, "-"},
		{[]string{basic("ann", "pass:word"), basic("bob", "ünïcödé")}, "-"},
	} {
		for range 2 {
			ctx, err := g.Authenticate(withHeader(t, c.header...))
			got := Caller(ctx).Name
			var refusal *wire.Refusal
			if errors.As(err, &refusal) && refusal.Code == codes.Unauthenticated && len(refusal.Trailer) == 0 {
				got = "-"
			}
			if got != c.want {
				t.Errorf("%.40v: %q %v, want %q", c.header, got, err, c.want)
			}
		}
	}
	ctx, err := g.Authenticate(withHeader(t, basic("ann", "pass:word")))
	if err != nil || fmt.Sprint(Caller(ctx).Groups) != "[clerks]" {
		t.Error(Caller(ctx), err)
	}
}

// What is stored is no password, and differs for equal ones.
func TestPasswordsAreNotStored(t *testing.T) {
	store := openStore(t)
	if err := KeepUsers(t.Context(), store, []Account{{Login: "ann", Password: "secretive"}, {Login: "bob", Password: "secretive"}}); err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for record, err := range store.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(record.Data), "secretive") {
			t.Errorf("stored: %s", record.Data)
		}
		var doc struct{ Hash string }
		if err := json.Unmarshal(record.Data, &doc); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, doc.Hash)
	}
	if len(hashes) != 2 || hashes[0] == hashes[1] || len(hashes[0]) < 40 {
		t.Errorf("hashes %v", hashes)
	}
}

func TestUsersAreKept(t *testing.T) {
	store := openStore(t)
	g := openGuard(t, store)
	right := func(login, password string) bool {
		_, err := g.Authenticate(withHeader(t, basic(login, password)))
		return err == nil
	}
	keep := func(a ...Account) {
		t.Helper()
		if err := Announce(t.Context(), store, a); err != nil {
			t.Fatal(err)
		}
		if err := KeepUsers(t.Context(), store, a); err != nil {
			t.Fatal(err)
		}
	}
	keep(Account{Login: "admin", Password: "one"}, Account{Login: "ann", Password: "one", Replace: true})
	head, err := store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keep(Account{Login: "admin", Password: "two"}, Account{Login: "ann", Password: "one", Replace: true})
	if again, err := store.Head(t.Context()); err != nil || again != head {
		t.Errorf("something was written for users who are there: %v", err)
	}
	if !right("admin", "one") || right("admin", "two") || !right("ann", "one") {
		t.Error("users who are there were changed")
	}
	keep(Account{Login: "ann", Password: "two", Replace: true})
	eventually(t, "a new password holds", func() bool { return right("ann", "two") && !right("ann", "one") })
	if _, err := store.Delete(t.Context(), "$user-ann", eventstore.Any); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deleted user is unknown", func() bool { return !right("ann", "two") })
	var logins []string
	for record, err := range store.ReadStream(t.Context(), "$users", 0, eventstore.Forwards, 0) {
		if err != nil || record.Type != "$User" {
			t.Fatal(record, err)
		}
		logins = append(logins, string(record.Data))
	}
	if fmt.Sprint(logins) != "[admin ann]" {
		t.Errorf("users %v", logins)
	}
}

// A right password costs one hash, however many calls bring it, and guesses do
// not keep it out.
func TestGuessing(t *testing.T) {
	store := openStore(t)
	if err := KeepUsers(t.Context(), store, []Account{{Login: "ann", Password: "right"}}); err != nil {
		t.Fatal(err)
	}
	g := openGuard(t, store)
	eventually(t, "a right password is remembered", func() bool {
		_, err := g.Authenticate(withHeader(t, basic("ann", "right")))
		g.credentials.mu.RLock()
		defer g.credentials.mu.RUnlock()
		return err == nil && len(g.credentials.known) == 1
	})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[codes.Code]int{}
	for i := range 3 * maxWaiting {
		group.Go(func() {
			_, err := g.Authenticate(metadata.NewIncomingContext(ctx, metadata.MD{"authorization": {basic("ann", fmt.Sprint("guess", i))}}))
			var refusal *wire.Refusal
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &refusal) {
				answers[refusal.Code]++
			}
		})
	}
	eventually(t, "guesses beyond the bound are turned away", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return answers[codes.Unavailable] > 0
	})
	started := time.Now()
	for range 10_000 {
		if _, err := g.Authenticate(withHeader(t, basic("ann", "right"))); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("10,000 calls took %v beside guesses", took)
	}
	stop()
	group.Wait()
	if len(g.credentials.hashing) != 0 || len(g.credentials.waiting) != 0 {
		t.Error("turns are not given back")
	}
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !holds(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}
