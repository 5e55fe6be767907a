package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	official "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/google/uuid"
)

var esdbSubscribeQuestion = question{
	name:  "esdb-subscribe",
	about: "a subscription to a log that is there already, until it is caught up, over gRPC on loopback, client and server in one process, against a scan of the store without a network",
	ask:   askESDBSubscribe,
}

func askESDBSubscribe(ctx context.Context, e *env) error {
	s, err := serveStore(ctx, e.folder("esdb-subscribe"))
	if err != nil {
		return err
	}
	defer s.close()
	events := 200_000
	if e.quick {
		events = 40_000
	}
	if err := fillStore(ctx, s.store, events); err != nil {
		return err
	}
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
	conn, err := dialServer(s.address)
	if err != nil {
		return err
	}
	defer conn.Close()

	orders := eventstore.Filter{Prefixes: []string{"order-"}}
	ways := []struct {
		name string
		run  func() (int, error)
		took []float64
	}{
		{name: "a scan of the store", run: func() (n int, err error) {
			for _, err := range s.store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		}},
		{name: "docket's adapter", run: func() (int, error) { return untilCaughtUp(ctx, adapter, eventstore.Filter{}) }},
		{name: "docket's adapter, with a filter of prefixes that all match", run: func() (int, error) { return untilCaughtUp(ctx, adapter, orders) }},
		{name: "the official client alone", run: func() (int, error) { return clientCaughtUp(ctx, client) }},
		{name: "the generated stubs, decoded", run: func() (int, error) { return stubsCaughtUp(ctx, streams.NewStreamsClient(conn)) }},
	}
	for round := range e.rounds {
		for i := range ways {
			way := &ways[(i+round)%len(ways)]
			n := 0
			seconds, err := timed(func() (err error) { n, err = way.run(); return err })
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			if n < events {
				return fmt.Errorf("%s: %d events of %d", way.name, n, events)
			}
			way.took = append(way.took, float64(n)/seconds)
		}
	}
	for _, way := range ways[1:] {
		e.compare(way.name, "events/s", way.took, ways[0].name, ways[0].took, noGoal)
	}
	e.compare("docket's adapter (what the client allows)", "events/s", ways[1].took, ways[3].name, ways[3].took, atLeast(0.9))
	return nil
}

// fillStore writes so many events, eight to a stream, in appends of that size.
func fillStore(ctx context.Context, s eventstore.Store, events int) error {
	const writers = 64
	data, metadata := make([]byte, appendData), make([]byte, appendMetadata)
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			failed <- func() error {
				for i := w * streamLength; i < events; i += writers * streamLength {
					batch := make([]eventstore.Event, min(streamLength, events-i))
					for n := range batch {
						batch[n] = eventstore.Event{ID: uuid.New(), Type: appendType, JSON: true, Data: data, Metadata: metadata}
					}
					if _, err := s.Append(ctx, fmt.Sprintf("order-%08d", i), eventstore.NoStream, batch); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	var err error
	for range writers {
		err = errors.Join(err, <-failed)
	}
	return err
}

// untilCaughtUp follows the log from its start, and counts.
func untilCaughtUp(ctx context.Context, s eventstore.Store, filter eventstore.Filter) (n int, err error) {
	sub, err := s.Subscribe(ctx, eventstore.Start, filter)
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	for {
		notice, err := sub.Next(ctx)
		switch {
		case err != nil:
			return n, err
		case notice.Kind == eventstore.CaughtUp:
			return n, nil
		case notice.Kind == eventstore.Delivered:
			n++
		}
	}
}

func clientCaughtUp(ctx context.Context, client *official.Client) (n int, err error) {
	sub, err := client.SubscribeToAll(ctx, official.SubscribeToAllOptions{From: official.Start{}})
	if err != nil {
		return 0, err
	}
	defer sub.Close()
	for {
		switch got := sub.Recv(); {
		case got.SubscriptionDropped != nil:
			return n, got.SubscriptionDropped.Error
		case got.CaughtUp != nil:
			return n, nil
		case got.EventAppeared != nil:
			n++
		}
	}
}

func stubsCaughtUp(ctx context.Context, client streams.StreamsClient) (n int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read, err := client.Read(ctx, followLog(&streams.ReadReq_Options_AllOptions{AllOption: &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}}))
	if err != nil {
		return 0, err
	}
	for {
		answer, err := read.Recv()
		if err == io.EOF {
			return n, errors.New("the subscription ended")
		}
		if err != nil {
			return n, err
		}
		switch answer.GetContent().(type) {
		case *streams.ReadResp_Event:
			n++
		case *streams.ReadResp_CaughtUp_:
			return n, nil
		}
	}
}

// followLog asks for a subscription to the whole log.
func followLog(from *streams.ReadReq_Options_AllOptions) *streams.ReadReq {
	none := &shared.Empty{}
	return &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: &streams.ReadReq_Options_All{All: from},
		CountOption:  &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: none},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: none}},
	}}
}
