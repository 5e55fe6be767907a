package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/docket-orders/docket/domain/order"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// historyStep is an event outside the log, in its current version.
type historyStep struct {
	Type string         `json:"type"` // stored name
	Data jsontext.Value `json:"data"`
}

// HistoryError says what is wrong with a history, and where.
type HistoryError struct {
	Pointer string // JSON Pointer into the history
	Err     error
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("history at %q: %v", e.Pointer, e.Err)
}

func (e *HistoryError) Unwrap() error { return e.Err }

// MarshalHistory writes events as a JSON array of {"type","data"}, the form in
// which an adoption carries them.
func MarshalHistory(events []order.Event) ([]byte, error) {
	steps := make([]historyStep, len(events))
	for i, e := range events {
		typ, data, err := Encode(e)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		steps[i] = historyStep{typ, data}
	}
	return json.Marshal(steps, encoding)
}

// UnmarshalHistory reads what MarshalHistory wrote. Anything else (an unknown
// type or field, a repeated name, a wrong type) is a *HistoryError.
func UnmarshalHistory(data []byte) ([]order.Event, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	begin, err := dec.ReadToken()
	if err != nil {
		return nil, at("", err)
	}
	if begin.Kind() != '[' {
		return nil, &HistoryError{"", errors.New("want an array of events")}
	}
	events := []order.Event{}
	for i := 0; dec.PeekKind() != ']'; i++ {
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, at("", err)
		}
		e, err := unmarshalStep(raw)
		if err != nil {
			return nil, at(fmt.Sprintf("/%d", i), err)
		}
		events = append(events, e)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, at("", err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &HistoryError{"", errors.New("text after the end of the array")}
	}
	return events, nil
}

func unmarshalStep(raw []byte) (order.Event, error) {
	var step historyStep
	if err := json.Unmarshal(raw, &step, decoding); err != nil {
		return nil, err
	}
	row := catalogue.rows[step.Type]
	if row == nil {
		return nil, &HistoryError{"/type", fmt.Errorf("%w %.64q", ErrUnknownEvent, step.Type)}
	}
	if step.Data.Kind() != '{' {
		return nil, &HistoryError{"/data", errors.New("want the fields of the event")}
	}
	e, err := row.decode(step.Data)
	if err != nil {
		return nil, at("/data", err)
	}
	return e, nil
}

// at puts an error under a pointer, continuing the pointer it carries itself.
func at(pointer string, err error) *HistoryError {
	var inner *HistoryError
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &inner):
		return &HistoryError{pointer + inner.Pointer, inner.Err}
	case errors.As(err, &semantic):
		return &HistoryError{pointer + string(semantic.JSONPointer), reason(semantic)}
	case errors.As(err, &syntactic):
		return &HistoryError{pointer + string(syntactic.JSONPointer), syntactic.Err}
	}
	return &HistoryError{pointer, err}
}

// reason is the error without place and Go type.
func reason(e *json.SemanticError) error {
	switch {
	case errors.Is(e.Err, json.ErrUnknownName):
		return errors.New("unknown field")
	case e.Err != nil:
		return e.Err
	}
	return fmt.Errorf("a JSON %s does not fit here", e.JSONKind)
}
