package esdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/docket-orders/docket/eventstore"
)

func TestConnectionStrings(t *testing.T) {
	c, err := parseConnection("esdb://127.0.0.1:2113?tls=false")
	if err != nil || c.config.Address != "127.0.0.1:2113" || !c.config.DisableTLS || c.cluster || c.attempts != 10 || c.deadline != defaultDeadline {
		t.Errorf("one node: %+v, %v", c, err)
	}
	c, err = parseConnection("esdb://admin:change%2Cit@a,b:2114,c/?nodePreference=Leader&defaultDeadline=700&maxDiscoverAttempts=3&discoveryInterval=20&keepAliveInterval=-1&gossipTimeout=2&connectionName=x&tlsVerifyCert=false")
	if err != nil || len(c.config.GossipSeeds) != 3 || c.config.GossipSeeds[2].Port != 2113 || c.config.GossipSeeds[1].Port != 2114 || c.config.Password != "change,it" || !c.cluster ||
		c.readers != esdb.NodePreferenceLeader || c.deadline != 700*time.Millisecond || c.attempts != 3 || c.interval != 20*time.Millisecond ||
		c.config.KeepAliveInterval != -1 || c.config.KeepAliveTimeout != 10*time.Second || c.config.GossipTimeout != 2 || !c.config.SkipCertificateVerification || len(c.unknown) != 1 {
		t.Errorf("three nodes: %+v, %v", c, err)
	}
	c, err = parseConnection("esdb+discover://cluster.example")
	if err != nil || !c.cluster || !c.config.DnsDiscover || c.readers != esdb.NodePreferenceFollower || c.config.DisableTLS {
		t.Errorf("discovery: %+v, %v", c, err)
	}
	c, err = parseConnection("esdb+discover://a,b?nodepreference=readOnlyReplica")
	if err != nil || c.config.DnsDiscover || len(c.config.GossipSeeds) != 2 || c.readers != esdb.NodePreferenceReadOnlyReplica {
		t.Errorf("discovery from several: %+v, %v", c, err)
	}
}

// TestWrongConnectionStrings: the error says what is wrong, and never the
// password.
func TestWrongConnectionStrings(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                                         "esdb://",
		"localhost:2113":                           "esdb://",
		"http://localhost:2113":                    "esdb+discover://",
		"esdb://":                                  "host 1 of 1: it is empty",
		"esdb://admin:secret@":                     "host 1 of 1: it is empty",
		"esdb://admin:secret@a,,c":                 "host 2 of 3: it is empty",
		"esdb://admin:secret@a:x":                  `port "x"`,
		"esdb://admin:secret@a:0":                  `port "0"`,
		"esdb://admin:secret@a:70000":              `port "70000"`,
		"esdb://admin:secret@a:1:2":                `port "1:2"`,
		"esdb://:secret@a":                         "user is empty",
		"esdb://admin:se/secret@a":                 "%2F",
		"esdb://admin:se?secret@a":                 "%3F",
		"esdb://admin:se#secret@a":                 "%23",
		"esdb://admin:se%secret@a":                 "%25",
		"esdb://admin:se@secret@a":                 "%40",
		"esdb://admin:se,secret@a,b:1":             "%2C",
		"esdb://admin:secret@a/path":               "?key=value",
		"esdb://admin:secret@a?tls":                "setting 1 of 1 is not key=value",
		"esdb://a?tls=maybe":                       "true or false",
		"esdb://a?tls=true&TLS=false":              "twice",
		"esdb://a?nodePreference=master":           "NodePreference",
		"esdb://a?defaultDeadline=soon":            "whole number",
		"esdb://a?defaultDeadline=0":               "too small",
		"esdb://a?keepAliveInterval=-2":            "too small",
		"esdb://a?gossipTimeout=0":                 "too small",
		"esdb://a?discoveryInterval=9999999999999": "too large",
		"esdb://a?tlsCaFile=/nowhere":              "nowhere",
		"esdb://a?tlsCaFile=" + noPEM:              "certificate",
		"esdb://a?userCertFile=x":                  "userKeyFile",
		"esdb://admin:secret@a b":                  `"a b" is no host name`,
		"esdb://admin:secret":                      "after user:password@",
		"esdb://secret word:1":                     "no host name",
		"esdb://admin:se@cret?secret@a":            "%3F",
		"esdb://admin:se@secret?x=1@a:1":           "%40",
		"esdb://a?tlsCaFile=/se@cret":              "%40",
	} {
		_, err := Open(t.Context(), text, Options{Logger: quiet()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s in it", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", text, err)
		}
	}
}

// TestNobodyListens: Open gives up after the attempts of the string.
func TestNobodyListens(t *testing.T) {
	noLeaks(t)
	p := newProxy(t, "127.0.0.1:1")
	p.down()
	began := time.Now()
	_, err := Open(t.Context(), "esdb://admin:secret@"+p.address+"?tls=false&maxDiscoverAttempts=2&discoveryInterval=10", Options{Logger: quiet()})
	if !errors.Is(err, eventstore.ErrUnavailable) || !strings.Contains(err.Error(), p.address) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, want unavailable and the address", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
