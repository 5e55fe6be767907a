package disktest_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/disk/disktest"
)

// images makes many images of a crash after the operations of play.
func images(t *testing.T, play func(dir string, fs disk.FS)) []*disktest.Image {
	t.Helper()
	d := disktest.New(t.TempDir())
	defer d.Close()
	if err := d.Record(); err != nil {
		t.Fatal(err)
	}
	play(d.Root(), d.FS())
	j := d.Stop()
	replay := j.Replay()
	replay.To(len(j.Ops))
	var all []*disktest.Image
	torn := 0
	for i := range uint64(500) {
		img := replay.Image(rand.New(rand.NewPCG(1, i)))
		again := replay.Image(rand.New(rand.NewPCG(1, i)))
		if img.How != again.How || !equal(img, again) {
			t.Fatalf("image %d is not the same again", i)
		}
		if strings.Contains(img.How, "torn") {
			torn++ // anything may be in its sectors
			continue
		}
		all = append(all, img)
	}
	if torn == 0 {
		t.Error("no sector was torn")
	}
	return all
}

func equal(a, b *disktest.Image) bool {
	same := len(a.Files) == len(b.Files)
	for name := range a.Files {
		same = same && bytes.Equal(a.Files[name], b.Files[name])
	}
	return same
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What was synced is in every image, and what was not in some, and not in others.
func TestSyncedIsKept(t *testing.T) {
	bytesSeen, sizes, lost := map[string]int{}, map[int]int{}, 0
	for _, img := range images(t, func(dir string, fs disk.FS) {
		f, err := fs.OpenFile(filepath.Join(dir, "f"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte("a"), 1024), 0)
		must(t, err, f.Sync(), fs.SyncDir(dir))
		_, err = f.WriteAt(bytes.Repeat([]byte("b"), 1536), 512)
		must(t, err)
		_, err = f.WriteAt([]byte("c"), 1000) // into a sector that has bs
		must(t, err, f.Close())
		f, err = fs.OpenFile(filepath.Join(dir, "g"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err, f.Sync(), f.Close())
	}) {
		f, ok := img.Files["f"]
		if !ok || len(f) < 1024 || !bytes.Equal(f[:512], bytes.Repeat([]byte("a"), 512)) {
			t.Fatalf("%s: what was synced is lost: %q", img.How, f)
		}
		second := string(f[512:514])
		if f[1000] == 'c' {
			second += "c"
		}
		if second == "aac" {
			t.Fatalf("%s: a later write to a sector is there without the earlier one", img.How)
		}
		bytesSeen[second]++
		sizes[len(f)]++
		if _, ok := img.Files["g"]; !ok {
			lost++
		}
	}
	if len(bytesSeen) != 3 || len(sizes) != 2 || lost == 0 || lost > 400 {
		t.Errorf("contents %v, sizes %v, names lost %d", bytesSeen, sizes, lost)
	}
}

// A truncate that was not synced happened or not, with all it took away.
func TestTruncateIsWhole(t *testing.T) {
	seen := map[string]int{}
	for _, img := range images(t, func(dir string, fs disk.FS) {
		f, err := fs.OpenFile(filepath.Join(dir, "f"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte("a"), 512), 0)
		must(t, err, f.Sync(), fs.SyncDir(dir), f.Truncate(0))
		_, err = f.WriteAt(bytes.Repeat([]byte("b"), 100), 0)
		must(t, err, f.Close())
	}) {
		f := img.Files["f"]
		content := ""
		for _, b := range f {
			if len(content) == 0 || content[len(content)-1] != b {
				content += string(b)
			}
		}
		seen[content]++
	}
	for content := range seen {
		if content != "a" && content != "" && content != "b" && content != "\x00" {
			t.Errorf("a file of %q", content)
		}
	}
	if len(seen) < 3 {
		t.Errorf("only %v", seen)
	}
}

// A rename is one step; names in a folder are lost with the folder's name.
func TestNames(t *testing.T) {
	seen := map[string]int{}
	for _, img := range images(t, func(dir string, fs disk.FS) {
		f, err := fs.OpenFile(filepath.Join(dir, "old"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err, f.Close(), fs.SyncDir(dir))
		must(t, fs.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "new")))
		must(t, fs.MkdirAll(filepath.Join(dir, "d"), 0o700))
		f, err = fs.OpenFile(filepath.Join(dir, "d", "f"), os.O_CREATE|os.O_RDWR, 0o600)
		must(t, err, f.Close(), fs.SyncDir(filepath.Join(dir, "d")))
	}) {
		_, before := img.Files["old"]
		_, after := img.Files["new"]
		if before == after {
			t.Fatalf("%s: the old name %t, the new one %t", img.How, before, after)
		}
		_, inside := img.Files["d/f"]
		if inside != (len(img.Dirs) == 1) {
			t.Fatalf("%s: folders %v, files %v", img.How, img.Dirs, img.Files)
		}
		seen[map[bool]string{true: "new", false: "old"}[after]+map[bool]string{true: " d", false: ""}[inside]]++
	}
	if len(seen) != 4 {
		t.Errorf("only %v", seen)
	}
}
