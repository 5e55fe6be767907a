package testservers

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a server of one test. Its methods may be called by several
// goroutines; what fails is an error of the test.
type process struct {
	t       TB
	dir     string // its data and its log
	command []string
	answers func() error

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd is gone
}

// newProcess starts a server, and ends it with the test.
func newProcess(t TB, dir string, command []string, answers func() error) *process {
	t.Helper()
	p := &process{t: t, dir: dir, command: command, answers: answers}
	t.Cleanup(p.Kill)
	p.Restart()
	return p
}

// launchProcess is newProcess that does not wait until the server answers.
func launchProcess(t TB, dir string, command []string, answers func() error) *process {
	p := &process{t: t, dir: dir, command: command, answers: answers}
	t.Cleanup(p.Kill)
	p.Launch()
	return p
}

// folder is one of the test's own, removed with it.
func folder(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "docket-test-server-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("%v", err)
		}
	})
	return dir
}

// PID is the process id of the server, 0 while there is none.
func (p *process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the server with SIGKILL, paused or not, and returns when it is gone.
func (p *process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kill()
}

func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
	p.cmd = nil
}

// Pause stops the server (SIGSTOP): connections stay, nothing is answered.
func (p *process) Pause() { p.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *process) Resume() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		p.t.Errorf("%s: signal %v to a server that was killed", p.command[0], s)
		return
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%s: signal %v: %v", p.command[0], s, err)
	}
}

// Launch starts the server where it was, with its data and its port, without
// waiting until it answers. One that runs is killed before.
func (p *process) Launch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.launch()
}

func (p *process) launch() {
	p.kill()
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Errorf("%s: %v", p.command[0], err)
		return
	}
	defer log.Close()
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	// It dies with the test process, however that ends, and hears no Ctrl-C.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Errorf("%s: %v", p.command[0], err)
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, as a rule
	}()
	p.cmd, p.ended = cmd, ended
}

// Restart is Launch that waits until the server answers.
func (p *process) Restart() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 3 { // its port may be taken for a moment by another's look
		p.launch()
		if p.cmd == nil {
			return
		}
		going := p.going()
		err := withinWhile(startTime, going, p.answers)
		if err == nil {
			return
		}
		if going() {
			p.t.Errorf("%s: %v\n%s", p.command[0], err, logs([]string{p.dir}))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.t.Errorf("%s ended at its start\n%s", p.command[0], logs([]string{p.dir}))
}

// running tells whether the process lives.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil && p.going()()
}

// going tells of the process of now, whether or not another follows.
func (p *process) going() func() bool {
	ended := p.ended
	return func() bool {
		select {
		case <-ended:
			return false
		default:
			return true
		}
	}
}
