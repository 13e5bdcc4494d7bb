package session

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"sabir/xmpp/jid"
)

// Directory knows the bound resources of this server. Its methods may be called from any goroutine.
type Directory struct {
	seed   maphash.Seed
	shards [64]shard
	n      atomic.Int64
}

type shard struct {
	mu sync.RWMutex
	m  map[jid.JID][]*Session // by bare JID; the slices do not change once stored
}

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed()}
	for i := range d.shards {
		d.shards[i].m = make(map[jid.JID][]*Session)
	}
	return d
}

func (d *Directory) shard(bare jid.JID) *shard {
	return &d.shards[maphash.String(d.seed, bare.String())%uint64(len(d.shards))]
}

// Sessions returns the resources of an account. The slice is shared and must not be changed.
func (d *Directory) Sessions(bare jid.JID) []*Session {
	sh := d.shard(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.m[bare]
}

// Find returns the resource of this full JID, or nil.
func (d *Directory) Find(full jid.JID) *Session {
	for _, s := range d.Sessions(full.Bare()) {
		if s.jid == full {
			return s
		}
	}
	return nil
}

// Add puts a session in. Where one has the same full JID already, it is taken out and returned: the newcomer wins
// (RFC 6120 §7.7.2.2 case 2). Where the account has max resources besides, it returns false and adds nothing.
func (d *Directory) Add(s *Session, max int) (replaced *Session, ok bool) {
	bare := s.jid.Bare()
	sh := d.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.m[bare]
	kept := make([]*Session, 0, len(old)+1)
	for _, o := range old {
		if o.jid == s.jid {
			replaced = o
		} else {
			kept = append(kept, o)
		}
	}
	if len(kept) >= max {
		return nil, false
	}
	sh.m[bare] = append(kept, s)
	if replaced == nil {
		d.n.Add(1)
	}
	return replaced, true
}

// Remove takes a session out. It returns false where it was not in any more.
func (d *Directory) Remove(s *Session) bool {
	bare := s.jid.Bare()
	sh := d.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	old := sh.m[bare]
	i := slices.Index(old, s)
	if i < 0 {
		return false
	}
	d.n.Add(-1)
	if len(old) == 1 {
		delete(sh.m, bare)
		return true
	}
	sh.m[bare] = slices.Concat(old[:i], old[i+1:])
	return true
}

// Len returns the number of sessions.
func (d *Directory) Len() int { return int(d.n.Load()) }

// All returns the sessions of all accounts, in no order.
func (d *Directory) All() []*Session {
	var all []*Session
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.RLock()
		for _, ss := range sh.m {
			all = append(all, ss...)
		}
		sh.mu.RUnlock()
	}
	return all
}
