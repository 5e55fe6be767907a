package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

var postgresQuestion = question{
	name:  "postgres",
	about: "POST /v1/orders by 64 clients on docket, against the same handler over one table of events in PostgreSQL",
	ask:   askPostgres,
}

// postgresSettings differ from the defaults where a team would change them; the
// others are named because they are what makes a commit durable.
var postgresSettings = []string{
	"shared_buffers=256MB", "max_wal_size=4GB", "max_connections=100",
	"fsync=on", "synchronous_commit=on", "full_page_writes=on", "unix_socket_directories=",
}

func askPostgres(ctx context.Context, e *env) error {
	database, err := e.startPostgres(ctx)
	if err != nil {
		return err
	}
	defer database.stop()
	peer := filepath.Join(e.dir, "postgres-peer")
	build := exec.CommandContext(ctx, "go", "build", "-C", "bench/postgres", "-o", peer, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the peer (from the root of the repository): %w\n%s", err, out)
	}
	docket, err := e.serveDocket(ctx, e.folder("served"))
	if err != nil {
		return err
	}
	defer docket.stop()
	length := 4 * time.Second
	if e.quick {
		length = 1500 * time.Millisecond
	}
	servers := []*server{docket}
	for _, order := range []string{"lock", "snapshot"} {
		url, err := database.create(ctx, order)
		if err != nil {
			return err
		}
		s, err := e.serve(ctx, exec.CommandContext(ctx, peer, "-database", url, "-order", order), "/healthz")
		if err != nil {
			return err
		}
		defer s.stop()
		servers = append(servers, s)
	}
	bare, err := e.serve(ctx, exec.CommandContext(ctx, peer, "-data", e.folder("bare")), "/healthz")
	if err != nil {
		return err
	}
	defer bare.stop()
	servers = append(servers, bare)
	rates := make([][]float64, len(servers))
	for round := -1; round < e.rounds; round++ { // the first warms up
		place := load{plan: "place", run: fmt.Sprint("p", round+1), clients: clients, length: length}
		if round < 0 {
			place.length = time.Second
		}
		for i, s := range servers {
			got, err := e.generate(ctx, s, place)
			if err != nil {
				return err
			}
			if round >= 0 {
				rates[i] = append(rates[i], got.Rate)
			}
			if _, err := docket.caughtUp(ctx); err != nil {
				return err
			}
		}
	}
	const gapless, gaps = "PostgreSQL, order by an advisory lock", "PostgreSQL, order by transaction and snapshot"
	e.compare("POST /v1/orders, neither with views, positions without a gap", "orders/s", rates[3], gapless, rates[1], atLeast(2))
	e.compare("the same, positions with gaps", "orders/s", rates[3], gaps, rates[2], noGoal)
	e.compare("docket feeding its views, positions without a gap", "orders/s", rates[0], gapless, rates[1], atLeast(2))
	e.compare("the same, positions with gaps", "orders/s", rates[0], gaps, rates[2], noGoal)
	e.note("PostgreSQL %s, %v; one function call and one transaction per append", database.version, postgresSettings)
	return nil
}

// postgres is a database server in a folder of its own, on a free port of this
// machine.
type postgres struct {
	cmd     *exec.Cmd
	bin     string
	port    string
	version string
}

// startPostgres runs as the user postgres when the benchmark is run by root, as
// whom the server refuses to run.
func (e *env) startPostgres(ctx context.Context) (*postgres, error) {
	p := &postgres{}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil && len(found) == 0 {
		found = []string{path}
	}
	if len(found) == 0 {
		return nil, errors.New("PostgreSQL is not there; install it with: apt-get install postgresql")
	}
	p.bin = filepath.Dir(slices.Max(found))
	dir := e.folder("postgres")
	var as *syscall.SysProcAttr
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, fmt.Errorf("PostgreSQL does not run as root, and needs its own user: %w", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := errors.Join(os.Chmod(e.dir, 0o711), os.Chown(dir, uid, gid)); err != nil {
			return nil, err
		}
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, as
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	version, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return nil, err
	}
	p.version = string(version[:len(version)-1])
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-p", p.port}
	for _, s := range postgresSettings {
		args = append(args, "-c", s)
	}
	p.cmd = run("postgres", args...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	log, err := os.Create(filepath.Join(e.folder("log"), "postgres"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		err := run("pg_isready", "-q", "-h", "127.0.0.1", "-p", p.port).Run()
		if err == nil {
			return p, nil
		}
		if time.Since(start) > time.Minute {
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("PostgreSQL does not come up: %w\n%s", errors.Join(err, p.stop()), said)
		}
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// create makes a database and returns its URL.
func (p *postgres) create(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(p.bin, "createdb"), "-h", "127.0.0.1", "-p", p.port, "-U", "postgres", name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("createdb: %w\n%s", err, out)
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%s/%s?sslmode=disable", p.port, name), nil
}

// stop ends the server in order, without waiting for its clients.
func (p *postgres) stop() error {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended
	return p.cmd.Wait()
}
