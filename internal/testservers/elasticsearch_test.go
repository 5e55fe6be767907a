package testservers

import (
	"net/http"
	"strings"
	"testing"
)

func TestElasticsearchOfOneTest(t *testing.T) {
	s := StartElasticsearch(t)
	do := func(method, path, body string) string {
		t.Helper()
		answer, err := s.Do(method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	do(http.MethodPut, "/orders", `{"settings":{"number_of_replicas":0},"mappings":{"dynamic":"strict","properties":{"n":{"type":"long"}}}}`)
	do(http.MethodPut, "/orders/_doc/1?version=7&version_type=external", `{"n":1}`)
	if _, err := s.Do(http.MethodPut, "/orders/_doc/1?version=7&version_type=external", `{"n":1}`); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("the same version again: %v", err)
	}
	s.Kill()
	s.Restart()
	if got := do(http.MethodGet, "/orders/_doc/1", ""); !strings.Contains(got, `"_version":7`) {
		t.Errorf("after a restart: %s", got)
	}
	s.Pause()
	s.Resume()
	s.Flush()
	if _, err := s.Do(http.MethodGet, "/orders/_doc/1", ""); err == nil {
		t.Error("a document of an index that was deleted")
	}
}

func TestSharedElasticsearch(t *testing.T) {
	url := Elasticsearch(t)
	if err := elasticsearchAnswers([]string{url}); err != nil {
		t.Error(err)
	}
	if Elasticsearch(t) != url {
		t.Error("two servers for one process")
	}
	t.Setenv(optionsVariable, "-XX:TieredStopAtLevel=4 -Xmx768m")
	if Elasticsearch(t) == url {
		t.Error("one server with options and without")
	}
}
