// Package urgency owns the judgement whether a stanza is worth a user's attention now. Extensions that wake devices
// (XEP-0357) or spare those whose users look away (XEP-0352) share it, so that what wakes a device and what reaches it
// are the same.
package urgency

import (
	"sabir/xmpp/payload/forward"
	"sabir/xmpp/payload/sid"
	"sabir/xmpp/stanza"
)

const (
	nsChatStates = "http://jabber.org/protocol/chatstates"
	nsReceipts   = "urn:xmpp:receipts"
	nsMarkers    = "urn:xmpp:chat-markers:0"
	nsHints      = "urn:xmpp:hints"
	nsEvent      = "http://jabber.org/protocol/pubsub#event"
	nsDelay      = "urn:xmpp:delay"
	nsCarbons    = "urn:xmpp:carbons:2"
	nsMUCUser    = "http://jabber.org/protocol/muc#user"
	nsConference = "jabber:x:conference"
	nsMentions   = "urn:xmpp:mmn:0"
	nsRetract    = "urn:xmpp:message-retract:1"
	nsJingle     = "urn:xmpp:jingle-message:0"
	nsOMEMO1     = "eu.siacs.conversations.axolotl"
	nsOMEMO2     = "urn:xmpp:omemo:2"
	nsOpenPGP    = "urn:xmpp:openpgp:0"
	nsPGP        = "jabber:x:encrypted"
)

// Class says how urgent a stanza is for the client that it is sent to.
type Class uint8

// The classes, the most urgent first.
const (
	// Now is what a user or the client waits for.
	Now Class = iota
	// Later may wait for something of class Now; it is not to be lost.
	Later
	// State may wait, and a newer one from the same sender with the same Key stands for it.
	State
)

// Key tells apart the states of one sender.
type Key uint8

// The states that a sender has.
const (
	NoState   Key = iota
	Presence      // of a full JID
	ChatState     // what the sender is doing in a conversation
)

// Of returns how urgent a stanza is, and of which state it tells where it is of class State.
func Of(s *stanza.Stanza) (Class, Key) {
	switch s.Kind {
	case stanza.Presence:
		if s.Type == stanza.TypeAvailable || s.Type == stanza.TypeUnavailable {
			return State, Presence
		}
		return Now, NoState // requests and their answers, errors
	case stanza.Message:
		return ofMessage(s)
	}
	return Now, NoState
}

func ofMessage(s *stanza.Stanza) (Class, Key) {
	if s.Type == stanza.TypeError {
		return Now, NoState
	}
	class, key := Later, NoState
	states, others := 0, 0
	for n := range s.ChildNames() {
		switch n.Space {
		case nsHints, sid.NS, nsDelay:
		case nsChatStates:
			states++
		case nsReceipts, nsMarkers, nsEvent:
			others++
		case nsCarbons:
			return ofCarbon(s, n.Local)
		case stanza.NSClient:
			if n.Local != "thread" {
				return Now, NoState
			}
		default:
			return Now, NoState
		}
	}
	if states > 0 && others == 0 {
		class, key = State, ChatState
	}
	return class, key
}

// ofCarbon judges a copy (XEP-0280) by the message in it. A state in a copy is that of another sender than the copy's, so
// it waits without standing for others.
func ofCarbon(s *stanza.Stanza, local string) (Class, Key) {
	c := s.Child(nsCarbons, local)
	if c == nil {
		return Now, NoState
	}
	f, err := forward.Parse(c.Child(forward.NS, "forwarded"))
	if err != nil || f.Stanza == nil || f.Stanza.Kind != stanza.Message || f.Stanza.Has(nsCarbons, "received") || f.Stanza.Has(nsCarbons, "sent") {
		return Now, NoState
	}
	if class, _ := ofMessage(f.Stanza); class == Now {
		return Now, NoState
	}
	return Later, NoState
}

// Notifies tells whether a message is worth waking a device for: it has a text, open or encrypted, it is a call, an
// invitation to a room, or tells of a mention in one (XEP-0452). One that takes another back has a text for old clients only.
func Notifies(s *stanza.Stanza) bool {
	if s.Kind != stanza.Message || s.Type == stanza.TypeError || s.Type == stanza.TypeHeadline {
		return false
	}
	for n := range s.ChildNames() {
		switch n.Space {
		case stanza.NSClient:
			if n.Local == "body" {
				return !s.Has(nsRetract, "retract")
			}
		case nsOMEMO1, nsOMEMO2:
			if n.Local == "encrypted" && s.Child(n.Space, n.Local).Child(n.Space, "payload") != nil { // otherwise keys alone
				return true
			}
		case nsOpenPGP, nsPGP, nsConference, nsMentions:
			return true
		case nsJingle:
			if n.Local == "propose" || n.Local == "retract" {
				return true
			}
		case nsMUCUser:
			if n.Local == "x" && s.Child(nsMUCUser, "x").Child(nsMUCUser, "invite") != nil {
				return true
			}
		}
	}
	return false
}
