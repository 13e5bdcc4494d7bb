package pubsub

import (
	"sync"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// maxRemote bounds the resources elsewhere whose presence is remembered. Beyond it further ones get no notifications of
// personal eventing until others go.
const maxRemote = 200_000

// remote remembers which resources elsewhere are available to which account, with the presence that says what their clients
// understand.
type remote struct {
	mu sync.Mutex
	n  int
	m  map[jid.JID]map[jid.JID]*stanza.Stanza // by account and full JID
}

// RemotePresence notes a presence that an account got from elsewhere. It tells whether the resource is new, or announces
// other features than before.
func (s *Service) RemotePresence(account jid.JID, p *stanza.Stanza) (news bool) {
	r := &s.remote
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.m[account]
	was := list[p.From]
	if p.Type != stanza.TypeAvailable {
		if was != nil {
			delete(list, p.From)
			r.n--
		}
		if len(list) == 0 {
			delete(r.m, account)
		}
		return false
	}
	if was == nil && r.n >= maxRemote {
		return false
	}
	if list == nil {
		if r.m == nil {
			r.m = make(map[jid.JID]map[jid.JID]*stanza.Stanza)
		}
		list = make(map[jid.JID]*stanza.Stanza)
		r.m[account] = list
	}
	if was == nil {
		r.n++
	}
	list[p.From] = p
	return was == nil || !s.h.Capabilities().Same(was, p)
}

// of returns the presence of the resources of somebody elsewhere, as an account has it.
func (r *remote) of(account, who jid.JID) (out []*stanza.Stanza) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for full, p := range r.m[account] {
		if full.Bare() == who {
			out = append(out, p)
		}
	}
	return out
}
