// Package transfer carries the events of one log to another: Export writes them
// to a file, File.Import writes the file into another store, of the same or of
// another kind.
//
// It promises that streams, revisions, ids, types, data and metadata arrive byte
// for byte and in the order of the log, so that everything that is derived from
// them is the same; positions and the store's own clock are the new store's. An
// import that was ended at any point goes on when it is run again, and when it
// has ended without an error the target was read back and equals the file.
//
// It refuses a stream of which the log does not show everything, a file that is
// not what an export wrote, to the last byte, and a target that has anything
// else in the categories of the file. It does not carry what belongs to a store
// rather than to its events: streams whose names begin with "$" (metadata and
// access lists among them), snapshots, and the identity of the log. cmd calls
// it; it knows the port eventstore only.
//
// Memory grows with the number of streams, about 150 bytes for each.
//
// # The file
//
// UTF-8 text, a JSON object on each line; the first member says what the line
// is.
//
//	{"docketExport":1,"log":ID,"epoch":1,"head":"604","created":TIME}
//	{"stream":"order-1","revision":0,"id":ID,"type":"OrderPlaced","json":true,
//	 "data":{...},"metadata":{...},"created":TIME,"position":"1"}
//	...
//	{"end":true,"events":604,"streams":303,"sha256":HEX}
//
// Events are in the order of the log. Where data or metadata are JSON on one line,
// they stand there as they are, with their own order of keys, spaces and
// numbers; where not, dataBase64 and metadataBase64 hold the bytes. Metadata
// that is empty is left out. json tells how the store has marked the data.
// created and position are the source's, for people. The checksum is over all
// bytes before its line. A namespace, and what was left out by name, are in the
// first line as "namespace" and "without".
package transfer

import (
	"regexp"
	"strings"

	"github.com/docket-orders/docket/eventstore"
)

// Progress hears how far long work is: done of total in a phase, total 0 when
// it is not known. It is called by one goroutine.
type Progress func(phase string, done, total int64)

// LogStream is where a store without an identity of its own keeps that of its
// log; it stays where it is.
const LogStream = "docket-log"

// snapshotStream is the name of one: with the prefix of a namespace, or none.
var snapshotStream = regexp.MustCompile(`^([a-z0-9]{1,16}\.)?snapshot-`)

// Carries reports whether a stream belongs to the events, and not to the store
// that keeps them.
func Carries(stream string) bool {
	return !strings.HasPrefix(stream, "$") && stream != LogStream && !snapshotStream.MatchString(stream)
}

// metadataOf is the stream that a metadata stream describes.
func metadataOf(stream string) (subject string, ok bool) { return strings.CutPrefix(stream, "$$") }

// prefixOf is the beginning of a stream's name up to its category.
func prefixOf(stream string) string {
	category, _, ok := strings.Cut(stream, "-")
	if !ok {
		return stream
	}
	return category + "-"
}

// maxPrefixes bounds the prefixes of a filter; with more, everything is read.
const maxPrefixes = 32

// filterFor selects the records of some categories and of their metadata.
func filterFor(prefixes map[string]bool) (f eventstore.Filter) {
	if len(prefixes) > maxPrefixes {
		return f
	}
	for p := range prefixes {
		f.Prefixes = append(f.Prefixes, p, "$$"+p)
	}
	return f
}
