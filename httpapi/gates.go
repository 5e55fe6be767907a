package httpapi

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// class is what a request takes turns with. Probes, operations and the document
// take none: they are answered when nothing else is.
type class uint8

const (
	free class = iota
	commands
	reads
	searches
	adoptions
	waits // for something to happen, not for a turn
	classes
)

var classNames = [classes]string{"free", "commands", "reads", "searches", "adoptions", "waits"}

// gates let so many requests of each class work at once as the server has use
// for, let a few more wait a moment, and turn the others away before they cost
// anything. A request has a turn until it begins to answer: who reads slowly is
// in nobody's way.
type gates struct {
	of   [classes]*gate // nil: open
	held budget
	shed *prometheus.CounterVec
}

// newGates makes the gates for so many callers; they are numbered from 0.
func newGates(l Limits, callers int) *gates {
	g := &gates{
		held: budget{max: l.HeldBytes},
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "docket_http_shed_total", Help: "Requests turned away, by class and by what there was too much of: queue, queue-time, caller, held-bytes.",
		}, []string{"class", "reason"}),
	}
	for c, size := range map[class][2]int{
		commands: {l.Commands, l.Queue}, reads: {l.Reads, l.Queue}, searches: {l.Searches, l.Queue},
		adoptions: {l.Adoptions, 0}, waits: {l.Waits, 0},
	} {
		inside, queue := size[0], size[1]
		share := int64(inside + queue)
		if callers > 1 {
			share = max(1, share*int64(l.CallerPercent)/100)
		}
		g.of[c] = &gate{
			class: c, inside: inside, places: int64(inside + queue), patience: l.QueueTime,
			share: share, byCaller: make([]line, callers),
		}
	}
	return g
}

// enter returns when the request has its turn, or with a problem. It leaves
// with leave, by itself when it begins to answer.
func (g *gates) enter(r *request, c class) error {
	gate := g.of[c]
	if gate == nil {
		return nil
	}
	r.exchange.class = c
	reason, err := gate.enter(r.Context(), r.who.number)
	if err != nil {
		return err
	}
	switch reason {
	case "":
		r.exchange.gate, r.exchange.number = gate, r.who.number
		return nil
	case "caller":
		g.shed.WithLabelValues(classNames[c], reason).Inc()
		return problem("too-many-requests", "this caller has as many %s at once as one may; nothing was done", classNames[c]).retry(later())
	}
	g.shed.WithLabelValues(classNames[c], reason).Inc()
	return overloaded(classNames[c])
}

// leave gives the turn of a request to the next; without a turn nothing happens.
func (e *exchange) leave() {
	if e.gate != nil {
		e.gate.leave(e.number)
		e.gate = nil
	}
}

// waiting gives the turn up while f waits for something to happen.
func (s *server) waiting(r *request, f func() error) error {
	r.leave()
	if err := s.gates.enter(r, waits); err != nil {
		return err
	}
	err := f()
	r.leave()
	if err != nil {
		return err
	}
	return s.gates.enter(r, r.route.class)
}

func overloaded(what string) *Problem {
	return problem("overloaded", "too many %s at once; nothing was done, repeat the request later", what).retry(later())
}

// later spreads those who were turned away over some seconds.
func later() int { return 1 + rand.IntN(3) }

// gate is the turns of one class. Callers who wait get them in rotation, so that
// one who asks for much waits for itself.
type gate struct {
	class    class
	inside   int   // requests that may have their turn
	places   int64 // inside and in the queue
	patience time.Duration
	share    int64 // of the places, for one caller

	mu       sync.Mutex
	running  int          // requests that have their turn; less than inside only while nobody waits
	taken    atomic.Int64 // of the places
	byCaller []line
	last     int // caller that was called out of the queue
}

// line is one caller's part of a gate.
type line struct {
	taken   int64           // of the places
	waiting []chan struct{} // closed when it is their turn
}

// enter returns "" when the request has its turn, or what there is too much of.
func (g *gate) enter(ctx context.Context, caller int) (reason string, err error) {
	g.mu.Lock()
	mine := &g.byCaller[caller]
	switch {
	case mine.taken == g.share && g.share < g.places:
		reason = "caller"
	case g.taken.Load() == g.places:
		reason = "queue"
	}
	if reason != "" {
		g.mu.Unlock()
		return reason, nil
	}
	mine.taken++
	g.taken.Add(1)
	if g.running < g.inside {
		g.running++
		g.mu.Unlock()
		return "", nil
	}
	called := make(chan struct{})
	mine.waiting = append(mine.waiting, called)
	g.mu.Unlock()

	enough := time.NewTimer(g.patience)
	defer enough.Stop()
	select {
	case <-called:
		return "", nil
	case <-enough.C:
		reason = "queue-time"
	case <-ctx.Done():
		err = ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(mine.waiting, called)
	if i < 0 {
		return "", nil // called in the last moment
	}
	mine.waiting = slices.Delete(mine.waiting, i, i+1)
	mine.taken--
	g.taken.Add(-1)
	return reason, err
}

// leave gives the turn to the next caller who waits.
func (g *gate) leave(caller int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byCaller[caller].taken--
	if g.taken.Add(-1) >= int64(g.running) { // somebody waits
		for i := range g.byCaller {
			at := (g.last + 1 + i) % len(g.byCaller)
			if next := &g.byCaller[at]; len(next.waiting) > 0 {
				close(next.waiting[0])
				next.waiting = slices.Delete(next.waiting, 0, 1)
				g.last = at
				return
			}
		}
	}
	g.running--
}

// Describe implements prometheus.Collector.
func (g *gates) Describe(out chan<- *prometheus.Desc) {
	g.shed.Describe(out)
	out <- turnsTaken
	out <- turnsWaited
	out <- bytesHeld
}

// Collect implements prometheus.Collector.
func (g *gates) Collect(out chan<- prometheus.Metric) {
	g.shed.Collect(out)
	for _, gate := range g.of {
		if gate != nil {
			gate.mu.Lock()
			inside, name := gate.running, classNames[gate.class]
			gate.mu.Unlock()
			out <- prometheus.MustNewConstMetric(turnsTaken, prometheus.GaugeValue, float64(inside), name)
			out <- prometheus.MustNewConstMetric(turnsWaited, prometheus.GaugeValue, float64(max(0, gate.taken.Load()-int64(inside))), name)
		}
	}
	out <- prometheus.MustNewConstMetric(bytesHeld, prometheus.GaugeValue, float64(g.held.taken.Load()))
}

var (
	turnsTaken  = prometheus.NewDesc("docket_http_turns_taken", "Requests that have their turn, by class.", []string{"class"}, nil)
	turnsWaited = prometheus.NewDesc("docket_http_turns_waited_for", "Requests that wait for their turn, by class.", []string{"class"}, nil)
	bytesHeld   = prometheus.NewDesc("docket_http_held_bytes", "Bytes of large bodies and answers that are held.", nil, nil)
)

// budget is memory that requests share.
type budget struct {
	max   int64
	taken atomic.Int64
}

// take reports whether there were n bytes left; they are the caller's then.
func (b *budget) take(n int64) bool {
	if b.taken.Add(n) <= b.max {
		return true
	}
	b.taken.Add(-n)
	return false
}

func (b *budget) give(n int64) { b.taken.Add(-n) }

// smallBytes of every exchange are not counted: the number of connections bounds
// them.
const smallBytes = 16 << 10

// errHeld ends a body for which no memory is left.
var errHeld = errors.New("as many bytes are held as may be")

// hold counts so many bytes more, of a body or an answer, until the exchange
// ends. It reports whether there are so many.
func (e *exchange) hold(n int64) bool {
	e.bytes += n
	more := e.bytes - smallBytes - e.held
	if more <= 0 || e.gates == nil {
		return true
	}
	if !e.gates.held.take(more) {
		e.gates.shed.WithLabelValues(classNames[e.class], "held-bytes").Inc()
		return false
	}
	e.held += more
	return true
}

// end gives back what the exchange has taken.
func (e *exchange) end() {
	e.leave()
	if e.held > 0 {
		e.gates.held.give(e.held)
		e.held = 0
	}
}

// counted is a body that counts what is read of it.
type counted struct {
	io.Reader
	e *exchange
}

// Read implements io.Reader; its error is errHeld when no memory is left.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if !c.e.hold(int64(n)) {
		return n, errHeld
	}
	return n, err
}
