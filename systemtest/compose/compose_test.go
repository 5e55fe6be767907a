// Package compose checks docker-compose.yml and the Dockerfile, where no engine
// runs: that they are what the Compose specification allows, that they keep to
// the rules below, and, by starting docket with the command and the keys of the
// file in front of a stand-in for EventStoreDB, that docket takes what they say.
package compose

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	adapter "github.com/docket-orders/docket/eventstore/esdb"
)

const file = "../../docker-compose.yml"

// load reads a compose file as docker compose does, strictly: unknown keys,
// services, volumes and networks are errors.
func load(path string, profiles ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithProfiles(profiles), cli.WithEnv([]string{
		"ESDB_PASSWORD=p4ssword", "ELASTIC_PASSWORD=e1astic", "REDIS_PASSWORD=r3dis",
	}))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func TestFile(t *testing.T) {
	for name, c := range map[string]struct {
		profiles []string
		services []string
	}{
		"single nodes": {nil, []string{"docket", "elasticsearch", "eventstore", "keys", "redis"}},
		"views kept locally": {[]string{"local"}, []string{
			"docket", "docket-local", "elasticsearch", "eventstore", "keys", "redis",
		}},
		"cluster": {[]string{"cluster"}, []string{
			"certificates", "docket", "docket-cluster", "elasticsearch", "elasticsearch-1", "elasticsearch-2", "elasticsearch-3",
			"eventstore", "eventstore-1", "eventstore-2", "eventstore-3", "keys", "redis", "redis-1", "redis-2", "redis-3", "redis-cluster",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := load(file, c.profiles...)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(slices.Values(p.ServiceNames())); !slices.Equal(got, c.services) {
				t.Errorf("services %v, want %v", got, c.services)
			}
			for _, problem := range problems(p) {
				t.Error(problem)
			}
		})
	}
}

// problems are the rules that a project breaks.
func problems(p *types.Project) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	awaited := map[string]bool{} // services that others wait for to end
	for _, s := range p.Services {
		for name, on := range s.DependsOn {
			switch on.Condition {
			case types.ServiceConditionCompletedSuccessfully:
				awaited[name] = true
			case types.ServiceConditionHealthy:
			default:
				say("%s waits for %s to be %s, which is no word on whether it works", s.Name, name, on.Condition)
			}
		}
	}
	for _, s := range p.Services {
		if s.Build == nil && !pinned(s.Image) {
			say("%s: image %s is not pinned to a version", s.Name, s.Image)
		}
		if s.Build != nil {
			if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
				say("%s: %v", s.Name, err)
			}
		}
		if long := !awaited[s.Name]; long && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) == 0) {
			say("%s has no health check", s.Name)
		} else if long && s.Restart == "" {
			say("%s stays down once it has ended", s.Name)
		} else if !long && s.Restart != "" {
			say("%s is to end, and is started again", s.Name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				say("%s: port %s is published to other machines", s.Name, port.Published)
			}
		}
		if connection, ok := s.Environment["DOCKET_EVENTSTORE"]; ok {
			for _, problem := range connectionProblems(p, s, *connection) {
				say("%s: %s", s.Name, problem)
			}
		}
		for _, problem := range viewProblems(p, s) {
			say("%s: %s", s.Name, problem)
		}
	}
	return append(append(found, clusterProblems(p)...), viewNodeProblems(p)...)
}

// pinned reports whether an image has a tag with a version in it.
func pinned(image string) bool {
	_, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return ok && regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+`).MatchString(tag)
}

// connectionProblems: the official client and docket's adapter read the string,
// and everybody named in it is there.
func connectionProblems(p *types.Project, s types.ServiceConfig, connection string) (found []string) {
	// Both open the authority's file, which is in a volume.
	here := caFile.ReplaceAllString(connection, "")
	config, err := esdb.ParseConnectionString(here)
	if err != nil {
		return []string{err.Error()}
	}
	if err := adapter.Check(here); err != nil {
		return []string{err.Error()}
	}
	hosts := []string{}
	for _, seed := range config.GossipSeeds {
		hosts = append(hosts, seed.Host)
	}
	if len(hosts) == 0 {
		host, _, _ := strings.Cut(config.Address, ":")
		hosts = append(hosts, host)
	}
	found = hostProblems(p, s, hosts)
	if secure := !config.DisableTLS; secure && config.Username == "" {
		found = append(found, "it connects with TLS and as nobody")
	}
	if ca := caFile.FindStringSubmatch(connection); ca != nil {
		found = append(found, authorityProblems(s, ca[1])...)
	}
	return found
}

// hostProblems: everybody that a service connects to is there, and is waited for.
func hostProblems(p *types.Project, s types.ServiceConfig, hosts []string) (found []string) {
	for _, host := range hosts {
		known := slices.ContainsFunc(slices.Collect(maps.Values(p.Services)), func(node types.ServiceConfig) bool {
			_, waits := s.DependsOn[node.Name]
			return waits && (node.Name == host || addressOf(node) == host)
		})
		if !known {
			found = append(found, fmt.Sprintf("it connects to %s, and waits for no service of that name or address", host))
		}
	}
	return found
}

// authorityProblems: the file is in a volume of the service.
func authorityProblems(s types.ServiceConfig, file string) []string {
	if slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return strings.HasPrefix(file, v.Target+"/") }) {
		return nil
	}
	return []string{"no volume has the authority " + file}
}

var caFile = regexp.MustCompile(`(?i)tlscafile=([^&]+)`)

// addressOf is the fixed address of a node of the cluster.
func addressOf(s types.ServiceConfig) string {
	if n := s.Networks["cluster"]; n != nil {
		return n.Ipv4Address
	}
	return ""
}

// clusterProblems: every node names the two others and itself, has a certificate
// for where it is, and a priority of its own.
func clusterProblems(p *types.Project) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	nodes := map[string]types.ServiceConfig{} // by address
	for _, s := range p.Services {
		if size := s.Environment["EVENTSTORE_CLUSTER_SIZE"]; size != nil && *size != "1" {
			if *size != "3" {
				say("%s is in a cluster of %s", s.Name, *size)
			}
			nodes[addressOf(s)] = s
		}
	}
	if len(nodes) != 0 && len(nodes) != 3 {
		say("%d nodes with addresses of their own, want 3", len(nodes))
	}
	priorities := map[string]bool{}
	for address, s := range nodes {
		of := func(name string) string {
			if v := s.Environment[name]; v != nil {
				return *v
			}
			say("%s: %s is not set", s.Name, name)
			return ""
		}
		if ip := of("EVENTSTORE_REPLICATION_IP"); ip != address {
			say("%s is at %s and replicates at %s", s.Name, address, ip)
		}
		seeds := strings.Split(of("EVENTSTORE_GOSSIP_SEED"), ",")
		for other := range nodes {
			if named := slices.Contains(seeds, other+":2113"); named != (other != address) {
				say("%s has the seeds %v", s.Name, seeds)
			}
		}
		if len(seeds) != 2 {
			say("%s has the seeds %v", s.Name, seeds)
		}
		number := s.Name[len(s.Name)-1:]
		if certificate := of("EVENTSTORE_CERTIFICATE_FILE"); certificate != "/certs/node"+number+"/node.crt" {
			say("%s shows the certificate %s", s.Name, certificate)
		}
		if key := of("EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE"); key != "/certs/node"+number+"/node.key" {
			say("%s has the key %s", s.Name, key)
		}
		if !strings.HasSuffix(address, "1"+number) {
			say("%s is at %s: its certificate is for another address", s.Name, address)
		}
		if insecure := s.Environment["EVENTSTORE_INSECURE"]; insecure != nil {
			say("%s is not secure", s.Name)
		}
		priorities[of("EVENTSTORE_NODE_PRIORITY")] = true
	}
	if len(priorities) != len(nodes) {
		say("the nodes' priorities are %v", priorities)
	}
	return found
}

// TestFaultyFiles shows that what the checks are for is seen.
func TestFaultyFiles(t *testing.T) {
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, said string }{
		"unknown key":           {"restart: unless-stopped", "restrat: unless-stopped", "restrat"},
		"unknown service":       {"      eventstore:\n        condition", "      evenstore:\n        condition", "evenstore"},
		"unknown volume":        {"- docket-views:/data", "- docket-view:/data", "docket-view"},
		"latest":                {"eventstore:24.10.4-jammy", "eventstore:latest", "not pinned"},
		"no tag":                {"busybox:1.37.0", "busybox", "not pinned"},
		"no health check":       {"test: [CMD, docket, ready, --data, /data]", "disable: true", "no health check"},
		"started only":          {"condition: service_healthy", "condition: service_started", "no word on whether it works"},
		"for everybody":         {"127.0.0.1:8080:8080", "8080:8080", "published to other machines"},
		"wrong scheme":          {"esdb://eventstore:2113", "http://eventstore:2113", "esdb://"},
		"wrong host":            {"esdb://eventstore:2113", "esdb://eventstor:2113", "connects to eventstor"},
		"wrong port":            {"esdb://eventstore:2113", "esdb://eventstore:port", "port"},
		"authority not mounted": {"tlsCaFile=/certs/", "tlsCaFile=/cert/", "no volume has the authority"},
		"nobody":                {"esdb://admin:${ESDB_PASSWORD:-changeit}@", "esdb://", "as nobody"},
		"a node forgotten":      {"172.30.240.11:2113,172.30.240.12:2113\n", "172.30.240.11:2113\n", "has the seeds"},
		"another's certificate": {"/certs/node2/node.crt", "/certs/node1/node.crt", "shows the certificate"},
		"search elsewhere":      {"elasticsearch://elasticsearch:9200", "elasticsearch://elasticsaerch:9200", "connects to elasticsaerch"},
		"search with a typo":    {"DOCKET_SEARCH: elasticsearch://elasticsearch:9200", "DOCKET_SEARCH: elastic://elasticsearch:9200", "DOCKET_SEARCH"},
		"cache elsewhere":       {"redis://redis:6379", "redis://reddis:6379", "connects to reddis"},
		"one Redis of three":    {"rediss+cluster", "rediss+cloister", "DOCKET_CACHE"},
		"search as nobody":      {"elasticsearch://elastic:${ELASTIC_PASSWORD:-changeit}@", "elasticsearch://", "as nobody"},
		"cache as nobody":       {"rediss+cluster://:${REDIS_PASSWORD:-changeit}@", "rediss+cluster://", "as nobody"},
		"search in the clear":   {"9200?tls=true&ca=/certs/ca/ca.crt", "9200", "as docket-cluster does not"},
		"cache in the clear":    {"rediss+cluster://:${REDIS_PASSWORD:-changeit}@172.30.240.31:6379,172.30.240.32:6379,172.30.240.33:6379?ca=/certs/ca/ca.crt", "redis+cluster://:${REDIS_PASSWORD:-changeit}@172.30.240.31:6379,172.30.240.32:6379,172.30.240.33:6379", "as docket-cluster does not"},
		"a search node alone":   {"172.30.240.21,172.30.240.22,172.30.240.23\n", "172.30.240.21,172.30.240.22\n", "seeds"},
		"masters unnamed":       {"cluster.initial_master_nodes: elasticsearch-1,elasticsearch-2,elasticsearch-3", "cluster.initial_master_nodes: elasticsearch-1", "initial master"},
		"another's name":        {"node.name: elasticsearch-2", "node.name: elasticsearch-1", "is called"},
		"search certificate":    {"certs/elasticsearch2/node.crt", "certs/elasticsearch1/node.crt", "shows the certificate"},
		"redis certificate":     {`REDIS: "2"`, `REDIS: "1"`, "shows the certificate"},
		"redis elsewhere":       {"ipv4_address: 172.30.240.32", "ipv4_address: 172.30.240.42", "certificate is for another address"},
		"a certificate less":    {"certify redis$$n 172.30.240.3$$n redis-$$n", "true", "nobody makes"},
		"equal priorities":      {`EVENTSTORE_NODE_PRIORITY: "1"`, `EVENTSTORE_NODE_PRIORITY: "2"`, "priorities"},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(whole, []byte(c.old)) {
				t.Fatalf("the file does not have %q any more", c.old)
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "docker-compose.yml")
			text := strings.ReplaceAll(string(whole), c.old, c.new)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			var said []string
			if p, err := load(path, "cluster"); err != nil {
				said = append(said, err.Error())
			} else {
				said = problems(p)
			}
			if !strings.Contains(strings.Join(said, "\n"), c.said) {
				t.Errorf("said: %q, want %q", said, c.said)
			}
		})
	}
}

// TestDockerfile: what is built from is pinned, what runs is not root, and looks
// after itself as the compose file does.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	p, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	check := p.Services["docket"].HealthCheck.Test
	user, health, entry := "", "", ""
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		switch words := strings.Fields(line); {
		case len(words) < 2:
		case words[0] == "FROM" && words[1] != "scratch" && !pinned(words[1]):
			t.Errorf("image %s is not pinned to a version", words[1])
		case words[0] == "USER":
			user = words[1]
		case words[0] == "HEALTHCHECK":
			_, health, _ = strings.Cut(strings.TrimSpace(line), " CMD ")
		case words[0] == "ENTRYPOINT":
			entry = words[1]
		}
	}
	if user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("it runs as %q", user)
	}
	if want := fmt.Sprintf(`["%s"]`, strings.Join(check[1:], `", "`)); check[0] != "CMD" || health != want {
		t.Errorf("health check %s, that of the compose file is %q", health, check)
	}
	if entry != `["docket"]` {
		t.Errorf("entry point %s: the commands of the compose file are docket's", entry)
	}
}
