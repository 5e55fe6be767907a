package transfer

import (
	"bytes"
	"errors"

	"github.com/docket-orders/docket/eventstore"
)

// ReadBack writes a line and reads it.
func ReadBack(rec eventstore.Record) (eventstore.Record, error) {
	text, err := appendRecord(nil, rec)
	if err != nil {
		return rec, err
	}
	line, ok := bytes.CutSuffix(text, []byte{'\n'})
	if !ok || bytes.IndexByte(line, '\n') >= 0 || len(line) > maxLine {
		return rec, errors.New("the line is not one line")
	}
	return parseRecord(line)
}
