package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/eventstore/transfer"
)

// The environment of this test program when it is to be an import: the file, and
// the folder of the target.
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
func importAsVictim(name, dir string) (err error) {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	ctx := context.Background()
	f, err := transfer.Open(ctx, file, transfer.OpenOptions{})
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, dir, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Println("begun")
	_, err = f.Import(ctx, store, transfer.ImportOptions{})
	return errors.Join(err, store.Close())
}

// kills is how often an import is killed: DOCKET_TRANSFER_KILLS.
func kills(t *testing.T) int {
	text := os.Getenv("DOCKET_TRANSFER_KILLS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKilledImports: an import that is killed at any moment goes on when it is
// run again, until everything is there once and in order.
func TestKilledImports(t *testing.T) {
	dir := t.TempDir()
	source := openSQLite(t, filepath.Join(dir, "source"))
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	next := make([]eventstore.Expected, 40)
	for i := range next {
		next[i] = eventstore.NoStream
	}
	for range 1500 {
		i := rng.IntN(len(next))
		batch := make([]eventstore.Event, 1+rng.IntN(5))
		for k := range batch {
			batch[k] = event("A", fmt.Sprintf(`{"n": %d}`, rng.IntN(1e9)), `{}`)
		}
		write(t, source, fmt.Sprintf("order-%d", i), next[i], batch...)
		next[i] += eventstore.Expected(len(batch))
	}
	text, e := exported(t, source, transfer.ExportOptions{})
	name := filepath.Join(dir, "log.ndjson")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := carried(t, source)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed, finished, partly := 0, 0, 0
	for round := 0; killed < kills(t) && !t.Failed(); round++ {
		target := filepath.Join(dir, fmt.Sprintf("target-%d", round))
		longest := 400 * time.Millisecond
		for ended := false; !ended; {
			import_ := exec.Command(self)
			import_.Env = append(os.Environ(), fileVariable+"="+name, targetVariable+"="+target)
			var problems strings.Builder
			import_.Stderr = &problems
			out, err := import_.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := import_.Start(); err != nil {
				t.Fatal(err)
			}
			_, begunErr := out.Read(make([]byte, 64))
			timer := time.AfterFunc(time.Duration(rng.Int64N(int64(longest))), func() { import_.Process.Kill() })
			err = import_.Wait()
			switch {
			case !timer.Stop() && import_.ProcessState.ExitCode() == -1:
				killed++
				if n := length(t, target); 0 < n && n < e.Events {
					partly++
				}
				longest += longest / 4 // until it comes through
			case err == nil:
				ended = true
			default:
				t.Fatalf("an import failed: %v %v\n%s", err, begunErr, &problems)
			}
		}
		store := openSQLite(t, target)
		wantSame(t, want, carried(t, store))
		finished++
		if done := imported(t, text, store); done.There != e.Events || done.Written != 0 {
			t.Errorf("imported once more: %+v", done)
		}
	}
	t.Logf("%d imports of %d events came through %d kills, %d of them in their midst", finished, e.Events, killed, partly)
	if partly == 0 {
		t.Error("no import was killed while it appended")
	}
}

// length is how many events are in a folder.
func length(t *testing.T, dir string) int64 {
	t.Helper()
	store, err := sqlite.OpenReadOnly(context.Background(), dir)
	if err != nil {
		return 0 // it was killed before there was one
	}
	defer store.Close()
	head, err := store.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return int64(head.Commit)
}
