package systemtest

import (
	bigendian "encoding/binary"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2/hpack"
)

// stage is a point in the life of a call, as it passes the server's end of a
// connection.
type stage int

const (
	appendOpened     stage = iota // the call is there, nothing of what it is about
	appendOptions                 // the stream and the revision are there, no event
	appendProposed                // an event is there, more may come
	appendHalfClosed              // everything is there
	appendAnswer                  // it is done, the answer is about to leave
	appendWithin                  // a part of the answer has left
	readOpened
	subscribeConfirmed
	readPast // an event of the past
	subscribeCheckpoint
	subscribeCaughtUp
	subscribeLive // an event of the present
	stages        // how many there are
)

func (s stage) String() string {
	return [...]string{"append opened", "append options", "append proposed", "append half-closed", "append answer", "within append answer",
		"read opened", "subscription confirmed", "event of the past", "checkpoint", "caught up", "live"}[s]
}

// trigger waits for the nth time that a call passes a stage.
type trigger struct {
	stage stage
	nth   atomic.Int32
	// fire is called while the bytes of the stage are held, and says of which
	// direction what follows on this connection is lost.
	fire func() (toServer, toClient bool)
}

// tap is the server's listener. It follows what passes on its connections, which
// are HTTP/2 without TLS, and fires the trigger that is set.
type tap struct {
	net.Listener
	set atomic.Pointer[trigger]

	mu    sync.Mutex
	conns map[*tappedConn]bool
}

func newTap(l net.Listener) *tap { return &tap{Listener: l, conns: map[*tappedConn]bool{}} }

func (t *tap) Accept() (net.Conn, error) {
	conn, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &tappedConn{Conn: conn, tap: t, calls: map[uint32]*tappedCall{}}
	c.headers = hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":path" {
			c.path = f.Value
		}
	})
	c.in.skip = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[c] = true
	return c, nil
}

// passes fires the trigger when its moment has come.
func (t *tap) passes(s stage) (fired, toServer, toClient bool) {
	set := t.set.Load()
	if set == nil || set.stage != s || set.nth.Add(-1) != 0 {
		return false, false, false
	}
	t.set.CompareAndSwap(set, nil)
	toServer, toClient = set.fire()
	return true, toServer, toClient
}

// closeBroken closes the connections that lost something; all closes the others
// too, as a machine that goes down does.
func (t *tap) closeBroken(all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		if all || c.lostIn.Load() || c.lostOut.Load() {
			c.Conn.Close()
		}
	}
}

// stallForEver loses everything that follows on the connections there are, which
// stay open.
func (t *tap) stallForEver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		c.lostIn.Store(true)
		c.lostOut.Store(true)
	}
}

// tappedConn loses, once a trigger says so, everything that follows in a
// direction: a connection may end early, but nothing is missing in its middle.
type tappedConn struct {
	net.Conn
	tap             *tap
	lostIn, lostOut atomic.Bool

	in, out frames // of the reader and of the writer

	mu      sync.Mutex // both directions look at the calls
	calls   map[uint32]*tappedCall
	headers *hpack.Decoder
	path    string
}

// tappedCall is one that is of interest.
type tappedCall struct {
	append   bool
	messages int // from the client
	answered bool
	left     int // bytes of the message to the client that are still to come
	caughtUp bool
}

func (c *tappedConn) Close() error {
	c.tap.mu.Lock()
	delete(c.tap.conns, c)
	c.tap.mu.Unlock()
	return c.Conn.Close()
}

func (c *tappedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 && !c.lostIn.Load() {
			if kept := c.in.feed(p[:n], c.fromClient); kept > 0 {
				return kept, err
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

func (c *tappedConn) Write(p []byte) (int, error) {
	if c.lostOut.Load() {
		return len(p), nil
	}
	kept := c.out.feed(p, c.fromServer)
	if kept == 0 {
		return len(p), nil
	}
	if n, err := c.Conn.Write(p[:kept]); err != nil {
		return n, err
	}
	return len(p), nil
}

// frame is one of HTTP/2, and where it lies in what is passed at the moment.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
	from, to    int // from is 0 when it began before
}

const (
	frameData, frameHeaders, frameReset, frameContinuation = 0, 1, 3, 9
	flagEndStream, flagPadded, flagPriority                = 1, 8, 32
)

// fromClient returns where the bytes end that still reach the server; -1: all do.
func (c *tappedConn) fromClient(f frame) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.kind {
	case frameHeaders, frameContinuation:
		block := f.payload
		if f.kind == frameHeaders && f.flags&flagPadded != 0 {
			block = block[1 : len(block)-int(block[0])]
		}
		if f.kind == frameHeaders && f.flags&flagPriority != 0 {
			block = block[5:]
		}
		_, _ = c.headers.Write(block) // what the server cannot read it will refuse
		path := c.path
		if c.path = ""; path == "" {
			return -1
		}
		switch {
		case strings.HasSuffix(path, "Streams/Append"):
			c.calls[f.stream] = &tappedCall{append: true}
			return c.cut(appendOpened, f.to, true)
		case strings.HasSuffix(path, "Streams/Read"):
			c.calls[f.stream] = &tappedCall{}
			return c.cut(readOpened, f.to, true)
		}
	case frameData:
		call := c.calls[f.stream]
		if call == nil || !call.append {
			return -1
		}
		at := -1
		if len(f.payload) > 0 {
			call.messages++
			if call.messages == 1 {
				at = c.cut(appendOptions, f.to, true)
			} else {
				at = c.cut(appendProposed, f.to, true)
			}
		}
		if at < 0 && f.flags&flagEndStream != 0 {
			at = c.cut(appendHalfClosed, f.to, true)
		}
		return at
	case frameReset:
		delete(c.calls, f.stream)
	}
	return -1
}

// fromServer is fromClient of the other direction.
func (c *tappedConn) fromServer(f frame) (at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[f.stream]
	if call == nil {
		return -1
	}
	at = -1
	switch {
	case call.append:
		if !call.answered {
			call.answered = true
			at = c.cut(appendAnswer, f.from, false)
		}
		if at < 0 {
			at = c.cut(appendWithin, (f.from+f.to+1)/2, false)
		}
	case f.kind == frameData:
		for rest := f.payload; len(rest) > 0 && at < 0; {
			if call.left > 0 {
				n := min(call.left, len(rest))
				call.left, rest = call.left-n, rest[n:]
				continue
			}
			if len(rest) < 5 {
				break // a message never begins so late
			}
			call.left = int(bigendian.BigEndian.Uint32(rest[1:5]))
			if rest = rest[5:]; len(rest) == 0 {
				break
			}
			at = c.message(call, rest[0]>>3, f)
		}
	}
	if f.flags&flagEndStream != 0 || f.kind == frameReset {
		delete(c.calls, f.stream)
	}
	return at
}

// message is the first field of an answer to Streams.Read.
func (c *tappedConn) message(call *tappedCall, field byte, f frame) int {
	switch field {
	case 1: // event
		if call.caughtUp {
			return c.cut(subscribeLive, f.from, false)
		}
		return c.cut(readPast, f.from, false)
	case 2:
		return c.cut(subscribeConfirmed, f.from, false)
	case 3:
		return c.cut(subscribeCheckpoint, f.to, false)
	case 8:
		call.caughtUp = true
		return c.cut(subscribeCaughtUp, f.to, false)
	}
	return -1
}

// cut ends the connection at an offset, in a direction, if the trigger wants it.
func (c *tappedConn) cut(s stage, offset int, in bool) int {
	fired, toServer, toClient := c.tap.passes(s)
	if !fired {
		return -1
	}
	if toServer {
		c.lostIn.Store(true)
	}
	if toClient {
		c.lostOut.Store(true)
	}
	if in && toServer || !in && toClient {
		return offset
	}
	return -1
}

// frames finds frames in a stream of bytes.
type frames struct {
	skip int
	held []byte // of a frame that is not whole
}

// feed hands over the frames that end in p, and answers how much of p passes.
func (f *frames) feed(p []byte, whole func(frame) int) int {
	skipped := min(f.skip, len(p))
	f.skip -= skipped
	start := skipped - len(f.held) // in p, of the frame
	f.held = append(f.held, p[skipped:]...)
	rest := f.held
	for len(rest) >= 9 {
		length := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		if len(rest) < 9+length {
			break
		}
		at := whole(frame{
			kind: rest[3], flags: rest[4], stream: bigendian.BigEndian.Uint32(rest[5:9]) &^ (1 << 31),
			payload: rest[9 : 9+length], from: max(0, start), to: start + 9 + length,
		})
		if at >= 0 {
			return at
		}
		start, rest = start+9+length, rest[9+length:]
	}
	f.held = append(f.held[:0:0], rest...)
	return len(p)
}
