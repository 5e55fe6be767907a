package esdb

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy is a network between the adapter and its server that can break.
type proxy struct {
	address string
	target  string

	mu      sync.Mutex
	refuse  bool
	conns   map[net.Conn]struct{}
	deaf    atomic.Bool  // answers are thrown away
	stalled atomic.Bool  // nothing passes, nothing breaks
	sent    atomic.Int64 // bytes that went to the server
	resume  chan struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: listener.Addr().String(), target: target, conns: map[net.Conn]struct{}{}, resume: make(chan struct{})}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.close()
		work.Wait()
	})
	return p
}

func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer far.Close()
	p.mu.Lock()
	if p.refuse {
		p.mu.Unlock()
		return
	}
	p.conns[near], p.conns[far] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, near, nil, &p.sent) })
	both.Go(func() { p.copy(near, far, &p.deaf, nil) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, near)
	delete(p.conns, far)
	p.mu.Unlock()
}

func (p *proxy) copy(to io.WriteCloser, from io.ReadCloser, drop *atomic.Bool, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if p.stalled.Load() {
			<-p.resume
		}
		if n > 0 && (drop == nil || !drop.Load()) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if count != nil {
			count.Add(int64(n))
		}
		if err != nil {
			return
		}
	}
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

// down breaks every connection and takes no new ones.
func (p *proxy) down() {
	p.mu.Lock()
	p.refuse = true
	p.mu.Unlock()
	p.cut()
}

// stall lets nothing pass until the test ends or release is called; once.
func (p *proxy) stall() { p.stalled.Store(true) }

func (p *proxy) release() {
	if p.stalled.Swap(false) {
		close(p.resume)
	}
}

func (p *proxy) close() {
	p.release()
	p.down()
}
