package compose

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/docket-orders/docket/internal/testservers"
)

// TestCommands runs what the file runs, without containers: the keys are made by
// its script, docket is started by its command in front of docket's own
// EventStoreDB, a real Elasticsearch, and Redis servers that run the commands of
// the file, its health check is run, and the key that was said opens.
func TestCommands(t *testing.T) {
	p, err := load(file, "cluster", "local")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "docket")
	build := exec.Command("go", "build", "-o", program, "./cmd/docket")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build docket: %v\n%s", err, out)
	}

	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	key := makeKey(t, p.Services["keys"], keys)
	if again := makeKey(t, p.Services["keys"], keys); again != key {
		t.Errorf("the second start says the key %q, the first said %q", again, key)
	}

	t.Run("single nodes", func(t *testing.T) {
		s := p.Services["docket"]
		settings := settings(t, s, map[string]string{
			"esdb://eventstore:2113?tls=false": embeddedLog(t, program),
			"elasticsearch:9200":               strings.TrimPrefix(testservers.Elasticsearch(t), "http://"),
			"redis:6379":                       testservers.StartRedis(t, p.Services["redis"].Command[1:]...).Address,
		})
		tryDocket(t, program, s, keys, key, settings)
	})
	t.Run("views kept locally", func(t *testing.T) {
		s := p.Services["docket-local"]
		tryDocket(t, program, s, keys, key, settings(t, s, map[string]string{"esdb://eventstore:2113?tls=false": embeddedLog(t, program)}))
	})
	t.Run("cluster", func(t *testing.T) {
		log := t.TempDir()
		listening := begin(t, program, `on (127\S+)`, []string{"DOCKET_ESDB_PASSWORD=p4ssword"}, "eventstore", "serve", "--data", log, "--listen", "127.0.0.1:0", "--esdb-tls")
		ca := testservers.NewAuthority(t)
		search := testservers.StartProxy(t, testservers.Elasticsearch(t), testservers.ProxyOptions{Authority: ca, User: "elastic", Password: "e1astic"})
		s := p.Services["docket-cluster"]
		settings := settings(t, s, map[string]string{
			"172.30.240.11:2113,172.30.240.12:2113,172.30.240.13:2113": listening + "," + listening,
			"172.30.240.21:9200,172.30.240.22:9200,172.30.240.23:9200": strings.TrimPrefix(search.URL, "https://"),
			"172.30.240.31:6379,172.30.240.32:6379,172.30.240.33:6379": strings.Join(redisCluster(t, p, ca), ","),
			"tlsCaFile=/certs/ca/ca.crt":                               "tlsCaFile=" + filepath.Join(log, "esdb-tls.crt"),
			"ca=/certs/ca/ca.crt":                                      "ca=" + ca.CAFile,
		})
		tryDocket(t, program, s, keys, key, settings)
	})
}

// embeddedLog is the connection string of docket's own EventStoreDB.
func embeddedLog(t *testing.T, program string) string {
	t.Helper()
	return begin(t, program, `connection string: (\S+)`, nil, "eventstore", "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
}

// settings are the environment of a service, with what stands in for others. All
// of it is used, so that nothing is reached but what the test started.
func settings(t *testing.T, s types.ServiceConfig, standIns map[string]string) []string {
	t.Helper()
	all := []string{"DOCKET_NAMESPACE=" + testservers.Namespace(t)}
	used := map[string]bool{}
	for name, v := range s.Environment {
		text := *v
		for old, new := range standIns {
			if strings.Contains(text, old) {
				text, used[old] = strings.ReplaceAll(text, old, new), true
			}
		}
		all = append(all, name+"="+text)
	}
	if len(used) != len(standIns) {
		t.Fatalf("%s has %v, and not all of %v", s.Name, all, standIns)
	}
	return all
}

var saidKey = regexp.MustCompile(`API key of this docket: ([0-9a-f]{48})\n`)

// makeKey runs the script of the service with another folder for its volume.
func makeKey(t *testing.T, s types.ServiceConfig, dir string) string {
	t.Helper()
	if len(s.Command) != 3 || s.Command[0] != "sh" || !strings.HasPrefix(s.Command[1], "-") {
		t.Fatalf("command %q", s.Command)
	}
	script := strings.ReplaceAll(strings.ReplaceAll(s.Command[2], "$$", "$"), "cd /keys", "cd '"+dir+"'")
	out, err := exec.Command("sh", s.Command[1], script).CombinedOutput()
	said := saidKey.FindStringSubmatch(string(out))
	if err != nil || said == nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key itself: %v, %v", info, err)
	}
	return said[1]
}

// tryDocket starts docket as the service does, on other folders and a free port.
func tryDocket(t *testing.T, program string, s types.ServiceConfig, keys, key string, settings []string) {
	t.Helper()
	data := t.TempDir()
	inside := strings.NewReplacer("0.0.0.0:8080", "0.0.0.0:0", "/keys/", keys+"/", "/data", data)
	var args []string
	for _, word := range s.Command {
		args = append(args, inside.Replace(word))
	}
	base := begin(t, program, `docket serves \S+ on http://\S+:([0-9]+)`, settings, args...)
	base = "http://127.0.0.1:" + base

	check := s.HealthCheck.Test
	if check[0] != "CMD" || check[1] != "docket" {
		t.Fatalf("health check %q", check)
	}
	probe := func() (string, error) {
		var words []string
		for _, word := range check[2:] {
			words = append(words, inside.Replace(word))
		}
		out, err := exec.Command(program, words...).CombinedOutput()
		return string(out), err
	}
	await(t, "the health check to pass", func() error {
		out, err := probe()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if out, err := probe(); err != nil || out != "ready\n" {
		t.Errorf("health check: %q, %v", out, err)
	}
	for given, want := range map[string]int{"": 401, "wrong": 401, key: 200} {
		request, err := http.NewRequest("GET", base+"/v1/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		if given != "" {
			request.Header.Set("Authorization", "Bearer "+given)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("with key %q: %d %s, want %d", given, response.StatusCode, body, want)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "events.db")); err == nil {
		t.Error("it has a log of its own")
	}
}

// begin starts docket until the test ends, and returns what the pattern finds in
// its output.
func begin(t *testing.T, program, pattern string, environment []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), environment...)
	errors := &strings.Builder{}
	cmd.Stderr = errors
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("docket %q: %v\n%s", args, err, errors)
		}
	})
	found := make(chan string, 1)
	go func() {
		defer close(found)
		lines, wanted := bufio.NewReader(out), regexp.MustCompile(pattern)
		for {
			line, err := lines.ReadString('\n')
			if match := wanted.FindStringSubmatch(line); match != nil {
				found <- match[1]
			}
			if err != nil {
				return
			}
		}
	}()
	select {
	case text := <-found:
		if text != "" {
			return text
		}
	case <-time.After(time.Minute):
	}
	t.Fatalf("docket %q does not say %q\n%s", args, pattern, errors)
	return ""
}

func await(t *testing.T, what string, done func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if err = done(); err == nil {
			return
		}
	}
	t.Fatalf("waiting for %s: %v", what, err)
}
