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
	load  weight // of what waits, is being written, or is not acknowledged
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

// lightLimit is how many bytes of light stanzas a client may be given at once: more than the presence of ten thousand, whose
// room it enters.
const lightLimit = 12 << 20

// weight is bytes, and how many of them are of light stanzas: presence and headlines, of which who comes back gets the newest
// anew. They come in crowds, when a client enters a large room or has many contacts, long before it can acknowledge any.
type weight struct{ bytes, light int }

func (w *weight) add(o weight) { w.bytes, w.light = w.bytes+o.bytes, w.light+o.light }
func (w *weight) sub(o weight) { w.bytes, w.light = w.bytes-o.bytes, w.light-o.light }

// weight returns that of an item.
func (it *item) weight() weight {
	if s := it.s; s != nil && (s.Kind == stanza.Presence || s.Kind == stanza.Message && s.Type == stanza.TypeHeadline) {
		return weight{it.size, it.size}
	}
	return weight{bytes: it.size}
}

// gain and lose change the load of the queue, and of all. q.mu is held.
func (q *Queue) gain(w weight) {
	q.load.add(w)
	q.gauge.Add(int64(w.bytes))
}

func (q *Queue) lose(w weight) {
	q.load.sub(w)
	q.gauge.Add(-int64(w.bytes))
}

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
	if !q.fits(&it) {
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
	q.gain(it.weight())
	q.items = append(q.items, it)
}

// fits tells whether there is room for an item. A stream that is there may be given much at once that is light, and that a
// client has asked for: what is not is measured without it. One stanza fits always. q.mu is held.
func (q *Queue) fits(it *item) bool {
	w := it.weight()
	switch {
	case q.load.bytes == 0:
		return true
	case q.out == nil:
		return q.load.bytes+w.bytes <= q.limit
	case w.light > 0:
		return q.load.light+w.light <= max(q.limit, lightLimit)
	}
	return q.load.bytes-q.load.light+w.bytes <= q.limit
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
	q.lose(q.load)
	q.items, q.catch.items = nil, nil
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
	for q.load.bytes > n && o != nil && q.out == o && !o.ending && q.backlog() > n {
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
	return q.load.bytes
}

// Room returns how many bytes the queue has room for, its overhead for each stanza included.
func (q *Queue) Room() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(0, q.limit-q.load.bytes+q.load.light)
}
