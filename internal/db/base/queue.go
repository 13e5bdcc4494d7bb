package base

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sabir/mod"
)

// States of a Request. Whoever moves it away from queued owns what happens next.
const (
	queued int32 = iota
	running
	left // the caller has gone; the function must not be run
)

// Request is one Write that waits for its turn in a group commit.
type Request struct {
	fn    func(mod.Tx) error
	state atomic.Int32
	late  atomic.Bool // the caller would have left, had the function not been running
	done  chan error
	timer *time.Timer
}

// Start claims r for running. It returns false where the caller has given up, and r is to be forgotten.
func (r *Request) Start() bool {
	if !r.state.CompareAndSwap(queued, running) {
		return false
	}
	if r.late.Load() {
		r.Finish(errLate)
		return false
	}
	return true
}

// Park lets the caller of a started r give up again while the engine waits, for example for a connection. Start
// follows before the function is run once more.
func (r *Request) Park() { r.state.Store(queued) }

// Finish answers a started r. The engine must not touch r afterwards.
func (r *Request) Finish(err error) { r.done <- err }

// FinishParked answers r if its caller is still there.
func (r *Request) FinishParked(err error) {
	if r.Start() {
		r.Finish(err)
	}
}

// Run runs the function of r. A panic in it becomes a *PanicError. If the function ends its goroutine instead of
// returning, gone is called and the goroutine goes on ending.
func (r *Request) Run(tx mod.Tx, gone func(err error)) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			return
		}
		gone(errGoexit)
	}()
	err = r.fn(tx)
	returned = true
	return err
}

// Queue is where Writes wait for an engine. Requests leave it in the order in which they came.
type Queue struct {
	ch   chan *Request
	wait time.Duration
	pool sync.Pool

	once   sync.Once
	stop   chan struct{} // closed before mu is taken for closing, so that senders on a full queue let go
	mu     sync.RWMutex  // held for reading while sending, so that Close can close ch
	closed bool
}

// NewQueue returns a queue of n places, in which no request waits for longer than wait.
func NewQueue(n int, wait time.Duration) *Queue {
	q := &Queue{ch: make(chan *Request, n), wait: wait, stop: make(chan struct{})}
	q.pool.New = func() any {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return &Request{done: make(chan error, 1), timer: t}
	}
	return q
}

var (
	// errWait is the cause where a request waited in vain.
	errWait = errors.New("waited too long for a turn")
	// errLate is what Start answers a caller who has lost patience; finish tells it in the caller's terms.
	errLate = errors.New("too late")
)

// Do queues fn and waits for the answer. It returns ctx.Err() only if fn has left no trace; once fn has begun, Do
// waits for the outcome whatever happens to ctx.
func (q *Queue) Do(ctx context.Context, fn func(mod.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := q.pool.Get().(*Request)
	r.fn = fn
	r.state.Store(queued)
	r.late.Store(false)
	r.timer.Reset(q.wait)
	if err := q.send(ctx, r); err != nil {
		return q.recycle(r, err)
	}
	select {
	case err := <-r.done:
		return q.recycle(r, err)
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, left) {
			r.timer.Stop()
			return ctx.Err()
		}
	case <-r.timer.C:
		if r.state.CompareAndSwap(queued, left) {
			return Unavailable("write", errWait)
		}
	}
	return q.finish(ctx, r)
}

// finish waits for a request that had begun when its caller lost patience. If the engine parks it, that is the end of
// it: when it would start again, or, if that takes long, when the tick says so.
func (q *Queue) finish(ctx context.Context, r *Request) error {
	r.late.Store(true)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-r.done:
			if err == errLate {
				err = gaveUp(ctx)
			}
			return q.recycle(r, err)
		case <-tick.C:
			if r.state.CompareAndSwap(queued, left) {
				return gaveUp(ctx)
			}
		}
	}
}

func gaveUp(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return Unavailable("write", errWait)
}

// recycle is called only for requests that no engine knows any more: those that were left may still be in the channel.
func (q *Queue) recycle(r *Request, err error) error {
	r.timer.Stop()
	r.fn = nil
	q.pool.Put(r)
	return err
}

func (q *Queue) send(ctx context.Context, r *Request) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return Closed("write")
	}
	select {
	case q.ch <- r:
		return nil
	default:
	}
	select {
	case q.ch <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.stop:
		return Closed("write")
	case <-r.timer.C:
		return Unavailable("write", errWait)
	}
}

// C is where an engine takes requests from. It is closed by Close, after which what is left in it is still to be run.
func (q *Queue) C() <-chan *Request { return q.ch }

// Next returns the next request without waiting, or nil.
func (q *Queue) Next() *Request {
	select {
	case r := <-q.ch:
		return r
	default:
		return nil
	}
}

// Close lets no further request in. It reports whether this was the first call.
func (q *Queue) Close() (first bool) {
	q.once.Do(func() {
		first = true
		close(q.stop)
		q.mu.Lock()
		q.closed = true
		close(q.ch)
		q.mu.Unlock()
	})
	return first
}
