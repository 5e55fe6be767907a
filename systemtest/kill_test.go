package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// command is one request that a client wants to have exactly one effect.
type command struct {
	order, path, key string
	body             any
}

// answer is what makes two answers to one command the same.
type answer struct {
	Revision int64 `json:"revision"`
	Events   []struct {
		ID       string `json:"id"`
		Revision int64  `json:"revision"`
	} `json:"events"`
}

func (a answer) String() string { return fmt.Sprintf("%d %v", a.Revision, a.Events) }

// TestKilledUnderLoad kills docket with kill -9 again and again while clients
// write to it over HTTP. Every acknowledged command must be there once, with
// the answer that was given; repeating a command whose answer never came must
// have one effect; the log must verify, and every view must show every order at
// its last revision.
func TestKilledUnderLoad(t *testing.T) {
	const rounds, clients = 6, 8
	data := t.TempDir()

	var mu sync.Mutex
	type done struct {
		command
		answer
	}
	var acknowledged []done
	var unanswered []command
	last := map[string]int64{} // order -> highest acknowledged revision

	for round := range rounds {
		s := start(t, data)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		enough := make(chan struct{})
		var once sync.Once
		target := 60 + rand.Intn(200) // acknowledged commands until the kill
		count := 0
		for c := range clients {
			wg.Go(func() {
				rng := rand.New(rand.NewSource(int64(round*clients + c)))
				for n := 0; ctx.Err() == nil; n++ {
					order := fmt.Sprintf("r%d-c%d-%d", round, c, n)
					for _, cmd := range life(order, rng) {
						got, ok := send(ctx, t, s, cmd)
						mu.Lock()
						if !ok {
							unanswered = append(unanswered, cmd)
							mu.Unlock()
							return
						}
						acknowledged = append(acknowledged, done{cmd, got})
						last[order] = max(last[order], got.Revision)
						if count++; count >= target {
							once.Do(func() { close(enough) })
						}
						mu.Unlock()
					}
				}
			})
		}
		select {
		case <-enough:
		case <-time.After(60 * time.Second):
			t.Errorf("round %d: %d commands acknowledged in a minute", round, count)
		}
		s.kill()
		cancel()
		wg.Wait()
	}

	s := start(t, data)
	for _, d := range acknowledged {
		status, header, body, err := s.call(t.Context(), "POST", d.path, d.key, d.body)
		var again answer
		if err != nil || status/100 != 2 || json.Unmarshal(body, &again) != nil {
			t.Errorf("repeat %s %s: %d %v %s", d.path, d.key, status, err, body)
		}
		if again.String() != d.answer.String() || header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s %s: first answer %v, now %v (replayed %q)", d.path, d.key, d.answer, again, header.Get("Idempotency-Replayed"))
		}
	}
	for _, c := range unanswered {
		var twice [2]answer
		for i := range twice {
			a, ok := send(t.Context(), t, s, c)
			if !ok {
				t.Errorf("%s %s: still no answer", c.path, c.key)
			}
			twice[i] = a
		}
		if len(twice[0].Events) != 1 || twice[0].String() != twice[1].String() {
			t.Errorf("%s %s: unanswered at first, then %v and %v", c.path, c.key, twice[0], twice[1])
		}
	}
	for _, order := range slices.Sorted(maps.Keys(last)) {
		status, _, body, err := s.call(t.Context(), "GET", "/v1/orders/"+order, "", nil)
		var doc struct{ Revision int64 }
		if err != nil || status != 200 || json.Unmarshal(body, &doc) != nil || doc.Revision < last[order] {
			t.Errorf("order %s: acknowledged up to revision %d, view says %d (%d, %v)", order, last[order], doc.Revision, status, err)
		}
	}
	s.kill()
	if out, err := docket(t, "eventstore", "verify", "--data", data); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	t.Logf("%d kills, %d commands acknowledged on %d orders, %d unanswered", rounds, len(acknowledged), len(last), len(unanswered))
}

// life is a short life of one order; every command has a key of its own.
func life(order string, rng *rand.Rand) []command {
	price := fmt.Sprintf("%d.%02d", 1+rng.Intn(90), rng.Intn(100))
	cmds := []command{
		{order, "/v1/orders", order + "-place", placeBody(order, price)},
		{order, "/v1/orders/" + order + "/confirm", order + "-confirm", map[string]any{}},
		{order, "/v1/orders/" + order + "/notes", order + "-note", map[string]any{"text": "call before delivery"}},
		{order, "/v1/orders/" + order + "/shipments", order + "-ship", map[string]any{"carrier": "DHL"}},
	}
	return cmds[:1+rng.Intn(len(cmds))]
}

func placeBody(order, price string) map[string]any {
	return map[string]any{
		"id": order, "currency": "EUR",
		"customer": map[string]any{"id": "c-" + order, "name": "Ann Example"},
		"lines":    []any{map[string]any{"sku": "MUG", "title": "Mug", "quantity": 2, "unitPrice": map[string]any{"amount": price, "currency": "EUR"}}},
	}
}

// send gives up when no answer comes: then the outcome is not known.
func send(ctx context.Context, t *testing.T, s *server, c command) (answer, bool) {
	status, _, body, err := s.call(ctx, "POST", c.path, c.key, c.body)
	if err != nil {
		return answer{}, false
	}
	var a answer
	if status >= 500 && ctx.Err() == nil {
		return a, false
	}
	if status != http.StatusOK && status != http.StatusCreated || json.Unmarshal(body, &a) != nil {
		t.Errorf("%s %s: %d %s", c.path, c.key, status, body)
		return a, false
	}
	return a, true
}
