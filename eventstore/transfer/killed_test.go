package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/esdbserver/esdbservertest"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/eventstore/transfer"
)

// The environment of this test program when it is to be an import: the file, and
// the folder or the connection string of the target.
const (
	fileVariable   = "DOCKET_TRANSFER_FILE"
	targetVariable = "DOCKET_TRANSFER_TARGET"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(fileVariable); name != "" {
		if err := importAsVictim(name, os.Getenv(targetVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// importAsVictim imports until it is killed; it tells that it has begun to
// append.
func importAsVictim(name, target string) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	ctx := context.Background()
	f, err := transfer.Open(ctx, file, transfer.OpenOptions{})
	if err != nil {
		return err
	}
	var store eventstore.Store
	if strings.HasPrefix(target, "esdb:") {
		store, err = esdb.Open(ctx, target, esdb.Options{Logger: silent})
	} else {
		store, err = sqlite.Open(ctx, target, sqlite.Options{Logger: silent})
	}
	if err != nil {
		return err
	}
	fmt.Println("begun")
	_, err = f.Import(ctx, store, transfer.ImportOptions{})
	return errors.Join(err, store.Close())
}

// kills is how often imports into each kind of store are killed:
// DOCKET_TRANSFER_KILLS.
func kills(t *testing.T) int {
	text := os.Getenv("DOCKET_TRANSFER_KILLS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKilledImports: an import that is killed at any moment goes on when it is
// run again, until everything is there once and in order; into a folder, and into
// a server that goes on with what was on its way.
func TestKilledImports(t *testing.T) {
	v := newVictims(t)
	t.Run("into a folder", func(t *testing.T) {
		v.campaign(t, func(n int) target {
			dir := filepath.Join(v.dir, fmt.Sprint("target-", n))
			return target{dir, func(look func(eventstore.Store)) {
				store, err := sqlite.Open(context.Background(), dir, sqlite.Options{Logger: silent})
				if err != nil {
					t.Fatal(err)
				}
				look(store)
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			}}
		})
	})
	t.Run("over gRPC", func(t *testing.T) {
		v.campaign(t, func(int) target {
			store := openSQLite(t, t.TempDir())
			address := esdbservertest.Start(t, esdbserver.Options{Store: store})
			return target{esdbservertest.Insecure(address), func(look func(eventstore.Store)) { look(store) }}
		})
	})
}

// target of an import.
type target struct {
	name string // folder or connection string
	see  func(look func(eventstore.Store))
}

// victims are imports of one file.
type victims struct {
	dir, name, text string
	events          int64
	want            []string
	rng             *rand.Rand
}

// newVictims exports a log of orders that take turns.
func newVictims(t *testing.T) *victims {
	v := &victims{dir: t.TempDir(), rng: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))}
	source := openSQLite(t, filepath.Join(v.dir, "source"))
	next := make([]eventstore.Expected, 40)
	for i := range next {
		next[i] = eventstore.NoStream
	}
	for range 1500 {
		i := v.rng.IntN(len(next))
		batch := make([]eventstore.Event, 1+v.rng.IntN(5))
		for k := range batch {
			batch[k] = event("A", fmt.Sprintf(`{"n": %d}`, v.rng.IntN(1e9)), `{}`)
		}
		write(t, source, fmt.Sprintf("order-%d", i), next[i], batch...)
		next[i] += eventstore.Expected(len(batch))
	}
	text, e := exported(t, source, transfer.ExportOptions{})
	v.text, v.events, v.want, v.name = text, e.Events, carried(t, source), filepath.Join(v.dir, "log.ndjson")
	if err := os.WriteFile(v.name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

// campaign imports into one target after the other, each until an import comes
// through.
func (v *victims) campaign(t *testing.T, next func(n int) target) {
	killed, finished, partly, most := 0, 0, 0, kills(t)
	for killed < most {
		into := next(finished)
		longest := 300 * time.Millisecond
		for !v.run(t, into.name, time.Duration(v.rng.Int64N(int64(longest)))) {
			killed++
			into.see(func(s eventstore.Store) {
				if n := len(carried(t, s)); 0 < n && n < len(v.want) {
					partly++
				}
			})
			longest += longest / 4 // until it comes through
		}
		finished++
		into.see(func(s eventstore.Store) {
			wantSame(t, v.want, carried(t, s))
			if done := imported(t, v.text, s); done.There != v.events || done.Written != 0 {
				t.Errorf("imported once more: %+v", done)
			}
		})
	}
	t.Logf("%d imports of %d events came through %d kills, %d of them in their midst", finished, v.events, killed, partly)
	if partly == 0 {
		t.Error("no import was killed while it appended")
	}
}

// run starts an import and kills it so long after it has begun; true: it was
// faster.
func (v *victims) run(t *testing.T, target string, after time.Duration) (through bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	victim := exec.Command(self)
	victim.Env = append(os.Environ(), fileVariable+"="+v.name, targetVariable+"="+target)
	var problems strings.Builder
	victim.Stderr = &problems
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 64)) // it has begun, or ended
	timer := time.AfterFunc(after, func() { _ = victim.Process.Kill() })
	err = victim.Wait()
	if !timer.Stop() && victim.ProcessState.ExitCode() == -1 {
		return false
	}
	if err != nil {
		t.Fatalf("an import failed: %v\n%s", err, &problems)
	}
	return true
}
