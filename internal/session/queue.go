package session

import (
	"sync"
	"sync/atomic"
	"time"

	"sabir/mod"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
)

// Queue holds what waits to be written to one client. It is bounded in bytes. A goroutine writes while there is
// something to write, and only then.
//
// A queue writes to an outlet, the writing side of a stream. Without one it keeps what it is given. Once Track was called it
// also keeps what was written until the client acknowledges it (XEP-0198), so that another stream can go on where one
// was lost.
type Queue struct {
	limit int
	full  func()        // called without the lock when a stanza does not fit
	gauge *atomic.Int64 // bytes waiting in all queues
	trace Tracer
	who   string

	mu    sync.Mutex
	out   *outlet
	items []item
	spare []item // the array of the last batch, for the next
	bytes int    // of what waits, is being written, or is not acknowledged
	ended bool   // nothing more is taken

	track   bool // stanzas put from now on are kept until they are acknowledged
	parks   bool // a failed or full stream leaves the queue open
	unacked sm.Unacked[item]
	rows    rows      // of the journal
	loose   bool      // how many the client has got is known to the client alone
	asked   time.Time // when an <r/> was written that is not answered yet
	since   int       // bytes that were written since the last <r/>

	hold  holding
	stats *HoldStats
	catch catching

	moved chan struct{} // closed when something was written, or never will be; nil while nobody waits for that
}

// overhead is about what a waiting stanza costs beside its encoded form, in bytes: a small one is held by more than it
// weighs on the wire.
const overhead = 512

type item struct {
	s       *stanza.Stanza
	to      string
	raw     string // instead of s
	size    int
	at      time.Time // when it was queued: of messages, and of all where the queue tracks
	tracked bool
	routed  bool  // a message on its way to here, not one from a store
	row     int64 // its number in the journal, 0 where it is not there
	late    bool  // it was sent before or waited for a stream, and says since when
}

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
	flight   int // bytes being written that are not tracked
	busy     int // bytes being written
}

// QueueOptions tell where a Queue writes to at first, and how much it holds.
type QueueOptions struct {
	// Write, Try, NS and Done are those of the first Outlet. Without Write there is none.
	Write func(b []byte) error
	Try   func(b []byte) (left bool, err error)
	NS    string
	Done  func()
	// Limit is the number of bytes that may wait.
	Limit int
	// Full is called when a stanza did not fit any more: the queue has ended, or given its outlet up. It must not block.
	Full func()
	// Gauge counts the bytes that wait, in all queues that share it. It may be nil.
	Gauge *atomic.Int64
	// Trace is told of messages that were written to Who, and acknowledged by them. It may be nil.
	Trace Tracer
	Who   string
	// Stats count what is held back. It may be nil.
	Stats *HoldStats
}

// Tracer notes what became of a message. Note is called with a lock held: it is quick and calls nobody.
type Tracer interface {
	Note(mark uint64, what, who, detail string)
}

// note tells the trace of an item.
func (q *Queue) note(it *item, what string) {
	if q.trace != nil && it.s != nil && it.s.Mark != 0 {
		q.trace.Note(it.s.Mark, what, q.who, "")
	}
}

// NewQueue returns an empty queue.
func NewQueue(o QueueOptions) *Queue {
	if o.Gauge == nil {
		o.Gauge = new(atomic.Int64)
	}
	q := &Queue{limit: o.Limit, full: o.Full, gauge: o.Gauge, trace: o.Trace, who: o.Who, stats: o.Stats}
	if q.stats == nil {
		q.stats = new(HoldStats)
	}
	if o.Write != nil {
		q.out = &outlet{Outlet: Outlet{Write: o.Write, Try: o.Try, NS: o.NS, Done: o.Done}}
	}
	return q
}

// Put queues a stanza for the recipient to. It returns false where the queue has ended or is full.
func (q *Queue) Put(s *stanza.Stanza, to string) bool {
	taken, start := q.PutLater(s, to)
	if start {
		go q.Start()
	}
	return taken
}

// PutLater is Put, but where start is true nothing is written until the caller calls Start, which it owes soon.
func (q *Queue) PutLater(s *stanza.Stanza, to string) (taken, start bool) {
	return q.put(item{s: s, to: to, size: s.Wire().Size() + len(to) + overhead})
}

// PutRaw queues bytes that are no stanza. Without an outlet they are dropped: they belong to a stream.
func (q *Queue) PutRaw(b string) bool {
	taken, start := q.put(item{raw: b, size: len(b)})
	if start {
		q.Start()
	}
	return taken
}

func (q *Queue) put(it item) (taken, start bool) {
	urgency, state := q.judgement(&it)
	q.mu.Lock()
	if q.ended || it.s == nil && q.out == nil {
		q.mu.Unlock()
		return false, false
	}
	catches := q.catches(&it)
	if !catches && urgency != mod.Urgent && q.holdBack(it, urgency, state) {
		q.mu.Unlock()
		return true, false
	}
	if it.s != nil && !catches {
		q.flushHeld()
	}
	if q.bytes+it.size > q.limit && q.bytes > 0 {
		taken = q.overflow(it)
		q.mu.Unlock()
		q.full()
		return taken, false
	}
	start = q.enter(it)
	q.mu.Unlock()
	return true, start
}

// enter adds an item, or has it wait for those of a store, and tells whether a writer is to be started. q.mu is held.
func (q *Queue) enter(it item) (start bool) {
	if q.catches(&it) {
		q.waitCaught(it)
		return false
	}
	q.add(it)
	return q.wake()
}

// overflow is put where there is no room. A queue that parks gives up the stream that is too slow for it, and is full
// the next time. q.mu is held.
func (q *Queue) overflow(it item) (taken bool) {
	if q.parks && q.out != nil {
		q.detach(nil)
		if it.s != nil {
			q.enter(it)
		}
		return it.s != nil
	}
	q.ended = true
	return false
}

// add is where an item enters. q.mu is held.
func (q *Queue) add(it item) {
	it.tracked = q.track && it.s != nil
	if it.at.IsZero() && (it.tracked || it.s != nil && it.s.Kind == stanza.Message) {
		it.at = time.Now()
	}
	q.bytes += it.size
	q.gauge.Add(int64(it.size))
	q.items = append(q.items, it)
}

// wake tells whether a writer is to be started, and counts on that. q.mu is held.
func (q *Queue) wake() bool {
	o := q.out
	if o == nil || o.writing {
		return false
	}
	o.writing, o.promised = true, true
	return true
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
	q.bytes += n
	q.gauge.Add(int64(n))
	q.out.held, q.out.promised = false, true
	q.mu.Unlock()
	q.Start()
}

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
	for {
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

// Finish writes what waits and then last, each in a write of its own, and ends the queue. A second call has no effect.
// Where there is no outlet, or none is left, the queue has ended at once and its caller calls Unsent.
func (q *Queue) Finish(last ...[]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushHeld()
	q.ended = true
	if q.out != nil {
		q.out.end(q, last)
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
	q.bytes -= o.flight
	q.gauge.Add(-int64(o.flight))
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
		q.bytes -= it.size
		q.gauge.Add(-int64(it.size))
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

// Unsent ends the queue at once and returns the stanzas that were not written, and those that were not acknowledged, in
// order. What was being written counts as unwritten only where its write failed.
func (q *Queue) Unsent() []Kept {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.detach(nil)
	var all []Kept
	q.unacked.Each(func(it *item) { all = append(all, it.kept(true)) })
	for _, items := range [][]item{q.items, q.catch.items} {
		for _, it := range items {
			all = append(all, it.kept(false))
		}
	}
	q.unacked.Take()
	q.gauge.Add(-int64(q.bytes))
	q.items, q.catch.items, q.bytes = nil, nil, 0
	return all
}

// Held returns the stanzas that the client may not have got, in order.
func (q *Queue) Held() []*stanza.Stanza {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*stanza.Stanza
	q.unacked.Each(func(it *item) { all = append(all, it.s) })
	for _, items := range [][]item{q.items, q.catch.items} {
		for i := range items {
			if items[i].s != nil {
				all = append(all, items[i].s)
			}
		}
	}
	return all
}

// Ended tells whether the queue takes nothing more.
func (q *Queue) Ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ended
}

// Drain waits until no more than n bytes wait to be written or are being written, or the stream is about to end. What the
// client has not acknowledged does not count, nor what is held back: that is for the client to change, which must be read for
// it.
func (q *Queue) Drain(n int) {
	q.mu.Lock()
	o := q.out // another stream may take the session over
	for q.bytes > n && o != nil && q.out == o && !o.ending && q.backlog() > n {
		if q.moved == nil {
			q.moved = make(chan struct{})
		}
		moved := q.moved
		q.mu.Unlock()
		<-moved
		q.mu.Lock()
	}
	q.mu.Unlock()
}

// backlog returns how many bytes are not written. q.mu is held.
func (q *Queue) backlog() int {
	n := q.out.busy
	for i := range q.items {
		n += q.items[i].size
	}
	return n
}

// signal wakes those who wait in Drain. q.mu is held.
func (q *Queue) signal() {
	if q.moved != nil {
		close(q.moved)
		q.moved = nil
	}
}

// Bytes returns how many bytes the queue holds.
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
	o.flight, o.busy = 0, 0
	kept := false
	for _, it := range batch {
		o.busy += it.size
		if it.tracked {
			q.unacked.Sent(it)
			q.since += it.size
			kept = true
		} else {
			o.flight += it.size
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
	n, all := 0, 0
	for i := range items {
		all += items[i].size
		q.note(&items[i], mod.TraceWritten)
		if !items[i].tracked {
			n += items[i].size
		}
		items[i] = item{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.out != o {
		return false
	}
	o.flight -= n
	o.busy -= all
	q.signal()
	q.bytes -= n
	q.gauge.Add(-int64(n))
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
				o.flight -= it.size
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
