package mam

import (
	"strings"

	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

const (
	nsHints     = "urn:xmpp:hints"
	nsRetract   = "urn:xmpp:message-retract:1"
	nsReceipts  = "urn:xmpp:receipts"
	nsMarkers   = "urn:xmpp:chat-markers:0"
	nsReactions = "urn:xmpp:reactions:0"
	nsCorrect   = "urn:xmpp:message-correct:0"
	nsAttach    = "urn:xmpp:message-attaching:1"
	nsFasten    = "urn:xmpp:fasten:0"
	nsCalls     = "urn:xmpp:jingle-message:0"
	nsInvites   = "urn:xmpp:call-invites:0"
	nsDirect    = "jabber:x:conference"
	nsMUCUser   = "http://jabber.org/protocol/muc#user"
	nsAxolotl   = "eu.siacs.conversations.axolotl"
	nsOMEMO     = "urn:xmpp:omemo:"
	nsOpenPGP   = "urn:xmpp:openpgp:0"
	nsPGP       = "jabber:x:encrypted"
)

// verdict is what the children of a message say about archiving it. See the package comment for the table.
type verdict struct {
	no, yes bool
	// said: it has words or encrypted ones, which its sender may retract later.
	said bool
	// retract: it takes back another.
	retract bool
}

func judge(s *stanza.Stanza) verdict {
	var v verdict
	for n := range s.ChildNames() {
		switch n.Space {
		case nsHints:
			v.no = v.no || n.Local == "no-store" || n.Local == "no-permanent-store"
			v.yes = v.yes || n.Local == "store"
		case stanza.NSClient:
			v.said = v.said || n.Local == "body" || n.Local == "subject"
		case nsRetract:
			v.retract = v.retract || n.Local == "retract"
		case nsMUCUser:
			v.yes = v.yes || n.Local == "x" && s.Child(nsMUCUser, "x").Child(nsMUCUser, "invite") != nil
		default:
			v.said = v.said || encrypted(n)
			v.yes = v.yes || worth(n)
		}
	}
	v.yes = v.yes || v.said || v.retract
	return v
}

// worth tells whether a child makes a message one that other devices have to know.
func worth(n xmlstream.Name) bool {
	switch n.Space {
	case nsReceipts:
		return n.Local == "received"
	case nsMarkers:
		return n.Local != "markable"
	case nsReactions, nsCorrect, nsAttach, nsFasten, nsCalls, nsInvites, nsDirect:
		return true
	}
	return false
}

func encrypted(n xmlstream.Name) bool {
	switch n.Space {
	case nsAxolotl, nsOpenPGP, nsPGP:
		return true
	}
	return strings.HasPrefix(n.Space, nsOMEMO)
}

// archivable tells whether a message is of a kind that is archived, errors aside.
func archivable(s *stanza.Stanza) (verdict, bool) {
	if s.Type != stanza.TypeChat && s.Type != stanza.TypeNormal {
		return verdict{}, false
	}
	v := judge(s)
	return v, v.yes && !v.no
}
