package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/transfer"
)

// sealed is a file of these lines with a last line that is right.
func sealed(streams int, lines ...string) string {
	text := strings.Join(lines, "\n") + "\n"
	return text + fmt.Sprintf(`{"end":true,"events":%d,"streams":%d,"sha256":"%x"}`+"\n", len(lines)-1, streams, sha256.Sum256([]byte(text)))
}

const firstLine = `{"docketExport":1,"log":"6f0d7a1e-8a3c-4b53-9c1e-0d8a6c1b2f33","epoch":1,"head":"9","created":"2026-01-02T03:04:05Z"}`

// line is one of an event.
func line(stream string, revision int64, rest string) string {
	return fmt.Sprintf(`{"stream":%q,"revision":%d,"id":"%s","type":"A","json":true,%s,"created":"2026-01-02T03:04:05Z","position":"1"}`, stream, revision, uuid.New(), rest)
}

// TestHostileFiles: each has an error with the number of its line, before a store
// is asked for anything.
func TestHostileFiles(t *testing.T) {
	good := line("order-1", 0, `"data":{}`)
	next := line("order-1", 1, `"data":{}`)
	whole := sealed(1, firstLine, good, next)
	if _, err := transfer.Open(t.Context(), strings.NewReader(whole), transfer.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	big := `"data":"` + strings.Repeat("x", eventstore.MaxAppendSize) + `"`
	for name, c := range map[string]struct {
		text string
		line int64
		says string
	}{
		"empty":                    {"", 1, "ends here"},
		"something else":           {"order,amount\n", 1, "docketExport"},
		"JSON of something else":   {`{"stream":"a"}` + "\n", 1, "docketExport"},
		"newer":                    {strings.Replace(whole, `"docketExport":1`, `"docketExport":2,"moods":[]`, 1), 1, "format 2"},
		"no version":               {strings.Replace(whole, `"docketExport":1`, `"docketExport":"1"`, 1), 1, "format 0"},
		"head with more":           {strings.Replace(whole, `"epoch":1`, `"epoch":1,"mood":2`, 1), 1, "mood"},
		"broken head":              {strings.Replace(whole, `"epoch":1`, `"epoch":`, 1), 1, ""},
		"cut after the head":       {firstLine + "\n", 2, "ends here"},
		"cut within a line":        {whole[:len(firstLine)+20], 2, "ends here"},
		"cut after a line":         {strings.Join([]string{firstLine, good, ""}, "\n"), 3, "ends here"},
		"cut before the line feed": {whole[:len(whole)-1], 4, "ends here"},
		"a line is missing":        {strings.Replace(whole, next+"\n", "", 1), 3, "has 1"},
		"a line twice":             {strings.Replace(whole, good+"\n", good+"\n"+good+"\n", 1), 3, "revision 0"},
		"lines twice, sealed":      {sealed(1, firstLine, good, good), 3, "1 must come"},
		"a gap":                    {sealed(1, firstLine, good, line("order-1", 2, `"data":{}`)), 3, "1 must come"},
		"begins late":              {sealed(1, firstLine, next), 2, "0 must come"},
		"below zero":               {sealed(1, firstLine, line("order-1", -1, `"data":{}`)), 2, "0 must come"},
		"order of lines":           {strings.Replace(whole, good+"\n"+next, next+"\n"+good, 1), 2, "0 must come"},
		"a changed byte":           {strings.Replace(whole, `{},"created"`, `{ },"created"`, 1), 4, "checksum"},
		"a changed checksum":       {whole[:len(whole)-10] + "0000000" + whole[len(whole)-3:], 4, "checksum"},
		"streams miscounted":       {strings.Replace(whole, `"streams":1`, `"streams":2`, 1), 4, "2 streams"},
		"end with more":            {strings.Replace(whole, `"end":true`, `"end":true,"mood":1`, 1), 4, "mood"},
		"more after the end":       {whole + "\n", 4, "follows"},
		"another file after it":    {whole + whole, 4, "follows"},
		"no JSON":                  {sealed(1, firstLine, "order-1"), 2, ""},
		"an empty line":            {sealed(1, firstLine, ""), 2, ""},
		"an array":                 {sealed(1, firstLine, "[]"), 2, "not a JSON object"},
		"text after the object":    {sealed(1, firstLine, good+" x"), 2, "after the object"},
		"unknown member":           {sealed(1, firstLine, line("order-1", 0, `"data":{},"mood":1`)), 2, "mood"},
		"member twice":             {sealed(1, firstLine, line("order-1", 0, `"data":{},"data":{}`)), 2, "twice"},
		"data in both forms":       {sealed(1, firstLine, line("order-1", 0, `"data":{},"dataBase64":""`)), 2, "twice"},
		"no data":                  {sealed(1, firstLine, line("order-1", 0, `"metadata":{}`)), 2, "needs"},
		"broken base64":            {sealed(1, firstLine, line("order-1", 0, `"dataBase64":"?"`)), 2, "dataBase64"},
		"broken data":              {sealed(1, firstLine, line("order-1", 0, `"data":{"a"}`)), 2, ""},
		"not UTF-8":                {sealed(1, firstLine, line("order-1", 0, `"data":"`+"\xff"+`"`)), 2, ""},
		"revision is a text":       {sealed(1, firstLine, strings.Replace(good, `"revision":0`, `"revision":"0"`, 1)), 2, "revision"},
		"revision is a fraction":   {sealed(1, firstLine, strings.Replace(good, `"revision":0`, `"revision":0.5`, 1)), 2, "revision"},
		"no id":                    {sealed(1, firstLine, strings.Replace(good, good[strings.Index(good, `"id"`):strings.Index(good, `"type"`)], `"id":"00000000-0000-0000-0000-000000000000",`, 1)), 2, "an id"},
		"id is none":               {sealed(1, firstLine, strings.Replace(good, good[strings.Index(good, `"id"`):strings.Index(good, `"type"`)], `"id":"1",`, 1)), 2, "id"},
		"no type":                  {sealed(1, firstLine, strings.Replace(good, `"type":"A"`, `"type":""`, 1)), 2, "a type"},
		"a tombstone":              {sealed(1, firstLine, strings.Replace(good, `"type":"A"`, `"type":"$streamDeleted"`, 1)), 2, "ends a stream"},
		"no stream":                {sealed(1, firstLine, line("", 0, `"data":{}`)), 2, "a stream"},
		"users":                    {sealed(1, firstLine, line("$users", 0, `"data":{}`)), 2, "not carried"},
		"metadata":                 {sealed(1, firstLine, line("$$order-1", 0, `"data":{}`)), 2, "not carried"},
		"a snapshot":               {sealed(1, firstLine, line("acme.snapshot-order-1", 0, `"data":{}`)), 2, "not carried"},
		"identity of the log":      {sealed(1, firstLine, line("docket-log", 0, `"data":{}`)), 2, "not carried"},
		"too large":                {sealed(1, firstLine, line("order-1", 0, big)), 2, "larger"},
		"a huge line":              {firstLine + "\n" + strings.Repeat("x", 5<<20) + "\n", 2, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := transfer.Open(t.Context(), strings.NewReader(c.text), transfer.OpenOptions{})
			var at *transfer.LineError
			if !errors.As(err, &at) || !errors.Is(err, transfer.ErrNotAnExport) {
				t.Fatalf("%v", err)
			}
			if at.Line != c.line || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 1000 {
				t.Errorf("%.1000v; want line %d and %q", err, c.line, c.says)
			}
		})
	}
	_, err := transfer.Open(t.Context(), strings.NewReader(sealed(1, firstLine, line("order-1", 0, big))), transfer.OpenOptions{})
	if !errors.Is(err, eventstore.ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

// endless is a file whose second line has no end; it counts what is read of it.
type endless struct{ at, end int64 }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, firstLine[min(e.at, int64(len(firstLine))):])
	for ; n < len(p); n++ {
		p[n] = 'x'
		if e.at+int64(n) == int64(len(firstLine)) {
			p[n] = '\n'
		}
	}
	e.at += int64(n)
	e.end = max(e.end, e.at)
	return n, nil
}

func (e *endless) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return 1 << 30, nil
	}
	e.at = offset
	return offset, nil
}

// TestALineWithoutEnd is given up after 4 MiB of it.
func TestALineWithoutEnd(t *testing.T) {
	var file endless
	_, err := transfer.Open(t.Context(), &file, transfer.OpenOptions{})
	if !errors.Is(err, transfer.ErrNotAnExport) || file.end > 5<<20 {
		t.Errorf("%v after %d bytes", err, file.end)
	}
}

// TestCheck: what the reader of the target does not understand is refused, with
// its line.
func TestCheck(t *testing.T) {
	strange := errors.New("strange")
	text := sealed(2, firstLine, line("order-1", 0, `"data":{}`), line("order-2", 0, `"data":{"strange":1}`))
	_, err := transfer.Open(t.Context(), strings.NewReader(text), transfer.OpenOptions{Check: func(r eventstore.Record) error {
		if bytes.Contains(r.Data, []byte("strange")) {
			return strange
		}
		return nil
	}})
	var at *transfer.LineError
	if !errors.As(err, &at) || at.Line != 3 || !errors.Is(err, strange) || !strings.Contains(err.Error(), "order-2") {
		t.Errorf("%v", err)
	}
}

// TestEveryCutIsNoticed: no beginning of a file passes for a file, nor does one
// with a changed byte.
func TestEveryCutIsNoticed(t *testing.T) {
	source := openSQLite(t, t.TempDir())
	for i := range 20 {
		write(t, source, fmt.Sprintf("order-%d", i%3), eventstore.Expected(i/3-1), event("A", `{"n":1}`, `{}`))
	}
	text, _ := exported(t, source, transfer.ExportOptions{})
	for n := range len(text) {
		if _, err := transfer.Open(t.Context(), strings.NewReader(text[:n]), transfer.OpenOptions{}); !errors.Is(err, transfer.ErrNotAnExport) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	changed := []byte(text)
	for n := range changed {
		changed[n] ^= 1 << rand.IntN(7)
		if _, err := transfer.Open(t.Context(), bytes.NewReader(changed), transfer.OpenOptions{}); !errors.Is(err, transfer.ErrNotAnExport) {
			t.Fatalf("byte %d changed to %q: %v", n, changed[n], err)
		}
		changed[n] = text[n]
	}
}

// swapped is another file each time it is read from the beginning.
type swapped struct {
	*strings.Reader
	next []string
}

func (s *swapped) Seek(offset int64, whence int) (int64, error) {
	if offset == 0 && whence == io.SeekStart {
		s.Reset(s.next[0])
		s.next = s.next[1:]
	}
	return s.Reader.Seek(offset, whence)
}

// TestAFileThatChanges between its check and its import is noticed.
func TestAFileThatChanges(t *testing.T) {
	one, two := sealed(1, firstLine, line("order-1", 0, `"data":1`)), sealed(1, firstLine, line("order-1", 0, `"data":2`))
	f, err := transfer.Open(t.Context(), &swapped{strings.NewReader(one), []string{one, two, two}}, transfer.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Import(t.Context(), openSQLite(t, t.TempDir()), transfer.ImportOptions{}); !errors.Is(err, transfer.ErrNotAnExport) {
		t.Errorf("%v", err)
	}
}

// FuzzOpen: no file brings the reader down, and what passes has been counted.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(line("order-1", 0, `"data":{"a":[1,2.0]},"metadata":{}`)))
	f.Add([]byte(line("order-1", 0, `"dataBase64":"AAEC","metadataBase64":"fw=="`)))
	f.Add([]byte(line("ü", 0, `"data":"\ud800"`)))
	f.Add([]byte("{\"end\":true}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := transfer.Open(t.Context(), strings.NewReader(sealed(1, firstLine, string(text))), transfer.OpenOptions{})
		if err != nil {
			if !errors.Is(err, transfer.ErrNotAnExport) {
				t.Fatal(err)
			}
			return
		}
		if file.Events != 1 || file.Streams != 1 {
			t.Fatalf("%+v", file)
		}
	})
}

// FuzzExact: whatever data and metadata a store holds, the file brings it back.
func FuzzExact(f *testing.F) {
	for _, a := range awkward[:len(awkward)-2] {
		f.Add("order-1", "A", true, []byte(a), []byte(a))
		f.Add("order-1", "A", false, []byte(a), []byte(base64.StdEncoding.EncodeToString([]byte(a))))
	}
	f.Fuzz(func(t *testing.T, stream, typ string, isJSON bool, data, metadata []byte) {
		rec := eventstore.Record{
			Event:  eventstore.Event{ID: uuid.New(), Type: typ, JSON: isJSON, Data: data, Metadata: metadata},
			Stream: stream, Revision: 0, Position: eventstore.At64(1),
		}
		back, err := transfer.ReadBack(rec)
		if err != nil {
			if strings.ToValidUTF8(stream+typ, "?") == stream+typ {
				t.Fatal(err)
			}
			return
		}
		if back.Stream != stream || back.Type != typ || back.JSON != isJSON || back.ID != rec.ID || !bytes.Equal(back.Data, data) || !bytes.Equal(back.Metadata, metadata) {
			t.Fatalf("%+v became %+v", rec, back)
		}
	})
}
