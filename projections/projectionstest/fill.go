package projectionstest

import (
	"errors"
	"testing"
	"time"

	"github.com/docket-orders/docket/projections"
)

// filled asks a store that is filled faster when it is told; one that is not has
// nothing to show.
func filled(t *testing.T, s Store) {
	for name, crash := range map[string]bool{"in one go": false, "with a crash between": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t, s)
			filler := func() projections.Filler {
				filler, _ := f.Sink.(projections.Filler)
				return filler
			}
			if filler() == nil {
				return
			}
			rests := 0
			rested := func(d time.Duration) error {
				if rests++; d < 0 {
					t.Errorf("a part took %v", d)
				}
				return nil
			}
			f.done("begin", filler().BeginFill(f.ctx))
			r, docs := random(61), Documents(61, 300)
			f.put(docs[:200]...)
			for i := range 50 { // a chunk may be written again, and further
				docs[i] = later(r, docs[i])
			}
			f.put(docs[:50]...)
			if crash {
				f.done("close", f.Close())
				f.open(1)
				f.checkAll()
				f.done("begin again", filler().BeginFill(f.ctx))
			}
			f.put(docs[200:]...)
			no := errors.New("that was enough")
			if err := filler().EndFill(f.ctx, func(time.Duration) error { return no }); !errors.Is(err, no) {
				t.Errorf("who rests has ended it: %v", err)
			}
			f.done("end", filler().EndFill(f.ctx, rested))
			f.checkAll()
			f.done("end again", filler().EndFill(f.ctx, rested))
			f.done("begin when there is something", filler().BeginFill(f.ctx))
			f.checkAll()
			if rests == 0 {
				t.Error("nothing was said of what it took")
			}
		})
	}
}

func (f *fixture) done(what string, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}
