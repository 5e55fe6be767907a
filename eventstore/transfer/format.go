package transfer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
)

// formatVersion is in the first line. It rises when an older docket could
// misread the file.
const formatVersion = 1

// header is the first line.
type header struct {
	Version   int                  `json:"docketExport"`
	Log       uuid.UUID            `json:"log"`
	Epoch     uint32               `json:"epoch"`
	Head      eventstore.Position  `json:"head"` // nothing after it is in the file
	Namespace eventstore.Namespace `json:"namespace,omitempty"`
	Without   []string             `json:"without,omitempty"`
	Created   time.Time            `json:"created"`
}

// ending is the last line.
type ending struct {
	End     bool   `json:"end"` // true
	Events  int64  `json:"events"`
	Streams int64  `json:"streams"`
	SHA256  string `json:"sha256"` // of all bytes before this line, in hexadecimal
}

// The beginnings of the lines.
const (
	headerBegins = `{"docketExport":`
	endBegins    = `{"end":`
)

// asStored reads JSON values without a look at what they say: whatever a store
// took for JSON is carried.
var asStored = jsontext.AllowDuplicateNames(true)

// appendRecord writes the line of an event, with its line feed. It fails when
// the names cannot be written as JSON.
func appendRecord(b []byte, r eventstore.Record) (_ []byte, err error) {
	b = append(b, `{"stream":`...)
	if b, err = jsontext.AppendQuote(b, r.Stream); err != nil {
		return nil, fmt.Errorf("its name is not UTF-8")
	}
	b = append(b, `,"revision":`...)
	b = strconv.AppendInt(b, int64(r.Revision), 10)
	b = append(b, `,"id":"`...)
	b = append(b, r.ID.String()...)
	b = append(b, `","type":`...)
	if b, err = jsontext.AppendQuote(b, r.Type); err != nil {
		return nil, fmt.Errorf("the type of revision %d is not UTF-8", r.Revision)
	}
	b = append(b, `,"json":`...)
	b = strconv.AppendBool(b, r.JSON)
	b = appendBytes(b, "data", r.Data, r.JSON)
	if len(r.Metadata) > 0 {
		b = appendBytes(b, "metadata", r.Metadata, true)
	}
	b = append(b, `,"created":"`...)
	b = r.Created.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","position":"`...)
	b = append(b, r.Position.String()...)
	return append(b, '"', '}', '\n'), nil
}

// appendBytes writes bytes as the JSON they are, or in base64.
func appendBytes(b []byte, name string, v []byte, isJSON bool) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	if isJSON && readsBack(v) {
		b = append(b, `":`...)
		return append(b, v...)
	}
	b = append(b, `Base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, v)
	return append(b, '"')
}

// readsBack reports whether a value on a line is read as the bytes it was
// written as: JSON without a line break, and without spaces around it.
func readsBack(v []byte) bool {
	return len(v) > 0 && bytes.IndexByte(v, '\n') < 0 && bytes.IndexByte(v, '\r') < 0 &&
		len(bytes.TrimSpace(v)) == len(v) && jsontext.Value(v).IsValid(asStored)
}

// The members of an event's line.
const (
	hasStream = 1 << iota
	hasRevision
	hasID
	hasType
	hasJSON
	hasData
	hasMetadata
	hasCreated
	hasPosition

	hasAll = hasPosition<<1 - 1 - hasMetadata
)

// parseRecord reads what appendRecord wrote, without its line feed. Data and
// Metadata do not share memory with the line.
func parseRecord(line []byte) (r eventstore.Record, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(line), asStored)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return r, errors.Join(errors.New("it is not a JSON object"), err)
	}
	seen := 0
	for d.PeekKind() == '"' {
		token, err := d.ReadToken()
		if err != nil {
			return r, err
		}
		name := token.String()
		value, err := d.ReadValue()
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		member, err := parseMember(&r, name, value)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		if seen&member != 0 {
			return r, fmt.Errorf("%s is there twice", name)
		}
		seen |= member
	}
	if _, err := d.ReadToken(); err != nil {
		return r, err
	}
	if int(d.InputOffset()) != len(line) {
		return r, errors.New("there is text after the object")
	}
	if missing := hasAll &^ seen; missing != 0 {
		return r, fmt.Errorf("an event needs stream, revision, id, type, json, data, created and position")
	}
	return r, nil
}

// parseMember puts one member into the record, and tells which it was.
func parseMember(r *eventstore.Record, name string, value jsontext.Value) (member int, err error) {
	switch name {
	case "stream":
		return hasStream, json.Unmarshal(value, &r.Stream)
	case "revision":
		return hasRevision, json.Unmarshal(value, &r.Revision)
	case "id":
		return hasID, json.Unmarshal(value, &r.ID)
	case "type":
		return hasType, json.Unmarshal(value, &r.Type)
	case "json":
		return hasJSON, json.Unmarshal(value, &r.JSON)
	case "data":
		r.Data = slices.Clone(value)
		return hasData, nil
	case "dataBase64":
		return hasData, json.Unmarshal(value, &r.Data)
	case "metadata":
		r.Metadata = slices.Clone(value)
		return hasMetadata, nil
	case "metadataBase64":
		return hasMetadata, json.Unmarshal(value, &r.Metadata)
	case "created":
		return hasCreated, json.Unmarshal(value, &r.Created)
	case "position":
		return hasPosition, json.Unmarshal(value, &r.Position)
	}
	return 0, errors.New("this member is not known")
}
