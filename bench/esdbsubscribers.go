package main

import (
	"bufio"
	"bytes"
	"context"
	bigendian "encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	official "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/docket-orders/docket/eventstore"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

var esdbSubscribersQuestion = question{
	name:  "esdb-subscribers",
	about: "100 subscriptions to the whole log while events of one line are appended at a fixed rate, server and subscribers in processes of their own; held: all got everything and nobody was ever more than a second behind",
	ask:   askESDBSubscribers,
}

const (
	subscribers = 100
	// liveRate is the goal in events a second; the largest of the lower ones that
	// is held is told otherwise.
	liveRate = 5000
	// behind is how late an event may be at a subscriber.
	behind = time.Second
)

// liveReaders are who subscribes, by the name of the role's flag.
var liveReaders = []struct{ kind, name string }{
	{"frames", "readers of HTTP/2 frames without a gRPC library"},
	{"raw", "gRPC readers that leave answers bytes"},
	{"client", "the official client"},
}

// followed is what a process of subscribers saw.
type followed struct {
	Events       int     `json:"events"` // of all subscribers
	Fewest       int     `json:"fewest"` // of one
	P50, P99     float64 // milliseconds from the begin of the append
	Max          float64
	SubscriberMS float64 `json:"subscriberMS"` // of processor
	server       time.Duration
	appended     int
	late         float64 // of the last append, in milliseconds
}

func askESDBSubscribers(ctx context.Context, e *env) error {
	length := 6 * time.Second
	if e.quick {
		length = 2 * time.Second
	}
	for _, reader := range liveReaders {
		held := 0.0
		for _, rate := range []int{liveRate, 4000, 3000, 2000, 1000, 500} {
			got, err := e.followLive(ctx, reader.kind, rate, length)
			if err != nil {
				return fmt.Errorf("%s at %d events/s: %w", reader.name, rate, err)
			}
			holds := got.Fewest == got.appended && got.Max <= behind.Seconds()*1e3 && got.late <= behind.Seconds()*1e3
			if holds || rate == liveRate {
				of := fmt.Sprintf("%d of them at %d events/s, %s", subscribers, rate, reader.name)
				e.measure(of+": lag p50", "ms", []float64{got.P50}, noGoal)
				e.measure(of+": lag p99", "ms", []float64{got.P99}, noGoal)
				e.measure(of+": the largest lag", "ms", []float64{got.Max}, noGoal)
				delivered := float64(got.Events)
				e.measure(of+": processor of the server", "us for each delivery", []float64{got.server.Seconds() * 1e6 / delivered}, noGoal)
				e.measure(of+": processor of the subscribers", "us for each delivery", []float64{got.SubscriberMS * 1e3 / delivered}, noGoal)
			}
			if holds {
				held = float64(rate)
				break
			}
		}
		e.measure(fmt.Sprintf("the highest rate held for %v, %s", length, reader.name), "events/s", []float64{held}, atLeast(liveRate))
	}
	e.note("at %d events/s it takes %d deliveries/s", liveRate, liveRate*subscribers)
	e.note("the server appends in its own process, one event each, from 16 writers; both processes share this machine")
	return nil
}

// followLive runs one rate.
func (e *env) followLive(ctx context.Context, kind string, rate int, length time.Duration) (got followed, err error) {
	self, err := os.Executable()
	if err != nil {
		return got, err
	}
	server := exec.CommandContext(ctx, self, "live-server", "-dir", e.folder("live"), "-rate", strconv.Itoa(rate), "-length", length.String())
	orders, err := server.StdinPipe()
	if err != nil {
		return got, err
	}
	said, err := server.StdoutPipe()
	if err != nil {
		return got, err
	}
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, orders.Close(), server.Wait()) }()
	lines := bufio.NewScanner(said)
	if !lines.Scan() {
		return got, errors.New("the server says nothing")
	}
	reading := exec.CommandContext(ctx, self, "live-subscribers", "-address", lines.Text(), "-kind", kind)
	reading.Stderr = os.Stderr
	out, err := reading.StdoutPipe()
	if err != nil {
		return got, err
	}
	if err := reading.Start(); err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, reading.Wait()) }()
	seen := bufio.NewScanner(out)
	if !seen.Scan() || seen.Text() != "live" {
		return got, fmt.Errorf("the subscribers do not get there: %q", seen.Text())
	}
	before := (&serverProcess{server}).cpu()
	if _, err := io.WriteString(orders, "go\n"); err != nil {
		return got, err
	}
	if !lines.Scan() {
		return got, errors.New("the server did not append")
	}
	if _, err := fmt.Sscan(lines.Text(), &got.appended, &got.late); err != nil {
		return got, err
	}
	if !seen.Scan() {
		return got, errors.New("the subscribers say nothing")
	}
	appended, late := got.appended, got.late
	if err := json.Unmarshal(seen.Bytes(), &got); err != nil {
		return got, err
	}
	got.appended, got.late = appended, late
	got.server = (&serverProcess{server}).cpu() - before
	return got, nil
}

type serverProcess struct{ *exec.Cmd }

func (p *serverProcess) cpu() time.Duration { return (&server{cmd: p.Cmd}).cpu() }

// liveServer serves an empty store, says where, waits for a line, appends for a
// time, says how many events that were and how late the last one was, and serves
// until its input ends.
func liveServer(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("live-server", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder")
	rate := flags.Int("rate", liveRate, "events a second")
	length := flags.Duration("length", time.Second, "of the appending")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := serveStore(ctx, *dir)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Println(s.address)
	orders := bufio.NewScanner(os.Stdin)
	if !orders.Scan() {
		return errors.New("nobody says go")
	}
	events := int(length.Seconds() * float64(*rate))
	var (
		next   atomic.Int64
		all    sync.WaitGroup
		failed = make(chan error, 16)
		worst  atomic.Int64
	)
	began := time.Now()
	metadata := make([]byte, appendMetadata)
	for w := range cap(failed) {
		all.Go(func() {
			stream, revision := fmt.Sprintf("order-live-%d", w), -1
			for n := next.Add(1) - 1; int(n) < events; n = next.Add(1) - 1 {
				due := began.Add(time.Duration(n) * time.Second / time.Duration(*rate))
				time.Sleep(time.Until(due))
				data := make([]byte, appendData)
				copy(data, liveStamp(time.Now()))
				if _, err := s.store.Append(ctx, stream, eventstore.Expected(revision), []eventstore.Event{{ID: uuid.New(), Type: appendType, Data: data, Metadata: metadata}}); err != nil {
					failed <- err
					return
				}
				revision++
				if int(n) == events-1 {
					worst.Store(time.Since(due).Milliseconds())
				}
			}
		})
	}
	all.Wait()
	if len(failed) > 0 {
		return <-failed
	}
	if _, err := s.store.Append(ctx, "order-live-end", eventstore.NoStream, []eventstore.Event{{ID: uuid.New(), Type: "End", Data: liveStamp(time.Time{}), Metadata: metadata}}); err != nil {
		return err
	}
	fmt.Println(events, worst.Load())
	for orders.Scan() {
	}
	return nil
}

// liveMark begins the data of every event; what follows are the nanoseconds of
// the clock, and for the last event of all zero.
const liveMark = "\x00live\x00"

func liveStamp(at time.Time) []byte {
	nanoseconds := uint64(0)
	if !at.IsZero() {
		nanoseconds = uint64(at.UnixNano())
	}
	return bigendian.BigEndian.AppendUint64([]byte(liveMark), nanoseconds)
}

// liveSubscribers follow the log from its end, say so when all are live, and
// when all have seen the last event, what they saw.
func liveSubscribers(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("live-subscribers", flag.ContinueOnError)
	address := flags.String("address", "", "of the server")
	kind := flags.String("kind", "raw", "frames, raw or client")
	if err := flags.Parse(args); err != nil {
		return err
	}
	follow, ok := map[string]func(context.Context, string, func(), *liveLags) error{"frames": followFrames, "raw": followRaw, "client": followClient}[*kind]
	if !ok {
		return fmt.Errorf("there is no kind %q", *kind)
	}
	lags := make([]liveLags, subscribers)
	var live sync.WaitGroup
	live.Add(subscribers)
	ended := make(chan error, subscribers)
	for i := range lags {
		go func() { ended <- follow(ctx, *address, live.Done, &lags[i]) }()
	}
	live.Wait()
	before := ownProcessor()
	fmt.Println("live")
	for range lags {
		if err := <-ended; err != nil {
			return err
		}
	}
	got := followed{Fewest: 1 << 60, SubscriberMS: (ownProcessor() - before).Seconds() * 1e3}
	var all liveLags
	for i := range lags {
		got.Events, got.Fewest = got.Events+lags[i].events, min(got.Fewest, lags[i].events)
		got.Max = max(got.Max, lags[i].most.Seconds()*1e3)
		for ms, n := range lags[i].counts {
			all.counts[ms] += n
		}
		all.events += lags[i].events
	}
	got.P50, got.P99 = all.quantile(0.5), all.quantile(0.99)
	return json.NewEncoder(os.Stdout).Encode(got)
}

func ownProcessor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// liveLags counts the events of one subscriber by how late they were, in steps of
// a quarter of a millisecond.
type liveLags struct {
	counts [8192]int32
	events int
	most   time.Duration
}

// saw is told the stamp of an event, and whether it was the last.
func (l *liveLags) saw(stamp uint64) (last bool) {
	if stamp == 0 {
		return true
	}
	lag := max(0, time.Since(time.Unix(0, int64(stamp))))
	l.events++
	l.most = max(l.most, lag)
	l.counts[min(int(lag/(250*time.Microsecond)), len(l.counts)-1)]++
	return false
}

func (l *liveLags) quantile(q float64) float64 {
	rest := int(q * float64(l.events))
	for step, n := range l.counts {
		if rest -= int(n); rest <= 0 {
			return float64(step+1) / 4
		}
	}
	return float64(len(l.counts)) / 4
}

// followClient is the official client, on a connection of its own.
func followClient(ctx context.Context, address string, live func(), lags *liveLags) error {
	client, err := officialClient(address)
	if err != nil {
		return err
	}
	defer client.Close()
	sub, err := client.SubscribeToAll(ctx, official.SubscribeToAllOptions{From: official.End{}})
	if err != nil {
		return err
	}
	defer sub.Close()
	for counted := false; ; {
		switch got := sub.Recv(); {
		case got.SubscriptionDropped != nil:
			return got.SubscriptionDropped.Error
		case got.CaughtUp != nil && !counted:
			counted = true
			live()
		case got.EventAppeared != nil:
			if data := got.EventAppeared.OriginalEvent().Data; bytes.HasPrefix(data, []byte(liveMark)) &&
				lags.saw(bigendian.BigEndian.Uint64(data[len(liveMark):])) {
				return nil
			}
		}
	}
}

// followRaw is gRPC on a connection of its own, with answers that stay bytes.
func followRaw(ctx context.Context, address string, live func(), lags *liveLags) error {
	conn, err := dialServer(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streams.Streams_Read_FullMethodName, grpc.ForceCodecV2(bytesCodec{}))
	if err != nil {
		return err
	}
	request := followLog(&streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_End{End: &shared.Empty{}}})
	if err := errors.Join(read.SendMsg(request), read.CloseSend()); err != nil {
		return err
	}
	const caughtUp = 8<<3 | 2 // the field of the answer
	mark := []byte(liveMark)
	for {
		var answer []byte
		if err := read.RecvMsg(&answer); err != nil {
			return err
		}
		if len(answer) > 0 && answer[0] == caughtUp {
			live()
			live = func() {}
			continue
		}
		if at := bytes.Index(answer, mark); at >= 0 && lags.saw(bigendian.BigEndian.Uint64(answer[at+len(mark):])) {
			return nil
		}
	}
}

// bytesCodec leaves answers as they are.
type bytesCodec struct{}

var _ encoding.CodecV2 = bytesCodec{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
