package carbons

import (
	"slices"

	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

const (
	nsReceipts   = "urn:xmpp:receipts"
	nsChatStates = "http://jabber.org/protocol/chatstates"
	nsMarkers    = "urn:xmpp:chat-markers:0"
	nsHints      = "urn:xmpp:hints"
	nsMUCUser    = "http://jabber.org/protocol/muc#user"
	nsConference = "jabber:x:conference"
)

// content is what the rules ask about the children of a message.
type content struct {
	private bool // <private/>
	noCopy  bool // the hint <no-copy/>
	body    bool
	im      bool // a receipt, chat state or chat marker, or the request for one
	muc     bool // <x/> of XEP-0045
	direct  bool // a direct invitation (XEP-0249)
}

func contentOf(s *stanza.Stanza) content {
	var c content
	for n := range s.ChildNames() {
		switch n.Space {
		case ns:
			c.private = c.private || n.Local == "private"
		case nsHints:
			c.noCopy = c.noCopy || n.Local == "no-copy"
		case stanza.NSClient:
			c.body = c.body || n.Local == "body"
		case nsReceipts, nsChatStates, nsMarkers:
			c.im = true
		case nsMUCUser:
			c.muc = c.muc || n.Local == "x"
		case nsConference:
			c.direct = c.direct || n.Local == "x"
		}
	}
	return c
}

// eligible applies XEP-0280#recommended-rules.
func (c *carbons) eligible(p *mod.Pass, to jid.JID) bool {
	s := p.Stanza
	k := contentOf(s)
	switch {
	case k.private, s.Type == stanza.TypeGroupchat:
		return false
	case s.Type == stanza.TypeError: // hints in it are those of the message that it answers (XEP-0334#rules)
		return c.copied.has(to.Bare(), s.From.Bare(), s.ID)
	case k.noCopy: // XEP-0334#no-copy
		return false
	case k.direct, k.muc && mediated(s):
		return true
	case k.muc && p.Side == mod.In && s.From.IsFull():
		return false // the room has sent it to each client of the user that is there
	case k.muc && p.Side == mod.Out && to.IsFull():
		return true
	case s.Type == stanza.TypeChat, k.im:
		return true
	}
	return s.Type == stanza.TypeNormal && k.body
}

// mediated tells whether a message is an invitation that goes by the room (XEP-0045#invite-mediated).
func mediated(s *stanza.Stanza) bool {
	return s.Child(nsMUCUser, "x").Child(nsMUCUser, "invite") != nil
}

// occupants returns the addresses under which the sending session is in the room to whose occupant it writes. It is empty
// for other messages, and where the session is in the room unknown to us.
func occupants(p *mod.Pass, to jid.JID) []jid.JID {
	if p.Side != mod.Out || p.Session == nil || !to.IsFull() || !p.Stanza.Has(nsMUCUser, "x") {
		return nil
	}
	return slices.DeleteFunc(p.Session.Directed(), func(d jid.JID) bool { return !d.IsFull() || d.Bare() != to.Bare() })
}

// shares tells whether a session is in a room under one of these nicknames, or whether there are none: to a client that is
// not there, a private message from there is of no use (the note in XEP-0280#recommended-rules).
func shares(t mod.Session, nicks []jid.JID) bool {
	if len(nicks) == 0 {
		return true
	}
	return slices.ContainsFunc(t.Directed(), func(d jid.JID) bool { return slices.Contains(nicks, d) })
}
