package c2s

import "time"

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
func (c *clientStream) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.done:
	}
}

// setEnded notes that the stream has ended.
func (c *clientStream) setEnded() {
	if c.ended.CompareAndSwap(false, true) {
		close(c.done)
	}
}

// bucket bounds the bytes per second that are read from a client. A client above the rate is read more slowly, which
// TCP passes on to it.
type bucket struct {
	rate, burst float64
	level       float64 // bytes used up of the burst
	last        time.Time
}

// maxSleep bounds how long a client is not read at a time, so that pings and ends of streams are seen.
const maxSleep = 2 * time.Second

func newBucket(rate, burst int) bucket { return bucket{rate: float64(rate), burst: float64(burst)} }

// set changes the rate, and keeps what was used up.
func (b *bucket) set(rate, burst int) { b.rate, b.burst = float64(rate), float64(burst) }

// take accounts for n bytes and returns how long not to read.
func (b *bucket) take(n int, now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	b.level = max(0, b.level-b.rate*now.Sub(b.last).Seconds()) + float64(n)
	b.last = now
	if b.level <= b.burst {
		return 0
	}
	return min(maxSleep, time.Duration((b.level-b.burst)/b.rate*float64(time.Second)))
}
