package muc

import (
	"sabir/engine/room"
	"sabir/mod"
	"sabir/xmpp/jid"
	"sabir/xmpp/payload/dataform"
	"sabir/xmpp/stanza"
	"sabir/xmpp/xmlstream"
)

// owned returns an error where the sender is no owner, or where there is no room.
func (c *chat) owned(from jid.JID) error {
	switch {
	case !c.exists && !c.locked:
		return errNoRoom()
	case c.affiliation(from.Bare()) != room.Owner: // XEP-0045#roomconfig
		return stanza.Err(stanza.Forbidden, "only owners do that")
	}
	return nil
}

// ownerGet returns the form of the configuration (XEP-0045#roomconfig).
func (c *chat) ownerGet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.owned(r.From); err != nil {
		return nil, err
	}
	return xmlstream.El(nsOwner, "query", c.form().Element()), nil
}

// ownerSet takes a configuration, cancels one, or destroys the room.
func (c *chat) ownerSet(t *turn, r *mod.Request) (*xmlstream.Element, error) {
	if err := c.owned(r.From); err != nil {
		return nil, err
	}
	if d := r.Payload.Child(nsOwner, "destroy"); d != nil {
		return nil, c.destroy(t, d)
	}
	x := r.Payload.Child(dataform.NS, "x")
	if x == nil {
		return nil, stanza.Err(stanza.BadRequest, "a form or a destruction is missing")
	}
	f, err := dataform.Parse(x)
	if err != nil {
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	if f.Type == dataform.TypeCancel {
		if c.locked { // XEP-0045#createroom-reserved
			return nil, c.destroy(t, xmlstream.El(nsOwner, "destroy"))
		}
		return nil, nil
	}
	s, err := c.form().Submit(f)
	if err != nil {
		return nil, err
	}
	cfg, moves, err := c.read(s)
	if err != nil {
		return nil, err
	}
	return nil, c.configure(t, cfg, moves, r.From)
}

// configure puts a configuration in force, with the changes of affiliations that came with it. from is whose it is, or the zero JID.
func (c *chat) configure(t *turn, cfg room.Config, moves []move, from jid.JID) error {
	was, fresh := c.cfg, c.locked
	if err := c.storeConfig(t, cfg, moves); err != nil {
		return err
	}
	if t.answer != nil {
		t.answer()
	}
	for _, o := range c.occupants {
		o.told = [2]*stanza.Stanza{}
	}
	by := item{actor: c.actor(from)}
	for _, k := range moves {
		c.applyAffiliation(t, k, by)
	}
	if fresh { // nobody but its creator is in it, who knows
		return nil
	}
	c.applyDoor(t, was)
	c.applyBroadcast(t, was)
	if codes := changed(was, cfg); len(codes) > 0 {
		c.announcement(t, codes...)
	}
	return c.closeIfEmpty(t)
}

// storeConfig commits a configuration with changes of affiliations. A room that was locked is open then.
func (c *chat) storeConfig(t *turn, cfg room.Config, moves []move) error {
	if c.locked {
		return c.unlock(t, cfg, moves)
	}
	k := c.kept
	k.cfg = cfg
	err := t.write(func(tx mod.Tx) error {
		if err := c.m.store.put(t.ctx, tx, c.m.svc.Domain, c.jid, k); err != nil {
			return err
		}
		return c.writeMoves(t.ctx, tx, moves)
	})
	if err == nil {
		c.cfg = cfg
	}
	return err
}

// applyDoor removes those who may not be in a room that has become members-only (XEP-0045#roomconfig).
func (c *chat) applyDoor(t *turn, was room.Config) {
	if !c.cfg.MembersOnly || was.MembersOnly {
		return
	}
	for _, o := range append([]*occupant(nil), c.occupants...) {
		if o.Affiliation < room.Member {
			c.remove(t, o, o.Affiliation, item{}, membersOnlyNow)
		}
	}
}

// changed are the codes that tell occupants of a new configuration (XEP-0045#roomconfig-notify).
func changed(was, now room.Config) (codes []code) {
	if was.Logged != now.Logged {
		if now.Logged {
			codes = append(codes, loggedNow)
		} else {
			codes = append(codes, unloggedNow)
		}
	}
	if was.NonAnonymous != now.NonAnonymous {
		if now.NonAnonymous {
			codes = append(codes, nonAnonymousNow)
		} else {
			codes = append(codes, semiAnonymousNow)
		}
	}
	was.Logged, was.NonAnonymous = now.Logged, now.NonAnonymous
	if !same(was, now) {
		codes = append([]code{configChanged}, codes...)
	}
	return codes
}

// destroy ends the room and tells each occupant once, of no one but itself (XEP-0045#destroyroom).
func (c *chat) destroy(t *turn, d *xmlstream.Element) error {
	gone := xmlstream.El(nsUser, "destroy")
	if alt := d.Attr("jid"); alt != "" {
		j, err := jid.Parse(alt)
		if err != nil {
			return stanza.Err(stanza.JIDMalformed, "the other room has no address")
		}
		gone.Add(xmlstream.A("jid", j.String()))
	}
	for _, name := range []string{"password", "reason"} {
		if text := d.ChildText(nsOwner, name); text != "" {
			gone.Add(xmlstream.El(nsUser, name, text))
		}
	}
	there := c.seats
	if err := c.end(t); err != nil {
		return err
	}
	for _, at := range there {
		p := stanza.New(stanza.Presence, stanza.TypeUnavailable,
			xmlstream.El(nsUser, "x", item{}.element(nsUser), gone, self.element()), occupantIDElement(at.id))
		p.From, p.To = at.jid, at.full
		t.send(p)
	}
	return nil
}
