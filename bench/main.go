// Command bench measures docket against what cannot be argued with: the disk,
// the bare database, the plainest server, what a team would otherwise write.
// Both sides of a comparison run in turns in the same run, and their ratio is
// what counts; absolute times on shared machines mean little.
//
//	go run ./bench -data DIR [-quick] [-only append,reads] [-json FILE]
//
// Each question is a file; report.go is the table. It exits with 1 when a
// question could not be answered, not when a goal was missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// questions in the order in which they are asked.
var questions = []question{
	appendQuestion,
	postQuestion,
	mixedQuestion,
	hotQuestion,
	postgresQuestion,
	allocsQuestion,
	importQuestion,
	projectQuestion,
	projectElasticQuestion,
	projectRedisQuestion,
	aggregateQuestion,
	lagQuestion,
	lagProductionQuestion,
	readsQuestion,
	readsProductionQuestion,
	viewAllocsQuestion,
	growthQuestion,
	rebuildMemoryQuestion,
	reconcileQuestion,
	diffQuestion,
	esdbAppendQuestion,
	esdbSubscribeQuestion,
	esdbSubscribersQuestion,
}

// roles are what this program is when it runs itself again, by the name that is
// its first argument.
var roles = map[string]func(ctx context.Context, args []string) error{
	"load":         generateLoad,
	"plain-server": plainServer,

	"live-server":      liveServer,
	"live-subscribers": liveSubscribers,
}

// question is one thing that is measured.
type question struct {
	name  string // on the command line
	about string // what is compared with what, in one line
	ask   func(context.Context, *env) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if role, ok := roles[args[0]]; ok {
			return role(ctx, args[1:])
		}
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	data := flags.String("data", "../shared/data", "folder with the public data sets")
	quick := flags.Bool("quick", false, "fewer and smaller rounds")
	only := flags.String("only", "", "names of questions, separated by commas; all when empty")
	jsonFile := flags.String("json", "", "also write the report as JSON to this file; - for standard output instead of the table")
	profile := flags.String("cpuprofile", "", "write to this file where this program spends its processor time, for go tool pprof")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r, err := askAll(ctx, chosen, *data, *quick, os.Stderr)
	if err != nil {
		return err
	}
	if err := write(r, *jsonFile); err != nil {
		return err
	}
	for _, g := range r.Groups {
		if g.Failed != "" {
			return fmt.Errorf("%s was not answered: %s", g.Name, g.Failed)
		}
	}
	return nil
}

func choose(only string) ([]question, error) {
	if only == "" {
		return questions, nil
	}
	var names []string
	for _, q := range questions {
		names = append(names, q.name)
	}
	var chosen []question
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("there is no question %q; there are %s", name, strings.Join(names, ", "))
		}
		chosen = append(chosen, questions[i])
	}
	return chosen, nil
}

// askAll asks one question after the other; one that fails does not keep the
// others from being asked.
func askAll(ctx context.Context, chosen []question, data string, quick bool, progress io.Writer) (report, error) {
	e, err := newEnv(data, quick, progress)
	if err != nil {
		return report{}, err
	}
	defer e.close()
	began := time.Now()
	r := report{Machine: thisMachine(e.dir), Quick: quick}
	for _, q := range chosen {
		fmt.Fprintf(progress, "%s: %s\n", q.name, q.about)
		e.group = &group{Name: q.name, About: q.about}
		seconds, err := timed(func() error { return q.ask(ctx, e) })
		if ctx.Err() != nil {
			return report{}, ctx.Err()
		}
		if err != nil {
			e.group.Failed = err.Error()
		}
		e.group.Seconds = seconds
		r.Groups = append(r.Groups, *e.group)
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

func write(r report, jsonFile string) error {
	if jsonFile == "-" {
		return r.json(os.Stdout)
	}
	r.print(os.Stdout)
	if jsonFile == "" {
		return nil
	}
	f, err := os.Create(jsonFile)
	if err != nil {
		return err
	}
	if err := r.json(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func timed(do func() error) (seconds float64, err error) {
	start := time.Now()
	err = do()
	return time.Since(start).Seconds(), err
}
