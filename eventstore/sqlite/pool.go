package sqlite

import (
	"context"
	"errors"

	"github.com/ncruces/go-sqlite3"
)

// pool lends read connections, each for a short time: a page, a lookup. They
// are opened when first needed.
type pool struct {
	free   chan *session // nil: not opened yet
	closed <-chan struct{}
	open   func() (*sqlite3.Conn, error)
}

func newPool(size int, closed <-chan struct{}, open func() (*sqlite3.Conn, error)) *pool {
	p := &pool{free: make(chan *session, size), closed: closed, open: open}
	for range size {
		p.free <- nil
	}
	return p
}

// with runs do on a connection inside one read transaction.
func (p *pool) with(ctx context.Context, do func(*session) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.closed:
		return errClosed
	default:
	}
	var c *session
	select {
	case c = <-p.free:
	case <-p.closed:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.free <- c }()
	if c == nil {
		if c, err = p.session(); err != nil {
			return err
		}
	}
	if err := c.begin.Exec(); err != nil {
		return damage(err, "begin read")
	}
	err = do(c)
	return errors.Join(err, c.end.Exec())
}

func (p *pool) session() (*session, error) {
	conn, err := p.open()
	if err != nil {
		return nil, err
	}
	c, err := newSession(conn)
	if err != nil {
		return nil, errors.Join(damage(err, "open reader"), c.close())
	}
	return c, nil
}

// close waits until every connection is back.
func (p *pool) close() error {
	var errs []error
	for range cap(p.free) {
		if c := <-p.free; c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}
