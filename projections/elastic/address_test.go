package elastic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docket-orders/docket/internal/testservers"
)

func TestAddress(t *testing.T) {
	ca := testservers.NewAuthority(t).CAFile
	noCA := filepath.Join(t.TempDir(), "no.pem")
	if err := os.WriteFile(noCA, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{ // nodes, user, password and key; or what the error says
		"elasticsearch://es:9200":                                 "http://es:9200",
		"elasticsearch://es:9200/":                                "http://es:9200",
		"elasticsearch://a:9200,b:9201,[::1]:9202?tls=true":       "https://a:9200 https://b:9201 https://[::1]:9202",
		"elasticsearch://es:9200?tls=false":                       "http://es:9200",
		"elasticsearch://ann:s%40cr%3At@es:9200":                  "http://es:9200 ann s@cr:t",
		"elasticsearch://ann:a:b@es:9200":                         "http://es:9200 ann a:b",
		"elasticsearch://es:9200?apiKey=aWQ6a2V5Cg%3D%3D":         "http://es:9200 aWQ6a2V5Cg==",
		"elasticsearch://es:9200?apiKey=aWQ6a2V5Cg==":             "http://es:9200 aWQ6a2V5Cg==",
		"elasticsearch://es:9200?ca=" + ca:                        "https://es:9200",
		"http://es:9200":                                          "tls=true where a browser says https",
		"elasticsearch://":                                        "want HOST:PORT",
		"elasticsearch://es":                                      "want HOST:PORT",
		"elasticsearch://es:9200,":                                "want HOST:PORT",
		"elasticsearch://es:0":                                    "want HOST:PORT",
		"elasticsearch://es:port":                                 "want HOST:PORT",
		"elasticsearch://es:9200/orders":                          "want HOST:PORT",
		"elasticsearch://ann@es:9200":                             "want USER:PASSWORD",
		"elasticsearch://ann:secret%4@es:9200":                    "want USER:PASSWORD",
		"elasticsearch://ann:secret@es:9200?apiKey=secret":        "not both",
		"elasticsearch://ann:secret?secret@es:9200":               "want %3F",
		"elasticsearch://es:9200?tls=yes":                         "want tls=true",
		"elasticsearch://es:9200?tls=true&tls=true":               "twice",
		"elasticsearch://es:9200?key=secret":                      `no option "key"`,
		"elasticsearch://ann:secret@es:9200?apiKey=secret%4":      "cannot be read",
		"elasticsearch://es:9200?tls=false&ca=" + ca:              "of no use",
		"elasticsearch://es:9200?ca=" + noCA:                      "no certificate",
		"elasticsearch://es:9200?ca=" + filepath.Join(noCA, "no"): "read the CA file",
	} {
		a, err := parseAddress(text)
		var got string
		if err == nil {
			got = strings.Join(strings.Fields(strings.Join(a.nodes, " ")+" "+a.user+" "+a.password+" "+a.apiKey), " ")
		} else if got = err.Error(); strings.Contains(got, "secret") {
			t.Errorf("%s: the error tells a secret: %v", text, err)
		}
		if refused := !strings.HasPrefix(want, "http"); refused != (err != nil) || refused && !strings.Contains(got, want) || !refused && got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
