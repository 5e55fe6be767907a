package esdb

import (
	"strings"
	"testing"
)

// FuzzConnectionString: whatever somebody writes, the answer is a connection or
// an error without the password.
func FuzzConnectionString(f *testing.F) {
	for _, text := range []string{
		"esdb://127.0.0.1:2113?tls=false", "esdb+discover://admin:changeit@a,b:2114,c/?nodePreference=follower",
		"esdb://admin:change%it@a", "esdb://admin:change?it@a?tls", "esdb://admin:chan,geit@a,b:x", "esdb://a?defaultDeadline=-1", "esdb://[::1]:2113",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "file") {
			return // reads files
		}
		c, err := parseConnection(text)
		if err == nil {
			if c.config.Address == "" && len(c.config.GossipSeeds) == 0 || c.deadline <= 0 || c.interval <= 0 || c.attempts < 1 {
				t.Errorf("%q is %+v", text, c)
			}
			return
		}
		_, rest, _ := strings.Cut(text, "://")
		if at := strings.LastIndex(rest, "@"); at > 0 {
			if _, password, _ := strings.Cut(rest[:at], ":"); len(password) > 3 && strings.Count(text, password) == 1 && strings.Contains(err.Error(), password) {
				t.Errorf("%q: the error shows the password: %v", text, err)
			}
		}
	})
}
