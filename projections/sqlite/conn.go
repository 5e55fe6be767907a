package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
)

// maxStatements bounds the prepared statements that a connection keeps.
const maxStatements = 128

// conn is a connection with its prepared statements, by text. It is used by one
// goroutine at a time, and a statement by one loop at a time.
type conn struct {
	*sqlite3.Conn
	statements map[string]*sqlite3.Stmt
}

func newConn(c *sqlite3.Conn) *conn { return &conn{c, map[string]*sqlite3.Stmt{}} }

// each runs a statement and hands every row to row.
func (c *conn) each(sql string, args []any, row func(*sqlite3.Stmt) error) error {
	stmt := c.statements[sql]
	if stmt == nil {
		var err error
		if stmt, _, err = c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT); err != nil {
			return fmt.Errorf("prepare %q: %w", sql, err)
		}
		c.statements[sql] = stmt
	}
	defer stmt.Reset()
	for i, arg := range args {
		if err := bind(stmt, i+1, arg); err != nil {
			return err
		}
	}
	for stmt.Step() {
		if err := row(stmt); err != nil {
			return err
		}
	}
	return stmt.Err()
}

// exec runs a statement that answers no rows.
func (c *conn) exec(sql string, args ...any) error {
	return c.each(sql, args, func(*sqlite3.Stmt) error { return nil })
}

// number answers the only column of the only row; 0 without one.
func (c *conn) number(sql string, args ...any) (n int64, err error) {
	err = c.each(sql, args, func(r *sqlite3.Stmt) error { n = r.ColumnInt64(0); return nil })
	return n, err
}

func bind(stmt *sqlite3.Stmt, i int, arg any) error {
	switch arg := arg.(type) {
	case nil:
		return stmt.BindNull(i)
	case int:
		return stmt.BindInt64(i, int64(arg))
	case int64:
		return stmt.BindInt64(i, arg)
	case string:
		return stmt.BindText(i, arg)
	case []byte:
		return stmt.BindBlob(i, arg)
	}
	panic(fmt.Sprintf("sqlite: cannot bind %T", arg))
}

// transaction runs f between begin ("BEGIN" or "BEGIN IMMEDIATE") and a commit,
// or as it is where begin is empty; an error of f rolls back. When ctx ends, f's
// statement fails with its error.
func (c *conn) transaction(ctx context.Context, begin string, f func() error) (err error) {
	c.SetInterrupt(ctx)
	defer func() {
		// What ends the transaction must not be interrupted.
		c.SetInterrupt(context.Background())
		if !c.GetAutocommit() {
			err = errors.Join(err, c.exec(`ROLLBACK`))
		}
		if ctx.Err() != nil && errors.Is(err, sqlite3.INTERRUPT) {
			err = ctx.Err()
		}
	}()
	if begin == "" {
		return f()
	}
	if err := c.exec(begin); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	c.SetInterrupt(context.Background())
	return c.exec(`COMMIT`)
}

// trim forgets the statements when there are too many; none is running.
func (c *conn) trim() {
	if len(c.statements) > maxStatements {
		for _, stmt := range c.statements {
			stmt.Close()
		}
		clear(c.statements)
	}
}

func (c *conn) close() error {
	var errs []error
	for _, stmt := range c.statements {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, c.Conn.Close())...)
}
