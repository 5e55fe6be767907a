package elastic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

const (
	// maxBulk bounds the body of one bulk request in bytes, but for a single
	// document that is larger.
	maxBulk = 4 << 20
	// bulksAtOnce of one write.
	bulksAtOnce = 4
)

// place is what a stored document is compared by: it changes with every write
// to it, whoever writes.
type place struct {
	SeqNo int64 `json:"_seq_no"`
	Term  int64 `json:"_primary_term"`
}

// operation is one write. Where at is nil it makes a document that must not be
// there; otherwise it changes, or without a source removes, the document that
// is at that place. When something changed since, its outcome is a conflict.
type operation struct {
	id     string
	at     *place
	source []byte
}

func (o *operation) appendTo(body *bytes.Buffer) {
	action := "create"
	switch {
	case o.source == nil:
		action = "delete"
	case o.at != nil:
		action = "index"
	}
	line := body.AvailableBuffer()
	line = append(line, `{"`...)
	line = append(line, action...)
	line = append(line, `":{"_id":`...)
	line = append(line, encoded(o.id)...)
	if o.at != nil {
		line = append(line, `,"if_seq_no":`...)
		line = strconv.AppendInt(line, o.at.SeqNo, 10)
		line = append(line, `,"if_primary_term":`...)
		line = strconv.AppendInt(line, o.at.Term, 10)
	}
	body.Write(append(line, "}}\n"...))
	if o.source != nil {
		body.Write(o.source)
		body.WriteByte('\n')
	}
}

// bulk writes through an alias, each operation for itself. The outcomes are in
// the order of the operations; nil for what was done.
func (c *cluster) bulk(ctx context.Context, alias string, all []operation) ([]*refusal, error) {
	outcomes := make([]*refusal, len(all))
	var (
		running sync.WaitGroup
		places  = make(chan struct{}, bulksAtOnce)
		mu      sync.Mutex
		failed  error
	)
	for first := 0; first < len(all); {
		size, end := len(all[first].source), first+1
		for end < len(all) && size+len(all[end].source) <= maxBulk {
			size, end = size+len(all[end].source), end+1
		}
		part, into := all[first:end], outcomes[first:end]
		first = end
		if len(part) == len(all) {
			return outcomes, c.bulkOnce(ctx, alias, part, into)
		}
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			if err := c.bulkOnce(ctx, alias, part, into); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
	}
	running.Wait()
	return outcomes, failed
}

type bulkAnswer struct {
	Errors bool `json:"errors"`
	Items  []map[string]struct {
		Status int       `json:"status"`
		Error  exception `json:"error"`
	} `json:"items"`
}

// bulkOnce is one request, or two where one is too large for the server.
func (c *cluster) bulkOnce(ctx context.Context, alias string, part []operation, outcomes []*refusal) error {
	var body bytes.Buffer
	for i := range part {
		part[i].appendTo(&body)
	}
	var answer bulkAnswer
	err := c.ask(ctx, &answer, func(ctx context.Context) (*esapi.Response, error) {
		b := c.es.Bulk
		return b(bytes.NewReader(body.Bytes()), b.WithContext(ctx), b.WithIndex(alias), b.WithRequireAlias(true),
			b.WithTimeout(shardTimeout), b.WithFilterPath("errors", "items.*.status", "items.*.error"))
	})
	if r := (*refusal)(nil); errors.As(err, &r) && r.status == http.StatusRequestEntityTooLarge {
		if len(part) == 1 {
			outcomes[0] = r
			return nil
		}
		half := len(part) / 2
		err = c.bulkOnce(ctx, alias, part[:half], outcomes[:half])
		return errors.Join(err, c.bulkOnce(ctx, alias, part[half:], outcomes[half:]))
	}
	if err != nil {
		return err
	}
	if len(answer.Items) != len(part) {
		return fmt.Errorf("elasticsearch answers %d items to %d", len(answer.Items), len(part))
	}
	for i, item := range answer.Items {
		for _, outcome := range item {
			if outcome.Status > 299 {
				outcomes[i] = &refusal{status: outcome.Status, kind: outcome.Error.Type, reason: outcome.Error.Reason}
			}
		}
	}
	return nil
}
