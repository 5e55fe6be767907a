package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docket-orders/docket/view"
)

// imported is what one run of docket import took and said.
type imported struct {
	report struct {
		Files []struct {
			File string `json:"file"`
			Rows int    `json:"rows"`
		} `json:"files"`
		Orders       int `json:"orders"`
		Made         int `json:"made"`
		AlreadyThere int `json:"alreadyThere"`
		Events       int `json:"events"`
		RefusedCount int `json:"refusedCount"`
	}
	took       time.Duration
	peak       int64 // bytes resident
	log, views int64 // bytes on disk
}

func (i imported) rows() (n int) {
	for _, f := range i.report.Files {
		n += f.Rows
	}
	return n
}

// runImport runs docket import at a site, until the views have caught up.
func runImport(ctx context.Context, binary string, at site, args ...string) (i imported, err error) {
	cmd := exec.CommandContext(ctx, binary, slices.Concat(args, at.flags(), at.views, []string{"--json"})...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return i, fmt.Errorf("docket %s: %w\n%s%s", strings.Join(args, " "), err, out.Bytes(), problems.Bytes())
	}
	i.took = time.Since(start)
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		i.peak = usage.Maxrss << 10 // Linux counts kilobytes
	}
	if err := json.Unmarshal(out.Bytes(), &i.report); err != nil {
		return i, fmt.Errorf("report of docket %s: %w\n%s", strings.Join(args, " "), err, out.Bytes())
	}
	all, err := sizes(at.data, "")
	if err != nil {
		return i, err
	}
	if i.log, err = sizes(at.log, "events.db"); err != nil {
		return i, err
	}
	i.views = all
	if at.log == at.data {
		i.views -= i.log
	}
	return i, nil
}

// sizes is how many bytes the files below a folder have whose names begin so. A
// file that goes meanwhile has none.
func sizes(dir, begins string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), begins) {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// server is a running docket.
type server struct {
	cmd  *exec.Cmd
	done chan error
	base string
	key  string
}

// startTime is how long a docket may take until it serves.
const startTime = 10 * time.Minute

// serve starts docket serve at a site and waits until it is ready.
func serve(ctx context.Context, binary string, at site) (*server, error) {
	s := &server{done: make(chan error, 1)}
	var problems bytes.Buffer
	s.cmd = exec.Command(binary, slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--log-level", "warn"}, at.flags(), at.views)...)
	s.cmd.Stdout, s.cmd.Stderr = io.Discard, &problems
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start docket serve: %w", err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-s.done:
			return nil, fmt.Errorf("docket serve ended: %v\n%s", err, problems.Bytes())
		case <-ctx.Done():
			s.stop()
			return nil, fmt.Errorf("docket serve is not ready: %w", ctx.Err())
		case <-tick.C:
		}
		var about struct {
			Address string `json:"address"`
			PID     int    `json:"pid"`
			Key     string `json:"key"`
		}
		text, err := os.ReadFile(filepath.Join(at.data, "server.json"))
		if err != nil || json.Unmarshal(text, &about) != nil || about.PID != s.cmd.Process.Pid {
			continue
		}
		s.base, s.key = "http://"+about.Address, about.Key
		if resp, err := http.Get(s.base + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
	}
}

// stop ends the docket and waits for its end.
func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-s.done:
	case <-time.After(startTime):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// get asks for a path with parameters and decodes the answer.
func (s *server) get(ctx context.Context, into any, path string, params ...string) error {
	query := url.Values{}
	for i := 0; i < len(params); i += 2 {
		query.Add(params[i], params[i+1])
	}
	full := s.base + path
	if len(query) > 0 {
		full += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, full, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12))
		return fmt.Errorf("GET %s: %s: %s", full, resp.Status, text)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("GET %s: %w", full, err)
	}
	return nil
}

// page of a list.
type page struct {
	Items  []view.Order `json:"items"`
	Total  int64        `json:"total"`
	Facets map[string][]struct {
		Value string `json:"value"`
		Count int64  `json:"count"`
	} `json:"facets"`
	Next string `json:"next"`
}

// ask is get that keeps the first failure in the check.
func ask[T any](c *check, s *server, path string, params ...string) (answer T) {
	c.fail(s.get(context.Background(), &answer, path, params...))
	return answer
}

// count is how many orders match.
func count(c *check, s *server, params ...string) int64 {
	return ask[page](c, s, "/v1/orders", append(params, "limit", "1")...).Total
}

// stats of one currency over all orders; an empty one when there is none.
func stats(c *check, s *server, currency string) view.CurrencyStats {
	for _, one := range ask[view.Stats](c, s, "/v1/stats").Currencies {
		if string(one.Currency) == currency {
			return one
		}
	}
	c.fail(fmt.Errorf("no statistics for %s", currency))
	return view.CurrencyStats{}
}

// by is the sums of one group; zero when there is none.
func by(stats view.CurrencyStats, dimension, key string) view.Sums {
	for _, g := range stats.By[dimension] {
		if g.Key == key {
			return g.Sums
		}
	}
	return view.Sums{}
}
