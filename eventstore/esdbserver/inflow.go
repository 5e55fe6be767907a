package esdbserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// inflow bounds what messages hold that are not complete. gRPC keeps every
// message until its last byte is there, and grants each call that reads the room
// for its largest one, so that a few connections could fill the memory. When all
// messages together hold more than maxUnfinished, the connection that holds most
// is closed: a client that sends whole messages hardly holds any.
type inflow struct {
	credentials.TransportCredentials
	unfinished atomic.Int64

	mu    sync.Mutex
	conns map[*inflowConn]bool
}

// maxUnfinished is in bytes.
const maxUnfinished = 64 << 20

func newInflow(inner credentials.TransportCredentials) *inflow {
	return &inflow{TransportCredentials: inner, conns: map[*inflowConn]bool{}}
}

// ServerHandshake is where a connection begins to carry HTTP/2 in the clear.
func (f *inflow) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := f.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	c := &inflowConn{Conn: conn, inflow: f, calls: map[uint32]*unfinished{}, skip: prefaceLength}
	if bounded, ok := raw.(*boundedConn); ok {
		c.firstCall = bounded.calls
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[c] = true
	return c, info, nil
}

func (f *inflow) Clone() credentials.TransportCredentials {
	return newInflow(f.TransportCredentials.Clone())
}

// relieve closes the connection that holds most. The lock is not held for that:
// TLS says farewell, for which the client may leave no room.
func (f *inflow) relieve() {
	if most := f.heaviest(); most != nil {
		most.Conn.Close()
	}
}

// heaviest takes the connection that holds most out of the sum; nil when that is
// not needed any more.
func (f *inflow) heaviest() (most *inflowConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unfinished.Load() <= maxUnfinished {
		return nil
	}
	for c := range f.conns {
		if most == nil || c.holds.Load() > most.holds.Load() {
			most = c
		}
	}
	if most != nil {
		f.forget(most)
	}
	return most
}

// hangUp closes the connection of the call of ctx.
func (f *inflow) hangUp(ctx context.Context) {
	client, ok := peer.FromContext(ctx)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		if c.RemoteAddr().String() == client.Addr.String() {
			go c.Close() // which takes the lock
		}
	}
}

// forget takes a connection out of the sum, once.
func (f *inflow) forget(c *inflowConn) {
	if f.conns[c] {
		delete(f.conns, c)
		f.unfinished.Add(-c.holds.Swap(0))
	}
}

// inflowConn follows the frames that the client sends.
type inflowConn struct {
	net.Conn
	inflow *inflow
	holds  atomic.Int64 // bytes of unfinished messages

	// These belong to the goroutine that reads.
	firstCall func() // nil once it was told
	skip      int    // bytes that are of no interest
	header    []byte
	left      int  // bytes of data that follow in the frame
	padded    bool // the first of them is the length of the padding
	padding   int  // bytes that follow the data
	end       bool
	stream    uint32
	calls     map[uint32]*unfinished
}

// unfinished is a message of a call that goes on in a later frame.
type unfinished struct {
	prefix []byte // up to five bytes: a flag and the length
	left   int    // bytes that the message still lacks, once it has a prefix
	held   int
	// refused: it is too large, so that its call ends with its prefix and nothing
	// of it is kept; its sender may never end it.
	refused bool
}

const (
	prefaceLength = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	frameHeader   = 9
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	flagEndStream = 1
	flagPadded    = 8
	frameCost     = 128 // what a frame holds beside its bytes
	messagePrefix = 5
)

func (c *inflowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	before := c.holds.Load()
	holds := before
	for rest := p[:n]; len(rest) > 0; {
		var change int
		rest, change = c.step(rest)
		holds += int64(change)
	}
	if holds != before {
		if err := c.account(holds - before); err != nil {
			return 0, err
		}
	}
	return n, err
}

var errRelieved = errors.New("too much was sent of messages that are not complete")

func (c *inflowConn) account(change int64) error {
	f := c.inflow
	f.mu.Lock()
	open := f.conns[c]
	if open {
		c.holds.Add(change)
		f.unfinished.Add(change)
	}
	f.mu.Unlock()
	if !open {
		return errRelieved
	}
	if f.unfinished.Load() > maxUnfinished {
		f.relieve()
	}
	return nil
}

func (c *inflowConn) Close() error {
	c.inflow.mu.Lock()
	c.inflow.forget(c)
	c.inflow.mu.Unlock()
	return c.Conn.Close()
}

// step consumes a part of what was read, and answers the rest and by how much
// the bytes changed that are held.
func (c *inflowConn) step(in []byte) (rest []byte, change int) {
	if c.skip > 0 {
		n := min(c.skip, len(in))
		c.skip -= n
		return in[n:], 0
	}
	if c.padded {
		c.padded, c.padding = false, min(int(in[0]), c.left-1)
		c.left -= 1 + c.padding
		return in[1:], c.frameEnds()
	}
	if c.left > 0 {
		n := min(c.left, len(in))
		c.left -= n
		change = c.data(in[:n])
		return in[n:], change + c.frameEnds()
	}
	n := min(frameHeader-len(c.header), len(in))
	if c.header, in = append(c.header, in[:n]...), in[n:]; len(c.header) < frameHeader {
		return in, 0
	}
	length := int(c.header[0])<<16 | int(c.header[1])<<8 | int(c.header[2])
	kind, endStream, padded := c.header[3], c.header[4]&flagEndStream != 0, c.header[4]&flagPadded != 0
	c.stream = binary.BigEndian.Uint32(c.header[5:]) &^ (1 << 31)
	c.header = c.header[:0]
	switch {
	case kind == frameHeaders && c.firstCall != nil:
		c.firstCall()
		c.firstCall = nil
	case kind == frameData && length > 0:
		c.left, c.end, c.padded = length, endStream, padded
		return in, 0
	case kind == frameReset, kind == frameData && endStream:
		change = -c.over(c.stream)
	}
	c.skip = length
	return in, change
}

// frameEnds looks whether the data of a frame is complete.
func (c *inflowConn) frameEnds() (change int) {
	if c.left > 0 {
		return 0
	}
	c.skip, c.padding = c.padding, 0
	if c.end {
		return -c.over(c.stream)
	}
	if u := c.calls[c.stream]; u != nil && !u.refused {
		u.held, change = u.held+frameCost, frameCost
	}
	return change
}

// over answers what the call held.
func (c *inflowConn) over(stream uint32) (held int) {
	if u := c.calls[stream]; u != nil {
		held = u.held
		delete(c.calls, stream)
	}
	return held
}

// data is a piece of what a call sends: messages, one after the other.
func (c *inflowConn) data(in []byte) (change int) {
	u := c.calls[c.stream]
	for len(in) > 0 {
		if u == nil {
			// Most messages are whole in what was read.
			if len(in) >= messagePrefix {
				if end := messagePrefix + int(binary.BigEndian.Uint32(in[1:])); len(in) >= end {
					in = in[end:]
					continue
				}
			}
			u = &unfinished{}
			c.calls[c.stream] = u
		}
		if n := min(messagePrefix-len(u.prefix), len(in)); n > 0 {
			u.prefix = append(u.prefix, in[:n]...)
			u.held, change, in = u.held+n, change+n, in[n:]
			if len(u.prefix) == messagePrefix {
				u.left = int(binary.BigEndian.Uint32(u.prefix[1:]))
			}
			if u.left > maxMessage {
				u.refused, u.held, change = true, frameCost, change+frameCost-u.held
			}
		}
		n := min(u.left, len(in))
		u.left, in = u.left-n, in[n:]
		if !u.refused {
			u.held, change = u.held+n, change+n
		}
		if len(u.prefix) == messagePrefix && u.left == 0 {
			change -= u.held
			delete(c.calls, c.stream)
			u = nil
		}
	}
	return change
}
