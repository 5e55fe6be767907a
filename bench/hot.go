package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/docket-orders/docket/command"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"golang.org/x/sync/errgroup"
)

var hotQuestion = question{
	name:  "hot",
	about: "64 writers on one order against the same 64 on 1,024 orders",
	ask:   askHot,
}

// askHot measures the write side alone, then the program behind HTTP.
func askHot(ctx context.Context, e *env) error {
	length := 2 * time.Second
	if e.quick {
		length = time.Second
	}
	if err := e.hotInside(ctx, length); err != nil {
		return err
	}
	return e.hotServed(ctx, length)
}

func (e *env) hotInside(ctx context.Context, length time.Duration) error {
	store, err := sqlite.Open(ctx, e.folder("hot"), sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	orders := command.New(command.Options{Store: store, Snapshots: store.Snapshots()})
	defer orders.Close()
	place, err := placeCommand()
	if err != nil {
		return err
	}
	var fill errgroup.Group
	fill.SetLimit(clients)
	for i := range int64(manyOrders) {
		fill.Go(func() error {
			_, err := orders.Handle(ctx, orderOf("many", i), place, command.Request{})
			return err
		})
	}
	if err := fill.Wait(); err != nil {
		return err
	}
	var n atomic.Int64
	tags := func(among int64) (float64, error) {
		return perSecond(clients, length, func(_, _ int) error {
			i := n.Add(1)
			_, err := orders.Handle(ctx, orderOf("many", i%among), order.SetTags{Tags: []string{"spring", fmt.Sprint("t", i)}}, command.Request{Fingerprint: "f", Actor: "bench"})
			return err
		})
	}
	var hot, many, conflicts, together []float64
	for range e.rounds {
		rate, err := tags(manyOrders)
		if err != nil {
			return err
		}
		before := orders.Metrics()
		one, err := tags(1)
		if err != nil {
			return err
		}
		after := orders.Metrics()
		hot, many = append(hot, one), append(many, rate)
		conflicts = append(conflicts, float64(after.Conflicts-before.Conflicts))
		together = append(together, float64(after.Together-before.Together)/float64(after.Commands-before.Commands))
	}
	e.compare("one hot order, write side alone", "commands/s", hot, "many orders", many, atLeast(0.3))
	e.measure("conflicts retried on it", "", conflicts, noGoal)
	e.measure("share of its commands appended with another one", "", together, noGoal)
	return nil
}

func (e *env) hotServed(ctx context.Context, length time.Duration) error {
	docket, err := e.serveDocket(ctx, e.folder("hot-served"))
	if err != nil {
		return err
	}
	defer docket.stop()
	if _, err := e.generate(ctx, docket, load{plan: "fill", run: "many", clients: clients, length: time.Minute}); err != nil {
		return err
	}
	var hot, many, conflicts []float64
	for round := range e.rounds {
		got, err := e.generate(ctx, docket, load{plan: "many", run: fmt.Sprint("a", round), clients: clients, length: length})
		if err != nil {
			return err
		}
		if _, err := docket.caughtUp(ctx); err != nil {
			return err
		}
		before, err := docket.metric(ctx, "docket_command_conflicts_total")
		if err != nil {
			return err
		}
		one, err := e.generate(ctx, docket, load{plan: "hot", run: fmt.Sprint("b", round), clients: clients, length: length})
		if err != nil {
			return err
		}
		after, err := docket.metric(ctx, "docket_command_conflicts_total")
		if err != nil {
			return err
		}
		if _, err := docket.caughtUp(ctx); err != nil {
			return err
		}
		hot, many, conflicts = append(hot, one.Rate), append(many, got.Rate), append(conflicts, after-before)
	}
	e.compare("one hot order, PUT tags by 64 clients", "commands/s", hot, "many orders", many, atLeast(0.3))
	e.measure("conflicts retried on it, behind HTTP", "", conflicts, noGoal)
	return nil
}
