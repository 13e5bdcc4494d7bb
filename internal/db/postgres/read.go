package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"sabir/internal/db/base"
	"sabir/mod"
)

// arguments checks the number of args and converts times to microseconds since 1970.
func arguments(q base.Rewritten, args []any) ([]any, error) {
	if len(args) != q.N {
		return nil, &base.Error{Op: fmt.Sprintf("%d arguments for %d placeholders", len(args), q.N), Kinds: []error{base.ErrArguments}}
	}
	var out []any
	for i, a := range args {
		switch v := a.(type) {
		case time.Time:
			a = v.UnixMicro()
		case *time.Time:
			a = nil
			if v != nil {
				a = v.UnixMicro()
			}
		default:
			continue
		}
		if out == nil {
			out = append(make([]any, 0, len(args)), args...)
		}
		out[i] = a
	}
	if out == nil {
		return args, nil
	}
	return out, nil
}

// micros scans microseconds since 1970 (or a time of PostgreSQL's own) into a time.Time.
type micros struct{ t *time.Time }

// Scan implements sql.Scanner.
func (m micros) Scan(v any) error {
	switch v := v.(type) {
	case int64:
		*m.t = time.UnixMicro(v).UTC()
	case time.Time:
		*m.t = v.UTC()
	default:
		return fmt.Errorf("cannot scan %T into *time.Time", v)
	}
	return nil
}

// microsOrNull does the same where NULL is allowed.
type microsOrNull struct{ t **time.Time }

// Scan implements sql.Scanner.
func (m microsOrNull) Scan(v any) error {
	if v == nil {
		*m.t = nil
		return nil
	}
	*m.t = new(time.Time)
	return micros{*m.t}.Scan(v)
}

// destinations replaces pointers to times.
func destinations(dest []any) []any {
	var out []any
	for i, a := range dest {
		switch v := a.(type) {
		case *time.Time:
			a = micros{v}
		case **time.Time:
			a = microsOrNull{v}
		default:
			continue
		}
		if out == nil {
			out = append(make([]any, 0, len(dest)), dest...)
		}
		out[i] = a
	}
	if out == nil {
		return dest
	}
	return out
}

// rows implements mod.Rows on a connection of the pool.
type rows struct {
	ctx    context.Context // the caller's
	cancel context.CancelFunc
	r      pgx.Rows
	c      *pgxpool.Conn // nil once given back
	first  bool          // r stands on the first row, which Next has yet to announce
}

// start runs a query on a connection of the pool.
func (d *DB) start(ctx context.Context, query string, args []any) (*rows, error) {
	begin := time.Now()
	r, err := d.tryStart(ctx, query, args)
	if err != nil && isStalePlan(err) {
		r, err = d.tryStart(ctx, query, args)
	}
	err = wrap(ctx, "query", err)
	d.opts.Observer.Query(time.Since(begin), err)
	if err != nil {
		return nil, err
	}
	return r, nil
}

var errReaders = errors.New("no connection for a read in time")

func (d *DB) tryStart(ctx context.Context, query string, args []any) (*rows, error) {
	q := d.queries.Get(query)
	args, err := arguments(q, args)
	if err != nil {
		return nil, err
	}
	if d.quit.Err() != nil {
		return nil, base.Closed("query")
	}
	wait, done := context.WithTimeout(ctx, d.opts.Wait)
	c, err := d.pool.Acquire(wait)
	done()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, base.Unavailable("query", errors.Join(errReaders, err))
	}
	qctx, cancel := context.WithTimeout(ctx, d.opts.StatementTimeout+grace)
	pr, err := c.Query(qctx, q.Text, args...)
	if err != nil {
		cancel()
		c.Release()
		return nil, err
	}
	// The server's answer, an error most of all, comes with the first row.
	r := &rows{ctx: ctx, cancel: cancel, r: pr, c: c, first: pr.Next()}
	if r.first {
		return r, nil
	}
	r.release()
	return r, pr.Err()
}

// Next steps to the next row. At the end it closes the rows.
func (r *rows) Next() bool {
	if r.c == nil {
		return false
	}
	if r.first {
		r.first = false
		return true
	}
	if r.r.Next() {
		return true
	}
	r.release()
	return false
}

// Scan copies the columns of the row into dest.
func (r *rows) Scan(dest ...any) error {
	if r.c == nil || r.first {
		return errors.New("db: Scan without a row")
	}
	if err := r.r.Scan(destinations(dest)...); err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// Err returns what ended the rows early.
func (r *rows) Err() error { return wrap(r.ctx, "query", r.r.Err()) }

// Close gives the connection back. It may be called more than once.
func (r *rows) Close() error {
	if r.c == nil {
		return nil
	}
	r.r.Close()
	r.release()
	return nil
}

func (r *rows) release() {
	r.r.Close()
	r.c.Release()
	r.c = nil
	r.cancel()
}

// Query implements mod.DB. The rows keep a connection until they are closed or read to the end, for which there is as
// much time as for one statement.
func (d *DB) Query(ctx context.Context, query string, args ...any) (mod.Rows, error) {
	r, err := d.start(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// QueryRow implements mod.DB. Scan must be called: it gives the connection back.
func (d *DB) QueryRow(ctx context.Context, query string, args ...any) mod.Row {
	r, err := d.start(ctx, query, args)
	if err != nil {
		return failedRow{err}
	}
	return row{r}
}

// row implements mod.Row on any rows.
type row struct{ r mod.Rows }

// Scan copies the columns of the first row into dest, or returns mod.ErrNoRows.
func (w row) Scan(dest ...any) error {
	if !w.r.Next() {
		if err := w.r.Err(); err != nil {
			return err
		}
		return mod.ErrNoRows
	}
	err := w.r.Scan(dest...)
	if cerr := w.r.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.r.Err()
	}
	return err
}

// failedRow answers a query that did not begin.
type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

// kept implements mod.Rows on rows that were read in whole. A Write's queries are answered so: its next statement needs
// the connection, and on SQLite a function may well write while it reads rows.
type kept struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	vals   [][][]byte
	i      int // of the row after the present one
	closed bool
}

// keep reads pr to its end.
func keep(types *pgtype.Map, pr pgx.Rows) (*kept, error) {
	k := &kept{types: types}
	for pr.Next() {
		if k.fields == nil {
			k.fields = append(k.fields, pr.FieldDescriptions()...)
		}
		raw := pr.RawValues()
		row := make([][]byte, len(raw))
		n := 0
		for _, v := range raw {
			n += len(v)
		}
		buf := make([]byte, 0, n)
		for j, v := range raw {
			if v != nil {
				at := len(buf)
				buf = append(buf, v...)
				row[j] = buf[at:len(buf):len(buf)]
			}
		}
		k.vals = append(k.vals, row)
	}
	pr.Close()
	return k, pr.Err()
}

// Next steps to the next row.
func (k *kept) Next() bool {
	if k.closed || k.i >= len(k.vals) {
		k.closed = true
		return false
	}
	k.i++
	return true
}

// Scan copies the columns of the row into dest.
func (k *kept) Scan(dest ...any) error {
	if k.closed || k.i == 0 {
		return errors.New("db: Scan without a row")
	}
	if err := pgx.ScanRow(k.types, k.fields, k.vals[k.i-1], destinations(dest)...); err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// Err returns nil: errors came with the query.
func (k *kept) Err() error { return nil }

// Close implements mod.Rows.
func (k *kept) Close() error {
	k.closed = true
	return nil
}
