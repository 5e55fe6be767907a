package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/docket-orders/docket/httpapi"
)

type readyCommand struct{}

// errNotRunning: no docket answers there.
var errNotRunning = errors.New("no docket is running")

// Run asks a running docket what it can serve; that it cannot is an exit status
// of 1. It opens nothing, so that a monitor may run it every few seconds.
func (readyCommand) Run(p *program) error {
	base := strings.TrimSuffix(p.config.Server, "/")
	if base == "" {
		running, there, err := readRunFile(p.config.Data)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%w on the folder %s", errNotRunning, p.config.Data)
		}
		base = "http://" + running.Address
	}
	answer, text, err := askReady(p.ctx, base)
	if err != nil {
		return err
	}
	if p.config.JSON {
		_, _ = p.stdout.Write(text)
	} else if answer.Ready {
		fmt.Fprintln(p.stdout, "ready")
	} else {
		fmt.Fprintln(p.stdout, "not ready")
	}
	if !p.config.JSON {
		for _, reason := range answer.Impaired {
			fmt.Fprintln(p.stdout, reason)
		}
	}
	if !answer.Ready {
		return errReported
	}
	return nil
}

// askReady gets /readyz, whose body is the same whatever its status.
func askReady(ctx context.Context, base string) (answer httpapi.ReadyAnswer, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return answer, nil, err
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return answer, nil, fmt.Errorf("%w at %s: %w", errNotRunning, base, err)
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil || response.StatusCode != http.StatusOK && response.StatusCode != http.StatusServiceUnavailable {
		return answer, nil, fmt.Errorf("%s does not answer as a docket does: status %d: %.200s", base, response.StatusCode, text)
	}
	return answer, text, nil
}
