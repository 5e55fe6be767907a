package main

import (
	"context"
	"fmt"
	"time"
)

var mixedQuestion = question{
	name:  "mixed",
	about: "40 % place, 40 % change, 20 % read with the token of the own last write, 64 clients; latencies in open loop, from the moment a request was due",
	ask:   askMixed,
}

// A rate is held when nearly every request was answered as wanted in its time,
// and the last ones did not wait much longer than the first.
const (
	heldShare   = 0.98
	heldP99     = 500.0 // ms
	rateStep    = 0.85
	mostProbes  = 8
	probeLength = 3 * time.Second
)

func askMixed(ctx context.Context, e *env) error {
	p, err := e.pair(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	length, rounds := 6*time.Second, e.rounds
	if e.quick {
		length, rounds = 3*time.Second, 1
	}
	runs := 0
	mixed := func(s *server, rate float64, length time.Duration) (loaded, error) {
		runs++
		got, err := e.generate(ctx, s, load{plan: "mixed", run: fmt.Sprint("m", runs), clients: clients, length: length, rate: rate})
		if err != nil {
			return got, err
		}
		_, err = p.docket.caughtUp(ctx)
		return got, err
	}
	// In closed loop, both in turns.
	var docket, reference []float64
	for range rounds {
		got, err := mixed(p.docket, 0, probeLength)
		if err != nil {
			return err
		}
		ref, err := mixed(p.plain, 0, probeLength)
		if err != nil {
			return err
		}
		docket, reference = append(docket, got.Rate), append(reference, ref.Rate)
	}
	e.compare("mixed load, closed loop", "requests/s", docket, "plain server", reference, atLeast(0.5))

	held, probes := median(docket), 0
	for ; ; held *= rateStep {
		got, err := mixed(p.docket, held, probeLength)
		if err != nil {
			return err
		}
		if probes++; got.Rate >= heldShare*held && got.P99 <= heldP99 {
			break
		}
		if probes == mostProbes {
			return fmt.Errorf("not even %.0f requests/s are held: %+v", held, got)
		}
	}
	e.measure("highest rate held, open loop", "requests/s", []float64{held}, noGoal)
	for _, share := range []float64{0.5, 0.7} {
		var p50, p99, p999, plain50, plain99, plain999 []float64
		for range rounds {
			got, err := mixed(p.docket, share*held, length)
			if err != nil {
				return err
			}
			ref, err := mixed(p.plain, share*held, length)
			if err != nil {
				return err
			}
			if n := len(got.Statuses); n > 0 {
				e.note("at %.0f %%: answers other than wanted: %v", share*100, got.Statuses)
			}
			p50, p99, p999 = append(p50, got.P50), append(p99, got.P99), append(p999, got.P999)
			plain50, plain99, plain999 = append(plain50, ref.P50), append(plain99, ref.P99), append(plain999, ref.P999)
		}
		at := fmt.Sprintf("latency at %.0f %% of that, ", share*100)
		e.compare(at+"p50", "ms", p50, "plain server", plain50, noGoal)
		e.compare(at+"p99", "ms", p99, "plain server", plain99, noGoal)
		e.compare(at+"p99.9", "ms", p999, "plain server", plain999, noGoal)
	}
	e.note("the plain server decodes the same bodies and appends one record per write; it answers reads from memory, at the same rates")
	return nil
}
