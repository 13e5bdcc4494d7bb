package mam

import (
	"sync"

	"sabir/engine/lru"
	"sabir/xmpp/jid"
	wire "sabir/xmpp/payload/mam"
)

// prefsCached bounds the accounts whose preferences are remembered.
const prefsCached = 50_000

// cache remembers preferences, as this process is the only one that writes those of its accounts. What was read before a
// change and comes after it is not kept.
type cache struct {
	of *lru.Cache[jid.JID, wire.Prefs]

	mu      sync.Mutex
	changes int
	removed []jid.JID // accounts whose removal may not have been committed yet when they were dropped
}

func newCache() cache { return cache{of: lru.New[jid.JID, wire.Prefs](prefsCached)} }

// get returns what is remembered, or where it is not, the point in time for put.
func (c *cache) get(account jid.JID) (p wire.Prefs, at int, ok bool) {
	if p, ok = c.of.Get(account); ok {
		return p, 0, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return p, c.changes, false
}

// put remembers what was read after the call of get that returned at.
func (c *cache) put(account jid.JID, p wire.Prefs, at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at == c.changes {
		c.of.Put(account, p)
	}
}

// changed forgets an account. It is called after the change was written.
func (c *cache) changed(account jid.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.of.Delete(account)
}

// remove is changed within the transaction that removes the account. After that, forget is called.
func (c *cache) remove(account jid.JID) {
	c.changed(account)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = append(c.removed, account)
}

// forget forgets the removed accounts for good.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for _, account := range c.removed {
		c.of.Delete(account)
	}
	c.removed = nil
}
