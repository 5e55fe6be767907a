package testservers

import (
	"testing"
)

func TestRedisServersOfOneTest(t *testing.T) {
	s := StartRedis(t)
	must := func(want any, command ...string) {
		t.Helper()
		if got, err := s.Do(command...); err != nil || got != want {
			t.Fatalf("%v: %v, %v; want %v", command, got, err, want)
		}
	}
	must("OK", "SET", "k", "v")
	s.Kill()
	if _, err := s.Do("PING"); err == nil {
		t.Fatal("a killed server answers")
	}
	s.Restart()
	must("v", "GET", "k")
	before := s.PID()
	s.Pause()
	s.Resume()
	must("v", "GET", "k")
	if s.PID() != before {
		t.Error("another process after a pause")
	}
	s.Flush()
	must(nil, "GET", "k")
	s.Pause()
	s.Kill() // paused servers end too
	if s.PID() != 0 {
		t.Error("a killed server has a process id")
	}
}

func TestRedisClusterOfOneTest(t *testing.T) {
	c := StartRedisCluster(t)
	if err := clusterAnswers(c.Addresses()); err != nil {
		t.Fatal(err)
	}
	c.Nodes[1].Restart()
	if err := c.AwaitWhole(); err != nil {
		t.Fatal(err)
	}
	c.Flush()
}

func TestSharedRedis(t *testing.T) {
	address := Redis(t)
	if err := redisAnswers([]string{address}); err != nil {
		t.Error(err)
	}
	if err := clusterAnswers(RedisCluster(t)); err != nil {
		t.Error(err)
	}
	if Redis(t) != address {
		t.Error("two servers for one process")
	}
}
