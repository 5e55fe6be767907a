package testservers

import (
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTime is for one server to answer on a busy machine.
const startTime = 3 * time.Minute

//go:embed watch.sh
var watchScript string

// kind is a sort of shared server.
type kind struct {
	name string // of its folder: what differs has another
	// plan makes the commands for the folders given to it, one a node, and the
	// addresses under which they will answer. It is asked again for other ports
	// when a start fails.
	plan func(folders []string) (commands [][]string, addresses []string)
	// nodes says how many folders plan gets.
	nodes int
	// form makes one cluster of nodes that answer; nil for what needs nothing.
	form func(addresses []string) error
	// answers asks whether all of the addresses serve.
	answers func(addresses []string) error
}

// shares are what this process uses. They are of the process, not of a test: a
// share given back between two tests would stop a server that the next one
// starts again. The kernel gives them back when the process ends.
var shares = struct {
	sync.Mutex
	of map[string]share
}{of: map[string]share{}}

type share struct {
	users     *os.File // locked shared
	addresses []string
}

// shared joins the server of a kind, or starts it.
func shared(t TB, k kind) []string {
	t.Helper()
	Need(t, "bash", "flock", "setpriv")
	shares.Lock()
	defer shares.Unlock()
	if s, has := shares.of[k.name]; has {
		if within(10*time.Second, func() error { return k.answers(s.addresses) }) == nil {
			return s.addresses
		}
		t.Logf("the shared %s does not answer any more: starting another", k.name)
		delete(shares.of, k.name)
		s.users.Close()
	}
	s, err := join(k)
	if err != nil {
		t.Fatalf("shared %s: %v", k.name, err)
	}
	shares.of[k.name] = s
	return s.addresses
}

// join takes a share, with the server answering. The lock file start is held for
// as long, so that one process starts and others join.
func join(k kind) (share, error) {
	dir, err := sharedFolder(k.name)
	if err != nil {
		return share{}, err
	}
	starting, err := locked(filepath.Join(dir, "start"), syscall.LOCK_EX)
	if err != nil {
		return share{}, err
	}
	defer starting.Close()
	// From here on no server that answers is ended: its watcher waits for the
	// lock alone.
	users, err := locked(filepath.Join(dir, "users"), syscall.LOCK_SH)
	if err != nil {
		return share{}, err
	}
	for _, run := range runs(dir) {
		addresses, err := os.ReadFile(filepath.Join(run, "addresses"))
		if err != nil || !watched(run) {
			continue
		}
		s := share{users, strings.Fields(string(addresses))}
		if within(20*time.Second, func() error { return k.answers(s.addresses) }) == nil {
			return s, nil
		}
	}
	addresses, err := startShared(k, dir)
	if err != nil {
		users.Close()
		return share{}, err
	}
	return share{users, addresses}, nil
}

// startShared starts a server under a watcher of its own that outlives this
// process.
func startShared(k kind, dir string) ([]string, error) {
	for _, run := range runs(dir) {
		if !watched(run) {
			if err := os.RemoveAll(run); err != nil {
				return nil, err
			}
		}
	}
	var tried error
	for range 3 { // a port may be taken between the look and the start
		run, err := os.MkdirTemp(dir, "run-")
		if err != nil {
			return nil, err
		}
		addresses, err := startRun(k, run, filepath.Join(dir, "users"))
		if err == nil {
			return addresses, nil
		}
		tried = errors.Join(tried, err)
	}
	return nil, tried
}

func startRun(k kind, run, users string) ([]string, error) {
	var folders []string
	for n := range k.nodes {
		folders = append(folders, filepath.Join(run, fmt.Sprintf("node-%d", n+1)))
	}
	commands, addresses := k.plan(folders)
	for n, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(folder, "command"), []byte(strings.Join(commands[n], "\n")+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	watch := exec.Command("bash", "-c", watchScript, "watch", run, users)
	// What ends this process does not end it. A session of its own would be a share
	// of the processors of its own, too, which a busy machine may keep from it for
	// minutes (sched_autogroup, seen with Linux 6.18).
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := watch.Start(); err != nil {
		return nil, err
	}
	// It is nobody's to wait for but the machine's, once this process is gone.
	defer watch.Process.Release()
	ready := func() error {
		if err := k.answers(addresses); err == nil || k.form == nil {
			return err
		}
		return k.form(addresses)
	}
	if err := withinWhile(startTime, func() bool { return !ended(run) }, ready); err != nil {
		_ = watch.Process.Kill() // and its servers with it
		return nil, fmt.Errorf("%w\n%s", err, logs(folders))
	}
	// Written aside and renamed: whoever finds it may use it.
	aside := filepath.Join(run, "addresses.new")
	if err := os.WriteFile(aside, []byte(strings.Join(addresses, "\n")), 0o600); err != nil {
		return nil, err
	}
	return addresses, os.Rename(aside, filepath.Join(run, "addresses"))
}

// watched tells whether the watcher of a run lives.
func watched(run string) bool {
	f, err := os.Open(filepath.Join(run, "alive"))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// ended tells whether the watcher of a run came and went.
func ended(run string) bool {
	_, err := os.Stat(filepath.Join(run, "alive"))
	return err == nil && !watched(run)
}

func runs(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, "run-*")) // the pattern is sound
	return found
}

// logs are the last words of servers that did not start.
func logs(folders []string) string {
	var all strings.Builder
	for _, folder := range folders {
		b, err := os.ReadFile(filepath.Join(folder, "log"))
		if err != nil {
			b = []byte(err.Error())
		}
		fmt.Fprintf(&all, "%s: %s\n", filepath.Base(folder), b[max(0, len(b)-2000):])
	}
	return all.String()
}

// cacheFolder is where servers are installed and run.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("a folder for test servers: %w", err)
	}
	return filepath.Join(dir, "docket-test-servers"), nil
}

func sharedFolder(name string) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "shared", name)
	return dir, os.MkdirAll(dir, 0o700)
}

// locked opens a lock file and waits for the lock. Children do not inherit it.
func locked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err := syscall.Flock(int(f.Fd()), how); err == nil {
			return f, nil
		} else if !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// freePort finds a port below those that the machine gives to outgoing
// connections, so that a server finds it free again after a restart.
func freePort() int {
	for {
		port := 10000 + rand.IntN(22000)
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// within repeats try until it succeeds or the time is over.
func within(limit time.Duration, try func() error) error {
	return withinWhile(limit, func() bool { return true }, try)
}

// withinWhile is within that gives up when going is over.
func withinWhile(limit time.Duration, going func() bool, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		switch {
		case err == nil:
			return nil
		case !going():
			return fmt.Errorf("the server ended: %w", err)
		case time.Now().After(deadline):
			return fmt.Errorf("no answer in %v: %w", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
