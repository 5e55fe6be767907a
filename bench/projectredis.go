package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/redis"
	goredis "github.com/redis/go-redis/v9"
)

var projectRedisQuestion = question{
	name:  "project-redis",
	about: "projecting Olist from zero into Redis (docket projections rebuild), its events interleaved, against pipelined commands that write the same: the documents, encoding included, a SET each; and what all keys of docket hold in the end, a HSET or ZADD for each field or member",
	ask:   askProjectRedis,
}

// pipelined is how many commands a pipeline of the reference has, as one of
// docket's may.
const pipelined = 512

func askProjectRedis(ctx context.Context, e *env) error {
	appends, changes, rounds, err := e.replayed(ctx)
	if err != nil {
		return err
	}
	servers := testservers.NewProgram("bench")
	defer servers.Close()
	server := testservers.StartRedis(servers)
	client := goredis.NewClient(&goredis.Options{Addr: server.Address})
	defer client.Close()
	backend, err := redis.Open("redis://"+server.Address, redis.Options{})
	if err != nil {
		return err
	}
	defer backend.Close()
	p, err := newProjection(ctx, e, "redis", roundRobin(appends, 5_000), projections.Options{
		StoreName: "redis", Backend: backend, Lease: embedded.DefaultLease,
	})
	if err != nil {
		return err
	}
	defer p.close()
	all, err := readCommands(ctx, client, "{docket:1")
	if err != nil {
		return err
	}
	var projected, documents, everything, scripts []float64
	for range rounds {
		seconds, err := timed(func() error { return setDocuments(ctx, client, changes) })
		if err != nil {
			return err
		}
		documents = append(documents, float64(len(changes))/seconds)
		if seconds, err = timed(func() error { return sendAll(ctx, client, all) }); err != nil {
			return err
		}
		everything = append(everything, float64(len(changes))/seconds)
		if err := removeReferences(ctx, client); err != nil {
			return err
		}
		before, err := scriptsRun(ctx, client)
		if err != nil {
			return err
		}
		if seconds, err = p.rebuild(ctx); err != nil {
			return err
		}
		projected = append(projected, float64(len(changes))/seconds)
		after, err := scriptsRun(ctx, client)
		if err != nil {
			return err
		}
		scripts = append(scripts, float64(after-before)/float64(len(changes)))
	}
	what := fmt.Sprintf("%d orders from their events", len(changes))
	e.compare(what, "orders/s", projected, "SET of each document", documents, noGoal)
	e.compare(what, "orders/s", projected, "all that the keys hold", everything, atLeast(0.8))
	e.measure("documents written per order", "", []float64{p.written(len(changes), rounds)}, atMost(1.1))
	e.measure("scripts per order, those for customers and lanes among them", "", scripts, noGoal)
	e.note("the goal is against all that the keys hold: customers and counters are there when a replay ends, and a SET of documents makes none of them")
	e.note("one server on this machine with an append-only file; the reference sends %d commands in a pipeline, one pipeline after the other; all that the keys hold is %.1f fields and members per order, read before and not encoded anew",
		pipelined, float64(len(all))/float64(len(changes)))
	return nil
}

// reference begins the keys of the reference.
const reference = "bench:"

func setDocuments(ctx context.Context, client *goredis.Client, changes []projections.Change) error {
	return inPipelines(ctx, client, len(changes), func(pipe goredis.Pipeliner, i int) error {
		doc, err := json.Marshal(&changes[i].Order)
		pipe.Set(ctx, reference+"order:"+changes[i].Order.ID, doc, 0)
		return err
	})
}

func sendAll(ctx context.Context, client *goredis.Client, all [][]any) error {
	return inPipelines(ctx, client, len(all), func(pipe goredis.Pipeliner, i int) error {
		pipe.Do(ctx, all[i]...)
		return nil
	})
}

func inPipelines(ctx context.Context, client *goredis.Client, n int, queue func(goredis.Pipeliner, int) error) error {
	for from := 0; from < n; from += pipelined {
		pipe := client.Pipeline()
		for i := from; i < min(n, from+pipelined); i++ {
			if err := queue(pipe, i); err != nil {
				return err
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readCommands makes a command for each field and member of the keys that begin
// so.
func readCommands(ctx context.Context, client *goredis.Client, begin string) (all [][]any, err error) {
	keys, err := keysOf(ctx, client, begin)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		switch client.Type(ctx, key).Val() {
		case "hash":
			fields, err := client.HGetAll(ctx, key).Result()
			if err != nil {
				return nil, err
			}
			for field, value := range fields {
				all = append(all, []any{"HSET", reference + key, field, value})
			}
		case "zset":
			members, err := client.ZRange(ctx, key, 0, -1).Result()
			if err != nil {
				return nil, err
			}
			for _, member := range members {
				all = append(all, []any{"ZADD", reference + key, 0, member})
			}
		default:
			return nil, errors.New("a key of another type: " + key)
		}
	}
	return all, nil
}

func removeReferences(ctx context.Context, client *goredis.Client) error {
	keys, err := keysOf(ctx, client, reference)
	if err != nil || len(keys) == 0 {
		return err
	}
	return client.Unlink(ctx, keys...).Err()
}

func keysOf(ctx context.Context, client *goredis.Client, begin string) (keys []string, err error) {
	all := client.Scan(ctx, 0, begin+"*", 1000).Iterator()
	for all.Next(ctx) {
		keys = append(keys, all.Val())
	}
	return keys, all.Err()
}

// scriptsRun is how many Lua calls the server has answered.
func scriptsRun(ctx context.Context, client *goredis.Client) (calls int64, err error) {
	info, err := client.Info(ctx, "commandstats").Result()
	for line := range strings.Lines(info) {
		var n int64
		for _, name := range []string{"eval", "evalsha"} {
			if _, err := fmt.Sscanf(line, "cmdstat_"+name+":calls=%d", &n); err == nil {
				calls += n
			}
		}
	}
	return calls, err
}
