package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// env is what a question gets.
type env struct {
	quick    bool   // fewer and smaller rounds
	rounds   int    // how often a pair is measured
	dir      string // for files; on a disk, removed at the end
	data     string // folder of the public data sets
	progress io.Writer
	group    *group

	program  string   // path of the built docket; empty before it is
	imported imported // of Olist
}

// newEnv makes the folder. It is made where the program was started, not in the
// folder for temporary files, which may be in memory.
func newEnv(data string, quick bool, progress io.Writer) (*env, error) {
	e := &env{quick: quick, rounds: 5, data: data, progress: progress}
	if quick {
		e.rounds = 3
	}
	var err error
	if e.dir, err = os.MkdirTemp(".", ".bench-"); err != nil {
		return nil, err
	}
	e.dir, err = filepath.Abs(e.dir)
	return e, err
}

func (e *env) close() { os.RemoveAll(e.dir) }

// folder is a new empty folder.
func (e *env) folder(name string) string {
	dir, err := os.MkdirTemp(e.dir, name+"-")
	if err != nil {
		panic(err) // the disk is full, or gone
	}
	return dir
}

// docket is the program, built as it is released.
func (e *env) docket(ctx context.Context) (string, error) {
	if e.program != "" {
		return e.program, nil
	}
	path := filepath.Join(e.dir, "docket")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/docket-orders/docket/cmd/docket")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build docket: %w\n%s", err, out)
	}
	e.program = path
	return path, nil
}

// imported is a folder that the program filled, and what that took.
type imported struct {
	dir     string
	seconds float64 // from the start of the process to caught-up views
	peakMB  float64 // resident
}

// olist is a folder with Olist imported, once for all questions. Nobody writes
// to it: copyFolder it.
func (e *env) olist(ctx context.Context) (string, error) {
	if e.imported.dir != "" {
		return e.imported.dir, nil
	}
	got, err := e.importSet(ctx, "olist", "--dir", e.data)
	if err != nil {
		return "", err
	}
	e.imported = got
	return got.dir, nil
}

// importSet lets the program import a public data set into a new folder; from is
// the flag that says where it is.
func (e *env) importSet(ctx context.Context, set string, from ...string) (imported, error) {
	program, err := e.docket(ctx)
	if err != nil {
		return imported{}, err
	}
	got := imported{dir: filepath.Join(e.folder(set), "data")}
	cmd := exec.CommandContext(ctx, program, append([]string{"import", set, "--data", got.dir}, from...)...)
	if got.seconds, got.peakMB, err = e.runProgram(cmd); err != nil {
		return imported{}, fmt.Errorf("docket import %s: %w", set, err)
	}
	return got, nil
}

// runProgram runs cmd to its end; what it wrote to standard error is in err.
func (e *env) runProgram(cmd *exec.Cmd) (seconds, peakMB float64, err error) {
	var said strings.Builder
	cmd.Stderr = &said
	seconds, err = timed(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		ended := make(chan struct{})
		watched := make(chan float64)
		go func() { watched <- watchPeak(cmd.Process.Pid, ended) }()
		err := cmd.Wait()
		close(ended)
		peakMB = <-watched
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("%w\n%.2000s", err, said.String())
	}
	return seconds, peakMB, nil
}

// watchPeak is the largest resident memory of a process, looked at until ended.
// What wait(2) says will not do: it counts the memory of the process that
// forked.
func watchPeak(pid int, ended <-chan struct{}) (megabytes float64) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		var kilobytes float64
		if _, err := fmt.Sscanf(fieldOf(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), "%g", &kilobytes); err == nil {
			megabytes = max(megabytes, kilobytes/1024)
		}
		select {
		case <-ended:
			return megabytes
		case <-look.C:
		}
	}
}

// copyFolder copies a folder that nobody writes to.
func copyFolder(to, from string) error { return os.CopyFS(to, os.DirFS(from)) }

// size of a file in bytes; 0 without one.
func size(file string) float64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return float64(info.Size())
}

// machine says where a report is from.
type machine struct {
	System   string `json:"system"` // linux/amd64
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	MemoryMB int    `json:"memoryMB"`
	Kernel   string `json:"kernel"`
	Disk     string `json:"disk"` // file system of the folder
	Go       string `json:"go"`
	Docket   string `json:"docket"` // commit
	SQLite   string `json:"sqlite"`
	Driver   string `json:"driver"`
	Load     string `json:"load"` // average of the last minute, at the start
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d x %s, %d MB, Linux %s, %s\n%s, docket %s, SQLite %s (%s), load average %s at the start",
		m.System, m.CPUs, m.CPU, m.MemoryMB, m.Kernel, m.Disk, m.Go, m.Docket, m.SQLite, m.Driver, m.Load)
}

func thisMachine(dir string) machine {
	m := machine{
		System: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(), Go: runtime.Version(),
		CPU: fieldOf("/proc/cpuinfo", "model name"), Kernel: firstWord("/proc/sys/kernel/osrelease"),
		Disk: fileSystem(dir), Load: firstWord("/proc/loadavg"), Docket: commit(dir), SQLite: sqliteVersion(),
	}
	fmt.Sscanf(fieldOf("/proc/meminfo", "MemTotal"), "%d", &m.MemoryMB)
	m.MemoryMB /= 1024
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/ncruces/go-sqlite3" {
				m.Driver = d.Path + " " + d.Version
			}
		}
	}
	return m
}

func fieldOf(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstWord(file string) string {
	text, err := os.ReadFile(file)
	if words := strings.Fields(string(text)); err == nil && len(words) > 0 {
		return words[0]
	}
	return "unknown"
}

// commit is the one that is checked out, marked when files differ from it.
func commit(dir string) string {
	describe := exec.Command("git", "describe", "--always", "--dirty")
	describe.Dir = dir
	out, err := describe.Output()
	if err != nil {
		return "of no commit"
	}
	return strings.TrimSpace(string(out))
}

// fileSystem names what is under dir: a magic number of statfs(2).
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "unknown file system"
	}
	names := map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x794c7630: "overlayfs"}
	if name, ok := names[int64(s.Type)]; ok {
		return name
	}
	return fmt.Sprintf("file system %#x", int64(s.Type))
}

func sqliteVersion() string {
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		return "unknown"
	}
	defer db.Close()
	stmt, _, err := db.Prepare(`SELECT sqlite_version()`)
	if err != nil {
		return "unknown"
	}
	defer stmt.Close()
	stmt.Step()
	return stmt.ColumnText(0)
}
