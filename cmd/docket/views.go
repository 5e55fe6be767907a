package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/internal/embedded"
	"github.com/docket-orders/docket/projections"
	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
)

// viewStores says which views are not in the folder, and what becomes of their
// generations.
type viewStores struct {
	Search givenText     `placeholder:"URL" env:"DOCKET_SEARCH" help:"Lists, search and facets come from the Elasticsearch at this address, elasticsearch://HOST:PORT,...?tls=true&ca=FILE, with USER:PASSWORD@ before the hosts or apiKeyFile=FILE (${env}, where a password is hidden from other users; default: from the folder)."`
	Cache  givenText     `placeholder:"URL" env:"DOCKET_CACHE" help:"Orders by id, customers and sums come from the Redis at this address: redis://HOST:PORT, rediss:// with TLS and ca=FILE, redis+cluster://HOST:PORT,..., redis+sentinel://HOST:PORT,.../MASTER, with USER:PASSWORD@ before the hosts or passwordFile=FILE (${env}; default: from the folder)."`
	Lease  time.Duration `default:"10s" placeholder:"TIME" env:"DOCKET_LEASE" help:"Another docket takes over work on such a view when no sign of life came for so long, 200ms to 10m; the same for all of them (${env}; default ${default})."`

	KeepGeneration time.Duration    `default:"24h" placeholder:"TIME" env:"DOCKET_KEEP_GENERATION" help:"For so long the views that were in force before a switch are kept up to date for a rollback; 0s: not at all; the same for all that share them (${env}; default ${default})."`
	OnUpgrade      projections.Then `default:"switch" enum:"ask,switch,switch-if-equal" placeholder:"ask|switch|switch-if-equal" env:"DOCKET_ON_UPGRADE" help:"What becomes of the views that a docket with a newer projection makes by itself: they wait for docket projections switch, or are switched to, or only where nothing differs (${env}; default ${default})."`
}

// Bounds of a lease: a beat comes four times in it, and must get through.
const (
	minLease = 200 * time.Millisecond
	maxLease = 10 * time.Minute
)

// check reads the addresses. Nothing is asked of the stores; errors do not
// tell an address: there may be a password in it.
func (v *viewStores) check() error {
	if v.Lease < minLease || v.Lease > maxLease {
		return fmt.Errorf("--lease: %s: want from %s to %s", v.Lease, minLease, maxLease)
	}
	if v.KeepGeneration < 0 {
		return fmt.Errorf("--keep-generation: %s is below nothing", v.KeepGeneration)
	}
	search, cache, err := v.open("", slog.New(slog.DiscardHandler))
	return errors.Join(err, closeViews(search), closeViews(cache))
}

// open prepares the stores that are named; nil where none is.
func (v *viewStores) open(namespace eventstore.Namespace, logger *slog.Logger) (search, cache *embedded.Views, err error) {
	if v.Search != "" {
		address, err := withSecrets(string(v.Search))
		if err == nil {
			search, err = embedded.Elasticsearch(address, elastic.Options{Namespace: namespace, Logger: logger})
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--search: %w", err)
		}
	}
	if v.Cache != "" {
		address, err := withSecrets(string(v.Cache))
		if err == nil {
			cache, err = embedded.Redis(address, redis.Options{Namespace: namespace, Logger: logger})
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("--cache: %w", err), closeViews(search))
		}
	}
	return search, cache, nil
}

func closeViews(v *embedded.Views) error {
	if v == nil {
		return nil
	}
	return v.Close()
}

// maxSecret bounds a file with a password or a key.
const maxSecret = 4096

// withSecrets is an address with what its passwordFile= and apiKeyFile= hold, in
// the places of a password and of apiKey=: containers are handed secrets in
// files, and other users see a command line.
func withSecrets(address string) (string, error) {
	head, query, asked := strings.Cut(address, "?")
	if !asked {
		return address, nil
	}
	var kept []string
	for option := range strings.SplitSeq(query, "&") {
		name, file, _ := strings.Cut(option, "=")
		if name != "passwordFile" && name != "apiKeyFile" {
			kept = append(kept, option)
			continue
		}
		secret, err := readSecret(file)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if name == "apiKeyFile" {
			kept = append(kept, "apiKey="+url.QueryEscape(secret))
			continue
		}
		if head, err = withPassword(head, secret); err != nil {
			return "", err
		}
	}
	if len(kept) == 0 {
		return head, nil
	}
	return head + "?" + strings.Join(kept, "&"), nil
}

// withPassword puts a password behind the user of an address, if there is one.
func withPassword(head, password string) (string, error) {
	scheme, rest, ok := strings.Cut(head, "://")
	if !ok {
		return "", errors.New("want SCHEME://HOST:PORT")
	}
	user, hosts := "", rest
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, hosts = rest[:at], rest[at+1:]
	}
	if strings.Contains(user, ":") {
		return "", errors.New("passwordFile: there is a password before the @ already")
	}
	return scheme + "://" + user + ":" + strings.ReplaceAll(url.QueryEscape(password), "+", "%20") + "@" + hosts, nil
}

// readSecret is the only line of a file.
func readSecret(escaped string) (string, error) {
	path, err := url.QueryUnescape(escaped)
	if err != nil {
		return "", errors.New("the name of the file cannot be read")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || len(text) > maxSecret || strings.ContainsAny(secret, "\r\n\x00") {
		return "", fmt.Errorf("%s: want one line with nothing but the secret", path)
	}
	return secret, nil
}
