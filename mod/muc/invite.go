package muc

import (
	"time"

	"sabir/engine/room"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// maxInvited bounds the invitations whose answer a room passes on.
const maxInvited = 1000

// bothering is how often an occupant invites others, or asks the moderators for something.
func bothering() pace { return pace{30, 10 * time.Second} }

// invite passes a mediated invitation on (XEP-0045#invite-mediated). A message may hold several.
func (c *chat) invite(t *turn, s *stanza.Stanza, x *xmlstream.Element) error {
	at, err := c.seatOf(s.From)
	if err != nil {
		return err
	}
	switch {
	case c.locked:
		return errNoRoom()
	case at.Role < room.Moderator && !c.cfg.Invites,
		c.cfg.MembersOnly && !c.cfg.Invites && at.Affiliation < room.Admin: // XEP-0045#modifymember
		return stanza.Err(stanza.Forbidden, "you may not invite others to this room")
	}
	for k := range x.Elements() {
		if !k.Is(nsUser, "invite") {
			continue
		}
		to, err := jid.Parse(k.Attr("to"))
		if err != nil {
			return stanza.Err(stanza.JIDMalformed, "an invitation names whom it is for")
		}
		if at.invites.take(bothering(), c.m.h.Clock().Now()) > 0 {
			return stanza.Err(stanza.PolicyViolation, "too many invitations at once").OfType(stanza.Wait)
		}
		if err := c.inviteOne(t, at, to, k); err != nil {
			return err
		}
	}
	return nil
}

func (c *chat) inviteOne(t *turn, at *seat, to jid.JID, k *xmlstream.Element) error {
	if c.affiliation(to.Bare()) == room.Outcast && at.Affiliation < room.Admin {
		return stanza.Err(stanza.NotAllowed, "this user is banned from the room")
	}
	// Into a members-only room an invitation makes a member (XEP-0045#invite-mediated).
	if c.cfg.MembersOnly && c.affiliation(to.Bare()) == room.None {
		if err := c.setAffiliation(t, to.Bare(), associate{affiliation: room.Member}, item{}); err != nil {
			return err
		}
	}
	from := at.jid // in a semi-anonymous room, nobody's address leaves it
	if c.cfg.NonAnonymous {
		from = at.user
	}
	inv := xmlstream.El(nsUser, "invite", xmlstream.A("from", from.String()))
	if reason := k.ChildText(nsUser, "reason"); reason != "" {
		inv.Add(xmlstream.El(nsUser, "reason", reason))
	}
	if next := k.Child(nsUser, "continue"); next != nil { // XEP-0045#continue
		inv.Add(next)
	}
	if len(c.invited) < maxInvited {
		c.invited[to.Bare().Clone()] = at.user
	}
	c.sendInvitation(t, to, inv)
	return nil
}

func (c *chat) sendInvitation(t *turn, to jid.JID, inv *xmlstream.Element) {
	x := xmlstream.El(nsUser, "x", inv)
	if c.cfg.Protected {
		x.Add(xmlstream.El(nsUser, "password", c.cfg.Password))
	}
	m := stanza.New(stanza.Message, stanza.TypeNormal, x)
	m.ID, m.From, m.To = stanza.NewID(), c.jid, to
	t.send(m)
}

// decline tells who has invited somebody that he or she does not come (XEP-0045#invite-mediated). Only who was invited
// can do that.
func (c *chat) decline(t *turn, s *stanza.Stanza, x *xmlstream.Element) error {
	who := s.From.Bare()
	by, ok := c.invited[who]
	if !ok {
		return stanza.Err(stanza.Forbidden, "you were not invited to this room")
	}
	delete(c.invited, who)
	d := xmlstream.El(nsUser, "decline", xmlstream.A("from", who.String()))
	if reason := x.Child(nsUser, "decline").ChildText(nsUser, "reason"); reason != "" {
		d.Add(xmlstream.El(nsUser, "reason", reason))
	}
	m := stanza.New(stanza.Message, stanza.TypeNormal, xmlstream.El(nsUser, "x", d))
	m.ID, m.From, m.To = s.ID, c.jid, c.inviter(by)
	t.send(m)
	return nil
}

// inviter is where to reach who has invited somebody: a client in the room, or where none is, the account.
func (c *chat) inviter(by jid.JID) jid.JID {
	for _, o := range c.of(by) {
		return o.seats[len(o.seats)-1].full
	}
	return by
}

// undelivered tells who has invited somebody that the invitation came back (XEP-0045#invite-mediated), and whether it was one. Why
// it did is not told: that is between the room and the server of the invited. An account of this host that is not there answers
// nobody (RFC 6121 §8.5.1), so that rooms are no way to find out who is.
func (c *chat) undelivered(t *turn, s *stanza.Stanza) bool {
	who := s.From.Bare()
	by, ok := c.invited[who]
	if !ok {
		return false
	}
	delete(c.invited, who)
	m := stanza.New(stanza.Message, stanza.TypeError, xmlstream.El(nsUser, "x", xmlstream.El(nsUser, "invite", xmlstream.A("to", s.From.String()))),
		stanza.Err(stanza.ItemNotFound, "the invitation could not be delivered").Element())
	m.ID, m.From, m.To = s.ID, c.jid, c.inviter(by)
	t.send(m)
	return true
}
