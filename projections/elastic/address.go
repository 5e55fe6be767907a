package elastic

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// scheme of addresses.
const scheme = "elasticsearch://"

// address is where a cluster is, and how docket says who it is.
type address struct {
	nodes          []string // URLs
	user, password string
	apiKey         string
	ca             []byte // PEM; nil: the system's
}

// parseAddress reads what Open takes. No error repeats a password or a key.
func parseAddress(text string) (a address, err error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return a, fmt.Errorf("want %[1]sHOST:PORT,..., and %[1]sHOST:PORT?tls=true where a browser says https", scheme)
	}
	// net/url takes no list of hosts.
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") { // what stands before it may be half a password
		return a, errors.New("want %3F for a question mark in a password, and %40 for an @ behind the question mark")
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password, both := strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
		a.user, err = url.PathUnescape(user)
		if err == nil {
			a.password, err = url.PathUnescape(password)
		}
		if err != nil || !both || a.user == "" {
			return a, errors.New("want USER:PASSWORD before the @, with %40 for an @ in them")
		}
	}
	tls, err := a.options(query)
	if err != nil {
		return a, err
	}
	protocol := "http://"
	if tls {
		protocol = "https://"
	}
	for host := range strings.SplitSeq(strings.TrimSuffix(rest, "/"), ",") {
		if err := checkHost(host); err != nil {
			return a, err
		}
		a.nodes = append(a.nodes, protocol+host)
	}
	if a.apiKey != "" && a.user != "" {
		return a, errors.New("want a user or an apiKey, not both")
	}
	return a, nil
}

func checkHost(host string) error {
	name, port, err := net.SplitHostPort(host)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 || name == "" || strings.ContainsAny(name, "/#@ ") {
		return fmt.Errorf("want HOST:PORT, not %.60q", host)
	}
	return nil
}

// options reads what is behind the question mark.
func (a *address) options(query string) (tls bool, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return false, errors.New("what follows the question mark cannot be read")
	}
	wanted := ""
	for name, all := range values {
		if len(all) > 1 {
			return false, fmt.Errorf("%.20s is there twice", name)
		}
		switch name {
		case "tls":
			wanted = all[0]
			if wanted != "true" && wanted != "false" {
				return false, fmt.Errorf("want tls=true or tls=false, not %.20q", wanted)
			}
		case "ca":
			if a.ca, err = os.ReadFile(all[0]); err != nil {
				return false, fmt.Errorf("read the CA file: %w", err)
			}
			if !x509.NewCertPool().AppendCertsFromPEM(a.ca) {
				return false, fmt.Errorf("the CA file %s has no certificate in PEM", all[0])
			}
		case "apiKey":
			a.apiKey = all[0]
		default:
			return false, fmt.Errorf("there is no option %.20q, only tls, ca, apiKey, apiKeyFile and passwordFile", name)
		}
	}
	if a.ca != nil && wanted == "false" {
		return false, errors.New("a CA file is of no use with tls=false")
	}
	return wanted == "true" || a.ca != nil, nil
}
