package projections

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/docket-orders/docket/internal/disk"
	"github.com/docket-orders/docket/internal/spill"
)

// TestFiguresThatWaitInFiles: what does not fit in memory adds up all the same,
// each figure once, and leaves nothing behind.
func TestFiguresThatWaitInFiles(t *testing.T) {
	place := spill.Place{Disk: disk.OS(), Dir: t.TempDir(), Prefix: "compare-"}
	some, all := &figureDeltas{most: 100}, &figureDeltas{most: figuresHeld}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		sums := countedBetween(Contribution{}, Contribution{
			Currency: "EUR", Day: fmt.Sprint("2024-01-", 10+r.IntN(20)), Customer: fmt.Sprint("c", r.IntN(500)),
			Sums:     Sums{Orders: 1, Grand: int64(r.IntN(100)) - 50},
			Products: []ProductSum{{SKU: fmt.Sprint("s", r.IntN(300)), Units: int64(r.IntN(3)) - 1, Millionths: int64(r.IntN(3)-1) * 999_999}},
		})
		for _, f := range []*figureDeltas{some, all} {
			if err := f.add(place, sums); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[FigureKey][8]int64{}
	if err := all.each(func(key FigureKey, v [8]int64) { want[key] = v }); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := some.each(func(key FigureKey, v [8]int64) {
		if n++; want[key] != v {
			t.Errorf("%v is %v, want %v", key, v, want[key])
		}
	})
	if err != nil || n != len(want) || some.spilled == nil {
		t.Errorf("%d figures of %d, %v", n, len(want), err)
	}
	some.close()
	if left, err := disk.OS().ReadDir(place.Dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
