package reading_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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

// BenchmarkFanOut writes as fast as the store takes it while 100 raw clients
// follow the log; an operation is one event, written and received by all.
func BenchmarkFanOut(b *testing.B) {
	const subscribers = 100
	for _, connections := range []int{1, subscribers} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
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
			for n := 0; n < b.N; {
				k := min(10, b.N-n)
				events := make([]eventstore.Event, k)
				for i := range events {
					events[i] = eventstore.Event{ID: uuid.New(), Type: "OrderPlaced", JSON: true, Data: make([]byte, 250), Metadata: make([]byte, 150)}
				}
				s.append(fmt.Sprintf("order-%d", n%1000), events...)
				n += k
				// At most a quarter of a second of the goal ahead of the readers.
				for received.Load() < int64(n-1250)*subscribers {
					time.Sleep(time.Millisecond)
				}
			}
			done.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(behind.Load()), "fell-behind")
		})
	}
}

// BenchmarkCatchUp reads a log through a subscription; an operation is one
// event. BenchmarkScan is the same log read from the store.
func BenchmarkCatchUp(b *testing.B) {
	s := serve(b)
	fillLog(s, b.N)
	conn := rawConn(b, s.address)
	b.ResetTimer()
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
}

func BenchmarkScan(b *testing.B) {
	s := serve(b)
	fillLog(s, b.N)
	b.ResetTimer()
	for _, err := range s.store.ReadAll(b.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func fillLog(s *server, n int) {
	for at := 0; at < n; {
		k := min(500, n-at)
		events := make([]eventstore.Event, k)
		for i := range events {
			events[i] = eventstore.Event{ID: uuid.New(), Type: "OrderPlaced", JSON: true, Data: make([]byte, 250), Metadata: make([]byte, 150)}
		}
		s.append(fmt.Sprintf("order-%d", at%1000), events...)
		at += k
	}
}
