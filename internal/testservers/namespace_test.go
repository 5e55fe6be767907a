package testservers

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestNamespacesAreSwept: what a test leaves under its name is gone, what others
// have is not.
func TestNamespacesAreSwept(t *testing.T) {
	redis, cluster, url := Redis(t), RedisCluster(t), Elasticsearch(t)
	var mine string
	others := Namespace(t)
	if !regexp.MustCompile(`^[a-z0-9]{1,16}$`).MatchString(others) {
		t.Fatalf("%q", others)
	}
	put := func(name string) {
		t.Helper()
		if _, err := ask(redis, "SET", name+":k", "v"); err != nil {
			t.Fatal(err)
		}
		// One master keeps it, the others say so.
		for _, a := range cluster {
			if _, err := ask(a, "SET", "{"+name+"}k", "v"); err != nil && !strings.Contains(err.Error(), "MOVED") {
				t.Fatal(err)
			}
		}
		if _, err := request(http.MethodPut, url+"/"+name+"-orders-1", `{"settings":{"number_of_replicas":0}}`); err != nil {
			t.Fatal(err)
		}
	}
	left := func(name string) (count int) {
		t.Helper()
		for _, a := range append([]string{redis}, cluster...) {
			keys, err := ask(a, "KEYS", "*"+name+"*")
			if err != nil {
				t.Fatal(err)
			}
			found, _ := keys.([]any)
			count += len(found)
		}
		indices, err := request(http.MethodGet, url+"/_cat/indices/*"+name+"*?h=index", "")
		if err != nil {
			t.Fatal(err)
		}
		return count + len(strings.Fields(indices))
	}
	put(others)
	t.Run("leaves something", func(t *testing.T) {
		mine = Namespace(t)
		put(mine)
		if n := left(mine); n != 3 {
			t.Errorf("%d keys and indices, want 3", n)
		}
	})
	if n := left(mine); n != 0 {
		t.Errorf("%d keys and indices left", n)
	}
	if n := left(others); n != 3 {
		t.Errorf("another test has %d of its 3 keys and indices", n)
	}
}
