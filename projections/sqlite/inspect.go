package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
)

// Inspect implements projections.Inspector. All answers are of one instant.
//
// What is compared is bytes and columns; only where they differ is anything
// decoded. A document in other bytes that is equal as JSON is the same. Of the
// full text what is compared is the hash of the text it was written with, and
// the number of words under the order's row: other words of the same number,
// put there by somebody who left the hash alone, are not seen.
func (s *Store) Inspect(ctx context.Context, want []projections.Change) ([]projections.Kept, error) {
	out := make([]projections.Kept, len(want))
	err := s.read(ctx, func(c *conn) error {
		shapes := map[shape]int64{}
		for k := range want {
			i := inspection{conn: c, shapes: shapes}
			var err error
			if out[k], err = i.order(&want[k]); err != nil {
				return fmt.Errorf("order %s: %w", want[k].Order.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap(err, "inspect %d orders", len(want))
	}
	return out, nil
}

// IDs implements projections.Inspector.
func (s *Store) IDs(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.each(`SELECT id FROM orders WHERE id > ? ORDER BY id LIMIT ?`, []any{after, limit}, func(r *sqlite3.Stmt) error {
			ids = append(ids, r.ColumnText(0))
			return nil
		})
	})
	return ids, wrap(err, "list orders after %q", after)
}

// inspection holds what is kept of one order against what should be.
type inspection struct {
	*conn
	shapes map[shape]int64 // ids by shape; 0: there is no such row

	want  row
	n     int64    // of the row in orders; 0: there is none
	shape int64    // that it points to
	rows  []string // as in projections.Kept
	// What is kept where it is not, byte for byte, what should be.
	document, contribution []byte
	torn                   bool     // there is no row in docs
	problems               []string // why what is kept cannot be read
}

func (i *inspection) order(change *projections.Change) (k projections.Kept, err error) {
	if err := i.want.encode(change); err != nil {
		// Write would keep nothing of it.
		i.want = row{id: change.Order.ID}
		i.rows = append(i.rows, fmt.Sprintf("document: kept, although it is refused: %v", err))
		k.Same = true
	}
	if err := i.columns(); err != nil || i.n == 0 {
		k.Same = k.Same && err == nil
		return k, err
	}
	if err := errors.Join(i.shapeRow(), i.skuRows()); err != nil {
		return k, err
	}
	k.Found = true
	sameDocument := i.same(i.document, i.want.document)
	sameContribution := i.same(i.contribution, i.want.contribution)
	if sameDocument && sameContribution && len(i.rows)+len(i.problems) == 0 {
		k.Same = true
		return k, nil
	}
	k.Same = false
	i.read(i.document, i.want.document, &k.Document, "document")
	i.read(i.contribution, i.want.contribution, &k.Contribution, "contribution")
	k.Unreadable = strings.Join(i.problems, "; ")
	if k.Document.Revision == change.Order.Revision {
		k.Rows = i.rows
	}
	return k, nil
}

// compared names the columns that columns compares, in the order it asks for
// them.
var compared = [...]string{"revision", "placed", "updated", "delivered", "total", "number", "customer", "words", "skus"}

// columns compares the row in orders, and those of the same n in docs and in
// the full text.
func (i *inspection) columns() error {
	w := &i.want
	want := [len(compared)]any{w.revision, w.placed, w.updated, w.delivered, w.total, w.number, w.customer, w.wordsHash, w.skusJSON}
	return i.each(`SELECT o.revision, o.placed, o.updated, o.delivered, o.total, o.number, o.customer, o.words, d.skus,
			o.n, o.shape, z.sz, d.contribution, d.document
		FROM orders o LEFT JOIN docs d ON d.n = o.n LEFT JOIN fts_docsize z ON z.id = o.n WHERE o.id = ?`, []any{w.id}, func(r *sqlite3.Stmt) error {
		i.n, i.shape = r.ColumnInt64(9), r.ColumnInt64(10)
		for c, want := range want {
			if kept := value(r, c); kept != want {
				i.differs(compared[c], kept, want)
			}
		}
		if r.ColumnType(11) == sqlite3.NULL {
			i.rows = append(i.rows, "full text: not indexed")
		} else if kept, want := tokensIndexed(r.ColumnRawBlob(11)), tokens(w.words); kept != want {
			i.differs("words indexed", kept, want)
		}
		if r.ColumnType(13) == sqlite3.NULL {
			i.torn = true
			i.problems = append(i.problems, "there is no document")
			return nil
		}
		if kept := r.ColumnRawBlob(12); !bytes.Equal(kept, w.contribution) {
			i.contribution = append([]byte{}, kept...)
		}
		if kept := r.ColumnRawBlob(13); !bytes.Equal(kept, w.document) {
			i.document = append([]byte{}, kept...)
		}
		return nil
	})
}

func (i *inspection) differs(name string, kept, want any) {
	show := func(v any) any {
		if n, ok := v.(int64); ok && (name == "placed" || name == "updated" || name == "delivered") {
			return micros(n).Format(time.RFC3339Nano)
		}
		if v == nil {
			return "nothing"
		}
		return v
	}
	i.rows = append(i.rows, fmt.Sprintf("%s: %v, not %v", name, show(kept), show(want)))
}

// value of a column; nil for NULL.
func value(r *sqlite3.Stmt, column int) any {
	switch r.ColumnType(column) {
	case sqlite3.INTEGER:
		return r.ColumnInt64(column)
	case sqlite3.NULL:
		return nil
	}
	return r.ColumnText(column)
}

// tokensIndexed reads the only number of a row of fts_docsize: seven bits a
// byte, the highest first, the eighth bit set on all but the last.
func tokensIndexed(size []byte) (n int64) {
	for _, b := range size {
		n = n<<7 | int64(b&0x7f)
	}
	return n
}

// tokens counts as FTS5's tokenizer ascii does.
func tokens(words string) (n int64) {
	inside := false
	for k := range len(words) {
		c := words[k]
		token := c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if token && !inside {
			n++
		}
		inside = token
	}
	return n
}

// shapeRow compares the row in shapes that the order points to.
func (i *inspection) shapeRow() error {
	id, known := i.shapes[i.want.shape]
	if !known {
		var err error
		if id, err = i.number(findShape, i.want.shape.values()...); err != nil {
			return err
		}
		i.shapes[i.want.shape] = id
	}
	if id == i.shape && id != 0 {
		return nil
	}
	found := false
	err := i.each(`SELECT `+shapeColumns+` FROM shapes WHERE id = ?`, []any{i.shape}, func(r *sqlite3.Stmt) error {
		found = true
		names := strings.Split(shapeColumns, ", ")
		for c, want := range i.want.shape.values() {
			if kept := value(r, c); kept != want {
				i.differs(names[c]+" of its shape", kept, want)
			}
		}
		return nil
	})
	if !found {
		i.rows = append(i.rows, fmt.Sprintf("shape: %d, which is not there", i.shape))
	}
	return err
}

// skuRows compares the rows in skus.
func (i *inspection) skuRows() error {
	var kept []string
	same, k := true, 0
	err := i.each(`SELECT sku FROM skus INDEXED BY skus_of WHERE n = ? ORDER BY sku`, []any{i.n}, func(r *sqlite3.Stmt) error {
		sku := r.ColumnText(0)
		same = same && k < len(i.want.skus) && sku == i.want.skus[k]
		kept, k = append(kept, sku), k+1
		return nil
	})
	if err != nil || same && k == len(i.want.skus) {
		return err
	}
	for _, sku := range i.want.skus {
		if !slices.Contains(kept, sku) {
			i.rows = append(i.rows, fmt.Sprintf("sku %s: not indexed", sku))
		}
	}
	for _, sku := range kept {
		if !slices.Contains(i.want.skus, sku) {
			i.rows = append(i.rows, fmt.Sprintf("sku %s: indexed, and not of the order", sku))
		}
	}
	return nil
}

// same is for what columns noted: nil where the bytes are those wanted.
func (i *inspection) same(kept, want []byte) bool {
	return kept == nil || sameJSON(kept, want)
}

// read decodes what is kept.
func (i *inspection) read(kept, want []byte, into any, name string) {
	switch {
	case i.torn:
		return
	case kept == nil:
		kept = want
	}
	if err := json.Unmarshal(kept, into); err != nil {
		reflect.ValueOf(into).Elem().SetZero()
		i.problems = append(i.problems, fmt.Sprintf("%s: %v", name, err))
		return
	}
	if again, err := json.Marshal(into); err == nil && bytes.Equal(again, want) && !sameJSON(kept, want) {
		i.rows = append(i.rows, name+": JSON that docket does not write")
	}
}

// sameJSON ignores the order of members, and space.
func sameJSON(a, b []byte) bool {
	read := func(data []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, errX := read(a)
	y, errY := read(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
