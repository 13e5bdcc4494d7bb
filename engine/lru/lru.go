// Package lru owns a bounded map that forgets what was not used of late. Extensions keep in it what they could read again
// from the database.
package lru

import (
	"sync"
	"sync/atomic"
)

// Cache is the map. Its methods may be called from any goroutine; readers do not wait for each other.
//
// It keeps no list in the order of use, which each reader would have to change, but lets a hand go round the entries: one
// that was used since the hand came by stays, the first that was not makes room.
type Cache[K comparable, V any] struct {
	limit int

	mu   sync.RWMutex
	m    map[K]*entry[K, V]
	ring []*entry[K, V]
	hand int
}

// entry is replaced and not changed, but for used and at.
type entry[K comparable, V any] struct {
	key   K
	value V
	at    int // its place in the ring
	used  atomic.Bool
}

// New returns an empty cache that holds up to limit entries; limit is at least 1.
func New[K comparable, V any](limit int) *Cache[K, V] {
	return &Cache[K, V]{limit: max(limit, 1), m: make(map[K]*entry[K, V])}
}

// Get returns the value of a key and counts as use.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.RLock()
	e := c.m[key]
	c.mu.RUnlock()
	if e == nil {
		var none V
		return none, false
	}
	if !e.used.Load() { // spares the others the line of memory
		e.used.Store(true)
	}
	return e.value, true
}

// Put sets the value of a key. Where that is one too many, another goes.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &entry[K, V]{key: key, value: value}
	switch was := c.m[key]; {
	case was != nil:
		e.at = was.at
		e.used.Store(true)
		c.ring[e.at] = e
	case len(c.ring) < c.limit:
		e.at = len(c.ring)
		c.ring = append(c.ring, e)
	default:
		e.at = c.room()
		delete(c.m, c.ring[e.at].key)
		c.ring[e.at] = e
	}
	c.m[key] = e
}

// room moves the hand to an entry that was not used since it came by last.
func (c *Cache[K, V]) room() int {
	for {
		at := c.hand
		c.hand = (c.hand + 1) % len(c.ring)
		if !c.ring[at].used.Swap(false) {
			return at
		}
	}
}

// Delete forgets a key.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.m[key]
	if e == nil {
		return
	}
	delete(c.m, key)
	n := len(c.ring) - 1
	last := c.ring[n]
	c.ring[e.at], last.at = last, e.at
	c.ring[n] = nil
	c.ring = c.ring[:n]
	if c.hand >= n {
		c.hand = 0
	}
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.m)
}
