package sqlite

import (
	"errors"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/google/uuid"
)

// oneFile is a folder whose every file has this text.
type oneFile struct {
	disk.FS
	text []byte
}

func (f oneFile) ReadFile(string) ([]byte, error) { return f.text, nil }

// FuzzHead: a head file is what was written, byte for byte, or damaged.
func FuzzHead(f *testing.F) {
	whole := head{eventstore.LogIdentity{ID: uuid.MustParse("6bec1d7d-4e53-4a4f-8c8a-5eb1b4f9f0a0"), Epoch: 3}, 4711}.append(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(whole[:len(whole):len(whole)], ' '))
	f.Add([]byte("docket-head 1 6bec1d7d-4e53-4a4f-8c8a-5eb1b4f9f0a0 -1 99999999999999999999 0\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, ok, err := readHead(oneFile{text: text}, "")
		switch {
		case err != nil && !errors.Is(err, errHeadDamaged):
			t.Fatalf("%q: %v", text, err)
		case err == nil && (!ok || string(h.append(nil)) != string(text)):
			t.Fatalf("%q is %+v, which is written %q", text, h, h.append(nil))
		}
	})
}

// FuzzManifest: a manifest of a backup is one, or is refused.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":1,"log":"6bec1d7d-4e53-4a4f-8c8a-5eb1b4f9f0a0","epoch":3,"head":4711}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"head":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ReadBackup(oneFile{text: text}, ""); err == nil && m.Format != manifestFormat {
			t.Fatalf("%q is %+v", text, m)
		}
	})
}
