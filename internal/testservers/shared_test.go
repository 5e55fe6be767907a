package testservers

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// userVariable makes this test program a user of a shared server: it says the
// address and lives until its input ends.
const userVariable = "DOCKET_TESTSERVERS_USER"

func TestMain(m *testing.M) {
	if os.Getenv(userVariable) == "" {
		os.Exit(m.Run())
	}
	fmt.Println(Redis(NewProgram("user")))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// user is a process that uses the shared Redis of one cache folder.
type user struct {
	cmd     *exec.Cmd
	input   io.Closer
	address string
}

func startUser(t *testing.T, cache string) *user {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), userVariable+"=1", redisVariable+"=", "XDG_CACHE_HOME="+cache)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("a user of Redis: %v", err)
	}
	return &user{cmd, input, strings.TrimSpace(line)}
}

// pids are the server's and its watcher's.
func pids(t *testing.T, address string) (server, watcher int) {
	t.Helper()
	info, err := ask(address, "INFO", "server")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info.(string)) {
		if id, is := strings.CutPrefix(strings.TrimSpace(line), "process_id:"); is {
			if server, err = strconv.Atoi(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if id, is := strings.CutPrefix(line, "PPid:"); is {
			if watcher, err = strconv.Atoi(strings.TrimSpace(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return server, watcher
}

// gone waits until there is no such process; one that nobody has waited for yet
// is gone.
func gone(t *testing.T, pid int) {
	t.Helper()
	err := within(time.Minute, func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(status), ") Z ") {
			return nil
		}
		return fmt.Errorf("process %d lives: %s", pid, status)
	})
	if err != nil {
		t.Error(err)
	}
}

func leftovers(cache string) []string {
	return runs(filepath.Join(cache, "docket-test-servers", "shared", "redis"))
}

// TestOneServerForManyProcesses: whoever comes joins, a crash of the process
// that started it changes nothing, and the last user ends it, crashed or not.
func TestOneServerForManyProcesses(t *testing.T) {
	cache := t.TempDir()
	first := startUser(t, cache)
	users := []*user{first, startUser(t, cache), startUser(t, cache)}
	for _, u := range users {
		if u.address != first.address {
			t.Fatalf("two servers: %s and %s", first.address, u.address)
		}
	}
	server, watcher := pids(t, first.address)

	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait()
	if err := users[1].input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := users[1].cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if late := startUser(t, cache); late.address != first.address {
		t.Fatalf("a late user has another server, although there is one")
	} else if err := late.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := redisAnswers([]string{first.address}); err != nil {
		t.Fatalf("the server ended before its last user: %v", err)
	}

	if err := users[2].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	gone(t, server)
	gone(t, watcher)
	if err := within(time.Minute, func() error {
		if left := leftovers(cache); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestManyStartersStartOne: processes that ask at the same instant.
func TestManyStartersStartOne(t *testing.T) {
	cache := t.TempDir()
	addresses := make(chan string)
	for range 4 {
		go func() {
			u := &user{}
			defer func() { addresses <- u.address }()
			u = startUser(t, cache)
		}()
	}
	first := <-addresses
	for range 3 {
		if a := <-addresses; a != first {
			t.Errorf("two servers: %q and %q", first, a)
		}
	}
}

// TestAServerDiesWithItsWatcher: and the next who asks starts another, and
// sweeps up.
func TestAServerDiesWithItsWatcher(t *testing.T) {
	cache := t.TempDir()
	u := startUser(t, cache)
	server, watcher := pids(t, u.address)
	if err := syscall.Kill(watcher, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, server)
	again := startUser(t, cache)
	if again.address == u.address {
		t.Error("the address of a server that is gone")
	}
	if left := leftovers(cache); len(left) != 1 {
		t.Errorf("runs: %v, want one", left)
	}
	server, watcher = pids(t, again.address)
	_ = again.input.Close()
	_ = u.input.Close()
	gone(t, server)
	gone(t, watcher)
}

// TestAServerThatDied is replaced for those who ask next.
func TestAServerThatDied(t *testing.T) {
	cache := t.TempDir()
	u := startUser(t, cache)
	server, watcher := pids(t, u.address)
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, watcher)
	if again := startUser(t, cache); redisAnswers([]string{again.address}) != nil {
		t.Error("a server that does not answer")
	}
}
