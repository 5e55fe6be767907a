package reading

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"google.golang.org/grpc/peer"
)

// maxPages is how many calls may read the store at once. Each has a page of it
// and its next message in memory for as long as its client takes nothing: a few
// times the largest append at worst.
const maxPages = 128

// pagePatience is how long a call waits for its turn before somebody is hung up
// on, and for how long at least that client must have taken nothing.
const pagePatience = 5 * time.Second

// pages lets calls read the store in turn. While there are turns nobody notices;
// when others wait, the connection with most calls that stand still is closed.
// All methods may be called from many goroutines.
type pages struct {
	turns  chan struct{}
	hangUp func(context.Context) // closes the connection of a call

	mu      sync.Mutex
	reading map[*answer]bool
}

func newPages(hangUp func(context.Context)) *pages {
	return &pages{turns: make(chan struct{}, maxPages), hangUp: hangUp, reading: map[*answer]bool{}}
}

// take waits for a turn, which ends with give.
func (p *pages) take(a *answer) error {
	impatient := time.NewTicker(pagePatience)
	defer impatient.Stop()
	for {
		select {
		case p.turns <- struct{}{}:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.reading[a] = true
			return nil
		case <-impatient.C:
			p.relieve(time.Now())
		case <-a.ctx.Done():
			return a.failed(a.ctx.Err())
		}
	}
}

func (p *pages) give(a *answer) {
	p.mu.Lock()
	delete(p.reading, a)
	p.mu.Unlock()
	<-p.turns
}

// relieve hangs up on the client with most calls that stand still.
func (p *pages) relieve(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	still := map[string][]*answer{}
	var most []*answer
	for a := range p.reading {
		since := a.sending.Load()
		if since == 0 || now.Sub(time.Unix(0, since)) < pagePatience {
			continue
		}
		from := ""
		if client, ok := peer.FromContext(a.ctx); ok {
			from = client.Addr.String()
		}
		if still[from] = append(still[from], a); len(still[from]) > len(most) {
			most = still[from]
		}
	}
	if len(most) == 0 {
		return
	}
	p.hangUp(most[0].ctx)
	for _, a := range most {
		a.sending.Store(0) // its end is on the way
	}
}

// sender notes since when a message has been waiting for the client.
type sender struct {
	streams.Streams_ReadServer
	since *atomic.Int64 // ns since 1970; 0: none is
}

func (s sender) SendMsg(m any) error {
	s.since.Store(time.Now().UnixNano())
	defer s.since.Store(0)
	return s.Streams_ReadServer.SendMsg(m)
}

func (s sender) Send(m *streams.ReadResp) error { return s.SendMsg(m) }
