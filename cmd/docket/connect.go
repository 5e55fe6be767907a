package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/embedded"
)

// connection is how a command reaches a docket: over HTTP to one that runs, or
// to one that was opened in this process. Questions and operations go through
// the same API either way.
type connection struct {
	*client
	app   *app // nil when another process was reached
	close func() error
}

// probeTimeout bounds the look whether a docket answers.
const probeTimeout = 3 * time.Second

// viewsPatience is for how long views behind a network are waited for before a
// question goes to what is there.
const viewsPatience = 10 * time.Second

// readyTimeout is longer than a docket takes to find out what it can serve.
const readyTimeout = 10 * time.Second

// connect reaches the docket of the configuration. close it. Only a command that
// brings orders makes a folder that is not there; the others would answer from
// an empty one as if it were the one that was meant.
func (p *program) connect(makeFolder bool) (*connection, error) {
	nothing := func() error { return nil }
	if p.config.Server != "" {
		base := strings.TrimSuffix(p.config.Server, "/")
		return &connection{client: newClient(base, p.config.Key, http.DefaultTransport), close: nothing}, nil
	}
	running, there, err := readRunFile(p.config.Data)
	if err != nil {
		return nil, err
	}
	if there {
		c := newClient("http://"+running.Address, running.Key, http.DefaultTransport)
		if c.answers(p.ctx) {
			return &connection{client: c, close: nothing}, nil
		}
		// The process may be another one that got its number; the lock on the
		// folder decides.
	}
	if !makeFolder && p.config.EventStore == "" {
		if err := p.requireLog(); err != nil {
			return nil, fmt.Errorf("%w, or a running docket with --server URL", err)
		}
	}
	return p.open()
}

// requireLog refuses a folder in which no docket has been. A restore that was
// interrupted may have left one without its log.
func (p *program) requireLog() error {
	if err := embedded.RequireOwnLog(disk.OS(), p.config.Data); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(p.config.Data, "events.db"))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Join(p.config.Data, "restore"))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no docket in the folder %s: name another with --data DIR", p.config.Data)
	}
	return nil // what else is wrong with it, opening says
}

// open opens the folder in this process, and waits until its views hold what is
// in its log: after a crash they may not, and a command answers once.
func (p *program) open() (*connection, error) {
	a, err := p.openApp(slog.LevelWarn)
	if err != nil {
		return nil, err
	}
	// Views that cannot catch up before an operator has acted answer as they are;
	// why was logged.
	// Nor is a store waited for that may be away for long.
	err, away := a.CaughtUp(p.ctx, viewsPatience)
	if err != nil && !errors.Is(err, eventstore.ErrReadOnly) && !errors.Is(err, eventstore.ErrCorrupt) {
		return nil, errors.Join(err, a.Close())
	}
	if away != nil {
		a.Logger.Warn("views are not as far as the log", "error", away)
	}
	lifetime, end := context.WithCancel(context.Background())
	key := newRunKey()
	inside := inProcess{a.handler(lifetime, lifetime, listening{}, key)}
	return &connection{
		client: newClient("http://localhost", key, inside), app: a,
		close: func() error { end(); return a.Close() },
	}, nil
}

// caughtUp returns when the views hold what was in the log at the call.
func (c *connection) caughtUp(ctx context.Context) error {
	if c.app != nil && len(c.app.Views.Managers()) == 1 {
		err, _ := c.app.CaughtUp(ctx, viewsPatience)
		return err
	}
	return c.client.caughtUp(ctx)
}

// and closes the connection, keeping what went wrong before.
func (c *connection) and(err error) error { return errors.Join(err, c.close()) }

// inProcess carries requests to a handler without a network. Answers are held
// in memory, which suits those of commands.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		switch broken := recover(); broken {
		case nil:
		case http.ErrAbortHandler:
			resp, err = nil, io.ErrUnexpectedEOF
		default:
			panic(broken)
		}
	}()
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := &memoryAnswer{header: http.Header{}, status: http.StatusOK}
	request := r.Clone(r.Context())
	request.Host, request.RequestURI = r.URL.Host, r.URL.RequestURI()
	t.handler.ServeHTTP(w, request)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

type memoryAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *memoryAnswer) Header() http.Header         { return w.header }
func (w *memoryAnswer) WriteHeader(status int)      { w.status = status }
func (w *memoryAnswer) Write(b []byte) (int, error) { return w.body.Write(b) }
