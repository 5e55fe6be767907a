package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The ways to the logs.
const (
	embedded = "embedded" // each in the folder of its docket
	overGRPC = "grpc"     // each behind a server of its own
	moved    = "moved"    // in the folder at first
)

// site is a folder of a docket, and its log.
type site struct {
	data       string // its folder
	log        string // the folder that the log is in, perhaps the same
	connection string // to the log; empty: it is in data
}

// flags are those of a docket there.
func (s site) flags() []string {
	if s.connection == "" {
		return []string{"--data", s.data}
	}
	return []string{"--data", s.data, "--eventstore", s.connection}
}

// sites are those of one data set.
type sites struct {
	binary, way string
	set         string
	dir         string // its folders begin so
	servers     []*exec.Cmd
}

// open is a site without orders.
func (all *sites) open(ctx context.Context, name string) (site, error) {
	data := all.dir + "-" + name
	if all.way != overGRPC {
		return site{data: data, log: data}, nil
	}
	return all.behindServer(ctx, data)
}

// behindServer is a site whose log is behind gRPC.
func (all *sites) behindServer(ctx context.Context, data string) (site, error) {
	at := site{data: data, log: data + "-log"}
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
	to, err := all.behindServer(ctx, from.data+"-moved")
	if err == nil {
		err = all.carry(ctx, from, to)
	}
	if err != nil || !thereAndBack {
		return to, err
	}
	home := from.data + "-home"
	back := site{data: home, log: home}
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
