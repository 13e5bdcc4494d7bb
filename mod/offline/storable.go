package offline

import (
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

const (
	nsChatStates = "http://jabber.org/protocol/chatstates"
	nsHints      = "urn:xmpp:hints"
)

// storable tells whether a message is one that waits for its recipient: of type normal or chat (XEP-0160#types), to the
// account and not, unless of type chat, to a resource that is gone (RFC 6121 §8.5.3.2.1).
func storable(s *stanza.Stanza) bool {
	switch s.Type {
	case stanza.TypeChat:
	case stanza.TypeNormal:
		if s.To.IsFull() {
			return false
		}
	default:
		return false
	}
	if s.Has(nsHints, "no-store") { // XEP-0334#no-store
		return false
	}
	return s.Has(nsHints, "store") || !onlyChatState(s)
}

// onlyChatState tells whether a message says nothing but what its sender is doing (XEP-0160#types), a thread and ids
// aside.
func onlyChatState(s *stanza.Stanza) bool {
	state := false
	for n := range s.ChildNames() {
		switch {
		case n.Space == nsChatStates:
			state = true
		case n.Space == nsHints, n.Space == sid.NS, n.Space == stanza.NSClient && n.Local == "thread":
		default:
			return false
		}
	}
	return state
}
