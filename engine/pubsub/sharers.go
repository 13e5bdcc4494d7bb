package pubsub

import (
	"sync"

	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	// maxSharers bounds those who are remembered, maxSharersOf those of one account, so that a crowd around one leaves room for others.
	// Further ones are not subscribed, until some go.
	maxSharers, maxSharersOf = 50_000, 200
	// maxShared bounds what is remembered of a presence, in bytes.
	maxShared = 4 << 10
)

// sharers remembers the resources that have sent their presence to an account without a subscription to its presence, by directed
// presence as a rule, with what it says of their clients. They are subscribed to the open nodes of the account until their
// presence ends (XEP-0060#auto-subscribe-directed).
type sharers struct {
	mu sync.Mutex
	n  int
	m  map[jid.JID]map[jid.JID]*stanza.Stanza // by account and full JID
}

// Announcement returns what of a presence says what its client understands (XEP-0115, XEP-0390), by itself: a small copy of what may
// be large. It is nil where a presence says nothing of it.
func Announcement(p *stanza.Stanza) *stanza.Stanza {
	c := p.Clone()
	c.To, c.ID = jid.JID{}, ""
	c.Remove(func(n xmlstream.Name) bool { return n.Local != "c" })
	if c.NumChildren() == 0 {
		return nil
	}
	f, err := xmlstream.ParseFrame(string(c.Append(nil, stanza.NSClient)), xmlstream.DefaultLimits)
	if err != nil {
		return nil
	}
	s, bad := stanza.FromFrame(f)
	if bad != nil {
		return nil
	}
	return s
}

// SharedPresence notes the available presence that an account got from somebody who is not subscribed to its presence. It tells
// whether the resource is new, or announces other features than before.
func (s *Service) SharedPresence(account jid.JID, p *stanza.Stanza) (news bool) {
	a := Announcement(p)
	if a == nil || len(a.String()) > maxShared { // what it wants is not known, and nothing is sent to it
		s.EndShared(account, p.From)
		return false
	}
	was, taken := s.sharers.put(account, a)
	return taken && (was == nil || !s.h.Capabilities().Same(was, a))
}

// EndShared forgets a resource whose presence SharedPresence has noted, and returns what it has announced, or nil.
func (s *Service) EndShared(account, who jid.JID) *stanza.Stanza {
	return s.sharers.delete(account, who)
}

// put keeps a presence in place of the one before, which it returns. taken is false where there are too many.
func (h *sharers) put(account jid.JID, p *stanza.Stanza) (was *stanza.Stanza, taken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.m[account]
	was = all[p.From]
	if was == nil && (h.n >= maxSharers || len(all) >= maxSharersOf) {
		return nil, false
	}
	if h.m == nil {
		h.m = make(map[jid.JID]map[jid.JID]*stanza.Stanza)
	}
	if all == nil {
		all = make(map[jid.JID]*stanza.Stanza)
		h.m[account] = all
	}
	if was == nil {
		h.n++
	}
	all[p.From] = p
	return was, true
}

// delete forgets one, and returns its presence, or nil.
func (h *sharers) delete(account, who jid.JID) *stanza.Stanza {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.m[account]
	was := all[who]
	if was == nil {
		return nil
	}
	h.n--
	if delete(all, who); len(all) == 0 {
		delete(h.m, account)
	}
	return was
}

// forget forgets all of an account.
func (h *sharers) forget(account jid.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n -= len(h.m[account])
	delete(h.m, account)
}

func (h *sharers) has(account, who jid.JID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m[account][who] != nil
}

// of returns what those of an account have announced.
func (h *sharers) of(account jid.JID) []*stanza.Stanza {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*stanza.Stanza
	for _, p := range h.m[account] {
		list = append(list, p)
	}
	return list
}
