package sqlite

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3"
)

const (
	// maxProblems of SQLite's own checks are told.
	maxProblems = 20
	// soundCacheKiB bounds the page cache while every index entry is looked up.
	soundCacheKiB = 64 << 10
)

// Sound implements projections.Inspector, in one reading transaction: about two
// seconds of one processor for 100,000 orders. SQLite checks its own trees and
// looks up every row in every index; the full text is checked as searches walk
// it, which FTS5's own check does not do.
//
// It does not see what is wrong everywhere in the same way, such as a row that
// was changed by SQL: Inspect and Figures do.
func (s *Store) Sound(ctx context.Context) (wrong []string, err error) {
	at, err := s.now(ctx)
	if err != nil {
		return nil, wrap(err, "look whether the views are sound")
	}
	s.open.RLock()
	defer s.open.RUnlock()
	if s.closed {
		return nil, wrap(projections.ErrClosed, "look whether the views are sound")
	}
	pool := make(chan *conn, 1) // a connection of its own, since memory that one took is not given back
	pool <- nil
	defer func() {
		if c := <-pool; c != nil {
			err = errors.Join(err, c.close())
		}
	}()
	err = s.on(ctx, pool, "BEGIN", func(c *conn) error {
		if err := c.exec(fmt.Sprintf(`PRAGMA cache_size=-%d`, soundCacheKiB)); err != nil {
			return err
		}
		for _, check := range []struct {
			of  string
			run func(tell func(format string, args ...any)) error
		}{
			{"indexes", c.indexesSound},
			{"checkpoints", c.lanesSound},
			{"ids", c.idsSound},
			{"full text", func(tell func(string, ...any)) error { return s.text.sound(c, at, tell) }},
			{"full text", c.textIndexSound},
			{"file", c.fileSound},
		} {
			err := check.run(func(format string, args ...any) {
				wrong = append(wrong, check.of+": "+clean(fmt.Sprintf(format, args...)))
			})
			switch {
			case errors.Is(err, sqlite3.CORRUPT):
				wrong = append(wrong, fmt.Sprintf("%s: cannot be read: %v", check.of, err))
			case err != nil:
				return fmt.Errorf("%s: %w", check.of, err)
			}
		}
		return nil
	})
	return wrong, wrap(err, "look whether the views are sound")
}

// indexesSound: they are there, and what they were made as.
func (c *conn) indexesSound(tell func(string, ...any)) error {
	for _, index := range indexes {
		found := false
		err := c.each(`SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?`, []any{index.name}, func(r *sqlite3.Stmt) error {
			found = true
			if kept := strings.Join(strings.Fields(r.ColumnText(0)), " "); kept != index.sql("") {
				tell("%s is another: %s", index.name, kept)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !found {
			tell("%s is not there; docket makes it again when it starts, if it can", index.name)
		}
	}
	return nil
}

func (c *conn) lanesSound(tell func(string, ...any)) error {
	for lane := range projections.Lanes {
		n, err := c.number(`SELECT count(*) FROM checkpoints WHERE lane = ?`, lane)
		if err != nil {
			return err
		}
		if n == 0 {
			tell("lane %d is not there", lane)
		}
	}
	return c.each(`SELECT lane, position FROM checkpoints`, nil, func(r *sqlite3.Stmt) error {
		if lane := r.ColumnInt64(0); lane < 0 || lane >= projections.Lanes {
			tell("there is no lane %d", lane)
		}
		var position eventstore.Position
		if err := position.UnmarshalText(r.ColumnRawText(1)); err != nil {
			tell("lane %d: %v", r.ColumnInt64(0), err)
		}
		return nil
	})
}

// idsSound: each order once.
func (c *conn) idsSound(tell func(string, ...any)) error {
	return c.each(`SELECT id, count(*) FROM orders GROUP BY id HAVING count(*) > 1 OR id = '' LIMIT ?`, []any{maxProblems}, func(r *sqlite3.Stmt) error {
		tell("%d orders have the id %q", r.ColumnInt64(1), r.ColumnText(0))
		return nil
	})
}

// fileSound is SQLite's check: pages, trees, and rows against indexes; and that
// of FTS5.
func (c *conn) fileSound(tell func(string, ...any)) error {
	return c.each(fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxProblems), nil, func(r *sqlite3.Stmt) error {
		if text := r.ColumnText(0); text != "ok" {
			tell("%s", text)
		}
		return nil
	})
}

// sound reads the whole index, for later inspections, too.
func (t *textCheck) sound(c *conn, at seen, tell func(string, ...any)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.read(c, at); err != nil {
		return err
	}
	if len(t.untidy) > 0 {
		tell("%d rows are found by other words than were written last, or words of them can no longer be removed", len(t.untidy))
	}
	return nil
}

// textIndexSound looks, for every page of the full text, whether a search for
// its first and for its last word comes to it. fts_idx leads searches there;
// reading all words in order never asks it.
func (c *conn) textIndexSound(tell func(string, ...any)) error {
	lost := 0
	first := map[int64]int64{} // page, by segment: what was merged away begins later
	err := c.each(`SELECT id, block FROM fts_data WHERE id >= ? AND id < ? ORDER BY id`, []any{int64(1) << segmentShift, int64(1) << (segmentShift + 16)}, func(r *sqlite3.Stmt) error {
		id := r.ColumnInt64(0)
		segment, page := id>>segmentShift, id&(1<<segmentShift-1)
		if page >= 1<<31 { // not of words: skips within a long list of rows
			return nil
		}
		if _, known := first[segment]; !known {
			first[segment] = page
		}
		begins, ends, err := termsOf(r.ColumnRawBlob(1))
		if err != nil {
			tell("page %d of segment %d: %v", page, segment, err)
			return nil
		}
		if begins == nil {
			return nil
		}
		for _, term := range [][]byte{begins, ends} {
			to, err := c.number(`SELECT pgno >> 1 FROM fts_idx WHERE segid = ? AND term <= ? ORDER BY term DESC LIMIT 1`, segment, term)
			if err != nil {
				return err
			}
			if to == 0 || max(to, first[segment]) != page {
				lost++
			}
		}
		return nil
	})
	if lost > 0 {
		tell("searches do not come to the words of %d places", lost)
	}
	return err
}

// segmentShift: the number of a row in fts_data is that of a segment of the
// index, and of a page in it.
const segmentShift = 37

// termsOf a page of words: the first and the last; none where the page goes on
// with the rows of the word before.
func termsOf(page []byte) (first, last []byte, err error) {
	bad := errors.New("cannot be read")
	if len(page) < 4 {
		return nil, nil, bad
	}
	end := int(binary.BigEndian.Uint16(page[2:]))
	if end < 4 || end > len(page) {
		return nil, nil, bad
	}
	for at, offsets := 0, page[end:]; len(offsets) > 0; {
		distance, n := varint(offsets)
		at, offsets = at+distance, offsets[n:]
		if n == 0 || at < 4 || at > end {
			return nil, nil, bad
		}
		rest := page[at:end]
		keep := 0
		if first != nil { // what it shares with the word before
			keep, n = varint(rest)
			rest = rest[n:]
		}
		size, n := varint(rest)
		if n == 0 || keep > len(last) || size > len(rest)-n {
			return nil, nil, bad
		}
		last = slices.Concat(last[:keep], rest[n:n+size])
		if first == nil {
			first = bytes.Clone(last)
		}
	}
	return first, last, nil
}

// varint reads a number and how many bytes it takes; 0 bytes where there is
// none.
func varint(data []byte) (value, n int) {
	for i, b := range data[:min(len(data), 4)] {
		if value = value<<7 | int(b&0x7f); b < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}
