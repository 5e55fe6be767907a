package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/projections"
)

// client speaks the HTTP API of one docket. It may be used by many goroutines.
type client struct {
	base string // http://127.0.0.1:8080
	key  string // empty: none is sent
	http *http.Client
}

func newClient(base, key string, transport http.RoundTripper) *client {
	return &client{base: base, key: key, http: &http.Client{Transport: transport}}
}

// problemError is a refusal or failure that the API answered.
type problemError struct{ httpapi.Problem }

// Error says every detail once: many problems have a field's complaint as
// their detail. The title says the kind of problem, which the code does too.
func (e *problemError) Error() string {
	said := cmp.Or(e.Detail, e.Title)
	text := said + " (" + e.Code + ")"
	for _, f := range e.Errors {
		where := f.Parameter + f.Header
		if f.Pointer != nil {
			where = *f.Pointer
		}
		switch {
		case !strings.Contains(said, f.Detail):
			text += "; " + where + ": " + f.Detail
		case !strings.Contains(said, where):
			text += "; at " + where
		}
	}
	return text
}

// do sends a request with a JSON body, or none, and returns the answer's body.
// Every status from 400 is a *problemError.
func (c *client) do(ctx context.Context, method, path string, header http.Header, body any) ([]byte, http.Header, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, nil, err
		}
		in = bytes.NewReader(text)
	}
	request, err := c.request(ctx, method, path, in)
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode >= 400 {
		return nil, nil, problemOf(method+" "+path, response.StatusCode, text)
	}
	return text, response.Header, nil
}

func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err == nil && c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	return request, err
}

func problemOf(asked string, status int, text []byte) error {
	var p problemError
	if err := json.Unmarshal(text, &p.Problem); err != nil || p.Code == "" {
		return fmt.Errorf("%s: status %d: %.200s", asked, status, text)
	}
	return &p
}

// get asks, decodes into answer, and returns the body as it came.
func (c *client) get(ctx context.Context, path string, answer any) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, path, nil, answer)
}

// post orders something that needs no words. The empty object is there because
// the API takes nothing without a content type: a web page could send that.
func (c *client) post(ctx context.Context, path string, answer any) ([]byte, error) {
	return c.ask(ctx, http.MethodPost, path, struct{}{}, answer)
}

func (c *client) ask(ctx context.Context, method, path string, body, answer any) ([]byte, error) {
	text, _, err := c.do(ctx, method, path, nil, body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return nil, fmt.Errorf("%s %s: the answer cannot be read: %w", method, path, err)
	}
	return text, nil
}

// answers reports whether a docket is there that knows the key. It must be a
// route that wants one, since another docket may have taken the port, and one
// that asks no store, which may be away: that of a rebuild which is not there.
func (c *client) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, _, err := c.do(ctx, http.MethodGet, "/v1/projections/"+projections.Name+"/rebuilds/none", nil, nil)
	var problem *problemError
	return errors.As(err, &problem) && problem.Code == "unknown-rebuild"
}

// caughtUp returns when the server's views hold what was in its log at the
// call, but for those whose store does not answer while another does.
func (c *client) caughtUp(ctx context.Context) error {
	wait := http.Header{"Prefer": {"wait=5"}}
	for {
		body, header, err := c.do(ctx, http.MethodGet, "/v1/projections", wait, nil)
		if err != nil || header.Get("Preference-Applied") == "wait" {
			return err
		}
		var list httpapi.ProjectionsAnswer
		if err := json.Unmarshal(body, &list); err != nil {
			return fmt.Errorf("GET /v1/projections: the answer cannot be read: %w", err)
		}
		if restIsAway(list) {
			return nil
		}
	}
}

// restIsAway reports whether some store's views have caught up, and the others'
// stores do not answer.
func restIsAway(list httpapi.ProjectionsAnswer) bool {
	whole := map[string]bool{}
	for _, one := range list.Items {
		for _, g := range one.Generations {
			switch {
			case g.State != "away" && !g.Served: // nobody asks it
			case g.CaughtUp:
				whole[g.Store] = true
			case g.State != "away" && g.Problem == "":
				return false
			}
		}
	}
	return len(whole) > 0
}
