package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docket-orders/docket/audit"
	"github.com/docket-orders/docket/audit/audittest"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/query"
)

// pasts is how many random cuts of random orders are asked about.
const pasts = 5000

// checkPast asks for orders as they were, their histories, differences and
// origins, and compares with the naive answers over the same log. No docket
// may have the folder open.
func checkPast(ctx context.Context, c *check, at site) error {
	start := time.Now()
	store, err := sqlite.OpenReadOnly(ctx, at.log)
	if err != nil {
		return err
	}
	checked, differences, err := comparePast(ctx, store, at.namespace)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	fmt.Printf("%-20s compared %d answers about the past of orders in %.1f s\n", c.set, checked, time.Since(start).Seconds())
	c.equal("answers about the past are compared", true, checked >= pasts)
	c.equal("answers about the past that differ", 0, len(differences))
	for _, d := range differences {
		fmt.Println(d)
	}
	return nil
}

func comparePast(ctx context.Context, store eventstore.Store, namespace eventstore.Namespace) (checked int, differences []string, err error) {
	log, err := store.Log(ctx)
	if err != nil {
		return 0, nil, err
	}
	var ids []string
	filter := eventstore.Filter{Prefixes: []string{namespace.Prefix(codec.Category)}}
	for r, err := range store.ReadAll(ctx, eventstore.Start, eventstore.Forwards, filter, 0) {
		if err != nil {
			return 0, nil, err
		}
		if id, ok := namespace.ID(codec.Category, r.Stream); ok && r.Revision == 0 {
			ids = append(ids, id)
		}
	}
	now := time.Now()
	queries := query.New(query.Options{Store: store, Namespace: namespace, Log: log, Clock: func() time.Time { return now }})
	auditor := audit.New(audit.Options{Query: queries})
	return audittest.Compare(ctx, audittest.Of(queries, auditor), store, namespace, ids, pasts, now, 1)
}
