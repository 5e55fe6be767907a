package reconcile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/projections/elastic"
)

func elasticStore(t testing.TB, address, namespace string) *sharedStore {
	t.Helper()
	b, err := elastic.Open(strings.Replace(address, "http://", "elasticsearch://", 1), elastic.Options{Namespace: eventstore.Namespace(namespace)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &sharedStore{"elasticsearch", b}
}

// index is another program's client of the orders' index.
type index struct {
	testing.TB
	root, name string // of generation 1
}

// ask sends one request about a document; found is false where it is not there.
func (x index) ask(method, action, id, query string, body any) (answer map[string]any, found bool) {
	x.Helper()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			x.Fatal(err)
		}
	}
	address := fmt.Sprintf("%s/%s/%s/%s?%s", x.root, x.name, action, url.PathEscape(id), query)
	request, err := http.NewRequestWithContext(x.Context(), method, address, bytes.NewReader(data))
	if err != nil {
		x.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		x.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		x.Fatal(err)
	}
	switch {
	case response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusConflict:
		return nil, false // it is not there, or docket wrote it at the same time
	case response.StatusCode >= 300:
		x.Fatalf("%s %s: %s", method, address, text)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		x.Fatal(err)
	}
	return answer, true
}

// source of a document, as it is kept.
func (x index) source(id string) (source map[string]any, found bool) {
	answer, found := x.ask("GET", "_doc", id, "", nil)
	if source, _ = answer["_source"].(map[string]any); source == nil {
		found = false
	}
	return source, found
}

// update changes fields of a document.
func (x index) update(id string, fields map[string]any) bool {
	_, found := x.ask("POST", "_update", id, "", map[string]any{"doc": fields, "detect_noop": false})
	return found
}

// indexDeeds are what is done to the index.
func indexDeeds(t testing.TB, root, namespace string) []deed {
	x := index{t, root, namespace + "-docket-orders-1"}
	made := 0
	set := func(name string, class Class, fields func(source, doc map[string]any) map[string]any, or ...Class) deed {
		return deed{name: name, classes: append(or, class), do: func(_ *rand.Rand, id string) (bool, string) {
			source, found := x.source(id)
			doc, _ := source["doc"].(map[string]any)
			if !found || doc == nil {
				return false, ""
			}
			changed := fields(source, doc)
			return changed != nil && x.update(id, changed), ""
		}}
	}
	number := func(v any) int64 {
		n, _ := v.(json.Number).Int64()
		return n
	}
	at := func(revision int64) map[string]any {
		return map[string]any{"revision": revision, "doc": map[string]any{"revision": revision}}
	}
	orphan := func(name string, body func(id string, source map[string]any) any) deed {
		return deed{name: name, classes: []Class{Orphan}, do: func(_ *rand.Rand, from string) (bool, string) {
			source, found := x.source(from)
			if !found {
				return false, ""
			}
			made++
			id := fmt.Sprintf("foreign-%d", made)
			_, done := x.ask("PUT", "_doc", id, "", body(id, source))
			return done, id
		}}
	}
	return []deed{
		{name: "version raised by an update", do: func(_ *rand.Rand, id string) (bool, string) {
			source, found := x.source(id)
			return found && x.update(id, map[string]any{"status": source["status"]}), ""
		}},
		{name: "version raised from outside", do: func(_ *rand.Rand, id string) (bool, string) {
			answer, found := x.ask("GET", "_doc", id, "", nil)
			if !found {
				return false, ""
			}
			version := number(answer["_version"]) + 1<<50
			_, done := x.ask("PUT", "_doc", id, fmt.Sprintf("version=%d&version_type=external_gte", version), answer["_source"])
			return done, ""
		}},
		{name: "deleted", classes: []Class{Missing}, do: func(_ *rand.Rand, id string) (bool, string) {
			_, done := x.ask("DELETE", "_doc", id, "", nil)
			return done, ""
		}},
		{name: "deleted and put back", do: func(_ *rand.Rand, id string) (bool, string) {
			answer, found := x.ask("GET", "_doc", id, "", nil)
			if !found {
				return false, ""
			}
			_, gone := x.ask("DELETE", "_doc", id, fmt.Sprintf("if_seq_no=%v&if_primary_term=%v", answer["_seq_no"], answer["_primary_term"]), nil)
			if gone {
				_, gone = x.ask("PUT", "_create", id, "", answer["_source"])
			}
			return gone, ""
		}},
		set("column changed", Content, func(source, _ map[string]any) map[string]any {
			return map[string]any{"status": "lost"}
		}),
		set("total changed", Content, func(source, _ map[string]any) map[string]any {
			return map[string]any{"total": number(source["total"]) + 1}
		}),
		set("words changed", Content, func(source, _ map[string]any) map[string]any {
			return map[string]any{"words": "elsewhere"}
		}),
		set("column removed", Content, func(map[string]any, map[string]any) map[string]any {
			return map[string]any{"kind": nil}
		}),
		set("document changed", Content, func(_, doc map[string]any) map[string]any {
			return map[string]any{"doc": map[string]any{"status": "lost"}}
		}),
		set("document extended", Content, func(_, doc map[string]any) map[string]any {
			return map[string]any{"doc": map[string]any{"colour": "red"}}
		}),
		set("document emptied", Content, func(_, doc map[string]any) map[string]any {
			return map[string]any{"doc": nil} // which reads as one at revision 0
		}, Stale),
		set("ahead", Ahead, func(_, doc map[string]any) map[string]any {
			return at(number(doc["revision"]) + 1000)
		}),
		set("put back", Stale, func(_, doc map[string]any) map[string]any {
			if number(doc["revision"]) == 0 {
				return nil
			}
			return at(number(doc["revision"]) - 1)
		}),
		orphan("orphan", func(id string, source map[string]any) any {
			source["id"] = id
			source["doc"].(map[string]any)["id"] = id
			return source
		}),
		orphan("another's document", func(_ string, source map[string]any) any { return source }),
		orphan("garbage", func(id string, _ map[string]any) any { return map[string]any{"status": "garbage"} }),
	}
}
