package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9/maintnotifications"

	goredis "github.com/redis/go-redis/v9"
)

// parseAddress reads the addresses that Open describes. What it says of a bad one
// never repeats the password.
func parseAddress(address string) (*goredis.UniversalOptions, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return nil, errors.New("want redis://HOST:PORT, redis+cluster:// or redis+sentinel://, with rediss for TLS")
	}
	authority, path, query := split(rest)
	if strings.Contains(query, "@") { // what stands before it may be half a password
		return nil, errors.New("want %3F for a question mark in a password, and %40 for an @ behind the question mark")
	}
	o := &goredis.UniversalOptions{
		Protocol: 2, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, // the guard repeats
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if err := credentials(o, &authority); err != nil {
		return nil, err
	}
	security, form, _ := strings.Cut(scheme, "+")
	if security != "redis" && security != "rediss" {
		return nil, unknownScheme(scheme)
	}
	for host := range strings.SplitSeq(authority, ",") {
		full, err := hostPort(host, form)
		if err != nil {
			return nil, err
		}
		o.Addrs = append(o.Addrs, full)
	}
	switch form {
	case "":
		if len(o.Addrs) > 1 {
			return nil, errors.New("several hosts: want redis+cluster:// or redis+sentinel://")
		}
		if err := database(o, path); err != nil {
			return nil, err
		}
	case "cluster":
		if path != "" {
			return nil, fmt.Errorf("a cluster has no database %q", path)
		}
		o.IsClusterMode = true
	case "sentinel":
		name, db, _ := strings.Cut(path, "/")
		if name == "" {
			return nil, errors.New("want the name of the master after the sentinels: redis+sentinel://h1,h2/NAME")
		}
		o.MasterName = name
		if err := database(o, db); err != nil {
			return nil, err
		}
	default:
		return nil, unknownScheme(scheme)
	}
	return o, secure(o, security == "rediss", query)
}

func unknownScheme(scheme string) error {
	return fmt.Errorf("scheme %.20q is none of redis, redis+cluster and redis+sentinel, or, with TLS, rediss, rediss+cluster and rediss+sentinel", scheme)
}

// split takes the part after the scheme apart.
func split(rest string) (authority, path, query string) {
	rest, query, _ = strings.Cut(rest, "?")
	// A password may hold a slash that is not escaped.
	at := strings.LastIndex(rest, "@") + 1
	slash := strings.Index(rest[at:], "/")
	if slash < 0 {
		return rest, "", query
	}
	return rest[:at+slash], strings.TrimSuffix(rest[at+slash+1:], "/"), query
}

func credentials(o *goredis.UniversalOptions, authority *string) (err error) {
	at := strings.LastIndex(*authority, "@")
	if at < 0 {
		return nil
	}
	user, password, hasPassword := strings.Cut((*authority)[:at], ":")
	*authority = (*authority)[at+1:]
	if o.Username, err = url.PathUnescape(user); err != nil {
		return errors.New("the user is not escaped as in a URL")
	}
	if o.Password, err = url.PathUnescape(password); err != nil {
		return errors.New("the password is not escaped as in a URL")
	}
	if o.Username != "" && !hasPassword {
		return errors.New("a user without a password: want USER:PASSWORD@ or :PASSWORD@")
	}
	return nil
}

func hostPort(host, form string) (string, error) {
	standard := "6379"
	if form == "sentinel" {
		standard = "26379"
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), standard
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("port %.10q of host %.100q is not a number from 1 to 65535", port, name)
	}
	if name == "" || strings.ContainsAny(name, " /@") {
		return "", fmt.Errorf("host %.100q is not HOST:PORT", host)
	}
	return net.JoinHostPort(name, port), nil
}

func database(o *goredis.UniversalOptions, path string) (err error) {
	if path == "" {
		return nil
	}
	if o.DB, err = strconv.Atoi(path); err != nil || o.DB < 0 {
		return fmt.Errorf("database %.20q is not a number from 0", path)
	}
	return nil
}

// secure sets TLS, with the authorities of a file when the query names one.
func secure(o *goredis.UniversalOptions, wanted bool, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("what follows ? is not name=value: %w", err)
	}
	for name := range values {
		if name != "ca" {
			return fmt.Errorf("%.20q is not an option: there are ca, with rediss, and passwordFile", name)
		}
	}
	file := values.Get("ca")
	if !wanted {
		if values.Has("ca") {
			return errors.New("ca is for TLS: want rediss://")
		}
		return nil
	}
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the authorities: %w", err)
	}
	o.TLSConfig.RootCAs = x509.NewCertPool()
	if !o.TLSConfig.RootCAs.AppendCertsFromPEM(data) {
		return fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return nil
}
