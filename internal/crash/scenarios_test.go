package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/domain/order/ordertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/reconcile"
)

// scenarios are what is recorded. Each begins with an empty folder and ends with
// a clean stop, so that both are crashed into everywhere.
var scenarios = []struct {
	name string
	play func(*play)
}{
	{"orders", orders},
	{"long", long},
	{"adoptions", adoptions},
	{"checkpoints", checkpoints},
	{"rebuild", rebuild},
	{damagedByHand, repair},
	{"restore", restore},
	{lostItsEnd, acceptLoss},
}

// damagedByHand is the scenario in which the views differ from the log, until
// they are repaired.
const damagedByHand = "repair"

// lostItsEnd is the scenario that begins with a log that is shorter than what was
// acknowledged.
const lostItsEnd = "loss"

// orders: clients place and change orders at the same time, across a restart.
func orders(p *play) {
	p.together(3, 8)
	p.caughtUp()
	p.restart()
	p.together(2, 6)
}

// long: one order grows until there are snapshots of it, and is loaded from them
// after a restart.
func long(p *play) {
	c := p.client()
	c.place()
	note := func(n int) {
		for i := range n {
			c.at = c.at.Add(time.Second)
			c.send(order.AddNote{Text: fmt.Sprint("note ", i), At: c.at})
		}
	}
	note(104)
	p.restart()
	c.change(6)
	note(100)
}

// adoptions: orders are taken over with their history, in one part and in many.
func adoptions(p *play) {
	for i, steps := range []int{5, 40, 150} {
		c := p.client()
		whole, events := adoptable(int64(i), steps)
		sorted := events[:len(events)-1] // the last one completes the adoption
		parts := 1 + i
		first := 0
		for n := 1; n <= parts; n++ {
			end := len(sorted) * n / parts
			part := order.Adopt{First: int64(first), History: sorted[first:end], Last: n == parts}
			if part.Last {
				part.Claim, part.Odd = whole.Claim, whole.Odd
			}
			if !c.send(part) {
				p.t.Errorf("part %d of %d was refused", n, parts)
			}
			first = end
		}
		c.change(3)
	}
}

// adoptable is a history of about so many steps, and the events that it becomes.
func adoptable(seed int64, steps int) (order.Adopt, []order.Event) {
	for ; ; steps-- {
		whole := ordertest.Adopt(ordertest.Seeded(seed), steps)
		if events, err := order.Decide(order.State{}, whole); err == nil {
			return whole, events
		}
	}
}

// checkpoints: every database is copied back from its WAL between the commands,
// and its WAL begins anew.
func checkpoints(p *play) {
	views := "views/orders-1.db"
	for _, how := range []string{"PASSIVE", "RESTART", "TRUNCATE", "FULL", "RESTART"} {
		p.together(2, 3)
		p.checkpoint("events.db", how)
		p.together(1, 2)
		p.checkpoint(views, how)
		p.checkpoint("snapshots.db", how)
	}
	p.restart()
	p.together(1, 3)
	p.checkpoint("events.db", "RESTART")
	p.together(1, 1)
}

// rebuild: the views are made again beside the old ones while orders change, by
// way of the spill files, twice.
func rebuild(p *play) {
	p.together(4, 5)
	for range 2 {
		ended := make(chan error, 1)
		go func() { ended <- p.docket.Manager.Rebuild(p.t.Context(), func(projections.Progress) {}) }()
		p.together(1, 4)
		if err := <-ended; err != nil {
			p.t.Errorf("rebuild: %v", err)
		}
	}
	p.together(1, 2)
}

// repair: somebody damages the views by hand, a reconciliation repairs them.
func repair(p *play) {
	p.together(4, 4)
	p.caughtUp()
	p.sql("views/orders-1.db", `DELETE FROM docs WHERE n = (SELECT min(n) FROM docs);
		UPDATE docs SET document = CAST(replace(document, '"revision":', '"revision":1') AS BLOB) WHERE n = (SELECT max(n) FROM docs)`)
	run, err := p.docket.Reconciler.Run(p.t.Context(), reconcile.NewID(), reconcile.Request{Repair: true}, func(reconcile.Progress) {})
	if err != nil || run.Repaired == 0 {
		p.t.Errorf("repair: %v, %+v", err, run)
	}
	p.together(1, 3)
}

// backupName is the folder of a backup, beside that of the docket.
const backupName = "backup"

// restore: a backup is made while orders change; later it is restored.
func restore(p *play) {
	options := sqlite.CopyOptions{VFS: p.disk.VFS(), Disk: p.disk.FS()}
	backup := filepath.Join(p.disk.Root(), backupName)
	p.together(2, 4)
	made, err := sqlite.Backup(p.t.Context(), p.folder(), backup, options)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mark(fact{Backup: made.Head.Commit})
	p.together(2, 2)
	p.caughtUp()
	p.mark(fact{Log: readLog(p.t, p.docket)})
	p.close()
	p.mark(fact{Restoring: true})
	if _, err := sqlite.Restore(p.t.Context(), backup, p.folder(), options); err != nil {
		p.t.Fatal(err)
	}
	p.mark(fact{Restored: true})
	p.open()
	p.together(2, 3)
}

// loseTheEnd makes the folder in which lostItsEnd begins, and answers what is
// left of its log.
func (p *play) loseTheEnd() (left []entry) {
	log := filepath.Join(p.folder(), "events.db")
	p.open()
	p.together(2, 2)
	left = readLog(p.t, p.docket)
	p.close()
	short, err := os.ReadFile(log)
	p.open()
	p.together(2, 2)
	p.caughtUp()
	p.close()
	if err = errors.Join(err, os.WriteFile(log, short, 0o600)); err != nil {
		p.t.Fatal(err)
	}
	return left
}

// acceptLoss: the loss is accepted, and the views, which are ahead, are made
// again.
func acceptLoss(p *play) {
	if _, err := p.docket.Embedded.AcceptLoss(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	p.mark(fact{Accepted: true})
	p.restart()
	p.together(2, 3)
}
