package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// mode of a server.
type mode bool

const (
	insecure mode = false
	secure   mode = true
)

func (m mode) String() string {
	if m == secure {
		return "secure"
	}
	return "insecure"
}

// patience is how long a server may take to start, and to end.
const patience = 30 * time.Second

// server is a docket that runs.
type server struct {
	address string
	end     func() error // may be called again, and answers the same
}

// startServer starts docket over a new folder, with the system projections, as
// the client's own harness starts its servers.
func startServer(ctx context.Context, m mode, dir, docket, module string) (*server, error) {
	args := []string{"--json", "--data", dir, "eventstore", "serve", "--listen", "127.0.0.1:0", "--esdb-projections"}
	if m == secure {
		node := filepath.Join(module, "certs", "node", "node")
		args = append(args, "--esdb-tls-cert", node+".crt", "--esdb-tls-key", node+".key")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, docket, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{end: sync.OnceValue(func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		slow := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer slow.Stop()
		if err := errors.Join(err, cmd.Wait()); err != nil {
			return fmt.Errorf("docket in %s: %w\n%s", dir, err, said.String())
		}
		return nil
	})}
	slow := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	slow.Stop()
	var told struct{ Listening string }
	if err := errors.Join(err, json.Unmarshal(line, &told)); err != nil || told.Listening == "" {
		return nil, fmt.Errorf("docket did not say where it listens: %w", errors.Join(err, s.end()))
	}
	s.address = told.Listening
	return s, nil
}

// The stream that the tests of the published database image read, as far as
// they look at nothing but its length.
const (
	seedStream = "dataset20M-0"
	seedEvents = 6000
	seedBatch  = 500
)

// seed writes that stream.
func seed(ctx context.Context, m mode, address string) error {
	text := fmt.Sprintf("esdb://%s?tls=false", address)
	if m == secure {
		text = fmt.Sprintf("esdb://admin:changeit@%s?tlsVerifyCert=false", address)
	}
	config, err := esdb.ParseConnectionString(text)
	if err != nil {
		return err
	}
	config.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(config)
	if err != nil {
		return err
	}
	defer client.Close()
	options := esdb.AppendToStreamOptions{ExpectedRevision: esdb.NoStream{}}
	for n := 0; n < seedEvents; n += seedBatch {
		events := make([]esdb.EventData, seedBatch)
		for i := range events {
			events[i] = esdb.EventData{
				EventID: uuid.New(), EventType: "eventType-0", ContentType: esdb.ContentTypeJson,
				Data: fmt.Appendf(nil, `{"n":%d}`, n+i),
			}
		}
		result, err := client.AppendToStream(ctx, seedStream, options, events...)
		if err != nil {
			return fmt.Errorf("append events %d to %d of %s: %w", n, n+seedBatch, seedStream, err)
		}
		options.ExpectedRevision = esdb.Revision(result.NextExpectedVersion)
	}
	return nil
}
