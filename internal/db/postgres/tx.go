package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sabir/internal/db/base"
	"sabir/mod"
)

// transaction is one attempt at a batch. It begins with the first statement, in the same round trip.
//
// First it is tried without savepoints, which each cost a message, a sub-transaction id and its share of the commit: a
// Write that fails after it has written is rare. If that happens and others had written before it, all is undone and
// run again with savepoints.
type transaction struct {
	w          *writer
	ctx        context.Context // bounds the attempt
	savepoints bool
	began      bool
	dirty      bool // an earlier part has written
}

// apply runs one Write. Verdicts other than committed end the attempt.
func (t *transaction) apply(p *part, gone func(error)) (verdict, error) {
	x := &tx{t: t, savepoint: t.savepoints && t.dirty}
	err := p.r.Run(x, func(err error) {
		x.done = true
		gone(err)
	})
	x.done = true
	if err == nil {
		err = x.err // the function kept silent about it
	}
	c := t.w.c
	switch {
	case c.IsClosed():
		if t.ctx.Err() != nil {
			return lost, errors.Join(errSlow, err)
		}
		return lost, err
	case x.err != nil && (isConflict(sqlstate(x.err)) || isStalePlan(x.err)):
		return conflict, x.err
	case err == nil:
		t.dirty = t.dirty || x.dirty
		return committed, nil
	}
	p.err = wrap(context.Background(), "write", err)
	status := c.PgConn().TxStatus()
	switch {
	case status == 'T' && !x.dirty: // it only read
		return committed, nil
	case status == 'I' && !t.dirty:
		t.began = false
		return committed, nil
	case !t.dirty:
		t.began = false
		if _, err := c.Exec(t.ctx, "rollback"); err != nil {
			return lost, err
		}
		return committed, nil
	case x.saved:
		if _, err := c.Exec(t.ctx, "rollback to w"); err != nil {
			return mixed, err
		}
		return committed, nil
	case t.savepoints:
		return mixed, err
	}
	return torn, err
}

var errSlow = errors.New("the statements of a batch took too long")

// tx implements mod.Tx for one Write.
type tx struct {
	t         *transaction
	savepoint bool // one is due before the first statement
	saved     bool // it is set
	dirty     bool // a statement that may write has been sent
	done      bool
	err       error // the first error of a statement
}

// prelude returns the statements that must come before the next one of x.
func (x *tx) prelude() []string {
	var s []string
	if !x.t.began {
		s = append(s, beginSQL)
	}
	if x.savepoint && !x.saved {
		s = append(s, savepointSQL)
	}
	return s
}

// ready is called before each statement.
func (x *tx) ready(ctx context.Context, query string, args []any) (base.Rewritten, []any, error) {
	if x.done {
		return base.Rewritten{}, nil, base.ErrTxDone
	}
	if x.err == nil {
		x.err = ctx.Err()
	}
	if x.err != nil {
		return base.Rewritten{}, nil, wrap(context.Background(), "write", x.err)
	}
	q := x.t.w.d.queries.Get(query)
	args, err := arguments(q, args)
	if err != nil {
		x.err = err
		return q, nil, err
	}
	if !q.Reads {
		x.dirty = true
	}
	return q, args, nil
}

// send runs a statement after its prelude, in one round trip, and hands its answer to take.
func (x *tx) send(q string, args []any, take func(pgx.BatchResults) error) error {
	var b pgx.Batch
	pre := x.prelude()
	for _, s := range pre {
		b.Queue(s)
	}
	b.Queue(q, args...)
	br := x.t.w.c.SendBatch(x.t.ctx, &b)
	err := func() error {
		for _, s := range pre {
			if _, err := br.Exec(); err != nil {
				return err
			}
			if s == beginSQL {
				x.t.began = true
			} else {
				x.saved = true
			}
		}
		return take(br)
	}()
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	return err
}

// Exec implements mod.Tx.
func (x *tx) Exec(ctx context.Context, query string, args ...any) (mod.Result, error) {
	q, args, err := x.ready(ctx, query, args)
	if err != nil {
		return nil, err
	}
	var tag pgconn.CommandTag
	if x.t.began && (x.saved || !x.savepoint) {
		tag, err = x.t.w.c.Exec(x.t.ctx, q.Text, args...)
	} else {
		err = x.send(q.Text, args, func(br pgx.BatchResults) error {
			tag, err = br.Exec()
			return err
		})
	}
	if err != nil {
		x.err = err
		return nil, wrap(ctx, "exec", err)
	}
	return result(tag.RowsAffected()), nil
}

func (x *tx) start(ctx context.Context, query string, args []any) (*kept, error) {
	q, args, err := x.ready(ctx, query, args)
	if err != nil {
		return nil, err
	}
	var k *kept
	read := func(pr pgx.Rows, err error) error {
		if err == nil {
			k, err = keep(x.t.w.c.TypeMap(), pr)
		}
		return err
	}
	if x.t.began && (x.saved || !x.savepoint) {
		err = read(x.t.w.c.Query(x.t.ctx, q.Text, args...))
	} else {
		err = x.send(q.Text, args, func(br pgx.BatchResults) error { return read(br.Query()) })
	}
	if err != nil {
		x.err = err
		return nil, wrap(ctx, "query", err)
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
type result int64

// RowsAffected returns how many rows the statement wrote.
func (r result) RowsAffected() (int64, error) { return int64(r), nil }
