package systemtest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// logServer is docket eventstore serve, a process of its own, which is killed and
// started again at the same address.
type logServer struct {
	t          *testing.T
	data       string
	address    string // to listen on; port 0 before the first start
	connection string // what clients are told

	cmd *exec.Cmd // nil: it does not run
	log *bytes.Buffer
}

// start returns when it listens; it does nothing to one that runs.
func (l *logServer) start() {
	l.t.Helper()
	if l.cmd != nil {
		return
	}
	program, err := built()
	if err != nil {
		l.t.Fatal(err)
	}
	l.log = &bytes.Buffer{}
	l.cmd = exec.Command(program, "eventstore", "serve", "--data", l.data, "--listen", l.address, "--log-level", "warn", "--json")
	l.cmd.Stderr = l.log
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(l.kill)
	var said struct{ Listening, Connection string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		l.kill()
		l.t.Fatalf("docket eventstore serve does not say where it listens: %v\n%s", err, l.log)
	}
	l.address, l.connection = said.Listening, said.Connection
}

// kill is kill -9; it returns when the process is gone.
func (l *logServer) kill() {
	if l.cmd == nil {
		return
	}
	_ = l.cmd.Process.Kill() // it may be gone already
	_ = l.cmd.Wait()
	l.cmd = nil
}

// awaitReady returns when a docket that runs says that it can serve.
func (s *server) awaitReady(t *testing.T) {
	t.Helper()
	probe := http.Client{Transport: network(), Timeout: 10 * time.Second}
	defer probe.CloseIdleConnections()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); <-tick.C {
		resp, err := probe.Get(s.base + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	t.Fatal("docket does not get ready again")
}
