package s2s

import (
	"context"
	"sync"
	"time"

	"sabir/internal/incoming"
)

// rate bounds the bytes per second that are read from one domain, over all of its streams.
type rate struct {
	mu     sync.Mutex
	bucket incoming.Bucket
}

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
		r = new(rate)
		s.rates[domain] = r
	}
	s.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bucket.Set(set.ByteRate, set.ByteBurst)
	return r.bucket.Take(n, now)
}

// sweepEvery is how often Sweep looks.
const sweepEvery = time.Minute

// keepLink is how long a link is kept that nobody uses.
const keepLink = 10 * time.Minute

// Sweep forgets rates, links and streams that nobody has used for a while, until ctx ends.
func (s *Server) Sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := s.o.Clock.Now()
			s.sweep(now)
			s.endExpired(now)
		}
	}
}

func (s *Server) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, r := range s.rates {
		r.mu.Lock()
		if now.Sub(r.bucket.Used()) > keepLink {
			delete(s.rates, d)
		}
		r.mu.Unlock()
	}
	for p, l := range s.links {
		l.mu.Lock()
		if l.on == nil && l.spare == nil && l.bytes == 0 && now.Sub(l.used) > keepLink {
			delete(s.links, p)
		}
		l.mu.Unlock()
	}
	s.forgetResumables(now)
}
