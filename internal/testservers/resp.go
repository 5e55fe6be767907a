package testservers

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ask sends one command to a Redis server and returns its answer: a string, an
// int64, nil, or a slice of them. It is no client: tests have those. An answer
// that is an error is an error.
func ask(address string, command ...string) (any, error) {
	return login{}.ask(address, command...)
}

// login is how a server is asked.
type login struct {
	user, password string
	trust          *tls.Config // nil: without TLS
}

func (l login) ask(address string, command ...string) (any, error) {
	s, err := l.dial(address)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.ask(command...)
}

// session is a connection on which one asks after another.
type session struct {
	net.Conn
	answers *bufio.Reader
}

func (l login) dial(address string) (*session, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if l.trust != nil {
		trust := l.trust.Clone()
		trust.ServerName = "localhost"
		conn = tls.Client(conn, trust)
	}
	s := &session{conn, bufio.NewReader(conn)}
	if l.password != "" {
		if _, err := s.ask("AUTH", cmp.Or(l.user, "default"), l.password); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func (s *session) ask(command ...string) (any, error) {
	if err := s.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "*%d\r\n", len(command))
	for _, c := range command {
		fmt.Fprintf(&out, "$%d\r\n%s\r\n", len(c), c)
	}
	if _, err := io.WriteString(s, out.String()); err != nil {
		return nil, err
	}
	answer, err := answerOf(s.answers)
	if err != nil {
		return nil, fmt.Errorf("redis %s: %w", command[0], err)
	}
	return answer, nil
}

func answerOf(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return nil, errors.New("an empty answer")
	}
	rest := line[1:]
	if line[0] == '+' {
		return rest, nil
	}
	if line[0] == '-' {
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case line[0] == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case line[0] == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case line[0] == '*':
		var all []any
		for range n {
			a, err := answerOf(r)
			if err != nil {
				return nil, err
			}
			all = append(all, a)
		}
		return all, nil
	}
	return nil, fmt.Errorf("an answer that begins with %q", line[0])
}
