package session

import (
	"context"
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
	// leaving are those that are out and hold messages that have no other place yet.
	leaving map[jid.JID]map[*Session]chan struct{}
}

// NewDirectory returns an empty directory.
func NewDirectory() *Directory {
	d := &Directory{seed: maphash.MakeSeed()}
	for i := range d.shards {
		d.shards[i].m = make(map[jid.JID][]*Session)
		d.shards[i].leaving = make(map[jid.JID]map[*Session]chan struct{})
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
// (RFC 6120 §7.7.2.2 case 2), and Gone is owed for it. Where the account has max resources besides, it returns false and adds
// nothing.
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
	} else {
		sh.leave(bare, replaced)
	}
	return replaced, true
}

// leave notes that a session is out. sh.mu is held.
func (sh *shard) leave(bare jid.JID, s *Session) {
	if sh.leaving[bare] == nil {
		sh.leaving[bare] = make(map[*Session]chan struct{})
	}
	sh.leaving[bare][s] = make(chan struct{})
}

// Gone says that all that a session held, which is out, has its place elsewhere.
func (d *Directory) Gone(s *Session) {
	bare := s.jid.Bare()
	sh := d.shard(bare)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if gone := sh.leaving[bare][s]; gone != nil {
		close(gone)
		if delete(sh.leaving[bare], s); len(sh.leaving[bare]) == 0 {
			delete(sh.leaving, bare)
		}
	}
}

// AwaitGone waits until what the sessions of an account held that are out has its places: a session that takes messages from
// now on would get new ones before those. It returns the cause where ctx ends before.
func (d *Directory) AwaitGone(ctx context.Context, bare jid.JID) error {
	for _, gone := range d.leaving(bare) {
		select {
		case <-gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (d *Directory) leaving(bare jid.JID) (all []chan struct{}) {
	sh := d.shard(bare)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for _, gone := range sh.leaving[bare] {
		all = append(all, gone)
	}
	return all
}

// Remove takes a session out, for which Gone is owed then. It returns false where it was not in any more.
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
	sh.leave(bare, s)
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
