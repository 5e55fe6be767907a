package reading_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/docket-orders/docket/eventstore"
)

// sized is a message of which a reader keeps the kind alone: what the clients
// of a benchmark do must not be what it measures.
type sized struct{ kind byte }

// The first byte of a ReadResp is the tag of the member of its oneof.
const (
	kindEvent    = 1<<3 | 2
	kindCaughtUp = 8<<3 | 2
)

type sizedCodec struct{}

func (sizedCodec) Name() string { return "proto" }

func (sizedCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (sizedCodec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*sized).kind = data[0].ReadOnlyData()[0]
	return nil
}

// rawRead opens a Read and answers how to receive the kind of its next message.
func rawRead(b testing.TB, ctx context.Context, conn *grpc.ClientConn, req *streams.ReadReq) func() (byte, error) {
	b.Helper()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streams.Streams_Read_FullMethodName)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil {
		b.Fatal(err)
	}
	var m sized
	return func() (byte, error) {
		err := stream.RecvMsg(&m)
		return m.kind, err
	}
}

func rawConn(b testing.TB, address string) *grpc.ClientConn {
	b.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(sizedCodec{})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// processorTime is what this process has used: the machine may be busy with
// other things.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFanOut writes as fast as the store takes it while 100 raw clients
// follow the log; an operation is one event, written and received by all.
func BenchmarkFanOut(b *testing.B) {
	for _, connections := range []int{1, 100} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			fanOut(b, connections, func(n int, received func() int64) {
				// At most a quarter of a second of the goal ahead of the readers.
				for received() < int64(n-1250)*subscribers {
					<-time.After(time.Millisecond)
				}
			})
		})
	}
}

// BenchmarkFanOutAtTheGoal writes 5,000 events a second, and tells how many
// processors that takes, writing and reading included.
func BenchmarkFanOutAtTheGoal(b *testing.B) {
	for _, connections := range []int{1, 100} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			begin := time.Now()
			used := processorTime(b)
			fanOut(b, connections, func(n int, _ func() int64) {
				<-time.After(time.Until(begin.Add(time.Duration(n) * time.Second / 5000)))
			})
			b.ReportMetric(float64(processorTime(b)-used)/float64(b.Elapsed()), "processors")
		})
	}
}

const subscribers = 100

// fanOut writes b.N events in tens; pace is called before each ten with how
// many were written.
func fanOut(b *testing.B, connections int, pace func(n int, received func() int64)) {
	s := serve(b)
	conns := make([]*grpc.ClientConn, connections)
	for i := range conns {
		conns[i] = rawConn(b, s.address)
	}
	var behind, received atomic.Int64
	var live, done sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for i := range subscribers {
		recv := rawRead(b, ctx, conns[i%connections], readAll(subscription, fromEnd))
		live.Add(1)
		done.Go(func() {
			caughtUp, events := 0, 0
			for events < b.N {
				kind, err := recv()
				if err != nil {
					b.Error(err)
					return
				}
				switch kind {
				case kindEvent:
					events++
					received.Add(1)
				case kindCaughtUp:
					if caughtUp++; caughtUp == 1 {
						live.Done()
					} else {
						behind.Add(1)
					}
				}
			}
		})
	}
	live.Wait()
	b.ResetTimer()
	used := processorTime(b)
	for n := 0; n < b.N; n += 10 {
		pace(n, received.Load)
		s.append(fmt.Sprintf("order-%d", n%1000), someEvents(min(10, b.N-n))...)
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(behind.Load()), "fell-behind")
	b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/float64(b.N*subscribers), "cpu-ns/delivery")
}

// someEvents are as large as those of orders.
func someEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{ID: uuid.New(), Type: "OrderPlaced", JSON: true, Data: make([]byte, 250), Metadata: make([]byte, 150)}
	}
	return events
}

// BenchmarkCatchUp reads a log through a subscription; an operation is one
// event. BenchmarkScan is the same log read from the store.
func BenchmarkCatchUp(b *testing.B) {
	s := serve(b)
	fillLog(s, b.N)
	conn := rawConn(b, s.address)
	b.ResetTimer()
	used := processorTime(b)
	recv := rawRead(b, b.Context(), conn, readAll(subscription, fromStart))
	for {
		kind, err := recv()
		if err != nil {
			b.Fatal(err)
		}
		if kind == kindCaughtUp {
			break
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func BenchmarkScan(b *testing.B) {
	s := serve(b)
	fillLog(s, b.N)
	b.ResetTimer()
	used := processorTime(b)
	for _, err := range s.store.ReadAll(b.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64((processorTime(b)-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func fillLog(s *server, n int) {
	for at := 0; at < n; {
		k := min(500, n-at)
		s.append(fmt.Sprintf("order-%d", at%1000), someEvents(k)...)
		at += k
	}
}
