package c2s

import (
	"sync"
	"time"

	"sabir/internal/resume"
	"sabir/xmpp/jid"
	"sabir/xmpp/sm"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// keepGhosts is how long it is known how far a session got that timed out (XEP-0198#resumption), and maxGhosts of how many.
const (
	keepGhosts = 24 * time.Hour
	maxGhosts  = 20000
)

// registry knows the sessions that can be resumed, and those that could be. Its methods may be called from any goroutine.
type registry struct {
	mu     sync.Mutex
	there  map[resume.ID]*managed
	ghosts map[resume.ID]ghost
}

// ghost is what is known of a session that is over because its client did not come back.
type ghost struct {
	account jid.JID
	handled uint32
	until   time.Time
}

func newRegistry() *registry {
	return &registry{there: make(map[resume.ID]*managed), ghosts: make(map[resume.ID]ghost)}
}

func (r *registry) add(m *managed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.there[m.id] = m
}

func (r *registry) remove(m *managed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.there[m.id] == m {
		delete(r.there, m.id)
	}
}

func (r *registry) all() []*managed {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*managed, 0, len(r.there))
	for _, m := range r.there {
		all = append(all, m)
	}
	return all
}

// find returns the session of an SM-ID, or the answer that there is none. That of another account is unknown.
func (r *registry) find(id resume.ID, account jid.JID) (*managed, *xmlstream.Element) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.there[id]; m != nil && m.s.JID().Bare() == account {
		return m, nil
	}
	if g, ok := r.ghosts[id]; ok && g.account == account {
		return nil, sm.FailedAt(stanza.ItemNotFound, g.handled)
	}
	return nil, sm.Failed(stanza.ItemNotFound)
}

// haunt remembers how far a session has got.
func (r *registry) haunt(m *managed, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ghosts) < maxGhosts {
		r.ghosts[m.id] = ghost{m.s.JID().Bare(), m.s.Handled(), now.Add(keepGhosts)}
	}
}

// expire ends the sessions whose clients have not come back in time, and forgets old ghosts.
func (r *registry) expire(now time.Time) {
	for _, m := range r.all() {
		if at, ok := m.waits(); ok && now.Sub(at) > m.max && m.in.Idle() { // or the reader of its last stream is still at work
			r.haunt(m, now) // before anybody can ask
			if !m.giveUp() {
				r.mu.Lock()
				delete(r.ghosts, m.id)
				r.mu.Unlock()
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, g := range r.ghosts {
		if now.After(g.until) {
			delete(r.ghosts, id)
		}
	}
}

// oldestParked returns the session of an account that has waited longest for its client, or nil.
func (r *registry) oldestParked(account jid.JID) *managed {
	var oldest *managed
	var since time.Time
	for _, m := range r.all() {
		if m.s.JID().Bare() != account {
			continue
		}
		if at, ok := m.waits(); ok && (oldest == nil || at.Before(since)) {
			oldest, since = m, at
		}
	}
	return oldest
}
