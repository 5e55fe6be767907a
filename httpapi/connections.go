package httpapi

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// NewServer is an HTTP server for a handler of New, with the limits on
// connections and headers. Its ConnState is taken.
func NewServer(handler http.Handler, l Limits, logger *slog.Logger) *http.Server {
	l = l.OrDefaults()
	c := &connections{max: l.Connections, open: map[net.Conn]*list.Element{}}
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: l.HeaderTime,
		WriteTimeout:      l.AnswerTime, // begins with the header of a request
		IdleTimeout:       l.IdleTime,
		MaxHeaderBytes:    l.HeaderBytes,
		ConnState:         c.changed,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

// connections keeps the number of open connections at most max: for one more
// the one that is idle longest is closed. One that has not sent a whole header
// yet counts as idle, so that those who send slowly are the first to go.
type connections struct {
	max int

	mu   sync.Mutex
	open map[net.Conn]*list.Element
	all  list.List // of *connection, longest idle first; busy ones are anywhere
}

type connection struct {
	net.Conn
	busy bool
}

// changed is http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.open[conn]
	switch {
	case state == http.StateNew:
		c.open[conn] = c.all.PushBack(&connection{Conn: conn})
		if len(c.open) > c.max {
			c.closeIdle()
		}
	case known == nil: // closed below; net/http notices
	case state == http.StateActive:
		known.Value.(*connection).busy = true
	case state == http.StateIdle:
		known.Value.(*connection).busy = false
		c.all.MoveToBack(known)
	default: // closed or hijacked
		c.forget(known)
	}
}

// closeIdle closes the connection that is idle longest: at worst the new one.
func (c *connections) closeIdle() {
	for e := c.all.Front(); e != nil; e = e.Next() {
		if idle := e.Value.(*connection); !idle.busy {
			c.forget(e)
			_ = idle.Close() // whoever reads from it sees the end
			return
		}
	}
}

func (c *connections) forget(e *list.Element) {
	delete(c.open, e.Value.(*connection).Conn)
	c.all.Remove(e)
}
