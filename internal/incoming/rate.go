package incoming

import "time"

// Bucket bounds the bytes, or stanzas, per second that are read from somebody. Who is above the rate is read more slowly, which TCP passes
// on to him. It has no lock.
type Bucket struct {
	rate, burst float64
	level       float64 // used up of the burst
	last        time.Time
}

// maxPause bounds how long a stream is not read at a time, so that pings and ends of streams are seen.
const maxPause = 2 * time.Second

// NewBucket returns a bucket for so many per second in the long run, 0 for no bound, and burst at once.
func NewBucket(rate, burst int) Bucket { return Bucket{rate: float64(rate), burst: float64(burst)} }

// Set changes the rate, and keeps what was used up.
func (b *Bucket) Set(rate, burst int) { b.rate, b.burst = float64(rate), float64(burst) }

// Take accounts for n and returns how long not to read.
func (b *Bucket) Take(n int, now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	b.level = max(0, b.level-b.rate*now.Sub(b.last).Seconds()) + float64(n)
	b.last = now
	if b.level <= b.burst {
		return 0
	}
	return min(maxPause, time.Duration((b.level-b.burst)/b.rate*float64(time.Second)))
}

// Pause waits for d, or until done is closed: then it returns false.
func Pause(d time.Duration, done <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}
