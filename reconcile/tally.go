package reconcile

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docket-orders/docket/domain/money"
	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/spill"
	"github.com/docket-orders/docket/projections"
)

// tally is what the expected side has counted. Figures are held in memory, for
// their number does not grow with the orders; customers do, and wait in files.
// It is used by one goroutine at a time.
type tally struct {
	// at says what is in it: of every lane's orders the events up to there, of
	// parked ones those before the event at which they are parked.
	at     [projections.Lanes]eventstore.Position
	parked map[string]projections.Parked

	figures   map[projections.FigureKey]values
	customers *spill.Spill
	disk      disk.FS
	dir       string
	folders   int
	idle      bool // nobody asks it: the store counts for itself
}

func newTally(d disk.FS, dir string, at eventstore.Position, parked map[string]projections.Parked, idle bool) (*tally, error) {
	t := &tally{parked: parked, figures: map[projections.FigureKey]values{}, disk: d, dir: dir, idle: idle}
	for i := range t.at {
		t.at[i] = at
	}
	var err error
	t.customers, err = t.folder()
	return t, err
}

func (t *tally) folder() (*spill.Spill, error) {
	t.folders++
	dir := filepath.Join(t.dir, "customers-"+strconv.Itoa(t.folders))
	if err := t.disk.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spill customers: %w", err)
	}
	return spill.New(t.disk, dir), nil
}

// waits says which figures wait in files.
func waits(key projections.FigureKey) bool {
	return key.Of == projections.FigureCustomer && len(key.Key) <= maxKey
}

func (t *tally) close() { t.customers.Close() }

// count adds an order, or with times -1 takes it off.
func (t *tally) count(want projections.Change, times int64) (err error) {
	if t.idle {
		return nil
	}
	eachFigure(want.Contribution, &want.Order, func(key projections.FigureKey, v values) {
		if waits(key) {
			err = spillCustomer(t.customers, key, values{}.plus(v, times), false)
			return
		}
		t.figures[key] = t.figures[key].plus(v, times)
	})
	return err
}

// differences between the kept figures and those of a tally. So many are
// listed; all are counted.
type differences struct {
	list      []figureDiff
	count     int64
	digest    uint64 // of all, whatever their order
	figures   int64  // compared, without customers
	customers int64
	unsteady  bool // they differed in another way at every look
}

const maxFigureDiffs = 10_000

func (d *differences) compare(key projections.FigureKey, kept, want values) {
	if kept, want = normal(key.Of, kept), normal(key.Of, want); kept == want {
		return
	}
	d.count++
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %v %v", key, kept, values{}.plus(kept, 1).plus(want, -1))
	d.digest += h.Sum64()
	if len(d.list) < maxFigureDiffs {
		d.list = append(d.list, figureDiff{key: key, kept: kept, want: want})
	}
}

// compare holds what the sink has counted against the tally. advance brings
// the tally to the lanes' checkpoints, which are of the same instant.
func (t *tally) compare(ctx context.Context, sink projections.Inspector, advance func([]projections.Checkpoint) error) (d differences, err error) {
	kept := map[projections.FigureKey]values{}
	var full error // the temporary files take no more
	lanes, err := sink.Figures(ctx, func(f projections.Figure) error {
		if waits(f.FigureKey) {
			full = spillCustomer(t.customers, f.FigureKey, f.Values, true)
			return full
		}
		kept[f.FigureKey] = values(f.Values).plus(kept[f.FigureKey], 1)
		return nil
	})
	if full != nil {
		return d, full
	}
	if err != nil {
		return d, ofViews("read figures", err)
	}
	if err := advance(lanes); err != nil {
		return d, err
	}
	for key, want := range t.figures {
		d.compare(key, kept[key], want)
	}
	d.figures = int64(len(t.figures))
	for key, v := range kept {
		if _, expected := t.figures[key]; !expected {
			d.figures++
			d.compare(key, v, values{})
		}
	}
	return d, t.compareCustomers(&d)
}

// miscounted are the figures of a store that counts for itself. It holds them
// against the contributions that it keeps; these were compared with the orders.
func miscounted(ctx context.Context, sink projections.SelfCounting) (d differences, err error) {
	d.figures, err = sink.Miscounted(ctx, func(kept, should projections.Figure) error {
		d.compare(kept.FigureKey, values(kept.Values), values(should.Values))
		return nil
	})
	return d, ofViews("compare figures", err)
}

// compareCustomers compares part by part, and keeps the expected side, added
// up, for the next time.
func (t *tally) compareCustomers(d *differences) error {
	next, err := t.folder()
	if err != nil {
		return err
	}
	last := t.customers
	defer last.Close()
	t.customers = next
	type pair struct{ kept, want values }
	return last.Each(func(rows []eventstore.Record) error {
		part := map[projections.FigureKey]pair{}
		for _, row := range rows {
			key, v, isKept := customerOf(row)
			sum := part[key]
			if isKept {
				sum.kept = sum.kept.plus(v, 1)
			} else {
				sum.want = sum.want.plus(v, 1)
			}
			part[key] = sum
		}
		d.customers += int64(len(part))
		for key, sum := range part {
			d.compare(key, sum.kept, sum.want)
			if sum.want != (values{}) {
				if err := spillCustomer(next, key, sum.want, false); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// A customer's row waits as a record: its stream is currency and customer, its
// revision 1 where it is what the sink keeps.

func spillCustomer(to *spill.Spill, key projections.FigureKey, v values, kept bool) error {
	var data [len(v) * binary.MaxVarintLen64]byte
	b := data[:0]
	for _, n := range v {
		b = binary.AppendVarint(b, n)
	}
	row := eventstore.Record{Stream: string(key.Currency) + "\x00" + key.Key, Event: eventstore.Event{Data: b}}
	if kept {
		row.Revision = 1
	}
	return to.Add(row)
}

func customerOf(row eventstore.Record) (key projections.FigureKey, v values, kept bool) {
	currency, customer, _ := strings.Cut(row.Stream, "\x00")
	key = projections.FigureKey{Of: projections.FigureCustomer, Currency: money.Currency(currency), Key: customer}
	b := row.Data
	for i := range v {
		n, size := binary.Varint(b)
		v[i], b = n, b[size:]
	}
	return key, v, row.Revision == 1
}
