package roster

import (
	"container/list"
	"sync"
	"time"

	"sabir/xmpp/jid"
)

// Bounds of the cache. An item takes some 150 bytes.
const (
	maxCached      = 10_000  // rosters
	maxCachedItems = 500_000 // items in all of them
)

// removedFor is how long the roster of a removed account is kept out of the cache: the transaction that deletes it ends
// after we learn of it, and a read in between still sees the old one.
const removedFor = time.Minute

// cache keeps the rosters that were used last. What it holds is what is in the database, as this process is the only one
// that writes rosters; whoever changes that calls drop.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[jid.JID]*list.Element
	order   *list.List // of *entry, that used last in front
	items   int
	removed map[jid.JID]time.Time
}

type entry struct {
	account jid.JID
	items   *items
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: map[jid.JID]*list.Element{}, order: list.New(), removed: map[jid.JID]time.Time{}}
}

// get returns the roster of an account, or nil.
func (c *cache) get(account jid.JID) *items {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[account]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*entry).items
}

// put keeps the roster of an account and drops those not used for longest.
func (c *cache) put(account jid.JID, it *items) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(account)
	if t, ok := c.removed[account]; ok {
		if c.now().Sub(t) < removedFor {
			return
		}
		delete(c.removed, account)
	}
	c.entries[account] = c.order.PushFront(&entry{account, it})
	c.items += len(it.all)
	for c.order.Len() > 1 && (c.order.Len() > maxCached || c.items > maxCachedItems) {
		c.remove(c.order.Back().Value.(*entry).account)
	}
}

// drop forgets the roster of an account: it has changed, or may have.
func (c *cache) drop(account jid.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(account)
}

// bar is drop for an account that is being removed.
func (c *cache) bar(account jid.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(account)
	now := c.now()
	for a, t := range c.removed {
		if now.Sub(t) >= removedFor {
			delete(c.removed, a)
		}
	}
	c.removed[account] = now
}

func (c *cache) remove(account jid.JID) {
	if e := c.entries[account]; e != nil {
		c.items -= len(e.Value.(*entry).items.all)
		c.order.Remove(e)
		delete(c.entries, account)
	}
}

// locks serialises the changes of each roster, so that versions and pushes are in order. Nothing is routed while a lock is
// held: the recipient's side may come back for the same one.
type locks struct {
	mu sync.Mutex
	m  map[jid.JID]*lock
}

type lock struct {
	mu    sync.Mutex
	users int
}

// lock takes the lock of an account and returns what releases it.
func (l *locks) lock(account jid.JID) (unlock func()) {
	l.mu.Lock()
	if l.m == nil {
		l.m = map[jid.JID]*lock{}
	}
	k := l.m[account]
	if k == nil {
		k = &lock{}
		l.m[account] = k
	}
	k.users++
	l.mu.Unlock()
	k.mu.Lock()
	return func() {
		k.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.m, account)
		}
	}
}
