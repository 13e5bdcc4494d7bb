package sqlite

import (
	"container/list"
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	driver "modernc.org/sqlite"

	"sabir/internal/db/base"
	"sabir/mod"
)

// dconn is what a connection of the driver can do. It is used without database/sql, whose pool, context watching and
// conversions cost about as much as SQLite itself for a small statement.
type dconn interface {
	sqldriver.Conn
	sqldriver.ConnPrepareContext
	sqldriver.ExecerContext
	driver.DBStatus
}

// dstmt is what a prepared statement of the driver can do.
type dstmt interface {
	sqldriver.Stmt
	sqldriver.StmtExecContext
	sqldriver.StmtQueryContext
}

// conn is one connection with its prepared statements. One goroutine uses it at a time.
type conn struct {
	d     dconn
	stmts map[string]*list.Element // of *stmt
	order *list.List               // the latest used first
	args  []sqldriver.NamedValue   // reused from call to call
}

// stmtMax bounds the prepared statements of a connection: more than a server with all its modules has. A statement
// takes a few kilobytes.
const stmtMax = 512

type stmt struct {
	d     dstmt
	query string
	n     int  // placeholders
	busy  bool // rows of it are being read
	once  bool // not in the cache; closed after use
}

func newConn(d sqldriver.Conn) (*conn, error) {
	dc, ok := d.(dconn)
	if !ok {
		return nil, fmt.Errorf("db: the driver's connection %T lacks a method", d)
	}
	return &conn{d: dc, stmts: make(map[string]*list.Element), order: list.New()}, nil
}

func (c *conn) close() error {
	var errs []error
	for e := c.order.Front(); e != nil; e = e.Next() {
		errs = append(errs, e.Value.(*stmt).d.Close())
	}
	c.order.Init()
	clear(c.stmts)
	return errors.Join(append(errs, c.d.Close())...)
}

// prepare returns the statement of query, from the cache if it is not in use by rows that are still open.
func (c *conn) prepare(ctx context.Context, query string) (*stmt, error) {
	e, cached := c.stmts[query]
	if cached {
		if s := e.Value.(*stmt); !s.busy {
			c.order.MoveToFront(e)
			return s, nil
		}
	}
	// The driver keeps only statements without a tail; a line break after the last semicolon would be one.
	d, err := c.d.PrepareContext(ctx, strings.TrimSpace(query))
	if err != nil {
		return nil, err
	}
	ds, ok := d.(dstmt)
	if !ok {
		return nil, fmt.Errorf("db: the driver's statement %T lacks a method", d)
	}
	s := &stmt{d: ds, query: query, n: base.Rewrite(query).N, once: cached}
	if !cached {
		c.stmts[query] = c.order.PushFront(s)
		return s, c.evict()
	}
	return s, nil
}

// evict closes the statement that was used longest ago, if there are too many.
func (c *conn) evict() error {
	if c.order.Len() <= stmtMax {
		return nil
	}
	for e := c.order.Back(); e != nil; e = e.Prev() {
		if s := e.Value.(*stmt); !s.busy {
			c.order.Remove(e)
			delete(c.stmts, s.query)
			return s.d.Close()
		}
	}
	return nil
}

// done gives s back.
func (c *conn) done(s *stmt) error {
	s.busy = false
	if s.once {
		return s.d.Close()
	}
	return nil
}

// bind converts args to what the driver takes. The answer is valid until the next call.
func (c *conn) bind(s *stmt, args []any) ([]sqldriver.NamedValue, error) {
	if len(args) != s.n {
		return nil, &base.Error{Op: fmt.Sprintf("%d arguments for %d placeholders", len(args), s.n), Kinds: []error{base.ErrArguments}}
	}
	clear(c.args[:cap(c.args)]) // let go of the values of the last call
	c.args = c.args[:0]
	for i, a := range args {
		v, err := toDriver(a)
		if err != nil {
			return nil, fmt.Errorf("db: argument %d: %w", i+1, err)
		}
		c.args = append(c.args, sqldriver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

// toDriver converts one argument. Times are microseconds since 1970.
func toDriver(a any) (sqldriver.Value, error) {
	switch v := a.(type) {
	case nil, int64, string, []byte, bool, float64:
		return v, nil
	case int:
		return int64(v), nil
	case time.Time:
		return v.UnixMicro(), nil
	}
	v, err := sqldriver.DefaultParameterConverter.ConvertValue(a)
	if t, ok := v.(time.Time); ok {
		return t.UnixMicro(), err
	}
	return v, err
}

// exec runs a statement to its end. It is not interrupted: that would undo the whole transaction.
func (c *conn) exec(query string, args ...any) (sqldriver.Result, error) {
	ctx := context.Background()
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	nv, err := c.bind(s, args)
	if err != nil {
		return nil, errors.Join(err, c.done(s))
	}
	res, err := s.d.ExecContext(ctx, nv)
	if derr := c.done(s); err == nil {
		err = derr
	}
	return res, err
}

// query starts a statement that answers with rows. closed is called once when they are closed.
func (c *conn) query(ctx context.Context, query string, args []any, closed func()) (*rows, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	nv, err := c.bind(s, args)
	if err != nil {
		return nil, errors.Join(err, c.done(s))
	}
	d, err := s.d.QueryContext(ctx, nv)
	if err != nil {
		return nil, errors.Join(err, c.done(s))
	}
	s.busy = true
	return &rows{ctx: ctx, d: d, c: c, s: s, closed: closed}, nil
}

// one runs a query for a single value of the program's own (a PRAGMA).
func (c *conn) one(ctx context.Context, query string, dest ...any) error {
	r, err := c.query(ctx, query, nil, nil)
	if err != nil {
		return err
	}
	return (&row{r: r}).Scan(dest...)
}

// rows implements mod.Rows.
type rows struct {
	ctx    context.Context
	d      sqldriver.Rows // nil once closed
	c      *conn
	s      *stmt
	vals   []sqldriver.Value
	err    error
	closed func()
}

// Next steps to the next row. At the end it closes the rows.
func (r *rows) Next() bool {
	if r.d == nil || r.err != nil {
		return false
	}
	if err := r.ctx.Err(); err != nil {
		r.fail(err)
		return false
	}
	if r.vals == nil {
		r.vals = make([]sqldriver.Value, len(r.d.Columns()))
	}
	err := r.d.Next(r.vals)
	if err == nil {
		return true
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	r.fail(wrap("query", err))
	return false
}

// fail closes r and keeps the first error.
func (r *rows) fail(err error) {
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if r.err == nil {
		r.err = err
	}
}

// Scan copies the columns of the row into dest; see scan for the types.
func (r *rows) Scan(dest ...any) error {
	if r.d == nil || r.vals == nil {
		return errors.New("db: Scan without a row")
	}
	if len(dest) != len(r.vals) {
		return fmt.Errorf("db: %d columns scanned into %d variables", len(r.vals), len(dest))
	}
	for i, d := range dest {
		if err := scan(d, r.vals[i]); err != nil {
			return fmt.Errorf("db: column %d (%s): %w", i+1, r.d.Columns()[i], err)
		}
	}
	return nil
}

// Err returns what ended the rows early.
func (r *rows) Err() error { return r.err }

// Close gives the connection back. It may be called more than once.
func (r *rows) Close() error {
	if r.d == nil {
		return nil
	}
	err := r.d.Close()
	r.d = nil
	if derr := r.c.done(r.s); err == nil {
		err = derr
	}
	if r.closed != nil {
		r.closed()
	}
	return wrap("close rows", err)
}

// row implements mod.Row.
type row struct {
	r   *rows
	err error
}

// Scan copies the columns of the first row into dest, or returns mod.ErrNoRows.
func (w *row) Scan(dest ...any) error {
	if w.err != nil {
		return w.err
	}
	ok := w.r.Next()
	var err error
	switch {
	case ok:
		err = w.r.Scan(dest...)
	case w.r.Err() != nil:
		return w.r.Err()
	default:
		return mod.ErrNoRows
	}
	if cerr := w.r.Close(); err == nil {
		err = cerr
	}
	return err
}

// failedRow answers a query that did not begin.
type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }
