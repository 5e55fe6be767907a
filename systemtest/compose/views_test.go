package compose

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/docket-orders/docket/projections/elastic"
	"github.com/docket-orders/docket/projections/redis"
)

// viewProblems: docket's adapters read the addresses of the stores of views, and
// everybody named in them is there, with the security that the nodes ask for.
func viewProblems(p *types.Project, s types.ServiceConfig) (found []string) {
	for name, open := range map[string]func(address string) error{
		"DOCKET_SEARCH": func(address string) error {
			b, err := elastic.Open(address, elastic.Options{Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				err = b.Close()
			}
			return err
		},
		"DOCKET_CACHE": func(address string) error {
			b, err := redis.Open(address, redis.Options{Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				err = b.Close()
			}
			return err
		},
	} {
		given, ok := s.Environment[name]
		if !ok {
			continue
		}
		// The authority's file is in a volume.
		if err := open(authority.ReplaceAllString(*given, "")); err != nil {
			found = append(found, fmt.Sprintf("%s: %v", name, err))
			continue
		}
		_, rest, _ := strings.Cut(*given, "://")
		rest, _, _ = strings.Cut(rest, "?")
		who, list := "", rest
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			who, list = rest[:at], rest[at+1:]
		}
		var hosts []string
		for host := range strings.SplitSeq(list, ",") {
			name, _, err := net.SplitHostPort(host)
			if err != nil {
				found = append(found, err.Error())
			}
			hosts = append(hosts, name)
		}
		found = append(found, hostProblems(p, s, hosts)...)
		file := authority.FindStringSubmatch(*given)
		if file != nil {
			found = append(found, authorityProblems(s, file[1])...)
			if who == "" {
				found = append(found, "it connects with TLS and as nobody")
			}
		}
		for _, host := range hosts {
			for _, node := range p.Services {
				if (node.Name == host || addressOf(node) == host) && asksForTLS(node) != (file != nil) {
					found = append(found, fmt.Sprintf("%s speaks TLS or not, as %s does not", node.Name, s.Name))
				}
			}
		}
	}
	return found
}

var authority = regexp.MustCompile(`[?&]ca=([^&]+)`)

func asksForTLS(s types.ServiceConfig) bool {
	return value(s, "xpack.security.http.ssl.enabled") == "true" || slices.ContainsFunc(s.Command, func(word string) bool { return strings.Contains(word, "--tls-port") })
}

// value of a variable of a service's environment, "" without one.
func value(s types.ServiceConfig, name string) string {
	if v := s.Environment[name]; v != nil {
		return *v
	}
	return ""
}

// viewNodeProblems: the nodes of the clusters of Elasticsearch and Redis know one
// another, and have the certificates of where they are.
func viewNodeProblems(p *types.Project) (found []string) {
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	maker := p.Services["certificates"]
	certified := func(s types.ServiceConfig, kind, subnet string, files ...string) {
		number := s.Name[len(s.Name)-1:]
		for _, file := range files {
			if want := "certs/" + kind + number + "/node"; !strings.HasPrefix(strings.TrimPrefix(file, "/"), want) {
				say("%s shows the certificate %s", s.Name, file)
			}
		}
		if addressOf(s) != subnet+number {
			say("%s is at %s: its certificate is for another address", s.Name, addressOf(s))
		}
		if made := fmt.Sprintf("certify %s$n %s$n", kind, subnet); !strings.Contains(strings.Join(maker.Command, " "), made) {
			say("%s: nobody makes its certificate", s.Name)
		}
	}
	for _, s := range p.Services {
		switch {
		case strings.HasPrefix(s.Name, "elasticsearch-"):
			if name := value(s, "node.name"); name != s.Name {
				say("%s is called %s", s.Name, name)
			}
			if masters := value(s, "cluster.initial_master_nodes"); masters != "elasticsearch-1,elasticsearch-2,elasticsearch-3" {
				say("%s has the initial masters %s", s.Name, masters)
			}
			if seeds := value(s, "discovery.seed_hosts"); seeds != "172.30.240.21,172.30.240.22,172.30.240.23" {
				say("%s has the seeds %s", s.Name, seeds)
			}
			certified(s, "elasticsearch", "172.30.240.2",
				value(s, "xpack.security.http.ssl.certificate"), value(s, "xpack.security.http.ssl.key"),
				value(s, "xpack.security.transport.ssl.certificate"), value(s, "xpack.security.transport.ssl.key"))
		case regexp.MustCompile(`^redis-[0-9]$`).MatchString(s.Name):
			command := strings.ReplaceAll(strings.Join(s.Command, " "), "$REDIS/", value(s, "REDIS")+"/")
			for _, option := range []string{"--tls-cert-file", "--tls-key-file"} {
				file := regexp.MustCompile(option + ` (\S+)`).FindStringSubmatch(command)
				if file == nil {
					say("%s has no %s", s.Name, option)
					continue
				}
				certified(s, "redis", "172.30.240.3", file[1])
			}
		}
	}
	return found
}
