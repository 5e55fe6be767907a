package testservers

import (
	"net/http"
	"testing"
)

func TestRedisWithTLSAndUsers(t *testing.T) {
	authority := NewAuthority(t)
	for _, user := range []string{"", "docket"} {
		s := StartSecureRedis(t, authority, user, "secret")
		if _, err := s.Do("SET", "k", "v"); err != nil {
			t.Fatalf("user %q: %v", user, err)
		}
		other := s.login
		other.password = "wrong"
		if _, err := other.ask(s.Address, "GET", "k"); err == nil {
			t.Errorf("user %q with a wrong password may read", user)
		}
		other.password = ""
		if _, err := other.ask(s.Address, "GET", "k"); err == nil {
			t.Error("somebody without a password may read")
		}
		if _, err := ask(s.Address, "PING"); err == nil {
			t.Error("answers without TLS")
		}
	}
}

func TestSentinelPutsTheReplicaInTheMastersPlace(t *testing.T) {
	s := StartRedisSentinel(t)
	if _, err := s.Master.Do("SET", "k", "v"); err != nil {
		t.Fatal(err)
	}
	if now, err := s.MasterNow(); err != nil || now != s.Master.Address {
		t.Fatalf("the master is %s: %v", now, err)
	}
	// The replica has it before the master goes.
	if n, err := s.Master.Do("WAIT", "1", "60000"); err != nil || n != int64(1) {
		t.Fatalf("%v replicas: %v", n, err)
	}
	s.Master.Kill()
	if err := s.AwaitFailover(); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Replica.Do("GET", "k"); err != nil || v != "v" {
		t.Errorf("%v, %v", v, err)
	}
}

func TestProxyAsksForCredentials(t *testing.T) {
	authority := NewAuthority(t)
	target := Elasticsearch(t)
	trust, err := authority.client()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
	client := &http.Client{Transport: transport}
	for _, o := range []ProxyOptions{
		{}, {Authority: authority}, {User: "u", Password: "p"}, {APIKey: "a2V5"}, {Authority: authority, User: "u", Password: "p", APIKey: "a2V5"},
	} {
		p := StartProxy(t, target, o)
		for name, with := range map[string]func(*http.Request){
			"nothing":     func(*http.Request) {},
			"a user":      func(r *http.Request) { r.SetBasicAuth("u", "p") },
			"a wrong one": func(r *http.Request) { r.SetBasicAuth("u", "q") },
			"a key":       func(r *http.Request) { r.Header.Set("Authorization", "ApiKey a2V5") },
		} {
			r, err := http.NewRequest(http.MethodGet, p.URL+"/_cluster/health", nil)
			if err != nil {
				t.Fatal(err)
			}
			with(r)
			answer, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", p.URL, err)
			}
			answer.Body.Close()
			want := http.StatusOK
			if asks := o.User != "" || o.APIKey != ""; asks && (name != "a user" || o.User == "") && (name != "a key" || o.APIKey == "") {
				want = http.StatusUnauthorized
			}
			if answer.StatusCode != want {
				t.Errorf("%+v with %s: %s", o, name, answer.Status)
			}
			if answer.Header.Get("X-Elastic-Product") == "" {
				t.Errorf("%+v with %s: not said to be Elasticsearch", o, name)
			}
		}
		if _, err := http.Get(p.URL); o.Authority != nil && err == nil {
			t.Error("trusted without its authority")
		}
	}
}
