package s2s

import (
	"context"
	"sync"
	"time"

	"sabir/internal/incoming"
	"sabir/xmpp/jid"
)

// rate bounds the bytes and the stanzas per second that are read from one domain, over all of its streams, whoever has opened them.
type rate struct {
	mu             sync.Mutex
	bytes, stanzas incoming.Bucket
	used           time.Time
}

// take accounts for what has come from a domain that has proved who it is, and returns how long not to read from it. Streams without one
// are bounded by their time and the size of what they may send.
func (s *Server) take(domain jid.JID, bytes, stanzas int) time.Duration {
	set := s.settings()
	if set.ByteRate <= 0 && set.StanzaRate <= 0 {
		return 0
	}
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
	r.used = now
	r.bytes.Set(set.ByteRate, set.ByteBurst)
	r.stanzas.Set(set.StanzaRate, set.StanzaBurst)
	return max(r.bytes.Take(bytes, now), r.stanzas.Take(stanzas, now))
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
		if now.Sub(r.used) > keepLink {
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
