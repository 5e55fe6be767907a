package crash

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/disk/disktest"
)

// TestCampaignSees: a disk, or a program, that does less than it should is
// found out within a few points.
func TestCampaignSees(t *testing.T) {
	recorded := record(t, "planted", func(p *play) {
		for range 2 {
			p.together(1, 2)
			p.caughtUp()
			p.checkpoint("events.db", "RESTART")
			p.checkpoint("views/orders-1.db", "RESTART")
		}
		p.together(1, 2)
		p.caughtUp()
	}).journal
	sync := func(path string) func(disktest.Op) bool {
		return func(op disktest.Op) bool { return op.Kind == disktest.Sync && op.Path == path }
	}
	for _, planted := range []struct {
		name    string
		journal *disktest.Journal
		after   string // the class of operations at which to crash,
		since   string // from where on this WAL began anew for the last time
	}{
		{"syncs of the log's WAL are ignored", recorded.Without(sync("data/events.db-wal")), "mark", ""},
		{"syncs of the log's file are ignored", recorded.Without(sync("data/events.db")), "write events.db-wal", "data/events.db-wal"},
		{"syncs of the views' file are ignored", recorded.Without(sync("data/views/orders-1.db")), "write views/orders.db-wal", "data/views/orders-1.db-wal"},
		{"syncs of folders are ignored", recorded.Without(func(op disktest.Op) bool { return op.Kind == disktest.SyncDir }), "mark", ""},
		{"acknowledged before the sync", earlier(t, recorded, func(f fact) bool { return f.Answered }), "mark", ""},
		{"the head file leads", headFirst(recorded), "write head", ""},
	} {
		t.Run(planted.name, func(t *testing.T) {
			r, err := newRecording("planted", planted.journal)
			if err != nil {
				t.Fatal(err)
			}
			first := 0
			for i, op := range r.journal.Ops {
				if op.Kind == disktest.Write && op.Path == planted.since && op.Offset == 0 {
					first = i
				}
			}
			r.classes = slices.DeleteFunc(r.classes, func(c class) bool { return c.name != planted.after })
			r.classes[0].ops = slices.DeleteFunc(r.classes[0].ops, func(i int) bool { return i < first })
			var points []point
			for n := range 200 {
				points = append(points, r.point(1, 2*n+1))
			}
			failures := campaign(t, points, 1)
			if len(failures) == 0 {
				t.Fatal("the campaign does not see it")
			}
			t.Log(failures[0])
		})
	}
}

// earlier moves the marks that pick picks before the last sync of the log's WAL.
func earlier(t *testing.T, j *disktest.Journal, pick func(fact) bool) *disktest.Journal {
	out := &disktest.Journal{Base: j.Base}
	lastSync := 0
	for _, op := range j.Ops {
		if op.Kind == disktest.Mark {
			var f fact
			if err := json.Unmarshal([]byte(op.Path), &f); err != nil {
				t.Fatal(err)
			}
			if pick(f) {
				out.Ops = slices.Insert(out.Ops, lastSync, op)
				lastSync++
				continue
			}
		}
		if op.Kind == disktest.Sync && strings.HasSuffix(op.Path, "events.db-wal") {
			lastSync = len(out.Ops)
		}
		out.Ops = append(out.Ops, op)
	}
	return out
}

// headFirst moves every write of the head file before the sync that it waited
// for.
func headFirst(j *disktest.Journal) *disktest.Journal {
	out := &disktest.Journal{Base: j.Base}
	lastSync := -1
	for _, op := range j.Ops {
		switch {
		case op.Kind == disktest.Sync && op.Path == "data/events.db-wal":
			lastSync = len(out.Ops)
		case op.Kind == disktest.Write && op.Path == "data/head" && lastSync >= 0:
			out.Ops = slices.Insert(out.Ops, lastSync, op)
			lastSync++
			continue
		case op.Kind == disktest.Create && op.Path == "data/head":
			lastSync = -1 // there must be a file to write to
		}
		out.Ops = append(out.Ops, op)
	}
	return out
}
