package c2s

import "time"

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
