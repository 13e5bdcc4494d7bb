package s2s

import (
	"context"
	"sync"
	"time"
)

// rate bounds the bytes per second that are read from one domain, over all of its streams. A domain above it is read more
// slowly, which TCP passes on to it.
type rate struct {
	mu    sync.Mutex
	level float64 // bytes used up of the burst
	last  time.Time
}

// maxPause bounds how long a stream is not read at a time, so that the end of streams is seen.
const maxPause = 2 * time.Second

// take accounts for n bytes of a stream and returns how long not to read it. Streams without a domain are bounded by their
// time and the size of what they may send.
func (s *Server) take(c *inStream, n int) time.Duration {
	set := s.settings()
	if set.ByteRate <= 0 || !c.trusted.Load() {
		return 0
	}
	domain := *c.remote.Load()
	now := s.o.Clock.Now()
	s.mu.Lock()
	r := s.rates[domain]
	if r == nil {
		r = &rate{last: now}
		s.rates[domain] = r
	}
	s.mu.Unlock()
	return r.take(n, now, float64(set.ByteRate), float64(set.ByteBurst))
}

func (r *rate) take(n int, now time.Time, perSecond, burst float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.level = max(0, r.level-perSecond*now.Sub(r.last).Seconds()) + float64(n)
	r.last = now
	if r.level <= burst {
		return 0
	}
	return min(maxPause, time.Duration((r.level-burst)/perSecond*float64(time.Second)))
}

// sweepEvery is how often Sweep looks.
const sweepEvery = time.Minute

// keepLink is how long a link is kept that nobody uses.
const keepLink = 10 * time.Minute

// Sweep forgets rates and links that nobody has used for a while, until ctx ends.
func (s *Server) Sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.sweep(s.o.Clock.Now())
		}
	}
}

func (s *Server) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, r := range s.rates {
		r.mu.Lock()
		if now.Sub(r.last) > keepLink {
			delete(s.rates, d)
		}
		r.mu.Unlock()
	}
	for p, l := range s.links {
		l.mu.Lock()
		if !l.running && l.peer == nil && len(l.waiting)+len(l.sent) == 0 && now.Sub(l.used) > keepLink {
			delete(s.links, p)
		}
		l.mu.Unlock()
	}
}
