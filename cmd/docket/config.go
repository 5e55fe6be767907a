package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/alecthomas/kong"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/esdb"
	"github.com/docket-orders/docket/httpapi"
)

// config is every flag and environment variable of docket.
type config struct {
	Serve       serveCommand   `cmd:"" help:"Serve the HTTP API over the folder --data."`
	Demo        demoCommand    `cmd:"" help:"Fill a folder with real and generated orders, serve it, and say what to try."`
	Import      importGroup    `cmd:"" help:"Take over orders from public data sets."`
	Order       orderGroup     `cmd:"" help:"Look at orders, as they are and as they were."`
	Projections viewsGroup     `cmd:"" help:"Look after the views."`
	ReadModels  modelsGroup    `cmd:"" help:"Ask the projections of your own."`
	Reconcile   reconcileGroup `cmd:"" help:"Ask whether the views say what the log says."`
	Eventstore  eventsGroup    `cmd:"" help:"Look after the log of events."`
	Ready       readyCommand   `cmd:"" help:"Ask a running docket what it can serve; for health checks."`
	Version     versionCmd     `cmd:"" help:"Print the version."`

	Data       string    `placeholder:"DIR" env:"DOCKET_DATA" help:"Folder of the embedded store (${env}; default ./docket-data, for demo ./docket-demo)."`
	EventStore givenText `name:"eventstore" placeholder:"URL" env:"DOCKET_EVENTSTORE" help:"The log is in the EventStoreDB of this connection string, esdb://HOST:PORT?tls=false for one (${env}, where a password is hidden from other users); --data then holds the views alone."`
	viewStores
	Server    string `placeholder:"URL" env:"DOCKET_SERVER" help:"A running docket to talk to instead of --data (${env})."`
	Key       string `placeholder:"KEY" env:"DOCKET_KEY" help:"API key for --server (${env})."`
	Namespace string `placeholder:"NAME" env:"DOCKET_NAMESPACE" help:"Begins the names of all streams, [a-z0-9]{1,16} (${env}; default none)."`
	LogLevel  string `placeholder:"LEVEL" env:"DOCKET_LOG_LEVEL" help:"debug, info, warn or error: what goes to stderr as JSON (${env}; default warn, for serve info)."`
	JSON      bool   `name:"json" env:"DOCKET_JSON" help:"Answer in JSON (${env})."`

	Config kong.ConfigFlag `placeholder:"FILE" env:"DOCKET_CONFIG" help:"JSON file of flags by name: {\"listen\": \"127.0.0.1:9000\", \"limit-body-bytes\": 2097152} (${env}). What the command line or the environment says comes first."`
}

// Validate checks what concerns every command. Nothing is open yet.
func (c *config) Validate(parsed *kong.Context) error {
	if _, err := eventstore.ParseNamespace(c.Namespace); err != nil {
		return fmt.Errorf("--namespace: %w", err)
	}
	switch c.LogLevel {
	case "", "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("--log-level: %q: want debug, info, warn or error", c.LogLevel)
	}
	if err := c.checkEventStore(parsed); err != nil {
		return err
	}
	own := parsed.Selected() != nil && parsed.Selected().Target.Addr().Type().Implements(needsFolderType)
	if c.Data == "" {
		c.Data = "docket-data"
		if parsed.Command() == "demo" {
			c.Data = "docket-demo"
		}
	}
	if info, err := os.Stat(c.Data); err == nil && !info.IsDir() {
		return fmt.Errorf("--data: %s is not a folder", c.Data)
	}
	if c.Server == "" {
		return c.viewStores.check()
	}
	if own {
		return fmt.Errorf("--server: %s works on the folder --data, not on a server", parsed.Command())
	}
	if u, err := url.Parse(c.Server); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return fmt.Errorf("--server: %q: want http://HOST:PORT or https://HOST:PORT", c.Server)
	}
	return nil
}

// checkEventStore reads the connection string, and refuses a log elsewhere to
// those who work on that in the folder. Errors do not tell the string: there may
// be a password in it.
func (c *config) checkEventStore(parsed *kong.Context) error {
	if c.EventStore == "" || parsed.Selected() == nil {
		return nil
	}
	if err := esdb.Check(string(c.EventStore)); err != nil {
		return fmt.Errorf("--eventstore: %w", err)
	}
	if parsed.Selected().Target.Addr().Type().Implements(needsLogType) {
		return fmt.Errorf("--eventstore: %s works on the log in the folder --data, not on one elsewhere", parsed.Command())
	}
	if parsed.Command() == "serve" && c.Serve.EsdbListen != "" {
		return errors.New("--esdb-listen: it serves the log in the folder --data, and with --eventstore there is none")
	}
	return nil
}

func (c *config) namespace() eventstore.Namespace { return eventstore.Namespace(c.Namespace) }

// logger writes JSON lines to stderr, from the level asked for or else from
// fallback.
func (p *program) logger(fallback slog.Level) *slog.Logger {
	level := fallback
	if text := p.config.LogLevel; text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			panic(err) // Validate knows all that slog knows
		}
	}
	return slog.New(slog.NewJSONHandler(p.stderr, &slog.HandlerOptions{Level: level}))
}

// listening is how a docket serves; shared by serve and demo.
type listening struct {
	Listen         string `default:"127.0.0.1:8080" placeholder:"ADDR" env:"DOCKET_LISTEN" help:"Address to listen on, HOST:PORT; port 0 takes a free one (${env}; default ${default})."`
	Keys           string `placeholder:"FILE" env:"DOCKET_KEYS" help:"API keys: a JSON array of {name, scopes, sha256} (${env}). Without it only this machine is spoken to."`
	RequireIfMatch bool   `env:"DOCKET_REQUIRE_IF_MATCH" help:"Refuse commands on an order without If-Match (${env})."`

	Limits httpapi.Limits `embed:"" prefix:"limit-" envprefix:"DOCKET_LIMIT_" group:"limits"`

	keys httpapi.Keys
}

// Validate checks the address and reads the keys.
func (l *listening) Validate() error {
	local, err := checkAddress("--listen", l.Listen, "127.0.0.1:8080")
	if err != nil {
		return err
	}
	if err := l.Limits.Validate(); err != nil {
		return fmt.Errorf("--limit-%w", err)
	}
	if l.Keys == "" {
		if !local {
			return fmt.Errorf("--listen: %s can be reached from other machines, and without --keys FILE everybody could do everything; give --keys, or listen on 127.0.0.1", l.Listen)
		}
		return nil
	}
	file, err := os.Open(l.Keys)
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	defer file.Close()
	if l.keys, err = httpapi.ParseKeys(file); err != nil {
		return fmt.Errorf("--keys: %s: %w", l.Keys, err)
	}
	return nil
}
