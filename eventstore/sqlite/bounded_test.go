package sqlite_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
)

// What is remembered for speed does not grow with what clients name things.
func TestWhatIsRememberedIsBoundedInBytes(t *testing.T) {
	const many, large = 160, 400 << 10 // 62 MiB
	for name, event := range map[string]func(i int) (stream string, e eventstore.Event){
		"types": func(i int) (string, eventstore.Event) {
			return "s", eventstore.Event{Type: fmt.Sprint(i, strings.Repeat("t", large))}
		},
		"names": func(i int) (string, eventstore.Event) {
			return fmt.Sprint(i, strings.Repeat("n", large)), eventstore.Event{Type: "T"}
		},
		"metadata": func(i int) (string, eventstore.Event) {
			return fmt.Sprint("$$s", i), eventstore.Event{Type: eventstore.TypeMetadata, JSON: true, Data: fmt.Appendf(nil, `{"k":%q}`, strings.Repeat("m", large))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			before := heap()
			for i := range many {
				stream, e := event(i)
				e.ID = uuid.New()
				if _, err := store.Append(t.Context(), stream, eventstore.Any, []eventstore.Event{e}); err != nil {
					t.Fatal(err)
				}
			}
			written := heap() - before
			sub, err := store.Subscribe(t.Context(), eventstore.Start, eventstore.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			for n := 0; n < many; {
				notice, err := sub.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if notice.Kind == eventstore.Delivered {
					n++
				}
			}
			if read := heap() - before; written > 30<<20 || read > 30<<20 {
				t.Errorf("%d MiB after the writes, %d MiB after they were read", written>>20, read>>20)
			}
			runtime.KeepAlive(sub)
		})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
