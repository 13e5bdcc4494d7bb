package auth

import (
	"sync"
	"time"

	"sabir/mod"
)

// The bounds of an existence cache. Another process (such as another node, or the command line without a running admin listener)
// may write to the same database: after existsFor its changes are seen.
const (
	maxKnown  = 100_000
	existsFor = 15 * time.Second
)

// existence remembers which accounts exist, and which do not: routing asks for each message. It is exact for what this process
// writes: forget is called after each commit and before the write returns, and what was read before a forget is not kept after it.
type existence struct {
	clock mod.Clock
	mu    sync.RWMutex
	epoch uint64
	by    map[string]knowledge
}

type knowledge struct {
	exists bool
	until  time.Time
}

func newExistence(c mod.Clock) *existence {
	return &existence{clock: c, by: make(map[string]knowledge)}
}

// get returns what is known of a localpart, and the epoch for put.
func (e *existence) get(local string) (exists, ok bool, epoch uint64) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	k, ok := e.by[local]
	if ok && e.clock.Now().After(k.until) {
		ok = false
	}
	return k.exists, ok, e.epoch
}

// put keeps what was read since the get that returned this epoch.
func (e *existence) put(local string, exists bool, epoch uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if epoch != e.epoch {
		return
	}
	if len(e.by) >= maxKnown {
		drop := maxKnown / 10
		for k := range e.by { // in no order, which is as good as any
			delete(e.by, k)
			if drop--; drop == 0 {
				break
			}
		}
	}
	e.by[local] = knowledge{exists, e.clock.Now().Add(existsFor)}
}

// forget drops what is known of some localparts.
func (e *existence) forget(locals ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.epoch++
	for _, l := range locals {
		delete(e.by, l)
	}
}
