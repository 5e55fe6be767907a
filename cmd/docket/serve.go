package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"runtime/debug"
	"syscall"
)

// needsFolder marks commands that work on the folder itself and never through a
// server.
type needsFolder interface{ needsFolder() }

var needsFolderType = reflect.TypeFor[needsFolder]()

// needsLog marks commands that work on the log in the folder, and never on one
// elsewhere.
type needsLog interface{ needsLog() }

var needsLogType = reflect.TypeFor[needsLog]()

func (*demoCommand) needsLog()        {}
func (*verifyCommand) needsLog()      {}
func (*backupCommand) needsLog()      {}
func (*restoreCommand) needsLog()     {}
func (*eventsServeCommand) needsLog() {}

func (*serveCommand) needsFolder()  {}
func (*demoCommand) needsFolder()   {}
func (*verifyCommand) needsFolder() {}

func (*backupCommand) needsFolder()      {}
func (*restoreCommand) needsFolder()     {}
func (*eventsServeCommand) needsFolder() {}

type serveCommand struct {
	listening
	EsdbListen string `placeholder:"ADDR" env:"DOCKET_ESDB_LISTEN" help:"Serve the log of the folder to EventStoreDB clients too, on HOST:PORT, such as 127.0.0.1:2113 (${env}; default not at all)."`
	speaking
}

// Validate checks both ways of serving.
func (c *serveCommand) Validate() error {
	if err := c.listening.Validate(); err != nil {
		return err
	}
	if c.EsdbListen != "" {
		return c.speaking.validate("--esdb-listen", c.EsdbListen)
	}
	if c.speaking.said() {
		return errors.New("--esdb-...: nobody is served without --esdb-listen ADDR")
	}
	return nil
}

// Run serves until a signal comes.
func (c *serveCommand) Run(p *program) error {
	listener, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	var second net.Listener
	if c.EsdbListen != "" {
		if second, err = listen("--esdb-listen", c.EsdbListen); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	a, err := p.openApp(slog.LevelInfo)
	if err != nil {
		return errors.Join(err, listener.Close(), closeIf(second))
	}
	var esdb *spoken
	if second != nil {
		if esdb, err = c.speak(p.ctx, a.Embedded, p.config.Data, second, a.Logger, reservedFor(p.config.namespace())); err != nil {
			return errors.Join(err, listener.Close(), a.Close())
		}
	}
	s, err := a.serve(p.config.Data, c.listening, listener)
	if err != nil {
		if esdb != nil {
			err = errors.Join(err, esdb.close())
		}
		return errors.Join(err, a.Close())
	}
	s.esdb = esdb
	c.say(p, s)
	return s.untilStopped(p)
}

func closeIf(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// say tells where docket is reached.
func (c *serveCommand) say(p *program, s *served) {
	if p.config.JSON {
		_ = json.NewEncoder(p.stdout).Encode(struct {
			Listening string  `json:"listening"`
			Data      string  `json:"data"`
			Esdb      *spoken `json:"esdb,omitempty"`
		}{"http://" + s.address, p.config.Data, s.esdb})
		return
	}
	fmt.Fprintf(p.stdout, "docket serves %s on http://%s\n", p.config.Data, s.address)
	if s.esdb != nil {
		fmt.Fprintf(p.stdout, "and its log to EventStoreDB clients on %s, connection string: %s\n", s.esdb.Listening, s.esdb.Connection)
	}
}

// untilStopped serves until a signal or a failure, and ends everything.
func (s *served) untilStopped(p *program) error {
	err := s.wait(p.ctx)
	err = errors.Join(err, s.shutdown())
	if closing := s.Close(); err == nil {
		err = closing
	}
	return err
}

// listen takes the address of a flag, and says in words when it is taken.
func listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program; choose another with %[2]s, such as %[2]s 127.0.0.1:0 for a free one", address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(p *program) error {
	if p.config.JSON {
		return json.NewEncoder(p.stdout).Encode(map[string]string{"version": version()})
	}
	fmt.Fprintln(p.stdout, "docket", version())
	return nil
}

// version is that of the module, with the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v
}
