package session

import "sync/atomic"

// count is how many stanzas of the client were handled (XEP-0198#acking).
type count struct {
	handled atomic.Uint32
	settled atomic.Uint32 // up to where what they owe is committed, or answered with an error
	given   atomic.Bool   // the Counter is out
}

// Counter is the writing side of the count of a session. There is one, and it belongs to whoever handles what the client sends.
type Counter struct{ s *Session }

// Counter hands out the counter of the session. It panics when it is called again: two who count would tell the client of
// stanzas that the other has not committed.
func (s *Session) Counter() *Counter {
	if !s.count.given.CompareAndSwap(false, true) {
		panic("session: a session has one counter")
	}
	return &Counter{s}
}

// Handled returns how many stanzas of the client were handled since it enabled stream management, modulo 2^32.
func (s *Session) Handled() uint32 { return s.count.handled.Load() }

// Add counts a stanza.
func (c *Counter) Add() { c.s.count.handled.Add(1) }

// Set sets the count to h, all of which is settled.
func (c *Counter) Set(h uint32) {
	c.s.count.handled.Store(h)
	c.s.count.settled.Store(h)
}

// Settle notes that what all handled stanzas owe is committed, or answered with an error: none waits in a batch any more.
func (c *Counter) Settle() { c.s.count.settled.Store(c.s.count.handled.Load()) }

// Advance begins to write how far the session has got, in the transaction that has what the stanzas handled so far owe, or
// behind it. It returns nil where there is no journal or nothing new. Otherwise Write is called within a transaction, any
// number of times, and then Done with the outcome.
func (c *Counter) Advance() *Advance {
	d := c.s.durable.Load()
	if d == nil {
		return nil
	}
	d.mu.Lock()
	return d.advance(c.s, c.s.Progress())
}

// Advance is Counter.Advance for anybody. It goes as far only as nothing waits in a batch, because its transaction may be kept
// and that of the batch not. It returns nil also where another is writing.
func (s *Session) Advance() *Advance {
	d := s.durable.Load()
	if d == nil || !d.mu.TryLock() {
		return nil
	}
	p := s.Progress()
	if p.Handled = s.count.settled.Load(); int32(p.Handled-d.written.Handled) < 0 { // XEP-0198#acking: it wraps
		p.Handled = d.written.Handled
	}
	return d.advance(s, p)
}
