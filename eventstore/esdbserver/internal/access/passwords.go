package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

const (
	maxCredentials = 1024 // verified pairs of user and password that are remembered
	maxHeader      = 1024 // bytes of an authorization header
	maxHashing     = 2    // passwords that are hashed at once
	maxWaiting     = 64   // calls that wait for one of these turns
)

// Authenticate finds out who calls. It fails with the refusal for a wrong user
// or password; a call without an authorization header is anonymous.
func (g *Guard) Authenticate(ctx context.Context) (context.Context, error) {
	if g.open {
		return ctx, nil
	}
	md, _ := metadata.FromIncomingContext(ctx)
	headers := md.Get("authorization")
	if len(headers) == 0 {
		return ctx, nil
	}
	login, password, ok := parseBasic(headers[0])
	if !ok || len(headers) > 1 {
		return ctx, wire.Unauthenticated()
	}
	user, err := g.verify(ctx, login, password)
	if err != nil {
		return ctx, err
	}
	return context.WithValue(ctx, callerKey{}, user), nil
}

// parseBasic reads "Basic base64(user:password)".
func parseBasic(header string) (login, password string, ok bool) {
	scheme, encoded, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "basic") || len(header) > maxHeader {
		return "", "", false
	}
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	login, password, ok = strings.Cut(string(text), ":")
	return login, password, ok && login != ""
}

// verify compares with what is stored. A pair that was right is remembered, so
// that a call does not cost a hash; wrong ones are not, and wait for their turn.
func (g *Guard) verify(ctx context.Context, login, password string) (User, error) {
	key := g.credentials.key(login, password)
	user, ok, since := g.credentials.get(key)
	if ok {
		return user, nil
	}
	if err := g.credentials.enter(ctx); err != nil {
		return User{}, err
	}
	defer g.credentials.leave()
	stored, _, err := readUser(ctx, g.store, login)
	if err != nil {
		return User{}, wire.OfStore(err, userPrefix+login)
	}
	if stored == nil {
		stored = &record{} // who is unknown takes as long as a wrong password
	}
	if !stored.accepts(password) {
		return User{}, wire.Unauthenticated()
	}
	user = User{Name: login, Groups: stored.Groups}
	g.credentials.put(key, user, since)
	return user, nil
}

// credentials remembers pairs that were right, as lists does lists. What it
// keeps of a password is a digest under a key of this process.
type credentials struct {
	secret  [32]byte
	hashing chan struct{}
	waiting chan struct{}

	mu          sync.RWMutex
	remembering bool
	changes     uint64
	known       map[credentialKey]User
}

type credentialKey [sha256.Size]byte

func (c *credentials) prepare() {
	rand.Read(c.secret[:]) // never fails
	c.hashing = make(chan struct{}, maxHashing)
	c.waiting = make(chan struct{}, maxWaiting)
}

func (c *credentials) key(login, password string) credentialKey {
	mac := hmac.New(sha256.New, c.secret[:])
	mac.Write([]byte(login))
	mac.Write([]byte{':'}) // no login has one
	mac.Write([]byte(password))
	return credentialKey(mac.Sum(nil))
}

// enter takes a turn at hashing.
func (c *credentials) enter(ctx context.Context) error {
	select {
	case c.waiting <- struct{}{}:
		defer func() { <-c.waiting }()
	default:
		return wire.Unavailable("Server Is Too Busy")
	}
	select {
	case c.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return wire.OfStore(ctx.Err(), "")
	}
}

func (c *credentials) leave() { <-c.hashing }

func (c *credentials) get(key credentialKey) (user User, ok bool, since uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	user, ok = c.known[key]
	return user, ok, c.changes
}

func (c *credentials) put(key credentialKey, user User, since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.remembering || c.changes != since {
		return
	}
	if c.known == nil || len(c.known) >= maxCredentials {
		c.known = map[credentialKey]User{}
	}
	c.known[key] = user
}

func (c *credentials) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.known = nil
}

func (c *credentials) remember(following bool) {
	c.forgetAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remembering = following
}
