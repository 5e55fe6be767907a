// Package access decides who may do what: users with passwords, the groups
// they are in, and the access lists that streams carry in their metadata.
//
// It promises EventStoreDB's rules: administrators may do everything, a
// stream's own list comes before the default of $settings, and that before
// the built-in one; a server without TLS asks nobody and allows everything
// that somebody could be allowed. Users are events in the store: $user-<login>
// has the record of one, $users names them all.
//
// A change that goes through this server holds from the next call on; one that
// somebody else makes in the same store, as soon as the log has delivered it.
// All services ask a Guard before they answer. access.go has the rules,
// lists.go the access lists, passwords.go who calls, users.go what is stored.
package access

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
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

const (
	groupAdmins = "$admins"
	groupOps    = "$ops"
	// roleAll, in an access list, is everybody who is authenticated.
	roleAll = "$all"

	metaPrefix     = "$$"
	userPrefix     = "$user-"
	settingsStream = "$settings"
	usersStream    = "$users"
)

// User is who calls.
type User struct {
	Name   string // empty: anonymous
	Groups []string
}

func (u User) in(group string) bool { return slices.Contains(u.Groups, group) }

// Guard decides. All methods may be called from many goroutines.
type Guard struct {
	open   bool
	store  eventstore.Store
	logger *slog.Logger

	readOnly, appendOnly []string // prefixes of names

	lists       lists
	credentials credentials

	cancel context.CancelFunc
	ended  sync.WaitGroup
}

// Open is the guard of a server in insecure mode: nobody is asked who they are.
func Open() *Guard { return &Guard{open: true} }

// Options of a guard that asks. Store and Logger are required.
type Options struct {
	Store  eventstore.Store
	Logger *slog.Logger
}

// New is the guard of a secure server. Close ends it.
func New(ctx context.Context, o Options) (*Guard, error) {
	head, err := o.Store.Head(ctx)
	if err != nil {
		return nil, err
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &Guard{store: o.Store, logger: o.Logger, cancel: cancel}
	g.credentials.prepare()
	g.ended.Go(func() { g.watch(watching, head) })
	return g, nil
}

// Reserve refuses to everybody, administrators included, to write to streams
// whose names begin with one of readOnly, and to delete those of appendOnly or
// set their metadata. It is called before the first Check.
func (g *Guard) Reserve(readOnly, appendOnly []string) {
	g.readOnly, g.appendOnly = readOnly, appendOnly
}

func (g *Guard) reserves(op Operation, stream string) bool {
	if op != Write && op != Delete {
		return false
	}
	subject, meta := strings.CutPrefix(stream, metaPrefix)
	begins := func(prefix string) bool { return strings.HasPrefix(subject, prefix) }
	return slices.ContainsFunc(g.readOnly, begins) || (meta || op == Delete) && slices.ContainsFunc(g.appendOnly, begins)
}

// Close ends what the guard does by itself.
func (g *Guard) Close() {
	if g.cancel != nil {
		g.cancel()
		g.ended.Wait()
	}
}

// Check returns nil, or the refusal for the caller of ctx. stream is "$all" for
// the log, and is not looked at for Manage and Statistics. Read and Write of a
// metadata stream "$$s" are ReadMetadata and WriteMetadata of s: callers need
// not tell them apart.
func (g *Guard) Check(ctx context.Context, op Operation, stream string) error {
	meta := strings.HasPrefix(stream, metaPrefix)
	switch {
	case stream == wire.All && (op == Write || op == Delete), meta && op == Delete, g.reserves(op, stream):
		return wire.AccessDenied() // nobody may
	case g.open:
		return nil
	}
	caller := Caller(ctx)
	switch {
	case caller.Name == "":
		return wire.AccessDenied()
	case caller.in(groupAdmins), op == Statistics:
		return nil
	case op == Manage && caller.in(groupOps):
		return nil
	case op == Manage:
		return wire.AccessDenied()
	case meta && op == Read:
		op, stream = ReadMetadata, stream[len(metaPrefix):]
	case meta && op == Write:
		op, stream = WriteMetadata, stream[len(metaPrefix):]
	}
	roles, err := g.roles(ctx, op, stream)
	if err != nil {
		return wire.OfStore(err, stream)
	}
	for _, role := range roles {
		if role == roleAll || role == caller.Name || caller.in(role) {
			return nil
		}
	}
	return wire.AccessDenied()
}

// Resolves reports whether the caller of ctx is shown what is in a stream when a
// link names it. As in EventStoreDB who may read the link may read what it names;
// but anybody can write a link, so that streams of the system, which have the
// hashes of passwords, are shown only to those who may read them.
func (g *Guard) Resolves(ctx context.Context, stream string) bool {
	return !strings.HasPrefix(stream, "$") || g.Check(ctx, Read, stream) == nil
}

// Written is told of a stream that was, or may have been, written to through
// this server.
func (g *Guard) Written(stream string) {
	if g.open {
		return
	}
	subject, meta := strings.CutPrefix(stream, metaPrefix)
	if meta {
		g.lists.forget(subject)
	}
	if subject == settingsStream {
		g.lists.forgetAll()
	}
	if strings.HasPrefix(subject, userPrefix) {
		g.credentials.forgetAll()
	}
}

// watch follows what others write to the store. Nothing is remembered while it
// does not.
func (g *Guard) watch(ctx context.Context, from eventstore.Position) {
	for ctx.Err() == nil {
		at, err := g.follow(ctx, from)
		g.lists.remember(false)
		g.credentials.remember(false)
		if from = at; ctx.Err() == nil {
			g.logger.Warn("changes of users and access lists are not followed for a moment", "reason", err)
			pause(ctx)
		}
	}
}

// follow returns where a subscription broke.
func (g *Guard) follow(ctx context.Context, from eventstore.Position) (eventstore.Position, error) {
	filter := eventstore.Filter{Prefixes: []string{metaPrefix, userPrefix, settingsStream}}
	subscription, err := g.store.Subscribe(ctx, from, filter)
	if err != nil {
		return from, err
	}
	for {
		notice, err := subscription.Next(ctx)
		if err != nil {
			return from, errors.Join(err, subscription.Close())
		}
		from = notice.Position
		switch notice.Kind {
		case eventstore.Delivered:
			g.Written(notice.Record.Stream)
		case eventstore.CaughtUp:
			g.lists.remember(true)
			g.credentials.remember(true)
		}
	}
}

// Caller is the user whom Authenticate found for this request.
func Caller(ctx context.Context) User {
	user, _ := ctx.Value(callerKey{}).(User)
	return user
}

type callerKey struct{}
