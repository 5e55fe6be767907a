package testservers

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	elasticsearchVariable = "DOCKET_TEST_ELASTICSEARCH"
	// nodesVariable makes a cluster of the shared Elasticsearch: 3.
	nodesVariable = "DOCKET_TEST_ELASTICSEARCH_NODES"
	// optionsVariable is settings of the shared one, as StartElasticsearch takes
	// them, with spaces between them.
	optionsVariable = "DOCKET_TEST_ELASTICSEARCH_OPTIONS"
)

// Elasticsearch is the URL of a node that tests share. Names of indices contain
// the test's Namespace.
func Elasticsearch(t TB) string {
	t.Helper()
	return ElasticsearchNodes(t)[0]
}

// ElasticsearchNodes is the URLs of all nodes of the one that tests share: one,
// or as many as DOCKET_TEST_ELASTICSEARCH_NODES says.
func ElasticsearchNodes(t TB) []string {
	t.Helper()
	if given := os.Getenv(elasticsearchVariable); given != "" {
		urls := strings.Split(given, ",")
		for i, u := range urls {
			if !strings.Contains(u, "://") {
				urls[i] = "http://" + u
			}
		}
		return urls
	}
	nodes := 1
	if given := os.Getenv(nodesVariable); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || n > 5 {
			t.Fatalf("%s is %q: want a number from 1 to 5", nodesVariable, given)
		}
		nodes = n
	}
	installed := needElasticsearch(t)
	name, settings := fmt.Sprintf("%s-%d", filepath.Base(installed), nodes), strings.Fields(os.Getenv(optionsVariable))
	if len(settings) > 0 {
		name += fmt.Sprintf("-%08x", crc32.ChecksumIEEE([]byte(strings.Join(settings, " "))))
	}
	return shared(t, kind{name: name, nodes: nodes,
		answers: elasticsearchAnswers,
		plan: func([]string) (commands [][]string, urls []string) {
			return elasticsearchCommands(installed, nodes, settings)
		}})
}

// ElasticsearchServer is a node of one test.
type ElasticsearchServer struct {
	*process
	URL string // http://host:port
}

// StartElasticsearch starts one node. Settings, NAME=VALUE, are those of
// elasticsearch.yml; what begins with a dash is an option of the Java machine
// ("-Xmx2g"; "-XX:TieredStopAtLevel=4" for measurements). What was answered is
// there after Kill and Restart.
func StartElasticsearch(t TB, settings ...string) *ElasticsearchServer {
	t.Helper()
	return StartElasticsearchCluster(t, 1, settings...).Nodes[0]
}

// shardsAnswer asks whether every index can be asked, as some time after a
// start.
func (s *ElasticsearchServer) shardsAnswer() error {
	health, err := s.Do(http.MethodGet, "/_cluster/health", "")
	if err == nil && strings.Contains(health, `"status":"red"`) {
		return errors.New(health)
	}
	return err
}

// Do sends a request with a body, "" for none, and returns what was answered. A
// status above 299 is an error.
func (s *ElasticsearchServer) Do(method, path, body string) (string, error) {
	return request(method, s.URL+path, body)
}

// Flush deletes every index.
func (s *ElasticsearchServer) Flush() {
	if _, err := s.Do(http.MethodDelete, "/*", ""); err != nil {
		s.t.Errorf("%v", err)
	}
}

// ElasticsearchCluster are the nodes of a cluster of one test.
type ElasticsearchCluster struct {
	Nodes []*ElasticsearchServer
}

// StartElasticsearchCluster starts nodes that know one another.
func StartElasticsearchCluster(t TB, nodes int, settings ...string) *ElasticsearchCluster {
	t.Helper()
	installed := needElasticsearch(t)
	commands, urls := elasticsearchCommands(installed, nodes, settings)
	c := &ElasticsearchCluster{}
	for n, url := range urls {
		s := &ElasticsearchServer{URL: url}
		s.process = launchProcess(t, folder(t), commands[n], s.shardsAnswer)
		c.Nodes = append(c.Nodes, s)
	}
	if err := c.AwaitWhole(); err != nil {
		t.Fatalf("start Elasticsearch: %v\n%s", err, logs(c.folders()))
	}
	return c
}

// URLs are those of all nodes.
func (c *ElasticsearchCluster) URLs() (all []string) {
	for _, s := range c.Nodes {
		all = append(all, s.URL)
	}
	return all
}

// AwaitWhole returns when all nodes are known to each.
func (c *ElasticsearchCluster) AwaitWhole() error {
	going := func() bool {
		for _, s := range c.Nodes {
			if !s.running() {
				return false
			}
		}
		return true
	}
	return withinWhile(startTime, going, func() error {
		if err := elasticsearchAnswers(c.URLs()); err != nil {
			return err
		}
		return c.Nodes[0].shardsAnswer()
	})
}

func (c *ElasticsearchCluster) folders() (all []string) {
	for _, s := range c.Nodes {
		all = append(all, s.dir)
	}
	return all
}

func elasticsearchCommands(installed string, nodes int, settings []string) (commands [][]string, urls []string) {
	var names, seeds []string
	var ports [][2]int
	for n := range nodes {
		ports = append(ports, [2]int{freePort(), freePort()})
		names = append(names, fmt.Sprintf("node-%d", n+1))
		seeds = append(seeds, address(ports[n][1]))
	}
	for n := range nodes {
		// The first compiler alone: a start takes less than half of the CPU, and most
		// tests are over before the second one pays.
		jvm := []string{"-Xms256m", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"}
		if nodes > 1 {
			jvm[1] = "-Xmx512m"
		}
		command := []string{
			"-p", filepath.Join(installed, "lib"), "--add-modules", "ALL-MODULE-PATH", "-cp", filepath.Join(installed, "launcher"),
			"Launcher", filepath.Join(installed, "modules"),
			"cluster.name=docket-test", "node.name=" + names[n], "network.host=127.0.0.1",
			"http.port=" + strconv.Itoa(ports[n][0]), "transport.port=" + strconv.Itoa(ports[n][1]),
			"cluster.routing.allocation.disk.threshold_enabled=false",
			// Else a node stops merging segments, and says nothing, on a disk that is
			// nineteen parts in twenty full.
			"indices.merge.disk.watermark.high=200mb",
			"cluster.max_shards_per_node=100000",
			"action.destructive_requires_name=false",
		}
		if nodes == 1 {
			command = append(command, "discovery.type=single-node")
		} else {
			command = append(command, "discovery.seed_hosts="+strings.Join(seeds, ","), "cluster.initial_master_nodes="+strings.Join(names, ","))
		}
		for _, s := range settings {
			if strings.HasPrefix(s, "-") {
				jvm = append(jvm, s)
			} else {
				command = append(command, s)
			}
		}
		commands = append(commands, slices.Concat([]string{"java"}, jvm, command))
		urls = append(urls, "http://"+address(ports[n][0]))
	}
	return commands, urls
}

// elasticsearchAnswers asks whether every node knows a master and all others.
func elasticsearchAnswers(urls []string) error {
	for _, url := range urls {
		body, err := request(http.MethodGet, url+"/_cluster/health", "")
		if err != nil {
			return err
		}
		var health struct {
			Nodes int `json:"number_of_nodes"`
		}
		if err := json.Unmarshal([]byte(body), &health); err != nil {
			return fmt.Errorf("%s: %w", url, err)
		}
		if health.Nodes < len(urls) {
			return fmt.Errorf("%s knows %d of %d nodes", url, health.Nodes, len(urls))
		}
	}
	return nil
}

// request asks over a connection of its own: those kept would be goroutines that
// tests find at their end.
func request(method, url, body string) (string, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, url, content)
	if err != nil {
		return "", err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return "", err
	}
	if answer.StatusCode > 299 {
		return string(b), fmt.Errorf("%s %s: %s: %.500s", method, url, answer.Status, b)
	}
	return string(b), nil
}
