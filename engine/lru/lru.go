// Package lru owns a bounded map that forgets what was not used for longest. Extensions keep in it what they could read
// again from the database.
package lru

import (
	"container/list"
	"sync"
)

// Cache is the map. Its methods may be called from any goroutine.
type Cache[K comparable, V any] struct {
	limit int

	mu    sync.Mutex
	order *list.List // of *entry, most recently used first
	m     map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// New returns an empty cache that holds up to limit entries; limit is at least 1.
func New[K comparable, V any](limit int) *Cache[K, V] {
	return &Cache[K, V]{limit: max(limit, 1), order: list.New(), m: make(map[K]*list.Element)}
}

// Get returns the value of a key and counts as use.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.m[key]; ok {
		c.order.MoveToFront(e)
		return e.Value.(*entry[K, V]).value, true
	}
	var none V
	return none, false
}

// Put sets the value of a key and counts as use.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.m[key]; ok {
		e.Value.(*entry[K, V]).value = value
		c.order.MoveToFront(e)
		return
	}
	c.m[key] = c.order.PushFront(&entry[K, V]{key, value})
	if len(c.m) > c.limit {
		last := c.order.Back()
		c.order.Remove(last)
		delete(c.m, last.Value.(*entry[K, V]).key)
	}
}

// Delete forgets a key.
func (c *Cache[K, V]) Delete(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.m[key]; ok {
		c.order.Remove(e)
		delete(c.m, key)
	}
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.m)
}
