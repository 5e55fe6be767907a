package wire

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/docket-orders/docket/eventstore"
)

// TypeLink is the type of a link event: its data is "<revision>@<stream>".
const TypeLink = "$>"

// LinkData is the data of a link to an event.
func LinkData(stream string, revision eventstore.Revision) []byte {
	return fmt.Appendf(nil, "%d@%s", revision, stream)
}

// ParseLink reads the data of a link; ok is false for a record that is none.
func ParseLink(r eventstore.Record) (stream string, revision eventstore.Revision, ok bool) {
	if r.Type != TypeLink {
		return "", 0, false
	}
	number, stream, found := strings.Cut(string(r.Data), "@")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || stream == "" || err != nil || n < 0 {
		return "", 0, false
	}
	return stream, eventstore.Revision(n), true
}

// Resolve reads what a link names. isLink is false for a record that is no
// link; target is nil when it cannot be read, because its stream is missing or
// deleted or the event is truncated.
func Resolve(ctx context.Context, store eventstore.Store, r eventstore.Record) (target *eventstore.Record, isLink bool, err error) {
	stream, revision, ok := ParseLink(r)
	if !ok {
		return nil, false, nil
	}
	for found, err := range store.ReadStream(ctx, stream, revision, eventstore.Forwards, 1) {
		switch {
		case errors.Is(err, eventstore.ErrStreamNotFound), errors.Is(err, eventstore.ErrDeleted):
			return nil, true, nil
		case err != nil:
			return nil, true, fmt.Errorf("resolve link to %d of %s: %w", revision, stream, err)
		case found.Revision == revision:
			return &found, true, nil
		}
	}
	return nil, true, nil
}
