// Package systemtest runs the real program as a user does: it builds docket,
// starts it, talks HTTP to it, kills it, and starts it again. It is a module of
// its own so that what such tests need stays out of the product's go.mod.
package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "docket-systemtest-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "docket")
	build := exec.Command("go", "build", "-o", binary, "./cmd/docket")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build docket: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a running docket.
type server struct {
	cmd  *exec.Cmd
	base string
	key  string
	log  *bytes.Buffer
	done chan error
}

// start runs `docket serve` on a free port over data and waits until it is
// ready.
func start(t *testing.T, data string) *server {
	t.Helper()
	s := &server{log: &bytes.Buffer{}, done: make(chan error, 1)}
	s.cmd = exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	t.Cleanup(s.kill)

	deadline := time.Now().Add(60 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
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
		resp, err := http.Get(s.base + "/readyz")
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

// call sends a request; err means that no answer came.
func (s *server) call(ctx context.Context, method, path, key string, body any) (int, http.Header, []byte, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, nil, err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, in)
	if err != nil {
		return 0, nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, text, err
}

// docket runs one command of the program to its end.
func docket(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(binary, args...).CombinedOutput()
	return string(out), err
}
