// Package systemtest runs the real program as a user does: it builds docket,
// starts it, talks HTTP to it, kills it, and starts it again. It is a module of
// its own so that what such tests need stays out of the product's go.mod.
//
// docket_test.go starts and kills the program, client_test.go talks to it and
// loses answers.
//
// Histories: model_test.go says what a history of answers may look like;
// anomalies_test.go shows that faulty ones are told, search_test.go keeps the
// search short, shortcuts_test.go shows that it finds the same.
// linearizable_test.go makes histories of the real program, with the clients of
// history_client_test.go. The files stream_* do the same for the event store
// alone: small histories of streams, many thousands of them, in a world
// (stream_world_test.go) that is killed inside this process, between two
// operations of the disk that watched_test.go sees; small_test.go has histories
// of orders, with tokens, in such a world.
//
// Kills: killed_test.go kills everything that writes at random, with the clients
// of load_test.go, and foreign_test.go, another program that changes the views.
// instants_test.go kills it at each of the steps of steps_test.go; the docket
// that stops there is this test program, run again (victim_test.go).
//
// Logs behind gRPC: logserver_test.go runs docket eventstore serve as a process of
// its own, and docket on it; the histories and the kills of these programs are
// those of above.
//
// Faults: faults_test.go lets the network (faults_network_test.go) and the server
// fail between docket's adapter and the protocol server, at chosen stages of their
// calls (faults_stages_test.go), while the clients of faults_clients_test.go work
// in the world of faults_world_test.go; faults_check_test.go compares what they
// were told with the store, and faults_anomalies_test.go shows that it sees bugs.
// stream_remote_test.go makes histories of streams through the adapter.
//
// Production views (views_rig_test.go): agree_test.go asks real orders on both
// kinds of views, with the questions of agree_questions_test.go;
// sick_views_test.go lets the stores of sick_stores_test.go fail under the readers
// of sick_readers_test.go; refused_documents_test.go has documents that one store
// refuses; takeovers_test.go kills and pauses dockets that share lanes, which
// lane_watch_test.go looks at; token_views_test.go reads what was just written.
//
// Rebuilds (rebuild_world_test.go, with the traffic of rebuild_traffic_test.go):
// rebuild_load_test.go has one under load, rebuild_killed_test.go disturbs them, also
// at the gate before the log of rebuild_gate_test.go, rebuild_differences_test.go
// wants that nothing differs, rolling_update_test.go exchanges the program, and
// rebuild_story_test.go follows one bug fix.
//
// Long runs: soak_test.go has everything on at once, with the clients of
// soak_client_test.go.
//
// Environment: DOCKET_HISTORIES, DOCKET_STORE_HISTORIES, DOCKET_REMOTE_HISTORIES,
// DOCKET_FAULTS, DOCKET_KILLS, and
// DOCKET_GRPC_HISTORIES, DOCKET_GRPC_KILLS with the log behind gRPC,
// DOCKET_QUESTIONS, DOCKET_VIEW_FAULTS, DOCKET_TAKEOVERS, DOCKET_TOKEN_READS on
// production views (how many), DOCKET_DATA_SETS (the folder of the data sets that
// the questions are about; the excerpt when not set),
// DOCKET_REBUILD_KILLS, DOCKET_EMPTY_DIFFERENCES (how many), DOCKET_REBUILD_DATA (the
// folder of the data set that is rebuilt under load; the excerpt when not set),
// DOCKET_SOAK (how long, as 30m; each what a check takes when not set),
// DOCKET_SEED (repeats choices, not the timing), DOCKET_OUTPUT (folder for what a
// failure leaves behind).
package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// built is the program, built into folder when the first test asks for it.
var built = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(folder(), "docket")
	build := exec.Command("go", "build", "-o", path, "./cmd/docket")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build docket: %w\n%s", err, out)
	}
	return path, nil
})

var folder = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "docket-systemtest-")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	if data := os.Getenv(victimVariable); data != "" {
		os.Exit(serveAsVictim(data))
	}
	code := m.Run()
	os.RemoveAll(folder())
	os.Exit(code)
}

// setting is a number of the environment.
func setting(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// seed is what the choices of a test are made from.
func seed(t *testing.T) uint64 {
	t.Helper()
	return uint64(setting(t, "DOCKET_SEED", time.Now().UnixNano()%1e9))
}

// leaveBehind names a file for somebody to look at after a failure.
func leaveBehind(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("DOCKET_OUTPUT")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "docket-systemtest-output")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// server is a running docket.
type server struct {
	cmd  *exec.Cmd
	base string
	key  string
	log  *bytes.Buffer // complete once the process is gone
	done chan error
}

// start runs `docket serve` on a free port over data and waits until it is
// ready.
func start(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	return startUntil(t, "/readyz", data, flags...)
}

// startUntil is start that waits until a probe answers 200.
func startUntil(t *testing.T, answers, data string, flags ...string) *server {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, program, answers, data, flags...)
}

// startProgram is startUntil with another docket than the one that is tested.
func startProgram(t *testing.T, program, answers, data string, flags ...string) *server {
	t.Helper()
	s := &server{log: &bytes.Buffer{}, done: make(chan error, 1)}
	s.cmd = exec.Command(program, append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--log-level", "warn"}, flags...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(s.kill)

	probe := http.Client{Transport: network(), Timeout: time.Second}
	defer probe.CloseIdleConnections()
	deadline := time.Now().Add(startTimeout)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if time.Now().After(deadline) {
			s.kill()
			t.Fatalf("docket serve is not ready:\n%s", s.log)
		}
		select {
		case err := <-s.done:
			s.done <- err
			t.Fatalf("docket serve ended: %v\n%s", err, s.log)
		default:
		}
		var about struct {
			Address string `json:"address"`
			PID     int    `json:"pid"`
			Key     string `json:"key"`
		}
		text, err := os.ReadFile(filepath.Join(data, "server.json"))
		if err != nil || json.Unmarshal(text, &about) != nil || about.PID != s.cmd.Process.Pid {
			continue
		}
		s.base, s.key = "http://"+strings.TrimPrefix(about.Address, "http://"), about.Key
		resp, err := probe.Get(s.base + answers)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return s
		}
	}
}

// kill is kill -9; it returns when the process is gone.
func (s *server) kill() {
	s.cmd.Process.Kill()
	err := <-s.done
	s.done <- err
}

// caughtUp returns when the views hold what is in the log at the call.
func (s *server) caughtUp(ctx context.Context, through http.RoundTripper) error {
	for {
		got, err := s.do(ctx, through, request{method: "GET", path: "/v1/projections", prefer: "wait=20"})
		if err != nil {
			return err
		}
		if got.status != http.StatusOK {
			return fmt.Errorf("GET /v1/projections: %d %s", got.status, got.body)
		}
		if got.header.Get("Preference-Applied") == "wait" {
			return nil
		}
	}
}

// ran is a command of the program that has ended.
type ran struct {
	status         int // -1: it was killed, or never started
	stdout, stderr string
}

// docket runs one command of the program to its end.
func docket(ctx context.Context, args ...string) ran {
	program, err := built()
	if err != nil {
		return ran{status: -1, stderr: err.Error()}
	}
	return runProgram(ctx, program, args...)
}

// runProgram is docket with another one than the one that is tested.
func runProgram(ctx context.Context, program string, args ...string) ran {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		return ran{status: -1, stderr: err.Error()}
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// site is a folder with a docket that is killed and started again while others
// talk to it.
type site struct {
	t    *testing.T
	data string
	log  *logServer // nil: the log is in the folder
	// flags of each docket here, beside those that say where the log is.
	flags []string
	ends  int // times that kill was called

	mu      sync.Mutex
	running *server
	up      chan struct{} // closed while running is there
}

// newSite starts a docket over a new folder, on the log in it or one behind gRPC;
// a test that fails leaves a copy of it behind.
func newSite(t *testing.T, overGRPC bool) *site {
	w := newFolder(t)
	if overGRPC {
		w.log = &logServer{t: t, data: filepath.Join(filepath.Dir(w.data), "log"), address: "127.0.0.1:0"}
	}
	w.start()
	return w
}

// newFolder is a site where nothing runs yet.
func newFolder(t *testing.T) *site {
	root := t.TempDir()
	w := &site{t: t, data: filepath.Join(root, "docket"), up: make(chan struct{})}
	if err := os.Mkdir(w.data, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			copied := leaveBehind(t, fmt.Sprintf("data-%d", time.Now().UnixNano()))
			t.Logf("the folder of docket is copied to %s (%v)", copied, os.CopyFS(copied, os.DirFS(root)))
		}
	})
	return w
}

// start starts what does not run. It is for the goroutine of the test.
func (w *site) start() {
	w.t.Helper()
	flags := w.flags
	if w.log != nil {
		w.log.start()
		flags = append([]string{"--eventstore", w.log.connection}, flags...)
	}
	if w.running != nil {
		w.running.awaitReady(w.t)
		return
	}
	w.serves(start(w.t, w.data, flags...))
}

// logFolder is where the log is.
func (w *site) logFolder() string {
	if w.log != nil {
		return w.log.data
	}
	return w.data
}

// serves is told of the docket that runs now.
func (w *site) serves(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = s
	close(w.up)
}

// kill is kill -9. Where the log is a process of its own, it takes docket, the
// log and both in turns.
func (w *site) kill() {
	w.ends++
	if w.log != nil && w.ends%3 != 1 {
		w.log.kill()
		if w.ends%3 == 2 {
			return
		}
	}
	w.mu.Lock()
	s := w.running
	w.running, w.up = nil, make(chan struct{})
	w.mu.Unlock()
	s.kill()
}

// route is a transport of its own, which ends with the test.
func (w *site) route() http.RoundTripper {
	t := network()
	w.t.Cleanup(t.CloseIdleConnections)
	return t
}

// server waits until one runs; nil: ctx ended first.
func (w *site) server(ctx context.Context) *server {
	for {
		w.mu.Lock()
		s, up := w.running, w.up
		w.mu.Unlock()
		if s != nil {
			return s
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil
		}
	}
}
