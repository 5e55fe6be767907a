package sqlite

import (
	"context"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
)

// textCheck tells whether the full text finds an order by its words and by no
// others. The index lists rows by word, so that asking it about one row takes
// milliseconds, and reading all of it, about half a second for 100,000 orders,
// answers for every row. What was read, a hash per row, is kept: our own writer
// writes text and hash of an order together, so that a row it changed since
// shows as another hash, and is asked about alone. When another program wrote
// the file, all of it is read again.
type textCheck struct {
	mu      sync.Mutex
	version int64            // of the file at the reading, as the writer sees it; 0: never read
	hashes  map[int64]uint64 // by n; replaced, never changed
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

// foreignVersion changes when another program has written the file.
func (s *Store) foreignVersion(ctx context.Context) (version int64, err error) {
	err = s.with(ctx, s.writer, "BEGIN", func(c *conn) (err error) {
		version, err = c.number(`PRAGMA data_version`)
		return err
	})
	return version, err
}

// wrong tells for each of the rows whether it has other words; version is that
// of before the transaction began.
func (t *textCheck) wrong(c *conn, version int64, rows []textOf) ([]bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	hashes := t.hashes
	if t.version != version {
		hashes = nil
	}
	wrong, doubtful := make([]bool, len(rows)), []int{}
	for i, r := range rows {
		if hash, ok := hashes[r.n]; r.found && (!ok || hash != hashWords(r.words)) {
			doubtful = append(doubtful, i)
		}
	}
	var err error
	if len(doubtful) > askedAlone {
		if hashes, err = c.readText(); err != nil {
			return nil, err
		}
		t.version, t.hashes = version, hashes
		for _, i := range doubtful {
			wrong[i] = hashes[rows[i].n] != hashWords(rows[i].words)
		}
		return wrong, nil
	}
	for _, i := range doubtful {
		found, err := c.findsOnly(rows[i])
		if err != nil {
			return nil, err
		}
		wrong[i] = !found
	}
	return wrong, nil
}

// readText reads the whole index.
func (c *conn) readText() (map[int64]uint64, error) {
	hashes := map[int64]uint64{}
	last, hash := "", hashWord("")
	err := c.each(`SELECT term, doc FROM temp.indexed`, nil, func(r *sqlite3.Stmt) error {
		if term := r.ColumnRawText(0); string(term) != last {
			last, hash = string(term), hashWord(string(term))
		}
		hashes[r.ColumnInt64(1)] += hash
		return nil
	})
	return hashes, err
}

// findsOnly asks about one row: it has all of the words, and no more of them.
func (c *conn) findsOnly(t textOf) (bool, error) {
	words := tokens(t.words)
	size := int64(-1)
	err := c.each(`SELECT sz FROM fts_docsize WHERE id = ?`, []any{t.n}, func(r *sqlite3.Stmt) error {
		size = 0
		// One number: seven bits a byte, the highest first, the eighth bit set
		// on all but the last.
		for _, b := range r.ColumnRawBlob(0) {
			size = size<<7 | int64(b&0x7f)
		}
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
