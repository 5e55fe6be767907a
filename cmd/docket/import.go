package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/docket-orders/docket/importer"
)

type importGroup struct {
	Olist        importOlist  `cmd:"" help:"Orders of the Brazilian marketplace Olist: the files of the public data set."`
	OnlineRetail importRetail `cmd:"" help:"Invoices of a British wholesaler: the file of the public data set Online Retail."`
}

// importing is what all imports take.
type importing struct {
	Interleave bool   `help:"Send all orders' steps in order of business time instead of order by order."`
	Zone       string `placeholder:"ZONE" default:"UTC" help:"Time zone of times without one, such as America/Sao_Paulo (default ${default})."`

	zone *time.Location
}

// Validate reads the zone.
func (i *importing) Validate() (err error) {
	if i.zone, err = time.LoadLocation(i.Zone); err != nil || i.Zone == "Local" {
		return fmt.Errorf("--zone: %q: want a name of the IANA time zone database, such as Europe/London", i.Zone)
	}
	return nil
}

type importOlist struct {
	Dir string `required:"" placeholder:"DIR" type:"existingdir" help:"Folder with the files olist_*_dataset.csv, plain or .gz."`
	importing
}

type importRetail struct {
	File string `required:"" placeholder:"FILE" type:"existingfile" help:"The data set as .csv or .csv.gz."`
	importing
}

// Run imports, and returns when the views have caught up.
func (c *importOlist) Run(p *program) error {
	return c.run(p, func(ctx context.Context, target importer.Target, o importer.Options) (importer.Report, error) {
		return importer.Olist(ctx, c.Dir, target, o)
	})
}

// Run imports, and returns when the views have caught up.
func (c *importRetail) Run(p *program) error {
	return c.run(p, func(ctx context.Context, target importer.Target, o importer.Options) (importer.Report, error) {
		return importer.OnlineRetail(ctx, c.File, target, o)
	})
}

func (i importing) run(p *program, read func(context.Context, importer.Target, importer.Options) (importer.Report, error)) error {
	c, err := p.connect(true)
	if err != nil {
		return err
	}
	report, err := i.into(p, c, read)
	if err := c.and(err); err != nil {
		if p.ctx.Err() != nil {
			return fmt.Errorf("stopped; the same command goes on where it ended: %w", err)
		}
		return err
	}
	if p.config.JSON {
		return json.NewEncoder(p.stdout).Encode(report)
	}
	return report.WriteText(p.stdout)
}

// into imports through the connection, and waits for its views.
func (i importing) into(p *program, c *connection, read func(context.Context, importer.Target, importer.Options) (importer.Report, error)) (importer.Report, error) {
	shown := newProgress(p.stderr)
	defer shown.end()
	options := importer.Options{
		Zone: i.zone, Interleave: i.Interleave,
		Progress: func(at importer.Progress) { shown.show(at.Phase, int64(at.Done), int64(at.Total)) },
	}
	target, done := c.target(p.ctx)
	report, err := read(p.ctx, target, options)
	done()
	if err != nil {
		return report, err
	}
	shown.show("waiting for the views", 0, 1)
	if err := c.caughtUp(p.ctx); err != nil {
		return report, fmt.Errorf("the orders are there, but the views have not caught up: %w", err)
	}
	shown.show("waiting for the views", 1, 1)
	return report, nil
}

// target is where an import through this connection sends its orders; done ends
// it.
func (c *connection) target(ctx context.Context) (target importer.Target, done func()) {
	if c.app != nil {
		return importer.Direct{Orders: c.app.orders}, func() {}
	}
	remote := newRemoteTarget(ctx, c.client)
	return remote, remote.close
}
