package systemtest

import (
	"bytes"
	"compress/gzip"
	"context"
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/google/uuid"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// hostileMemory is what docket eventstore serve may use at most, in MiB.
	hostileMemory = 800
	// bystanderPatience is how long others may have to wait, on a busy machine.
	bystanderPatience = 10 * time.Second
)

// quarry is a docket eventstore serve that is attacked, while somebody else uses it.
type quarry struct {
	t *testing.T
	*logServer
	store *esdb.Store // of somebody else

	slowest atomic.Int64 // of his appends, in nanoseconds
	served  atomic.Int64
}

// TestHostileEventStoreClients: whatever is sent to docket eventstore serve gets
// the status that the protocol names, or is cut off; memory is bounded, and
// others are served meanwhile.
func TestHostileEventStoreClients(t *testing.T) {
	p := &quarry{t: t, logServer: &logServer{t: t, data: t.TempDir(), address: "127.0.0.1:0"}}
	p.start()
	store, err := esdb.Open(t.Context(), p.connection, esdb.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p.store = store
	ctx, cancel := context.WithCancel(t.Context())
	var bystander sync.WaitGroup
	bystander.Go(func() { p.stand(ctx) })
	for _, attack := range []struct {
		name string
		run  func(*testing.T, *quarry)
	}{
		{"messages of wrong type and size", wrongMessages},
		{"what is not gRPC", notGRPC},
		{"giant headers", giantHeaders},
		{"many empty messages", emptyMessages},
		{"packed bombs", packedBombs},
		{"calls that are reset at once", rapidResets},
		{"pings and settings without end", controlFloods},
		{"appends that are never complete", openAppends},
		{"large messages that are never complete", openMessages},
		{"correlations without end", correlationFlood},
		{"answers that nobody reads", unreadAnswers},
		{"expressions that take for ever", regexBombs},
		{"subscriptions that nobody reads", unreadSubscriptions},
		{"half-open connections", halfOpen},
	} {
		t.Run(attack.name, func(t *testing.T) {
			began, before := time.Now(), p.served.Load()
			attack.run(t, &quarry{t: t, logServer: p.logServer, store: p.store})
			for tick := time.NewTicker(time.Millisecond); p.served.Load() == before; <-tick.C {
				if time.Since(began) > 2*bystanderPatience {
					t.Fatal("others are not served")
				}
			}
			now, highest := p.resident()
			t.Logf("took %s; others waited up to %s for an append; %d MiB resident, at most %d so far",
				time.Since(began).Round(time.Millisecond), time.Duration(p.slowest.Swap(0)).Round(time.Millisecond), now, highest)
			if highest > hostileMemory {
				t.Errorf("%d MiB were resident, at most %d may be", highest, hostileMemory)
			}
		})
	}
	cancel()
	bystander.Wait()
}

// stand appends and reads, one after the other, as somebody who means it.
func (p *quarry) stand(ctx context.Context) {
	stream, at := "order-bystander", eventstore.NoStream
	for ctx.Err() == nil {
		began := time.Now()
		within, cancel := context.WithTimeout(ctx, bystanderPatience)
		out, err := p.store.Append(within, stream, at, []eventstore.Event{faultEvent(uuid.New())})
		if err == nil {
			at = eventstore.At(out.Revision)
			for rec, failed := range p.store.ReadStream(within, stream, eventstore.EndRevision, eventstore.Backwards, 1) {
				if err = failed; err == nil && rec.Revision != out.Revision {
					err = fmt.Errorf("read revision %d after %d", rec.Revision, out.Revision)
				}
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			p.t.Errorf("somebody else: %v", err)
			return
		}
		p.served.Add(1)
		p.slowest.Store(max(p.slowest.Load(), time.Since(began).Nanoseconds()))
		pause(ctx, 2*time.Millisecond)
	}
}

func (p *quarry) resident() (now, highest int) {
	return (&target{server: &server{cmd: p.cmd}, t: p.t}).resident()
}

// dial makes a connection with gRPC of its own.
func (p *quarry) dial(options ...grpc.DialOption) *grpc.ClientConn {
	p.t.Helper()
	conn, err := grpc.NewClient(p.address, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

func (p *quarry) streams() streams.StreamsClient { return streams.NewStreamsClient(p.dial()) }

// patient is a context for anything that has to end.
func (p *quarry) patient() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	p.t.Cleanup(cancel)
	return ctx
}

func appendOptionsOf(stream string) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
		StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
		ExpectedStreamRevision: &streams.AppendReq_Options_Any{Any: &shared.Empty{}},
	}}}
}

func proposed(data []byte) *streams.AppendReq {
	return &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{
		Id: &shared.UUID{Value: &shared.UUID_String_{String_: uuid.NewString()}}, Data: data,
		Metadata: map[string]string{"type": "T", "content-type": "application/octet-stream"},
	}}}
}

// answerTo sends messages to Append and answers the status; a server that answers
// early is one that refuses.
func (p *quarry) answerTo(client streams.StreamsClient, messages ...*streams.AppendReq) codes.Code {
	p.t.Helper()
	call, err := client.Append(p.patient())
	if err != nil {
		return status.Code(err)
	}
	for _, m := range messages {
		if err := call.Send(m); err != nil && err != io.EOF {
			return status.Code(err)
		}
	}
	_, err = call.CloseAndRecv()
	return status.Code(err)
}

func wrongMessages(t *testing.T, p *quarry) {
	p.t = t
	client := p.streams()
	for name, c := range map[string]struct {
		messages []*streams.AppendReq
		want     codes.Code
	}{
		"nothing at all":           {nil, codes.Unknown},
		"an event first":           {[]*streams.AppendReq{proposed(nil)}, codes.Unknown},
		"options twice":            {[]*streams.AppendReq{appendOptionsOf("a"), appendOptionsOf("a")}, codes.Unknown},
		"an empty message":         {[]*streams.AppendReq{{}}, codes.Unknown},
		"no expectation":           {[]*streams.AppendReq{{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte("a")}}}}}, codes.InvalidArgument},
		"a name of 1 MiB":          {[]*streams.AppendReq{appendOptionsOf(strings.Repeat("a", 1<<20)), proposed(nil)}, codes.Unknown},
		"a name that is no text":   {[]*streams.AppendReq{appendOptionsOf("a\xff"), proposed(nil)}, codes.Unknown},
		"an event of 1 MiB":        {[]*streams.AppendReq{appendOptionsOf("a"), proposed(make([]byte, 1<<20))}, codes.InvalidArgument},
		"an event of 15 MiB":       {[]*streams.AppendReq{appendOptionsOf("a"), proposed(make([]byte, 15<<20))}, codes.InvalidArgument},
		"a message beyond 16 MiB":  {[]*streams.AppendReq{appendOptionsOf("a"), proposed(make([]byte, 17<<20))}, codes.ResourceExhausted},
		"an event of no type":      {[]*streams.AppendReq{appendOptionsOf("a"), {Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{}}}}, codes.InvalidArgument},
		"many events, too large":   {append([]*streams.AppendReq{appendOptionsOf("a")}, slices.Repeat([]*streams.AppendReq{proposed(make([]byte, 60_000))}, 100)...), codes.InvalidArgument},
		"a member of another kind": {[]*streams.AppendReq{rubbish("\x0a\x02\x08\x01")}, codes.InvalidArgument},
	} {
		if got := p.answerTo(client, c.messages...); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// A message that says to be 4 GB, and one that is no protobuf.
	for name, c := range map[string]struct {
		body string
		want codes.Code
	}{
		"4 GB":             {"\x00\xff\xff\xff\xff", codes.ResourceExhausted},
		"no protobuf":      {"\x00\x00\x00\x00\x04\xff\xff\xff\xff", codes.Internal},
		"a broken message": {"\x00\x00\x00\x00\x09abc", codes.Internal},
		"a wrong flag":     {"\x07\x00\x00\x00\x00", codes.Internal},
	} {
		raw := p.raw()
		raw.call("/event_store.client.streams.Streams/Append", nil)
		raw.data([]byte(c.body), true)
		if got, _ := raw.ends(); got != fmt.Sprint(int(c.want)) {
			t.Errorf("%s: status %q, want %v", name, got, c.want)
		}
	}
	err := p.dial().Invoke(p.patient(), "/event_store.client.streams.Streams/Nothing", &shared.Empty{}, &shared.Empty{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a method that is none: %v", err)
	}
}

// rubbish is a message of which nothing is known but its bytes.
func rubbish(raw string) *streams.AppendReq {
	m := &streams.AppendReq{}
	m.ProtoReflect().SetUnknown([]byte(raw))
	return m
}

// rawConn speaks frames.
type rawConn struct {
	t *testing.T
	net.Conn
	*http2.Framer
	block  bytes.Buffer
	pack   *hpack.Encoder
	stream uint32
}

// raw makes a connection on which only the preface was sent. Whatever fails
// afterwards is the server's good right.
func (p *quarry) raw() *rawConn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	r := &rawConn{t: p.t, Conn: conn, Framer: http2.NewFramer(conn, conn), stream: 1}
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.pack = hpack.NewEncoder(&r.block)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = r.WriteSettings()
	return r
}

// call begins one; fields replace those of gRPC, or come on top.
func (r *rawConn) call(path string, fields map[string]string) {
	r.block.Reset()
	all := []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "localhost"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}
	for _, f := range all {
		if other, ok := fields[f.Name]; ok {
			f.Value = other
		}
		_ = r.pack.WriteField(f)
	}
	for name, value := range fields {
		if !slices.ContainsFunc(all, func(f hpack.HeaderField) bool { return f.Name == name }) {
			_ = r.pack.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
	}
	block := r.block.Bytes()
	for first := true; first || len(block) > 0; first = false {
		piece := block[:min(len(block), 16<<10)]
		block = block[len(piece):]
		if first {
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: r.stream, BlockFragment: piece, EndHeaders: len(block) == 0})
		} else if r.WriteContinuation(r.stream, len(block) == 0, piece) != nil {
			return
		}
	}
}

func (r *rawConn) data(body []byte, end bool) { _ = r.WriteData(r.stream, end, body) }

// ends reads until the call ends and answers the status of gRPC, or of HTTP; both
// are empty when the connection or the call was cut off.
func (r *rawConn) ends() (grpcStatus, httpStatus string) {
	for {
		f, err := r.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.t.Error("neither an answer nor the end")
		}
		if err != nil {
			return "", ""
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				switch field.Name {
				case "grpc-status":
					grpcStatus = field.Value
				case ":status":
					httpStatus = field.Value
				}
			}
			if f.StreamEnded() {
				return grpcStatus, httpStatus
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "", httpStatus
		}
	}
}

func notGRPC(t *testing.T, p *quarry) {
	p.t = t
	for name, c := range map[string]struct {
		fields map[string]string
		want   string // of HTTP
	}{
		"JSON":                   {map[string]string{"content-type": "application/json"}, "415"},
		"no content type":        {map[string]string{"content-type": ""}, "415"},
		"the web's gRPC":         {map[string]string{"content-type": "application/grpc-web"}, "415"},
		"another method of HTTP": {map[string]string{":method": "GET"}, "405"},
	} {
		raw := p.raw()
		raw.call("/event_store.client.streams.Streams/Append", c.fields)
		raw.data(nil, true)
		if _, got := raw.ends(); got != c.want {
			t.Errorf("%s: %q, want %s", name, got, c.want)
		}
	}
	s := &target{t: t, address: p.address}
	for name, text := range map[string]string{
		"HTTP/1": get("/streams/a"), "a long line": strings.Repeat("x", 1<<20), "a TLS hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("a", 500),
		"zeros": strings.Repeat("\x00", 1<<20), "half a preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
		"a frame of 16 MiB": http2.ClientPreface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01" + strings.Repeat("a", 1<<20),
		"no settings":       http2.ClientPreface + "\x00\x00\x04\x00\x00\x00\x00\x00\x01abcd",
	} {
		conn := s.dial()
		go func() { _, _ = io.WriteString(conn, text) }()
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: not cut off", name)
		}
	}
}

func giantHeaders(t *testing.T, p *quarry) {
	p.t = t
	for name, fields := range map[string]map[string]string{
		"one of 1 MiB":    {"x": strings.Repeat("a", 1<<20)},
		"one of 64 MiB":   {"x": strings.Repeat("a", 64<<20)},
		"a path of 1 MiB": {":path": "/" + strings.Repeat("a", 1<<20)},
	} {
		raw := p.raw()
		raw.call("/event_store.client.streams.Streams/Append", fields)
		if grpcStatus, httpStatus := raw.ends(); grpcStatus == "0" || httpStatus == "200" && grpcStatus == "" {
			t.Errorf("%s: %q %q", name, grpcStatus, httpStatus)
		}
	}
	// Headers that never end, and a table that is never used.
	raw := p.raw()
	_ = raw.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}})
	for n := 0; n < 100_000 && raw.WriteContinuation(1, false, []byte{0, 1, 'a', 1, 'b'}) == nil; n++ {
	}
	raw.ends()
}

func emptyMessages(t *testing.T, p *quarry) {
	p.t = t
	client := p.streams()
	empty := &streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: &streams.AppendReq_ProposedMessage{}}}
	if got := p.answerTo(client, append([]*streams.AppendReq{appendOptionsOf("empty")}, slices.Repeat([]*streams.AppendReq{empty}, 100_000)...)...); got != codes.InvalidArgument {
		t.Errorf("100,000 messages without anything: %v", got)
	}
	if got := p.answerTo(client, append([]*streams.AppendReq{appendOptionsOf("empty")}, slices.Repeat([]*streams.AppendReq{proposed(nil)}, 100_000)...)...); got != codes.InvalidArgument {
		t.Errorf("100,000 events without data: %v", got)
	}
	// Frames of data that hold nothing.
	raw := p.raw()
	raw.call("/event_store.client.streams.Streams/Append", nil)
	for n := 0; n < 100_000 && raw.WriteData(1, false, nil) == nil; n++ {
	}
	raw.data(nil, true)
	raw.ends()
}

func packedBombs(t *testing.T, p *quarry) {
	p.t = t
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for range 64 {
		_, _ = w.Write(make([]byte, 1<<20))
	}
	_ = w.Close()
	bomb := append(bigendian.BigEndian.AppendUint32([]byte{1}, uint32(packed.Len())), packed.Bytes()...)
	for _, encoding := range []string{"gzip", "snappy", "identity"} {
		raw := p.raw()
		raw.call("/event_store.client.streams.Streams/Append", map[string]string{"grpc-encoding": encoding})
		for rest := bomb; len(rest) > 0; {
			piece := rest[:min(len(rest), 16<<10)]
			rest = rest[len(piece):]
			raw.data(piece, len(rest) == 0)
		}
		got, _ := raw.ends()
		if got != fmt.Sprint(int(codes.Unimplemented)) && got != fmt.Sprint(int(codes.ResourceExhausted)) && got != fmt.Sprint(int(codes.Internal)) {
			t.Errorf("64 MiB of zeros packed as %s: status %q", encoding, got)
		}
	}
}

func rapidResets(t *testing.T, p *quarry) {
	p.t = t
	var attackers sync.WaitGroup
	for range 4 {
		raw := p.raw()
		go func() { _, _ = io.Copy(io.Discard, raw.Conn) }()
		attackers.Go(func() {
			for range 10_000 {
				raw.call("/event_store.client.streams.Streams/Read", nil)
				if raw.WriteRSTStream(raw.stream, http2.ErrCodeCancel) != nil {
					return // cut off
				}
				raw.stream += 2
			}
		})
	}
	attackers.Wait()
}

func controlFloods(t *testing.T, p *quarry) {
	p.t = t
	for _, flood := range []func(*rawConn) error{
		func(r *rawConn) error { return r.WritePing(false, [8]byte{}) },
		func(r *rawConn) error {
			return r.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		},
		func(r *rawConn) error { return r.WriteWindowUpdate(0, 1) },
		func(r *rawConn) error { return r.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
	} {
		raw := p.raw() // who never reads what he is answered
		for n := 0; n < 30_000; n++ {
			_ = raw.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			if flood(raw) != nil {
				break // it is not taken any more
			}
		}
		raw.Close()
	}
}

// openAppends sends appends that are large and lack the end.
func openAppends(t *testing.T, p *quarry) {
	p.t = t
	const each, calls = 900 << 10, 500
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open, refused := 0, map[codes.Code]int{}
	client := p.streams()
	message := proposed(make([]byte, each/15))
	for range calls {
		call, err := client.Append(ctx)
		for n := 0; n < 15 && err == nil; n++ {
			if n == 0 {
				err = call.Send(appendOptionsOf("open"))
			}
			if err == nil {
				err = call.Send(message)
			}
		}
		if err == io.EOF {
			err = call.RecvMsg(&streams.AppendResp{})
		}
		if err == nil {
			open++
		} else {
			refused[status.Code(err)]++
		}
	}
	t.Logf("%d appends of %d KiB are open, refused: %v", open, each>>10, refused)
	for code := range refused {
		if code != codes.Unavailable && code != codes.ResourceExhausted {
			t.Errorf("refused with %v", code)
		}
	}
	p.answered()
}

// answered makes sure that a client who comes now is served.
func (p *quarry) answered() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*bystanderPatience)
	defer cancel()
	call, err := p.streams().Append(ctx, grpc.WaitForReady(true))
	if err == nil {
		err = errors.Join(call.Send(appendOptionsOf("newcomer")), call.Send(proposed([]byte("x"))))
	}
	if err == nil {
		_, err = call.CloseAndRecv()
	}
	if err != nil {
		p.t.Errorf("a client who comes now: %v", err)
	}
}

// openMessages begins messages of 15 MiB and never ends them.
func openMessages(t *testing.T, p *quarry) {
	p.t = t
	const connections, calls, size = 4, 32, 15 << 20
	var attackers sync.WaitGroup
	var taken atomic.Int64
	for range connections {
		raw := p.raw()
		attackers.Go(func() { taken.Add(raw.sendMost(calls, size)) })
	}
	attackers.Wait()
	t.Logf("of %d messages of %d MiB %d MiB were taken", connections*calls, size>>20, taken.Load()>>20)
	p.answered()
}

// sendMost sends, on so many calls at once, all of a message but its last bytes,
// as far as the windows allow, and answers how much that was.
func (r *rawConn) sendMost(calls, size int) (sent int64) {
	updates := make(chan [2]uint32, 1<<16)
	go func() {
		defer close(updates)
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.WindowUpdateFrame:
				updates <- [2]uint32{f.StreamID, f.Increment}
			case *http2.SettingsFrame:
				if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
					updates <- [2]uint32{math.MaxUint32, v - 65535}
				}
			}
		}
	}()
	windows, left := map[uint32]int64{0: 65535}, map[uint32]int{}
	for range calls {
		r.call("/event_store.client.streams.Streams/Append", nil)
		windows[r.stream], left[r.stream] = 65535, size
		r.stream += 2
	}
	first := map[uint32]bool{}
	piece := make([]byte, 16<<10)
	for {
		progress := false
		for stream := range left {
			for left[stream] > len(piece) && windows[stream] > int64(len(piece)) && windows[0] > int64(len(piece)) {
				body := piece
				if !first[stream] {
					first[stream], body = true, bigendian.BigEndian.AppendUint32([]byte{0}, uint32(size))
				}
				_ = r.SetWriteDeadline(time.Now().Add(time.Second))
				if r.WriteData(stream, false, body) != nil {
					return sent // cut off
				}
				n := int64(len(body))
				windows[stream], windows[0], left[stream], sent = windows[stream]-n, windows[0]-n, left[stream]-len(body), sent+n
				progress = true
			}
		}
		if progress && len(updates) == 0 {
			continue
		}
		select {
		case u, ok := <-updates:
			if !ok {
				return sent
			}
			if u[0] == math.MaxUint32 {
				for stream := range left {
					windows[stream] += int64(int32(u[1]))
				}
			} else {
				windows[u[0]] += int64(u[1])
			}
		case <-time.After(300 * time.Millisecond):
			return sent // the server takes no more
		}
	}
}

func batchOf(correlation int64, final bool, data []byte) *streams.BatchAppendReq {
	return &streams.BatchAppendReq{
		CorrelationId: &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{MostSignificantBits: 1, LeastSignificantBits: correlation}}},
		Options: &streams.BatchAppendReq_Options{
			StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte("batch")},
			ExpectedStreamPosition: &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}},
		},
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{
			Id: &shared.UUID{Value: &shared.UUID_String_{String_: uuid.NewString()}}, Data: data,
			Metadata: map[string]string{"type": "T", "content-type": "application/octet-stream"},
		}},
		IsFinal: final,
	}
}

func correlationFlood(t *testing.T, p *quarry) {
	p.t = t
	for name, data := range map[string][]byte{"small": nil, "large": make([]byte, 100<<10)} {
		call, err := p.streams().BatchAppend(p.patient())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for n := range int64(100_000) {
				if call.Send(batchOf(n, false, data)) != nil {
					return
				}
			}
			_ = call.CloseSend()
		}()
		answers := 0
		for err == nil {
			if _, err = call.Recv(); err == nil {
				answers++
			}
		}
		if code := status.Code(err); code != codes.Unavailable && code != codes.ResourceExhausted {
			t.Errorf("100,000 correlations without an end, %s: %d answers, %v", name, answers, err)
		}
	}
}

func unreadAnswers(t *testing.T, p *quarry) {
	p.t = t
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var attackers sync.WaitGroup
	for range 4 {
		call, err := p.streams().BatchAppend(ctx)
		if err != nil {
			t.Fatal(err)
		}
		attackers.Go(func() {
			for n := range int64(50_000) {
				sending := make(chan error, 1)
				go func() { sending <- call.Send(batchOf(n, true, nil)) }()
				select {
				case err := <-sending:
					if err != nil {
						return
					}
				case <-time.After(500 * time.Millisecond):
					return // the server takes no more from who does not listen
				}
			}
		})
	}
	attackers.Wait()
	p.answered()
}

func regexBombs(t *testing.T, p *quarry) {
	p.t = t
	if got := p.answerTo(p.streams(), appendOptionsOf(strings.Repeat("a", 60)+"!"), proposed(nil)); got != codes.OK {
		t.Fatal(got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	client := p.streams()
	ended := make(chan error)
	bombs := []string{"^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(.*a){25}$", "^((a+)+)+$", "(?=(a+)+$)"}
	for n := range 4 * len(bombs) {
		go func() {
			read, err := client.Read(ctx, filtered(bombs[n%len(bombs)]))
			for err == nil {
				_, err = read.Recv()
				if err == nil && ctx.Err() != nil {
					err = ctx.Err()
				}
			}
			ended <- err
		}()
	}
	told := map[codes.Code]int{}
	for range 4 * len(bombs) {
		told[status.Code(<-ended)]++
	}
	if told[codes.DeadlineExceeded] > 2*len(bombs) {
		t.Errorf("expressions that never end: %v", told)
	}
	t.Logf("expressions that take for ever: %v", told)
	for name, regex := range map[string]string{
		"one that is too long":  strings.Repeat("a", 1<<20),
		"one that is none":      "(",
		"nested a thousandfold": strings.Repeat("(", 5000) + strings.Repeat(")", 5000),
		"counted, and counted":  "((((((((((x{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}){1,1000}){1,1000}){1,1000}){1,1000}){1,1000})",
	} {
		within, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		read, err := client.Read(within, filtered(regex))
		if err == nil {
			_, err = read.Recv()
		}
		if code := status.Code(err); err != nil && code != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

func filtered(regex string) *streams.ReadReq {
	req := subscribeAll()
	req.Options.FilterOption = &streams.ReadReq_Options_Filter{Filter: &streams.ReadReq_Options_FilterOptions{
		Filter:                       &streams.ReadReq_Options_FilterOptions_StreamIdentifier{StreamIdentifier: &streams.ReadReq_Options_FilterOptions_Expression{Regex: regex}},
		Window:                       &streams.ReadReq_Options_FilterOptions_Max{Max: 32},
		CheckpointIntervalMultiplier: 1,
	}}
	return req
}

func subscribeAll() *streams.ReadReq {
	none := &shared.Empty{}
	return &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: &streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: none}}},
		CountOption:  &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: none},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: none}},
	}}
}

// unreadSubscriptions ask for the log 500 times, by subscriptions and by
// reads, and take nothing, while it grows.
func unreadSubscriptions(t *testing.T, p *quarry) {
	p.t = t
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for n := range 10 {
		client := streams.NewStreamsClient(p.dial(grpc.WithInitialWindowSize(1<<16), grpc.WithInitialConnWindowSize(1<<16)))
		for range 50 {
			req := subscribeAll()
			if n%2 == 0 {
				req.Options.CountOption = &streams.ReadReq_Options_Count{Count: math.MaxUint64}
			}
			if _, err := client.Read(ctx, req); err != nil {
				t.Fatal(err)
			}
		}
	}
	within, stop := context.WithTimeout(t.Context(), 4*bystanderPatience)
	defer stop()
	for n := range 40 {
		event := eventstore.Event{ID: uuid.New(), Type: "Large", Data: make([]byte, 1000<<10)}
		if _, err := p.store.Append(within, fmt.Sprint("large-", n), eventstore.NoStream, []eventstore.Event{event}); err != nil {
			t.Fatal(err)
		}
	}
	p.answered()
}

// halfOpen makes 10,000 connections that say nothing, or half a preface.
func halfOpen(t *testing.T, p *quarry) {
	p.t = t
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for n := range 10_000 {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if n%2 == 0 {
			_, _ = io.WriteString(conn, http2.ClientPreface[:10]) // it may have been closed
		}
	}
	p.answered()
}
