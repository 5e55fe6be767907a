package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// reconciled is what is read of a reconciliation's report.
type reconciled struct {
	ID       string   `json:"id"`
	State    string   `json:"state"`
	Verdict  string   `json:"verdict"`
	Reasons  []string `json:"reasons"`
	Compared struct {
		Events    int  `json:"events"`
		Streams   int  `json:"streams"`
		Documents int  `json:"documents"`
		Complete  bool `json:"complete"`
	} `json:"compared"`
	Findings []json.RawMessage `json:"findings"`
}

// checkReconciled lets the docket compare its log with its views: everything is
// compared, in each store of views, and nothing differs.
func checkReconciled(ctx context.Context, c *check, s *server, orders, events, stores int) error {
	start := time.Now()
	r, err := reconcile(ctx, s)
	if err != nil {
		return err
	}
	fmt.Printf("%-20s reconciled %d orders in %.1f s\n", c.set, r.Compared.Documents, time.Since(start).Seconds())
	c.equal("verdict of the reconciliation", "clean", r.Verdict)
	c.equal("reconciliation is complete", true, r.Compared.Complete)
	c.equal("reconciled events", events, r.Compared.Events)
	c.equal("reconciled streams", orders, r.Compared.Streams)
	c.equal("reconciled documents", orders*stores, r.Compared.Documents)
	for i := range r.Findings {
		if i == 5 {
			break
		}
		fmt.Printf("%s\n", r.Findings[i])
	}
	for _, reason := range r.Reasons {
		fmt.Println(reason)
	}
	return nil
}

// reconcile starts a run and waits for its end.
func reconcile(ctx context.Context, s *server) (r reconciled, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/v1/reconciliations", bytes.NewReader([]byte(`{}`)))
	if err != nil {
		return r, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return r, fmt.Errorf("POST /v1/reconciliations: %s %w\n%s", resp.Status, err, text)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for id := r.ID; r.State == "running"; <-tick.C {
		r = reconciled{}
		if err := s.get(ctx, &r, "/v1/reconciliations/"+id); err != nil {
			return r, err
		}
	}
	return r, nil
}
