package sqlite

import (
	"context"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// textCheck tells whether the full text finds an order by its words and by no
// others. The index lists rows by word, so that reading all of it, about half a
// second for 100,000 orders, answers for every row. What was read, a hash per
// row, is kept, and read again when another program wrote the file. Our own
// writer writes text and hash of an order together, so that a row it changed
// since shows as another hash; it is asked about alone, which can be believed
// where the row was tidy when everything was read.
type textCheck struct {
	mu      sync.Mutex
	version int64 // of the file at the reading, as the writer sees it; 0: never read
	written int64 // transactions of our own that were begun before the reading
	texts
}

// texts is what the whole index says, by row.
type texts struct {
	hashes map[int64]uint64
	// untidy rows have another number of words than is noted beside them. FTS5
	// removes a row's words by what is noted: here it would leave some behind.
	untidy map[int64]bool
}

// askedAlone is for how many rows of one inspection the index is asked one by
// one rather than read.
const askedAlone = 32

// textOf is what is looked for under one row.
type textOf struct {
	found bool // there is such a row, else nothing is looked for
	n     int64
	words string
}

// seen says which writes a reading transaction may see, and was asked before
// it began.
type seen struct {
	version int64 // changes when another program has written the file
	written int64
}

func (s *Store) now(ctx context.Context) (i seen, err error) {
	i.written = s.written.Load()
	err = s.with(ctx, s.writer, "BEGIN", func(c *conn) (err error) {
		i.version, err = c.number(`PRAGMA data_version`)
		return err
	})
	return i, err
}

// wrong tells for each of the rows whether it has other words. written is the
// number of our own transactions, asked for after the first row was read.
func (t *textCheck) wrong(c *conn, at seen, written int64, rows []textOf) ([]bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := t.version != at.version
	if fresh {
		if err := t.read(c, at); err != nil {
			return nil, err
		}
	}
	doubtful, untidy := t.doubtful(rows)
	if len(doubtful) > 0 && !fresh && t.written != written && (untidy || len(doubtful) > askedAlone) {
		fresh = true
		if err := t.read(c, at); err != nil {
			return nil, err
		}
		doubtful, _ = t.doubtful(rows)
	}
	wrong := make([]bool, len(rows))
	for _, i := range doubtful {
		wrong[i] = true
		if !fresh && t.written != written {
			found, err := c.findsOnly(rows[i])
			if err != nil {
				return nil, err
			}
			wrong[i] = !found
		}
	}
	return wrong, nil
}

// doubtful are the rows that had other words when everything was read; untidy
// tells whether one of them was.
func (t *textCheck) doubtful(rows []textOf) (doubtful []int, untidy bool) {
	for i, r := range rows {
		if r.found && (t.untidy[r.n] || t.hashes[r.n] != hashWords(r.words)) {
			doubtful = append(doubtful, i)
			untidy = untidy || t.untidy[r.n]
		}
	}
	return doubtful, untidy
}

func (t *textCheck) read(c *conn, at seen) error {
	all, err := c.readText()
	if err == nil {
		t.version, t.written, t.texts = at.version, at.written, all
	}
	return err
}

// readText reads the whole index.
func (c *conn) readText() (texts, error) {
	all := texts{map[int64]uint64{}, map[int64]bool{}}
	counts := map[int64]int64{}
	last, hash := "", hashWord("")
	err := c.each(`SELECT term, doc FROM temp.indexed`, nil, func(r *sqlite3.Stmt) error {
		if term := r.ColumnRawText(0); string(term) != last {
			last, hash = string(term), hashWord(string(term))
		}
		n := r.ColumnInt64(1)
		all.hashes[n] += hash
		counts[n]++
		return nil
	})
	if err != nil {
		return texts{}, err
	}
	err = c.each(`SELECT id, sz FROM fts_docsize`, nil, func(r *sqlite3.Stmt) error {
		n := r.ColumnInt64(0)
		if counts[n] != noted(r.ColumnRawBlob(1)) {
			all.untidy[n] = true
		}
		delete(counts, n)
		return nil
	})
	for n := range counts {
		all.untidy[n] = true
	}
	return all, err
}

// noted is the number of a row's words as FTS5 keeps it: seven bits a byte, the
// highest first, the eighth bit set on all but the last.
func noted(size []byte) (n int64) {
	for _, b := range size {
		n = n<<7 | int64(b&0x7f)
	}
	return n
}

// findsOnly asks about one row: it has all of the words, and no more of them.
// It believes what is noted beside the row.
func (c *conn) findsOnly(t textOf) (bool, error) {
	words := tokens(t.words)
	size := int64(-1)
	err := c.each(`SELECT sz FROM fts_docsize WHERE id = ?`, []any{t.n}, func(r *sqlite3.Stmt) error {
		size = noted(r.ColumnRawBlob(0))
		return nil
	})
	if err != nil || size != int64(len(words)) || size == 0 {
		return size == int64(len(words)), err
	}
	found, err := c.number(`SELECT 1 FROM fts WHERE fts MATCH ? AND rowid = ?`, match(words), t.n)
	return found == 1, err
}

// tokens are what FTS5's tokenizer ascii makes of words.
func tokens(words string) []string {
	return strings.FieldsFunc(words, func(r rune) bool {
		return r < 0x80 && !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	})
}

// hashWords does not depend on the order of words.
func hashWords(words string) (sum uint64) {
	for _, w := range tokens(words) {
		sum += hashWord(w)
	}
	return sum
}

// hashWord is FNV-1a of the word in lower case, as it is indexed.
func hashWord(word string) uint64 {
	hash := uint64(14695981039346656037)
	for i := range len(word) {
		c := word[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	return hash
}
