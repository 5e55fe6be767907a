package testservers

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clusterScheme is that of a Redis cluster in redisVariable.
const (
	redisVariable = "DOCKET_TEST_REDIS"
	clusterScheme = "redis+cluster://"
)

// Redis is the address, host:port, of a server that tests share. Nobody flushes
// it; keys carry the test's Namespace.
func Redis(t TB) string {
	t.Helper()
	for _, field := range strings.Fields(os.Getenv(redisVariable)) {
		if !strings.HasPrefix(field, clusterScheme) {
			return strings.TrimPrefix(field, "redis://")
		}
	}
	Need(t, "redis-server")
	return shared(t, kind{name: "redis", nodes: 1, answers: redisAnswers, plan: func([]string) ([][]string, []string) {
		port := freePort()
		return [][]string{redisCommand(port, "--appendonly", "no")}, []string{address(port)}
	}})[0]
}

// RedisCluster is the addresses of three masters that tests share.
func RedisCluster(t TB) []string {
	t.Helper()
	for _, field := range strings.Fields(os.Getenv(redisVariable)) {
		if nodes, is := strings.CutPrefix(field, clusterScheme); is {
			return strings.Split(nodes, ",")
		}
	}
	Need(t, "redis-server")
	return shared(t, kind{name: "redis-cluster", nodes: 3, answers: clusterAnswers, form: formCluster, plan: func([]string) (commands [][]string, addresses []string) {
		for range 3 {
			port := freePort()
			commands = append(commands, clusterCommand(port, "--appendonly", "no"))
			addresses = append(addresses, address(port))
		}
		return commands, addresses
	}})
}

// RedisServer is a server of one test.
type RedisServer struct {
	*process
	Address string // host:port
	login   login  // of the handle itself
}

// StartRedis starts a server that writes an append-only file, so that a Restart
// after a Kill finds its data. More options are as on redis-server's own
// command line: "--maxmemory", "1mb".
func StartRedis(t TB, options ...string) *RedisServer {
	t.Helper()
	Need(t, "redis-server")
	port := freePort()
	s := &RedisServer{Address: address(port)}
	s.process = newProcess(t, folder(t), redisCommand(port, append([]string{"--appendonly", "yes"}, options...)...), s.answers)
	return s
}

// Do sends one command, as redis-cli would, and returns its answer: a string, an
// int64, nil, or a slice of those.
func (s *RedisServer) Do(command ...string) (any, error) {
	return s.login.ask(s.Address, command...)
}

func (s *RedisServer) answers() error {
	_, err := s.Do("PING")
	return err
}

// Flush deletes everything.
func (s *RedisServer) Flush() {
	if _, err := s.Do("FLUSHALL"); err != nil {
		s.t.Errorf("%v", err)
	}
}

// RedisNodes are the masters of a cluster of one test.
type RedisNodes struct {
	Nodes []*RedisServer
}

// StartRedisCluster starts three masters that keep a third of the slots each.
func StartRedisCluster(t TB) *RedisNodes {
	t.Helper()
	Need(t, "redis-server")
	c := &RedisNodes{}
	for range 3 {
		port := freePort()
		s := &RedisServer{Address: address(port)}
		s.process = newProcess(t, folder(t), clusterCommand(port, "--appendonly", "yes"), s.answers)
		c.Nodes = append(c.Nodes, s)
	}
	if err := within(startTime, func() error { return formCluster(c.Addresses()) }); err != nil {
		t.Fatalf("form a Redis cluster: %v", err)
	}
	return c
}

// Addresses are host:port of every node.
func (c *RedisNodes) Addresses() (all []string) {
	for _, s := range c.Nodes {
		all = append(all, s.Address)
	}
	return all
}

// URL is redis+cluster:// with every node.
func (c *RedisNodes) URL() string { return clusterScheme + strings.Join(c.Addresses(), ",") }

// Flush deletes everything on every node.
func (c *RedisNodes) Flush() {
	for _, s := range c.Nodes {
		s.Flush()
	}
}

// AwaitWhole returns when every node knows that all slots are served, as some
// time after a Restart.
func (c *RedisNodes) AwaitWhole() error {
	return within(startTime, func() error { return clusterAnswers(c.Addresses()) })
}

func redisCommand(port int, options ...string) []string {
	return append([]string{"redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--daemonize", "no",
		"--dir", ".", "--save", "", "--enable-debug-command", "yes"}, options...)
}

func clusterCommand(port int, options ...string) []string {
	return redisCommand(port, append([]string{"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(freePort()),
		"--cluster-node-timeout", "5000"}, options...)...)
}

func redisAnswers(addresses []string) error {
	for _, a := range addresses {
		if _, err := ask(a, "PING"); err != nil {
			return err
		}
	}
	return nil
}

// formCluster shares the slots among masters that know nothing yet, and makes
// them known to one another. redis-cli does the same in more time. It is
// repeated until all of them say that the cluster is whole.
func formCluster(addresses []string) error {
	if err := redisAnswers(addresses); err != nil {
		return err
	}
	const slots = 16384
	for n, a := range addresses {
		info, err := clusterInfo(a)
		if err != nil {
			return err
		}
		if info["cluster_slots_assigned"] == "0" {
			first, last := n*slots/len(addresses), (n+1)*slots/len(addresses)-1
			if _, err := ask(a, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(n+1)); err != nil {
				return err
			}
			if _, err := ask(a, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last)); err != nil {
				return err
			}
		}
		if n == 0 || info["cluster_known_nodes"] == strconv.Itoa(len(addresses)) {
			continue
		}
		bus, err := ask(a, "CONFIG", "GET", "cluster-port")
		if err != nil {
			return err
		}
		host, port, _ := strings.Cut(a, ":")
		if _, err := ask(addresses[0], "CLUSTER", "MEET", host, port, bus.([]any)[1].(string)); err != nil {
			return err
		}
	}
	// A moment for the gossip, before what is missing is said again.
	return within(5*time.Second, func() error { return clusterAnswers(addresses) })
}

func clusterAnswers(addresses []string) error {
	for _, a := range addresses {
		info, err := clusterInfo(a)
		if err != nil {
			return err
		}
		if info["cluster_state"] != "ok" || info["cluster_slots_ok"] != "16384" || info["cluster_known_nodes"] != strconv.Itoa(len(addresses)) {
			return fmt.Errorf("cluster of %s: %v", a, info)
		}
	}
	return nil
}

func clusterInfo(address string) (map[string]string, error) {
	text, err := ask(address, "CLUSTER", "INFO")
	if err != nil {
		return nil, err
	}
	lines, is := text.(string)
	if !is {
		return nil, errors.New("redis CLUSTER INFO: no text")
	}
	info := map[string]string{}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	return info, nil
}
