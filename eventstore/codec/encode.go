package codec

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	// ErrUnknownEvent: the catalogue does not list the stored type.
	ErrUnknownEvent = errors.New("unknown event type")
	// ErrNewerVersion: the event was written by a newer docket.
	ErrNewerVersion = errors.New("event has a newer version")
)

// Equal values are equal bytes; what is not in the catalogue is refused.
var (
	encoding = json.JoinOptions(json.Deterministic(true))
	decoding = json.JoinOptions(json.RejectUnknownMembers(true))
)

// Encode returns the stored name and the fields of an event in its current
// version. Equal events give equal bytes; an absent list and an empty one are
// equal.
func Encode(e order.Event) (typ string, data []byte, err error) {
	r := catalogue.rowOf(e)
	data, err = json.Marshal(e, encoding)
	if err != nil {
		return "", nil, fmt.Errorf("encode %s: %w", r.name, err)
	}
	return r.name, data, nil
}

// rowOf panics for a type that is not listed: the catalogue lacks a row.
func (c *Catalogue) rowOf(e order.Event) *row {
	r := c.byType[reflect.TypeOf(e)]
	if r == nil {
		panic(fmt.Sprintf("codec: event %T is not in the catalogue", e))
	}
	return r
}

// Decode reads a record of an order's stream. It fails with ErrUnknownEvent or
// ErrNewerVersion when this docket is too old for it, and with another error
// when the record is not what docket writes.
func Decode(r eventstore.Record, ns eventstore.Namespace) (Recorded, error) {
	return catalogue.decode(r, ns)
}

func (c *Catalogue) decode(r eventstore.Record, ns eventstore.Namespace) (Recorded, error) {
	id, ok := ns.ID(Category, r.Stream)
	if !ok {
		return Recorded{}, failed(r, errors.New("not the stream of an order"))
	}
	meta, err := DecodeMeta(r.Metadata)
	if err != nil {
		return Recorded{}, failed(r, err)
	}
	e, err := c.decodeEvent(r.Type, meta.Version, r.Data)
	if err != nil {
		return Recorded{}, failed(r, err)
	}
	return Recorded{
		OrderID: id, Revision: r.Revision, Position: r.Position, EventID: r.ID,
		Type: r.Type, Event: e, Meta: meta,
	}, nil
}

func failed(r eventstore.Record, err error) error {
	return fmt.Errorf("decode %s at %s revision %d: %w", r.Type, r.Stream, r.Revision, err)
}

// decodeEvent brings the fields to the current version and reads them.
func (c *Catalogue) decodeEvent(typ string, version int, data []byte) (order.Event, error) {
	row := c.rows[typ]
	// Every docket writes a version: without one it is no newer docket's event,
	// but another program's, and concerns this order alone.
	if version < 1 {
		return nil, fmt.Errorf("version %d, versions begin at 1: it was not written by docket", version)
	}
	if row == nil {
		return nil, fmt.Errorf("%w: version %d; run the newer docket that wrote it", ErrUnknownEvent, version)
	}
	if version > row.version {
		return nil, fmt.Errorf("%w: version %d, this docket knows up to %d; run the newer docket that wrote it",
			ErrNewerVersion, version, row.version)
	}
	fields := jsontext.Value(data)
	for v := version; v < row.version; v++ {
		var err error
		if fields, err = row.upcasts[v](fields); err != nil {
			return nil, fmt.Errorf("from version %d to %d: %w", v, v+1, err)
		}
	}
	return row.decode(fields)
}

// BusinessTime is when the event happened: its field "at", found without
// decoding the rest.
func BusinessTime(r eventstore.Record) (time.Time, error) {
	if text, ok := lastAt(r.Data); ok {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return at, nil
		}
	}
	var fields struct {
		At *time.Time `json:"at"`
	}
	if err := json.Unmarshal(r.Data, &fields); err != nil {
		return time.Time{}, failed(r, err)
	}
	if fields.At == nil {
		return time.Time{}, failed(r, errors.New(`no field "at"`))
	}
	return *fields.At, nil
}

// lastAt finds the value of "at" where Encode puts it: at the very end. Quotes
// inside a JSON text are escaped, so the end can be read backwards.
func lastAt(data []byte) (text string, ok bool) {
	const tail = `"}`
	end := len(data) - len(tail)
	if end < 0 || string(data[end:]) != tail {
		return "", false
	}
	begin := end
	for begin > 0 && data[begin-1] != '"' {
		begin--
	}
	const key = `"at":"`
	at := begin - len(key)
	if at < 1 || string(data[at:begin]) != key || data[at-1] != ',' && data[at-1] != '{' {
		return "", false
	}
	return string(data[begin:end]), true
}
