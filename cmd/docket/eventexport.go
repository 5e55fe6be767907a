package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/eventstore/transfer"
	"github.com/docket-orders/docket/internal/disk"
)

type exportCommand struct {
	File    string   `arg:"" name:"file" help:"File to write, one event a line; - is standard output."`
	Without []string `sep:"none" placeholder:"STREAM" help:"Leave a stream out; with * at the end, all whose names begin so. May be repeated."`
}

func (*exportCommand) needsFolder() {}

// moved is what export and import answer with --json.
type moved struct {
	File    string              `json:"file"`
	Log     string              `json:"log"`
	Epoch   uint32              `json:"epoch"`
	Head    eventstore.Position `json:"head"`
	Events  int64               `json:"events"`
	Streams int64               `json:"streams"`
	Bytes   int64               `json:"bytes,omitempty"`
	SHA256  string              `json:"sha256,omitempty"`
	// Of an import: what was there before, and what was written.
	There   *int64 `json:"there,omitempty"`
	Written *int64 `json:"written,omitempty"`
}

// Run writes the log into a file, which is there when all of it is on disk.
func (c *exportCommand) Run(p *program) error {
	store, err := p.openToRead()
	if err != nil {
		return err
	}
	shown := newProgress(p.stderr)
	e, err := c.export(p, store, shown)
	shown.end()
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	said := p.stdout
	if c.File == "-" {
		said = p.stderr
	}
	if p.config.JSON {
		return json.NewEncoder(said).Encode(moved{
			File: c.File, Log: e.Log.ID.String(), Epoch: e.Log.Epoch, Head: e.Head, Events: e.Events, Streams: e.Streams, Bytes: e.Bytes, SHA256: e.SHA256,
		})
	}
	fmt.Fprintf(said, "log %s, epoch %d, up to position %s: %s in %s, %d bytes\n", e.Log.ID, e.Log.Epoch, e.Head, plural(e.Events, "event"), plural(e.Streams, "stream"), e.Bytes)
	return nil
}

// openToRead opens the log that --eventstore names, or reads that of the folder
// beside a running docket, if nothing is wrong with it: what a damaged log has
// lost would be missing in the export without a word.
func (p *program) openToRead() (eventstore.Store, error) {
	if p.config.EventStore != "" {
		return p.openEventStore(p.logger(slog.LevelWarn))
	}
	if err := p.requireLog(); err != nil {
		return nil, err
	}
	store, err := sqlite.OpenReadOnly(p.ctx, p.config.Data)
	if err != nil {
		return nil, err
	}
	shown := newProgress(p.stderr)
	report, err := store.Verify(p.ctx, func(done, total uint64) { shown.show("verifying", int64(done), int64(total)) })
	shown.end()
	if err == nil && !report.OK() {
		err = fmt.Errorf("%w: the log is not exported as it is: %s (run: docket eventstore verify)", eventstore.ErrCorrupt, report.Findings[0])
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

func (c *exportCommand) export(p *program, store eventstore.Store, shown *progress) (e transfer.Exported, err error) {
	o := transfer.ExportOptions{Namespace: p.config.namespace(), Without: c.Without, Progress: shown.show}
	if c.File == "-" {
		return transfer.Export(p.ctx, store, p.stdout, o)
	}
	err = writeBeside(c.File, func(w io.Writer) error {
		e, err = transfer.Export(p.ctx, store, w, o)
		return err
	})
	return e, err
}

// writeBeside writes a new file under another name, and gives it its own when
// it is on disk.
func writeBeside(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s is there already: name another file, or remove it", name)
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), ".docket-export-*")
	if err != nil {
		return err
	}
	err = write(temporary)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return disk.OS().SyncDir(filepath.Dir(name))
}
