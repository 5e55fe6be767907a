package httpapi

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/docket-orders/docket/projections"
)

// How a stream of events is written.
const (
	eventGap      = 250 * time.Millisecond // between two events of progress
	keepAlive     = 15 * time.Second       // so long nothing is sent at most
	eventPatience = 10 * time.Second       // with a reader that takes nothing
	eventStream   = "text/event-stream"
)

// wantsEvents reports whether the caller would rather have server-sent events.
func wantsEvents(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			if kind, params, err := mime.ParseMediaType(part); err == nil && kind == eventStream && params["q"] != "0" {
				return true
			}
		}
	}
	return false
}

// streamRebuild sends how far a rebuild is until it is over: events progress,
// then end; both carry a RebuildAnswer. An event tells all there is to know, so
// that one who comes back begins with the newest; who has had the end gets 204,
// which keeps browsers from coming again.
func (s *server) streamRebuild(w http.ResponseWriter, r *request, p *projection, generation int) error {
	last, err := header(r.Request, "Last-Event-ID")
	if err != nil {
		return err
	}
	if last == lastEventID(generation) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := s.gates.enter(r, waits); err != nil {
		return err
	}
	now, err := p.rebuildOf(r.Context(), generation)
	if err != nil {
		return err
	}
	r.exchange.streams = true
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if s.o.Stopping != nil {
		defer context.AfterFunc(s.o.Stopping, cancel)()
	}
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies pass events on as they come
	w.WriteHeader(http.StatusOK)
	e := &events{w: w, control: http.NewResponseController(w), patience: s.eventPatience, generation: generation}
	if e.send("progress", now) {
		p.follow(ctx, e, generation)
	}
	return nil
}

// follow sends what Await tells. Whoever waits for it holds nothing but the
// newest.
func (p *projection) follow(ctx context.Context, e *events, generation int) {
	type outcome struct {
		projections.Rebuild
		err error
	}
	newest, ended := make(chan projections.Rebuild, 1), make(chan outcome, 1)
	go func() {
		rb, err := p.views.Await(ctx, generation, func(rb projections.Rebuild) {
			select {
			case <-newest:
			default:
			}
			newest <- rb // the only one who puts something there
		})
		ended <- outcome{rb, err}
	}()
	quiet, gap := time.NewTicker(keepAlive), time.NewTicker(eventGap)
	defer quiet.Stop()
	defer gap.Stop()
	var next <-chan projections.Rebuild // nil until the gap has passed
	for {
		sent := true
		select {
		case <-ctx.Done():
			return
		case <-gap.C:
			next = newest
		case rb := <-next:
			next = nil
			sent = e.send("progress", RebuildAnswer{p.name, rb})
			gap.Reset(eventGap)
			quiet.Reset(keepAlive)
		case <-quiet.C:
			sent = e.write(": it goes on\n\n")
		case end := <-ended:
			if end.err == nil {
				e.send("end", RebuildAnswer{p.name, end.Rebuild})
			} else if ctx.Err() == nil {
				e.send("problem", problemOf(&inProjection{p.name, end.err}))
			}
			return
		}
		if !sent {
			return
		}
	}
}

// events writes server-sent events to one reader.
type events struct {
	w          http.ResponseWriter
	control    *http.ResponseController
	patience   time.Duration
	generation int
	number     int
}

// send reports whether the reader took it.
func (e *events) send(kind string, content any) bool {
	data, err := json.Marshal(content, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode %T: %v", content, err))
	}
	e.number++
	id := strconv.Itoa(e.generation) + "-" + strconv.Itoa(e.number)
	if kind == "end" {
		id = lastEventID(e.generation)
	}
	return e.write("event: " + kind + "\nid: " + id + "\ndata: " + string(data) + "\n\n")
}

func lastEventID(generation int) string { return strconv.Itoa(generation) + "-end" }

func (e *events) write(text string) bool {
	_ = e.control.SetWriteDeadline(time.Now().Add(e.patience))
	if _, err := e.w.Write([]byte(text)); err != nil {
		return false
	}
	return e.control.Flush() == nil
}
