package esdb

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// BenchmarkAppend compares the adapter with the bare client, server included.
func BenchmarkAppend(b *testing.B) {
	log, err := sqlite.Open(b.Context(), b.TempDir(), sqlite.Options{Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	connection := esdbservertest.Insecure(esdbservertest.Start(b, esdbserver.Options{Store: log}))
	config, err := esdb.ParseConnectionString(connection)
	if err != nil {
		b.Fatal(err)
	}
	config.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(config)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	var streams atomic.Int64
	run := func(name string, writers int, write func(stream string, expected eventstore.Expected, e eventstore.Event) error) {
		b.Run(fmt.Sprintf("%s/writers=%d", name, writers), func(b *testing.B) {
			var left atomic.Int64
			left.Store(int64(b.N))
			var work sync.WaitGroup
			for range writers {
				work.Go(func() {
					stream := fmt.Sprintf("bench-%d", streams.Add(1))
					for at := eventstore.NoStream; left.Add(-1) >= 0; at++ {
						if err := write(stream, at, event()); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			work.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
	for _, writers := range []int{1, 16, 64} {
		run("client", writers, func(stream string, expected eventstore.Expected, e eventstore.Event) error {
			_, err := client.AppendToStream(b.Context(), stream, esdb.AppendToStreamOptions{ExpectedRevision: clientExpected(expected)},
				esdb.EventData{EventID: e.ID, EventType: e.Type, ContentType: esdb.ContentTypeJson, Data: e.Data})
			return err
		})
		for _, connections := range []int{1, 2, 4} {
			s, err := Open(b.Context(), connection, Options{Logger: quiet(), Connections: connections})
			if err != nil {
				b.Fatal(err)
			}
			run(fmt.Sprintf("adapter=%d", connections), writers, func(stream string, expected eventstore.Expected, e eventstore.Event) error {
				_, err := s.Append(b.Context(), stream, expected, []eventstore.Event{e})
				return err
			})
			s.Close()
		}
	}
}
