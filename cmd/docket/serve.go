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

func (*serveCommand) needsFolder()  {}
func (*demoCommand) needsFolder()   {}
func (*verifyCommand) needsFolder() {}

func (*backupCommand) needsFolder()  {}
func (*restoreCommand) needsFolder() {}

type serveCommand struct {
	listening
}

// Run serves until a signal comes.
func (c *serveCommand) Run(p *program) error {
	listener, err := listen(c.Listen)
	if err != nil {
		return err
	}
	a, err := p.openApp(slog.LevelInfo)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s, err := a.serve(p.config.Data, c.listening, listener)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	if p.config.JSON {
		_ = json.NewEncoder(p.stdout).Encode(map[string]string{"listening": "http://" + s.address, "data": p.config.Data})
	} else {
		fmt.Fprintf(p.stdout, "docket serves %s on http://%s\n", p.config.Data, s.address)
	}
	return s.untilStopped(p)
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

// listen takes an address, and says in words when it is taken.
func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken by another program; choose another with --listen, such as --listen 127.0.0.1:0 for a free one", address)
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
