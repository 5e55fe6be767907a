package testservers

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
)

// Namespace is a name that no other test has, of [a-z0-9] and at most 16 long,
// for the keys and indices of one test on a shared server. Those that contain it
// are deleted with the test, on the servers that this process shares by then.
func Namespace(t TB) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text()[:13])
	t.Cleanup(func() {
		for _, address := range sharedAddresses() {
			sweep := sweepRedis
			if strings.Contains(address, "://") {
				sweep = sweepElasticsearch
			}
			// What stays takes memory, and disturbs nobody.
			if err := sweep(address, name); err != nil {
				t.Logf("sweep %s of %s: %v", address, name, err)
			}
		}
	})
	return name
}

func sharedAddresses() (all []string) {
	shares.Lock()
	defer shares.Unlock()
	for _, s := range shares.of {
		all = append(all, s.addresses...)
	}
	return all
}

// sweepElasticsearch deletes by full names: wildcards may be forbidden.
func sweepElasticsearch(url, name string) error {
	indices, err := request(http.MethodGet, url+"/_cat/indices/*"+name+"*?h=index&expand_wildcards=all", "")
	if err != nil {
		return err
	}
	for index := range strings.FieldsSeq(indices) {
		if _, err := request(http.MethodDelete, url+"/"+index+"?ignore_unavailable=true", ""); err != nil {
			return err
		}
	}
	return nil
}

// sweepRedis looks at every key of one master.
func sweepRedis(address, name string) error {
	s, err := login{}.dial(address)
	if err != nil {
		return err
	}
	defer s.Close()
	cursor := "0"
	for {
		answer, err := s.ask("SCAN", cursor, "MATCH", "*"+name+"*", "COUNT", "10000")
		if err != nil {
			return err
		}
		page, is := answer.([]any)
		if !is || len(page) != 2 {
			return fmt.Errorf("redis SCAN: %v", answer)
		}
		keys, _ := page[1].([]any) // nil when there are none
		for _, key := range keys {
			// One by one: they may be of several slots.
			if _, err := s.ask("UNLINK", fmt.Sprint(key)); err != nil {
				return err
			}
		}
		if cursor = fmt.Sprint(page[0]); cursor == "0" {
			return nil
		}
	}
}
