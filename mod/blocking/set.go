package blocking

import (
	"sabir/xmpp/jid"
)

// set is what one account has blocked. It is immutable.
type set map[jid.JID]struct{}

// blocks tells whether an address is blocked, by itself or by what contains it (XEP-0191#matching): itself, the bare JID
// of a full one, the resource of a domain, the domain.
func (s set) blocks(j jid.JID) bool {
	if len(s) == 0 || j.IsZero() {
		return false
	}
	if s.has(j) || s.has(j.Bare()) {
		return true
	}
	return j.Local() != "" && s.has(j.DomainJID())
}

func (s set) has(j jid.JID) bool {
	_, ok := s[j]
	return ok
}

// with returns s and these items.
func (s set) with(items []jid.JID) set {
	n := make(set, len(s)+len(items))
	for j := range s {
		n[j] = struct{}{}
	}
	for _, j := range items {
		n[j] = struct{}{}
	}
	return n
}

// without returns s less these items.
func (s set) without(items []jid.JID) set {
	n := make(set, len(s))
	for j := range s {
		n[j] = struct{}{}
	}
	for _, j := range items {
		delete(n, j)
	}
	return n
}
