// Command facts imports both public data sets with docket, as a user does, and
// asks the HTTP API for every figure of facts.json, which was computed from the
// same files by something else. It fails on any difference, and without the
// data.
//
//	go run ./internal/facts -data DIR [-docket PATH] [-eventstore embedded|grpc|moved] [-views embedded|production] [-set NAME]
//
// With -eventstore grpc the log of each folder is served by a docket eventstore
// serve of its own. With moved both logs are filled at home, and then one is
// moved into such a server and the other one there and back, before anything is
// asked; the second import then finds its orders in the new place.
//
// With -views production lists and searches are answered by an Elasticsearch, and
// the rest by a Redis, of internal/testservers.
//
// Each set is imported three times over two folders: order by order, once more
// (which must add nothing), and interleaved in business time, whose views must
// equal those of the first in everything but position and updatedAt. Both are
// reconciled: nothing differs from what the log says. Orders are asked for as
// they were, and compared with naive answers.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/docket-orders/docket/internal/testservers"
)

func main() {
	data := flag.String("data", "", "folder with the data sets and facts.json")
	binary := flag.String("docket", "", "docket to check; built when not given")
	only := flag.String("set", "", "one data set only: olist or uci_online_retail")
	way := flag.String("eventstore", embedded, "where the logs are: embedded, grpc or moved")
	views := flag.String("views", embedded, "where the views are: embedded or production")
	flag.Parse()
	if *data == "" || flag.NArg() > 0 || !slices.Contains([]string{embedded, production}, *views) || !slices.Contains([]string{embedded, overGRPC, moved}, *way) || !slices.Contains([]string{"", "olist", "uci_online_retail"}, *only) {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers := testservers.NewProgram("facts")
	ok, err := run(ctx, *data, *binary, *only, &sites{way: *way, views: viewsOn(servers, *views)})
	servers.Close()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "facts:", err)
		os.Exit(1)
	case !ok:
		os.Exit(1)
	}
}

// set is one data set: how it is imported, and what is asked afterwards.
type set struct {
	name  string // in facts.json
	args  []string
	rows  func(f facts) (int, error) // rows the import must read
	check func(c *check, s *server, seen *walked)
}

// run checks the sets in places like where.
func run(ctx context.Context, data, binary, only string, where *sites) (bool, error) {
	known, err := readFacts(filepath.Join(data, "facts.json"))
	if err != nil {
		return false, err
	}
	retailFile := filepath.Join(data, "uci_online_retail.csv.gz")
	for _, needed := range []string{retailFile, filepath.Join(data, "olist_orders_dataset.csv.gz")} {
		if _, err := os.Stat(needed); err != nil {
			return false, fmt.Errorf("the data sets are needed: %w", err)
		}
	}
	scratch, err := os.MkdirTemp("", "docket-facts-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)
	if binary == "" {
		binary = filepath.Join(scratch, "docket")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/docket")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return false, fmt.Errorf("build docket: %w\n%s", err, out)
		}
	}
	good := true
	for _, s := range []set{
		{"olist", []string{"import", "olist", "--dir", data}, olistRows, checkOlist},
		{"uci_online_retail", []string{"import", "online-retail", "--file", retailFile}, retailRows, checkRetail},
	} {
		if only != "" && only != s.name {
			continue
		}
		sites := &sites{binary: binary, way: where.way, views: where.views, set: s.name, dir: filepath.Join(scratch, s.name)}
		c, back := &check{set: s.name, facts: known[s.name]}, &check{set: s.name, facts: known[s.name]}
		err := s.run(ctx, sites, c, back)
		sites.stop()
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.name, err)
		}
		good = c.print(os.Stdout) && good
		if where.way == moved {
			fmt.Printf("%-20s the same of the log that was moved there and back\n", s.name)
			good = back.print(os.Stdout) && good
		}
	}
	return good, nil
}

// run imports the set into two places and asks the first for everything; back is
// what the second one answers to the same, when it is another kind of place.
func (s set) run(ctx context.Context, all *sites, c, back *check) error {
	plain, err := all.open(ctx, "plain")
	if err != nil {
		return err
	}
	woven, err := all.open(ctx, "interleaved")
	if err != nil {
		return err
	}
	first, err := runImport(ctx, all.binary, plain, s.args...)
	if err != nil {
		return err
	}
	if plain, err = all.move(ctx, plain, false); err != nil {
		return err
	}
	again, err := runImport(ctx, all.binary, plain, s.args...)
	if err != nil {
		return err
	}
	other, err := runImport(ctx, all.binary, woven, append(s.args, "--interleave")...)
	if err != nil {
		return err
	}
	if woven, err = all.move(ctx, woven, true); err != nil {
		return err
	}
	for _, i := range []struct {
		name string
		imported
	}{{"import", first}, {"second import", again}, {"import --interleave", other}} {
		fmt.Printf("%-20s %-18s %6.1f s, at most %d MB resident, %d events written, %.0f bytes of log and %.0f of views on disk per event\n",
			s.name, i.name, i.took.Seconds(), i.peak>>20, i.report.Events,
			float64(i.log)/float64(max(first.report.Events, 1)), float64(i.views)/float64(max(first.report.Events, 1)))
	}
	if err := checkPast(ctx, c, woven); err != nil {
		return err
	}
	rows, err := s.rows(c.facts)
	if err != nil {
		return err
	}
	c.equal("rows read", rows, first.rows())
	c.equal("rows refused", 0, first.report.RefusedCount)
	c.equal("orders made by the import", first.report.Orders, first.report.Made)
	c.equal("events of the second import", 0, again.report.Events)
	c.equal("orders the second import found", first.report.Orders, again.report.AlreadyThere)
	c.equal("events of the interleaved import", first.report.Events, other.report.Events)

	one, err := serve(ctx, all.binary, plain)
	if err != nil {
		return err
	}
	defer one.stop()
	two, err := serve(ctx, all.binary, woven)
	if err != nil {
		return err
	}
	defer two.stop()
	start := time.Now()
	seen, different, err := walk(ctx, one, two)
	if err != nil {
		return err
	}
	fmt.Printf("%-20s walked %d orders of both in %.1f s\n", s.name, seen.orders, time.Since(start).Seconds())
	c.equal("events in the views (revisions)", first.report.Events, seen.events)
	c.equal("orders that differ when interleaved", 0, different)
	s.check(c, one, seen)
	if all.way == moved {
		s.check(back, two, seen)
		c.fail(back.failed)
	}
	for _, docket := range []*server{one, two} {
		if err := checkReconciled(ctx, c, docket, first.report.Orders, first.report.Events, plain.stores()); err != nil {
			return err
		}
	}
	return c.failed
}
