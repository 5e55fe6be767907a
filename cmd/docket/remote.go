package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/docket-orders/docket/domain"
	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/importer"
)

// remoteTarget sends adoptions to a running docket: what waits at one moment
// goes out as the lines of one request, and a few requests are on their way at
// a time. The importer never has two parts of one order waiting, so an order's
// parts arrive in their order.
type remoteTarget struct {
	client  *client
	waiting chan *waitingLine
	senders sync.WaitGroup
}

// waitingLine is a line and where its answer goes.
type waitingLine struct {
	line   []byte
	answer chan<- lineAnswer // of capacity 1
}

type lineAnswer struct {
	httpapi.AdoptionAnswer
	err error
}

// Bounds of what is on its way.
const (
	remoteSenders  = 4
	maxBatchLines  = 200
	maxBatchLength = 4 << 20
)

// newRemoteTarget starts the senders; close ends them when all answers are in.
func newRemoteTarget(ctx context.Context, c *client) *remoteTarget {
	t := &remoteTarget{client: c, waiting: make(chan *waitingLine, maxBatchLines)}
	for range remoteSenders {
		t.senders.Go(func() { t.send(ctx) })
	}
	return t
}

func (t *remoteTarget) close() {
	close(t.waiting)
	t.senders.Wait()
}

// Adopt sends one part of an order's history and waits for its answer.
func (t *remoteTarget) Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (importer.Outcome, error) {
	history, err := codec.MarshalHistory(a.History)
	if err != nil {
		return importer.Outcome{}, fmt.Errorf("adopt order %s: %w", orderID, err)
	}
	line, err := json.Marshal(httpapi.AdoptionLine{
		ID: orderID, Key: key, First: a.First, Last: a.Last, History: history, Claim: a.Claim, Odd: a.Odd,
	})
	if err != nil {
		return importer.Outcome{}, fmt.Errorf("adopt order %s: %w", orderID, err)
	}
	answered := make(chan lineAnswer, 1)
	select {
	case t.waiting <- &waitingLine{append(line, '\n'), answered}:
	case <-ctx.Done():
		return importer.Outcome{}, ctx.Err()
	}
	select {
	case got := <-answered:
		return got.outcome(orderID)
	case <-ctx.Done():
		return importer.Outcome{}, ctx.Err()
	}
}

func (a lineAnswer) outcome(orderID string) (importer.Outcome, error) {
	switch {
	case a.err != nil:
		return importer.Outcome{}, fmt.Errorf("adopt order %s: %w", orderID, a.err)
	case a.Status == "refused" && a.Problem != nil:
		// The importer reports refusals and goes on.
		return importer.Outcome{}, domain.Reject(domain.Conflict, a.Problem.Code, a.Problem.Error())
	case a.Problem != nil:
		return importer.Outcome{}, fmt.Errorf("adopt order %s: %w", orderID, &problemError{*a.Problem})
	}
	return importer.Outcome{Events: a.Events, Replayed: a.Status == "repeated", Anomalies: a.Anomalies}, nil
}

// send takes what waits, in batches, until the target is closed.
func (t *remoteTarget) send(ctx context.Context) {
	for first := range t.waiting {
		batch, length := []*waitingLine{first}, len(first.line)
		for len(batch) < maxBatchLines && length < maxBatchLength {
			var more *waitingLine
			select {
			case more = <-t.waiting:
			default:
			}
			if more == nil {
				break
			}
			batch, length = append(batch, more), length+len(more.line)
		}
		answered, err := t.exchange(ctx, batch)
		for _, w := range batch[answered:] {
			w.answer <- lineAnswer{err: err}
		}
	}
}

// exchange sends one batch and hands out the answers as they come. It returns
// how many lines were answered, and why the others were not.
func (t *remoteTarget) exchange(ctx context.Context, batch []*waitingLine) (answered int, err error) {
	var body bytes.Buffer
	for _, w := range batch {
		body.Write(w.line)
	}
	request, err := t.client.request(ctx, http.MethodPost, "/v1/adoptions", &body)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := t.client.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		text, err := io.ReadAll(response.Body)
		return 0, errors.Join(problemOf("POST /v1/adoptions", response.StatusCode, text), err)
	}
	lines := bufio.NewReader(response.Body)
	for ; answered < len(batch); answered++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return answered, fmt.Errorf("the answer broke off: %w", err)
		}
		var a lineAnswer
		if err := json.Unmarshal(line, &a.AdoptionAnswer); err != nil {
			return answered, fmt.Errorf("the answer cannot be read: %w", err)
		}
		batch[answered].answer <- a
	}
	return answered, nil
}
