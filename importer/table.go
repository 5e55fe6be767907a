package importer

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/docket-orders/docket/domain/money"
)

// table reads one CSV file row by row and turns everything that is wrong with
// its form into an error that says where, in words.
type table struct {
	name    string // as messages call the file
	csv     *csv.Reader
	columns []int    // of the file, by the position in the wanted names
	wanted  []string // column names
	fields  []string // of the current row, valid until the next
	rows    int
	line    int // on which the current row begins
	closers []io.Closer
}

// openTable opens path, or path with .gz, and reads the header. The wanted
// columns may stand in any order, and others beside them.
func openTable(path string, wanted ...string) (*table, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(path, ".gz") {
		var second error
		if file, second = os.Open(path + ".gz"); second == nil {
			path, err = path+".gz", nil
		}
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s: no such file, with or without .gz: %w", path, fs.ErrNotExist)
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return readTable(filepath.Base(path), file, wanted...)
}

// readTable reads the header of a table from r, which it closes in the end.
func readTable(name string, r io.ReadCloser, wanted ...string) (*table, error) {
	t := &table{name: name, wanted: wanted, closers: []io.Closer{r}}
	if err := t.start(r); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *table) start(r io.Reader) error {
	buffered := bufio.NewReaderSize(r, 1<<16)
	if strings.HasSuffix(t.name, ".gz") {
		unzip, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("%s: not a gzip file, or its beginning is damaged: %w", t.name, err)
		}
		t.closers = append(t.closers, unzip)
		buffered = bufio.NewReaderSize(unzip, 1<<16)
	}
	head, err := buffered.Peek(3)
	if err != nil && err != io.EOF {
		return t.explain(err)
	}
	switch {
	case string(head) == "\xef\xbb\xbf":
		if _, err := buffered.Discard(3); err != nil {
			return t.explain(err)
		}
	case strings.HasPrefix(string(head), "\xff\xfe"), strings.HasPrefix(string(head), "\xfe\xff"):
		return fmt.Errorf("%s, line 1, column 1: the file is UTF-16; save it as UTF-8", t.name)
	}
	t.csv = csv.NewReader(buffered)
	t.csv.ReuseRecord = true
	header, err := t.csv.Read()
	if err == io.EOF {
		return fmt.Errorf("%s, line 1, column 1: the file is empty; its first line must name the columns %s",
			t.name, strings.Join(t.wanted, ", "))
	}
	if err != nil {
		return t.explain(err)
	}
	for _, name := range t.wanted {
		at := -1
		for i, h := range header {
			switch {
			case h == name && at >= 0:
				return fmt.Errorf("%s, line 1, column %d: column %s is there twice", t.name, t.column(i), name)
			case h == name:
				at = i
			}
		}
		if at < 0 {
			return fmt.Errorf("%s, line 1, column 1: column %s is missing; there are %s",
				t.name, name, clip(strings.Join(header, ", ")))
		}
		t.columns = append(t.columns, at)
	}
	return nil
}

// Next moves to the next row. It returns false and no error at the end.
func (t *table) Next() (bool, error) {
	record, err := t.csv.Read()
	if err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, t.explain(err)
	}
	for i, field := range record {
		if bad := invalidAt(field); bad >= 0 {
			line, column := t.csv.FieldPos(i)
			return false, fmt.Errorf("%s, line %d, column %d: not UTF-8 (byte %#x); save the file as UTF-8",
				t.name, line, column+bad, field[bad])
		}
	}
	t.line, _ = t.csv.FieldPos(0)
	t.fields = record
	t.rows++
	return true, nil
}

// invalidAt is the index of the first byte that is not UTF-8, or -1.
func invalidAt(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

// Text is the field of the i-th wanted column; it pins the memory of the whole
// row, so whoever keeps it clones or interns it.
func (t *table) Text(i int) string { return t.fields[t.columns[i]] }

// Line is the number of the line on which the current row begins.
func (t *table) Line() int { return t.line }

func (t *table) column(field int) int {
	_, column := t.csv.FieldPos(field)
	return column
}

// Bad is the error for the i-th wanted column of the current row.
func (t *table) Bad(i int, what string) error {
	line, column := t.csv.FieldPos(t.columns[i])
	return fmt.Errorf("%s, line %d, column %d (%s): %q is %s",
		t.name, line, column, t.wanted[i], clip(t.Text(i)), what)
}

// Whole is the field as a whole number.
func (t *table) Whole(i int) (int64, error) {
	n, err := strconv.ParseInt(t.Text(i), 10, 64)
	if err != nil {
		return 0, t.Bad(i, "not a whole number such as 12")
	}
	return n, nil
}

// Money is the field as an amount.
func (t *table) Money(i int, c money.Currency) (money.Amount, error) {
	a, err := money.Parse(t.Text(i), c)
	switch {
	case errors.Is(err, money.ErrScale):
		return a, t.Bad(i, "a number with more than "+strconv.Itoa(money.MaxScale)+" decimals")
	case errors.Is(err, money.ErrRange):
		return a, t.Bad(i, "too large a number")
	case err != nil:
		return a, t.Bad(i, "not a number such as 12.34")
	}
	return a, nil
}

// explain puts what encoding/csv and gzip say into words with a place.
func (t *table) explain(err error) error {
	var p *csv.ParseError
	switch {
	case errors.As(err, &p) && errors.Is(p.Err, csv.ErrFieldCount):
		return fmt.Errorf("%s, line %d, column %d: the row has another number of fields than the header", t.name, p.Line, p.Column)
	case errors.As(err, &p) && errors.Is(p.Err, csv.ErrBareQuote):
		return fmt.Errorf(`%s, line %d, column %d: a quote (") inside a field that does not begin with one`, t.name, p.Line, p.Column)
	case errors.As(err, &p) && errors.Is(p.Err, csv.ErrQuote):
		return fmt.Errorf(`%s, line %d, column %d: a quote (") is missing or one too many, in the row that begins on line %d`, t.name, p.Line, p.Column, p.StartLine)
	}
	line := t.line + 1 // after the last whole row
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s, line %d, column 1: the compressed file ends in the middle; it is cut off: %w", t.name, line, err)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, &corrupt):
		return fmt.Errorf("%s, line %d, column 1: the compressed file is damaged: %w", t.name, line, err)
	}
	return fmt.Errorf("read %s near line %d: %w", t.name, line, err)
}

// Each calls row for every row, reports progress, and closes the table.
func (t *table) Each(ctx context.Context, opts Options, report *Report, row func() error) error {
	defer t.Close()
	for {
		more, err := t.Next()
		if err != nil {
			return err
		}
		if t.rows%10_000 == 0 || !more {
			if err := ctx.Err(); err != nil {
				return err
			}
			opts.tell(Progress{Phase: "reading " + t.name, Done: t.rows})
		}
		if !more {
			report.Files = append(report.Files, FileRows{t.name, t.rows})
			return nil
		}
		if err := row(); err != nil {
			return err
		}
	}
}

// Close closes the file.
func (t *table) Close() {
	for i := len(t.closers) - 1; i >= 0; i-- {
		t.closers[i].Close() // opened for reading: nothing is lost
	}
	t.closers = nil
}

func (o Options) tell(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}

// clip keeps messages short.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// texts keeps every different text once and knows it by a small number.
type texts struct {
	index map[string]uint32
	all   []string
}

func newTexts() *texts { return &texts{index: make(map[string]uint32)} }

// Number of the text, which is copied when it is new.
func (t *texts) Number(s string) uint32 {
	n, ok := t.index[s]
	if !ok {
		n = uint32(len(t.all))
		s = strings.Clone(s)
		t.index[s] = n
		t.all = append(t.all, s)
	}
	return n
}

// Text with that number.
func (t *texts) Text(n uint32) string { return t.all[n] }

// Keep is the one copy of the text.
func (t *texts) Keep(s string) string { return t.Text(t.Number(s)) }
