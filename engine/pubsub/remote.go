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
	m  map[jid.JID]map[jid.JID][]*stanza.Stanza // by account and bare JID; the slices do not change once stored
}

// RemotePresence notes a presence that an account got from elsewhere. It tells whether the resource is new, or announces
// other features than before.
func (s *Service) RemotePresence(account jid.JID, p *stanza.Stanza) (news bool) {
	was, taken := s.remote.set(account, p)
	return taken && (was == nil || !s.h.Capabilities().Same(was, p))
}

// set keeps a presence in place of the one before, which it returns. taken is false for one that tells of an end, and where
// there are too many.
func (r *remote) set(account jid.JID, p *stanza.Stanza) (was *stanza.Stanza, taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who, all := p.From.Bare(), r.m[account]
	var rest []*stanza.Stanza
	for _, x := range all[who] {
		if x.From == p.From {
			was = x
		} else {
			rest = append(rest, x)
		}
	}
	if was != nil {
		r.n--
	}
	if taken = p.Type == stanza.TypeAvailable && r.n < maxRemote; taken {
		rest = append(rest, p)
		r.n++
	}
	switch {
	case len(rest) > 0 && all == nil:
		if r.m == nil {
			r.m = make(map[jid.JID]map[jid.JID][]*stanza.Stanza)
		}
		r.m[account] = map[jid.JID][]*stanza.Stanza{who: rest}
	case len(rest) > 0:
		all[who] = rest
	default:
		if delete(all, who); len(all) == 0 {
			delete(r.m, account)
		}
	}
	return was, taken
}

// of returns the presence of the resources of somebody elsewhere, as an account has it. The slice is shared.
func (r *remote) of(account, who jid.JID) []*stanza.Stanza {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m[account][who]
}
