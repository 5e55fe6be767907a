package systemtest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Events of the stream projection-orders, as they are named in it.
const (
	eventBuilding = "ProjectionBuilding"
	eventSwitched = "ProjectionSwitched"
	eventDropped  = "ProjectionDropped"
)

// registryGate lies between one docket and the log behind gRPC. It knows the append of an
// event by its type, which passes as it is, and holds it: before the log has heard
// of it, or after, before docket hears of that.
type registryGate struct {
	node    int
	address string // where docket finds the log
	log     string
	hits    chan *hit

	mu     sync.Mutex
	armed  string // type of the event; empty: nothing is held
	after  bool
	number int // of who armed it
	held   *hit
}

// hit is a docket that waits at its gate.
type hit struct {
	node, number int
	release      chan struct{} // to be closed
	lost         atomic.Bool   // what is held never arrives
}

// passing is how long the log has to write an event that was let through, before
// docket is held to wait for the answer.
const passing = 100 * time.Millisecond

// newRegistryGate listens until the test ends.
func newRegistryGate(t *testing.T, node int, log string, hits chan *hit) *registryGate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &registryGate{node: node, address: l.Addr().String(), log: log, hits: hits}
	var open sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		g.disarm()
		open.Wait()
	})
	ended := t.Context().Done()
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { g.pass(client, ended) })
		}
	})
	return g
}

// connection is what docket is told of the log.
func (g *registryGate) connection(ofLog string) string {
	return strings.Replace(ofLog, g.log, g.address, 1)
}

// arm holds the next append of such an event; the number is in the hit.
func (g *registryGate) arm(event string, after bool, number int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.after, g.number = event, after, number
}

// disarm lets everything pass, also who waits.
func (g *registryGate) disarm() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = ""
	if g.held != nil {
		close(g.held.release)
		g.held = nil
	}
}

// meets tells whether what passes is to be held. What it looks at begins with the
// end of what passed before.
func (g *registryGate) meets(text []byte) (h *hit, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.armed == "" || !bytes.Contains(text, []byte(g.armed)) {
		return nil, false
	}
	g.armed, g.held = "", &hit{node: g.node, number: g.number, release: make(chan struct{})}
	return g.held, g.after
}

// pass is one connection. The other direction waits, too, while one is held.
func (g *registryGate) pass(client net.Conn, ended <-chan struct{}) {
	defer client.Close()
	log, err := net.Dial("tcp", g.log)
	if err != nil {
		return
	}
	defer log.Close()
	var back sync.Mutex
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(writerInTurn{client, &back}, log) // it ends with either of the two
		client.Close()
	}()
	defer func() { log.Close(); <-over }()
	const longest = len(eventBuilding)
	buffer, tail := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := client.Read(buffer)
		if n > 0 {
			seen := append(tail, buffer[:n]...)
			if h, after := g.meets(seen); h != nil {
				back.Lock()
				if after {
					_, _ = log.Write(buffer[:n])
					<-time.After(passing)
				}
				g.hits <- h
				select {
				case <-h.release:
				case <-ended:
				}
				back.Unlock()
				if h.lost.Load() {
					return
				}
				if after {
					n = 0
				}
			}
			if _, failed := log.Write(buffer[:n]); failed != nil {
				return
			}
			tail = bytes.Clone(seen[max(0, len(seen)-longest):])
		}
		if err != nil {
			return
		}
	}
}

// writerInTurn writes when it has the turn.
type writerInTurn struct {
	io.Writer
	turn *sync.Mutex
}

func (w writerInTurn) Write(p []byte) (int, error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.Writer.Write(p)
}
