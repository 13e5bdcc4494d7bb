package auth

import "sync"

// maxChanges bounds the accounts of which changes are remembered.
const maxChanges = 10_000

// changes notes which accounts have lost access, in order: a login that was under way meanwhile must not outlast that. Sessions that are
// bound by then are ended by who changes the account; one that is bound later asks here.
type changes struct {
	mu    sync.Mutex
	seq   uint64
	floor uint64 // of changes up to this one it is not known whose they were
	by    map[string]uint64
}

// now returns the last change.
func (c *changes) now() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq
}

// note is called after the change was committed.
func (c *changes) note(local string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	if len(c.by) >= maxChanges {
		c.by, c.floor = nil, c.seq
	}
	if c.by == nil {
		c.by = make(map[string]uint64)
	}
	c.by[local] = c.seq
}

// since tells whether an account has, or may have, changed after seq.
func (c *changes) since(local string, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[local] > seq || c.floor > seq
}

// Stale tells whether the account of a principal has lost access since its login began: by a new password, a revocation, because it was
// disabled or deleted. It is to be asked once its session can be found by those who end sessions then.
func (h *Host) Stale(p *Principal) bool {
	return !p.anonymous && h.changes.since(p.bare.Local(), p.began)
}
