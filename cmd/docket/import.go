package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/docket-orders/docket/domain/order"
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

// reader is an import of one kind of files.
type reader func(context.Context, importer.Target, importer.Options) (importer.Report, error)

func (i importing) run(p *program, read reader) error {
	target := &lateTarget{program: p}
	report, err := i.into(p, target, read)
	if err := errors.Join(err, target.close()); err != nil {
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

// into imports into the target, and waits for its views.
func (i importing) into(p *program, target *lateTarget, read reader) (importer.Report, error) {
	shown := newProgress(p.stderr)
	defer shown.end()
	options := importer.Options{
		Zone: i.zone, Interleave: i.Interleave,
		Progress: func(at importer.Progress) { shown.show(at.Phase, int64(at.Done), int64(at.Total)) },
	}
	// Where there is a docket, reading long files waits until it is known to answer.
	if p.config.Server != "" || p.config.EventStore != "" || p.requireLog() == nil {
		if err := target.open(); err != nil {
			return importer.Report{}, err
		}
	}
	report, err := read(p.ctx, target, options)
	if err != nil {
		return report, err
	}
	shown.show("waiting for the views", 0, 1)
	if err := target.caughtUp(p.ctx); err != nil {
		return report, fmt.Errorf("the orders are there, but the views have not caught up: %w", err)
	}
	shown.show("waiting for the views", 1, 1)
	return report, nil
}

// lateTarget reaches, or makes, a docket when the first order is there: files
// that are refused leave no folder behind.
type lateTarget struct {
	program *program
	once    sync.Once
	err     error // why there is no docket
	docket  *connection
	orders  importer.Target
	remote  *remoteTarget // nil unless another process was reached
}

func (t *lateTarget) open() error {
	t.once.Do(func() {
		if t.docket, t.err = t.program.connect(true); t.err != nil {
			return
		}
		if t.docket.app != nil {
			t.orders = patientTarget{importer.Direct{Orders: t.docket.app.Orders}}
			return
		}
		t.remote = newRemoteTarget(t.program.ctx, t.docket.client)
		t.orders = patientTarget{t.remote}
	})
	return t.err
}

// Adopt sends one part of an order's history and waits for its answer.
func (t *lateTarget) Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (importer.Outcome, error) {
	if err := t.open(); err != nil {
		return importer.Outcome{}, err
	}
	return t.orders.Adopt(ctx, orderID, a, key)
}

// caughtUp returns when the views hold what was sent.
func (t *lateTarget) caughtUp(ctx context.Context) error {
	if t.docket == nil {
		return nil
	}
	return patiently(ctx, func() error { return t.docket.caughtUp(ctx) })
}

// close ends what was opened; nothing may be on its way.
func (t *lateTarget) close() error {
	if t.remote != nil {
		t.remote.close()
	}
	if t.docket == nil {
		return nil
	}
	return t.docket.close()
}
