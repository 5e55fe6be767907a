package command

import (
	"bytes"
	"testing"
)

// FuzzReadMemory: what an aggregate remembers comes back byte for byte, and no
// more of it than there may be.
func FuzzReadMemory(f *testing.F) {
	m := memory{}.add(key("a").CommandID, "f", 3).add(key("b").CommandID, "g", 4)
	f.Add(m.appendBinary(nil))
	f.Add(append(m.appendBinary(nil), 1, 2, 3))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, rest, ok := readMemory(data)
		if !ok {
			return
		}
		if len(m) > maxRemembered*handledSize {
			t.Fatalf("%d bytes are remembered", len(m))
		}
		if again := append(m.appendBinary(nil), rest...); !bytes.Equal(again, data) {
			t.Fatalf("%x came back as %x", data, again)
		}
	})
}
