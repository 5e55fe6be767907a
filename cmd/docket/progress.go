package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far long work is: as bars on a terminal, elsewhere as a
// line per phase and at most one a second. Its methods may be called from many
// goroutines.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	bars  *mpb.Progress // nil: lines
	bar   *mpb.Bar
	phase string
	said  time.Time
	ended bool // the line of a phase that is done was written
}

const lineEvery = time.Second

// newProgress shows progress on w.
func newProgress(w io.Writer) *progress {
	p := &progress{out: w}
	if f, ok := w.(*os.File); ok && cwriter.IsTerminal(int(f.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(48))
	}
	return p
}

// show says that done of total are done in a phase; total 0 is unknown. More
// than was expected is all of it.
func (p *progress) show(phase string, done, total int64) {
	if total > 0 {
		total = max(total, done)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	begins := phase != p.phase
	if begins {
		p.endBar()
		p.phase = phase
	}
	if p.bars == nil {
		p.line(begins, done, total)
		return
	}
	if begins {
		p.bar = p.bars.AddBar(total,
			mpb.PrependDecorators(decor.Name(phase, decor.WCSyncSpaceR), decor.CurrentNoUnit("%d", decor.WCSyncSpace)),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.AverageSpeed(0, " %.0f/s", decor.WCSyncSpace)))
	}
	if total > 0 {
		p.bar.SetTotal(total, false)
	}
	p.bar.SetCurrent(done)
}

func (p *progress) line(begins bool, done, total int64) {
	now, ends := time.Now(), total > 0 && done >= total
	if begins {
		p.ended = false
	}
	if p.ended || !begins && !ends && now.Sub(p.said) < lineEvery {
		return
	}
	p.said, p.ended = now, ends
	switch {
	case total > 0:
		fmt.Fprintf(p.out, "%s: %d of %d\n", p.phase, done, total)
	case done > 0:
		fmt.Fprintf(p.out, "%s: %d\n", p.phase, done)
	case begins:
		fmt.Fprintln(p.out, p.phase)
	}
}

// endBar completes the bar of the phase that ends.
func (p *progress) endBar() {
	if p.bar != nil {
		p.bar.SetTotal(-1, true)
		p.bar = nil
	}
}

// end leaves the terminal as it is.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endBar()
	if p.bars != nil {
		p.bars.Wait()
	}
}
