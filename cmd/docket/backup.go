package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/embedded"
	views "github.com/docket-orders/docket/projections/sqlite"
)

type backupCommand struct {
	To string `arg:"" name:"dir" help:"Folder for the backup; must be empty or not there."`
}

// Run copies the log, beside a running docket or not.
func (c *backupCommand) Run(p *program) error {
	if err := p.requireLog(); err != nil {
		return err
	}
	shown := newProgress(p.stderr)
	m, err := sqlite.Backup(p.ctx, p.config.Data, c.To, sqlite.CopyOptions{Progress: shown.show})
	shown.end()
	if err != nil {
		return err
	}
	if p.config.JSON {
		return json.NewEncoder(p.stdout).Encode(struct {
			Backup string `json:"backup"`
			sqlite.Manifest
		}{c.To, m})
	}
	fmt.Fprintf(p.stdout, "backup of log %s, epoch %d, up to position %s: %d events in %d streams, %d bytes\n", m.Log, m.Epoch, m.Head, m.Events, m.Streams, m.Bytes)
	fmt.Fprintf(p.stdout, "it was read back and found right, and is on disk in %s\n", c.To)
	return nil
}

type restoreCommand struct {
	Backup string `arg:"" name:"backup" help:"Folder that docket eventstore backup made."`
}

// restored is what restore answers with --json.
type restored struct {
	Log   string              `json:"log"`
	Epoch uint32              `json:"epoch"`
	Head  eventstore.Position `json:"head"`
	// LostFrom and LostTo bound what was acknowledged and is not in the backup,
	// as far as the folder knows.
	LostFrom *eventstore.Position `json:"lostFrom,omitempty"`
	LostTo   *eventstore.Position `json:"lostTo,omitempty"`
	Aside    string               `json:"aside,omitempty"` // where the old log is
}

// Run makes the log of a backup that of the folder.
func (c *restoreCommand) Run(p *program) error {
	if err := embedded.RequireOwnLog(disk.OS(), p.config.Data); err != nil {
		return err
	}
	backend := views.NewBackend(p.config.Data, views.Options{})
	shown := newProgress(p.stderr)
	r, err := sqlite.Restore(p.ctx, c.Backup, p.config.Data, sqlite.CopyOptions{
		Progress: shown.show,
		Seen: func(ctx context.Context) ([]sqlite.Sighting, error) {
			return embedded.WhatViewsHold(ctx, backend, p.warnOfView)
		},
	})
	shown.end()
	if err != nil {
		return err
	}
	lost := r.LostTo != eventstore.Start
	if p.config.JSON {
		answer := restored{Log: r.Log.ID.String(), Epoch: r.Log.Epoch, Head: r.Backup.Head, Aside: r.Aside}
		if lost {
			answer.LostFrom, answer.LostTo = &r.LostFrom, &r.LostTo
		}
		return json.NewEncoder(p.stdout).Encode(answer)
	}
	fmt.Fprintf(p.stdout, "%s holds log %s now, in epoch %d: %d events, up to position %s\n", p.config.Data, r.Log.ID, r.Log.Epoch, r.Backup.Events, r.Backup.Head)
	if lost {
		fmt.Fprintf(p.stdout, "positions %s to %s were acknowledged and are not in the backup: they are given up\n", r.LostFrom, r.LostTo)
	}
	if r.Aside != "" {
		fmt.Fprintf(p.stdout, "the log that was there is kept in %s; remove it when nobody needs it\n", r.Aside)
	}
	fmt.Fprintln(p.stdout, "the next start makes the views anew; tokens and cursors from before are refused (409)")
	return nil
}

// warnOfView: a view that cannot be read is no reason to stop, but it may be
// the only one that knows how long the log was.
func (p *program) warnOfView(err error) {
	fmt.Fprintf(p.stderr, "docket: warning: a view does not tell how long the log was: %v\n", err)
}
