package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
	views "github.com/docket-orders/docket/projections/sqlite"
)

type eventsGroup struct {
	Serve      eventsServeCommand  `cmd:"" help:"Serve the log of the folder to EventStoreDB clients, and nothing else."`
	Verify     verifyCommand       `cmd:"" help:"Check the whole log: checksums, revisions, positions. Works beside a running docket."`
	Backup     backupCommand       `cmd:"" help:"Copy the log into an empty folder, and check the copy. Works beside a running docket."`
	Restore    restoreCommand      `cmd:"" help:"Put a backup in the place of the log, in a new epoch; the old log is kept aside. No docket may be running."`
	RaiseEpoch raiseEpochCommand   `cmd:"" help:"Begin another epoch of the log in an EventStoreDB that was restored from a backup: views are made anew, tokens of before are refused. No docket may be running."`
	Export     exportCommand       `cmd:"" help:"Write the log into a file, one event a line, to move it to another store. Works beside a running docket."`
	Import     eventsImportCommand `cmd:"" help:"Append what an export wrote to an empty log, here or in an EventStoreDB, and compare it. May be run again after an interruption. No docket may be running."`
}

type verifyCommand struct {
	AcceptLoss bool `help:"Make a log writable again that is shorter than what was acknowledged: record the gap and raise the epoch. No docket may be running."`
}

// verified is what verify answers with --json.
type verified struct {
	OK       bool                `json:"ok"`
	Log      string              `json:"log"`
	Epoch    uint32              `json:"epoch"`
	Head     eventstore.Position `json:"head"`
	Events   int64               `json:"events"`
	Streams  int64               `json:"streams"`
	Lost     int64               `json:"lost"` // positions whose loss was accepted
	Findings []verifiedFinding   `json:"findings"`
	More     bool                `json:"more,omitempty"` // findings are left out
}

type verifiedFinding struct {
	Position eventstore.Position `json:"position"` // 0: of no single event
	Text     string              `json:"text"`
}

// Run reads the whole log; what it finds is an exit status of 1.
func (c *verifyCommand) Run(p *program) error {
	if err := p.requireLog(); err != nil {
		return err
	}
	if c.AcceptLoss {
		if err := p.acceptLoss(); err != nil {
			return err
		}
	}
	store, err := sqlite.OpenReadOnly(p.ctx, p.config.Data)
	if err != nil {
		return err
	}
	shown := newProgress(p.stderr)
	report, err := store.Verify(p.ctx, func(done, total uint64) { shown.show("verifying", int64(done), int64(total)) })
	shown.end()
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if err := p.writeVerified(report); err != nil {
		return err
	}
	if !report.OK() {
		return errReported
	}
	return nil
}

func (p *program) writeVerified(r sqlite.Report) error {
	if p.config.JSON {
		answer := verified{
			OK: r.OK(), Log: r.Log.ID.String(), Epoch: r.Log.Epoch, Head: r.Head, Events: r.Events, Streams: r.Streams,
			Lost: r.Lost, Findings: []verifiedFinding{}, More: r.More,
		}
		for _, f := range r.Findings {
			answer.Findings = append(answer.Findings, verifiedFinding(f))
		}
		return json.NewEncoder(p.stdout).Encode(answer)
	}
	fmt.Fprintf(p.stdout, "log %s, epoch %d: %d events in %d streams, head %s\n", r.Log.ID, r.Log.Epoch, r.Events, r.Streams, r.Head)
	if r.Lost > 0 {
		fmt.Fprintf(p.stdout, "%d positions are accepted as lost\n", r.Lost)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(p.stdout, f)
	}
	switch {
	case r.More:
		fmt.Fprintln(p.stdout, "and more that is not listed")
	case r.OK():
		fmt.Fprintln(p.stdout, "nothing is wrong")
	}
	return nil
}

// acceptLoss opens the log to write, with what the views have seen of it.
func (p *program) acceptLoss() error {
	store, err := sqlite.Open(p.ctx, p.config.Data, sqlite.Options{})
	if err != nil {
		return err
	}
	loss, err := func() (loss sqlite.Loss, err error) {
		log, err := store.Log(p.ctx)
		if err != nil {
			return loss, err
		}
		if err := embedded.RequireWhatViewsHold(p.ctx, store, log, views.NewBackend(p.config.Data, views.Options{}), p.warnOfView); err != nil {
			return loss, err
		}
		return store.AcceptLoss(p.ctx)
	}()
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "positions %s to %s are given up; the log is in epoch %d now\n", loss.From, loss.To, loss.Log.Epoch)
	return nil
}
