package linking

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver/internal/wire"
)

// rule is a system projection: in which group a record belongs, and the link
// that stands there for it. ok is false for a record that gets none.
type rule func(r eventstore.Record) (group string, l link, ok bool)

// link is what will be written for one record.
type link struct {
	source      eventstore.Position
	data        []byte // <revision>@<stream>
	original    string // the stream that the link is about; empty: not said
	deletion    bool   // it is about the end of that stream
	causedBy    uuid.UUID
	correlation string
}

// byCategory groups by what stands before the first "-" of the stream's name.
// The category of a deleted stream gets a link to the record that says so. A
// link that somebody put into a stream is linked by its own target.
func byCategory(r eventstore.Record) (category string, l link, ok bool) {
	stream, deletion := deleted(r)
	if !deletion {
		stream = r.Stream
	}
	category, _, found := strings.Cut(stream, "-")
	if !found || category == "" || strings.HasPrefix(stream, "$") || !readable(r) {
		return "", link{}, false
	}
	l = linkTo(r)
	l.original, l.deletion = stream, deletion
	if r.Type == wire.TypeLink {
		l.data = bytes.Clone(r.Data)
	}
	return category, l, true
}

// byEventType groups by type; deletions of streams are a type of their own.
// Links are not linked again, and neither are checkpoints of projections and of
// groups on the log: they would never come to an end.
func byEventType(r eventstore.Record) (typ string, l link, ok bool) {
	if r.Type == wire.TypeLink || isCheckpoint(r.Stream) || wire.LeftOut(r.Stream) || !readable(r) {
		return "", link{}, false
	}
	l = linkTo(r)
	if _, l.deletion = deleted(r); l.deletion {
		return "$deleted", l, true
	}
	return r.Type, l, true
}

// readable is false for an event that was declared JSON and is none: every
// projection of EventStoreDB passes it over.
func readable(r eventstore.Record) bool {
	return !r.JSON || utf8.Valid(r.Data) && json.Valid(r.Data)
}

// deleted tells the stream that the record ended, for now or for good.
func deleted(r eventstore.Record) (stream string, yes bool) {
	if r.Type == eventstore.TypeStreamDeleted && r.Revision == eventstore.EndRevision {
		return r.Stream, true
	}
	subject, isMeta := strings.CutPrefix(r.Stream, "$$")
	if !isMeta || r.Type != eventstore.TypeMetadata || !r.JSON {
		return "", false
	}
	var md eventstore.StreamMetadata
	if json.Unmarshal(r.Data, &md) != nil {
		return "", false
	}
	return subject, md.SoftDeleted()
}

func linkTo(r eventstore.Record) link {
	var about struct {
		Correlation any `json:"$correlationId"`
	}
	// Metadata that is no JSON names no correlation.
	_ = json.Unmarshal(r.Metadata, &about)
	correlation, _ := about.Correlation.(string)
	return link{source: r.Position, data: wire.LinkData(r.Stream, r.Revision), causedBy: r.ID, correlation: correlation}
}

// noEpoch is the epoch of a projection that was never reset.
const noEpoch = -1

// linkMetadata is the metadata of a link, its keys in EventStoreDB's order.
type linkMetadata struct {
	Version     string `json:"$v"` // projection:epoch:version:subversion
	Commit      uint64 `json:"$c"` // of the record that is linked
	Prepare     uint64 `json:"$p"`
	Original    string `json:"$o,omitempty"`
	Deleted     int    `json:"$deleted,omitempty"` // -1: it is about a deletion
	CausedBy    string `json:"$causedBy"`
	Correlation string `json:"$correlationId,omitempty"`
}

// event makes the link ready to be appended to target.
func (l link) event(k *kind, epoch int64, target string) eventstore.Event {
	md := linkMetadata{
		Version: fmt.Sprintf("%d:%d:1:1", k.id, epoch),
		Commit:  l.source.Commit, Prepare: l.source.Prepare,
		Original: l.original, CausedBy: l.causedBy.String(), Correlation: l.correlation,
	}
	if l.deletion {
		md.Deleted = -1
	}
	var metadata bytes.Buffer
	encoder := json.NewEncoder(&metadata)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(md); err != nil {
		panic(fmt.Sprintf("linking: metadata of a link: %v", err))
	}
	return eventstore.Event{
		ID: linkID(target, epoch, l.source), Type: wire.TypeLink,
		Data: l.data, Metadata: bytes.TrimSpace(metadata.Bytes()),
	}
}

// linkIDs is the space of the ids of links.
var linkIDs = uuid.MustParse("9c0a3c55-5b0b-4b2e-8d44-2f3c1f0f6a77")

// linkID follows from what is linked where, so that a link is recognised. The
// epoch is in it because a projection that was reset writes anew what somebody
// deleted.
func linkID(target string, epoch int64, source eventstore.Position) uuid.UUID {
	return uuid.NewSHA1(linkIDs, fmt.Appendf(nil, "%d %d/%d %s", epoch, source.Commit, source.Prepare, target))
}

// sourceOf reads from a record which one it links; ok is false for what no
// projection wrote.
func sourceOf(r eventstore.Record) (source eventstore.Position, ok bool) {
	var md linkMetadata
	if r.Type != wire.TypeLink || json.Unmarshal(r.Metadata, &md) != nil {
		return eventstore.Start, false
	}
	version := strings.Split(md.Version, ":")
	if len(version) != 4 {
		return eventstore.Start, false
	}
	epoch, err := strconv.ParseInt(version[1], 10, 64)
	source = eventstore.Position{Commit: md.Commit, Prepare: md.Prepare}
	return source, err == nil && r.ID == linkID(r.Stream, epoch, source)
}
