package disktest

import (
	"encoding/gob"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Journal is what happened in the folder, in the order in which it happened.
type Journal struct {
	// Base are the files and folders that were there at the start, all durable.
	Base []Kept
	Ops  []Op
}

// Kept is a file, or a folder, whose Data is nil.
type Kept struct {
	Path string
	File int
	Data []byte
}

// Record starts the record, with what is in the folder now as durable. Nothing
// may be open in it.
func (d *Disk) Record() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal, d.names, d.files = &Journal{}, map[string]int{}, 0
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == d.root || strings.HasSuffix(path, "-shm") {
			return err
		}
		k := Kept{Path: d.rel(path)}
		k.File = d.fileOf(k.Path)
		if !e.IsDir() {
			if k.Data, err = os.ReadFile(path); k.Data == nil {
				k.Data = []byte{}
			}
		}
		d.journal.Base = append(d.journal.Base, k)
		return err
	})
	d.recording.Store(err == nil)
	return err
}

// Stop ends the record and answers it; nil when there was none.
func (d *Disk) Stop() *Journal {
	d.recording.Store(false)
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.journal
	d.journal = nil
	return j
}

// Mark puts what the test knows at this instant into the record.
func (d *Disk) Mark(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record(Op{Kind: Mark, Path: what})
}

// record adds op. It is called with mu held while a record is made.
func (d *Disk) record(op Op) {
	// SQLite's shared memory is no file of the disk: it is made anew.
	if d.journal == nil || op.Path == "" || strings.HasSuffix(op.Path, "-shm") {
		return
	}
	switch op.Kind {
	case Create, Mkdir:
		d.files++
		op.File = d.files
		d.names[op.Path] = op.File
	case Write:
		op.Data = append([]byte(nil), op.Data...)
	case Rename:
		op.File = d.fileOf(op.Path)
		for name, file := range d.names {
			if below, is := strings.CutPrefix(name, op.Path+"/"); is {
				delete(d.names, name)
				d.names[op.To+"/"+below] = file
			}
		}
		delete(d.names, op.Path)
		d.names[op.To] = op.File
	case Remove:
		op.File = d.names[op.Path]
		delete(d.names, op.Path)
	}
	d.journal.Ops = append(d.journal.Ops, op)
}

// fileOf is the file that has a name.
func (d *Disk) fileOf(rel string) int {
	if d.names[rel] == 0 {
		d.files++
		d.names[rel] = d.files
	}
	return d.names[rel]
}

// Without is the journal without the operations that drop picks: as if the disk
// had ignored them.
func (j *Journal) Without(drop func(Op) bool) *Journal {
	out := &Journal{Base: j.Base}
	for _, op := range j.Ops {
		if !drop(op) {
			out.Ops = append(out.Ops, op)
		}
	}
	return out
}

// Save keeps the journal in a file.
func (j *Journal) Save(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(gob.NewEncoder(f).Encode(j), f.Close())
}

// Load reads what Save kept.
func Load(name string) (*Journal, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	j := &Journal{}
	return j, gob.NewDecoder(f).Decode(j)
}
