package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/query"
)

// strict is how every body is read: names match by case, are known and unique;
// text is valid UTF-8; money is {"amount","currency"} with decimal text; times
// are RFC 3339.
var strict = json.JoinOptions(
	json.RejectUnknownMembers(true),
	json.MatchCaseInsensitiveNames(false),
	jsontext.AllowDuplicateNames(false),
	jsontext.AllowInvalidUTF8(false),
	json.WithUnmarshalers(json.JoinUnmarshalers(
		json.UnmarshalFromFunc(decodeMoney),
		json.UnmarshalFromFunc(decodeTime),
		json.UnmarshalFromFunc(decodeCurrency),
	)),
)

// readBody reads a whole body of the media type, at most limit bytes. observed
// has set when it must be there; from here on nothing more is waited for.
func readBody(w http.ResponseWriter, r *http.Request, mediaType string, limit int64) ([]byte, error) {
	empty := r.ContentLength == 0
	// A DELETE cannot be sent across origins by a form, so it needs no content
	// type when it has no body; a POST can.
	if !(empty && r.Method == http.MethodDelete) {
		if err := wantMediaType(r, mediaType); err != nil {
			return nil, err
		}
	}
	if err := wantPlain(r); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	data, err := io.ReadAll(counted{http.MaxBytesReader(w, r.Body, limit), exchangeOf(r.Context())})
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge(limit)
	case errors.Is(err, errHeld):
		return nil, overloaded("bytes")
	case err != nil:
		return nil, problem("invalid-body", "the body ended before it was complete").because(err)
	}
	if !empty {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		exchangeOf(r.Context()).unread = false
	}
	return data, nil
}

func tooLarge(limit int64) *Problem {
	return problem("body-too-large", "at most %d bytes are taken", limit)
}

func wantMediaType(r *http.Request, want string) error {
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return problem("unsupported-media-type", "one Content-Type is needed: %s", want)
	}
	got, params, err := mime.ParseMediaType(values[0])
	if err != nil || got != want {
		return problem("unsupported-media-type", "Content-Type %.80q is not %s", values[0], want)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return problem("unsupported-media-type", "charset %.40q is not utf-8", charset)
	}
	return nil
}

// wantPlain refuses what would have to be unpacked: a small body cannot become a
// large one here.
func wantPlain(r *http.Request) error {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(encoding, "identity") {
			return problem("unsupported-media-type", "Content-Encoding %.40q is not taken", encoding)
		}
	}
	return nil
}

// reader reads bodies of one type. It is made once per type.
type reader[T any] struct{ shape *shape }

func readerOf[T any]() reader[T] { return reader[T]{shapeOf(reflect.TypeFor[T]())} }

// read reads one JSON object. An empty body counts as an empty object.
func (r reader[T]) read(data []byte) (T, error) {
	var v T
	return v, decode(data, &v, r.shape)
}

// decode reads one JSON object into dst, a pointer to a struct of the shape.
func decode(data []byte, dst any, shape *shape) error {
	first := bytes.TrimLeft(data, " \t\r\n")
	if len(first) == 0 {
		data, first = []byte("{}"), []byte("{}")
	}
	if err := json.Unmarshal(data, dst, strict); err != nil {
		return decodeProblem(err)
	}
	if first[0] != '{' { // null
		return problem("invalid-body", "want an object").at("", "want an object")
	}
	if pointer, ok := missing(data, shape); ok {
		return problem("invalid-body", "%s is missing", pointer).at(pointer, "is missing")
	}
	return nil
}

// maxPointer bounds in bytes what an answer repeats of a body.
const maxPointer = 512

// decodeProblem words an error of the decoder for whoever sent the body, with
// the place. Nothing of the body is echoed but names.
func decodeProblem(err error) *Problem {
	var (
		syntactic *jsontext.SyntacticError
		semantic  *json.SemanticError
		worded    *valueError
		pointer   string
		detail    string
	)
	switch {
	case errors.As(err, &semantic):
		pointer = string(semantic.JSONPointer)
		switch {
		case errors.As(err, &worded):
			detail = worded.detail
			pointer += worded.below
		case errors.Is(err, json.ErrUnknownName):
			detail = "unknown field"
		case semantic.GoType != nil && semantic.JSONKind != 0:
			detail = "want " + wordFor(semantic.GoType) + ", not " + kindWord(semantic.JSONKind)
			if semantic.JSONKind == '0' && semantic.Err != nil {
				detail = "want " + wordFor(semantic.GoType) + " in range"
			}
		default:
			detail = "the value does not fit"
		}
	case errors.As(err, &syntactic):
		pointer = string(syntactic.JSONPointer)
		detail = fmt.Sprintf("%v at byte %d", syntactic.Err, syntactic.ByteOffset)
		if errors.Is(err, jsontext.ErrDuplicateName) {
			detail = "the name is there twice"
		}
	default:
		detail = "not JSON"
	}
	for len(pointer) > maxPointer { // the place around it says enough
		pointer = pointer[:strings.LastIndexByte(pointer, '/')]
	}
	p := problem("invalid-body", "%s", detail)
	if pointer != "" {
		p.Detail = pointer + ": " + detail
	}
	return p.at(pointer, detail)
}

func wordFor(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

func kindWord(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "true or false"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '[':
		return "an array"
	}
	return "an object"
}

// valueError says what is wrong with a value that is well-formed JSON.
type valueError struct {
	below  string // pointer below the value
	detail string
}

func (e *valueError) Error() string { return e.detail }

const moneyForm = `money is written {"amount":"12.34","currency":"EUR"}`

func decodeMoney(dec *jsontext.Decoder, a *money.Amount) error {
	if dec.PeekKind() == 'n' {
		*a = money.Amount{}
		return dec.SkipValue()
	}
	if dec.PeekKind() != '{' {
		if err := dec.SkipValue(); err != nil {
			return err
		}
		return &valueError{detail: moneyForm}
	}
	var raw struct {
		Amount   *string `json:"amount"`
		Currency *string `json:"currency"`
	}
	if err := json.UnmarshalDecode(dec, &raw); err != nil {
		return err
	}
	if raw.Amount == nil || raw.Currency == nil {
		return &valueError{detail: moneyForm}
	}
	c, err := money.ParseCurrency(*raw.Currency)
	if err != nil {
		return &valueError{"/currency", err.Error()}
	}
	parsed, err := money.Parse(*raw.Amount, c)
	if err != nil {
		return &valueError{"/amount", err.Error()}
	}
	*a = parsed
	return nil
}

func decodeCurrency(dec *jsontext.Decoder, c *money.Currency) error {
	text, err := decodeText(dec, "want a currency code such as EUR")
	if err != nil {
		return err
	}
	if *c, err = money.ParseCurrency(text); err != nil {
		return &valueError{detail: err.Error()}
	}
	return nil
}

func decodeTime(dec *jsontext.Decoder, t *time.Time) error {
	if dec.PeekKind() == 'n' {
		*t = time.Time{}
		return dec.SkipValue()
	}
	text, err := decodeText(dec, query.InstantForm)
	if err != nil {
		return err
	}
	if *t, err = query.ParseInstant(text); err != nil {
		return &valueError{detail: err.Error()}
	}
	return nil
}

func decodeText(dec *jsontext.Decoder, want string) (string, error) {
	if dec.PeekKind() != '"' {
		if err := dec.SkipValue(); err != nil {
			return "", err
		}
		return "", &valueError{detail: want}
	}
	token, err := dec.ReadToken()
	if err != nil {
		return "", err
	}
	return token.String(), nil
}

// shape is what of a struct must be there, at every depth.
type shape struct {
	fields []shapeField
}

type shapeField struct {
	field
	below *shape // of the field, or of its elements; nil when nothing is needed there
}

// shapeOf a type; nil for one without fields.
func shapeOf(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice && !opaque(t) {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || opaque(t) {
		return nil
	}
	s := &shape{}
	for _, f := range fieldsOf(t) {
		s.fields = append(s.fields, shapeField{f, shapeOf(f.typ)})
	}
	if len(s.fields) > 64 {
		panic("httpapi: " + t.String() + " has more fields than missing can mark")
	}
	return s
}

// missing finds the first required field that a body, known to be well-formed,
// does not have or has null.
func missing(data []byte, s *shape) (pointer string, found bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	return missingIn(dec, s)
}

func missingIn(dec *jsontext.Decoder, s *shape) (pointer string, found bool) {
	switch kind := dec.PeekKind(); {
	case s == nil || kind != '{' && kind != '[':
		_ = dec.SkipValue()
		return "", false
	case kind == '[':
		_, _ = dec.ReadToken()
		for k := dec.PeekKind(); k != ']' && k != 0; k = dec.PeekKind() {
			if pointer, found = missingIn(dec, s); found {
				return pointer, found
			}
		}
		_, _ = dec.ReadToken()
		return "", false
	}
	_, _ = dec.ReadToken()
	var seen uint64 // by index of the field
	for k := dec.PeekKind(); k != '}' && k != 0; k = dec.PeekKind() {
		name, err := dec.ReadToken()
		if err != nil {
			return "", false
		}
		member := name.String()
		i := slices.IndexFunc(s.fields, func(f shapeField) bool { return f.name == member })
		if i < 0 {
			_ = dec.SkipValue()
			continue
		}
		if dec.PeekKind() != 'n' {
			seen |= 1 << i
		}
		if pointer, found = missingIn(dec, s.fields[i].below); found {
			return pointer, found
		}
	}
	_, _ = dec.ReadToken()
	for i, f := range s.fields {
		if f.required && seen&(1<<i) == 0 {
			return string(dec.StackPointer()) + "/" + f.name, true
		}
	}
	return "", false
}

// field is one JSON member of a struct.
type field struct {
	name     string
	required bool
	typ      reflect.Type
}

// fieldsOf lists the JSON members of a struct, those of embedded ones included.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
		case f.Anonymous && name == "":
			fields = append(fields, fieldsOf(f.Type)...)
		default:
			fields = append(fields, field{name, !strings.Contains(options, "omit"), f.Type})
		}
	}
	return fields
}

// opaque types are not looked into: they write themselves.
func opaque(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[money.Amount](), reflect.TypeFor[jsontext.Value]():
		return true
	}
	return false
}
