package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"sabir/internal/db/base"
	"sabir/mod"
)

const (
	beginSQL     = "begin isolation level serializable"
	savepointSQL = "savepoint w"
	// tries bounds how often a batch is run again for conflicts with other processes, or for lost connections.
	tries = 8
	// slowBatch is how long the functions of a batch may take together before the log says so.
	slowBatch = time.Second
)

// verdict is what became of an attempt at a batch.
type verdict int

const (
	committed verdict = iota // or refused for good: the parts have their errors
	torn                     // a statement failed in a hopeful attempt
	mixed                    // one failed, and it cannot be told which, or not be undone alone
	conflict                 // with a transaction elsewhere
	lost                     // the connection, before COMMIT: nothing was kept
)

// part is one Write of a batch.
type part struct {
	r   *base.Request
	err error
}

// writer runs batches on one connection.
type writer struct {
	d    *DB
	c    *pgx.Conn // nil while not connected
	left []*part   // of a batch that was torn by runtime.Goexit; each to be run alone
}

// Write implements mod.DB.
func (d *DB) Write(ctx context.Context, fn func(tx mod.Tx) error) error {
	if err := d.downFor(); err != nil {
		return err
	}
	return d.queue.Do(ctx, fn)
}

// loop runs batches until the queue is closed and empty. If a function ends the goroutine (runtime.Goexit), another one
// takes its place.
func (w *writer) loop() {
	ended := false
	defer func() {
		if !ended {
			w.d.writers.Go(w.loop)
		}
	}()
	for {
		for len(w.left) > 0 {
			p := w.left[0]
			w.left = w.left[1:]
			w.batch([]*part{p})
		}
		r, ok := <-w.d.queue.C()
		if !ok {
			break
		}
		w.batch(w.collect(r))
	}
	ended = true
	if w.c != nil {
		w.hangUp()
	}
}

// collect makes a batch of r and of this writer's share of those that wait. They are chosen before the transaction
// begins: one that joined later could miss, in the transaction's snapshot, a Write that its caller knows to be done.
func (w *writer) collect(r *base.Request) []*part {
	n := len(w.d.queue.C())
	n = min((n+w.d.opts.Writers-1)/w.d.opts.Writers, w.d.opts.MaxBatch-1)
	ps := make([]*part, 1, n+1)
	ps[0] = &part{r: r}
	for range n {
		r := w.d.queue.Next()
		if r == nil {
			break
		}
		ps = append(ps, &part{r: r})
	}
	return ps
}

// batch runs ps in one transaction, and again in other ways as long as that helps.
func (w *writer) batch(ps []*part) {
	careful, exclusive := false, false
	for try := 1; ; try++ {
		if w.c == nil && !w.connect() {
			for _, p := range ps {
				p.r.FinishParked(base.Closed("write"))
			}
			return
		}
		v, err := w.locked(exclusive, &ps, careful)
		switch v {
		case committed:
			answer(ps, err)
			return
		case torn:
			careful = true
		case mixed:
			if len(ps) > 1 {
				for _, p := range ps {
					p.r.Park()
					w.batch([]*part{p})
				}
				return
			}
			// It gathered what cannot be written; or what it gathered was overtaken, before its transaction began, by a Write that
			// ran beside it, such as one that took a later number. That cannot be where no other runs.
			if exclusive || !isConstraint(sqlstate(err)) {
				if ps[0].err == nil {
					ps[0].err = wrap(context.Background(), "write", err)
				}
				answer(ps, nil)
				return
			}
			exclusive = true
		case conflict:
			exclusive = true
		case lost:
			w.hangUp()
			if errors.Is(err, errSlow) {
				answer(ps, base.Unavailable("write", err))
				return
			}
		}
		if try >= tries {
			answer(ps, base.Unavailable("write", err))
			return
		}
		for _, p := range ps {
			p.err = nil
			p.r.Park()
		}
		if try > 2 {
			w.pause(time.Duration(1<<try) * time.Millisecond)
		}
	}
}

// answer tells each Write the error of the batch, or its own.
func answer(ps []*part, err error) {
	for _, p := range ps {
		if err != nil {
			p.err = err
		}
		p.r.Finish(p.err)
	}
}

// pause waits, or returns early when the database is being closed.
func (w *writer) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.d.quit.Done():
	}
}

// connect tries to connect, more slowly each time, until it works (true) or the database is closed. The callers wait in
// the meantime only as long as they would for a turn.
func (w *writer) connect() bool {
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		if w.d.quit.Err() != nil {
			return false
		}
		ctx, cancel := context.WithTimeout(w.d.quit, w.d.config.ConnectTimeout)
		c, err := pgx.ConnectConfig(ctx, w.d.config)
		cancel()
		if err == nil {
			w.c = c
			w.d.setDown(nil)
			return true
		}
		w.d.setDown(err)
		w.pause(delay)
	}
}

// hangUp closes the connection. An error of that says nothing that was not known.
func (w *writer) hangUp() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := w.c.Close(ctx); err != nil {
		w.d.opts.Log.Debug("closing a connection", "err", err)
	}
	w.c = nil
}

// locked runs one attempt beside others, or alone in this process.
func (w *writer) locked(exclusive bool, ps *[]*part, careful bool) (verdict, error) {
	if exclusive {
		w.d.serial.Lock()
		defer w.d.serial.Unlock()
	} else {
		w.d.serial.RLock()
		defer w.d.serial.RUnlock()
	}
	return w.attempt(ps, careful)
}

// attempt runs the batch once. Those whose caller has left are taken out of ps. The error is that of the whole batch.
func (w *writer) attempt(ps *[]*part, careful bool) (verdict, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*w.d.opts.StatementTimeout+grace)
	defer cancel()
	t := &transaction{w: w, ctx: ctx, careful: careful}
	begin := time.Now()
	here := (*ps)[:0:0]
	for i, p := range *ps {
		if !p.r.Start() {
			continue
		}
		here = append(here, p)
		if v, err := t.apply(p, func(err error) { w.tornBy(err, p, here[:len(here)-1], (*ps)[i+1:]) }); v != committed {
			// The rest has not begun; it stays in the batch.
			for _, q := range (*ps)[i+1:] {
				if q.r.Start() {
					here = append(here, q)
				}
			}
			*ps = here
			return w.undo(v, err)
		}
	}
	*ps = here
	if d := time.Since(begin); d > slowBatch {
		w.d.opts.Log.Warn("the functions of a Write or the statements in it are slow", "time", d, "writes", len(here))
	}
	if v, err := t.gather(); v != committed {
		return w.undo(v, err)
	}
	if err := t.flush(); err != nil {
		return w.undo(t.judge(err))
	}
	if !t.began {
		return committed, nil
	}
	return w.commit(t, len(here))
}

// undo rolls back what is left of a transaction that will not be committed.
func (w *writer) undo(v verdict, err error) (verdict, error) {
	if v == lost || w.c.IsClosed() {
		return lost, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.d.opts.StatementTimeout+grace)
	defer cancel()
	if w.c.PgConn().TxStatus() != 'I' {
		if _, rerr := w.c.Exec(ctx, "rollback"); rerr != nil {
			return lost, errors.Join(err, rerr)
		}
	}
	return v, err
}

// commit makes the transaction durable.
func (w *writer) commit(t *transaction, n int) (verdict, error) {
	if t.dirty {
		w.d.opts.CrashPoint(base.BeforeCommit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.d.opts.StatementTimeout+grace)
	defer cancel()
	begin := time.Now()
	tag, err := w.c.Exec(ctx, "commit")
	if err == nil && tag.String() != "COMMIT" {
		err = fmt.Errorf("the server answered %q to COMMIT", tag.String())
	}
	w.d.opts.Observer.Commit(time.Since(begin), n, err)
	state := sqlstate(err)
	switch {
	case err == nil:
		if t.dirty {
			w.d.opts.CrashPoint(base.AfterCommit)
		}
		return committed, nil
	case isConflict(state):
		return w.undo(conflict, err)
	case isConstraint(state) && n > 1:
		return w.undo(mixed, err) // a deferred constraint: each alone shows whose it is
	case w.c.IsClosed() || state == "":
		// Whether it was kept cannot be known, so it is not tried again.
		err = base.Unavailable("commit (its outcome is unknown)", err)
		w.hangUp()
		return committed, err
	}
	if v, uerr := w.undo(committed, nil); v == lost {
		w.d.opts.Log.Debug("rollback after a failed commit", "err", uerr)
		w.hangUp()
	}
	return committed, wrap(ctx, "commit", err)
}

// tornBy is called while the goroutine ends in the midst of p's function. The others are run again.
func (w *writer) tornBy(err error, p *part, before, after []*part) {
	if v, uerr := w.undo(committed, nil); v == lost {
		w.d.opts.Log.Debug("rollback after a torn batch", "err", uerr)
		w.hangUp()
	}
	for _, q := range before {
		q.err = nil
		q.r.Park()
	}
	w.left = append(append(w.left, before...), after...)
	p.r.Finish(err)
}
