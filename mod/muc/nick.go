package muc

import (
	"sabir/engine/room"
	"sabir/xmpp/jid"
	"sabir/xmpp/stanza"
)

// changeNick gives a client another nick (XEP-0045#changenick). Where the user has several clients under the old nick, only
// this one gets the new one.
func (c *chat) changeNick(t *turn, s *stanza.Stanza, at *seat) error {
	want := s.To.Resource()
	if !goodNick(want) {
		return stanza.Err(stanza.NotAcceptable, "a nick shows something and is not too long")
	}
	old := at.occupant
	if reserved := c.associates[old.user].nick; c.cfg.LockNicks && reserved != "" && reserved != want {
		return stanza.Err(stanza.NotAcceptable, "this room knows you by the nick that you registered")
	}
	switch o := c.nicks[nickKey(want)]; {
	case o == nil && c.reservedFor(want, old.user), o != nil && o.user != old.user:
		return stanza.Err(stanza.Conflict, "somebody else has this nick")
	case o == old && len(old.seats) > 1: // the same nick in another spelling, under which other clients are
		return stanza.Err(stanza.Conflict, "another of your clients has this nick")
	}
	to, err := c.jid.WithResource(s.To.Clone().Resource())
	if err != nil {
		return stanza.Err(stanza.JIDMalformed, "")
	}
	role := old.Role
	at.show(s)
	gone := c.rise(at)
	c.tellRenamed(t, old, to.Resource(), at.full, gone)
	now := c.sit(at.full, to.Resource(), role, at.presence)
	now.spoke, now.invites = old.spoke, old.invites
	if now.Role < role {
		now.Role = role
	}
	c.keepSeat(now)
	c.announce(t, now.occupant, s.ID)
	if !gone {
		c.announce(t, old, "")
	}
	return nil
}

// tellRenamed tells of the new nick of an occupant under the old one: all, or where other clients keep that, the one that
// changes.
func (c *chat) tellRenamed(t *turn, o *occupant, nick string, full jid.JID, all bool) {
	i := item{affiliation: o.Affiliation, role: o.Role, nick: nick}
	bye := c.goodbye(o, i, full, nil, self, newNick)
	bye.To = full
	if all && c.cfg.Broadcasts(o.Role) {
		c.tellGone(t, o, i, full, nil, newNick)
	}
	t.send(bye)
}

// role gives an occupant another role and tells all. Where the presence of the old role was not broadcast, the others learn
// of the occupant now, and the other way round.
func (c *chat) role(t *turn, o *occupant, now room.Standing, i item, codes ...code) {
	was := o.Standing
	if was == now {
		return
	}
	sawAll := c.cfg.Shows(was.Role)
	o.Standing = now
	o.told = [2]*stanza.Stanza{}
	for _, at := range o.seats {
		c.keepSeat(at)
	}
	c.told(t, o, i, codes...)
	if c.cfg.Broadcasts(was.Role) && !c.cfg.Broadcasts(now.Role) {
		c.tellAbsent(t, o, item{affiliation: now.Affiliation}, o.seats[0].full, nil)
	}
	if !sawAll && c.cfg.Shows(now.Role) { // a new moderator learns who the others are (XEP-0045#enter-semianon)
		for _, at := range o.seats {
			c.roster(t, at)
		}
	}
}

// told announces a change of role or affiliation with who did it and why.
func (c *chat) told(t *turn, o *occupant, i item, codes ...code) {
	if i.actor == "" && i.reason == "" && i.span == (span{}) {
		c.announce(t, o, "", codes...)
		return
	}
	i.affiliation, i.role = o.Affiliation, o.Role
	at := o.seats[len(o.seats)-1]
	make := func(full bool, codes ...code) *stanza.Stanza {
		j := i
		if full {
			j.jid = at.full
		}
		return c.present(o, at, j, codes...)
	}
	if c.cfg.Broadcasts(o.Role) {
		c.toOthers(t, o, func(shows bool) *stanza.Stanza { return make(shows) })
	}
	for _, x := range o.seats {
		t.send(make(true, withSelf(codes)...), x.full)
	}
}
