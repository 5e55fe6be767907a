// Package importer takes over orders of other systems: it is the
// anti-corruption layer for two public data sets, and makes whole lifecycles
// for demonstrations. The foreign model stops here; what leaves is order.Adopt
// and, for generated orders, ordinary commands.
//
// It promises: every file is read and checked before the first command, so a
// malformed one ends the import with file, line and column and nothing is
// written; a well-formed row that cannot belong is refused with line and reason
// and the rest goes on; a second run, or one after a kill, adds what is missing
// and nothing else. It decides no rule of orders: what is odd about a history
// is said by the domain, or told to it where only the rows show it.
//
// cmd/docket calls it.
package importer

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docket-orders/docket/domain/order"
)

// Target is where adopted orders go. Adopt may be called from many goroutines,
// but never for two parts of one order at a time. key identifies the part for
// ever: the same key has one effect. A *domain.Rejection and
// command.ErrKeyReused refuse the document, and the import goes on; any other
// error ends it.
type Target interface {
	Adopt(ctx context.Context, orderID string, a order.Adopt, key string) (Outcome, error)
}

// Outcome of one part of an adoption.
type Outcome struct {
	Events    int  // that the part caused, now or when it came first
	Replayed  bool // nothing was written now: it came before
	Anomalies []order.Anomaly
}

// Options of an import. The zero value works.
type Options struct {
	// Zone in which times without one are read; nil is UTC.
	Zone *time.Location
	// Interleave sends every order's steps one by one, in order of business
	// time over all orders, instead of order by order.
	Interleave bool
	// InFlight bounds how many adoptions wait for their answer; 0 is 128.
	InFlight int
	// Progress is called now and then, from one goroutine at a time.
	Progress func(Progress)
}

// Progress of one phase.
type Progress struct {
	Phase string // "reading <file>" or "sending orders"
	// Done and Total count rows while reading (Total is 0: not known), and
	// parts while sending.
	Done, Total int
}

// MaxRefusedListed bounds Report.Refused; RefusedCount counts all.
const MaxRefusedListed = 1000

// Report says what an import did.
type Report struct {
	System       string     `json:"system"`
	Files        []FileRows `json:"files"`
	Orders       int        `json:"orders"`       // documents read from the files
	Made         int        `json:"made"`         // of these, written by this run
	AlreadyThere int        `json:"alreadyThere"` // of these, written by an earlier one
	Events       int        `json:"events"`       // written by this run
	// Anomalies by kind, and the orders that have them. Of orders that were
	// already there they are known when the same parts were sent as at first.
	Anomalies    map[string]int `json:"anomalies"`
	OddOrders    map[string]int `json:"ordersByOddity"` // orders that have an anomaly of the kind
	Refused      []Row          `json:"refused"`        // the first MaxRefusedListed
	RefusedCount int            `json:"refusedCount"`
}

func newReport(system string) Report {
	return Report{System: system, Files: []FileRows{}, Refused: []Row{},
		Anomalies: map[string]int{}, OddOrders: map[string]int{}}
}

// FileRows counts the data rows of a file.
type FileRows struct {
	File string `json:"file"`
	Rows int    `json:"rows"`
}

// Row that was refused, or with a document, the row that begins it.
type Row struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Files {
		fmt.Fprintf(&b, "%9d rows read from %s\n", f.Rows, f.File)
	}
	fmt.Fprintf(&b, "%9d orders: %d made, %d already there\n", r.Orders, r.Made, r.AlreadyThere)
	fmt.Fprintf(&b, "%9d events written\n", r.Events)
	for _, kind := range slices.Sorted(maps.Keys(r.Anomalies)) {
		fmt.Fprintf(&b, "%9d anomalies %s, on %d orders\n", r.Anomalies[kind], kind, r.OddOrders[kind])
	}
	fmt.Fprintf(&b, "%9d refused\n", r.RefusedCount)
	for _, row := range r.Refused {
		fmt.Fprintf(&b, "          %s, line %d: %s\n", row.File, row.Line, row.Reason)
	}
	if more := r.RefusedCount - len(r.Refused); more > 0 {
		fmt.Fprintf(&b, "          and %d more\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) refuse(file string, line int, reason string) {
	r.RefusedCount++
	if len(r.Refused) < MaxRefusedListed {
		r.Refused = append(r.Refused, Row{file, line, reason})
	}
}

// finish puts the refused rows into a fixed order.
func (r *Report) finish() {
	slices.SortStableFunc(r.Refused, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}
