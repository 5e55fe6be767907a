package esdbserver

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"google.golang.org/grpc/credentials/insecure"
	"pgregory.net/rapid"
)

// piecewise is a connection that delivers what was written to it in pieces.
type piecewise struct {
	net.Conn
	from   io.Reader
	closed bool
}

func (p *piecewise) Read(b []byte) (int, error) { return p.from.Read(b) }
func (p *piecewise) Close() error               { p.closed = true; return nil }

func clientFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	out := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(out, stream), payload...)
}

// What is held is that of the messages whose end has not come, however frames,
// messages and reads are cut.
func TestUnfinishedMessagesAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wire := bytes.NewBufferString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		calls := map[uint32]*modelCall{}
		for range rapid.IntRange(0, 40).Draw(t, "frames") {
			stream := rapid.SampledFrom([]uint32{1, 3, 5}).Draw(t, "stream")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0: // something else
				wire.Write(clientFrame(6, 0, 0, make([]byte, 8)))
				wire.Write(clientFrame(1, 4, stream, make([]byte, rapid.IntRange(0, 50).Draw(t, "headers"))))
			case 1:
				wire.Write(clientFrame(frameReset, 0, stream, make([]byte, 4)))
				delete(calls, stream)
			default:
				call := calls[stream]
				if call == nil {
					call = &modelCall{}
					calls[stream] = call
				}
				for range rapid.IntRange(0, 2).Draw(t, "messages") {
					size := rapid.IntRange(0, 300).Draw(t, "size")
					call.unsent = append(binary.BigEndian.AppendUint32(append(call.unsent, 0), uint32(size)), bytes.Repeat([]byte{0xff}, size)...)
				}
				n := rapid.IntRange(0, len(call.unsent)).Draw(t, "piece")
				end, padded := rapid.IntRange(0, 9).Draw(t, "end") == 0, rapid.Bool().Draw(t, "padded")
				payload, flags := call.unsent[:n], byte(0)
				if padded {
					padding := rapid.IntRange(0, 255).Draw(t, "padding")
					payload, flags = append(append([]byte{byte(padding)}, payload...), make([]byte, padding)...), flagPadded
				}
				if end {
					flags |= flagEndStream
				}
				wire.Write(clientFrame(frameData, flags, stream, payload))
				if call.send(n, len(payload) > 0); end {
					delete(calls, stream)
				}
			}
		}
		f := newInflow(insecure.NewCredentials())
		var reader io.Reader = wire
		switch rapid.IntRange(0, 2).Draw(t, "reads") {
		case 0:
			reader = iotest.OneByteReader(reader)
		case 1:
			reader = iotest.HalfReader(reader)
		}
		conn, _, err := f.ServerHandshake(&piecewise{from: reader})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Fatal(err)
		}
		var want int64
		for _, c := range calls {
			want += int64(len(c.current)) + c.frames*frameCost
		}
		if got := f.unfinished.Load(); got != want {
			t.Fatalf("%d bytes are held, want %d", got, want)
		}
		if err := conn.Close(); err != nil || f.unfinished.Load() != 0 {
			t.Fatalf("%d bytes are held after the end, %v", f.unfinished.Load(), err)
		}
	})
}

// modelCall is a call byte by byte.
type modelCall struct {
	unsent  []byte
	current []byte // what was sent of the message that is not complete
	frames  int64  // in which that was
}

func (m *modelCall) send(n int, any bool) {
	for _, b := range m.unsent[:n] {
		m.current = append(m.current, b)
		if len(m.current) >= messagePrefix && len(m.current) == messagePrefix+int(binary.BigEndian.Uint32(m.current[1:])) {
			m.current, m.frames = nil, 0
		}
	}
	m.unsent = m.unsent[n:]
	if len(m.current) > 0 && any {
		m.frames++
	}
}

// The connection that holds most is closed, and gives back what it held.
func TestWhoHoldsTooMuchIsCutOff(t *testing.T) {
	f := newInflow(insecure.NewCredentials())
	begin := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	sends := func(mib int) (net.Conn, *piecewise) {
		var wire bytes.Buffer
		wire.WriteString(begin)
		for call := range uint32(mib / 10) { // each sends 10 MiB of 15
			wire.Write(clientFrame(frameData, 0, 2*call+1, append([]byte{0, 0, 0xf0, 0, 0}, make([]byte, 1000)...)))
			for range 10 * 64 {
				wire.Write(clientFrame(frameData, 0, 2*call+1, make([]byte, 16<<10)))
			}
		}
		raw := &piecewise{from: &wire}
		conn, _, err := f.ServerHandshake(raw)
		if err != nil {
			t.Fatal(err)
		}
		return conn, raw
	}
	greedy, cut := sends(40)
	if _, err := io.Copy(io.Discard, greedy); err != nil {
		t.Fatal(err)
	}
	modest, spared := sends(30)
	if _, err := io.Copy(io.Discard, modest); err != nil {
		t.Fatal(err)
	}
	if !cut.closed || spared.closed || f.unfinished.Load() > maxUnfinished {
		t.Errorf("closed: %t and %t, %d bytes are held", cut.closed, spared.closed, f.unfinished.Load())
	}
}
