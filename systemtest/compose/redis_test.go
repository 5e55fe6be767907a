package compose

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/docket-orders/docket/internal/testservers"
)

// redisCluster runs the commands of the three nodes and of what makes a cluster of
// them, on this machine, and returns their addresses.
func redisCluster(t *testing.T, p *types.Project, ca *testservers.Authority) (addresses []string) {
	t.Helper()
	testservers.Need(t, "redis-server", "redis-cli")
	inside := []string{
		"docker-entrypoint.sh ", "", "/certs/ca/ca.crt", ca.CAFile,
	}
	for n := 1; n <= 3; n++ {
		s := p.Services[fmt.Sprintf("redis-%d", n)]
		dir, port := t.TempDir(), redisPort(t)
		folder := filepath.Join(dir, "redis"+strconv.Itoa(n))
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{ca.CertFile: "node.crt", ca.KeyFile: "node.key"} {
			if err := os.Symlink(from, filepath.Join(folder, to)); err != nil {
				t.Fatal(err)
			}
		}
		script := strings.NewReplacer("docker-entrypoint.sh ", "", "/certs/ca/ca.crt", ca.CAFile, "/certs/redis", dir+"/redis",
			"--tls-port 6379", fmt.Sprintf("--tls-port %d --bind 127.0.0.1 --dir %s", port, dir)).Replace(s.Command[2])
		cmd := exec.Command(s.Command[0], s.Command[1], script)
		cmd.Env = append(os.Environ(), "REDIS="+value(s, "REDIS"), "REDIS_PASSWORD="+value(s, "REDIS_PASSWORD"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it was a shell, and is redis-server now
			_ = cmd.Wait()
		})
		addresses = append(addresses, "127.0.0.1:"+strconv.Itoa(port))
		inside = append(inside, fmt.Sprintf("172.30.240.3%d:6379", n), addresses[n-1],
			fmt.Sprintf("-h 172.30.240.3%d -p 6379", n), fmt.Sprintf("-h 127.0.0.1 -p %d", port))

		check := strings.NewReplacer("/certs/ca/ca.crt", ca.CAFile, "redis-cli", fmt.Sprintf("redis-cli -h 127.0.0.1 -p %d", port)).Replace(s.HealthCheck.Test[1])
		await(t, s.Name+" to be healthy", func() error {
			probe := exec.Command("sh", "-c", check)
			probe.Env = cmd.Env
			return probe.Run()
		})
	}
	s := p.Services["redis-cluster"]
	script := strings.NewReplacer(inside...).Replace(s.Command[2])
	for range 2 { // the second start finds it made
		cmd := exec.Command(s.Command[0], s.Command[1], script)
		cmd.Env = append(os.Environ(), "REDIS_PASSWORD="+value(s, "REDIS_PASSWORD"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make a cluster of Redis: %v\n%s", err, out)
		}
	}
	return addresses
}

// redisPort is free, and so is the port that a node speaks to others on.
func redisPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		bus, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+10000))
		if err == nil {
			bus.Close()
			return port
		}
	}
	t.Fatal("no free port with another 10,000 above")
	return 0
}
