package redis

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for address, want := range map[string]struct {
		hosts, user, password, master string
		db                            int
		cluster, tls                  bool
	}{
		"redis://h":                             {hosts: "h:6379"},
		"redis://h:1/3":                         {hosts: "h:1", db: 3},
		"redis://h:1/":                          {hosts: "h:1"},
		"redis://:se%40cret@h":                  {hosts: "h:6379", password: "se@cret"},
		"redis://ann:p/w@h:1/2":                 {hosts: "h:1", user: "ann", password: "p/w", db: 2},
		"redis://[::1]:7":                       {hosts: "[::1]:7"},
		"rediss://h":                            {hosts: "h:6379", tls: true},
		"redis+cluster://h1,h2:1,h3":            {hosts: "h1:6379 h2:1 h3:6379", cluster: true},
		"redis+cluster://h1":                    {hosts: "h1:6379", cluster: true},
		"rediss+cluster://a:b@h1,h2":            {hosts: "h1:6379 h2:6379", user: "a", password: "b", cluster: true, tls: true},
		"redis+sentinel://h1,h2:7/mymaster":     {hosts: "h1:26379 h2:7", master: "mymaster"},
		"redis+sentinel://:pw@h1,h2/mymaster/4": {hosts: "h1:26379 h2:26379", master: "mymaster", password: "pw", db: 4},
	} {
		o, err := parseAddress(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if got := strings.Join(o.Addrs, " "); got != want.hosts || o.Username != want.user || o.Password != want.password || o.MasterName != want.master ||
			o.DB != want.db || o.IsClusterMode != want.cluster || (o.TLSConfig != nil) != want.tls {
			t.Errorf("%s: %q %q %q %q %d %v %v", address, got, o.Username, o.Password, o.MasterName, o.DB, o.IsClusterMode, o.TLSConfig != nil)
		}
	}
}

func TestBadAddresses(t *testing.T) {
	noCertificate := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noCertificate, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"localhost:6379":                     "want redis://HOST:PORT",
		"http://h":                           "is none of redis",
		"redis+ring://h":                     "is none of redis",
		"redis://":                           "is not HOST:PORT",
		"redis://h:x":                        "is not a number from 1 to 65535",
		"redis://h:70000":                    "is not a number from 1 to 65535",
		"redis://h/x":                        "is not a number from 0",
		"redis://h1,h2":                      "several hosts",
		"redis://secret@h":                   "a user without a password",
		"redis://u:%zz@h":                    "not escaped",
		"redis+cluster://h1,h2/1":            "has no database",
		"redis+cluster://h1,,h2":             "is not HOST:PORT",
		"redis+sentinel://h1":                "want the name of the master",
		"redis://ann:secret?secret@h:6379":   "want %3F",
		"redis://h?ca=x":                     "want rediss://",
		"rediss://h?cert=x":                  "is not an option",
		"rediss://h?ca=/absent/file":         "read the authorities",
		"rediss://h?ca=" + noCertificate:     "holds no certificate",
		"rediss://:secret@h:0?ca=/absent/it": "is not a number from 1",
	} {
		_, err := Open(address, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %q", address, err, want)
		}
	}
}

// TestValues: what docket writes is read back, sorts as it should, and one bit more
// or less is not read.
func TestValues(t *testing.T) {
	m := member{revision: 7, placed: -3, currency: "EUR", sums: [5]int64{1, -2, 1 << 62, -1 << 63, 0}}
	if again, err := decodeMember(m.encode()); err != nil || again != m {
		t.Errorf("%+v, %v", again, err)
	}
	for i := range m.encode() {
		changed := []byte(m.encode())
		changed[i] ^= 1
		if _, err := decodeMember(string(changed)); err == nil {
			t.Errorf("byte %d changed, and it is read", i)
		}
	}
	var entries []string
	for _, at := range []int64{-1 << 63, -5, 0, 5, 1<<63 - 1} {
		for _, id := range []string{"a", "b"} {
			entry := place("c1", at, id)
			if customer, got, order, ok := placed(entry); !ok || customer != "c1" || got != at || order != id {
				t.Errorf("%d %s is read as %s %d %s", at, id, customer, got, order)
			}
			entries = append(entries, entry)
		}
	}
	if !slices.IsSorted(entries) {
		t.Errorf("entries do not sort by placed and order: %q", entries)
	}
}
