package wire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/docket-orders/docket/eventstore"
)

// Clients compare these texts and trailers.
func TestRefusals(t *testing.T) {
	conflict := func(expected, current eventstore.Expected) error {
		return DeleteConflict(&eventstore.ConflictError{Stream: "s", Expected: expected, Current: current})
	}
	for _, c := range []struct {
		err     error
		code    codes.Code
		detail  string
		trailer string
	}{
		{AccessDenied(), codes.PermissionDenied, "Access Denied", "map[exception:[access-denied]]"},
		{Unauthenticated(), codes.Unauthenticated, "Unauthenticated", "map[]"},
		{StreamDeleted("größe"), codes.FailedPrecondition, "Event stream 'größe' is deleted.", "map[exception:[stream-deleted] stream-name:[größe]]"},
		{StreamDeleted("a\nb\x00"), codes.FailedPrecondition, "Event stream 'a\nb\x00' is deleted.", "map[exception:[stream-deleted] stream-name:[a?b?]]"},
		{
			conflict(-4, -1), codes.FailedPrecondition, "Delete failed due to WrongExpectedVersion. Stream: s, Expected version: -4, Actual version: -1",
			"map[actual-version:[-1] exception:[wrong-expected-version] expected-version:[-4] stream-name:[s]]",
		},
		{
			conflict(7, 12), codes.FailedPrecondition, "Delete failed due to WrongExpectedVersion. Stream: s, Expected version: 7, Actual version: 12",
			"map[actual-version:[12] exception:[wrong-expected-version] expected-version:[7] stream-name:[s]]",
		},
		{AppendTooLarge(), codes.InvalidArgument, "Maximum Append Size of 1048576 Exceeded.", "map[exception:[maximum-append-size-exceeded] maximum-append-size:[1048576]]"},
		{
			MissingMetadata("type"), codes.InvalidArgument, "Required Metadata Property 'type' is missing",
			"map[exception:[missing-required-metadata-property] required-metadata-properties:[type,content-type]]",
		},
		{GroupExists("s", "g"), codes.AlreadyExists, "Subscription group g on stream s already exists.", "map[exception:[persistent-subscription-exists] group-name:[g] stream-name:[s]]"},
		{GroupMissing("s", "g"), codes.NotFound, "Subscription group g on stream s does not exist.", "map[exception:[persistent-subscription-does-not-exist] group-name:[g] stream-name:[s]]"},
		{GroupFull("s", "g"), codes.FailedPrecondition, "Maximum subscriptions reached for subscription group g on stream s.", "map[exception:[maximum-subscribers-reached] group-name:[g] stream-name:[s]]"},
		{GroupDropped("s", "g"), codes.Canceled, "Subscription group g on stream s was dropped.", "map[exception:[persistent-subscription-dropped] group-name:[g] stream-name:[s]]"},
		{GroupFailed("s", "g", "r"), codes.Internal, "Subscription group g on stream s failed: 'r'", "map[exception:[persistent-subscription-failed] group-name:[g] reason:[r] stream-name:[s]]"},
		{Unhandled("Why: %d.", 7), codes.Unknown, "Exception was thrown by handler. Why: 7.", "map[]"},
		{TimedOut("late"), codes.Aborted, "Operation timed out: late", "map[]"},
	} {
		var r *Refusal
		if !errors.As(c.err, &r) || r.Code != c.code || r.Detail != c.detail || fmt.Sprint(r.Trailer) != c.trailer {
			t.Errorf("got %v %v, want %v %q %s", c.err, r.Trailer, c.code, c.detail, c.trailer)
		}
		if s := status.Convert(c.err); s.Code() != c.code || s.Message() != c.detail {
			t.Errorf("grpc would send %v", s)
		}
	}
}

func TestWhatAStoreAnswers(t *testing.T) {
	for err, want := range map[error]codes.Code{
		nil:                              codes.OK,
		eventstore.ErrDeleted:            codes.FailedPrecondition,
		eventstore.ErrTooLarge:           codes.InvalidArgument,
		eventstore.ErrOverloaded:         codes.Unavailable,
		eventstore.ErrReadOnly:           codes.Unavailable,
		eventstore.ErrUnavailable:        codes.Unavailable,
		eventstore.ErrOutcomeUnknown:     codes.Aborted,
		errors.New("a disk was on fire"): codes.Unknown,
		fmt.Errorf("wrapped: %w", eventstore.ErrDeleted):                    codes.FailedPrecondition,
		fmt.Errorf("%w: %w", eventstore.ErrOutcomeUnknown, errors.New("x")): codes.Aborted,
	} {
		if got := status.Code(OfStore(err, "s")); got != want {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
}

func TestUUIDs(t *testing.T) {
	for _, id := range []uuid.UUID{uuid.Nil, uuid.Max, uuid.MustParse("01234567-89ab-cdef-fedc-ba9876543210")} {
		for _, text := range []bool{false, true} {
			got, err := ParseUUID(UUID(id, text))
			if err != nil || got != id {
				t.Errorf("%v becomes %v: %v", id, got, err)
			}
		}
	}
	u := UUID(uuid.MustParse("01234567-89ab-cdef-fedc-ba9876543210"), false).GetStructured()
	if u.MostSignificantBits != 0x0123456789abcdef || uint64(u.LeastSignificantBits) != 0xfedcba9876543210 {
		t.Errorf("halves are %x and %x", u.MostSignificantBits, u.LeastSignificantBits)
	}
	for _, u := range []*shared.UUID{nil, {}, {Value: &shared.UUID_String_{String_: "nonsense"}}, {Value: &shared.UUID_String_{}}} {
		if id, err := ParseUUID(u); err == nil {
			t.Errorf("%v is %v", u, id)
		}
	}
}

func TestMetadata(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	got := Metadata(eventstore.Record{Event: eventstore.Event{Type: "T", JSON: true}, Created: at})
	if want := "map[content-type:application/json created:17000000001234567 type:T]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if got := Metadata(eventstore.Record{})["content-type"]; got != "application/octet-stream" {
		t.Error(got)
	}
}

func FuzzParseUUID(f *testing.F) {
	f.Add("01234567-89ab-cdef-fedc-ba9876543210")
	f.Add("{01234567-89ab-cdef-fedc-ba9876543210}")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseUUID(&shared.UUID{Value: &shared.UUID_String_{String_: text}})
		if err != nil {
			return
		}
		if again, err := ParseUUID(UUID(id, true)); err != nil || again != id {
			t.Errorf("%q becomes %v, then %v: %v", text, id, again, err)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("C:12/P:12")
	f.Add("C:-1/P:-1")
	f.Add("C:9223372036854775807/P:0")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePosition(text)
		if err != nil {
			return
		}
		if again, err := ParsePosition(PositionText(p)); err != nil || again != p {
			t.Errorf("%q becomes %v, then %v: %v", text, p, again, err)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("3@order-1")
	f.Add("0@a@b")
	f.Add("-1@a")
	f.Fuzz(func(t *testing.T, data string) {
		link := func(data []byte) eventstore.Record {
			return eventstore.Record{Event: eventstore.Event{Type: TypeLink, Data: data}}
		}
		stream, revision, ok := ParseLink(link([]byte(data)))
		if !ok {
			return
		}
		if revision < 0 || stream == "" {
			t.Errorf("%q names %d of %q", data, revision, stream)
		}
		if s, r, ok := ParseLink(link(LinkData(stream, revision))); !ok || s != stream || r != revision {
			t.Errorf("%q does not survive", data)
		}
	})
}
