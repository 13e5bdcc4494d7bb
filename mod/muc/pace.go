package muc

import (
	"sync"
	"time"

	"sabir/xmpp/jid"
)

// pace is how often something may be done that reaches strangers or costs much: so many times at once, and once more after each span
// of every.
type pace struct {
	most  int
	every time.Duration
}

// budget is what somebody has spent of a pace. The zero value is one of whom nothing is known.
type budget struct {
	spent float64
	at    time.Time
}

// take spends one, or returns how long there is none.
func (b *budget) take(p pace, now time.Time) (wait time.Duration) {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()/p.every.Seconds())
	b.at = now
	if over := b.spent + 1 - float64(p.most); over > 0 {
		return time.Duration(over * float64(p.every))
	}
	b.spent++
	return 0
}

// paces are the budgets of many at one pace.
type paces struct {
	pace
	mu  sync.Mutex
	all map[jid.JID]*budget
}

// maxPaces bounds those who are remembered. Beyond it all begin anew.
const maxPaces = 20_000

func newPaces(p pace) *paces { return &paces{pace: p, all: make(map[jid.JID]*budget)} }

// take spends one of somebody's, or returns how long there is none.
func (p *paces) take(who jid.JID, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.all[who]
	if b == nil {
		if len(p.all) >= maxPaces {
			clear(p.all)
		}
		b = &budget{}
		p.all[who.Clone()] = b
	}
	return b.take(p.pace, now)
}
