// Command esdbclient lets the official Go client of EventStoreDB judge docket:
// it runs the client's own tests, those of the module that go.mod names,
// against docket eventstore serve.
//
//	go run ./internal/esdbclient [-v]
//
// Twice, at the same time: against servers without TLS, and against servers
// with TLS, users and access lists. Each run has two servers of its own over
// new folders: one empty, one with the stream of 6,000 events that some tests
// read. The tests start servers in containers; a copy of the module in a
// temporary folder is changed so that they take ours instead (copy.go), and is
// removed at the end. The table of expected.go names every test that needs a
// server, and why some cannot pass here. A test that is expected and does not
// run or does not pass, one that skips itself, and one that is not in the table
// end the command with status 1.
//
// servers.go starts docket, certificates.go makes what a secure run needs,
// run.go runs the tests and reads what go test says, judge.go compares.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	verbose := flag.Bool("v", false, "print every test")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := judgeDocket(ctx, *verbose)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "esdbclient:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// judgeDocket is the whole command; ok is false when a test is not as expected.
func judgeDocket(ctx context.Context, verbose bool) (ok bool, err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "docket-esdbclient-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	docket, tests := filepath.Join(dir, "docket"), filepath.Join(dir, "esdb.test")
	module := filepath.Join(dir, "client")
	version, err := copyClient(ctx, module)
	if err != nil {
		return false, err
	}
	if err := makeCertificates(filepath.Join(module, "certs")); err != nil {
		return false, err
	}
	if err := build(ctx, ".", docket, "build", "./cmd/docket"); err != nil {
		return false, err
	}
	if err := build(ctx, module, tests, "test", "-c", "./esdb"); err != nil {
		return false, err
	}
	built := time.Since(began)

	var verdicts [2]verdict
	running, whole := errgroup.WithContext(ctx)
	for i, m := range []mode{insecure, secure} {
		running.Go(func() error {
			results, err := against(whole, m, filepath.Join(dir, m.String()), docket, tests, module)
			verdicts[i] = judge(m, results)
			if err != nil {
				return fmt.Errorf("%s: %w", m, err)
			}
			return nil
		})
	}
	err = running.Wait()
	fmt.Printf("tests of %s against docket eventstore serve\n\n", version)
	printVerdicts(os.Stdout, verdicts[0], verdicts[1], verbose)
	fmt.Printf("\nbuilt in %.0f s, all in %.0f s\n", built.Seconds(), time.Since(began).Seconds())
	return verdicts[0].ok() && verdicts[1].ok(), err
}

// build runs go in folder, with the result in file.
func build(ctx context.Context, folder, file, verb string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{verb, "-o", file}, args...)...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", verb, folder, err, output)
	}
	return nil
}

// against starts servers in dir and runs the tests against them.
func against(ctx context.Context, m mode, dir, docket, tests, module string) (results, error) {
	empty, err := startServer(ctx, m, filepath.Join(dir, "empty"), docket, module)
	if err != nil {
		return nil, err
	}
	defer empty.end()
	seeded, err := startServer(ctx, m, filepath.Join(dir, "seeded"), docket, module)
	if err != nil {
		return nil, err
	}
	defer seeded.end()
	if err := seed(ctx, m, seeded.address); err != nil {
		return nil, err
	}
	found, err := runTests(ctx, m, tests, module, empty.address, seeded.address)
	if err != nil {
		return found, err
	}
	if err := empty.end(); err != nil {
		return found, err
	}
	return found, seeded.end()
}
