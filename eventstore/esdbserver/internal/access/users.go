package access

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// Account is a user to be.
type Account struct {
	Login, FullName, Password string
	Groups                    []string
	// Replace gives a user who is there already this password and these groups;
	// otherwise they are left as they are.
	Replace bool
}

// record is the data of $UserCreated and $UserUpdated.
type record struct {
	LoginName  string   `json:"loginName"`
	FullName   string   `json:"fullName"`
	Algorithm  string   `json:"algorithm"`
	Iterations int      `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Hash       []byte   `json:"hash"`
	Disabled   bool     `json:"disabled"`
	Groups     []string `json:"groups"`
}

const (
	algorithm = "PBKDF2-HMAC-SHA256"
	// iterations make one attempt at a password cost some 20 ms.
	iterations = 100_000
	hashSize   = sha256.Size
	saltSize   = 16
)

// hash is the password as it is stored.
func hash(password string, salt []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, hashSize)
	if err != nil {
		panic(fmt.Sprintf("access: PBKDF2 refuses its parameters: %v", err))
	}
	return key
}

// accepts compares in constant time.
func (r record) accepts(password string) bool {
	known := r.Algorithm == algorithm && r.Iterations == iterations
	same := subtle.ConstantTimeCompare(hash(password, r.Salt), r.Hash) == 1
	return known && same && !r.Disabled
}

// Announce names the accounts in $users, where clients look for users to learn
// that a node is ready; a server that asks for passwords keeps their records
// with KeepUsers as well.
func Announce(ctx context.Context, store eventstore.Store, accounts []Account) error {
	named := map[string]bool{}
	for event, err := range store.ReadStream(ctx, usersStream, 0, eventstore.Forwards, 0) {
		if errors.Is(err, eventstore.ErrStreamNotFound) {
			break
		}
		if errors.Is(err, eventstore.ErrDeleted) {
			return nil // somebody ended the list for good; users are what their own streams say
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", usersStream, err)
		}
		named[string(event.Data)] = true
	}
	for _, a := range accounts {
		if named[a.Login] {
			continue
		}
		event := eventstore.Event{ID: uuid.New(), Type: "$User", Data: []byte(a.Login)}
		if _, err := store.Append(ctx, usersStream, eventstore.Any, []eventstore.Event{event}); err != nil {
			return fmt.Errorf("name user %s: %w", a.Login, err)
		}
	}
	return nil
}

// KeepUsers stores the accounts that the store does not have, and those to be
// replaced that differ.
func KeepUsers(ctx context.Context, store eventstore.Store, accounts []Account) error {
	for _, a := range accounts {
		if err := keepUser(ctx, store, a); err != nil {
			return fmt.Errorf("keep user %s: %w", a.Login, err)
		}
	}
	return nil
}

func keepUser(ctx context.Context, store eventstore.Store, a Account) error {
	known, revision, err := readUser(ctx, store, a.Login)
	if err != nil {
		return err
	}
	typ := "$UserCreated"
	if known != nil {
		if !a.Replace || slices.Equal(known.Groups, a.Groups) && known.accepts(a.Password) {
			return nil
		}
		typ = "$UserUpdated"
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	data, err := json.Marshal(record{
		LoginName: a.Login, FullName: a.FullName,
		Algorithm: algorithm, Iterations: iterations, Salt: salt, Hash: hash(a.Password, salt),
		Groups: a.Groups,
	})
	if err != nil {
		return err
	}
	_, err = store.Append(ctx, userPrefix+a.Login, revision, []eventstore.Event{{ID: uuid.New(), Type: typ, JSON: true, Data: data}})
	return err
}

// readUser answers nil for a user that is not there.
func readUser(ctx context.Context, store eventstore.Store, login string) (*record, eventstore.Expected, error) {
	for event, err := range store.ReadStream(ctx, userPrefix+login, eventstore.EndRevision, eventstore.Backwards, 1) {
		if errors.Is(err, eventstore.ErrStreamNotFound) || errors.Is(err, eventstore.ErrDeleted) {
			break
		}
		if err != nil {
			return nil, eventstore.NoStream, fmt.Errorf("read user %s: %w", login, err)
		}
		var r record
		if err := json.Unmarshal(event.Data, &r); err != nil {
			return nil, eventstore.NoStream, fmt.Errorf("read user %s: %w", login, err)
		}
		return &r, eventstore.At(event.Revision), nil
	}
	return nil, eventstore.NoStream, nil
}
