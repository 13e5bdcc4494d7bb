package muc

import (
	"strconv"

	"sabir/engine/room"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// The namespaces of XEP-0045 and those beside it.
const (
	nsMUC      = "http://jabber.org/protocol/muc"
	nsUser     = "http://jabber.org/protocol/muc#user"
	nsAdmin    = "http://jabber.org/protocol/muc#admin"
	nsOwner    = "http://jabber.org/protocol/muc#owner"
	nsUnique   = "http://jabber.org/protocol/muc#unique"
	nsRegister = "jabber:iq:register"
	nsVCard    = "vcard-temp"
	nsPing     = "urn:xmpp:ping"
	nsOccupant = "urn:xmpp:occupant-id:0"
	nsRetract  = "urn:xmpp:message-retract:1"
	nsModerate = "urn:xmpp:message-moderate:1"
	nsHints    = "urn:xmpp:hints"
	nsRSM      = "http://jabber.org/protocol/rsm"

	formConfig   = nsMUC + "#roomconfig"
	formInfo     = nsMUC + "#roominfo"
	formRegister = nsMUC + "#register"
	formRequest  = nsMUC + "#request"
)

// code is a status code (XEP-0045#registrar-statuscodes-init).
type code int

// The status codes that a service sends.
const (
	nonAnonymous     code = 100 // who enters: all see the full JIDs
	affiliatedAway   code = 101 // to one whose affiliation changed while away
	configChanged    code = 104
	self             code = 110
	loggedNow        code = 170
	unloggedNow      code = 171
	nonAnonymousNow  code = 172
	semiAnonymousNow code = 173
	created          code = 201
	nickChosen       code = 210 // the service has chosen the nick
	banned           code = 301
	newNick          code = 303
	kicked           code = 307
	noLongerMember   code = 321
	membersOnlyNow   code = 322
	shutDown         code = 332 // removed because the service ends
	failed           code = 333 // removed because of a technical problem
)

func (c code) element() *xmlstream.Element {
	return xmlstream.El(nsUser, "status", xmlstream.A("code", strconv.Itoa(int(c))))
}

// item is the <item/> of muc#user and muc#admin.
type item struct {
	affiliation room.Affiliation
	role        room.Role
	noRole      bool // leave the role out
	jid         jid.JID
	nick        string // of muc#admin, or the new one with status 303
	actor       string // the nick of who did it
	reason      string
	span        // of the versions of the affiliations, where it tells of a change of them
}

func (i item) element(space string) *xmlstream.Element {
	x := xmlstream.El(space, "item", xmlstream.A("affiliation", i.affiliation.String()))
	if !i.noRole {
		x.Add(xmlstream.A("role", i.role.String()))
	}
	if !i.jid.IsZero() {
		x.Add(xmlstream.A("jid", i.jid.String()))
	}
	if i.nick != "" {
		x.Add(xmlstream.A("nick", i.nick))
	}
	if i.actor != "" {
		x.Add(xmlstream.El(space, "actor", xmlstream.A("nick", i.actor)))
	}
	if i.reason != "" {
		x.Add(xmlstream.El(space, "reason", i.reason))
	}
	return x
}

// userX is the <x/> of muc#user with an item and status codes in ascending order.
func userX(i item, codes ...code) *xmlstream.Element {
	x := xmlstream.El(nsUser, "x")
	if i.span != (span{}) {
		x.Add(i.span.element())
	}
	return withCodes(x.Add(i.element(nsUser)), codes)
}

func withCodes(x *xmlstream.Element, codes []code) *xmlstream.Element {
	for _, c := range codes {
		x.Add(c.element())
	}
	return x
}

// ours tells whether only the service puts this element into what it sends (XEP-0045#security-other, XEP-0421#rules).
func ours(n xmlstream.Name) bool {
	return n.Space == nsUser || n.Space == nsMUC || n.Space == nsOccupant || n.Space == nsHats
}

// refusal is the error that a room answers a stanza with, in the room's name (XEP-0045#enter-muc).
func refusal(s *stanza.Stanza, by jid.JID, e *stanza.Error) *stanza.Stanza {
	c := *e
	c.By = by.Bare()
	return s.ErrorReply(&c)
}
