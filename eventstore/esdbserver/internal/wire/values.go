package wire

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// Keys of the metadata of an event on the wire, and the content types there.
const (
	KeyType        = "type"
	KeyContentType = "content-type"
	KeyCreated     = "created"

	ContentJSON   = "application/json"
	ContentBinary = "application/octet-stream"
)

// All names the log where a stream's name is expected.
const All = "$all"

// LeftOut reports whether nobody sees a stream in the log: those in which groups
// on the log keep their progress are, since seeing them would be progress again.
func LeftOut(stream string) bool {
	if !strings.HasPrefix(stream, "$") {
		return false
	}
	return stream == "$epoch-information" || strings.HasPrefix(stream, "$persistentsubscription-$all::") &&
		(strings.HasSuffix(stream, "-checkpoint") || strings.HasSuffix(stream, "-parked"))
}

// UUID is an id in the form that was asked for: as text, or as two numbers.
func UUID(id uuid.UUID, text bool) *shared.UUID {
	if text {
		return &shared.UUID{Value: &shared.UUID_String_{String_: id.String()}}
	}
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

// ParseUUID takes either form.
func ParseUUID(u *shared.UUID) (uuid.UUID, error) {
	switch v := u.GetValue().(type) {
	case *shared.UUID_String_:
		id, err := uuid.Parse(v.String_)
		if err != nil {
			return uuid.Nil, fmt.Errorf("%.60q is not a UUID", v.String_)
		}
		return id, nil
	case *shared.UUID_Structured_:
		var id uuid.UUID
		binary.BigEndian.PutUint64(id[:8], uint64(v.Structured.GetMostSignificantBits()))
		binary.BigEndian.PutUint64(id[8:], uint64(v.Structured.GetLeastSignificantBits()))
		return id, nil
	}
	return uuid.Nil, fmt.Errorf("no UUID is given")
}

// Stream names a stream on the wire.
func Stream(name string) *shared.StreamIdentifier {
	return &shared.StreamIdentifier{StreamName: []byte(name)}
}

// Metadata is that of a stored event on the wire. Go's client ends its process
// when created is not a number.
func Metadata(r eventstore.Record) map[string]string {
	content := ContentBinary
	if r.JSON {
		content = ContentJSON
	}
	return map[string]string{KeyType: r.Type, KeyContentType: content, KeyCreated: strconv.FormatInt(Ticks(r.Created.UnixNano()), 10)}
}

// Ticks are 100 ns since the Unix epoch.
func Ticks(nanoseconds int64) int64 { return nanoseconds / 100 }

// PositionText is "C:x/P:y", as checkpoints and infos have it; the end is
// "C:-1/P:-1".
func PositionText(p eventstore.Position) string {
	return fmt.Sprintf("C:%d/P:%d", int64(p.Commit), int64(p.Prepare))
}

// ParsePosition reads PositionText.
func ParsePosition(text string) (eventstore.Position, error) {
	commit, prepare, ok := strings.Cut(text, "/")
	c, err := strconv.ParseInt(strings.TrimPrefix(commit, "C:"), 10, 64)
	p, err2 := strconv.ParseInt(strings.TrimPrefix(prepare, "P:"), 10, 64)
	if !ok || err != nil || err2 != nil || !strings.HasPrefix(commit, "C:") || !strings.HasPrefix(prepare, "P:") {
		return eventstore.Start, fmt.Errorf("%.60q is not a position such as C:12/P:12", text)
	}
	return eventstore.Position{Commit: uint64(c), Prepare: uint64(p)}, nil
}
