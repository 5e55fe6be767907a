package esdb

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// connection is what a connection string says.
type connection struct {
	// config is the client's, without a logger.
	config esdb.Configuration
	// cluster: there may be several nodes, found by gossip.
	cluster bool
	// readers is the node preference of subscriptions and scans: the string's,
	// and where it names none followers in a cluster.
	readers esdb.NodePreference
	// attempts, interval are for the first connection; a store that was opened
	// tries for ever.
	attempts int
	interval time.Duration
	deadline time.Duration // of one append
	hosts    string        // as given, for people
	unknown  []string      // keys that this client does not know
}

const (
	longestSetting = 24 * 60 * 60 * 1000 // a day in milliseconds
	form           = "want esdb://[user:password@]host[:port][,host...][?key=value[&key...]], or esdb+discover:// before the same"
)

// The keys that the client knows; those that are read here are false.
var clientKeys = map[string]bool{
	"tls": true, "tlsverifycert": true, "tlscafile": true, "usercertfile": true, "userkeyfile": true,
	"nodepreference": true,
	"gossiptimeout":  false, "discoveryinterval": false, "maxdiscoverattempts": false,
	"keepaliveinterval": false, "keepalivetimeout": false, "defaultdeadline": false,
}

// parseConnection reads a connection string by the client's rules. It finds the
// usual mistakes itself: the client's errors quote the string with the password
// in it, its parser writes to standard error, takes a comma in a password for
// another host, and a deadline that is no number for none at all.
func parseConnection(text string) (connection, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || scheme != "esdb" && scheme != "esdb+discover" {
		return connection{}, fmt.Errorf("connection string does not begin with esdb:// or esdb+discover://: %s", form)
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	if strings.Contains(tail, "@") {
		return connection{}, errors.New("connection string: user or password contains one of / ? #: write them as %2F %3F %23, and an @ among the settings as %40")
	}
	user, hosts := "", authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, hosts = authority[:at+1], authority[at+1:]
		if err := checkUser(authority[:at]); err != nil {
			return connection{}, fmt.Errorf("connection string: %w", err)
		}
	}
	names := strings.Split(hosts, ",")
	for i, host := range names {
		if err := checkHost(host); err != nil && user == "" && host != "" {
			// It may be a password: nothing of it is told.
			return connection{}, fmt.Errorf("connection string: host %d of %d is no host name, or its port not a number from 1 to 65535; a host follows after user:password@", i+1, len(names))
		} else if err != nil {
			return connection{}, fmt.Errorf("connection string: host %d of %d: %w", i+1, len(names), err)
		}
	}
	tail = strings.TrimPrefix(tail, "/")
	if tail != "" && tail[0] != '?' {
		return connection{}, errors.New("connection string: nothing but ?key=value may follow the hosts")
	}
	out := connection{cluster: scheme == "esdb+discover" || len(names) > 1, attempts: 10, interval: 100 * time.Millisecond, deadline: defaultDeadline}
	out.hosts = hosts
	rebuilt := scheme + "://" + user + hosts
	known, err := out.settings(strings.TrimPrefix(tail, "?"))
	if err != nil {
		return connection{}, fmt.Errorf("connection string: %w", err)
	}
	if len(known) > 0 {
		rebuilt += "?" + strings.Join(known, "&")
	}
	config, err := esdb.ParseConnectionString(rebuilt)
	if err == nil {
		err = config.Validate()
	}
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return connection{}, errors.New("connection string cannot be read: " + form)
	}
	if err != nil {
		return connection{}, fmt.Errorf("connection string: %w", err)
	}
	read := out.config
	out.config = *config
	out.config.KeepAliveInterval = cmp.Or(read.KeepAliveInterval, config.KeepAliveInterval)
	out.config.KeepAliveTimeout = cmp.Or(read.KeepAliveTimeout, config.KeepAliveTimeout)
	out.config.GossipTimeout = cmp.Or(read.GossipTimeout, config.GossipTimeout)
	if len(config.GossipSeeds) > 0 {
		// With both set the client asks an empty address.
		out.config.DnsDiscover = false
	}
	if out.readers == "" {
		out.readers = esdb.NodePreferenceFollower
	} else {
		out.readers = config.NodePreference
	}
	// The loop over attempts is that of a link: it can be ended.
	out.config.MaxDiscoverAttempts, out.config.DiscoveryInterval = 1, 0
	return out, nil
}

func checkUser(user string) error {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return errors.New("the user is empty; leave out the @ for none")
	}
	if _, err := url.PathUnescape(user); err != nil {
		return errors.New("user or password contains a % that two hex digits do not follow: write it as %25")
	}
	if strings.ContainsAny(user, ",@[] ") {
		return errors.New("user or password contains one of , @ [ ] or a space: write them as %2C %40 %5B %5D %20")
	}
	return nil
}

func checkHost(host string) error {
	name, port, given := strings.Cut(host, ":")
	switch {
	case name == "":
		return errors.New("it is empty")
	case strings.ContainsAny(name, " []%"):
		return fmt.Errorf("%q is no host name", name)
	case !given:
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

// settings reads what the client would read wrongly, and returns the pairs that
// are left to it.
func (c *connection) settings(query string) (known []string, err error) {
	if query == "" {
		return nil, nil
	}
	seen := map[string]bool{}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || strings.Contains(value, "=") {
			return nil, fmt.Errorf("setting %d of %d is not key=value", i+1, len(pairs))
		}
		name := strings.ToLower(key)
		client, found := clientKeys[name]
		if !found {
			c.unknown = append(c.unknown, key)
			continue
		}
		if seen[name] {
			return nil, fmt.Errorf("setting %s is given twice", key)
		}
		seen[name] = true
		if name == "nodepreference" {
			c.readers = esdb.NodePreferenceLeader // to be replaced
		}
		if client {
			known = append(known, pair)
			continue
		}
		n, err := strconv.Atoi(value)
		keepAlive := strings.HasPrefix(name, "keepalive")
		switch {
		case err != nil:
			return nil, fmt.Errorf("setting %s is %q, want a whole number", key, value)
		case keepAlive && n < -1, !keepAlive && n < 1:
			return nil, fmt.Errorf("setting %s is %d, which is too small", key, n)
		case n > longestSetting:
			return nil, fmt.Errorf("setting %s is %d, which is too large", key, n)
		}
		wait := time.Duration(n) * time.Millisecond
		switch name {
		case "maxdiscoverattempts":
			c.attempts = n
		case "gossiptimeout":
			c.config.GossipTimeout = n // seconds
		case "discoveryinterval":
			c.interval = wait
		case "defaultdeadline":
			c.deadline = wait
		case "keepaliveinterval":
			c.config.KeepAliveInterval = max(wait, -1)
		case "keepalivetimeout":
			c.config.KeepAliveTimeout = max(wait, -1)
		}
	}
	return known, nil
}
