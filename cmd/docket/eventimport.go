package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/transfer"
	"github.com/docket-orders/docket/internal/embedded"
)

type eventsImportCommand struct {
	File string `arg:"" name:"file" type:"existingfile" help:"File that docket eventstore export wrote."`
}

func (*eventsImportCommand) needsFolder() {}

// Run reads the file, and nothing is opened before it was found right.
func (c *eventsImportCommand) Run(p *program) error {
	source, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer source.Close()
	shown := newProgress(p.stderr)
	defer shown.end()
	file, err := transfer.Open(p.ctx, source, transfer.OpenOptions{Check: understood, Progress: shown.show})
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	store, err := p.openToImport()
	if err != nil {
		return err
	}
	done, err := file.Import(p.ctx, store, transfer.ImportOptions{Progress: shown.show})
	shown.end()
	if errors.Is(err, transfer.ErrDifferent) {
		err = fmt.Errorf("%w; import into a log that nothing but this import has written to, not even a docket that was started on it", err)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if p.config.JSON {
		return json.NewEncoder(p.stdout).Encode(moved{
			File: c.File, Log: done.Log.ID.String(), Epoch: done.Log.Epoch, Head: done.Head, Events: file.Events, Streams: file.Streams,
			There: &done.There, Written: &done.Written,
		})
	}
	if done.There > 0 {
		fmt.Fprintf(p.stdout, "%s were there already\n", plural(done.There, "event"))
	}
	fmt.Fprintf(p.stdout, "%s written to log %s, epoch %d\n", plural(done.Written, "event"), done.Log.ID, done.Log.Epoch)
	fmt.Fprintf(p.stdout, "read back and compared with the file: %s in %s are the same, in the same order\n", plural(file.Events, "event"), plural(file.Streams, "stream"))
	return nil
}

// openToImport opens the log that --eventstore names, or that of the folder,
// where no docket may be running.
func (p *program) openToImport() (eventstore.Store, error) {
	logger := p.logger(slog.LevelWarn)
	if p.config.EventStore != "" {
		return p.openEventStore(logger)
	}
	store, _, err := embedded.OpenLog(p.ctx, p.config.Data, embedded.Options{Logger: logger})
	if err != nil {
		return nil, err
	}
	return store, nil
}

// namespaced is the name of a stream with the prefix of a namespace.
var namespaced = regexp.MustCompile(`^([a-z0-9]{1,16})\.`)

// understood refuses what would stop the views: events of orders that this
// docket does not know.
func understood(r eventstore.Record) error {
	var ns eventstore.Namespace
	if found := namespaced.FindStringSubmatch(r.Stream); found != nil {
		ns = eventstore.Namespace(found[1])
	}
	if _, isOrder := ns.ID(codec.Category, r.Stream); !isOrder {
		return nil
	}
	_, err := codec.Decode(r, ns)
	return err
}
