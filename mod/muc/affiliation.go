package muc

import (
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// setAffiliation stores and tells what somebody is to the room from now on. Whether the change is allowed was checked.
func (c *chat) setAffiliation(t *turn, who jid.JID, a associate, i item) error {
	k := move{who.Clone(), a}
	if err := c.storeAffiliations(t, k); err != nil {
		return err
	}
	c.applyAffiliation(t, k, i)
	return nil
}

// storeAffiliations commits changes. A room that is still locked has nothing in the tables yet.
func (c *chat) storeAffiliations(t *turn, moves ...move) error {
	if !c.exists {
		return nil
	}
	return t.write(func(tx mod.Tx) error { return c.writeMoves(t.ctx, tx, moves) })
}

// applyAffiliation changes what is in memory and tells everybody: occupants by presence, who is away by a message
// (XEP-0045#impl-service).
func (c *chat) applyAffiliation(t *turn, k move, i item) {
	before := c.affiliation(k.who)
	_, known := c.associates[k.who]
	i.span = c.become(k.who, k.associate)
	if i.span == (span{}) { // a nick or a reason
		return
	}
	there := c.of(k.who)
	told := c.applyToOccupants(t, k.who, there, i)
	if len(there) == 0 && c.affiliation(k.who) != before {
		c.tellAway(t, k, i, !known)
	}
	if !told {
		c.tellLists(t, k, i)
	}
}

// applyToOccupants gives occupants what their new affiliation gives or takes, and returns whether everybody was told of the change by
// their presence.
func (c *chat) applyToOccupants(t *turn, who jid.JID, there []*occupant, i item) (told bool) {
	if who.Local() == "" { // the list has the domain, not those whom it concerns
		i.span = span{}
	}
	for _, o := range there {
		now := c.affiliation(o.user)
		role := room.RoleAfter(o.Standing, now, c.cfg.Moderated, c.cfg.MembersOnly)
		shown := role
		if role == room.NoRole {
			shown = o.Role
		}
		told = told || i.span != (span{}) && c.cfg.Broadcasts(shown)
		switch {
		case now == room.Outcast: // XEP-0045#ban
			c.remove(t, o, now, i, banned)
		case role == room.NoRole: // XEP-0045#revokemember
			c.remove(t, o, now, i, noLongerMember)
		default:
			c.role(t, o, room.Standing{Affiliation: now, Role: role}, i)
		}
	}
	return told
}

// of returns the occupants that a user, or the users of a domain, have in the room.
func (c *chat) of(who jid.JID) (all []*occupant) {
	for _, o := range c.occupants {
		if o.user == who || who.Local() == "" && o.user.DomainJID() == who {
			all = append(all, o)
		}
	}
	return all
}

// tellAway tells who is not in the room of a new affiliation (XEP-0045#impl-service), and invites a new member of a room of members.
func (c *chat) tellAway(t *turn, k move, i item, fresh bool) {
	if k.affiliation == room.Member && fresh && c.cfg.MembersOnly && i.actor != "" { // XEP-0045#modifymember
		inv := xmlstream.El(nsUser, "invite", xmlstream.A("from", c.jid.String()))
		if i.reason != "" {
			inv.Add(xmlstream.El(nsUser, "reason", i.reason))
		}
		c.sendInvitation(t, k.who, inv)
	}
	if k.who.Local() == "" || k.affiliation == room.Outcast {
		return
	}
	x := item{affiliation: k.affiliation, noRole: true, jid: k.who, reason: i.reason}
	m := stanza.New(stanza.Message, stanza.TypeNormal, userX(x, affiliatedAway))
	m.ID, m.From, m.To = stanza.NewID(), c.jid, k.who
	t.send(m)
}

// tellLists tells the occupants, as far as they see addresses, of a change that no presence tells of (XEP-0045#grantowner,
// XEP-0463#changes).
func (c *chat) tellLists(t *turn, k move, i item) {
	x := item{affiliation: k.affiliation, noRole: true, jid: k.who, reason: i.reason, span: i.span}
	m := stanza.New(stanza.Message, stanza.TypeNormal, userX(x))
	m.ID, m.From = stanza.NewID(), c.jid
	t.send(m, c.clients(func(o *occupant) bool { return c.cfg.Shows(o.Role) })...)
}

// remove takes an occupant with all clients out of the room, by order (XEP-0045#kick, #ban).
func (c *chat) remove(t *turn, o *occupant, now room.Affiliation, i item, codes ...code) {
	o.Affiliation = now
	i.affiliation = now
	full := o.seats[len(o.seats)-1].full
	for _, at := range append([]*seat(nil), o.seats...) {
		c.rise(at)
		bye := c.goodbye(o, i, at.full, nil, withSelf(codes)...)
		bye.To = at.full
		t.send(bye)
	}
	if t.answer != nil { // who ordered it is told before the others (XEP-0045#kick)
		t.answer()
	}
	c.tellGone(t, o, i, full, nil, codes...)
}
