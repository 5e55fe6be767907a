package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// list says which roles may do what: the value of $acl in a stream's metadata.
// What is absent is decided by the list behind it.
type list map[Operation][]string

// keys are those of $acl.
func keys() map[string]Operation {
	return map[string]Operation{"$r": Read, "$w": Write, "$d": Delete, "$mr": ReadMetadata, "$mw": WriteMetadata}
}

// parseList reads $acl: each right names one role or several. A list with
// something else in it counts as absent as a whole.
func parseList(v any) list {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	out := list{}
	for key, op := range keys() {
		switch roles := fields[key].(type) {
		case nil:
		case string:
			out[op] = []string{roles}
		case []any:
			out[op] = make([]string, 0, len(roles))
			for _, role := range roles {
				text, ok := role.(string)
				if !ok {
					return nil
				}
				out[op] = append(out[op], text)
			}
		default:
			return nil
		}
	}
	return out
}

// defaults are the lists of $settings.
type defaults struct{ user, system list }

// roles are those that may do op to the stream.
func (g *Guard) roles(ctx context.Context, op Operation, stream string) ([]string, error) {
	own, err := g.listOf(ctx, stream)
	if err != nil {
		return nil, err
	}
	if roles, ok := own[op]; ok {
		return roles, nil
	}
	behind, err := g.defaults(ctx)
	if err != nil {
		return nil, err
	}
	fallback, builtIn := behind.user, roleAll
	if strings.HasPrefix(stream, "$") {
		fallback, builtIn = behind.system, groupAdmins
	}
	if roles, ok := fallback[op]; ok {
		return roles, nil
	}
	return []string{builtIn}, nil
}

func (g *Guard) listOf(ctx context.Context, stream string) (list, error) {
	known, ok, since := g.lists.get(stream)
	if ok {
		return known, nil
	}
	metadata, _, err := g.store.StreamMetadata(ctx, stream)
	if errors.Is(err, eventstore.ErrDeleted) {
		return nil, nil // whoever may write is told that it is deleted
	}
	if err != nil {
		return nil, fmt.Errorf("read who may use %s: %w", stream, err)
	}
	found := parseList(metadata.Custom["$acl"])
	g.lists.put(stream, found, since)
	return found, nil
}

func (g *Guard) defaults(ctx context.Context) (defaults, error) {
	known, since := g.lists.defaults()
	if known != nil {
		return *known, nil
	}
	found := defaults{}
	for record, err := range g.store.ReadStream(ctx, settingsStream, eventstore.EndRevision, eventstore.Backwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
		case err != nil:
			return found, fmt.Errorf("read %s: %w", settingsStream, err)
		default:
			found = parseSettings(record.Data)
		}
	}
	g.lists.putDefaults(found, since)
	return found, nil
}

// parseSettings reads an event of $settings; what is no JSON says nothing.
func parseSettings(data []byte) defaults {
	var doc map[string]any
	if json.Unmarshal(data, &doc) != nil {
		return defaults{}
	}
	return defaults{user: parseList(doc["$userStreamAcl"]), system: parseList(doc["$systemStreamAcl"])}
}

// maxLists bounds the streams whose lists are remembered.
const maxLists = 1 << 16

// lists remembers what was read, also that a stream has no list. Nothing that
// was read before a change is remembered after it: changes are counted, and
// what was read is put back with the count from before the read.
type lists struct {
	mu          sync.RWMutex
	remembering bool
	changes     uint64
	ofStream    map[string]list
	fallback    *defaults
}

func (l *lists) get(stream string) (found list, ok bool, since uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	found, ok = l.ofStream[stream]
	return found, ok, l.changes
}

func (l *lists) put(stream string, found list, since uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.remembering || l.changes != since {
		return
	}
	if l.ofStream == nil || len(l.ofStream) >= maxLists {
		l.ofStream = map[string]list{}
	}
	l.ofStream[strings.Clone(stream)] = found
}

func (l *lists) defaults() (known *defaults, since uint64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.fallback, l.changes
}

func (l *lists) putDefaults(found defaults, since uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.remembering && l.changes == since {
		l.fallback = &found
	}
}

func (l *lists) forget(stream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	delete(l.ofStream, stream)
}

func (l *lists) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	l.ofStream, l.fallback = nil, nil
}

// remember says whether changes are followed.
func (l *lists) remember(following bool) {
	l.forgetAll()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remembering = following
}

// pause is between two attempts to follow the log.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}
