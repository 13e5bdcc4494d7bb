package c2s

import (
	"sync"
	"sync/atomic"
	"time"

	"sabir/internal/incoming"
)

// settling lets the reader of a quiet connection go on with a new goroutine, whose stack is the smallest there is. That of the
// one before has grown with what it handled; the collector halves it, but not below twice the smallest
// (docs/adr/0019-memory-of-idle-sessions.md).
type settling struct {
	due  atomic.Bool // something was handled since
	done bool        // the reader was woken, and has to go on; it belongs to the reader

	mu    sync.Mutex
	woken bool // the read deadline has passed for that alone
	over  bool // the reader waits for the end of the connection
}

// settledAfter is how long a client has been silent before its reader settles.
const settledAfter = time.Second

// Settle has the readers of quiet connections go on with small stacks. It returns how many of them do so soon. The memory is
// free after the next collection.
func (s *Server) Settle() (n int) {
	now := s.o.Clock.Now()
	for _, c := range s.all() {
		t, ok := c.t.(*tcp)
		if ok && c.bound.Load() && now.Sub(time.Unix(0, c.lastRead.Load())) >= settledAfter && t.settle() {
			n++
		}
	}
	return n
}

// settle wakes the reader, where that is of use. A stream with a resource has no read deadline until it ends.
func (t *tcp) settle() bool {
	s := &t.settling
	if !s.due.CompareAndSwap(true, false) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || t.stream.ended.Load() {
		return false
	}
	s.woken = true
	return t.Conn.SetReadDeadline(time.Unix(1, 0)) == nil
}

// settled tells whether it was settle that a deadline has passed for.
func (t *tcp) settled() bool {
	s := &t.settling
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.woken
	s.woken = false
	s.done = s.done || was
	return was
}

// stop is called when the stream has ended: from now on the deadline is that of the end of the connection.
func (s *settling) stop(t *tcp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.woken {
		s.woken = false
		if err := t.Conn.SetReadDeadline(time.Now().Add(incoming.LingerTimeout)); err != nil {
			t.Close()
		}
	}
}
