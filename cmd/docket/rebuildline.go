package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/docket-orders/docket/projections"
)

// rebuildLine shows how far a rebuild is: on a terminal as one line that is
// written again, elsewhere as a line per phase and one now and then.
type rebuildLine struct {
	out      io.Writer
	terminal bool
	phase    projections.Phase
	said     time.Time
	begun    bool // there is a line on the terminal
}

// rebuildLineEvery is how often a line is written where none is written again.
const rebuildLineEvery = 5 * time.Second

func newRebuildLine(w io.Writer) *rebuildLine {
	f, ok := w.(*os.File)
	return &rebuildLine{out: w, terminal: ok && cwriter.IsTerminal(int(f.Fd()))}
}

func (l *rebuildLine) show(r rebuildSeen) {
	text := rebuildWords(r)
	switch {
	case l.terminal:
		fmt.Fprintf(l.out, "\r\x1b[K%s", shortened(text, 100))
		l.begun = true
	case r.Phase != l.phase || time.Since(l.said) >= rebuildLineEvery:
		fmt.Fprintln(l.out, text)
		l.phase, l.said = r.Phase, time.Now()
	}
}

// end leaves the terminal at the begin of an empty line.
func (l *rebuildLine) end() {
	if l.begun {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
}

// rebuildWords says how far a rebuild is, on one line.
func rebuildWords(r rebuildSeen) string {
	said := fmt.Sprintf("generation %d: ", r.Generation)
	at := r.Progress
	switch r.Phase {
	case projections.PhaseReading:
		said += "reading the log"
		if at != nil {
			said += ", " + plural(at.Events, "event")
			if at.Head.Commit > 0 {
				said += fmt.Sprintf(" (%d %%)", min(100, 100*at.Position.Commit/at.Head.Commit))
			}
			said += pace(*at, "events")
		}
	case projections.PhaseFolding:
		said += "making documents"
		if at != nil {
			said += ", " + plural(at.Orders, "order") + pace(*at, "orders")
		}
	case projections.PhaseFollowing:
		said += "applying what came meanwhile"
	case projections.PhaseComparing:
		said += "comparing it with what is in force"
	case projections.PhaseReady:
		said += "ready, waits for a switch"
	case projections.PhaseFailed:
		said += "failed: " + failureWords(r.Failure)
	default:
		said += string(r.Phase)
	}
	return said
}

// pace is rate and time left, as far as they are known.
func pace(p progressSeen, what string) string {
	var said strings.Builder
	if p.Rate >= 1 {
		fmt.Fprintf(&said, ", %s %s/s", grouped(int64(p.Rate)), what)
	}
	if left := time.Duration(p.ETAMs) * time.Millisecond; left > 0 {
		fmt.Fprintf(&said, ", %s left", left.Round(time.Second))
	}
	return said.String()
}
