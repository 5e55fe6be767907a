package disktest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The disk that is assumed is weaker than the usual ones:
//
//   - What was written to a file is durable after the next Sync of this file,
//     bytes and size. Until then each sector may be as it was after any of the
//     writes to it, or before all of them, whatever other sectors are; a size
//     may be any that the file had. A sector is 512 bytes or a page of 4,096,
//     and at times the last write to one got to a part of its bytes only.
//   - What was not written yet but has a size already reads as zeros.
//   - A name is durable after the next SyncDir of its folder, and not through
//     the Sync of its file. Until then each change of a name may have happened
//     or not, except that changes of one name happen in their order. A rename
//     is one change of both names.
//   - What is durable stays.
const (
	sector = 512
	page   = 4096
)

// Replay is the folder as it was after a number of operations of a journal: what
// was durable, and what was not yet. It is used by one goroutine.
type Replay struct {
	journal *Journal
	at      int
	files   map[int]*kept
	isDir   map[int]bool
	now     map[entry]int // what each name is
	durable map[entry]int
	pending []rename // since the last SyncDir of the folder, in order
}

// entry is a name in a folder; the root is folder 0.
type entry struct {
	dir  int
	name string
}

// rename is a change of names: from is no more, to is file; either may be absent.
type rename struct {
	from, to *entry
	file     int
	op       int // index in the journal
}

// kept is a file: what is durable, and the writes and truncates since.
type kept struct {
	data  []byte
	since []int // indexes in the journal
}

// Replay begins before the first operation.
func (j *Journal) Replay() *Replay {
	r := &Replay{journal: j, files: map[int]*kept{}, isDir: map[int]bool{0: true}, now: map[entry]int{}, durable: map[entry]int{}}
	for _, k := range j.Base {
		e := r.entry(k.Path)
		r.now[e], r.durable[e] = k.File, k.File
		if k.Data == nil {
			r.isDir[k.File] = true
		} else {
			r.files[k.File] = &kept{data: slices.Clone(k.Data)}
		}
	}
	return r
}

// entry finds the folder that a name is in, as it is called now.
func (r *Replay) entry(name string) entry {
	dir := 0
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		next, ok := r.now[entry{dir, part}]
		if !ok || !r.isDir[next] {
			panic(fmt.Sprintf("disktest: %s is in no folder that was recorded", name))
		}
		dir = next
	}
	return entry{dir, parts[len(parts)-1]}
}

// To goes on until n operations have happened; it never goes back.
func (r *Replay) To(n int) {
	for ; r.at < n; r.at++ {
		r.apply(&r.journal.Ops[r.at])
	}
}

func (r *Replay) apply(op *Op) {
	switch op.Kind {
	case Create, Mkdir:
		to := r.entry(op.Path)
		if op.Kind == Mkdir {
			r.isDir[op.File] = true
		} else {
			r.files[op.File] = &kept{}
		}
		r.rename(nil, &to, op.File)
	case Remove:
		from := r.entry(op.Path)
		r.rename(&from, nil, 0)
	case Rename:
		from, to := r.entry(op.Path), r.entry(op.To)
		r.rename(&from, &to, op.File)
	case SyncDir:
		dir := 0
		if op.Path != "." {
			dir = r.now[r.entry(op.Path)]
		}
		r.pending = slices.DeleteFunc(r.pending, func(p rename) bool {
			of := p.from != nil && p.from.dir == dir || p.to != nil && p.to.dir == dir
			if of {
				p.do(r.durable)
			}
			return of
		})
	case Write, Truncate:
		f := r.files[op.File]
		f.since = append(f.since, r.at)
	case Sync:
		f := r.files[op.File]
		for _, i := range f.since {
			f.data = r.journal.Ops[i].do(f.data)
		}
		f.since = f.since[:0]
	}
}

func (r *Replay) rename(from, to *entry, file int) {
	p := rename{from, to, file, r.at}
	p.do(r.now)
	r.pending = append(r.pending, p)
}

func (p rename) do(names map[entry]int) {
	if p.from != nil {
		delete(names, *p.from)
	}
	if p.to != nil {
		names[*p.to] = p.file
	}
}

// do is data after a write or truncate.
func (o *Op) do(data []byte) []byte {
	if o.Kind == Truncate {
		return resize(data, o.Size)
	}
	if end := o.Offset + o.Size; int64(len(data)) < end {
		data = resize(data, end)
	}
	copy(data[o.Offset:], o.Data)
	return data
}

func resize(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size]
	}
	grown := slices.Grow(data, int(size)-len(data))[:size]
	clear(grown[len(data):])
	return grown
}

// Image is a folder that a crash may leave behind.
type Image struct {
	How   string // which of what was not durable is there
	Files map[string][]byte
	Dirs  []string // each after the one that it is in
}

// Image is the folder after a crash now. Chance decides what is there of what
// was not durable; the same chance makes the same image. The image lives until
// the replay goes on.
func (r *Replay) Image(chance *rand.Rand) *Image {
	how := r.choose(chance)
	img := &Image{How: how.String(), Files: map[string][]byte{}}
	names := r.names(how)
	in := map[int][]entry{}
	for e := range names {
		in[e.dir] = append(in[e.dir], e)
	}
	var walk func(dir int, at string)
	walk = func(dir int, at string) {
		// In order, so that chance is asked in order.
		slices.SortFunc(in[dir], func(a, b entry) int { return strings.Compare(a.name, b.name) })
		for _, e := range in[dir] {
			name, file := path.Join(at, e.name), names[e]
			if r.isDir[file] {
				img.Dirs = append(img.Dirs, name)
				walk(file, name)
			} else {
				img.Files[name] = r.content(r.files[file], how)
			}
		}
	}
	walk(0, "")
	return img
}

// choice says what of what was not durable a crash leaves.
type choice struct {
	mode   string
	chance *rand.Rand
	unit   int64   // what is written whole
	part   float64 // of sectors, with mode "some"
	op     int     // with modes "until", "but" and "only"
	torn   bool    // some of the sectors that are there are cut within
}

func (c choice) String() string {
	s := fmt.Sprintf("%s, units of %d", c.mode, c.unit)
	if c.torn {
		s += ", torn"
	}
	switch c.mode {
	case "some":
		s += fmt.Sprintf(", %.1f of them", c.part)
	case "until", "but", "only":
		s += fmt.Sprintf(", operation %d", c.op)
	}
	return s
}

func (r *Replay) choose(chance *rand.Rand) choice {
	c := choice{chance: chance, unit: sector, mode: "some"}
	if chance.IntN(4) == 0 {
		c.unit = page
	}
	modes := []string{"nothing", "everything", "until", "until", "but", "only", "some", "some", "some", "some"}
	c.mode = modes[chance.IntN(len(modes))]
	c.torn = c.unit == sector && chance.IntN(6) == 0
	c.part = []float64{0.05, 0.3, 0.5, 0.7, 0.95}[chance.IntN(5)]
	if open := r.open(); len(open) > 0 {
		c.op = open[chance.IntN(len(open))]
	}
	return c
}

// open are the operations that are not durable.
func (r *Replay) open() []int {
	var ops []int
	for _, p := range r.pending {
		ops = append(ops, p.op)
	}
	for _, f := range r.files {
		ops = append(ops, f.since...)
	}
	slices.Sort(ops)
	return ops
}

// keeps decides about one sector, or one name, that op changed.
func (c choice) keeps(op int) bool {
	switch c.mode {
	case "nothing":
		return false
	case "everything":
		return true
	case "until":
		return op < c.op || op == c.op && c.chance.IntN(2) == 0
	case "but":
		return op != c.op
	case "only":
		return op == c.op
	}
	return c.chance.Float64() < c.part
}

// names chooses among the pending changes of names.
func (r *Replay) names(how choice) map[entry]int {
	names := maps.Clone(r.durable)
	lost := map[entry]bool{} // a change of this name did not happen: nor do later ones
	for _, p := range r.pending {
		kept := how.keeps(p.op)
		for _, e := range []*entry{p.from, p.to} {
			kept = kept && (e == nil || !lost[*e])
		}
		if kept {
			p.do(names)
			continue
		}
		for _, e := range []*entry{p.from, p.to} {
			if e != nil {
				lost[*e] = true
			}
		}
	}
	return names
}

// content chooses among the writes to a file that are not durable.
func (r *Replay) content(f *kept, how choice) []byte {
	if len(f.since) == 0 {
		return f.data
	}
	ops := make([]*Op, len(f.since))
	extent := int64(len(f.data))
	for i, at := range f.since {
		ops[i] = &r.journal.Ops[at]
		extent = max(extent, ops[i].Offset+ops[i].Size)
	}
	// until is how many of the changes of the size happened.
	until := 0
	switch how.mode {
	case "some", "but":
		until = how.chance.IntN(len(ops) + 1)
		if how.chance.IntN(2) == 0 {
			until = len(ops)
		}
	default:
		for until < len(ops) && how.keeps(f.since[until]) {
			until++
		}
		if how.mode == "only" {
			if i := slices.Index(f.since, how.op); i >= 0 {
				until = i + 1
			}
		}
	}
	// The last write to each sector that is there; all earlier ones to it are too.
	version := make([]int, (extent+how.unit-1)/how.unit+1)
	was := int64(len(f.data))
	for i, op := range ops {
		if op.Kind == Truncate {
			if i >= until && op.Size < was {
				break // later bytes have no place before the truncate has happened
			}
			was = op.Size
			continue
		}
		was = max(was, op.Offset+op.Size)
		for u := op.Offset / how.unit; u*how.unit < op.Offset+op.Size; u++ {
			if how.keeps(f.since[i]) {
				version[u] = i + 1
			}
		}
	}
	data := slices.Clone(f.data)
	size := int64(len(data))
	for i, op := range ops {
		if op.Kind == Truncate {
			if i < until {
				data, size = resize(data, op.Size), op.Size
			}
			continue
		}
		if i < until {
			size = max(size, op.Offset+op.Size)
		}
		for u := op.Offset / how.unit; u*how.unit < op.Offset+op.Size; u++ {
			if version[u] > i {
				from, to := max(u*how.unit, op.Offset), min((u+1)*how.unit, op.Offset+op.Size)
				if int64(len(data)) < to {
					data = resize(data, to)
				}
				if how.torn && version[u] == i+1 && how.chance.IntN(4) == 0 {
					to = from + how.chance.Int64N(to-from)
				}
				copy(data[from:to], op.Data[from-op.Offset:to-op.Offset])
			}
		}
	}
	return resize(data, size)
}

// Write makes the image in dir, an empty folder.
func (img *Image) Write(dir string) error {
	for _, d := range img.Dirs {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, data := range img.Files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
