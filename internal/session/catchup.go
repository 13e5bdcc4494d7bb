package session

import (
	"sync"
	"time"

	"sabir/xmpp/stanza"
)

// catching is what waits while messages from a store are handed over, which were sent before it. The queue's lock guards it.
type catching struct {
	n     int // how many hand over
	items []item
}

// CatchUp has messages from others wait until done is called, behind all that is queued until then. See mod.Session.
func (s *Session) CatchUp() (done func()) { return s.Queue.CatchUp() }

// CatchUp is Session.CatchUp. What waits counts for the limit. Several may be under way; the last done lets it go.
func (q *Queue) CatchUp() (done func()) {
	q.mu.Lock()
	q.catch.n++
	q.mu.Unlock()
	return sync.OnceFunc(q.caughtUp)
}

func (q *Queue) caughtUp() {
	q.mu.Lock()
	q.catch.n--
	start := false
	if items := q.catch.items; q.catch.n == 0 && !q.ended && len(items) > 0 {
		q.catch.items = nil
		q.flushHeld()
		for _, it := range items {
			q.lose(it.weight())
			q.add(it)
		}
		start = q.wake()
	}
	q.mu.Unlock()
	if start {
		q.Start()
	}
}

// catches tells whether an item waits while a store is handed over: a message that was routed here and that may have
// predecessors there. q.mu is held.
func (q *Queue) catches(it *item) bool {
	return q.catch.n > 0 && it.routed && (it.s.Type == stanza.TypeChat || it.s.Type == stanza.TypeNormal)
}

// waitCaught keeps an item until the store was handed over. q.mu is held.
func (q *Queue) waitCaught(it item) {
	if it.at.IsZero() {
		it.at = time.Now()
	}
	q.gain(it.weight())
	q.catch.items = append(q.catch.items, it)
}
