package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	official "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

var esdbAppendQuestion = question{
	name:  "esdb-append",
	about: "durable appends of one event over gRPC on loopback, client and server in one process: docket's adapter, the official client alone, one BatchAppend stream; against the store without a network",
	ask:   askESDBAppend,
}

// served is a store behind its protocol, on loopback and without TLS.
type served struct {
	store   *sqlite.Store
	server  *esdbserver.Server
	address string
	ended   chan error
}

func serveStore(ctx context.Context, dir string) (*served, error) {
	store, err := sqlite.Open(ctx, dir, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	s := &served{store: store, ended: make(chan error, 1)}
	if s.server, err = esdbserver.New(ctx, esdbserver.Options{Store: store, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.address = listener.Addr().String()
	go func() { s.ended <- s.server.Serve(listener) }()
	return s, nil
}

func (s *served) close() {
	_ = s.server.Close()
	<-s.ended
	_ = s.store.Close()
}

// officialClient is one without anything of docket around it.
func officialClient(address string) (*official.Client, error) {
	configuration, err := official.ParseConnectionString("esdb://" + address + "?tls=false")
	if err != nil {
		return nil, err
	}
	configuration.Logger = official.NoopLogging()
	return official.NewClient(configuration)
}

// side is a way to append one event to a stream at a revision.
type side struct {
	name   string
	append func(ctx context.Context, stream string, expected eventstore.Expected, e eventstore.Event) error

	rate, p99 []float64 // of the rounds
}

func askESDBAppend(ctx context.Context, e *env) error {
	s, err := serveStore(ctx, e.folder("esdb-append"))
	if err != nil {
		return err
	}
	defer s.close()
	client, err := officialClient(s.address)
	if err != nil {
		return err
	}
	defer client.Close()
	adapter, err := esdb.Open(ctx, "esdb://"+s.address+"?tls=false", esdb.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer adapter.Close()
	batch, err := openBatch(ctx, s.address)
	if err != nil {
		return err
	}
	defer batch.close()

	length := time.Second
	if e.quick {
		length = 400 * time.Millisecond
	}
	// The log goes once around its WAL before anything is measured.
	if _, err := appendRate(ctx, s.store, 64, length); err != nil {
		return err
	}
	for _, writers := range []int{1, 16, 64} {
		direct := &side{name: "the store itself", append: portAppend(s.store)}
		bare := &side{name: "the official client alone", append: clientAppend(client)}
		ours := &side{name: "docket's adapter", append: portAppend(adapter)}
		batched := &side{name: "one BatchAppend stream", append: batch.append}
		for round := range e.rounds {
			sides := []*side{direct, bare, ours, batched}
			if round%2 == 1 { // whoever comes first finds another machine
				slices.Reverse(sides)
			}
			for _, side := range sides {
				rate, p99, err := side.measure(ctx, writers, length)
				if err != nil {
					return fmt.Errorf("%s, %d writers: %w", side.name, writers, err)
				}
				side.rate, side.p99 = append(side.rate, rate), append(side.p99, p99)
			}
		}
		of := fmt.Sprintf(", %d writers", writers)
		e.compare(ours.name+of, "appends/s", ours.rate, direct.name, direct.rate, noGoal)
		e.compare(ours.name+of+" (what the client allows)", "appends/s", ours.rate, bare.name, bare.rate, atLeast(0.9))
		e.compare(batched.name+of+" (what it would bring)", "appends/s", batched.rate, ours.name, ours.rate, noGoal)
		for _, side := range []*side{direct, bare, ours, batched} {
			e.measure("p99 of "+side.name+of, "ms", side.p99, noGoal)
		}
	}
	e.note("client and server share the processors of this machine; a BatchAppend stream is measured with the generated stubs and is not in the adapter: the client keeps its connection to itself")
	return nil
}

func portAppend(s eventstore.Store) func(context.Context, string, eventstore.Expected, eventstore.Event) error {
	return func(ctx context.Context, stream string, expected eventstore.Expected, e eventstore.Event) error {
		_, err := s.Append(ctx, stream, expected, []eventstore.Event{e})
		return err
	}
}

func clientAppend(client *official.Client) func(context.Context, string, eventstore.Expected, eventstore.Event) error {
	return func(ctx context.Context, stream string, expected eventstore.Expected, e eventstore.Event) error {
		var revision official.ExpectedRevision = official.NoStream{}
		if expected >= 0 {
			revision = official.Revision(uint64(expected))
		}
		_, err := client.AppendToStream(ctx, stream, official.AppendToStreamOptions{ExpectedRevision: revision}, official.EventData{
			EventID: e.ID, EventType: e.Type, ContentType: official.ContentTypeJson, Data: e.Data, Metadata: e.Metadata,
		})
		return err
	}
}

// measure lets so many writers append one event after the other, each to streams
// of its own; the latency is in milliseconds.
func (s *side) measure(ctx context.Context, writers int, length time.Duration) (rate, p99 float64, err error) {
	data, metadata := make([]byte, appendData), make([]byte, appendMetadata)
	names, took := make([]string, writers), make([][]float64, writers)
	rate, err = perSecond(writers, length, func(w, i int) error {
		revision := i % streamLength
		if revision == 0 {
			names[w] = fmt.Sprintf("order-%016x", rand.Uint64())
		}
		start := time.Now()
		err := s.append(ctx, names[w], eventstore.Expected(revision-1), eventstore.Event{ID: uuid.New(), Type: appendType, JSON: true, Data: data, Metadata: metadata})
		took[w] = append(took[w], time.Since(start).Seconds()*1e3)
		return err
	})
	all := slices.Concat(took...)
	slices.Sort(all)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("nothing was appended")
	}
	if err != nil {
		return 0, 0, err
	}
	return rate, quantile(all, 0.99), nil
}

// batchStream is one call of BatchAppend that many share.
type batchStream struct {
	conn   *grpc.ClientConn
	stream streams.Streams_BatchAppendClient
	end    context.CancelFunc

	sending sync.Mutex
	next    atomic.Int64
	waiting sync.Map // of chan error, by correlation
}

func dialServer(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func openBatch(ctx context.Context, address string) (*batchStream, error) {
	b := &batchStream{}
	var err error
	if b.conn, err = dialServer(address); err != nil {
		return nil, err
	}
	ctx, b.end = context.WithCancel(ctx)
	if b.stream, err = streams.NewStreamsClient(b.conn).BatchAppend(ctx); err != nil {
		return nil, err
	}
	go b.receive()
	return b, nil
}

func (b *batchStream) receive() {
	for {
		answer, err := b.stream.Recv()
		if err != nil {
			b.waiting.Range(func(_, done any) bool { done.(chan error) <- err; return true })
			return
		}
		done, ok := b.waiting.LoadAndDelete(answer.GetCorrelationId().GetStructured().GetLeastSignificantBits())
		if !ok {
			panic("an answer to nothing")
		}
		if refused := answer.GetError(); refused != nil {
			done.(chan error) <- fmt.Errorf("refused: %s", refused.GetMessage())
		} else {
			done.(chan error) <- nil
		}
	}
}

func (b *batchStream) append(ctx context.Context, stream string, expected eventstore.Expected, e eventstore.Event) error {
	correlation, done := b.next.Add(1), make(chan error, 1)
	options := &streams.BatchAppendReq_Options{
		StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)},
		DeadlineOption:   &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(10 * time.Second)},
	}
	if expected >= 0 {
		options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: uint64(expected)}
	} else {
		options.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
	}
	request := &streams.BatchAppendReq{
		CorrelationId: structured(0, correlation), Options: options, IsFinal: true,
		ProposedMessages: []*streams.BatchAppendReq_ProposedMessage{{
			Id: &shared.UUID{Value: &shared.UUID_String_{String_: e.ID.String()}}, Data: e.Data, CustomMetadata: e.Metadata,
			Metadata: map[string]string{"type": e.Type, "content-type": "application/json"},
		}},
	}
	b.waiting.Store(correlation, done)
	b.sending.Lock()
	err := b.stream.Send(request)
	b.sending.Unlock()
	if err != nil && err != io.EOF {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func structured(most, least int64) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{MostSignificantBits: most, LeastSignificantBits: least}}}
}

func (b *batchStream) close() {
	b.end()
	_ = b.conn.Close()
}
