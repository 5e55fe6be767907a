package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/internal/disk/disktest"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/google/uuid"
	"github.com/ncruces/go-sqlite3"
)

// fact is what the test knew at an instant; it is a mark in the journal.
type fact struct {
	// Sent or Answered: the command whose turn it is.
	Sent, Answered bool
	Command        uuid.UUID
	Order          string
	// The answer. A refused command has a Revision of -1.
	Revision eventstore.Revision
	Position uint64
	Events   []uuid.UUID
	// Log is all of the log at the end of a timeline.
	Log []entry
	// Backup is the end of a backup that was made; Restoring and Restored stand
	// around the restore of it. What was sent between Backup and Restoring is not
	// in the next timeline.
	Backup              uint64
	Restoring, Restored bool
	Accepted            bool // the loss of the log's end
}

// entry is one event of the log.
type entry struct {
	Position uint64
	Stream   string
	Revision eventstore.Revision
	ID       uuid.UUID
	Sum      uint64    // of everything else
	Command  uuid.UUID // of the command that caused it; zero: not a command on an order
}

// recording is a scenario that was played.
type recording struct {
	name      string
	journal   *disktest.Journal
	timelines []timeline
	classes   []class
	backup    noted // of the fact that tells of it
	known     int   // marks at the start that tell what was there before it
}

// timeline is what happened to one log: to the only one, or to that before a
// restore and that after it. A crash after from and before to operations may
// lead to it.
type timeline struct {
	facts    []noted
	log      []entry
	whole    map[uuid.UUID]int // how many events each command wrote
	from, to int
}

// noted is a fact, and after how many operations it was known.
type noted struct {
	fact
	at int
}

// class are operations of one kind on files of one kind.
type class struct {
	name string
	ops  []int
}

func newRecording(name string, j *disktest.Journal) (*recording, error) {
	r := &recording{name: name, journal: j}
	classes := map[string]int{}
	now, backedUp := timeline{to: len(j.Ops)}, 0
	for i, op := range j.Ops {
		c := op.Kind.String()
		if op.Kind == disktest.Mark {
			var f fact
			if err := json.Unmarshal([]byte(op.Path), &f); err != nil {
				return nil, err
			}
			if i == r.known {
				r.known++
			}
			at := noted{f, i + 1}
			switch {
			case f.Log != nil:
				now.log, now.whole = f.Log, map[uuid.UUID]int{}
				for _, e := range f.Log {
					now.whole[e.Command]++
				}
				r.timelines = append(r.timelines, now)
			case f.Backup > 0:
				r.backup, backedUp = at, len(now.facts)
			case f.Restoring:
				now = timeline{facts: slices.Clone(now.facts[:backedUp]), from: at.at, to: len(j.Ops)}
			case f.Restored:
				r.timelines[len(r.timelines)-1].to = at.at - 1
			default:
				now.facts = append(now.facts, at)
			}
		} else {
			c += " " + fileClass(op.Path)
		}
		if _, ok := classes[c]; !ok {
			classes[c] = len(r.classes)
			r.classes = append(r.classes, class{name: c})
		}
		r.classes[classes[c]].ops = append(r.classes[classes[c]].ops, i)
	}
	return r, nil
}

var number = regexp.MustCompile(`-\d+`)

// fileClass is what a file is for.
func fileClass(name string) string {
	if strings.Contains(name, "/tmp") {
		return "tmp"
	}
	return number.ReplaceAllString(strings.TrimPrefix(path.Clean(name), "data/"), "")
}

// play is a docket that is recorded, and its clients.
type play struct {
	t       *testing.T
	disk    *disktest.Disk
	docket  *embedded.Docket
	clients atomic.Int64
}

var quiet = slog.New(slog.DiscardHandler)

// record plays a scenario. dir is its folder, on a disk that is fast.
func record(t *testing.T, name string, scenario func(*play)) *recording {
	t.Helper()
	p := &play{t: t, disk: disktest.New(fastDir(t))}
	defer p.disk.Close()
	var known []entry // what is in the log from the start
	if name == lostItsEnd {
		known = p.loseTheEnd()
	}
	if err := p.disk.Record(); err != nil {
		t.Fatal(err)
	}
	for _, e := range known {
		if e.Command != uuid.Nil {
			p.mark(fact{Sent: true, Command: e.Command})
			p.mark(fact{Answered: true, Command: e.Command})
		}
	}
	p.open()
	scenario(p)
	p.mark(fact{Log: readLog(t, p.docket)})
	p.close()
	r, err := newRecording(name, p.disk.Stop())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fastDir is a folder in memory, if the system has such a place: what a crash
// leaves is made up here, and no disk is asked.
func fastDir(t *testing.T) string {
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "docket-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (p *play) folder() string { return filepath.Join(p.disk.Root(), "data") }

func (p *play) open() {
	p.t.Helper()
	var err error
	p.docket, err = embedded.Open(p.t.Context(), p.folder(), embedded.Options{Logger: quiet, VFS: p.disk.VFS(), Disk: p.disk.FS()})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) close() {
	p.t.Helper()
	if err := p.docket.Close(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) restart() {
	p.t.Helper()
	p.close()
	p.open()
}

func (p *play) caughtUp() {
	p.t.Helper()
	if err := p.docket.Manager.CaughtUp(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) mark(f fact) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	p.disk.Mark(string(b))
}

// sql runs statements on a database from outside, as an operator could: they
// are recorded too.
func (p *play) sql(file, text string) {
	p.t.Helper()
	conn, err := sqlite3.Open("file:" + filepath.Join(p.folder(), file) + "?vfs=" + p.disk.VFS())
	if err == nil {
		err = errors.Join(conn.BusyTimeout(10*time.Second), conn.Exec(text), conn.Close())
	}
	if err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

// checkpoint copies a WAL into its database now; with 32 MiB of WAL it would
// happen by itself.
func (p *play) checkpoint(file, how string) { p.sql(file, `PRAGMA wal_checkpoint(`+how+`)`) }

// client sends commands on one order of its own.
type client struct {
	p     *play
	dice  ordertest.Dice
	order string
	sent  int
	last  command.Request
	at    time.Time
	state order.State
}

func (p *play) client() *client {
	n := p.clients.Add(1)
	return &client{p: p, dice: ordertest.Seeded(n), order: fmt.Sprint("order", n), at: ordertest.Start}
}

// request is what comes with a client's n-th command.
func request(order string, n int) command.Request {
	return again(uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%s %d", order, n)))
}

func again(id uuid.UUID) command.Request {
	return command.Request{CommandID: id, Fingerprint: id.String(), Actor: "crash"}
}

// send sends one command and tells what came of it; it may be refused.
func (c *client) send(cmd order.Command) (accepted bool) {
	c.sent++
	return c.handle(cmd, request(c.order, c.sent))
}

func (c *client) handle(cmd order.Command, req command.Request) (accepted bool) {
	c.p.mark(fact{Sent: true, Command: req.CommandID, Order: c.order})
	answer := fact{Answered: true, Command: req.CommandID, Order: c.order, Revision: -1}
	res, err := c.p.docket.Orders.Handle(c.p.t.Context(), c.order, cmd, req)
	switch {
	case err == nil:
		c.state = res.State
		answer.Revision, answer.Position = res.Revision, res.Position.Commit
		for _, e := range res.Events {
			answer.Events = append(answer.Events, e.EventID)
		}
	case !errors.As(err, new(*domain.Rejection)):
		c.p.t.Errorf("%s: %v", cmd.Name(), err)
	}
	c.p.mark(answer)
	c.last = req
	return err == nil
}

// place places the order.
func (c *client) place() {
	for !c.send(ordertest.Place(c.dice, c.at)) {
	}
}

// change sends n commands of all kinds. Some are refused, and some are sent
// again.
func (c *client) change(n int) {
	for range n {
		c.at = c.at.Add(time.Minute)
		cmd := ordertest.Command(c.dice, c.state, c.at)
		c.send(cmd)
		if c.dice(5) == 0 {
			c.handle(cmd, c.last)
		}
	}
}

// together lets n clients place and change their orders at the same time.
func (p *play) together(clients, changes int) {
	var all sync.WaitGroup
	for range clients {
		c := p.client()
		all.Go(func() {
			c.place()
			c.change(changes)
		})
	}
	all.Wait()
}

// readLog reads the whole log.
func readLog(t testing.TB, d *embedded.Docket) []entry {
	t.Helper()
	log, err := logOf(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func logOf(ctx context.Context, d *embedded.Docket) ([]entry, error) {
	log := []entry{}
	for r, err := range d.Store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, eventstore.Filter{}, 0) {
		if err != nil {
			return nil, err
		}
		sum := fnv.New64a()
		fmt.Fprintf(sum, "%d %s %v ", r.Position.Commit, r.Type, r.Created)
		sum.Write(r.Data)
		sum.Write([]byte{0})
		sum.Write(r.Metadata)
		e := entry{Position: r.Position.Commit, Stream: r.Stream, Revision: r.Revision, ID: r.ID, Sum: sum.Sum64()}
		if _, ok := eventstore.Namespace("").ID(codec.Category, r.Stream); ok {
			decoded, err := codec.Decode(r, "")
			if err != nil {
				return nil, err
			}
			e.Command = decoded.Meta.CommandID
		}
		log = append(log, e)
	}
	return log, nil
}
