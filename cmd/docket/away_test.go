package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// TestImportWaitsForTheEventStore stops the server of the log while an import is
// under way, through this process and through a running docket, and starts it
// again: the import goes on, and every order is there once.
func TestImportWaitsForTheEventStore(t *testing.T) {
	for _, way := range []string{"in this process", "through a running docket"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			log, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "log"), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = log.Close() })
			server := esdbservertest.Run(t, esdbserver.Options{Store: log})
			connection, views := esdbservertest.Insecure(server.Address), filepath.Join(t.TempDir(), "views")
			folder := []string{"--data", views, "--eventstore", connection}
			if way != "in this process" {
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan int, 1)
				free, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				address := free.Addr().String()
				free.Close()
				go func() {
					ended <- run(ctx, append([]string{"serve", "--listen", address, "--log-level", "error"}, folder...), new(bytes.Buffer), new(bytes.Buffer))
				}()
				defer func() {
					stop()
					if status := <-ended; status != exitDone {
						t.Errorf("docket serve ended with %d", status)
					}
				}()
				until(t, "docket is ready", func() bool {
					resp, err := http.Get("http://" + address + "/readyz")
					if err != nil {
						return false
					}
					resp.Body.Close()
					return resp.StatusCode == http.StatusOK
				})
			}

			var said, failed bytes.Buffer
			imported := make(chan int, 1)
			go func() {
				imported <- run(t.Context(), append([]string{"import", "online-retail", "--file", excerpt, "--interleave"}, folder...), &said, &failed)
			}()
			orders := func() int {
				n := 0
				for range log.ReadAll(t.Context(), eventstore.Start, eventstore.Forwards, eventstore.Filter{Prefixes: []string{"order-"}}, 0) {
					n++
				}
				return n
			}
			until(t, "orders come in", func() bool { return orders() >= 20 })
			server.Stop()
			there := orders()
			if there >= 602 {
				t.Fatalf("the import was over before the server was stopped: %d events", there)
			}
			select {
			case status := <-imported:
				t.Fatalf("the import ended with %d: %s", status, &failed)
			case <-time.After(5 * time.Second): // longer than the adapter bridges by itself
			}
			server.Start()
			if status := <-imported; status != exitDone {
				t.Fatalf("the import ended with %d: %s", status, &failed)
			}
			if !strings.Contains(said.String(), "301 orders") {
				t.Errorf("it says %s", &said)
			}
			if n := orders(); n != 602 {
				t.Errorf("%d events of orders; without an interruption it is 602", n)
			}
			var answer bytes.Buffer
			if status := run(t.Context(), append([]string{"reconcile", "run"}, folder...), &answer, &answer); status != exitDone {
				t.Errorf("reconcile: %d: %s", status, &answer)
			}
		})
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not come about", what)
		}
	}
}
