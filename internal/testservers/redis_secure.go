package testservers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StartSecureRedis starts a server that listens with TLS alone, with the
// authority's certificate, and lets in one user: with the name "" the default
// user, with the password that requirepass sets; else that of an access list, the
// default user being off.
func StartSecureRedis(t TB, authority *Authority, user, password string) *RedisServer {
	t.Helper()
	Need(t, "redis-server")
	port := freePort()
	options := []string{
		"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no",
		"--tls-cert-file", authority.CertFile, "--tls-key-file", authority.KeyFile, "--tls-ca-cert-file", authority.CAFile,
		"--appendonly", "yes",
	}
	if user == "" {
		options = append(options, "--requirepass", password)
	} else {
		options = append(options, "--user", "default", "off", "--user", user, "on", ">"+password, "~*", "&*", "+@all")
	}
	trust, err := authority.client()
	if err != nil {
		t.Fatalf("%v", err)
	}
	s := &RedisServer{Address: address(port), login: login{user: user, password: password, trust: trust}}
	s.process = newProcess(t, folder(t), redisCommand(port, options...), s.answers)
	return s
}

// SentinelName is that of the master.
const SentinelName = "docket"

// RedisSentinel is a master, a replica of it, and a sentinel that puts the
// replica in the master's place within seconds when that does not answer.
type RedisSentinel struct {
	Master, Replica, Sentinel *RedisServer
}

// StartRedisSentinel starts them.
func StartRedisSentinel(t TB) *RedisSentinel {
	t.Helper()
	s := &RedisSentinel{Master: StartRedis(t)}
	host, masterPort, _ := net.SplitHostPort(s.Master.Address)
	s.Replica = StartRedis(t, "--replicaof", host+" "+masterPort, "--repl-diskless-sync-delay", "0")

	dir, port := folder(t), freePort()
	// The sentinel writes what it learns into its file.
	settings := fmt.Sprintf(`port %d
bind 127.0.0.1
dir .
sentinel monitor %[2]s %s %s 1
sentinel down-after-milliseconds %[2]s 1000
sentinel failover-timeout %[2]s 5000
`, port, SentinelName, host, masterPort)
	if err := os.WriteFile(filepath.Join(dir, "sentinel.conf"), []byte(settings), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	s.Sentinel = &RedisServer{Address: address(port)}
	s.Sentinel.process = newProcess(t, dir, []string{"redis-server", "sentinel.conf", "--sentinel"}, s.Sentinel.answers)
	if err := within(startTime, s.replicaFollows); err != nil {
		t.Fatalf("a sentinel over master and replica: %v", err)
	}
	return s
}

// URL is redis+sentinel://host:port/name.
func (s *RedisSentinel) URL() string {
	return "redis+sentinel://" + s.Sentinel.Address + "/" + SentinelName
}

// MasterNow is the address of the master that the sentinel knows.
func (s *RedisSentinel) MasterNow() (string, error) {
	answer, err := s.Sentinel.Do("SENTINEL", "get-master-addr-by-name", SentinelName)
	if err != nil {
		return "", err
	}
	parts, is := answer.([]any)
	if !is || len(parts) != 2 {
		return "", fmt.Errorf("the sentinel names no master: %v", answer)
	}
	return net.JoinHostPort(fmt.Sprint(parts[0]), fmt.Sprint(parts[1])), nil
}

// AwaitFailover returns when the replica is the master that the sentinel names.
func (s *RedisSentinel) AwaitFailover() error {
	return within(startTime, func() error {
		now, err := s.MasterNow()
		if err == nil && now != s.Replica.Address {
			err = errors.New("the sentinel still names " + now)
		}
		if err != nil {
			return err
		}
		role, err := s.Replica.Do("ROLE")
		if err == nil && fmt.Sprint(role.([]any)[0]) != "master" {
			err = errors.New("the replica is no master yet")
		}
		return err
	})
}

// replicaFollows: the replica has the master's data, and the sentinel knows it.
func (s *RedisSentinel) replicaFollows() error {
	info, err := s.Replica.Do("INFO", "replication")
	if err == nil && !strings.Contains(fmt.Sprint(info), "master_link_status:up") {
		err = fmt.Errorf("the replica follows nobody: %v", info)
	}
	if err != nil {
		return err
	}
	info, err = s.Sentinel.Do("INFO", "sentinel")
	if err == nil && !strings.Contains(fmt.Sprint(info), "slaves=1") {
		err = fmt.Errorf("the sentinel knows no replica: %v", info)
	}
	return err
}
