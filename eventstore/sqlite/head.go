package sqlite

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/google/uuid"
)

// headFile remembers outside the database how long the log was. SQLite takes a
// damaged WAL for a shorter one; this file is how docket notices. It is
// written after each commit and before the appends are acknowledged, without a
// sync: after a power cut it may lag behind the log, it never leads.
type headFile struct {
	f   disk.File
	buf []byte
}

// head is what the file says: one line of text of fixed width.
type head struct {
	log      eventstore.LogIdentity
	position uint64
}

const headFormat = "docket-head 1 %s %010d %020d "

func headPath(dir string) string { return filepath.Join(dir, "head") }

func (h head) append(buf []byte) []byte {
	buf = fmt.Appendf(buf, headFormat, h.log.ID, h.log.Epoch, h.position)
	return fmt.Appendf(buf, "%08x\n", crc32.Checksum(buf, castagnoli))
}

// errHeadDamaged is the state after a torn write of the file itself.
var errHeadDamaged = errors.New("head file is damaged")

// readHead answers ok=false when there is no file.
func readHead(d disk.FS, dir string) (h head, ok bool, err error) {
	text, err := d.ReadFile(headPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return head{}, false, nil
	}
	if err != nil {
		return head{}, false, fmt.Errorf("read head file: %w", err)
	}
	var id string
	var sum uint32
	_, err = fmt.Sscanf(string(text), headFormat+"%x\n", &id, &h.log.Epoch, &h.position, &sum)
	if err != nil {
		return head{}, false, errHeadDamaged
	}
	if h.log.ID, err = uuid.Parse(id); err != nil || string(h.append(nil)) != string(text) {
		return head{}, false, errHeadDamaged
	}
	return h, true, nil
}

// readHeadSteadily reads beside a process that writes: again when it may have
// met a write half done.
func readHeadSteadily(d disk.FS, dir string) (h head, ok bool, err error) {
	for range 3 {
		if h, ok, err = readHead(d, dir); err == nil {
			break
		}
	}
	return h, ok, err
}

func openHead(d disk.FS, dir string) (*headFile, error) {
	f, err := d.OpenFile(headPath(dir), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open head file: %w", err)
	}
	return &headFile{f: f}, nil
}

// write replaces the line in place: one small write within one sector.
func (h *headFile) write(v head) error {
	h.buf = v.append(h.buf[:0])
	if _, err := h.f.WriteAt(h.buf, 0); err != nil {
		return fmt.Errorf("write head file: %w", err)
	}
	return nil
}

// shorterThan says in words why the log at position in log is not the one that
// h was written for; empty when it may be.
func (h head) shorterThan(log eventstore.LogIdentity, position uint64) string {
	var b strings.Builder
	switch {
	case h.log.ID != log.ID:
		fmt.Fprintf(&b, "the head file belongs to log %s, events.db is log %s", h.log.ID, log.ID)
	case h.log.Epoch > log.Epoch:
		fmt.Fprintf(&b, "the log is of epoch %d, but epoch %d was already acknowledged", log.Epoch, h.log.Epoch)
	case h.log.Epoch == log.Epoch && h.position > position:
		fmt.Fprintf(&b, "the log ends at position %d, but position %d was already acknowledged", position, h.position)
	}
	return b.String()
}
