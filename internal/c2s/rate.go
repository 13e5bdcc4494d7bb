package c2s

import (
	"time"

	"sabir/internal/incoming"
)

// backlogShare is the part of its queue's room that a client may fill with answers to itself before it is read no
// more. The rest is for what others send to it.
const backlogShare = 8

// yield waits while much waits to be written to the client: who does not read what he is answered is not asked for more
// (RFC 6120 §13.12; Openfire CVE-2008-1728). It ends with the stream at the latest, as a write does that takes too long.
func (c *clientStream) yield() {
	s := c.session.Load()
	if s == nil || s.Queue.Bytes() == 0 {
		return
	}
	room := c.limits().QueueBytes / backlogShare
	if s.Queue.Bytes() <= room {
		return
	}
	c.flush() // or what waits is not even on its way
	s.Queue.Drain(room)
}

// pause waits, or until the stream has ended.
func (c *clientStream) pause(d time.Duration) { incoming.Pause(d, c.done) }

// setEnded notes that the stream has ended.
func (c *clientStream) setEnded() {
	if c.ended.CompareAndSwap(false, true) {
		close(c.done)
	}
}
