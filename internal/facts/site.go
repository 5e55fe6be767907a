package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/testservers"
)

// The ways to the logs.
const (
	embedded = "embedded" // each in the folder of its docket
	overGRPC = "grpc"     // each behind a server of its own
	moved    = "moved"    // in the folder at first
)

// production is what the views are on that are not embedded.
const production = "production"

// site is a folder of a docket, its log, and its views.
type site struct {
	data       string // its folder
	log        string // the folder that the log is in, perhaps the same
	connection string // to the log; empty: it is in data
	namespace  eventstore.Namespace
	views      []string // flags that say where they are; none: in data
}

// flags are those of a docket there, whatever it does with its log.
func (s site) flags() []string {
	flags := []string{"--data", s.data, "--namespace", string(s.namespace)}
	if s.connection != "" {
		flags = append(flags, "--eventstore", s.connection)
	}
	return flags
}

// stores is how many keep every order.
func (s site) stores() int {
	if s.views == nil {
		return 1
	}
	return 2
}

// viewsOn makes the views of each site: where they are, and the namespace that
// they have there; the servers are started before.
func viewsOn(servers *testservers.Program, where string) func() ([]string, eventstore.Namespace) {
	if where == embedded {
		return func() ([]string, eventstore.Namespace) { return nil, "" }
	}
	flags := []string{
		"--search", "elasticsearch://" + strings.TrimPrefix(testservers.Elasticsearch(servers), "http://"),
		"--cache", "redis://" + testservers.Redis(servers),
	}
	return func() ([]string, eventstore.Namespace) {
		return flags, eventstore.Namespace(testservers.Namespace(servers))
	}
}

// sites are those of one data set.
type sites struct {
	binary, way string
	views       func() ([]string, eventstore.Namespace) // of the next site
	set         string
	dir         string // its folders begin so
	servers     []*exec.Cmd
}

// open is a site without orders.
func (all *sites) open(ctx context.Context, name string) (site, error) {
	data := all.dir + "-" + name
	at := site{data: data, log: data}
	at.views, at.namespace = all.views()
	if all.way != overGRPC {
		return at, nil
	}
	return all.behindServer(ctx, at)
}

// behindServer is a site whose log is behind gRPC; the rest is as it is at
// another.
func (all *sites) behindServer(ctx context.Context, like site) (site, error) {
	at := like
	at.log = at.data + "-log"
	cmd := exec.CommandContext(ctx, all.binary, "eventstore", "serve", "--data", at.log, "--listen", "127.0.0.1:0", "--log-level", "warn", "--json")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		return at, err
	}
	if err := cmd.Start(); err != nil {
		return at, fmt.Errorf("start docket eventstore serve: %w", err)
	}
	all.servers = append(all.servers, cmd)
	var said struct{ Connection string }
	if err := json.NewDecoder(out).Decode(&said); err != nil {
		return at, fmt.Errorf("docket eventstore serve does not say where it listens: %w\n%s", err, problems.Bytes())
	}
	at.connection = said.Connection
	return at, nil
}

// stop ends the servers.
func (all *sites) stop() {
	for _, cmd := range all.servers {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
		_ = cmd.Wait()
	}
}

// move carries a log into a server, and if there and back, from there into
// another folder; where logs are not moved, it stays.
func (all *sites) move(ctx context.Context, from site, thereAndBack bool) (site, error) {
	if all.way != moved {
		return from, nil
	}
	there := from
	there.data += "-moved"
	to, err := all.behindServer(ctx, there)
	if err == nil {
		err = all.carry(ctx, from, to)
	}
	if err != nil || !thereAndBack {
		return to, err
	}
	home := from.data + "-home"
	back := site{data: home, log: home, namespace: from.namespace, views: from.views}
	return back, all.carry(ctx, to, back)
}

// carry exports a log and imports it elsewhere.
func (all *sites) carry(ctx context.Context, from, to site) error {
	file := filepath.Clean(to.data) + ".ndjson"
	start := time.Now()
	var exported, imported struct{ Events, Streams, Bytes, Written int64 }
	if err := all.run(ctx, &exported, append([]string{"eventstore", "export", file}, from.flags()...)); err != nil {
		return err
	}
	writing := time.Now()
	if err := all.run(ctx, &imported, append([]string{"eventstore", "import", file}, to.flags()...)); err != nil {
		return err
	}
	fmt.Printf("%-20s moved %d events of %d streams: exported in %.1f s, %d MB, imported in %.1f s\n",
		all.set, exported.Events, exported.Streams, writing.Sub(start).Seconds(), exported.Bytes>>20, time.Since(writing).Seconds())
	if imported.Written != exported.Events {
		return fmt.Errorf("%d events were exported, %d imported", exported.Events, imported.Written)
	}
	return os.Remove(file)
}

// run runs a command to its end and reads its answer.
func (all *sites) run(ctx context.Context, answer any, args []string) error {
	cmd := exec.CommandContext(ctx, all.binary, append(args, "--json")...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("docket %s %s: %w\n%.2000s", args[0], args[1], err, problems.Bytes())
	}
	return json.Unmarshal(out.Bytes(), answer)
}
