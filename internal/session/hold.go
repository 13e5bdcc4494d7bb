package session

import (
	"sync/atomic"
	"time"

	"sabir/mod"
	"sabir/xmpp/stanza"
)

const (
	// maxHeld and maxHeldBytes bound what is held back from a client; what is beyond is sent.
	maxHeld      = 1000
	maxHeldBytes = 256 << 10
)

// holding is what a queue holds back from a client whose user does not look (XEP-0352).
type holding struct {
	judge atomic.Pointer[mod.Judge] // nil while nothing is held back

	// What follows is guarded by the queue's lock.
	items []item // those that were replaced are empty
	at    map[heldState]int
	live  int // items that are not empty
	bytes int
}

// heldState is a state of a sender, of which the newest alone counts.
type heldState struct {
	from  string
	state uint8
}

// HoldStats count what holding back has done, over all queues that share them.
type HoldStats struct {
	// Held is stanzas that had to wait, Flushes how often what had waited was sent, and Saved the bytes of those that were
	// never sent, because a newer one took their place.
	Held, Flushes, Saved atomic.Int64
}

// HoldBack holds stanzas back that judge does not call urgent, until one comes that is: all that waits goes out before it, in
// order. judge is called without a lock, by many goroutines. Nil ends it, and sends what waits; so does the loss of the stream.
func (q *Queue) HoldBack(judge mod.Judge) {
	q.mu.Lock()
	start := false
	if judge == nil {
		q.hold.judge.Store(nil)
		start = q.flushHeld() && q.wake()
	} else if q.out != nil && !q.ended {
		q.hold.judge.Store(&judge)
	}
	q.mu.Unlock()
	if start {
		q.Start()
	}
}

// HoldsBack tells whether stanzas are held back.
func (q *Queue) HoldsBack() bool { return q.hold.judge.Load() != nil }

// judgement is how urgent an item is, and of which state it tells.
func (q *Queue) judgement(it *item) (mod.Urgency, uint8) {
	if j := q.hold.judge.Load(); j != nil && it.s != nil {
		return (*j)(it.s)
	}
	return mod.Urgent, 0
}

// holdBack keeps an item that is not urgent. It returns false where it is to be sent now. q.mu is held.
func (q *Queue) holdBack(it item, u mod.Urgency, state uint8) bool {
	h := &q.hold
	if h.judge.Load() == nil || h.live >= maxHeld || h.bytes+it.size > maxHeldBytes {
		return false
	}
	if q.track && it.at.IsZero() {
		it.at = time.Now()
	}
	if u == mod.Replaceable && it.row == 0 {
		k := heldState{it.s.From.String(), state}
		if i, ok := h.at[k]; ok {
			q.replace(i)
		}
		if h.at == nil {
			h.at = make(map[heldState]int)
		}
		h.at[k] = len(h.items)
	}
	h.items = append(h.items, it)
	h.live++
	h.bytes += it.size
	q.gain(it.weight())
	q.stats.Held.Add(1)
	return true
}

// replace drops an item that waits. q.mu is held.
func (q *Queue) replace(i int) {
	h := &q.hold
	old := &h.items[i]
	q.stats.Saved.Add(int64(old.s.Wire().Size() + len(old.to)))
	h.live--
	h.bytes -= old.size
	q.lose(old.weight())
	*old = item{}
	if len(h.items) > 2*maxHeld {
		q.compact()
	}
}

// compact forgets the places of what was replaced. q.mu is held.
func (q *Queue) compact() {
	h := &q.hold
	kept := h.items[:0]
	moved := make(map[int]int, h.live)
	for i := range h.items {
		if h.items[i].s != nil {
			moved[i] = len(kept)
			kept = append(kept, h.items[i])
		}
	}
	clear(h.items[len(kept):])
	h.items = kept
	for k, i := range h.at {
		if j, ok := moved[i]; ok {
			h.at[k] = j
		} else {
			delete(h.at, k)
		}
	}
}

// flushHeld puts what waits before all that comes, and tells whether there was something. q.mu is held.
func (q *Queue) flushHeld() bool {
	h := &q.hold
	if len(h.items) == 0 {
		return false
	}
	items := h.items
	h.items, h.at, h.live, h.bytes = nil, nil, 0, 0
	for _, it := range items {
		if it.s != nil {
			q.lose(it.weight())
			q.add(it)
		}
	}
	q.stats.Flushes.Add(1)
	return true
}

// HoldBack holds stanzas back. See mod.Session.
func (s *Session) HoldBack(judge func(*stanza.Stanza) (mod.Urgency, uint8)) { s.Queue.HoldBack(judge) }
