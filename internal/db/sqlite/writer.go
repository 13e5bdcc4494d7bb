package sqlite

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"sabir/internal/db/base"
	"sabir/mod"
)

// bg is the context of the writer's statements: they are not interrupted, for that would undo the whole batch.
var bg = context.Background()

// slowBatch is how long the functions of a batch may take together before the log says so.
const slowBatch = time.Second

// writer runs the Writes, many in a transaction.
type writer struct {
	d    *DB
	c    *conn
	done chan struct{} // closed when the loop has ended

	parts []part          // the batch in the making
	all   base.Gathered   // of its Writes that have succeeded
	took  time.Duration   // of the last commit
	again []*base.Request // to be run alone: their batch failed for one of them, and it cannot be told which
	left  []*base.Request // of a batch that was torn by runtime.Goexit; to be run first
}

// part is one Write of a batch.
type part struct {
	r   *base.Request
	err error
}

func newWriter(d *DB, c *conn) *writer {
	w := &writer{d: d, c: c, done: make(chan struct{})}
	go w.loop()
	return w
}

// Write implements mod.DB.
func (d *DB) Write(ctx context.Context, fn func(tx mod.Tx) error) error {
	return d.queue.Do(ctx, fn)
}

// loop runs batches until the queue is closed and empty. If a function ends the goroutine (runtime.Goexit), another one
// takes its place.
func (w *writer) loop() {
	ended := false
	defer func() {
		if !ended {
			go w.loop()
			return
		}
		close(w.done)
	}()
	for {
		for len(w.left) > 0 {
			r := w.left[0]
			w.left = w.left[1:]
			w.batch(r, 1)
		}
		r, ok := <-w.d.queue.C()
		if !ok {
			break
		}
		w.batch(r, w.d.opts.MaxBatch)
		for len(w.again) > 0 {
			r := w.again[0]
			w.again = w.again[1:]
			w.batch(r, 1)
		}
	}
	ended = true
}

// batch runs r, and up to max Writes with those that come in the meantime, in one transaction.
func (w *writer) batch(r *base.Request, max int) {
	if err := w.d.Err(); err != nil {
		r.FinishParked(err)
		return
	}
	if _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		if isDisk(code(err)) {
			w.d.fail("begin", err)
		}
		r.FinishParked(wrap("begin", err))
		return
	}
	begin := time.Now()
	dirty := false
	for ; r != nil; r = w.more(max, begin) {
		if !r.Start() {
			continue
		}
		w.parts = append(w.parts, part{r: r})
		if fatal := w.apply(&w.parts[len(w.parts)-1], &dirty); fatal != nil {
			w.abort(fatal)
			return
		}
	}
	if d := time.Since(begin); d > slowBatch {
		w.d.opts.Log.Warn("the functions of a Write are slow", "time", d, "writes", len(w.parts))
	}
	w.commit(dirty)
}

// maxBatchTime bounds the time for which a batch takes up Writes on the slowest disk.
const maxBatchTime = time.Second

// batchTime is for how long a batch takes up Writes: as long as set, or as the commit before took, so that on a slow disk it is not
// the few of some milliseconds that share a sync of half a second.
func batchTime(set, took time.Duration) time.Duration { return max(set, min(took, maxBatchTime)) }

// more returns the next Write for a batch that began at begin, or nil when it is time to commit. Before it says so it
// lets others run once: those that the last commit woke are about to queue their next Write.
func (w *writer) more(max int, begin time.Time) *base.Request {
	if len(w.parts) >= max || time.Since(begin) > batchTime(w.d.opts.BatchTime, w.took) {
		return nil
	}
	if r := w.d.queue.Next(); r != nil {
		return r
	}
	runtime.Gosched()
	return w.d.queue.Next()
}

// apply runs one Write. dirty tells whether the transaction has something of the Writes before, which a failure of this
// one must not undo: only then it gets a savepoint. The error of apply is one that lost the whole transaction.
func (w *writer) apply(p *part, dirty *bool) error {
	t := &tx{c: w.c, savepoint: *dirty}
	err := p.r.Run(t, func(err error) {
		t.end()
		w.torn(err)
	})
	if cerr := t.end(); err == nil {
		err = cerr
	}
	if endsTransaction(code(t.err)) {
		return t.err
	}
	if err == nil {
		err = t.err // the function kept silent about it
	}
	p.err = err
	if err == nil {
		w.all.Take(&t.gathered)
	}
	if !t.began {
		return nil
	}
	switch {
	case err == nil && !t.savepoint:
		*dirty = true
		return nil
	case err == nil:
		return w.run("RELEASE w")
	case !t.savepoint:
		return w.run("ROLLBACK", "BEGIN IMMEDIATE")
	}
	return w.run("ROLLBACK TO w", "RELEASE w")
}

func (w *writer) run(queries ...string) error {
	for _, q := range queries {
		if _, err := w.c.exec(q); err != nil {
			return err
		}
	}
	return nil
}

// abort undoes the transaction after an error that concerns all: a full or broken disk, out of memory.
func (w *writer) abort(cause error) {
	w.rollback()
	if isDisk(code(cause)) {
		w.d.fail("write", cause)
	}
	w.answer(wrap("write", cause))
}

// rollback undoes what is left of the transaction. SQLite may have done so itself; then there is none, which is an
// error that says nothing new.
func (w *writer) rollback() {
	if _, err := w.c.exec("ROLLBACK"); err != nil {
		w.d.opts.Log.Debug("rollback after an error", "err", err)
	}
}

// torn is called while the goroutine ends in the midst of the last part's function. The others are run again.
func (w *writer) torn(err error) {
	w.rollback()
	last := len(w.parts) - 1
	for i := range w.parts[:last] {
		w.parts[i].r.Park()
		w.left = append(w.left, w.parts[i].r)
	}
	r := w.parts[last].r
	w.reset()
	r.Finish(err)
}

// commit makes the batch durable and answers its Writes. Even those that failed by themselves wait for it: their
// error may rest on what a neighbour wrote.
func (w *writer) commit(dirty bool) {
	if !w.all.Empty() {
		if !w.gather() {
			return
		}
		dirty = true
	}
	if !dirty {
		w.rollback()
		w.answer(nil)
		return
	}
	w.d.opts.CrashPoint(base.BeforeCommit)
	begin := time.Now()
	_, err := w.c.exec("COMMIT")
	w.took = time.Since(begin)
	w.d.opts.Observer.Commit(w.took, len(w.parts), err)
	if err == nil {
		w.d.opts.CrashPoint(base.AfterCommit)
		w.answer(nil)
		w.d.check.committed(w.c)
		return
	}
	w.rollback()
	kind := wrap("commit", err)
	switch {
	case errors.Is(kind, base.ErrConstraint) && len(w.parts) > 1:
		// A deferred foreign key is checked only now. One of them did it: each alone shows which.
		for i := range w.parts {
			w.parts[i].r.Park()
			w.again = append(w.again, w.parts[i].r)
		}
		w.reset()
		return
	case errors.Is(kind, base.ErrConstraint), errors.Is(kind, mod.ErrFull), isPassing(code(err)):
	default:
		w.d.fail("commit", err)
		kind = w.d.Err()
	}
	w.answer(kind)
}

// gather writes what the Writes of the batch have gathered. Where that fails the transaction is undone, and each of them is
// answered or, if there are others, run again alone.
func (w *writer) gather() bool {
	t := &tx{c: w.c}
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = &base.PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		return w.all.Write(t)
	}()
	if cerr := t.end(); err == nil {
		err = cerr
	}
	switch {
	case err == nil:
		return true
	case endsTransaction(code(t.err)):
		w.abort(t.err)
	case len(w.parts) > 1:
		w.rollback()
		for i := range w.parts {
			w.parts[i].r.Park()
			w.again = append(w.again, w.parts[i].r)
		}
		w.reset()
	default:
		w.rollback()
		if w.parts[0].err == nil {
			w.parts[0].err = err
		}
		w.answer(nil)
	}
	return false
}

// answer tells all Writes of the batch the error of the batch, or each its own.
func (w *writer) answer(err error) {
	for i := range w.parts {
		p := &w.parts[i]
		if err != nil {
			p.r.Finish(err)
			continue
		}
		p.r.Finish(wrap("write", p.err))
	}
	w.reset()
}

func (w *writer) reset() {
	clear(w.parts)
	w.parts = w.parts[:0]
	w.all.Reset()
}

// tx implements mod.Tx for one Write.
type tx struct {
	c         *conn
	savepoint bool // others have written in this transaction
	began     bool // a statement has been run
	done      bool
	err       error // the first error of a statement
	open      []*rows
	gathered  base.Gathered
}

// Gather implements mod.Tx.
func (t *tx) Gather(key, v any, write func(tx mod.Tx, all []any) error) {
	t.gathered.Add(key, v, write)
}

// begin is called before each statement.
func (t *tx) begin(ctx context.Context) error {
	if t.done {
		return base.ErrTxDone
	}
	if t.err == nil {
		t.err = ctx.Err()
	}
	if t.err != nil {
		return wrap("write", t.err)
	}
	if !t.began {
		if t.savepoint {
			if _, t.err = t.c.exec("SAVEPOINT w"); t.err != nil {
				return wrap("savepoint", t.err)
			}
		}
		t.began = true
	}
	return nil
}

// Exec implements mod.Tx.
func (t *tx) Exec(ctx context.Context, query string, args ...any) (mod.Result, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	res, err := t.c.exec(query, args...)
	if err != nil {
		t.err = err
		return nil, wrap("exec", err)
	}
	return res, nil
}

func (t *tx) start(ctx context.Context, query string, args []any) (*rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	r, err := t.c.query(bg, query, args, nil)
	if err != nil {
		t.err = err
		return nil, wrap("query", err)
	}
	t.open = append(t.open, r)
	return r, nil
}

// Query implements mod.Tx.
func (t *tx) Query(ctx context.Context, query string, args ...any) (mod.Rows, error) {
	r, err := t.start(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// QueryRow implements mod.Tx.
func (t *tx) QueryRow(ctx context.Context, query string, args ...any) mod.Row {
	r, err := t.start(ctx, query, args)
	if err != nil {
		return failedRow{err}
	}
	return &row{r: r}
}

// end makes t useless, closes what the function left open, and returns the error of rows that ended early.
func (t *tx) end() error {
	t.done = true
	for _, r := range t.open {
		if err := r.Close(); t.err == nil {
			t.err = err
		}
		if t.err == nil {
			t.err = r.err
		}
	}
	t.open = nil
	return t.err
}
