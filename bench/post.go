package main

import (
	"context"
	"fmt"
	"time"
)

var postQuestion = question{
	name:  "post",
	about: "POST /v1/orders from another process, 64 keep-alive clients, against the same HTTP server that only decodes and appends to a plain file",
	ask:   askPost,
}

// placedBytes is what docket stores for one order of the load: its data,
// metadata, type, id and name.
const placedBytes = 1150

// pairOfServers is docket as it comes and the plainest server, both running all
// the time and loaded in turns.
type pairOfServers struct {
	docket, plain *server
}

func (e *env) pair(ctx context.Context) (*pairOfServers, error) {
	docket, err := e.serveDocket(ctx, e.folder("served"))
	if err != nil {
		return nil, err
	}
	plain, err := e.servePlain(ctx, placedBytes)
	if err != nil {
		docket.stop()
		return nil, err
	}
	return &pairOfServers{docket, plain}, nil
}

func (p *pairOfServers) stop() {
	p.docket.stop()
	p.plain.stop()
}

func askPost(ctx context.Context, e *env) error {
	p, err := e.pair(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	length := 5 * time.Second
	if e.quick {
		length = 2 * time.Second
	}
	var docket, reference, cpu, plainCPU, behind []float64
	for round := -1; round < e.rounds; round++ { // the first warms up
		place := load{plan: "place", run: fmt.Sprint("p", round+1), clients: clients, length: length}
		if round < 0 {
			place.length = time.Second
		}
		got, err := e.generate(ctx, p.docket, place)
		if err != nil {
			return err
		}
		// The views have followed before the other side is measured.
		late, err := p.docket.caughtUp(ctx)
		if err != nil {
			return err
		}
		ref, err := e.generate(ctx, p.plain, place)
		if err != nil {
			return err
		}
		if round >= 0 {
			docket, reference = append(docket, got.Rate), append(reference, ref.Rate)
			cpu, plainCPU = append(cpu, got.ServerCPU), append(plainCPU, ref.ServerCPU)
			behind = append(behind, late)
		}
	}
	e.compare("POST /v1/orders, 64 clients", "orders/s", docket, "plain server", reference, atLeast(0.5))
	e.compare("processor time of the server, views included", "us/order", cpu, "plain server", plainCPU, noGoal)
	e.measure("views caught up after the last answer", "s", behind, noGoal)
	return nil
}
