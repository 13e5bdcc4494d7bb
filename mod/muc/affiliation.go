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
	if err := c.storeAffiliations(t, map[jid.JID]associate{who: a}); err != nil {
		return err
	}
	c.applyAffiliation(t, own(who), a, i)
	return nil
}

// storeAffiliations commits changes. A room that is still locked has nothing in the tables yet.
func (c *chat) storeAffiliations(t *turn, changes map[jid.JID]associate) error {
	if !c.exists {
		return nil
	}
	return t.write(func(tx mod.Tx) error {
		for who, a := range changes {
			if err := c.m.store.affiliate(t.ctx, tx, c.jid, who, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// applyAffiliation changes what is in memory and tells everybody: occupants by presence, who is away by a message
// (XEP-0045#impl-service).
func (c *chat) applyAffiliation(t *turn, who jid.JID, a associate, i item) {
	before := c.affiliation(who)
	_, known := c.associates[who]
	if a.affiliation == room.None {
		delete(c.associates, who)
	} else {
		c.associates[who] = a
	}
	present := false
	for _, o := range c.of(who) {
		present = true
		now := c.affiliation(o.user)
		role := room.RoleAfter(o.Standing, now, c.cfg.Moderated, c.cfg.MembersOnly)
		switch {
		case now == room.Outcast: // XEP-0045#ban
			c.remove(t, o, now, i, banned)
		case role == room.NoRole: // XEP-0045#revokemember
			c.remove(t, o, now, i, noLongerMember)
		default:
			c.role(t, o, room.Standing{Affiliation: now, Role: role}, i)
		}
	}
	if present || c.affiliation(who) == before {
		return
	}
	if a.affiliation == room.Member && !known && c.cfg.MembersOnly && i.actor != "" { // XEP-0045#modifymember
		inv := xmlstream.El(nsUser, "invite", xmlstream.A("from", c.jid.String()))
		if i.reason != "" {
			inv.Add(xmlstream.El(nsUser, "reason", i.reason))
		}
		c.sendInvitation(t, who, inv)
	}
	c.tellAway(t, who, a.affiliation, i)
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

// tellAway tells who is not in the room of a new affiliation (XEP-0045#impl-service), and the occupants as far as they see
// addresses (XEP-0045#grantowner).
func (c *chat) tellAway(t *turn, who jid.JID, a room.Affiliation, i item) {
	x := item{affiliation: a, noRole: true, jid: who, reason: i.reason}
	if who.Local() != "" && a != room.Outcast {
		m := stanza.New(stanza.Message, stanza.TypeNormal, userX(x.element(nsUser), affiliatedAway))
		m.ID, m.From, m.To = stanza.NewID(), c.jid, who
		t.send(m)
	}
	m := stanza.New(stanza.Message, stanza.TypeNormal, userX(x.element(nsUser)))
	m.ID, m.From = stanza.NewID(), c.jid
	m.Wire()
	for _, o := range c.occupants {
		if !c.cfg.Shows(o.Role) {
			continue
		}
		for _, at := range o.seats {
			t.send(m.WithTo(at.full))
		}
	}
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
