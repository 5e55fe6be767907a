package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docket-orders/docket/eventstore"
	"github.com/docket-orders/docket/eventstore/codec"
	"github.com/docket-orders/docket/eventstore/esdbserver"
	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/internal/embedded"
)

// speaking is how the log of a folder is served in EventStoreDB's protocol;
// shared by serve and eventstore serve.
type speaking struct {
	TLS          bool   `name:"esdb-tls" env:"DOCKET_ESDB_TLS" help:"Serve EventStoreDB clients over TLS with users and access lists; the certificate is self-made and kept in the folder (${env})."`
	TLSCert      string `name:"esdb-tls-cert" placeholder:"FILE" env:"DOCKET_ESDB_TLS_CERT" help:"The same with this certificate, PEM (${env}); wants --esdb-tls-key."`
	TLSKey       string `name:"esdb-tls-key" placeholder:"FILE" env:"DOCKET_ESDB_TLS_KEY" help:"Private key of --esdb-tls-cert, PEM (${env})."`
	Insecure     bool   `name:"esdb-insecure" env:"DOCKET_ESDB_INSECURE" help:"Serve EventStoreDB clients of other machines without TLS and without users: everybody may do everything (${env}). On 127.0.0.1 that is so without it."`
	PasswordFile string `name:"esdb-password-file" placeholder:"FILE" env:"DOCKET_ESDB_PASSWORD_FILE" help:"Password of the users admin and ops, when the log has no users yet (${env}; or itself in DOCKET_ESDB_PASSWORD; default changeit, on 127.0.0.1 only)."`
	Advertise    string `name:"esdb-advertise" placeholder:"ADDR" env:"DOCKET_ESDB_ADVERTISE" help:"HOST:PORT by which EventStoreDB clients reach this machine (${env}; default what is listened on)."`
	Projections  bool   `name:"esdb-projections" env:"DOCKET_ESDB_PROJECTIONS" help:"Start the projections $$by_category and $$by_event_type (${env}). They write links into the log."`

	password string
	given    *tls.Config
}

// passwordVariable is not a flag: a command line is seen by everybody.
const passwordVariable = "DOCKET_ESDB_PASSWORD"

// validate checks everything for the address of flag, and reads the files.
func (s *speaking) validate(flag, address string) error {
	local, err := checkAddress(flag, address, "127.0.0.1:2113")
	if err != nil {
		return err
	}
	switch {
	case (s.TLSCert == "") != (s.TLSKey == ""):
		return errors.New("--esdb-tls-cert and --esdb-tls-key: want both or none")
	case s.Insecure && s.secure():
		return errors.New("--esdb-insecure: that is without TLS, and --esdb-tls or --esdb-tls-cert is with it")
	case !local && !s.secure() && !s.Insecure:
		return fmt.Errorf("%s: %s can be reached from other machines; give --esdb-tls, or --esdb-tls-cert and --esdb-tls-key, or say --esdb-insecure, or listen on 127.0.0.1", flag, address)
	}
	if s.Advertise != "" {
		if host, port, err := net.SplitHostPort(s.Advertise); err != nil || host == "" || !isPort(port) || port == "0" {
			return fmt.Errorf("--esdb-advertise: %q: want HOST:PORT, such as db.example.org:2113", s.Advertise)
		}
	}
	if s.TLSCert != "" {
		if s.given, err = esdbserver.LoadTLS(s.TLSCert, s.TLSKey); err != nil {
			return fmt.Errorf("--esdb-tls-cert, --esdb-tls-key: %w", err)
		}
	}
	s.password = os.Getenv(passwordVariable)
	if s.PasswordFile != "" {
		if s.password, err = readPassword(s.PasswordFile); err != nil {
			return fmt.Errorf("--esdb-password-file: %w", err)
		}
	}
	if !local && s.secure() && s.password == "" {
		return fmt.Errorf("%s: %s can be reached from other machines, and everybody knows the first password of EventStoreDB; give another with --esdb-password-file or %s", flag, address, passwordVariable)
	}
	return nil
}

// maxPassword is the longest password, in bytes.
const maxPassword = 1024

// readPassword reads a file of one line. Errors do not tell what is in it.
func readPassword(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPassword+3)) // and the end of the line
	if err != nil {
		return "", err
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case password == "":
		return "", fmt.Errorf("%s is empty", path)
	case len(password) > maxPassword || strings.ContainsAny(password, "\r\n\x00"):
		return "", fmt.Errorf("%s: want one line of at most %d bytes", path, maxPassword)
	}
	return password, nil
}

// secure reports whether clients come over TLS.
func (s *speaking) secure() bool { return s.TLS || s.TLSCert != "" }

// said reports whether a flag was given that means nothing without an address.
func (s *speaking) said() bool {
	return s.secure() || s.TLSKey != "" || s.Insecure || s.PasswordFile != "" || s.Advertise != "" || s.Projections
}

// checkAddress tells whether an address is reached by this machine only.
func checkAddress(flag, address, example string) (local bool, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%s: %q: want HOST:PORT, such as %s", flag, address, example)
	}
	if !isPort(port) {
		return false, fmt.Errorf("%s: port %q: want a number from 0 to 65535", flag, port)
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback(), nil
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// reserved are the streams, by prefix, that a running docket keeps from clients:
// without the ones that name generations it does not start, and an order whose
// events are hidden is one thing to commands and another to the views.
type reserved struct{ readOnly, appendOnly []string }

func reservedFor(ns eventstore.Namespace) *reserved {
	return &reserved{readOnly: []string{ns.Prefix("projection")}, appendOnly: []string{ns.Prefix(codec.Category)}}
}

// spoken is a log that is being served to EventStoreDB clients.
type spoken struct {
	server     *esdbserver.Server
	Listening  string `json:"listening"`          // host:port
	Connection string `json:"connection"`         // what a client is told; without a password
	CAFile     string `json:"caFile,omitempty"`   // authority of a self-made certificate
	Insecure   bool   `json:"insecure,omitempty"` // nobody is asked who he is
	failed     chan error
}

// speak serves the log of the folder until close; the log stays open. reserved
// is nil for a log on which no docket runs.
func (s *speaking) speak(ctx context.Context, store *sqlite.Store, dir string, listener net.Listener, logger *slog.Logger, reserved *reserved) (*spoken, error) {
	address := s.reachedBy(listener.Addr())
	out := &spoken{Listening: listener.Addr().String(), Insecure: !s.secure(), failed: make(chan error, 1)}
	o := esdbserver.Options{
		Store: store, Logger: logger, AdminPassword: s.password, OpsPassword: s.password,
		Advertise: address, Projections: s.Projections,
	}
	if reserved != nil {
		o.ReadOnly, o.AppendOnly = reserved.readOnly, reserved.appendOnly
	}
	out.Connection = fmt.Sprintf("esdb://%s?tls=false", address)
	if s.secure() {
		out.Connection = fmt.Sprintf("esdb://admin:PASSWORD@%s", address)
		if o.TLS = s.given; o.TLS == nil {
			made, file, err := selfMade(dir, hostsOf(address, listener.Addr()), time.Now())
			if err != nil {
				return nil, errors.Join(err, listener.Close())
			}
			if file, err = filepath.Abs(file); err != nil {
				return nil, errors.Join(err, listener.Close())
			}
			o.TLS, out.CAFile = &tls.Config{Certificates: []tls.Certificate{made}}, file
			out.Connection += "?tlsCaFile=" + url.QueryEscape(file)
		}
	}
	var err error
	// What was started outlives ctx: it is ended by close.
	if out.server, err = esdbserver.New(context.WithoutCancel(ctx), o); err != nil {
		return nil, errors.Join(fmt.Errorf("serve EventStoreDB clients: %w", err), listener.Close())
	}
	go func() { out.failed <- out.server.Serve(listener) }()
	return out, nil
}

// reachedBy is the address that clients are told.
func (s *speaking) reachedBy(listened net.Addr) string {
	if s.Advertise != "" {
		return s.Advertise
	}
	at := listened.(*net.TCPAddr)
	if !at.IP.IsUnspecified() {
		return at.String()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// hostsOf is what a self-made certificate is for.
func hostsOf(address string, listened net.Addr) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(address); err == nil {
		hosts = append(hosts, host)
	}
	if at := listened.(*net.TCPAddr); !at.IP.IsUnspecified() {
		hosts = append(hosts, at.IP.String())
	}
	if host, err := os.Hostname(); err == nil {
		hosts = append(hosts, host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// close ends all calls, and waits for them.
func (s *spoken) close() error { return s.server.Close() }

type eventsServeCommand struct {
	Listen string `default:"127.0.0.1:2113" aliases:"esdb-listen" placeholder:"ADDR" env:"DOCKET_ESDB_LISTEN" help:"Address to listen on, HOST:PORT; port 0 takes a free one (${env}; default ${default})."`
	speaking
}

// Validate checks the address and reads the files.
func (c *eventsServeCommand) Validate() error { return c.validate("--listen", c.Listen) }

// Run serves until a signal comes.
func (c *eventsServeCommand) Run(p *program) error {
	listener, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	logger := p.logger(slog.LevelInfo)
	store, _, err := embedded.OpenLog(p.ctx, p.config.Data, embedded.Options{Logger: logger})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s, err := c.speak(p.ctx, store, p.config.Data, listener, logger, nil)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	if p.config.JSON {
		_ = json.NewEncoder(p.stdout).Encode(struct {
			*spoken
			Data string `json:"data"`
		}{s, p.config.Data})
	} else {
		fmt.Fprintf(p.stdout, "docket serves the log of %s to EventStoreDB clients on %s\n", p.config.Data, s.Listening)
		fmt.Fprintf(p.stdout, "connection string: %s\n", s.Connection)
	}
	select {
	case <-p.ctx.Done():
	case err = <-s.failed:
		err = fmt.Errorf("serve EventStoreDB clients: %w", err)
	}
	return errors.Join(err, s.close(), store.Close())
}
