package systemtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// tidyWithin is how long docket may take to remove what nothing shows any more.
const tidyWithin = time.Minute

var (
	ordersFile  = regexp.MustCompile(`^orders-(\d+)\.db(-wal|-shm)?$`)
	ordersIndex = regexp.MustCompile(`docket-orders-(\d+)-[0-9a-f]+$`)
	ordersKey   = regexp.MustCompile(`^\{[^:}]+:(\d+)[:}]`)
)

// tidied waits until the stores keep just the generations that docket shows, and no
// file of a rebuild is left.
func (w *rebuildWorld) tidied(what string) {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		wrong := w.untidy(w.t.Context())
		if wrong == "" {
			return
		}
		if time.Since(began) > tidyWithin {
			w.t.Fatalf("%s: after %v %s", what, tidyWithin, wrong)
		}
	}
}

// untidy says what a store keeps and docket does not show, or shows and a store
// does not keep; empty when there is nothing.
func (w *rebuildWorld) untidy(ctx context.Context) string {
	for n, one := range w.nodes {
		shown, err := w.ask(n).numbers(ctx)
		if err != nil {
			return err.Error()
		}
		for _, generations := range shown {
			slices.Sort(generations)
		}
		kept := map[string]func() ([]int, error){"sqlite": func() ([]int, error) { return filesOf(w.folder(n)) }}
		if w.shared != nil {
			kept = map[string]func() ([]int, error){
				"elasticsearch": func() ([]int, error) { return indicesOf(ctx, w.shared.search, w.shared.namespace) },
				"redis":         func() ([]int, error) { return keysOf(ctx, w.shared.cache, w.shared.namespace) },
			}
		}
		for store, list := range kept {
			there, err := list()
			if err != nil {
				return fmt.Sprintf("%s: %v", store, err)
			}
			if slices.Sort(there); !slices.Equal(there, shown[store]) {
				return fmt.Sprintf("%s keeps the generations %v, %s shows %v", store, there, one.name, shown[store])
			}
		}
		if left := spilled(filepath.Join(w.folder(n), "tmp")); len(left) > 0 {
			return fmt.Sprintf("%s leaves files of a rebuild behind: %.10q", one.name, left)
		}
	}
	return ""
}

// numbersIn are the numbers that a pattern finds in names, each once.
func numbersIn(names []string, pattern *regexp.Regexp) (numbers []int) {
	for _, name := range names {
		if found := pattern.FindStringSubmatch(name); found != nil {
			if n, err := strconv.Atoi(found[1]); err == nil && !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers
}

// filesOf are the generations that have a file in the folder of a docket.
func filesOf(data string) ([]int, error) {
	files, err := os.ReadDir(filepath.Join(data, "views"))
	var names []string
	for _, f := range files {
		if !ordersFile.MatchString(f.Name()) {
			return nil, fmt.Errorf("%s is in the folder of the views", f.Name())
		}
		names = append(names, f.Name())
	}
	return numbersIn(names, ordersFile), err
}

// spilled are the files of rebuilds that are not over.
func spilled(dir string) (left []string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, path)
		}
		return nil // what goes meanwhile is not left behind
	})
	return left
}

// indicesOf are the generations that have an index.
func indicesOf(ctx context.Context, search, namespace string) ([]int, error) {
	url := "http://" + strings.TrimPrefix(search, "elasticsearch://") + "/_cat/indices/" + namespace + "-docket-orders-*?h=index"
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %d %.300s (%w)", url, answer.StatusCode, text, err)
	}
	return numbersIn(strings.Fields(string(text)), ordersIndex), nil
}

// keysOf are the generations that have a key.
func keysOf(ctx context.Context, cache, namespace string) (numbers []int, err error) {
	client := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(cache, "redis://")})
	defer client.Close()
	var names []string
	keys := client.Scan(ctx, 0, "{docket."+namespace+":*", 5000).Iterator()
	for keys.Next(ctx) {
		names = append(names, keys.Val())
	}
	return numbersIn(names, ordersKey), keys.Err()
}

// TestNamesOfGenerations: the names under which stores keep generations are known.
func TestNamesOfGenerations(t *testing.T) {
	for _, one := range []struct {
		pattern *regexp.Regexp
		names   []string
	}{
		{ordersFile, []string{"orders-7.db", "orders-7.db-wal", "orders-12.db-shm", "other.db"}},
		{ordersIndex, []string{"x-docket-orders-7-00c0ffee", "x-docket-orders-12-ab", "x-docket-orders-control-1"}},
		{ordersKey, []string{"{docket.x:7}:control", "{docket.x:12:c255}:list", "{docket.x}:generations"}},
	} {
		if got := numbersIn(one.names, one.pattern); !slices.Equal(got, []int{7, 12}) {
			t.Errorf("%v in %q: %v", one.pattern, one.names, got)
		}
	}
}
