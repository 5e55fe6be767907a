package systemtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	"github.com/ncruces/go-sqlite3/vfs"
)

// A victim is this test program, run again as a docket that can be stopped at
// any step. It is told on its standard input where to stop, and tells on its
// standard output that it serves, and that it has stopped.

// victimVariable holds the folder that a victim is to serve.
const victimVariable = "DOCKET_SYSTEMTEST_VICTIM"

// toVictim is a line to a victim. The first one is awaited before anything is
// opened.
type toVictim struct {
	Step  string // to stop at; empty: none
	Nth   int    // time that it comes there
	Parks bool   // refuse the documents of orders that are to be parked
}

// fromVictim is a line from a victim.
type fromVictim struct {
	Address string // where it serves
	Key     string
	Reached string // the step at which it has stopped
	Heard   bool   // it has heard what it was told
}

// serveAsVictim serves until it is killed; what it returns is its exit code.
func serveAsVictim(data string) int {
	err := victim(data)
	fmt.Fprintln(os.Stderr, "victim:", err)
	return 1
}

func victim(data string) error {
	orders, stops, parks := bufio.NewScanner(os.Stdin), &instants{}, &atomic.Bool{}
	var telling sync.Mutex
	tell := func(from fromVictim) error {
		telling.Lock()
		defer telling.Unlock()
		return json.NewEncoder(os.Stdout).Encode(from)
	}
	obey := func() error {
		var to toVictim
		if !orders.Scan() {
			return cmp.Or(orders.Err(), errors.New("the parent is gone"))
		}
		if err := json.Unmarshal(orders.Bytes(), &to); err != nil {
			return err
		}
		parks.Store(to.Parks)
		stops.arm(to.Step, to.Nth)
		return tell(fromVictim{Heard: true})
	}
	stops.reached = func(name string) { _ = tell(fromVictim{Reached: name}) }
	if err := obey(); err != nil {
		return err
	}

	const watched = "victim"
	vfs.Register(watched, newWatchedVFS(stops))
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := embedded.Open(context.Background(), data, embedded.Options{
		Logger: logger, VFS: watched, Disk: newWatchedFS(stops),
		Store:     func(s eventstore.Store) eventstore.Store { return steppedStore{s.(eventstore.Sequencer), stops} },
		Snapshots: func(s command.Snapshots) command.Snapshots { return steppedSnapshots{s, stops} },
		Backend: func(b projections.Backend) projections.Backend {
			return &steppedBackend{Backend: b, instants: stops, parks: parks}
		},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	const key = "of the victim"
	handler := httpapi.New(httpapi.Options{
		Orders: d.Orders, Query: d.Queries, Projections: d.Views, Store: d.Store, Log: d.Log,
		Audit: d.Auditor, Refusals: d.Refusals, Reconcile: d.Reconciler, RunKey: key, Logger: logger,
	})
	failed := make(chan error, 3)
	go func() { failed <- http.Serve(listener, stops.answering(handler)) }()
	go func() { <-d.Stopped(); failed <- fmt.Errorf("the views stopped: %w", d.ViewsErr()) }()
	if err := tell(fromVictim{Address: listener.Addr().String(), Key: key}); err != nil {
		return err
	}
	go func() {
		for {
			if err := obey(); err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// prey is a victim, seen from outside.
type prey struct {
	*server
	orders *json.Encoder
	heard  chan struct{}   // what it was told
	served chan fromVictim // it serves
	hit    chan string     // the step at which it has stopped
}

// startVictim runs a victim over data, which stops as it is told.
func startVictim(t *testing.T, data string, to toVictim) *prey {
	t.Helper()
	p := &prey{
		server: &server{log: &bytes.Buffer{}, done: make(chan error, 1)},
		heard:  make(chan struct{}, 1), served: make(chan fromVictim, 1), hit: make(chan string, 1),
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), victimVariable+"="+data)
	p.cmd.Stderr = p.log
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	go func() {
		for lines := json.NewDecoder(out); ; {
			var from fromVictim
			if lines.Decode(&from) != nil {
				break
			}
			switch {
			case from.Heard:
				p.heard <- struct{}{}
			case from.Reached != "":
				p.hit <- from.Reached
			default:
				p.served <- from
			}
		}
		p.done <- p.cmd.Wait()
	}()
	p.orders = json.NewEncoder(in)
	p.tell(t, to)
	return p
}

// tell returns when the victim has heard it.
func (p *prey) tell(t *testing.T, to toVictim) {
	t.Helper()
	if err := p.orders.Encode(to); err != nil {
		t.Fatalf("the victim does not listen: %v", err)
	}
	select {
	case <-p.heard:
	case err := <-p.done:
		p.done <- err
		t.Fatalf("the victim ended: %v\n%s", err, p.log)
	case <-time.After(startTimeout):
		t.Fatal("the victim does not answer")
	}
}

// ready waits until the victim serves, and everything that was in the log is in
// the views.
func (p *prey) ready(t *testing.T, through http.RoundTripper) {
	t.Helper()
	select {
	case from := <-p.served:
		p.base, p.key = "http://"+from.Address, from.Key
	case err := <-p.done:
		p.done <- err
		t.Fatalf("the victim ended: %v\n%s", err, p.log)
	case <-time.After(startTimeout):
		p.kill()
		t.Fatalf("the victim does not serve:\n%s", p.log)
	}
	if err := p.caughtUp(t.Context(), through); err != nil {
		p.kill()
		t.Fatalf("the victim does not answer: %v\n%s", err, p.log)
	}
}

// startTimeout is far more than a start takes, also on a busy machine, and when the
// views of all the data are made before it is ready.
const startTimeout = 10 * time.Minute
