package session

import (
	"sync"
	"sync/atomic"

	"sabir/xmpp/stanza"
)

// Queue holds what waits to be written to one stream. It is bounded in bytes. A goroutine writes while there is
// something to write, and only then.
type Queue struct {
	write func(b []byte) error // blocks; its error ends the queue
	try   func(b []byte) (left bool, err error)
	ns    string // the xmlns on each stanza, with WebSocket framing
	each  bool   // one write for each item, with WebSocket framing
	limit int
	full  func()        // called once, on overflow
	done  func()        // called once, by the writer, after Finish's last bytes or an error
	gauge *atomic.Int64 // bytes waiting in all queues

	mu      sync.Mutex
	items   []item
	spare   []item // the array of the last batch, for the next
	bytes   int
	writing bool
	state   queueState
	last    []byte
	unsent  []*stanza.Stanza // what an error left unwritten
}

type queueState uint8

const (
	queueOpen   queueState = iota
	queueEnding            // Finish was called: nothing more is taken
	queueClosed            // the last bytes were written, or an error ended it
)

// overhead is about what a waiting stanza costs beside its encoded form, in bytes: a small one is held by more than it
// weighs on the wire.
const overhead = 512

type item struct {
	s    *stanza.Stanza
	to   string
	raw  string // instead of s
	size int
}

// QueueOptions tell where a Queue writes to.
type QueueOptions struct {
	// Write writes b whole, behind what Try has left, or fails. It has its own deadline.
	Write func(b []byte) error
	// Try, where it is not nil, takes b whole without waiting for the peer, or fails. Where left is true the next call is
	// to Write, which may be without bytes.
	Try func(b []byte) (left bool, err error)
	// NS is written as xmlns on each stanza, and each is written alone, as WebSocket framing asks (RFC 7395 §3.3.3).
	NS string
	// Limit is the number of bytes that may wait.
	Limit int
	// Full is called once, when a stanza did not fit any more. It must not block.
	Full func()
	// Done is called once, when nothing will be written any more.
	Done func()
	// Gauge counts the bytes that wait, in all queues that share it. It may be nil.
	Gauge *atomic.Int64
}

// NewQueue returns an empty queue.
func NewQueue(o QueueOptions) *Queue {
	if o.Gauge == nil {
		o.Gauge = new(atomic.Int64)
	}
	return &Queue{write: o.Write, try: o.Try, ns: o.NS, each: o.NS != "", limit: o.Limit, full: o.Full, done: o.Done, gauge: o.Gauge}
}

// Put queues a stanza for the recipient to. It returns false where the queue has ended or is full; the first time that
// it is full it ends.
func (q *Queue) Put(s *stanza.Stanza, to string) bool {
	taken, start := q.PutLater(s, to)
	if start {
		go q.run(nil, nil)
	}
	return taken
}

// PutLater is Put, but where start is true nothing is written until the caller calls Start, which it owes soon.
func (q *Queue) PutLater(s *stanza.Stanza, to string) (taken, start bool) {
	return q.put(item{s: s, to: to, size: s.Wire().Size() + len(to) + overhead})
}

// PutRaw queues bytes that are no stanza.
func (q *Queue) PutRaw(b string) bool {
	taken, start := q.put(item{raw: b, size: len(b)})
	if start {
		go q.run(nil, nil)
	}
	return taken
}

// Hold keeps what is queued from being written until Release. It is called before anybody else knows the queue.
func (q *Queue) Hold() { q.writing = true }

// Release writes first, each as bytes that are no stanza, and then what has come since Hold.
func (q *Queue) Release(first ...string) {
	items := make([]item, len(first))
	n := 0
	for i, b := range first {
		items[i] = item{raw: b, size: len(b)}
		n += len(b)
	}
	q.mu.Lock()
	if q.state == queueClosed {
		items, n = nil, 0
	}
	q.items = append(items, q.items...)
	q.bytes += n
	q.gauge.Add(int64(n))
	q.mu.Unlock()
	q.Start()
}

func (q *Queue) put(it item) (taken, start bool) {
	q.mu.Lock()
	if q.state != queueOpen {
		q.mu.Unlock()
		return false, false
	}
	if q.bytes+it.size > q.limit && q.bytes > 0 {
		q.state = queueEnding
		q.mu.Unlock()
		q.full()
		return false, false
	}
	q.bytes += it.size
	q.gauge.Add(int64(it.size))
	q.items = append(q.items, it)
	start = !q.writing
	q.writing = true
	q.mu.Unlock()
	return true, start
}

// Start begins to write after PutLater. It writes on the caller's goroutine what the socket takes at once, which spares
// waking another one for each message of a quiet session, and leaves the rest to a goroutine.
func (q *Queue) Start() {
	if q.try == nil {
		go q.run(nil, nil)
		return
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	for {
		batch, last, ok := q.take()
		if !ok {
			return
		}
		n, b := q.encode((*buf)[:0], batch)
		*buf = b
		left := false
		if n > 0 {
			var err error
			if left, err = q.try(b); err != nil {
				go q.fail(batch) // what that sets off is not the caller's
				return
			}
			q.written(batch[:n])
		}
		if left || n < len(batch) || last != nil {
			go q.finishStart(left, batch[n:], last)
			return
		}
	}
}

func (q *Queue) finishStart(left bool, batch []item, last []byte) {
	if left {
		if err := q.write(nil); err != nil {
			q.fail(batch)
			return
		}
	}
	q.run(batch, last)
}

func putBuffer(buf *[]byte) {
	if cap(*buf) <= keepBuffer {
		buffers.Put(buf)
	}
}

// Finish writes what waits and then last, and ends the queue. A second call has no effect.
func (q *Queue) Finish(last []byte) {
	q.mu.Lock()
	if q.state == queueClosed || q.last != nil {
		q.mu.Unlock()
		return
	}
	q.state, q.last = queueEnding, last
	if last == nil {
		q.last = []byte{}
	}
	start := !q.writing
	q.writing = true
	q.mu.Unlock()
	if start {
		go q.run(nil, nil)
	}
}

// Unsent ends the queue at once and returns the stanzas that were not written, in order. What was being written counts
// as unwritten only where its write failed.
func (q *Queue) Unsent() []*stanza.Stanza {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state = queueClosed
	q.drop()
	return q.unsent
}

// drop moves the waiting items to unsent. q.mu is held.
func (q *Queue) drop() {
	for _, it := range q.items {
		if it.s != nil {
			q.unsent = append(q.unsent, it.s)
		}
	}
	q.gauge.Add(-int64(q.bytes))
	q.items, q.bytes = nil, 0
}

// Bytes returns how many bytes wait.
func (q *Queue) Bytes() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

const (
	// oneWrite is about how many bytes go into one write: four TLS records.
	oneWrite = 64 << 10
	// keepBuffer is the largest buffer that goes back to the pool.
	keepBuffer = 256 << 10
	// keepItems is the longest array of items that an idle queue keeps.
	keepItems = 16
)

// run writes batch and then until nothing waits, or until last was written.
func (q *Queue) run(batch []item, last []byte) {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	for {
		for len(batch) > 0 {
			n, b := q.encode((*buf)[:0], batch)
			*buf = b
			if err := q.write(b); err != nil {
				q.fail(batch)
				return
			}
			q.written(batch[:n])
			batch = batch[n:]
		}
		if last != nil {
			q.finish(last)
			return
		}
		var ok bool
		if batch, last, ok = q.take(); !ok {
			return
		}
	}
}

// take returns what waits, or the last bytes beside it, or false where the writer may go.
func (q *Queue) take() (batch []item, last []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state == queueClosed || len(q.items) == 0 && q.last == nil {
		q.writing = false
		if cap(q.items) > keepItems {
			q.items = nil
		}
		q.spare = nil
		return nil, nil, false
	}
	batch = q.items
	q.items, q.spare = q.spare[:0], batch
	return batch, q.last, true
}

// encode appends items to b, as many as go into one write, and returns their number.
func (q *Queue) encode(b []byte, batch []item) (int, []byte) {
	for i, it := range batch {
		if it.s != nil {
			b = it.s.Wire().Append(b, it.to, q.ns)
		} else {
			b = append(b, it.raw...)
		}
		if q.each || len(b) >= oneWrite {
			return i + 1, b
		}
	}
	return len(batch), b
}

// written accounts for items that left, and forgets them so that the array holds nothing alive.
func (q *Queue) written(items []item) {
	n := 0
	for i := range items {
		n += items[i].size
		items[i] = item{}
	}
	q.gauge.Add(-int64(n))
	q.mu.Lock()
	if q.state != queueClosed {
		q.bytes -= n
	} else {
		q.gauge.Add(int64(n)) // Unsent has subtracted them already
	}
	q.mu.Unlock()
}

// fail ends the queue after a failed write of batch.
func (q *Queue) fail(batch []item) {
	q.mu.Lock()
	was := q.state
	q.state = queueClosed
	for _, it := range batch {
		if it.s != nil {
			q.unsent = append(q.unsent, it.s)
		}
	}
	if was != queueClosed {
		q.drop()
	}
	q.writing = false
	q.mu.Unlock()
	q.done()
}

// finish writes the last bytes.
func (q *Queue) finish(last []byte) {
	if len(last) > 0 {
		// The peer may be gone, and nothing is owed to it after this.
		if err := q.write(last); err != nil {
			last = nil
		}
	}
	q.mu.Lock()
	q.state = queueClosed
	q.drop()
	q.writing = false
	q.mu.Unlock()
	q.done()
}
