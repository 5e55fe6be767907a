// Command docket is an order system in one binary: it serves the HTTP API over
// an embedded store, imports orders of other systems, and asks and repairs what
// a running docket, or the folder of one, holds.
//
// It promises that flags and environment are read here and nowhere else, into
// one configuration that is checked before anything opens; that a command finds
// the docket that runs on its folder and goes through its HTTP API; and that the
// exit status means something: 0 done, 1 failed or refused, 2 wrong usage; of
// reconcile 0 clean, 1 drift, 2 could not tell.
//
// Layout: config.go (every flag), configfile.go (those of a file), app.go (serving a docket; its parts are wired
// together in internal/embedded), connect.go and client.go (how commands reach an app), and a file per
// command; arguments.go has what an argument may be; words.go, table.go and
// report.go put answers into words; readmodels.go names the projections that a user
// has added.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // import --zone works on machines without zone files

	"github.com/alecthomas/kong"

	"github.com/docket-orders/docket/readmodel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	// exitUnknown is of reconcile alone: neither right nor wrong was found.
	exitUnknown = 2
)

// program is what a command needs beside its own flags.
type program struct {
	ctx    context.Context
	config *config
	stdout io.Writer
	stderr io.Writer
	models []readmodel.Model
}

// run is one run of docket; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (status int) {
	return runWith(ctx, readModels(), args, stdout, stderr)
}

func runWith(ctx context.Context, models []readmodel.Model, args []string, stdout, stderr io.Writer) (status int) {
	var c config
	parser := kong.Must(&c,
		kong.Name("docket"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: false}),
		kong.Vars{"version": version()},
		kong.Configuration(readConfig),
	)
	// Help ends the program from inside the parser.
	defer func() {
		if r := recover(); r != nil {
			code, ended := r.(exit)
			if !ended {
				panic(r)
			}
			status = int(code)
		}
	}()
	parsed, err := parser.Parse(joinMinus(args))
	if err != nil {
		fmt.Fprintf(stderr, "docket: %v\n", err)
		fmt.Fprintln(stderr, `See "docket --help", or "docket COMMAND --help".`)
		return exitUsage
	}
	p := &program{ctx: ctx, config: &c, stdout: stdout, stderr: stderr, models: models}
	err = parsed.Run(p)
	if err == nil {
		return exitDone
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintf(stderr, "docket: %v\n", err)
	}
	if errors.As(err, new(undecided)) {
		return exitUnknown
	}
	return exitFailed
}

type exit int

// errReported: the command has said itself what is wrong.
var errReported = errors.New("reported")

const description = `An order system: commands in, events kept, views out.

Commands find the docket that runs on the folder --data and go through its HTTP
API; when none runs they open the folder themselves. Exit status: 0 done,
1 failed or refused, 2 wrong usage; of reconcile run 0 clean, 1 drift found,
2 could not tell.`
