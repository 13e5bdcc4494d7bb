package offline

import (
	"sync"
	"time"

	"sabir/xmpp/jid"
)

// promised are the messages that were accepted and are not known to be written yet: the messages of one batch do not see
// each other in the store. A promise that is not kept, because the write failed, is forgotten after a while.
type promised struct {
	mu sync.Mutex
	m  map[jid.JID][]promise
}

type promise struct {
	size int
	at   time.Time
}

// forget is how long a promise counts at most. A write takes far less.
const forget = time.Minute

// live drops the promises to an account that are too old and returns the others. p.mu is held.
func (p *promised) live(account jid.JID, now time.Time) []promise {
	list := p.m[account]
	for len(list) > 0 && now.Sub(list[0].at) >= forget {
		list = list[1:]
	}
	if len(list) == 0 {
		delete(p.m, account)
		return nil
	}
	p.m[account] = list
	return list
}

// add promises a message of this size, unless with it and with what was promised before there would be more than room for
// so many messages and bytes.
func (p *promised) add(account jid.JID, size int, now time.Time, messages, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.live(account, now)
	for _, o := range list {
		bytes -= o.size
	}
	if len(list) >= messages || size > bytes {
		return false
	}
	if p.m == nil {
		p.m = make(map[jid.JID][]promise)
	}
	p.m[account] = append(list, promise{size, now})
	return true
}

// kept takes the oldest promise back, since a message was written.
func (p *promised) kept(account jid.JID, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if list := p.live(account, now); len(list) > 0 {
		p.m[account] = list[1:]
		p.live(account, now)
	}
}

// sweep drops what is too old of all accounts.
func (p *promised) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for account := range p.m {
		p.live(account, now)
	}
}
