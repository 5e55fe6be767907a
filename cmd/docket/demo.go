package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docket-orders/docket/importer"
)

type demoCommand struct {
	listening
}

// The generated part of the demonstration: the same orders every time.
const (
	demoSeed   = 1
	demoOrders = 300
)

var demoYear = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// Run fills the folder when that was not done yet, serves it, and says what to
// try.
func (c *demoCommand) Run(p *program) error {
	listener, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	a, err := p.openApp(slog.LevelWarn)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	example, err := a.fillDemo(p)
	if err != nil {
		return errors.Join(err, a.Close(), listener.Close())
	}
	s, err := a.serve(p.config.Data, c.listening, listener)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	fmt.Fprint(p.stdout, demoPage(s.address, p.config.Data, example))
	return s.untilStopped(p)
}

// fillDemo sends the excerpt and the generated orders, which has no effect
// where they are already, and returns the last generated order's id. That order
// is sent after all others: once it is whole, everything is there.
func (a *app) fillDemo(p *program) (example string, err error) {
	var lives []importer.Lifecycle
	for life := range importer.Generate(demoSeed, demoOrders, demoYear) {
		lives = append(lives, life)
	}
	last := lives[len(lives)-1]
	if _, revision, err := a.Orders.Load(p.ctx, last.OrderID); err != nil {
		return "", err
	} else if int(revision) >= len(last.Steps)-1 {
		return last.OrderID, a.Views.CaughtUp(p.ctx)
	}

	shown := newProgress(p.stderr)
	defer shown.end()
	target := importer.Direct{Orders: a.Orders, Actor: "demo"}
	_, err = importer.Excerpt(p.ctx, target, importer.Options{
		Progress: func(at importer.Progress) { shown.show(at.Phase, int64(at.Done), int64(at.Total)) },
	})
	if err == nil {
		err = sendLives(p.ctx, target, lives[:len(lives)-1], func(done int) {
			shown.show("generating orders", int64(done), int64(len(lives)))
		})
	}
	if err == nil {
		err = sendLife(p.ctx, target, last)
		shown.show("generating orders", int64(len(lives)), int64(len(lives)))
	}
	if err == nil {
		err = a.Views.CaughtUp(p.ctx)
	}
	if err != nil {
		return "", fmt.Errorf("fill the demonstration: %w", err)
	}
	return last.OrderID, nil
}

// demoSenders is how many lifecycles are sent at once.
const demoSenders = 16

func sendLives(ctx context.Context, target importer.Direct, lives []importer.Lifecycle, progress func(done int)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var senders sync.WaitGroup
	next := make(chan importer.Lifecycle)
	for range demoSenders {
		senders.Go(func() {
			for life := range next {
				if err := sendLife(ctx, target, life); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i, life := range lives {
		next <- life
		progress(i + 1)
	}
	close(next)
	senders.Wait()
	return context.Cause(ctx)
}

func sendLife(ctx context.Context, target importer.Direct, life importer.Lifecycle) error {
	for _, step := range life.Steps {
		if _, err := target.Handle(ctx, life.OrderID, step.Command, step.Key); err != nil {
			return fmt.Errorf("order %s, %s: %w", life.OrderID, step.Command.Name(), err)
		}
	}
	return nil
}

// demoPage is what the first command of a stranger prints.
func demoPage(address, data, example string) string {
	return strings.NewReplacer("{BASE}", "http://"+address, "{ORDER}", example, "{DATA}", data, "{DOCKET}", programName()).Replace(`
docket serves real and generated orders on {BASE}   (Ctrl-C ends it)

Try in another terminal:

  # the newest orders, and how many there are of each status
  curl -s '{BASE}/v1/orders?limit=3&facets=status&facets=paymentStatus'

  # whole words, in titles, names, numbers, notes ...
  curl -s '{BASE}/v1/orders?q=white+hanging+heart&limit=2'

  # one real invoice of 2010, with what may be done to it now
  curl -s '{BASE}/v1/orders/536365?include=actions'

  # a generated order with a whole life
  curl -s '{BASE}/v1/orders/{ORDER}'

  # place an order; the same key again changes nothing and gets the same answer
  curl -s '{BASE}/v1/orders' -H 'Content-Type: application/json' -H 'Idempotency-Key: first' -d '
    {"id": "my-first", "currency": "EUR", "customer": {"id": "ann", "name": "Ann Example"},
     "lines": [{"sku": "MUG", "title": "Mug", "quantity": 2,
                "unitPrice": {"amount": "7.50", "currency": "EUR"}}]}'

  # confirm it
  curl -s '{BASE}/v1/orders/my-first/confirm' -H 'Content-Type: application/json' -d '{}'

  # what is sold: per currency, status, country, day ... and the top products
  curl -s '{BASE}/v1/stats?top=3'

  # the same for people
  {DOCKET} order list --data {DATA} --limit 10
  {DOCKET} order get --data {DATA} 536365

  # what happened to an order, and who did it; how it was in between; what set a field
  {DOCKET} order history --data {DATA} {ORDER}
  {DOCKET} order get --data {DATA} {ORDER} --at-revision 0
  {DOCKET} order diff --data {DATA} {ORDER} 0
  {DOCKET} order why --data {DATA} {ORDER} /status

  # is what you read true? the log's checksums, and every view against the log
  {DOCKET} eventstore verify --data {DATA}
  {DOCKET} reconcile run --data {DATA}

The whole API is described in {BASE}/openapi.json
`)
}

// programName is how this program was started, for people to type again.
func programName() string {
	if program, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(program), "/go-build") {
		return "go run ./cmd/docket"
	}
	return os.Args[0]
}
