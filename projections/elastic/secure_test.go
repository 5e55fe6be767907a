package elastic_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/guard"
	"github.com/docket-orders/docket/internal/testservers"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
)

// TestSecure: with TLS and a user, and with TLS and an API key; who lacks either
// gets nothing, and is told so.
func TestSecure(t *testing.T) {
	const key, password = "aWQ6a2V5LW9mLXRlc3Rz", "p@ss:word/%"
	direct, authority := testservers.Elasticsearch(t), testservers.NewAuthority(t)
	proxy := testservers.StartProxy(t, direct, testservers.ProxyOptions{Authority: authority, User: "ann", Password: password, APIKey: key})
	host := strings.TrimPrefix(proxy.URL, "https://")
	user := "elasticsearch://ann:" + url.QueryEscape(password) + "@" + host
	ca := "?ca=" + url.QueryEscape(authority.CAFile)
	for name, c := range map[string]struct {
		address string
		good    bool
	}{
		"user":           {user + ca, true},
		"key":            {"elasticsearch://" + host + ca + "&apiKey=" + key, true},
		"wrong password": {"elasticsearch://ann:other@" + host + ca, false},
		"wrong key":      {"elasticsearch://" + host + ca + "&apiKey=b3RoZXI6a2V5", false},
		"nobody":         {"elasticsearch://" + host + ca, false},
		"no authority":   {user + "?tls=true", false},
		"no TLS":         {user, false},
	} {
		b := openAt(t, c.address, elastic.Options{
			Namespace: eventstore.Namespace(testservers.Namespace(t)), Guard: guard.Options{Attempts: 1},
		})
		sink, err := b.Open(t.Context(), 1)
		switch {
		case c.good && err != nil, !c.good && !errors.Is(err, projections.ErrUnavailable):
			t.Errorf("%s: %v", name, err)
		case err != nil && strings.Contains(err.Error(), url.QueryEscape(password)):
			t.Errorf("%s: the error tells the password: %v", name, err)
		case c.good:
			written(t, sink.(*elastic.Store), 8, 3)
			sink.Close()
		}
	}
}
