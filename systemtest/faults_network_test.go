package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// fault is a way in which a network or a server lets its clients down.
type fault int

const (
	faultCut         fault = iota // every connection ends, and none can be made
	faultBlip                     // every connection ends
	faultReset                    // every connection is reset, also new ones
	faultStall                    // nothing passes any more
	faultDeafServer               // nothing reaches the server any more
	faultDeafClient               // nothing reaches the client any more
	faultSlow                     // late, little at a time, in pieces
	faultServerStops              // the server goes and takes its leave
	faultServerDies               // the server goes
	faults                        // how many there are
)

func (f fault) String() string {
	return [...]string{"cut", "blip", "reset", "stall", "deaf server", "deaf client", "slow", "server stops", "server dies"}[f]
}

// loses says in which directions nothing more passes on a connection that exists.
func (f fault) loses() (toServer, toClient bool) {
	switch f {
	case faultCut, faultBlip, faultReset, faultStall, faultServerDies:
		return true, true
	case faultDeafServer:
		return true, false
	case faultDeafClient:
		return false, true
	}
	return false, false
}

// toxics of a fault, as toxiproxy takes them.
func (f fault) toxics(rng *rand.Rand) []string {
	both := func(about string) []string {
		return []string{fmt.Sprintf(about, "upstream"), fmt.Sprintf(about, "downstream")}
	}
	switch f {
	case faultReset:
		return both(`{"type":"reset_peer","stream":"%s"}`)
	case faultStall:
		return both(`{"type":"timeout","stream":"%s"}`)
	case faultDeafServer:
		return both(`{"type":"timeout","stream":"%s"}`)[:1]
	case faultDeafClient:
		return both(`{"type":"timeout","stream":"%s"}`)[1:]
	case faultSlow:
		list := [][]string{
			both(fmt.Sprintf(`{"type":"latency","stream":"%%s","attributes":{"latency":%d,"jitter":%d}}`, 5+rng.IntN(30), rng.IntN(20))),
			both(fmt.Sprintf(`{"type":"bandwidth","stream":"%%s","attributes":{"rate":%d}}`, 20+rng.IntN(200))),
			both(fmt.Sprintf(`{"type":"slicer","stream":"%%s","attributes":{"average_size":%d,"size_variation":%d,"delay":%d}}`, 20+rng.IntN(80), 1+rng.IntN(15), rng.IntN(300))),
		}
		return list[rng.IntN(len(list))]
	}
	return nil
}

// faultNetwork is what lies between a client and a server: toxiproxy, and its address,
// which stays the same.
type faultNetwork struct {
	upstream string
	resets   bool // whatever it ends, it resets

	mu      sync.Mutex
	proxy   *toxiproxy.Proxy
	address string
	names   []string // of the toxics
	stuck   int      // proxies that did not answer any more
}

func newFaultNetwork(host, upstream string, resets bool) (*faultNetwork, error) {
	n := &faultNetwork{upstream: upstream, resets: resets, address: net.JoinHostPort(host, "0")}
	return n, n.start()
}

// hostOf is a loopback address for a schedule alone: while a server or a proxy
// stands still, its port must not go to another schedule. Where there is only one
// such address all share it.
func hostOf(seed uint64) string {
	host := net.IPv4(127, byte(1+seed/(254*256)%250), byte(seed/254%256), byte(1+seed%254)).String()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "127.0.0.1"
	}
	l.Close()
	return host
}

// start makes a proxy on the address.
func (n *faultNetwork) start() error {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics write to the logger of all
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n.proxy, n.names = toxiproxy.NewProxy(server, "network", n.address, n.upstream), nil
	if n.resets {
		// toxiproxy lets a connection linger for nothing when it is made under this
		// toxic, also one that never acts.
		if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(`{"type":"reset_peer","name":"lingerless","stream":"upstream","toxicity":0}`)); err != nil {
			return err
		}
	}
	err := n.proxy.Start()
	for try := 0; err != nil && try < 200 && !strings.HasSuffix(n.address, ":0"); try++ {
		<-time.After(5 * time.Millisecond) // somebody borrowed the port for a connection
		err = n.proxy.Start()
	}
	n.address = n.proxy.Listen
	return err
}

// toxiproxy may wait for ever to change a connection that ends at that moment; it
// is then left to itself, and another one takes its place.
func (n *faultNetwork) within(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Second):
		n.stuck++
		go n.proxy.Stop()
		return n.start()
	}
}

// suffer brings a fault about; the server's are not its business.
func (n *faultNetwork) suffer(f fault, rng *rand.Rand) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	toxics := f.toxics(rng)
	proxy := n.proxy
	return n.within(func() error {
		switch f {
		case faultCut:
			proxy.Stop()
		case faultBlip:
			proxy.Stop()
			return startAgain(proxy)
		}
		for _, toxic := range toxics {
			added, err := proxy.Toxics.AddToxicJson(strings.NewReader(toxic))
			if err != nil {
				return err
			}
			n.names = append(n.names, added.Name)
		}
		return nil
	})
}

// startAgain waits for the port, which another connection may have for a moment.
func startAgain(proxy *toxiproxy.Proxy) (err error) {
	for range 200 {
		if err = proxy.Start(); err == nil || errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			return nil
		}
		<-time.After(5 * time.Millisecond)
	}
	return err
}

// heal ends every fault.
func (n *faultNetwork) heal() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	proxy, names := n.proxy, n.names
	return n.within(func() error {
		for _, name := range names {
			if err := proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
				return err
			}
		}
		n.names = nil
		return startAgain(proxy)
	})
}

func (n *faultNetwork) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	go n.proxy.Stop() // it may be stuck
}

// listenAgain listens where somebody listened before.
func listenAgain(address string) (l net.Listener, err error) {
	for range 400 {
		if l, err = net.Listen("tcp", address); err == nil {
			return l, nil
		}
		<-time.After(5 * time.Millisecond)
	}
	return nil, err
}
