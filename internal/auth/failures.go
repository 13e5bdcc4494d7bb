package auth

import (
	"net/netip"
	"sync"
	"time"
)

// maxFailures bounds the pairs of account and address whose failures are remembered.
const maxFailures = 50_000

// failures counts failed logins of an account from an address within a window, so that a password is not guessed online
// (RFC 6120 §6.4.5). Another address of the same account is not affected: nobody can lock a user out.
type failures struct {
	mu sync.Mutex
	by map[failureKey]*failureCount
}

type failureKey struct {
	account string
	network netip.Addr
}

type failureCount struct {
	n     int
	until time.Time
}

func newFailures() *failures { return &failures{by: make(map[failureKey]*failureCount)} }

func failureOf(account string, a netip.Addr) failureKey {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil { // one customer of IPv6 has a whole /64
			a = p.Addr()
		}
	}
	return failureKey{account, a}
}

// exceeded tells whether there were limit failures or more in the window that is open; 0 is no limit.
func (f *failures) exceeded(k failureKey, limit int, now time.Time) bool {
	if limit <= 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.by[k]
	return c != nil && now.Before(c.until) && c.n >= limit
}

// add counts a failure. The window begins with the first.
func (f *failures) add(k failureKey, window time.Duration, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.by[k]
	if c == nil || !now.Before(c.until) {
		if len(f.by) >= maxFailures {
			f.shrink(now)
		}
		c = &failureCount{until: now.Add(window)}
		f.by[k] = c
	}
	c.n++
}

// shrink makes room: what is over goes, and where that is not enough, any.
func (f *failures) shrink(now time.Time) {
	for k, c := range f.by {
		if !now.Before(c.until) {
			delete(f.by, k)
		}
	}
	for k := range f.by {
		if len(f.by) < maxFailures*9/10 {
			return
		}
		delete(f.by, k)
	}
}

// clear forgets the failures after a success.
func (f *failures) clear(k failureKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, k)
}
