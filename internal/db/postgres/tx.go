package postgres

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"runtime/debug"

	"github.com/jackc/pgx/v5"

	"sabir/internal/db/base"
	"sabir/mod"
)

// transaction is one attempt at a batch. It begins with the first statement, in the same round trip.
//
// The first attempt is hopeful. Statements of Exec are not sent at once but with the next query, with a call of
// RowsAffected, or before COMMIT: the Writes of a whole batch mostly share one round trip. There are no savepoints, which
// cost a message and a sub-transaction each. A function that fails by itself before its statements were sent just takes
// them with it. If a statement fails, all is undone and run again carefully: each statement is answered before the next,
// each Write has its savepoint, and the functions learn of errors where they happen.
type transaction struct {
	w       *writer
	ctx     context.Context // bounds the attempt
	careful bool
	began   bool
	dirty   bool          // something was sent that writes
	pending []op          // not sent yet
	size    int           // of their arguments, in bytes
	all     base.Gathered // of the Writes that have succeeded
}

// Bounds on what is held back.
const (
	maxPending = 128
	maxSize    = 256 << 10
)

// op is a statement that waits to be sent.
type op struct {
	x    *tx
	q    base.Rewritten
	args []any
	res  *result
}

var errSlow = errors.New("the statements of a batch took too long")

// send runs a BEGIN and a savepoint if they are due, what is pending, and last the statement of which take reads the
// answer (none if take is nil), in one round trip.
func (t *transaction) send(x *tx, last op, take func(pgx.BatchResults) error) error {
	var b pgx.Batch
	begin, save := !t.began, x != nil && x.savepoint && !x.saved
	if begin {
		b.Queue(beginSQL)
	}
	if save {
		b.Queue(savepointSQL)
	}
	ops := t.pending
	t.pending, t.size = nil, 0
	if take != nil {
		ops = append(ops, last)
	}
	for _, o := range ops {
		b.Queue(o.q.Text, o.args...)
		if !o.q.Reads {
			t.dirty, o.x.sent = true, true
		}
	}
	br := t.w.c.SendBatch(t.ctx, &b)
	err := func() error {
		if begin {
			if _, err := br.Exec(); err != nil {
				return err
			}
			t.began = true
		}
		if save {
			if _, err := br.Exec(); err != nil {
				return err
			}
			x.saved = true
		}
		for _, o := range ops {
			if o.res == nil {
				return take(br)
			}
			tag, err := br.Exec()
			if err != nil {
				return err
			}
			o.res.n, o.res.known = tag.RowsAffected(), true
		}
		return nil
	}()
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return err
}

// flush sends what is pending.
func (t *transaction) flush() error {
	if len(t.pending) == 0 {
		return nil
	}
	return t.send(nil, op{}, nil)
}

// judge tells what an error that the server or the connection gave means for the attempt.
func (t *transaction) judge(err error) (verdict, error) {
	switch {
	case t.w.c.IsClosed() && t.ctx.Err() != nil:
		return lost, errors.Join(errSlow, err)
	case t.w.c.IsClosed():
		return lost, err
	case isConflict(sqlstate(err)):
		return conflict, err
	case t.careful && isStalePlan(err):
		return conflict, err // the plan is forgotten by now
	}
	return torn, err
}

// apply runs one Write. Verdicts other than committed end the attempt.
func (t *transaction) apply(p *part, gone func(error)) (verdict, error) {
	x := &tx{t: t, savepoint: t.careful && t.dirty}
	dirty, mark := t.dirty, len(t.pending)
	err := p.r.Run(x, func(err error) {
		x.done = true
		gone(err)
	})
	x.done = true
	if x.failed {
		if v, verr := t.judge(x.err); v != torn || !t.careful {
			return v, verr
		}
	}
	if err == nil {
		err = x.err // the function kept silent about it
	}
	if err == nil {
		t.all.Take(&x.gathered)
		return committed, nil
	}
	p.err = wrap(context.Background(), "write", err)
	if !t.careful {
		if x.sent {
			return torn, err
		}
		if x.flushed {
			mark = 0
		}
		clear(t.pending[mark:])
		t.pending = t.pending[:mark]
		return committed, nil
	}
	return t.takeBack(x, dirty)
}

// gather writes what the Writes have gathered. If that fails and it is not for the connection or for others, each of them
// has to be run alone; who is alone gets the error.
func (t *transaction) gather() (verdict, error) {
	if t.all.Empty() {
		return committed, nil
	}
	x := &tx{t: t}
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &base.PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		return t.all.Write(x)
	}()
	x.done = true
	if err == nil {
		err = x.err
	}
	if err == nil {
		return committed, nil
	}
	if x.failed {
		if v, verr := t.judge(x.err); v != torn || !t.careful {
			return v, verr
		}
	}
	return mixed, err
}

// takeBack undoes one Write of a careful attempt. dirty tells whether others wrote before it.
func (t *transaction) takeBack(x *tx, dirty bool) (verdict, error) {
	c := t.w.c
	switch {
	case c.PgConn().TxStatus() == 'T' && !x.sent: // it only read
		return committed, nil
	case !dirty:
		t.dirty, t.began = false, false
		if c.PgConn().TxStatus() == 'I' {
			return committed, nil
		}
		if _, err := c.Exec(t.ctx, "rollback"); err != nil {
			return lost, err
		}
		return committed, nil
	case x.saved:
		if _, err := c.Exec(t.ctx, "rollback to w"); err != nil {
			return mixed, err
		}
		return committed, nil
	}
	return mixed, x.err
}

// tx implements mod.Tx for one Write.
type tx struct {
	t         *transaction
	savepoint bool // one is due before the first statement
	saved     bool // it is set
	sent      bool // a statement of this Write that may write has been sent
	flushed   bool // what was pending has been sent while this Write ran
	done      bool
	failed    bool  // err is the server's or the connection's
	err       error // the first error
	gathered  base.Gathered
}

// Gather implements mod.Tx.
func (x *tx) Gather(key, v any, write func(tx mod.Tx, all []any) error) {
	x.gathered.Add(key, v, write)
}

// ready is called before each statement.
func (x *tx) ready(ctx context.Context, query string, args []any) (op, error) {
	if x.done {
		return op{}, base.ErrTxDone
	}
	if x.err == nil {
		x.err = ctx.Err()
	}
	if x.err != nil {
		return op{}, wrap(context.Background(), "write", x.err)
	}
	o := op{x: x, q: x.t.w.d.queries.Get(query)}
	o.args, x.err = arguments(o.q, args)
	return o, x.err
}

// fail remembers the first error of the server.
func (x *tx) fail(ctx context.Context, what string, err error) error {
	x.err, x.failed = err, true
	return wrap(ctx, what, err)
}

// Exec implements mod.Tx.
func (x *tx) Exec(ctx context.Context, query string, args ...any) (mod.Result, error) {
	o, err := x.ready(ctx, query, args)
	if err != nil {
		return nil, err
	}
	t := x.t
	o.res = &result{x: x}
	if !t.careful {
		var n int
		if o.args, n, err = detach(o.args); err != nil {
			x.err = err
			return nil, err
		}
		t.pending = append(t.pending, o)
		t.size += n
		if len(t.pending) < maxPending && t.size < maxSize {
			return o.res, nil
		}
		return o.res, x.flush(ctx)
	}
	if t.began && (x.saved || !x.savepoint) {
		t.dirty, x.sent = t.dirty || !o.q.Reads, x.sent || !o.q.Reads
		tag, err := t.w.c.Exec(t.ctx, o.q.Text, o.args...)
		if err != nil {
			return nil, x.fail(ctx, "exec", err)
		}
		o.res.n, o.res.known = tag.RowsAffected(), true
		return o.res, nil
	}
	t.pending = append(t.pending, o)
	if err := t.send(x, op{}, nil); err != nil {
		return nil, x.fail(ctx, "exec", err)
	}
	return o.res, nil
}

func (x *tx) flush(ctx context.Context) error {
	x.flushed = true
	if err := x.t.flush(); err != nil {
		return x.fail(ctx, "exec", err)
	}
	return nil
}

// detach makes arguments that may be encoded later, when the caller has gone on to use its buffers for something else.
// It tells about how many bytes they take.
func detach(args []any) ([]any, int, error) {
	out := make([]any, len(args))
	size := 0
	for i, a := range args {
		switch v := a.(type) {
		case nil, int64, int, bool, float64:
			out[i] = v
		case string:
			out[i] = v
			size += len(v)
		case []byte:
			out[i] = bytes.Clone(v)
			size += len(v)
		default:
			c, err := driver.DefaultParameterConverter.ConvertValue(a)
			if err != nil {
				return nil, 0, err
			}
			if b, ok := c.([]byte); ok {
				c = bytes.Clone(b)
				size += len(b)
			}
			out[i] = c
		}
		size += 8
	}
	return out, size, nil
}

func (x *tx) start(ctx context.Context, query string, args []any) (*kept, error) {
	o, err := x.ready(ctx, query, args)
	if err != nil {
		return nil, err
	}
	var k *kept
	t := x.t
	read := func(pr pgx.Rows, err error) error {
		if err == nil {
			k, err = keep(t.w.c.TypeMap(), pr)
		}
		return err
	}
	if t.began && len(t.pending) == 0 && (x.saved || !x.savepoint) {
		t.dirty, x.sent = t.dirty || !o.q.Reads, x.sent || !o.q.Reads
		err = read(t.w.c.Query(t.ctx, o.q.Text, o.args...))
	} else {
		x.flushed = true
		err = t.send(x, o, func(br pgx.BatchResults) error { return read(br.Query()) })
	}
	if err != nil {
		return nil, x.fail(ctx, "query", err)
	}
	return k, nil
}

// Query implements mod.Tx. The rows are read in whole before it returns.
func (x *tx) Query(ctx context.Context, query string, args ...any) (mod.Rows, error) {
	k, err := x.start(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// QueryRow implements mod.Tx.
func (x *tx) QueryRow(ctx context.Context, query string, args ...any) mod.Row {
	k, err := x.start(ctx, query, args)
	if err != nil {
		return failedRow{err}
	}
	return row{k}
}

// result implements mod.Result.
type result struct {
	x     *tx
	n     int64
	known bool
}

// RowsAffected returns how many rows the statement wrote. If it has not been sent yet, now it is; its error is then the
// error of the Write.
func (r *result) RowsAffected() (int64, error) {
	if !r.known {
		if r.x.done {
			return 0, base.ErrTxDone
		}
		if r.x.err != nil {
			return 0, wrap(context.Background(), "exec", r.x.err)
		}
		if err := r.x.flush(context.Background()); err != nil {
			return 0, err
		}
	}
	return r.n, nil
}
