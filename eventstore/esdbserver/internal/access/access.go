// Package access decides who may do what: users with passwords, the groups
// they are in, and the access lists that streams carry in their metadata.
//
// It promises EventStoreDB's rules: administrators may do everything, a
// stream's own list comes before the default of $settings, and that before
// the built-in one; a server without TLS asks nobody and allows everything.
// All services ask it before they answer.
package access

import (
	"context"
)

// Operation is what somebody wants to do.
type Operation uint8

const (
	Read          Operation = iota // events of a stream, or of the log as "$all"
	Write                          // append to a stream
	Delete                         // delete or tombstone a stream
	Manage                         // persistent subscriptions, projections: $admins and $ops
	Statistics                     // ask about persistent subscriptions: anybody authenticated
	ReadMetadata                   // what Read of $$stream becomes
	WriteMetadata                  // what Write to $$stream becomes
)

// User is who calls.
type User struct {
	Name   string // empty: anonymous
	Groups []string
}

// Guard decides. All methods may be called from many goroutines.
type Guard struct {
	open bool
}

// Open is the guard of a server in insecure mode: everything is allowed, and
// no password is looked at.
func Open() *Guard { return &Guard{open: true} }

// Check returns nil, or the refusal for the caller of ctx. stream is "$all" for
// the log, and is not looked at for Manage and Statistics. Read and Write of a
// metadata stream "$$s" are ReadMetadata and WriteMetadata of s: callers need
// not tell them apart.
func (g *Guard) Check(ctx context.Context, op Operation, stream string) error {
	return nil
}

// Caller is the user whom Authenticate found for this request.
func Caller(ctx context.Context) User {
	user, _ := ctx.Value(callerKey{}).(User)
	return user
}

type callerKey struct{}

// Authenticate finds out who calls. It fails with the refusal for a wrong user
// or password.
func (g *Guard) Authenticate(ctx context.Context) (context.Context, error) { return ctx, nil }

// Written is told of a stream that was, or may have been, written to.
func (g *Guard) Written(stream string) {}
