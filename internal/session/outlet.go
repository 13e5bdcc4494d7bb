package session

import (
	"sync"
	"time"

	"sabir/mod"
	"sabir/xmpp/sm"
)

// Outlet is the writing side of a stream.
type Outlet struct {
	// Write writes b whole, behind what Try has left, or fails. It has its own deadline.
	Write func(b []byte) error
	// Try, where it is not nil, takes b whole without waiting for the peer, or fails. Where left is true the next call is
	// to Write, which may be without bytes.
	Try func(b []byte) (left bool, err error)
	// NS is written as xmlns on each stanza, and each is written alone, as WebSocket framing asks (RFC 7395 §3.3.3).
	NS string
	// Done is called once, when nothing will be written there any more: behind the last bytes, or after an error.
	Done func()
}

// outlet is an Outlet with the state of its writer. The queue's lock guards it.
type outlet struct {
	Outlet
	writing  bool // there is a writer, or one was promised
	promised bool // PutLater asked its caller for Start
	held     bool
	ending   bool // last is to be written, and then no more
	last     [][]byte
	flight   weight // of what is being written that is not tracked
	busy     int    // bytes being written
}

// Hold keeps what is queued from being written until Release. It is called before anybody else knows the queue.
func (q *Queue) Hold() { q.out.writing, q.out.held = true, true }

// Release writes first, each as bytes that are no stanza, and then what has come since Hold.
func (q *Queue) Release(first ...string) {
	items := make([]item, len(first))
	n := 0
	for i, b := range first {
		items[i] = item{raw: b, size: len(b)}
		n += len(b)
	}
	q.mu.Lock()
	if q.out == nil || !q.out.held {
		q.mu.Unlock()
		return
	}
	q.items = append(items, q.items...)
	q.gain(weight{bytes: n})
	q.out.held, q.out.promised = false, true
	q.mu.Unlock()
	q.Start()
}

// startRounds is how often Start looks for more: whoever calls it has others to write to.
const startRounds = 4

// Start begins to write after PutLater. It writes on the caller's goroutine what the socket takes at once, which spares
// waking another one for each message of a quiet session, and leaves the rest to a goroutine.
func (q *Queue) Start() {
	q.mu.Lock()
	o := q.out
	if o == nil || !o.promised {
		q.mu.Unlock()
		return
	}
	o.promised = false
	q.mu.Unlock()
	if o.Try == nil {
		go q.run(o, nil)
		return
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	for range startRounds {
		batch, ok := q.take(o)
		if !ok {
			return
		}
		n, b := o.encode((*buf)[:0], batch)
		*buf = b
		left := false
		if n > 0 {
			var err error
			if left, err = o.Try(b); err != nil {
				go q.fail(o, batch) // what that sets off is not the caller's
				return
			}
			q.written(o, batch[:n])
		}
		if left || n < len(batch) || n == 0 {
			go q.finishStart(o, left, batch[n:])
			return
		}
	}
	go q.run(o, nil)
}

func (q *Queue) finishStart(o *outlet, left bool, batch []item) {
	if left {
		if err := o.Write(nil); err != nil {
			q.fail(o, batch)
			return
		}
	}
	q.run(o, batch)
}

func putBuffer(buf *[]byte) {
	if cap(*buf) <= keepBuffer {
		buffers.Put(buf)
	}
}

// Detach takes the outlet from the queue, which stays open without one, and ends it: last is written behind what is being
// written. What was not written waits for the next outlet.
func (q *Queue) Detach(last ...[]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.detach(last)
}

// detach is Detach. q.mu is held.
func (q *Queue) detach(last [][]byte) {
	q.hold.judge.Store(nil) // a stream begins active (XEP-0352#stream-resumption)
	q.flushHeld()
	o := q.out
	if o == nil {
		return
	}
	q.out, q.spare, q.asked = nil, nil, time.Time{}
	q.signal()
	q.lose(o.flight)
	q.dropRaw()
	if o.held {
		o.held, o.promised = false, true
	}
	o.end(q, last)
}

// end lets the outlet end behind what is written now, with q.mu held.
func (o *outlet) end(q *Queue, last [][]byte) {
	if o.ending {
		return
	}
	o.ending, o.last = true, last
	q.signal()
	if o.held { // Release starts
		return
	}
	if !o.writing || o.promised {
		o.writing, o.promised = true, false
		go q.run(o, nil)
	}
}

// dropRaw drops what belongs to a stream alone. q.mu is held.
func (q *Queue) dropRaw() {
	kept := q.items[:0]
	for _, it := range q.items {
		if it.s != nil {
			kept = append(kept, it)
			continue
		}
		q.lose(it.weight())
	}
	clear(q.items[len(kept):])
	q.items = kept
}

// Attach gives a queue that has none an outlet, and writes first to it, as bytes that are no stanza, and then what waits.
func (q *Queue) Attach(o Outlet, first ...string) {
	q.mu.Lock()
	q.out = &outlet{Outlet: o, writing: true, held: true}
	ended := q.ended
	q.mu.Unlock()
	q.Release(first...)
	if ended {
		q.Finish()
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

const (
	// oneWrite is about how many bytes go into one write: four TLS records.
	oneWrite = 64 << 10
	// keepBuffer is the largest buffer that goes back to the pool.
	keepBuffer = 256 << 10
	// askAgain is after how many bytes a client is asked again what it has got.
	askAgain = 128 << 10
	// keepItems is the longest array of items that an idle queue keeps.
	keepItems = 16
)

// run writes batch and then until nothing waits, or until the outlet has ended.
func (q *Queue) run(o *outlet, batch []item) {
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	for {
		for len(batch) > 0 {
			n, b := o.encode((*buf)[:0], batch)
			*buf = b
			if err := o.Write(b); err != nil {
				q.fail(o, batch)
				return
			}
			if !q.written(o, batch[:n]) {
				break // the rest is not for this stream any more
			}
			batch = batch[n:]
		}
		var ok bool
		if batch, ok = q.take(o); !ok {
			return
		}
		if len(batch) == 0 {
			for _, b := range o.last {
				if len(b) > 0 && o.Write(b) != nil {
					break // the peer may be gone, and nothing is owed to it after this
				}
			}
			q.over(o)
			return
		}
	}
}

// take returns what waits, or nothing where the outlet's last bytes are due, or false where the writer may go.
func (q *Queue) take(o *outlet) (batch []item, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.out != o || len(q.items) == 0 {
		if o.ending {
			return nil, true
		}
		o.writing = false
		if q.out == o {
			if cap(q.items) > keepItems {
				q.items = nil
			}
			q.spare = nil
		}
		return nil, false
	}
	batch = q.items
	q.items, q.spare = q.spare[:0], batch
	o.flight, o.busy = weight{}, 0
	kept := false
	for _, it := range batch {
		o.busy += it.size
		if it.tracked {
			q.unacked.Sent(it)
			q.since += it.size
			kept = true
		} else {
			o.flight.add(it.weight())
		}
	}
	// Much is asked about also while an answer is due: or the limit would be reached by a client that is one answer behind.
	if kept && (q.asked.IsZero() || q.since >= askAgain) && !o.ending {
		if q.asked.IsZero() {
			q.asked = time.Now()
		}
		q.since = 0
		batch = append(batch, item{raw: sm.Request})
	}
	return batch, true
}

// encode appends items to b, as many as go into one write, and returns their number.
func (o *outlet) encode(b []byte, batch []item) (int, []byte) {
	for i, it := range batch {
		if it.s != nil {
			b = it.s.Wire().Append(b, it.to, o.NS)
			if it.late {
				b = appendDelay(b, &it)
			}
		} else {
			b = append(b, it.raw...)
		}
		if o.NS != "" || len(b) >= oneWrite {
			return i + 1, b
		}
	}
	return len(batch), b
}

// written accounts for items that left, and forgets them so that the array holds nothing alive. It returns false where the
// outlet is not the queue's any more.
func (q *Queue) written(o *outlet, items []item) bool {
	var gone weight
	all := 0
	for i := range items {
		all += items[i].size
		q.note(&items[i], mod.TraceWritten)
		if !items[i].tracked {
			gone.add(items[i].weight())
		}
		items[i] = item{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.out != o {
		return false
	}
	o.flight.sub(gone)
	o.busy -= all
	q.signal()
	q.lose(gone)
	return true
}

// fail ends an outlet after a failed write of batch. What is not tracked of it waits again; what is does so anyway.
func (q *Queue) fail(o *outlet, batch []item) {
	q.mu.Lock()
	if q.out == o {
		var again []item
		for _, it := range batch {
			if it.s != nil && !it.tracked {
				again = append(again, it)
				o.flight.sub(it.weight())
			}
		}
		q.items = append(again, q.items...)
		o.last, o.ending = nil, true
		q.detach(nil)
	}
	q.mu.Unlock()
	q.over(o)
}

// over tells that an outlet has ended.
func (q *Queue) over(o *outlet) {
	q.mu.Lock()
	if q.out == o {
		q.detach(nil)
	}
	q.mu.Unlock()
	o.Done()
}
