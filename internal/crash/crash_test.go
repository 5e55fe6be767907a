package crash

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docket-orders/docket/internal/disk/disktest"
)

const (
	defaultPoints = 500
	// together is how many points are made from one replay of a journal.
	pointsTogether = 50
	// maxFailures ends a campaign that has seen enough.
	maxFailures = 10
)

// point is an instant of a recording, and chance for what is there afterwards.
type point struct {
	recording *recording
	number    int
	ops       int // how many operations happened
	class     string
	chance    *rand.Rand
}

// point number n: the even ones go through all prefixes, in leaps; the odd ones
// give every kind of operation its share, before it and after it.
func (r *recording) point(seed uint64, n int) point {
	h := fnv.New64a()
	h.Write([]byte(r.name))
	p := point{recording: r, number: n, chance: rand.New(rand.NewPCG(seed, h.Sum64()+uint64(n)))}
	if all := len(r.journal.Ops); n%2 == 0 {
		leap := all*5/8 | 1
		for gcd(leap, all+1) != 1 {
			leap += 2
		}
		p.ops = n / 2 * leap % (all + 1)
	} else {
		c := r.classes[p.chance.IntN(len(r.classes))]
		p.ops = c.ops[p.chance.IntN(len(c.ops))] + p.chance.IntN(2)
	}
	p.ops = max(p.ops, r.known)
	p.class = "start"
	if p.ops > 0 {
		p.class = r.journal.Ops[p.ops-1].Kind.String()
	}
	return p
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// crash makes the folder of a point and recovers it.
func (p point) crash(ctx context.Context, replay *disktest.Replay, dir string) (how string, err error) {
	replay.To(p.ops)
	img := replay.Image(p.chance)
	if err := img.Write(dir); err != nil {
		return img.How, err
	}
	return img.How, p.recording.recovered(ctx, dir, p.ops)
}

// campaign crashes at points, until so many have failed, and answers what failed.
func campaign(t *testing.T, points []point, maxFailures int) (failures []string) {
	root := fastDir(t)
	slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.ops, b.ops), cmp.Compare(a.number, b.number)) })
	chunks := make(chan []point)
	var mu sync.Mutex
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(failures) >= maxFailures
	}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for chunk := range chunks {
				if enough() {
					continue
				}
				replay := chunk[0].recording.journal.Replay()
				for _, p := range chunk {
					if enough() {
						break
					}
					dir := filepath.Join(root, strconv.Itoa(p.number))
					err := os.Mkdir(dir, 0o700)
					how := ""
					if err == nil {
						how, err = p.crash(t.Context(), replay, dir)
					}
					if err != nil {
						mu.Lock()
						failures = append(failures, fmt.Sprintf("point %s/%d after %d operations, the last of them %v; of what was not durable: %s\n%v", p.recording.name, p.number, p.ops, p.last(), how, err))
						mu.Unlock()
					}
					os.RemoveAll(dir)
				}
			}
		})
	}
	for chunk := range slices.Chunk(points, pointsTogether) {
		chunks <- chunk
	}
	close(chunks)
	workers.Wait()
	return failures
}

func (p point) last() any {
	if p.ops == 0 {
		return "none"
	}
	return p.recording.journal.Ops[p.ops-1]
}

// TestCrashPoints crashes into every scenario. DOCKET_CRASH_POINTS is how many
// points there are in all, DOCKET_CRASH_SEED chooses others.
func TestCrashPoints(t *testing.T) {
	total, seed := envNumber(t, "DOCKET_CRASH_POINTS", defaultPoints), uint64(envNumber(t, "DOCKET_CRASH_SEED", 1))
	began, all := time.Now(), 0
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			n := total/len(scenarios) + min(1, max(0, total%len(scenarios)-i))
			began := time.Now()
			r := record(t, s.name, s.play)
			if t.Failed() {
				return
			}
			recorded := time.Since(began)
			began = time.Now()
			points, kinds, prefixes := make([]point, n), map[string]int{}, map[int]bool{}
			for i := range points {
				points[i] = r.point(seed, i)
				kinds[points[i].class]++
				prefixes[points[i].ops] = true
			}
			failures := campaign(t, points, maxFailures)
			all += n
			var counts []string
			for _, kind := range slices.Sorted(maps.Keys(kinds)) {
				counts = append(counts, fmt.Sprintf("%s %d", kind, kinds[kind]))
			}
			t.Logf("%d points (%s) of %d operations, %d different prefixes; recorded in %v, crashed in %v", n, strings.Join(counts, ", "), len(r.journal.Ops), len(prefixes), recorded.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
			if len(failures) == 0 {
				return
			}
			name := filepath.Join(os.TempDir(), fmt.Sprintf("docket-crash-%s-%d.journal", s.name, os.Getpid()))
			if err := r.journal.Save(name); err != nil {
				t.Error(err)
			}
			for _, f := range failures {
				t.Error(f)
			}
			t.Errorf("repeat a point: DOCKET_CRASH_JOURNAL=%s DOCKET_CRASH_SEED=%d DOCKET_CRASH_POINT=<scenario>/<number> go test -run TestOnePoint ./internal/crash", name, seed)
		})
	}
	t.Logf("%d points in %v", all, time.Since(began).Round(time.Millisecond))
}

func envNumber(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestOnePoint repeats the point of a kept journal that DOCKET_CRASH_POINT
// names, and keeps its folder. Without one it crashes into the start of a log.
func TestOnePoint(t *testing.T) {
	name, seed := os.Getenv("DOCKET_CRASH_POINT"), uint64(envNumber(t, "DOCKET_CRASH_SEED", 1))
	var r *recording
	number := 1
	if name == "" {
		r = record(t, scenarios[0].name, func(*play) {})
	} else {
		scenario, text, _ := strings.Cut(name, "/")
		var err error
		if number, err = strconv.Atoi(text); err != nil {
			t.Fatalf("DOCKET_CRASH_POINT: %v", err)
		}
		j, err := disktest.Load(os.Getenv("DOCKET_CRASH_JOURNAL"))
		if err == nil {
			r, err = newRecording(scenario, j)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	p := r.point(seed, number)
	dir := fastDir(t)
	if name != "" {
		kept, err := os.MkdirTemp("", "docket-crash-point-")
		if err != nil {
			t.Fatal(err)
		}
		replay := r.journal.Replay()
		replay.To(p.ops)
		if err := replay.Image(r.point(seed, number).chance).Write(kept); err != nil {
			t.Fatal(err)
		}
		t.Logf("the folder is in %s", kept)
		for i := max(0, p.ops-20); i < p.ops; i++ {
			t.Logf("%6d %v", i, r.journal.Ops[i])
		}
	}
	how, err := p.crash(t.Context(), r.journal.Replay(), dir)
	if err != nil {
		t.Fatalf("%s: %v", how, err)
	}
}
