package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/httpapi"
)

// plainLog is the least that durable appends can be: a file whose blocks were
// written before, one goroutine that writes what is queued at the next offset,
// as one group, and one fdatasync per group before anybody is answered. It has no
// index, no checksum and no check of anything, and overwrites its beginning when
// it is full.
type plainLog struct {
	file  *os.File
	queue chan plainAppend
	ended chan struct{}
}

type plainAppend struct {
	record []byte
	done   chan<- error
}

const (
	plainLogSize  = 64 << 20
	plainLogGroup = 4 << 20 // bytes
)

func openPlainLog(path string) (*plainLog, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	// Zeros that were written, not only promised: no sync has to convert them.
	zeros := make([]byte, 1<<20)
	for range plainLogSize / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	l := &plainLog{file: f, queue: make(chan plainAppend, 8192), ended: make(chan struct{})}
	go l.run()
	return l, nil
}

func (l *plainLog) run() {
	defer close(l.ended)
	var (
		group  []byte
		owed   []chan<- error
		offset int64
	)
	for first := range l.queue {
		group, owed = append(group[:0], first.record...), append(owed[:0], first.done)
	gather:
		for len(group) < plainLogGroup {
			select {
			case a, ok := <-l.queue:
				if !ok {
					break gather
				}
				group, owed = append(group, a.record...), append(owed, a.done)
			default:
				break gather
			}
		}
		if offset+int64(len(group)) > plainLogSize {
			offset = 0
		}
		_, err := l.file.WriteAt(group, offset)
		if err == nil {
			err = syscall.Fdatasync(int(l.file.Fd()))
		}
		offset += int64(len(group))
		for _, done := range owed {
			done <- err
		}
	}
}

// append returns when record is durable. done has room for one error.
func (l *plainLog) append(record []byte, done chan error) error {
	l.queue <- plainAppend{record, done}
	return <-done
}

func (l *plainLog) close() error {
	close(l.queue)
	<-l.ended
	return l.file.Close()
}

// plainServer serves POST /v1/orders as little as can be: net/http, docket's own
// decoder, one record of the size of docket's row, and an answer of the size of
// docket's. GET answers a document of that size from memory.
func plainServer(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("plain-server", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder")
	record := flags.Int("record", 1000, "bytes appended per command")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log, err := openPlainLog(filepath.Join(*dir, "plain"))
	if err != nil {
		return err
	}
	prebuilt := make([]byte, *record)
	answer := []byte(`{"events":[{"id":"a4f4f1b0-6d6e-5a55-8a41-0f3a4a0a8f52","revision":0,"type":"OrderPlaced"}],"id":"bench-0000000","revision":0}` + "\n")
	respond := func(w http.ResponseWriter, status int, answer []byte) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.WriteHeader(status)
		_, _ = w.Write(answer) // the caller may have gone
	}
	takes := func(status int, read func([]byte) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = read(body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			if err := log.append(prebuilt, make(chan error, 1)); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			respond(w, status, answer)
		}
	}
	place, tags := httpapi.BodyReader[httpapi.PlaceBody](), httpapi.BodyReader[order.SetTags]()
	document := make([]byte, 2000)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/orders", takes(http.StatusCreated, func(b []byte) error { _, err := place(b); return err }))
	mux.HandleFunc("PUT /v1/orders/{id}/tags", takes(http.StatusOK, func(b []byte) error { _, err := tags(b); return err }))
	mux.HandleFunc("GET /v1/orders/{id}", func(w http.ResponseWriter, r *http.Request) { respond(w, http.StatusOK, document) })
	return serveUntil(ctx, mux, log.close)
}

// serveUntil serves on a free port of this machine, which it prints as the
// program does, until ctx ends.
func serveUntil(ctx context.Context, h http.Handler, close func() error) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"listening\":\"http://%s\"}\n", listener.Addr())
	server := &http.Server{Handler: h}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return close()
}
