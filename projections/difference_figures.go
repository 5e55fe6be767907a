package projections

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/spill"
)

// figuresHeld are held in memory at once; what is beyond waits in files.
const figuresHeld = 1 << 16

// figureSums is something for each of some figures. It has no zeros.
type figureSums map[FigureKey][8]int64

func (s figureSums) add(key FigureKey, times int64, values ...int64) {
	sum := s[key]
	for i, v := range values {
		sum[i] += times * v
	}
	if s[key] = sum; normalFigure(key, sum) == [8]int64{} {
		delete(s, key)
	}
}

// normalFigure is the form in which figures are compared: millionths carried.
func normalFigure(key FigureKey, v [8]int64) [8]int64 {
	if key.Of == FigureProduct {
		p := ProductSum{Units: v[0], Amount: v[1], Millionths: v[2]}.Normal()
		v[0], v[1], v[2] = p.Units, p.Amount, p.Millionths
	}
	return v
}

// countedBetween is what figures change by when an order contributes new in place
// of old: FigureSums, FigureMethod, FigureProduct and FigureCustomer. Facets count
// documents by their fields, and follow from these.
func countedBetween(old, new Contribution) figureSums {
	sums := figureSums{}
	sums.contribution(old, -1)
	sums.contribution(new, 1)
	return sums
}

func (s figureSums) contribution(c Contribution, times int64) {
	if c.Currency == "" {
		return // never placed
	}
	sums := []int64{c.Sums.Orders, c.Sums.Lines, c.Sums.Units, c.Sums.Items, c.Sums.Shipping, c.Sums.Grand, c.Sums.Paid, c.Sums.Rounding}
	s.add(FigureKey{Of: FigureSums, Currency: c.Currency, Dimension: DimensionAll, Day: c.Day}, times, sums...)
	for _, g := range c.Groups {
		for _, day := range []string{c.Day, EveryDay} {
			s.add(FigureKey{Of: FigureSums, Currency: c.Currency, Dimension: g.Dimension, Key: g.Key, Day: day}, times, sums...)
		}
	}
	for _, m := range c.Methods {
		s.add(FigureKey{Of: FigureMethod, Currency: c.Currency, Key: m.Method, Day: c.Day}, times, m.Payments, m.Captured)
	}
	for _, p := range c.Products {
		s.add(FigureKey{Of: FigureProduct, Currency: c.Currency, Key: p.SKU}, times, p.Units, p.Amount, p.Millionths)
	}
	if c.Customer != "" {
		s.add(FigureKey{Of: FigureCustomer, Currency: c.Currency, Key: c.Customer}, times,
			c.Sums.Orders, c.Sums.Items, c.Sums.Grand, c.Sums.Paid, c.Sums.Rounding)
	}
}

// figureDeltas adds up what all orders change figures by, in memory and, when
// these are too many, in files.
type figureDeltas struct {
	most    int // held at once
	held    figureSums
	spilled *spill.Spill
	place   spill.Place
	dir     string
}

func (f *figureDeltas) add(place spill.Place, sums figureSums) error {
	if f.held == nil {
		f.held, f.place = figureSums{}, place
	}
	for key, v := range sums {
		f.held.add(key, 1, v[:]...)
	}
	if len(f.held) <= f.most {
		return nil
	}
	return f.flush()
}

// flush moves what is held to files, the sums of one figure to one file.
func (f *figureDeltas) flush() (err error) {
	if f.spilled == nil {
		if f.dir, err = f.place.Folder(); err != nil {
			return err
		}
		f.spilled = spill.New(f.place.Disk, f.dir)
	}
	for key, v := range f.held {
		name, err := json.Marshal(key)
		if err != nil {
			panic("projections: encode the name of a figure: " + err.Error()) // strings always encode
		}
		var data []byte
		for _, n := range v {
			data = binary.AppendVarint(data, n)
		}
		if err := f.spilled.Add(eventstore.Record{Stream: string(name), Event: eventstore.Event{Data: data}}); err != nil {
			return err
		}
	}
	clear(f.held)
	return nil
}

// each hands over every figure that differs, once.
func (f *figureDeltas) each(yield func(FigureKey, [8]int64)) error {
	if f.spilled == nil {
		for key, v := range f.held {
			yield(key, v)
		}
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	return f.spilled.Each(func(records []eventstore.Record) error {
		part := figureSums{}
		for _, r := range records {
			var key FigureKey
			if err := json.Unmarshal([]byte(r.Stream), &key); err != nil {
				return fmt.Errorf("read the name of a figure: %w", err)
			}
			var v [8]int64
			b := r.Data
			for i := range v {
				n, size := binary.Varint(b)
				v[i], b = n, b[max(size, 0):]
			}
			part.add(key, 1, v[:]...)
		}
		for key, v := range part {
			yield(key, v)
		}
		return nil
	})
}

func (f *figureDeltas) close() {
	if f.spilled != nil {
		f.spilled.Close()
		_ = f.place.Disk.RemoveAll(filepath.Clean(f.dir)) // else the next start sweeps it away
	}
}

// countFigures counts the figures that differ and lists the first. What they are
// in the generation in force is read from it once; what they become is that and
// what the orders change.
func (c *comparison) countFigures(ctx context.Context) error {
	type delta struct {
		key  FigureKey
		by   [8]int64
		from [8]int64
	}
	var listed []delta
	d := &c.found.d
	err := c.found.figures.each(func(key FigureKey, by [8]int64) {
		d.FiguresChanged++
		listed = leastOf(listed, delta{key: key, by: by}, func(a, b delta) int { return compareFigures(a.key, b.key) }, MaxFigures)
	})
	if err != nil || len(listed) == 0 {
		return err
	}
	at := map[FigureKey]int{}
	for i, l := range listed {
		at[l.key] = i
	}
	_, err = c.Old.Figures(ctx, func(f Figure) error {
		if i, wanted := at[f.FigureKey]; wanted {
			listed[i].from = f.Values
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	for _, l := range listed {
		to := l.from
		for i := range to {
			to[i] += l.by[i]
		}
		d.Figures = append(d.Figures, figureDifference(l.key, normalFigure(l.key, l.from), normalFigure(l.key, to)))
	}
	return nil
}

// compareFigures sorts those over all days first, then customers, products and
// methods, then those of single days.
func compareFigures(a, b FigureKey) int {
	rank := func(k FigureKey) int {
		if k.Of == FigureSums && k.Day == EveryDay {
			return 0
		}
		return 1 + slices.Index([]FigureOf{FigureCustomer, FigureProduct, FigureMethod, FigureSums}, k.Of)
	}
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.Dimension, b.Dimension),
		cmp.Compare(a.Key, b.Key), cmp.Compare(a.Day, b.Day),
	)
}

// figureDifference names the values that differ.
func figureDifference(key FigureKey, before, after [8]int64) FigureDifference {
	f := FigureDifference{Figure: string(key.Of) + " " + string(key.Currency)}
	for _, part := range []string{key.Dimension, key.Key} {
		if part != "" {
			f.Figure += " " + part
		}
	}
	if key.Day != "" && key.Day != EveryDay {
		f.Figure += " " + key.Day
	}
	for i, name := range figureNames(key.Of) {
		if before[i] != after[i] {
			f.Names, f.Before, f.After = append(f.Names, name), append(f.Before, before[i]), append(f.After, after[i])
		}
	}
	return f
}

// figureNames are what the values of a figure are called. Money is in minor
// units, rounding in millionths.
func figureNames(of FigureOf) []string {
	switch of {
	case FigureSums:
		return []string{"orders", "lines", "units", "items", "shipping", "grand", "paid", "rounding"}
	case FigureMethod:
		return []string{"payments", "captured"}
	case FigureProduct:
		return []string{"units", "amount", "millionths"}
	case FigureCustomer:
		return []string{"orders", "items", "grand", "paid", "rounding"}
	}
	return nil
}
