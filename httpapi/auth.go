package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json"
)

// Scope is what a key may do.
type Scope string

const (
	ScopeRead    Scope = "read"
	ScopeWrite   Scope = "write"
	ScopeOperate Scope = "operate"

	scopeNone Scope = "" // open to everybody
)

var allScopes = []Scope{ScopeRead, ScopeWrite, ScopeOperate}

// Key is an API key as it is kept: never the key itself.
type Key struct {
	Name   string  `json:"name"` // of the caller: the actor of what it does
	Scopes []Scope `json:"scopes"`
	SHA256 string  `json:"sha256"` // of the key, hex
}

// Keys are the callers that may come in. Nil means that no key is needed, and
// that only this machine is spoken to.
type Keys []Key

// ParseKeys reads a file of keys: a JSON array of objects with name, scopes and
// sha256. Errors name the entry.
func ParseKeys(r io.Reader) (Keys, error) {
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	keys := Keys{}
	if err := json.Unmarshal(data, &keys, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf(`API keys: want [{"name":"shop","scopes":["read","write"],"sha256":"<hex>"}]: %w`, err)
	}
	if keys == nil { // null: no keys at all would let everybody in
		return nil, errors.New("API keys: want an array, not null")
	}
	names := map[string]bool{}
	for i, k := range keys {
		raw, err := hex.DecodeString(k.SHA256)
		switch {
		case k.Name == "" || len(k.Name) > 100 || !visible(k.Name):
			return nil, fmt.Errorf("API key %d: name %.40q: want 1 to 100 visible ASCII characters", i+1, k.Name)
		case names[k.Name]:
			return nil, fmt.Errorf("API key %d: name %q is there twice", i+1, k.Name)
		case err != nil || len(raw) != sha256.Size:
			return nil, fmt.Errorf("API key %q: sha256 wants 64 hexadecimal digits", k.Name)
		case len(k.Scopes) == 0:
			return nil, fmt.Errorf("API key %q: no scopes; allowed are %v", k.Name, allScopes)
		}
		for _, s := range k.Scopes {
			if !slices.Contains(allScopes, s) {
				return nil, fmt.Errorf("API key %q: unknown scope %.40q; allowed are %v", k.Name, s, allScopes)
			}
		}
		names[k.Name] = true
		keys[i].SHA256 = strings.ToLower(k.SHA256)
	}
	return keys, nil
}

// HashKey is what a file of keys keeps of a key.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// caller is who sent a request.
type caller struct {
	name   string
	scopes []Scope
	number int // among the callers of the gates
}

// localCaller is whoever speaks from this machine where no keys are wanted, and
// whoever knows the key of this run.
var localCaller = caller{"local", allScopes, 0}

// authenticate finds the caller of a request and checks the scope.
func (s *server) authenticate(r *http.Request, need Scope) (caller, error) {
	if s.o.Keys == nil && !loopbackHost(r.Host) {
		return caller{}, problem("wrong-host", "without API keys only localhost, 127.0.0.1 and [::1] are answered")
	}
	if need == scopeNone {
		return caller{}, nil
	}
	who, err := s.callerOf(r)
	if err != nil {
		return caller{}, err
	}
	if !slices.Contains(who.scopes, need) {
		return caller{}, problem("forbidden", "this needs the scope %s", need)
	}
	return who, nil
}

func (s *server) callerOf(r *http.Request) (caller, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 && s.o.Keys == nil {
		return localCaller, nil
	}
	if len(values) != 1 {
		return caller{}, problem("unauthenticated", "send one Authorization: Bearer KEY")
	}
	scheme, key, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return caller{}, problem("unauthenticated", "send Authorization: Bearer KEY")
	}
	hash := []byte(HashKey(strings.TrimSpace(key)))
	if s.runKeyHash != nil && subtle.ConstantTimeCompare(hash, s.runKeyHash) == 1 {
		return localCaller, nil
	}
	found := -1
	for i := range s.o.Keys { // all of them, so that time tells nothing
		if subtle.ConstantTimeCompare(hash, []byte(s.o.Keys[i].SHA256)) == 1 {
			found = i
		}
	}
	if found < 0 {
		return caller{}, problem("unauthenticated", "the key is not known")
	}
	return caller{s.o.Keys[found].Name, s.o.Keys[found].Scopes, found + 1}, nil
}

// loopbackHost accepts the names by which a browser on this machine may speak
// to a server that only this machine reaches. A page of a foreign site that
// rebinds its name to 127.0.0.1 sends its own name.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	switch strings.ToLower(strings.Trim(host, "[]")) {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}
